//! What a client may take of the server. In: counts and the time; out: which limit is exceeded.

use std::time::{Duration, Instant};

use super::event::Exceeded;

/// What clients may take. The defaults are far above what an Envoy with 50,000 clusters needs. There may be more limits
/// later: write `Limits { names: 1_000, ..Limits::default() }`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Streams in all.
    pub streams: usize,
    /// Streams from one IP address, admitted or not; of connections whose address the transport knows. By default half
    /// of all, so that one address cannot keep the others out; lower it where no proxy stands before many clients.
    pub streams_of_address: usize,
    /// Streams of one node, by the id that it gives itself. One Envoy needs one on ADS, else one for each type and each
    /// secret.
    pub streams_of_node: usize,
    /// Types on one stream.
    pub types: usize,
    /// Names on one stream: those subscribed to, and those a reconnecting client says it has.
    pub names: usize,
    /// Removed clusters, or endpoint sets, that one stream is left with until it has applied the listeners and routes of
    /// the same change. A client that refuses these for ever, or never answers, is told of all removals beyond it.
    pub removals: usize,
    /// Of a name, a type URL or a node id, in bytes.
    pub name_length: usize,
    /// Requests per second on one stream, over time.
    pub requests_per_second: u32,
    /// Requests on one stream at once.
    pub request_burst: u32,
    /// Of a request, in bytes.
    pub request_size: usize,
    /// Of all requests that have come in part, or wait for their stream's admission, in bytes. 64 KiB of each stream are
    /// not counted: small requests pass however much others have taken.
    pub requests_size: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 50_000,
            streams_of_address: 25_000,
            streams_of_node: 1_000,
            types: 100,
            names: 500_000,
            removals: 100_000,
            name_length: 4_096,
            requests_per_second: 1_000,
            request_burst: 20_000,
            request_size: 64 << 20,
            requests_size: 1 << 30,
        }
    }
}

impl Limits {
    pub(super) fn name<'a>(&self, name: &'a str) -> Result<&'a str, Exceeded> {
        self.short("a resource name", name)
    }

    pub(super) fn short<'a>(&self, what: &'static str, text: &'a str) -> Result<&'a str, Exceeded> {
        if text.len() > self.name_length {
            return Err(Exceeded::Length { what, limit: self.name_length, len: text.len() });
        }
        Ok(text)
    }
}

/// The rate of one stream's requests.
#[derive(Debug)]
pub struct Rate {
    per_second: u32,
    burst: u32,
    /// Requests that may come at once, as of `at`.
    left: f64,
    at: Instant,
}

impl Rate {
    /// A new stream's.
    pub fn new(limits: &Limits, now: Instant) -> Self {
        let burst = limits.request_burst;
        Self { per_second: limits.requests_per_second, burst, left: f64::from(burst), at: now }
    }

    /// A request came.
    ///
    /// # Errors
    /// When there were too many.
    pub fn request(&mut self, now: Instant) -> Result<(), Exceeded> {
        let passed: Duration = now.saturating_duration_since(self.at);
        self.at = now;
        self.left =
            (self.left + passed.as_secs_f64() * f64::from(self.per_second)).min(f64::from(self.burst));
        if self.left < 1.0 {
            return Err(Exceeded::Rate(self.per_second));
        }
        self.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_beyond_the_burst_are_refused_until_time_has_passed() {
        let limits = Limits { requests_per_second: 10, request_burst: 2, ..Limits::default() };
        let start = Instant::now();
        let mut rate = Rate::new(&limits, start);
        assert_eq!((rate.request(start), rate.request(start)), (Ok(()), Ok(())));
        assert_eq!(rate.request(start), Err(Exceeded::Rate(10)));
        assert_eq!(rate.request(start + Duration::from_millis(100)), Ok(()));
        assert!(rate.request(start + Duration::from_millis(110)).is_err());
        let later = start + Duration::from_secs(3600);
        assert_eq!((rate.request(later), rate.request(later)), (Ok(()), Ok(())));
        assert!(rate.request(later).is_err(), "a burst is all that can be saved up");
    }
}
