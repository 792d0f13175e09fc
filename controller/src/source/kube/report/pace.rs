//! A bound on writes per second, with a burst. Pure: it is given the time.

use std::time::Duration;

use tokio::time::Instant;

/// Lets `per_second` pass on average, and `burst` at once.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Duration,
    burst: u32,
    /// When all that has passed would be worked off.
    level: Option<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        Self { gap: Duration::from_secs(1) / per_second.max(1), burst: burst.max(1), level: None }
    }

    /// One may pass now, or after this long.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let level = self.level.unwrap_or(now).max(now);
        let ahead = level - now;
        let allowed = self.gap * (self.burst - 1);
        if ahead > allowed {
            return Err(ahead - allowed);
        }
        self.level = Some(level + self.gap);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_holds() {
        let (mut pace, now) = (Pace::new(10, 3), Instant::now());
        for _ in 0..3 {
            assert_eq!(pace.take(now), Ok(()));
        }
        assert_eq!(pace.take(now), Err(Duration::from_millis(100)));
        assert_eq!(pace.take(now + Duration::from_millis(100)), Ok(()));
        assert!(pace.take(now + Duration::from_millis(100)).is_err());
        assert_eq!(pace.take(now + Duration::from_secs(60)), Ok(()));
    }
}
