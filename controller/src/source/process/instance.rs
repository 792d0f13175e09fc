//! One run of a command, from its start to the end of its last descendant.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zenvoy_shared::id::{Uid, WorkloadId};

use super::config::{ProcessSpec, Readiness};
use super::keeper::{Keeper, Kept, Output};
use super::placeholder;
use super::probe::{Probe, read_out};

/// What is missing, and what was written, is told after so long without readiness for the first time, then ever more rarely...
const TELL_AFTER: Duration = Duration::from_millis(250);
/// ...and at least this often.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// After so long without readiness the log says what is missing.
const REMIND_AFTER: Duration = Duration::from_secs(10);

/// What happens to an instance before its end.
#[derive(Debug)]
pub(super) enum Event {
    /// The command runs.
    Started,
    /// It takes no traffic yet: what it lacks, and what it wrote.
    Unready(String),
    /// It takes traffic on these ports, by variable.
    Ready(BTreeMap<String, u16>),
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    /// With what status.
    pub(super) how: How,
    /// What it wrote last.
    pub(super) last_lines: Vec<String>,
    /// How long it ran.
    pub(super) ran: Duration,
}

/// The status of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    /// By itself.
    Exited(u8),
    /// By a signal.
    Killed(u8),
    /// It never ran.
    NotStarted(String),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
            Self::NotStarted(reason) => write!(f, "could not be started: {reason}"),
        }
    }
}

/// Runs it until it ends by itself or `stop` is cancelled; tells `events` what happens on the way.
pub(super) async fn live(
    uid: Uid,
    workload: WorkloadId,
    spec: Arc<ProcessSpec>,
    by: Arc<Keeper>,
    events: mpsc::Sender<(Uid, Event)>,
    stop: CancellationToken,
) -> (Uid, Ending) {
    let begun = Instant::now();
    let started = free_ports(&spec).and_then(|ports| Ok((by.run(command(&spec, &ports))?, ports)));
    let (mut running, ports) = match started {
        Ok(started) => started,
        Err(error) => {
            let how = How::NotStarted(error.to_string());
            return (uid, Ending { how, last_lines: Vec::new(), ran: Duration::ZERO });
        }
    };
    let _ = events.send((uid.clone(), Event::Started)).await;
    let output = running.output();
    let telling = Telling { uid: uid.clone(), output, events: events.clone() };
    let ready = async {
        let rest = until_ready(&workload, &ports, &spec.readiness, &telling).await;
        let _ = events.send((uid.clone(), Event::Ready(ports.clone()))).await;
        read_out(rest).await;
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        status = running.ended() => Some(status),
        () = stop.cancelled() => None,
        () = ready => None,
    };
    let status = match ended {
        Some(status) => status,
        None => running.stop().await,
    };
    let last_lines = running.last_lines().await;
    let how = match status.map(|status| status.code()) {
        Ok(Some(code)) => match u8::try_from(code).unwrap_or(u8::MAX) {
            killed @ 129..=192 => How::Killed(killed - 128),
            code => How::Exited(code),
        },
        Ok(None) => How::Killed(9),
        Err(error) => How::NotStarted(error.to_string()),
    };
    (uid, Ending { how, last_lines, ran: begun.elapsed() })
}

/// Until it may take traffic; what is left of its answer. What keeps it from that is told now and then, and logged once.
async fn until_ready(
    workload: &WorkloadId,
    ports: &BTreeMap<String, u16>,
    readiness: &Readiness,
    telling: &Telling,
) -> Option<TcpStream> {
    let (probe, begun) = (Probe::default(), Instant::now());
    let ready = probe.ready(ports, readiness);
    tokio::pin!(ready);
    let (mut pause, mut reminded) = (TELL_AFTER, false);
    loop {
        tokio::select! {
            rest = &mut ready => return rest,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(TELL_AGAIN);
        telling.unready(&probe.lacks()).await;
        if begun.elapsed() >= REMIND_AFTER && !std::mem::replace(&mut reminded, true) {
            let (WorkloadId { namespace, name, .. }, seconds) = (workload, begun.elapsed().as_secs());
            tracing::warn!("{namespace}/{name} has run for {seconds} s and is not ready: {}", probe.lacks());
        }
    }
}

/// Who tells what an instance lacks.
struct Telling {
    uid: Uid,
    output: Output,
    events: mpsc::Sender<(Uid, Event)>,
}

impl Telling {
    /// It lacks this, and has written that.
    async fn unready(&self, lacks: &str) {
        let wrote = match self.output.lines().as_slice() {
            [] => ". It wrote nothing".into(),
            lines => format!(". Its last lines:\n{}", lines.join("\n")),
        };
        // Nobody listens only at the end.
        let _ = self.events.send((self.uid.clone(), Event::Unready(format!("{lacks}{wrote}")))).await;
    }
}

fn command(spec: &ProcessSpec, ports: &BTreeMap<String, u16>) -> Kept {
    let filled = |text: &String| placeholder::fill(text, ports).into();
    let own = spec.env.iter().map(|(name, value)| (name.into(), filled(value)));
    let given = ports.iter().map(|(name, port)| (name.into(), port.to_string().into()));
    Kept {
        argv: spec.command.iter().map(filled).collect(),
        env: own.chain(given).collect(),
        directory: spec.directory.clone(),
        grace: spec.stop_grace,
    }
}

/// A port for each variable, as the kernel gives them. All are held until the last is there, so that they differ.
fn free_ports(spec: &ProcessSpec) -> io::Result<BTreeMap<String, u16>> {
    let held = spec
        .variables
        .iter()
        .map(|variable| Ok((variable, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)))
        .collect::<io::Result<Vec<_>>>()?;
    held.iter().map(|(variable, port)| Ok(((*variable).clone(), port.local_addr()?.port()))).collect()
}
