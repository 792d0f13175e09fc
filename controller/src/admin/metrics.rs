//! Counters as OpenMetrics text. They are read from where they are kept; nothing is counted twice.

use std::fmt;

use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use zenvoy_shared::metrics::{CONTENT_TYPE, Numbers, text_of};

use super::State;
use crate::leader::Standing;
use crate::port::PortStatus;

pub(super) async fn page(Extract(state): Extract<State>) -> Response {
    // All metrics, each named `zenvoy_controller_…`.
    let mut registry = Registry::with_prefix("zenvoy_controller");
    registry.register_collector(Box::new(Scrape::of(&state)));
    state.answers.register(&mut registry, &state.xds);
    match text_of(&registry) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The counts of one moment.
#[derive(Debug)]
struct Scrape {
    numbers: Numbers,
    demands_refused: [(&'static str, u64); 2],
}

impl Scrape {
    fn of(state: &State) -> Self {
        let PortStatus { tls, handshakes, handshakes_failed, identities_refused } = state.port.status();
        let standing = state.seen.standing.borrow().clone();
        let mut numbers = Numbers::default();
        numbers.gauge("sessions", "Sessions of nodes that stand", state.sessions.count());
        let help = "Nodes that no controller hears; they keep every workload up";
        numbers.gauge("unreachable_nodes", help, state.seen.blocking.borrow().len());
        numbers.gauge("leads", "1 while this replica leads", matches!(standing, Standing::Leads(_)));
        let help = "1 while this replica must not lead because etcd is not the one that was led on";
        numbers.gauge("refuses_to_lead", help, matches!(standing, Standing::Refuses(_)));
        let help = "Sessions and streams whose certificate is not for the node they named";
        numbers.counter("identities_refused", help, identities_refused);
        if let Some(tls) = tls {
            numbers.tls(&tls);
            numbers.counter("tls_handshakes", "Handshakes that succeeded", handshakes);
            numbers.counter("tls_handshake_failures", "Handshakes that failed", handshakes_failed);
        }
        Self { numbers, demands_refused: state.sessions.refused() }
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.numbers.encode(&mut encoder)?;
        let help = "Demands of nodes beyond their quota";
        let mut metric = encoder.encode_descriptor("demands_refused", help, None, MetricType::Counter)?;
        for (reason, count) in &self.demands_refused {
            ConstCounter::new(*count).encode(metric.encode_family(&[("reason", *reason)])?)?;
        }
        Ok(())
    }
}
