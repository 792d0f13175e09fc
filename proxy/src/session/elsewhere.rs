//! A controller that alone has lost its store cannot register the node, and the others may scale down what it relays to. So all
//! are asked before such a one is taken, and again and again while it is (rule N2).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;
use zenvoy_shared::proto::controller_message::Message as FromController;
use zenvoy_shared::proto::{Activity, Demand, Hello};

use super::link::{self, Place};
use super::{Session, SessionError, WELCOME};

/// For as long as the others may have their store back before the node is registered with one of them.
const LOOK: Duration = Duration::from_secs(5);

impl Session {
    /// A place where the node is registered now: of those that answered, the first. Each place but `here` is asked; the controller
    /// at hand, and whoever does not answer in time, registers nobody.
    pub(super) async fn registered_elsewhere(
        &self,
        unregistered_at: &str,
        here: SocketAddr,
    ) -> Option<Place> {
        let hello = Hello {
            // It is not demand that is asked about, and what is not said of activity is unknown.
            demand: Some(Demand::default()),
            activity: Some(Activity::default()),
            unregistered_at: unregistered_at.into(),
            ..self.greeting(self.node.introduction())
        };
        let mut asked = JoinSet::new();
        let mut places = link::places(&self.controllers).await;
        if places.len() > 1 {
            // An only address may stand for several controllers; this one would know that it is asked itself, if it is not of
            // an earlier build.
            places.retain(|place| place.address != here);
        }
        for place in places {
            let (tls, hello) = (self.tls.clone(), hello.clone());
            asked.spawn(async move {
                let registers = async {
                    let link = link::connect_to(&place, tls.as_ref()).await?;
                    let (_to, mut from) = super::open(&link, hello).await?;
                    while let Some(heard) = from.message().await? {
                        if let Some(FromController::Welcome(welcome)) = heard.message {
                            return Ok(!welcome.relayed);
                        }
                    }
                    Err(SessionError::Ended)
                };
                let late = || Err(SessionError::Late("register the node"));
                let registers = timeout(WELCOME, registers).await.unwrap_or_else(|_| late());
                registers
                    .inspect_err(|error| debug!(address = %place.address, %error, "no registration there"))
                    .unwrap_or(false)
                    .then_some(place)
            });
        }
        while let Some(answer) = asked.join_next().await {
            if let Ok(Some(place)) = answer {
                return Some(place);
            }
        }
        None
    }

    /// Until one of the others can register the node.
    pub(super) async fn until_registered_elsewhere(&self, unregistered_at: &str, here: SocketAddr) -> Place {
        loop {
            // Not all nodes at once.
            tokio::time::sleep(LOOK.mul_f64(rand::random_range(0.5..1.0))).await;
            if let Some(place) = self.registered_elsewhere(unregistered_at, here).await {
                return place;
            }
        }
    }
}
