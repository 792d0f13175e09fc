//! What reaches a stream's body from outside: a call to look again, and a reason to end. And the list of all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use tonic::Status;

use super::drain;
use super::sync::AtomicWaker;
use crate::core::{Exceeded, Limits};

/// One stream's, from its first byte to its last.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) id: u64,
    /// Where it comes from, where the transport knows.
    address: Option<IpAddr>,
    pub(super) waker: AtomicWaker,
    /// Set once: the stream ends with it when what is on its way has gone out.
    end: OnceLock<Status>,
}

impl Line {
    /// Ends the stream; the first reason counts.
    pub(super) fn end(&self, status: Status) {
        let _ = self.end.set(status);
        self.waker.wake();
    }

    pub(super) fn ended(&self) -> Option<Status> {
        self.end.get().cloned()
    }
}

/// Of all streams, also of those that are not admitted yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    open: HashMap<u64, Arc<Line>>,
    of_address: HashMap<IpAddr, usize>,
    opened: u64,
    /// There will be no others.
    closing: bool,
}

impl Lines {
    pub(super) fn begin(&mut self, address: Option<IpAddr>, limits: &Limits) -> Result<Arc<Line>, Status> {
        if self.closing {
            return Err(drain::status());
        }
        let exceeded = |error: Exceeded| Err(Status::resource_exhausted(error.to_string()));
        if self.open.len() >= limits.streams {
            return exceeded(Exceeded::Streams(limits.streams));
        }
        if let Some(address) = address {
            let limit = limits.streams_of_address;
            let of_address = self.of_address.entry(address).or_default();
            if *of_address >= limit {
                return exceeded(Exceeded::StreamsOfAddress { limit, address });
            }
            *of_address += 1;
        }
        self.opened += 1;
        let line = Arc::new(Line { id: self.opened, address, ..Line::default() });
        self.open.insert(line.id, line.clone());
        Ok(line)
    }

    pub(super) fn over(&mut self, line: &Line) {
        self.open.remove(&line.id);
        if let Some(address) = line.address
            && let Some(of_address) = self.of_address.get_mut(&address)
        {
            *of_address -= 1;
            if *of_address == 0 {
                self.of_address.remove(&address);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// No other stream begins from now on. Those there are.
    pub(super) fn close(&mut self) -> Vec<Arc<Line>> {
        self.closing = true;
        self.open.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_from_one_address_are_limited_and_counted_until_they_end() {
        let limits = Limits { streams: 3, streams_of_address: 1, ..Limits::default() };
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut lines = Lines::default();
        let first = lines.begin(Some(one), &limits).expect("room");
        let refused = lines.begin(Some(one), &limits).expect_err("too many");
        assert!(refused.message().starts_with("the limit of 1 streams from 10.0.0.1"), "{refused}");
        lines.begin(Some(two), &limits).expect("room for another address");
        let unknown = lines.begin(None, &limits).expect("an unknown address has only the common limit");
        assert!(lines.begin(None, &limits).expect_err("too many").message().contains("3 streams"));
        lines.over(&unknown);
        lines.over(&first);
        lines.begin(Some(one), &limits).expect("room again");
    }
}
