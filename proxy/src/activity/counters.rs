//! What Envoy counts of each upstream's cluster. In: one flush of its statistics; out: counters by upstream. Pure.

use std::collections::HashMap;

use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
use envoy_types::pb::io::prometheus::client::{LabelPair, Metric, MetricFamily};
use zenvoy_shared::id::{Protocol, UpstreamId};

/// The statistics of a cluster that the proxy needs, as the suffix of their names.
pub const NEEDED: [&str; 5] = [
    "upstream_rq_active",
    "upstream_rq_pending_active",
    "upstream_rq_total",
    "upstream_cx_active",
    "upstream_cx_total",
];

/// The label that names the cluster when Envoy sends tags as labels.
const CLUSTER_LABEL: &str = "envoy.cluster_name";

/// One cluster's counters. What Envoy left out was never used: zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Requests under way; an open TCP connection counts as one.
    pub requests_active: u64,
    /// Requests that wait for a connection.
    pub requests_pending: u64,
    /// Requests ever begun.
    pub requests: u64,
    /// Connections open now.
    pub connections_active: u64,
    /// Connections ever begun.
    pub connections: u64,
}

impl Counters {
    /// Whether something runs now. Connections count only where a connection is the unit of work: an idle HTTP
    /// connection in Envoy's pool is nobody's.
    pub fn open(&self, protocol: Protocol) -> bool {
        let connections = !protocol.is_http() && self.connections_active > 0;
        self.requests_active > 0 || self.requests_pending > 0 || connections
    }

    /// What only grows: equal in two flushes means that nothing began in between.
    pub fn begun(&self, protocol: Protocol) -> (u64, u64) {
        (self.requests, if protocol.is_http() { 0 } else { self.connections })
    }

    fn set(&mut self, statistic: &str, value: u64) {
        match statistic {
            "upstream_rq_active" => self.requests_active = value,
            "upstream_rq_pending_active" => self.requests_pending = value,
            "upstream_rq_total" => self.requests = value,
            "upstream_cx_active" => self.connections_active = value,
            "upstream_cx_total" => self.connections = value,
            _ => {}
        }
    }
}

/// One flush of an Envoy's statistics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flush {
    /// When Envoy took the snapshot, milliseconds since the Unix epoch on this host's clock; `None` if it did not say.
    pub taken_unix_ms: Option<i64>,
    /// By upstream; those never used are left out.
    counters: HashMap<UpstreamId, Counters>,
}

impl Flush {
    /// Reads a message of Envoy's `MetricsService` sink; clusters that are no upstream's are passed over.
    pub fn of(message: &StreamMetricsMessage) -> Self {
        let mut flush = Self::default();
        for family in &message.envoy_metrics {
            for metric in &family.metric {
                flush.taken_unix_ms = flush.taken_unix_ms.max(metric.timestamp_ms.filter(|at| *at > 0));
                if let Some((upstream, statistic)) = names(family, metric) {
                    flush.counters.entry(upstream).or_default().set(statistic, value(metric));
                }
            }
        }
        flush
    }

    /// The counters of one upstream.
    pub fn get(&self, upstream: &UpstreamId) -> Counters {
        self.counters.get(upstream).copied().unwrap_or_default()
    }

    /// As if a snapshot taken at `taken_unix_ms` said these; for tests of what reads flushes.
    #[cfg(test)]
    pub(crate) fn with(taken_unix_ms: Option<i64>, counters: &[(&UpstreamId, Counters)]) -> Self {
        let counters = counters.iter().map(|(id, counters)| ((*id).clone(), *counters)).collect();
        Self { taken_unix_ms, counters }
    }
}

/// `cluster.<name>.<statistic>`, or `cluster.<statistic>` with the name as a label.
fn names<'a>(family: &'a MetricFamily, metric: &Metric) -> Option<(UpstreamId, &'a str)> {
    let (path, statistic) = family.name().strip_prefix("cluster.").map(split_last)?;
    if !NEEDED.contains(&statistic) {
        return None;
    }
    let label = || metric.label.iter().find(|label| label.name() == CLUSTER_LABEL).map(LabelPair::value);
    Some((upstream(path.or_else(label)?)?, statistic))
}

fn split_last(name: &str) -> (Option<&str>, &str) {
    name.rsplit_once('.').map_or((None, name), |(path, last)| (Some(path), last))
}

/// Envoy writes `:` as `_` in names of statistics; neither stands in a namespace or the name of a Service.
fn upstream(cluster: &str) -> Option<UpstreamId> {
    let (service, port) = cluster.rsplit_once(['_', ':'])?;
    format!("{service}:{port}").parse().ok()
}

fn value(metric: &Metric) -> u64 {
    let gauge = metric.gauge.as_ref().and_then(|gauge| gauge.value);
    let value =
        gauge.or_else(|| metric.counter.as_ref().and_then(|counter| counter.value)).unwrap_or_default();
    // Envoy's statistics are unsigned integers, carried as doubles.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = value.max(0.0) as u64;
    whole
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::io::prometheus::client::{Counter, Gauge};

    use super::*;

    fn gauge(name: &str, value: f64, label: Option<&str>) -> MetricFamily {
        let label =
            label.map(|value| LabelPair { name: Some(CLUSTER_LABEL.into()), value: Some(value.into()) });
        let gauge = Some(Gauge { value: Some(value) });
        let metric =
            Metric { gauge, label: label.into_iter().collect(), timestamp_ms: Some(7), ..Default::default() };
        MetricFamily { name: Some(name.into()), metric: vec![metric], ..Default::default() }
    }

    fn counter(name: &str, value: f64) -> MetricFamily {
        let counter = Some(Counter { value: Some(value), ..Default::default() });
        let metric = Metric { counter, timestamp_ms: Some(7), ..Default::default() };
        MetricFamily { name: Some(name.into()), metric: vec![metric], ..Default::default() }
    }

    fn flush(families: Vec<MetricFamily>) -> Flush {
        Flush::of(&StreamMetricsMessage { envoy_metrics: families, ..Default::default() })
    }

    #[test]
    fn the_cluster_is_found_in_plain_names_and_in_labels() {
        let cart = UpstreamId::new("shop", "cart", 80);
        let expected = Counters { requests_active: 2, ..Default::default() };
        let plain = flush(vec![gauge("cluster.shop/cart_80.upstream_rq_active", 2.0, None)]);
        let labelled = flush(vec![gauge("cluster.upstream_rq_active", 2.0, Some("shop/cart_80"))]);
        assert_eq!((plain.get(&cart), labelled.get(&cart)), (expected, expected));
        assert_eq!(plain.taken_unix_ms, Some(7));
    }

    #[test]
    fn what_a_flush_leaves_out_is_zero() {
        let flush = flush(vec![counter("cluster.shop/cart_80.upstream_rq_total", 9.0)]);
        let counters = flush.get(&UpstreamId::new("shop", "cart", 80));
        assert_eq!(counters, Counters { requests: 9, ..Default::default() });
        assert_eq!(flush.get(&UpstreamId::new("shop", "other", 80)), Counters::default());
    }

    #[test]
    fn other_clusters_and_other_statistics_are_passed_over() {
        let flush = flush(vec![
            gauge("cluster.zenvoy-proxy.upstream_rq_active", 1.0, None),
            gauge("cluster.shop/cart_80.membership_total", 1.0, None),
            gauge("listener_manager.total_listeners_active", 1.0, None),
            gauge("cluster.upstream_rq_active", 1.0, None),
        ]);
        assert!(flush.counters.is_empty());
    }

    #[test]
    fn a_pooled_connection_is_activity_for_tcp_and_not_for_http() {
        let pooled = Counters { connections_active: 1, connections: 1, ..Default::default() };
        assert!(pooled.open(Protocol::Tcp) && pooled.open(Protocol::Tls));
        assert!(!pooled.open(Protocol::Http) && !pooled.open(Protocol::Http2));
        assert_eq!((pooled.begun(Protocol::Tcp), pooled.begun(Protocol::Http)), ((0, 1), (0, 0)));
    }
}
