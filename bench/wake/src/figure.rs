//! One number with what it is measured against. In: samples; out: a line for people, an object for programs, and whether
//! the target was met. Pure.

use std::time::Duration;

use serde::Serialize;

/// Which sample of many stands for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantile {
    /// Half are below it.
    Median,
    /// 99 of 100 are below it.
    P99,
}

impl Quantile {
    /// The sample at that rank, nearest above; zero without samples.
    pub(crate) fn of(self, samples: &[Duration]) -> Duration {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let per_cent = match self {
            Self::Median => 50,
            Self::P99 => 99,
        };
        let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Median => "median",
            Self::P99 => "p99",
        }
    }
}

/// What a figure must not exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// This many times its baseline.
    Ratio(f64),
    /// This long.
    Time(Duration),
    /// Nothing: it is shown so that one sees where time goes.
    None,
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: String,
    /// Milliseconds.
    pub(crate) value_ms: f64,
    /// The same done bare, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) baseline_ms: Option<f64>,
    /// Value over baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// What it must not exceed, as text.
    pub(crate) target: String,
    /// Whether it does not.
    pub(crate) met: bool,
}

impl Figure {
    /// A quantile of samples, against the same quantile of a baseline's if there is one.
    pub(crate) fn of(
        name: &str,
        quantile: Quantile,
        samples: &[Duration],
        baseline: Option<&[Duration]>,
        target: Target,
    ) -> Self {
        let value = quantile.of(samples);
        let baseline = baseline.map(|samples| quantile.of(samples));
        let figure = Self::new(&format!("{name}, {}", quantile.name()), value, baseline, target);
        // Nothing was measured: nothing is met.
        Self { met: figure.met && !samples.is_empty(), ..figure }
    }

    /// One value.
    pub(crate) fn new(name: &str, value: Duration, baseline: Option<Duration>, target: Target) -> Self {
        let ratio = baseline.map(|baseline| value.as_secs_f64() / baseline.as_secs_f64().max(1e-9));
        let (text, met) = match target {
            Target::Ratio(most) => (format!("<= {most:.1}x"), ratio.is_some_and(|ratio| ratio <= most)),
            Target::Time(most) => (format!("<= {:.0} ms", ms(most)), value <= most),
            Target::None => ("-".into(), true),
        };
        Self {
            name: name.into(),
            value_ms: ms(value),
            baseline_ms: baseline.map(ms),
            ratio,
            target: text,
            met,
        }
    }

    /// One line: name, value, baseline, ratio, target.
    pub(crate) fn line(&self) -> String {
        let baseline = self.baseline_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.1} ms"));
        let ratio = self.ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}x"));
        let missed = if self.met { "" } else { "  MISSED" };
        format!(
            "{:<62} {:>9.1} ms {:>11} {:>7} {:>9}{missed}",
            self.name, self.value_ms, baseline, ratio, self.target
        )
    }
}

/// Prints all; true when every target was met.
pub(crate) fn print(figures: &[Figure]) -> bool {
    println!("{:<62} {:>12} {:>11} {:>7} {:>9}", "figure", "value", "baseline", "ratio", "target");
    for figure in figures {
        println!("{}", figure.line());
    }
    figures.iter().all(|figure| figure.met)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(milliseconds: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        milliseconds.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn quantiles_are_samples_of_that_rank() {
        let hundred = samples((1..=100).rev());
        assert_eq!(Quantile::Median.of(&hundred), Duration::from_millis(50));
        assert_eq!(Quantile::P99.of(&hundred), Duration::from_millis(99));
        assert_eq!(Quantile::P99.of(&samples([7])), Duration::from_millis(7));
        assert_eq!(Quantile::Median.of(&[]), Duration::ZERO);
    }

    #[test]
    fn a_figure_over_its_target_is_missed() {
        let (ours, bare) = (samples([30]), samples([10]));
        let of = |target| Figure::of("wake", Quantile::Median, &ours, Some(&bare), target);
        assert!(of(Target::Ratio(3.0)).met && !of(Target::Ratio(2.9)).met);
        assert!(of(Target::Time(Duration::from_millis(30))).met);
        assert!(of(Target::Ratio(2.0)).line().ends_with("MISSED"));
        let nothing = Figure::of("wake", Quantile::P99, &[], None, Target::Time(Duration::from_millis(30)));
        assert!(!nothing.met);
    }
}
