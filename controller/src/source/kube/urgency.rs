//! Scale writes go before reports. In: writes that begin and end; out: when none is under way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// A report waits for scale writes at most this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many scale writes are under way. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Urgency(Arc<watch::Sender<usize>>);

/// A scale write that is under way, until the drop.
#[derive(Debug)]
pub(super) struct Urgent(Arc<watch::Sender<usize>>);

impl Urgency {
    pub(super) fn begin(&self) -> Urgent {
        self.0.send_modify(|writes| *writes += 1);
        Urgent(self.0.clone())
    }

    /// Waits until none is under way, or for a second: a storm must not silence the reports.
    pub(super) async fn calm(&self) {
        let mut writes = self.0.subscribe();
        let _ = tokio::time::timeout(PATIENCE, writes.wait_for(|writes| *writes == 0)).await;
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        self.0.send_modify(|writes| *writes -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_report_waits_for_scale_writes_but_not_for_ever() {
        let (urgency, began) = (Urgency::default(), Instant::now());
        urgency.calm().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        let write = urgency.begin();
        urgency.calm().await;
        assert_eq!(began.elapsed(), PATIENCE);
        let (waits, ()) = tokio::join!(
            async {
                urgency.calm().await;
                began.elapsed()
            },
            async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(write);
            }
        );
        assert_eq!(waits, PATIENCE + Duration::from_millis(10));
    }
}
