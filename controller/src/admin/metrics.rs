//! Counters as OpenMetrics text. They are read from where they are kept; nothing is counted twice.

use std::fmt;

use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::State;
use crate::leader::Standing;
use crate::port::PortStatus;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Name, help, value.
type Metric<T> = (&'static str, &'static str, T);

pub(super) async fn page(Extract(state): Extract<State>) -> Response {
    match text_of(&state) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// All metrics, each named `zenvoy_controller_…`.
fn text_of(state: &State) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("zenvoy_controller");
    registry.register_collector(Box::new(Scrape::of(state)));
    state.answers.register(&mut registry, &state.xds);
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// The counts of one moment.
#[derive(Debug)]
struct Scrape {
    gauges: Vec<Metric<i64>>,
    counters: Vec<Metric<u64>>,
    demands_refused: [(&'static str, u64); 2],
}

impl Scrape {
    fn of(state: &State) -> Self {
        let PortStatus { tls, handshakes, handshakes_failed, identities_refused } = state.port.status();
        let sessions = i64::try_from(state.sessions.count()).unwrap_or(i64::MAX);
        let unreachable = i64::try_from(state.seen.blocking.borrow().len()).unwrap_or(i64::MAX);
        let standing = state.seen.standing.borrow().clone();
        let mut gauges = vec![
            ("sessions", "Sessions of nodes that stand", sessions),
            ("unreachable_nodes", "Nodes that no controller hears; they keep every workload up", unreachable),
            ("leads", "1 while this replica leads", matches!(standing, Standing::Leads(_)).into()),
            (
                "refuses_to_lead",
                "1 while this replica must not lead because etcd is not the one that was led on",
                matches!(standing, Standing::Refuses(_)).into(),
            ),
        ];
        let mut counters = vec![(
            "identities_refused",
            "Sessions and streams whose certificate is not for the node they named",
            identities_refused,
        )];
        if let Some(tls) = tls {
            let not_after = i64::try_from(tls.not_after_unix.unwrap_or(0)).unwrap_or(i64::MAX);
            gauges.extend([
                ("tls_not_after_seconds", "The last moment of the own certificate, Unix time", not_after),
                (
                    "tls_files_refused",
                    "1 while what the TLS files hold cannot be used",
                    tls.refused.is_some().into(),
                ),
            ]);
            counters.extend([
                ("tls_reloads", "Changes of the TLS files taken in", tls.reloads),
                ("tls_reload_failures", "Changes of the TLS files that could not be used", tls.refusals),
                ("tls_handshakes", "Handshakes that succeeded", handshakes),
                ("tls_handshake_failures", "Handshakes that failed", handshakes_failed),
            ]);
        }
        Self { gauges, counters, demands_refused: state.sessions.refused() }
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in &self.gauges {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(*value).encode(metric)?;
        }
        for (name, help, value) in &self.counters {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(*value).encode(metric)?;
        }
        let help = "Demands of nodes beyond their quota";
        let mut metric = encoder.encode_descriptor("demands_refused", help, None, MetricType::Counter)?;
        for (reason, count) in &self.demands_refused {
            ConstCounter::new(*count).encode(metric.encode_family(&[("reason", *reason)])?)?;
        }
        Ok(())
    }
}
