//! Counts of one moment as OpenMetrics text, the same for controllers and proxies. In: names and numbers, read from where
//! they are kept; out: text.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::tls::TlsStatus;

/// Of OpenMetrics text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics without labels.
#[derive(Debug, Default)]
pub struct Numbers {
    gauges: Vec<(&'static str, &'static str, i64)>,
    counters: Vec<(&'static str, &'static str, u64)>,
}

impl Numbers {
    /// Adds what rises and falls; beyond the range of a gauge, its end.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: impl TryInto<i64>) {
        self.gauges.push((name, help, value.try_into().unwrap_or(i64::MAX)));
    }

    /// Adds what only rises.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.counters.push((name, help, value));
    }

    /// Adds what is known of the TLS files in use.
    pub fn tls(&mut self, status: &TlsStatus) {
        let not_after = status.not_after_unix.unwrap_or(0);
        self.gauge("tls_not_after_seconds", "The last moment of the own certificate, Unix time", not_after);
        let refused = status.refused.is_some();
        self.gauge("tls_files_refused", "1 while what the TLS files hold cannot be used", refused);
        self.counter("tls_reloads", "Changes of the TLS files taken in", status.reloads);
        let help = "Changes of the TLS files that could not be used";
        self.counter("tls_reload_failures", help, status.refusals);
    }

    /// For a collector.
    pub fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in &self.gauges {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(*value).encode(metric)?;
        }
        for (name, help, value) in &self.counters {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(*value).encode(metric)?;
        }
        Ok(())
    }
}

/// All that is registered.
pub fn text_of(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use prometheus_client::collector::Collector;

    use super::*;

    #[derive(Debug)]
    struct Scrape(Numbers);

    impl Collector for Scrape {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.encode(&mut encoder)
        }
    }

    #[test]
    fn numbers_are_told_with_their_kind() {
        let mut numbers = Numbers::default();
        numbers.gauge("open", "1 while it is", true);
        numbers.gauge("most", "Beyond a gauge", u64::MAX);
        numbers.counter("seen", "Ever", 3);
        let mut registry = Registry::with_prefix("zenvoy");
        registry.register_collector(Box::new(Scrape(numbers)));
        let text = text_of(&registry).expect("text");
        for line in ["# TYPE zenvoy_open gauge", "zenvoy_open 1", "zenvoy_seen_total 3"] {
            assert!(text.lines().any(|said| said == line), "{text}");
        }
        assert!(text.contains(&format!("zenvoy_most {}", i64::MAX)), "{text}");
    }
}
