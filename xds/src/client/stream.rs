//! One stream, from its first request until it ends.

use std::collections::VecDeque;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::wants::Wants;
use crate::core::{ClientState, Handler};

/// The largest response that is taken, in bytes: a first answer holds everything.
const LARGEST: usize = 256 << 20;
/// So many requests may wait for the server. One that sends one response of a type at a time is never told to wait.
const UNSENT: usize = 256;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The server did not take the stream.
    #[error("the management server did not take the stream: {0}")]
    Refused(#[source] Status),
    /// The stream broke, or the server ended it with a status that is not OK.
    #[error("the stream to the management server broke: {0}")]
    Broken(#[source] Status),
}

/// Runs one delta ADS stream over `channel` until the server ends it, and says why. The caller decides whether and when
/// there is another one; `state` carries over what is held. Ends at once when dropped. A stream that stands says
/// nothing for as long as nothing changes: set HTTP/2 keep-alive on the channel to notice a dead connection.
///
/// # Errors
/// When the stream was not taken, or did not end with OK.
pub async fn run_stream(
    channel: Channel,
    state: &mut ClientState,
    handler: &mut (dyn Handler + Send),
) -> Result<(), StreamError> {
    Stream::open(channel, state).await?.run(state, handler, &Wants::default()).await
}

/// A stream that the server has taken.
pub(super) struct Stream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Stream {
    pub(super) async fn open(channel: Channel, state: &mut ClientState) -> Result<Self, StreamError> {
        let first = state.open();
        let (requests, receiver) = mpsc::channel(first.len().max(8));
        for request in first {
            // There is room for all of them; nothing else sends.
            let _ = requests.try_send(request);
        }
        let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(LARGEST);
        let opened = client.delta_aggregated_resources(ReceiverStream::new(receiver)).await;
        Ok(Self { requests, responses: opened.map_err(StreamError::Refused)?.into_inner() })
    }

    /// Until its end. Never waits for the server to take a request without reading what it sends: it may not take one
    /// before that is read.
    pub(super) async fn run(
        mut self,
        state: &mut ClientState,
        handler: &mut (dyn Handler + Send),
        wants: &Wants,
    ) -> Result<(), StreamError> {
        let mut outbox = VecDeque::new();
        loop {
            tokio::select! {
                room = self.requests.reserve(), if !outbox.is_empty() => match room {
                    Ok(room) => {
                        if let Some(request) = outbox.pop_front() {
                            room.send(request);
                        }
                    }
                    // The transport has dropped the requests: the responses end with the reason.
                    Err(_) => return reason(&mut self.responses).await,
                },
                response = self.responses.message(), if outbox.len() < UNSENT => {
                    match response.map_err(StreamError::Broken)? {
                        Some(response) => outbox.push_back(state.on_response(response, handler)),
                        None => return Ok(()),
                    }
                }
                () = wants.changed(), if outbox.is_empty() => outbox.extend(wants.take_in(state, handler)),
            }
        }
    }
}

/// Why no more requests are taken.
async fn reason(responses: &mut Streaming<DeltaDiscoveryResponse>) -> Result<(), StreamError> {
    while responses.message().await.map_err(StreamError::Broken)?.is_some() {}
    Ok(())
}
