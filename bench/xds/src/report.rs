//! Figures: a line each for people, and all as JSON.

use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    baseline: Option<f64>,
    ratio: Option<f64>,
    /// The ratio may be at most this.
    target: Option<f64>,
    met: bool,
}

impl Figure {
    /// A figure to know, without a target.
    pub(crate) fn seen(name: String, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, baseline: None, ratio: None, target: None, met: true }
    }

    /// A figure beside a baseline of the same run.
    pub(crate) fn beside(
        name: String,
        value: f64,
        unit: &'static str,
        baseline: f64,
        target: Option<f64>,
    ) -> Self {
        let ratio = value / baseline;
        let met = target.is_none_or(|target| ratio <= target);
        Self { name, value, unit, baseline: Some(baseline), ratio: Some(ratio), target, met }
    }

    pub(crate) fn met(&self) -> bool {
        self.met
    }
}

/// Prints a line each; the JSON goes to standard output behind them.
pub(crate) fn print(figures: &[Figure]) -> anyhow::Result<()> {
    for figure in figures {
        let mut line = format!("{:<62} {:>12.3} {:<5}", figure.name, figure.value, figure.unit);
        if let (Some(baseline), Some(ratio)) = (figure.baseline, figure.ratio) {
            line += &format!("  baseline {baseline:>12.3}  ratio {ratio:>7.3}");
        }
        if let Some(target) = figure.target {
            line += &format!("  target <= {target:<5} {}", if figure.met { "met" } else { "MISSED" });
        }
        println!("{line}");
    }
    println!("{}", serde_json::to_string(figures)?);
    Ok(())
}
