//! The whole proxy: binds, runs all its tasks, and ends them in order.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::FusedFuture;
use http::Uri;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::{self, AdminError, Status, View};
use crate::ending::{ENDING, Ending};
use crate::hold::Holder;
use crate::local::{Local, LocalAddress, LocalError};
use crate::node::{Moment, Node};
use crate::options::{ProxyOptions, Transport};
use crate::session::Session;
use crate::table::Table;
use crate::transport::rules::{Rules, RulesError};
use crate::transport::{AcceptCounts, ListenError, accept_each, bind_all, raise_file_limit, tproxy};

/// The proxy could not start, or a part of it died.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No controller was named.
    #[error("no controller is named; give --controllers http://host:port")]
    NoController,
    /// The node has nothing to prove itself with.
    #[error("{0} speaks TLS; give --tls-dir with the certificate of this node")]
    NoCertificate(Uri),
    /// What is there to protect the node would not be used.
    #[error("certificates are given (--tls-dir), and {0} is plaintext; give https://host:port")]
    Plaintext(Uri),
    /// The address for Envoy is taken.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The admin address is taken.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The transparent socket could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The rules could not be put in place.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A part ended that must not.
    #[error("a part of the proxy died: {0}; please report it with the log")]
    Died(String),
}

/// A proxy that is bound and not yet running.
#[derive(Debug)]
pub struct Proxy {
    options: ProxyOptions,
    local: Local,
    admin: Option<TcpListener>,
    transparent: Option<(TcpListener, Rules)>,
    session: Session,
    view: Arc<View>,
}

/// Shows a proxy's status from the process it runs in. Clones show the same proxy.
#[derive(Debug, Clone)]
pub struct Handle {
    view: Arc<View>,
}

impl Handle {
    /// The status now.
    pub fn status(&self) -> Status {
        self.view.status()
    }

    /// Whether a controller has ever sent the table.
    pub fn is_ready(&self) -> bool {
        self.view.is_ready()
    }
}

/// Runs a proxy until `stop`, and ends it in order: see [`Proxy::run`].
pub async fn run(options: ProxyOptions, stop: CancellationToken) -> Result<(), ProxyError> {
    Proxy::bind(options).await?.run(stop).await
}

impl Proxy {
    /// Binds all that is bound once, so that what is wrong with the options is known before anything runs.
    pub async fn bind(options: ProxyOptions) -> Result<Self, ProxyError> {
        if options.controllers.is_empty() {
            return Err(ProxyError::NoController);
        }
        check_tls(&options)?;
        match raise_file_limit() {
            Ok(limit) => info!(limit, "open files"),
            Err(error) => warn!(%error, "the limit of open files stays as it is"),
        }
        let local = Local::bind(&options.local).await?;
        let admin = match options.admin {
            Some(address) => Some(admin::bind(address).await?),
            None => None,
        };
        let transparent = match &options.transport {
            Transport::Listen => None,
            Transport::Tproxy { port, pool, rules } => {
                let listener = tproxy::listen(*port)?;
                Some((listener, Rules::install(*rules, pool, *port)?))
            }
        };
        let table = Arc::new(Table::default());
        let node = Node::new(options.node.clone(), table.clone(), options.max_held, options.silence());
        let holder = Holder::new(node.clone(), table.clone(), options.patience, options.pace);
        let session =
            Session::new(node.clone(), table.clone(), options.controllers.clone(), options.tls.clone())
                .in_pod(options.pod.clone());
        let accepts = Arc::new(AcceptCounts::default());
        let tls = options.tls.clone();
        let view = Arc::new(View { node, table, holder, accepts, session: session.status(), tls });
        Ok(Self { options, local, admin, transparent, session, view })
    }

    /// Where Envoy finds it.
    pub fn local_address(&self) -> &LocalAddress {
        self.local.address()
    }

    /// Where its admin interface is.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Shows its status while it runs.
    pub fn handle(&self) -> Handle {
        Handle { view: self.view.clone() }
    }

    /// Runs until `stop`, and under a living Envoy a while longer: until nothing is open or `relay_grace` is nearly over. Then it
    /// accepts no more and takes its rules out; held connections may still be served until `held_grace` and are failed after
    /// it, relayed ones are reset after `relay_grace`; at last Envoy's streams and the session end.
    ///
    /// # Errors
    /// When one of its parts died; the proxy ends in the same order.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ProxyError> {
        let Self { options, local, admin, transparent, session, view } = self;
        let (node, local_address) = (&options.node, local.address());
        info!(%node, local = %local_address, "the proxy runs; connections are taken by {}", options.transport);
        let (front, rear) = (CancellationToken::new(), CancellationToken::new());
        let mut parts = JoinSet::new();
        parts.spawn(part("Envoy's side", local.serve(view.node.clone(), session.uplink(), rear.clone())));
        parts.spawn(part("the session", session.run(rear.clone())));
        parts.spawn(part("the node's account", keep(view.clone(), rear.clone())));
        if let Some(listener) = admin {
            parts.spawn(part("the admin interface", admin::serve(listener, view.clone(), rear.clone())));
        }
        let told = async {
            stop.cancelled().await;
            let ending = Ending::begins(&options);
            ending.serve_on(&view).await;
            ending
        };
        let mut accepting = pin!(accept(transparent, &view, front.clone()).fuse());
        let (ending, died) = tokio::select! {
            ending = told => (Some(ending), None),
            died = parts.join_next() => (None, died),
            () = &mut accepting => (None, None),
        };
        front.cancel();
        if !accepting.is_terminated() {
            accepting.await;
        }
        let ending = ending.unwrap_or_else(|| Ending::begins(&options));
        ending.drain(&view).await;
        view.node.part(ending.farewell(&view.node).await);
        rear.cancel();
        // What does not end in time are connections that Envoys keep open; they end with the set.
        let _ = timeout(ENDING, async { while parts.join_next().await.is_some() {} }).await;
        info!(node = %options.node, "the proxy has ended");
        died.map_or(Ok(()), |died| Err(ProxyError::Died(died.unwrap_or_else(|error| error.to_string()))))
    }
}

/// A part of the proxy, with its name at its end.
async fn part(name: &'static str, runs: impl Future<Output = ()>) -> String {
    runs.await;
    format!("{name} ended")
}

/// What a session would only find out later, again and again.
fn check_tls(options: &ProxyOptions) -> Result<(), ProxyError> {
    for controller in &options.controllers {
        match (controller.scheme_str() == Some("https"), &options.tls) {
            (true, None) => return Err(ProxyError::NoCertificate(controller.clone())),
            (false, Some(_)) => return Err(ProxyError::Plaintext(controller.clone())),
            _ => {}
        }
    }
    Ok(())
}

/// Accepts until `stop`; then nothing of it is left in the kernel.
async fn accept(transparent: Option<(TcpListener, Rules)>, view: &Arc<View>, stop: CancellationToken) {
    let holder = view.holder.clone();
    let found = move |accepted| holder.take(accepted);
    match transparent {
        None => bind_all(&view.table, found, &view.accepts, stop).await,
        Some((listener, rules)) => {
            // Nobody knows yet what a connection is for: clients wait in the kernel's queue until the table has come.
            let mut session = view.session.clone();
            let told = tokio::select! {
                told = session.wait_for(|session| session.table_received) => told.is_ok(),
                () = stop.cancelled() => false,
            };
            if told {
                accept_each(listener, found, &view.accepts, stop).await;
            }
            // It waits for another process: not on a thread that serves connections.
            let _ = tokio::task::spawn_blocking(move || drop(rules)).await;
        }
    }
}

/// Keeps the node's account true to the table and to time.
async fn keep(view: Arc<View>, stop: CancellationToken) {
    let mut layout = view.table.layout();
    loop {
        let expiry = view.node.expires_at();
        // Without a flush there is nothing to expire; with one, the next look comes in time.
        let look = expiry.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
        tokio::select! {
            () = stop.cancelled() => return,
            changed = layout.changed() => match changed {
                Ok(()) => view.node.track(Moment::now()),
                Err(_) => return,
            },
            () = sleep_until(look.into()) => view.node.expire(Instant::now()),
        }
    }
}
