//! The last scale write of a workload, and which versions of the object are too old to write on: a watch that lags shows, one
//! after the other, versions from before the write, and a write on each would only be refused. Pure.

use std::time::Duration;

use crate::session::Moment;

/// How long the watch may take to show what a scale write did before the object is looked at again.
pub(in crate::replica) const SCALE_PATIENCE: Duration = Duration::from_secs(2);
/// How long it may be known to lag behind an answer.
const LAG_PATIENCE: Duration = Duration::from_secs(60);

/// A scale write.
#[derive(Debug)]
pub(super) struct Asked {
    from: String,
    at: Moment,
    /// The version that it made, and when that was known.
    answer: Option<(String, Moment)>,
}

impl Asked {
    /// One that carries this version.
    pub(super) fn of(from: &str, at: Moment) -> Self {
        Self { from: from.to_owned(), at, answer: None }
    }

    /// It was taken, and made this version.
    pub(super) fn answered(&mut self, version: String, at: Moment) {
        self.answer = Some((version, at));
    }

    /// Until when nothing may be written on this version; `None`: it shows more than the write knew.
    pub(super) fn bars(&self, version: &str) -> Option<Moment> {
        let lags = self.answer.as_ref().filter(|(made, _)| is_older(version, made));
        let lags = lags.map(|(_, at)| at.after(LAG_PATIENCE));
        lags.or_else(|| (self.from == version).then(|| self.at.after(SCALE_PATIENCE)))
    }
}

/// Versions of one kind of object are numbers that only rise; of a server that has others, nobody can tell
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>).
fn is_older(version: &str, than: &str) -> bool {
    match (version.parse::<u128>(), than.parse::<u128>()) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn after_its_answer_a_write_bars_every_version_from_before_it() {
        let mut asked = Asked::of("100", at(1));
        assert_eq!(
            (asked.bars("100"), asked.bars("101")),
            (Some(at(3)), None),
            "another one wrote meanwhile"
        );
        asked.answered("107".into(), at(2));
        for stale in ["99", "100", "101", "106"] {
            assert_eq!(asked.bars(stale), Some(at(62)), "{stale}");
        }
        assert_eq!((asked.bars("107"), asked.bars("1000")), (None, None));
    }

    #[test]
    fn versions_that_are_no_numbers_are_only_equal_or_not() {
        let mut asked = Asked::of("a", at(1));
        asked.answered("b".into(), at(2));
        assert_eq!((asked.bars("a"), asked.bars("b")), (Some(at(3)), None));
    }
}
