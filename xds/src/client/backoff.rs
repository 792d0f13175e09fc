//! How long to wait before the next attempt. In: how streams fared, and a random number; out: a pause.

use std::time::Duration;

/// Doubles from `first` to `most`; each pause is a random part of that, so that clients of a dead server do not come
/// back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first`, ends at `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The pause before the next attempt; `random` is uniform in `0.0..1.0`. At least half of the full pause.
    pub fn pause(&mut self, random: f64) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.most);
        full.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// It works again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// A stream stood for so long. One that outlasted the longest pause worked, whether anything came on it or not: a
    /// client that has everything is told nothing.
    pub fn stood(&mut self, time: Duration) {
        if time >= self.most {
            self.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_secs(1), Duration::from_secs(5))
    }

    #[test]
    fn pauses_double_up_to_the_most_and_start_over_after_a_success() {
        let mut backoff = backoff();
        let pauses: Vec<u64> = (0..4).map(|_| backoff.pause(1.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5]);
        backoff.reset();
        assert_eq!(backoff.pause(0.0), Duration::from_millis(500));
    }

    #[test]
    fn pauses_start_over_after_a_stream_that_outlasted_the_longest_of_them() {
        let mut backoff = backoff();
        let _ = [backoff.pause(1.0), backoff.pause(1.0)];
        backoff.stood(Duration::from_millis(4_999));
        assert_eq!(backoff.pause(1.0), Duration::from_secs(4));
        backoff.stood(Duration::from_secs(5));
        assert_eq!(backoff.pause(1.0), Duration::from_secs(1));
    }
}
