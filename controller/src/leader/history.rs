//! Whether etcd is the one that was led on before (rule L3). In: what the last leader left on the Lease; out: a judgement.
//! Pure.
//!
//! A backup brings back old terms and forgets mappings, nodes and drains that are still in use. Only a person knows
//! whether everything that relies on them is gone or has come back, so nobody leads until one says so.

use std::fmt;

use crate::store::History;

/// The Lease's annotation that says which store was led on, and how far it was seen to be.
pub(super) const LED_ON: &str = "zenvoy.dev/etcd";
/// The annotation by which a person accepts another store; its value is [`Break::acceptance`].
pub(super) const ACCEPT: &str = "zenvoy.dev/accept-etcd";

/// The store is not the one that was led on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Break {
    /// What was led on.
    pub(super) led_on: History,
    /// What is there.
    pub(super) found: History,
}

impl Break {
    /// What a person must write to accept it: it holds for this store in the place of that one only.
    pub(super) fn acceptance(&self) -> String {
        format!("{:x}-after-{}", self.found.cluster, self.led_on)
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { led_on, found } = self;
        if led_on.cluster == found.cluster {
            write!(f, "etcd is at revision {} and was at {} before", found.revision.0, led_on.revision.0)?;
        } else {
            write!(f, "etcd is cluster {:x} and was {:x} before", found.cluster, led_on.cluster)?;
        }
        write!(f, ": it was restored from a backup, or is another one")
    }
}

/// Whether `found` goes on where the last leader was.
///
/// # Errors
/// When it does not, and nobody has accepted that.
pub(super) fn judge(led_on: Option<History>, accepted: Option<&str>, found: History) -> Result<(), Break> {
    let Some(led_on) = led_on else { return Ok(()) };
    if found.continues(led_on) {
        return Ok(());
    }
    let broken = Break { led_on, found };
    if accepted == Some(broken.acceptance().as_str()) { Ok(()) } else { Err(broken) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Revision;

    fn history(cluster: u64, revision: i64) -> History {
        History { cluster, revision: Revision(revision) }
    }

    #[test]
    fn a_store_that_goes_on_is_led_on() {
        assert_eq!(judge(None, None, history(1, 5)), Ok(()));
        assert_eq!(judge(Some(history(1, 5)), None, history(1, 5)), Ok(()));
        assert_eq!(judge(Some(history(1, 5)), None, history(1, 9)), Ok(()));
    }

    #[test]
    fn an_older_or_another_store_is_not_until_exactly_that_is_accepted() {
        for found in [history(1, 4), history(2, 9)] {
            let led_on = history(1, 5);
            let broken = judge(Some(led_on), None, found).expect_err("broken");
            assert_eq!(broken, Break { led_on, found });
            assert_eq!(judge(Some(led_on), Some(&broken.acceptance()), found), Ok(()));
            let later = judge(Some(history(1, 6)), Some(&broken.acceptance()), found);
            assert!(later.is_err(), "what was accepted once is not accepted for ever");
        }
    }

    #[test]
    fn what_is_written_on_the_lease_is_read_back() {
        for history in [history(0xcdf8_181e_d4ab_57f1, 1_234), history(0, 0)] {
            assert_eq!(history.to_string().parse(), Ok(history));
        }
        for nonsense in ["", "1", "x@1", "1@x", "1@"] {
            assert!(nonsense.parse::<History>().is_err(), "{nonsense}");
        }
    }
}
