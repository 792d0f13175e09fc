//! The proxy's counters as OpenMetrics text. They are read from where they are kept; nothing is counted twice.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use zenvoy_shared::tls::{Live, TlsStatus};

use super::View;
use crate::node::Counts;
use crate::session::SessionState;

/// Of OpenMetrics text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// The counts of one moment.
#[derive(Debug)]
struct Scrape {
    /// Name, help, value.
    gauges: Vec<(&'static str, &'static str, i64)>,
    counters: Vec<(&'static str, &'static str, u64)>,
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
        let envoys = i64::try_from(view.node.envoys()).unwrap_or(i64::MAX);
        let mut scrape = Self {
            gauges: vec![
                ("session_open", "1 while there is a session with a controller", open.into()),
                ("table_received", "1 once a controller has sent the table", session.table_received.into()),
                ("envoys", "Envoys that live beside this proxy", envoys),
            ],
            counters: vec![
                ("sessions_opened", "Sessions opened", session.opened),
                ("sessions_failed", "Sessions that broke and attempts that failed", session.failed),
                ("envoy_flushes", "Flushes of Envoy's statistics taken in", view.node.flushes()),
                ("accepted", "Connections accepted", view.accepts.accepted()),
                ("accept_lost", "Connections gone before they could be accepted", view.accepts.lost()),
                (
                    "accept_exhausted",
                    "Times that no connection could be accepted for want of files or memory",
                    view.accepts.exhausted(),
                ),
            ],
            upstreams: upstreams.collect(),
        };
        if let Some(tls) = view.tls.as_ref().map(Live::status) {
            scrape.add_tls(&tls);
        }
        scrape
    }

    fn add_tls(&mut self, tls: &TlsStatus) {
        let not_after = i64::try_from(tls.not_after_unix.unwrap_or(0)).unwrap_or(i64::MAX);
        self.gauges.extend([
            ("tls_not_after_seconds", "The last moment of the own certificate, Unix time", not_after),
            (
                "tls_files_refused",
                "1 while what the TLS files hold cannot be used",
                tls.refused.is_some().into(),
            ),
        ]);
        self.counters.extend([
            ("tls_reloads", "Changes of the TLS files taken in", tls.reloads),
            ("tls_reload_failures", "Changes of the TLS files that could not be used", tls.refusals),
        ]);
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
