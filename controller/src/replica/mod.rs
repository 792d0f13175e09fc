//! One controller replica. In: a source, a store, sessions of proxies; out: xDS, wakes and drains.
//!
//! [`Core`] decides, without I/O; [`run`] gives it events and carries out its effects.

mod alone;
mod answers;
mod core;
mod demand;
mod drains;
mod due;
mod effects;
#[cfg(test)]
mod effort;
mod event;
mod failing;
mod front;
mod gate;
mod jobs;
mod lead;
mod opened;
mod others;
mod phases;
mod ports;
mod publish;
mod records;
mod refused;
mod run;
mod sessions;
mod status;
mod steps;
mod tasks;
mod tell;
mod timeline;
mod unreachable;
mod votes;

pub use core::Core;
pub use event::{Cause, Effect, Event, Now, Resource, Routes, Said, SessionId, Switch, ToNode};
pub use run::{Parts, ReplicaError, ReplicaOptions, run};
pub use unreachable::Blocking;

use std::time::Duration;

use zenvoy_shared::pool::PortPool;

use crate::model::Replica;
use crate::session::DemandQuota;
use crate::translate::{ListenerOptions, Names};

/// What the core must know beforehand.
#[derive(Debug, Clone)]
pub struct CoreOptions {
    /// This incarnation.
    pub me: Replica,
    /// The addresses that may stand in for cold upstreams.
    pub pool: PortPool,
    /// How long a released address rests.
    pub quarantine: Duration,
    /// Where Envoys listen.
    pub listeners: ListenerOptions,
    /// How Services are called.
    pub names: Names,
    /// Drains on offer at once, at most (rule D1); at least 1.
    pub max_offers: usize,
    /// How much each node may demand.
    pub quota: DemandQuota,
}
