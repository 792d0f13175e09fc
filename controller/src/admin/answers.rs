//! How clients take what they are sent, by type. In: the xDS server's events and streams; out: metrics.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;
use zenvoy_shared::proto::HELD_UPSTREAM;
use zenvoy_xds::core::TypeUrl;
use zenvoy_xds::server::{Event, Server};

use crate::translate::type_url::{CLUSTER, ENDPOINTS, LISTENER, ROUTES};

/// What a controller serves. Clients may ask for any type: what they make up is one label.
const TYPES: [&str; 5] = [CLUSTER, ENDPOINTS, LISTENER, ROUTES, HELD_UPSTREAM];
const OTHER: &str = "other";

type OfType = [(&'static str, &'static str); 1];

/// What clients have answered since the start. Clones share it.
#[derive(Debug, Clone)]
pub struct Answers {
    refused: Family<OfType, Counter>,
    applied: Family<OfType, Histogram, fn() -> Histogram>,
    missed: Counter,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            refused: Family::default(),
            // From 1 ms to 16 s.
            applied: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 15))),
            missed: Counter::default(),
        }
    }
}

impl Answers {
    /// Counts until `stop`.
    pub async fn follow(self, mut events: Receiver<Event>, stop: CancellationToken) {
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.recv() => event,
            };
            match event {
                Ok(event) => self.note(&event),
                Err(RecvError::Lagged(missed)) => drop(self.missed.inc_by(missed)),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn note(&self, event: &Event) {
        match event {
            Event::Acked { type_url, after, .. } => {
                self.applied.get_or_create(&of(type_url)).observe(after.as_secs_f64());
            }
            Event::Nacked { type_url, .. } => drop(self.refused.get_or_create(&of(type_url)).inc()),
            _ => {}
        }
    }

    /// Puts all of it, and the streams there are, on a page of metrics.
    pub(super) fn register(&self, registry: &mut Registry, xds: &Server) {
        registry.register("xds_nacks", "Responses that clients refused", self.refused.clone());
        registry.register(
            "xds_ack_seconds",
            "From a response to the client's word that it is applied",
            self.applied.clone(),
        );
        registry.register(
            "xds_answers_missed",
            "Events of clients that came too fast to be counted",
            self.missed.clone(),
        );
        registry.register_collector(Box::new(Streams::of(xds)));
    }
}

/// The streams of one moment.
#[derive(Debug)]
struct Streams(BTreeMap<OfType, i64>);

impl Streams {
    fn of(xds: &Server) -> Self {
        let mut count = BTreeMap::from(TYPES.map(|served| (label(served), 0)));
        for of_stream in xds.streams().iter().flat_map(|stream| &stream.types) {
            *count.entry(of(&of_stream.type_url)).or_default() += 1;
        }
        Self(count)
    }
}

impl Collector for Streams {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Streams that subscribe to the type";
        let mut metric = encoder.encode_descriptor("xds_streams", help, None, MetricType::Gauge)?;
        for (of_type, count) in &self.0 {
            ConstGauge::new(*count).encode(metric.encode_family(of_type)?)?;
        }
        Ok(())
    }
}

fn of(type_url: &TypeUrl) -> OfType {
    label(TYPES.into_iter().find(|served| *served == type_url.as_str()).unwrap_or(OTHER))
}

/// The message's name is enough for people.
fn label(type_url: &'static str) -> OfType {
    [("type", type_url.rsplit('/').next().unwrap_or(type_url))]
}
