//! The sink of Envoy's statistics.

use std::sync::Arc;

use envoy_types::pb::envoy::service::metrics::v3::metrics_service_server::MetricsService;
use envoy_types::pb::envoy::service::metrics::v3::{StreamMetricsMessage, StreamMetricsResponse};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::identity::{envoy, verify};
use crate::activity::counters::Flush;
use crate::node::{Moment, Node};

/// Gives each flush to the node.
#[derive(Debug)]
pub(super) struct MetricsSink {
    node: Arc<Node>,
    stop: CancellationToken,
}

impl MetricsSink {
    pub(super) fn new(node: Arc<Node>, stop: CancellationToken) -> Self {
        Self { node, stop }
    }
}

#[tonic::async_trait]
impl MetricsService for MetricsSink {
    async fn stream_metrics(
        &self,
        request: Request<Streaming<StreamMetricsMessage>>,
    ) -> Result<Response<StreamMetricsResponse>, Status> {
        let envoy = envoy(request.extensions())?;
        let mut messages = request.into_inner();
        let mut verified = false;
        loop {
            let message = tokio::select! {
                () = self.stop.cancelled() => return Err(Status::unavailable("the proxy ends")),
                message = messages.message() => message?,
            };
            let Some(message) = message else { return Ok(Response::new(StreamMetricsResponse {})) };
            if !verified {
                let named = message.identifier.as_ref().and_then(|identifier| identifier.node.as_ref());
                verify(self.node.id(), named.map_or("", |node| &node.id))?;
                self.node.envoy_speaks(envoy, Moment::now());
                verified = true;
            }
            self.node.flush(envoy, &Flush::of(&message), Moment::now());
        }
    }
}
