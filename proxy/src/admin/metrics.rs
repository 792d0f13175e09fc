//! The proxy's counters as OpenMetrics text. They are read from where they are kept; nothing is counted twice.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use zenvoy_shared::metrics::{Numbers, text_of};
use zenvoy_shared::tls::Live;

use super::View;
use crate::node::Counts;
use crate::session::SessionState;

/// A count of one upstream's connections: name, help, which.
type OfUpstream<T> = (&'static str, &'static str, fn(&Counts) -> T);

const NOW: [OfUpstream<u32>; 4] = [
    ("connections_silent", "Connections whose first byte is awaited", |counts| counts.silent),
    ("connections_held", "Connections held while their upstream wakes", |counts| counts.held),
    ("connections_releasing", "Connections for which an endpoint is being dialled", |counts| {
        counts.releasing
    }),
    ("connections_relayed", "Connections relayed", |counts| counts.relaying),
];

const EVER: [OfUpstream<u64>; 7] = [
    ("arrived", "Connections that arrived at an activator address", |counts| counts.arrived),
    ("holds", "Connections that were held", |counts| counts.ever_held),
    ("relays", "Connections that were relayed", |counts| counts.ever_relayed),
    ("clients_gone", "Held connections whose client went away", |counts| counts.gone),
    ("refused", "Connections refused because too many were held", |counts| counts.refused),
    ("bytes_to_server", "Bytes relayed from clients to servers", |counts| counts.bytes_to_server),
    ("bytes_to_client", "Bytes relayed from servers to clients", |counts| counts.bytes_to_client),
];

/// All metrics, each named `zenvoy_proxy_…`.
pub(super) fn text(view: &View) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("zenvoy_proxy");
    registry.register(
        "hold_seconds",
        "From held to connected to an endpoint",
        view.holder.times().forwarded.clone(),
    );
    registry.register(
        "first_byte_seconds",
        "From held to the first byte of the answer",
        view.holder.times().first_byte.clone(),
    );
    registry.register_collector(Box::new(Scrape::of(view)));
    text_of(&registry)
}

/// The counts of one moment.
#[derive(Debug)]
struct Scrape {
    numbers: Numbers,
    upstreams: Vec<(String, Counts)>,
}

impl Scrape {
    fn of(view: &View) -> Self {
        let session = view.session.borrow().clone();
        let open = matches!(session.state, SessionState::Open { .. });
        let upstreams = view.table.all().into_iter().map(|held| {
            let (counts, _) = view.node.counts(&held.upstream);
            (held.upstream.to_string(), counts)
        });
        let upstreams = upstreams.collect();
        let mut numbers = Numbers::default();
        numbers.gauge("session_open", "1 while there is a session with a controller", open);
        let help = "1 once a controller has sent the table";
        numbers.gauge("table_received", help, session.table_received);
        numbers.gauge("envoys", "Envoys that live beside this proxy", view.node.envoys());
        numbers.counter("sessions_opened", "Sessions opened", session.opened);
        let help = "Sessions that broke and attempts that failed";
        numbers.counter("sessions_failed", help, session.failed);
        let help = "Flushes of Envoy's statistics taken in";
        numbers.counter("envoy_flushes", help, view.node.flushes());
        numbers.counter("accepted", "Connections accepted", view.accepts.accepted());
        let help = "Connections gone before they could be accepted";
        numbers.counter("accept_lost", help, view.accepts.lost());
        let help = "Times that no connection could be accepted for want of files or memory";
        numbers.counter("accept_exhausted", help, view.accepts.exhausted());
        if let Some(tls) = view.tls.as_ref().map(Live::status) {
            numbers.tls(&tls);
        }
        Self { numbers, upstreams }
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.numbers.encode(&mut encoder)?;
        for (name, help, count) in &NOW {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (upstream, counts) in &self.upstreams {
                labelled(&mut metric, &[("upstream", upstream)], &ConstGauge::new(i64::from(count(counts))))?;
            }
        }
        for (name, help, count) in &EVER {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (upstream, counts) in &self.upstreams {
                labelled(&mut metric, &[("upstream", upstream)], &ConstCounter::new(count(counts)))?;
            }
        }
        let help = "Connections failed, by reason";
        let mut metric = encoder.encode_descriptor("failed", help, None, MetricType::Counter)?;
        for (upstream, counts) in &self.upstreams {
            for (reason, count) in &counts.failed {
                let labels = [("upstream", upstream.as_str()), ("reason", reason)];
                labelled(&mut metric, &labels, &ConstCounter::new(*count))?;
            }
        }
        Ok(())
    }
}

fn labelled<K, V>(metric: &mut MetricEncoder<'_>, labels: &[(K, V)], value: &impl EncodeMetric) -> fmt::Result
where
    for<'a> &'a [(K, V)]: EncodeLabelSet,
{
    value.encode(metric.encode_family(&labels)?)
}
