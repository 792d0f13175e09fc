//! What is said in a session once it is open: news up, requests for proof down.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::{debug, info, warn};
use zenvoy_shared::id::{DrainId, UpstreamId};
use zenvoy_shared::proto::controller_message::Message as FromController;
use zenvoy_shared::proto::node_message::Message as FromNode;
use zenvoy_shared::proto::{ControllerMessage, DemandRefused, Goodbye, NodeMessage, ProveQuiet, Welcome};

use super::SessionError;
use crate::node::{Farewell, Moment, Node};
use crate::table::{Refused, Verdict};

/// A controller that lives takes a message within this.
const TAKEN: Duration = Duration::from_secs(10);

/// A demand that was refused is not made again for so long: what waits in vain would only ask the more.
const SHORTEST_REFUSAL: Duration = Duration::from_secs(1);
const LONGEST_REFUSAL: Duration = Duration::from_secs(60);

/// At the end, the controller may take this long to end its side.
const ENDED: Duration = Duration::from_secs(2);

type To = mpsc::Sender<NodeMessage>;

/// Talks, and passes the controller's welcome on, until the session breaks (an error) or `stop`, after which the last news is told and the session ended.
pub(super) async fn talk(
    node: &Node,
    to: To,
    mut from: Streaming<ControllerMessage>,
    welcome: watch::Sender<Option<Welcome>>,
    stop: &CancellationToken,
) -> Result<(), SessionError> {
    loop {
        tokio::select! {
            () = node.until_news() => tell(node, &to).await?,
            heard = from.message() => match heard? {
                Some(message) => hear(node, &welcome, message),
                None => return Err(SessionError::Ended),
            },
            () = stop.cancelled() => break,
        }
    }
    tell(node, &to).await?;
    if node.farewell() == Some(Farewell::Forget) {
        info!("goodbye: the controllers forget this node");
        say(&to, FromNode::Goodbye(Goodbye {})).await?;
    }
    // Who is told goodbye ends the session when it has forgotten the node: the own half stays open until then.
    let to = (node.farewell() == Some(Farewell::Forget)).then_some(to);
    let _ = timeout(ENDED, async { while let Ok(Some(_)) = from.message().await {} }).await;
    drop(to);
    Ok(())
}

/// Demand goes first: somebody waits for it.
async fn tell(node: &Node, to: &To) -> Result<(), SessionError> {
    let news = node.news(Moment::now());
    if let Some(demand) = news.demand {
        say(to, FromNode::Demand(demand)).await?;
    }
    if let Some(activity) = news.activity {
        say(to, FromNode::Activity(activity)).await?;
    }
    for quiet in news.quiet {
        debug!(drain = quiet.drain_id, "proven quiet");
        say(to, FromNode::Quiet(quiet)).await?;
    }
    for timing in news.timings {
        say(to, FromNode::WakeTiming(timing)).await?;
    }
    Ok(())
}

async fn say(to: &To, message: FromNode) -> Result<(), SessionError> {
    match timeout(TAKEN, to.send(NodeMessage { message: Some(message) })).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(SessionError::Ended),
        Err(_) => Err(SessionError::Late("take what the node said")),
    }
}

fn hear(node: &Node, welcome: &watch::Sender<Option<Welcome>>, message: ControllerMessage) {
    match message.message {
        Some(FromController::ProveQuiet(request)) => prove(node, request),
        Some(FromController::WithdrawProof(withdrawn)) => node.withdraw_proof(&DrainId(withdrawn.drain_id)),
        Some(FromController::Welcome(said)) => drop(welcome.send_replace(Some(said))),
        Some(FromController::DemandRefused(said)) => refuse(node, said),
        // A newer controller's message: unknown fields are kept, unknown messages passed over (rule L4).
        None => debug!("a message that this build does not know was passed over"),
    }
}

fn refuse(node: &Node, said: DemandRefused) {
    if let Some(first) = said.refused.first() {
        warn!(count = said.refused.len(), reason = first.reason, "demand is refused: {}", first.message);
    }
    for refused in said.refused {
        // What cannot be named is not demanded either.
        let Ok(upstream) = refused.upstream.parse() else { continue };
        let retry_after =
            Duration::from_millis(refused.retry_after_ms).clamp(SHORTEST_REFUSAL, LONGEST_REFUSAL);
        let verdict = Verdict::Fail { reason: refused.reason, message: refused.message, retry_after };
        node.refuse(&upstream, Refused { verdict, until: Instant::now() + retry_after });
    }
}

fn prove(node: &Node, request: ProveQuiet) {
    let upstreams: Result<Vec<UpstreamId>, _> = request.upstreams.iter().map(|id| id.parse()).collect();
    match upstreams {
        Ok(upstreams) => node.prove_quiet(DrainId(request.drain_id), upstreams, Moment::now()),
        Err(error) => warn!(drain = request.drain_id, %error, "no proof is made for what cannot be named"),
    }
}
