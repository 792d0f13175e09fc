//! The life of one pod, from pending to removed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Addresses;
use super::api::{Gone, Remote};
use super::behaviour::{BEHAVIOUR, Behaviour};
use super::container::Launch;
use super::status::{Shown, Stage, now, unschedulable};
use crate::process::Process;

/// How often a pod is looked at: whether it accepts connections, whether its process has ended.
const LOOK: Duration = Duration::from_millis(10);
/// The same of one that is ready, of which there may be many.
const LATER_LOOK: Duration = Duration::from_millis(100);
/// The first pause before a restart; it doubles with each, up to the longest. Kubernetes takes 10 s to 5 min.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

type Deletion = watch::Receiver<Option<u64>>;

struct Life {
    remote: Remote,
    launch: Launch,
    shown: Shown,
    behaviour: Behaviour,
    process: Option<Process>,
}

/// Runs a pod until it is told to end and has.
pub(super) async fn run(
    client: Client,
    folder: PathBuf,
    pod: Pod,
    addresses: Addresses,
    mut deletion: Deletion,
) {
    let Some(container) = pod.spec.as_ref().and_then(|spec| spec.containers.first()) else { return };
    let shown = Shown {
        container: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        addresses,
        since: now(),
        restarts: 0,
    };
    let mut life = Life {
        remote: Remote::new(client, &pod),
        launch: Launch::new(&folder, &pod, container, addresses),
        shown,
        behaviour: Behaviour::read(pod.annotations().get(BEHAVIOUR).map(String::as_str)),
        process: None,
    };
    let told = async {
        let told = deletion.wait_for(Option::is_some).await;
        told.ok().and_then(|grace| *grace).unwrap_or(0)
    };
    let grace = tokio::select! {
        biased;
        grace = told => grace,
        Err(Gone) = life.live() => return,
    };
    life.end(Duration::from_secs(grace)).await;
}

impl Life {
    /// Runs until something stops it from outside; an error: the API server has no such pod any more.
    async fn live(&mut self) -> Result<(), Gone> {
        if self.behaviour == Behaviour::Unschedulable {
            self.remote.patch_status(unschedulable()).await?;
            return std::future::pending().await;
        }
        self.remote.bind().await?;
        match self.behaviour {
            Behaviour::ImagePullError => return self.fail_to_pull().await,
            Behaviour::SlowStart(delay) => {
                self.wait("ContainerCreating", "").await?;
                tokio::time::sleep(delay).await;
            }
            _ => {}
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let crash = self.behaviour == Behaviour::CrashLoop;
            self.process = Some(if crash { self.launch.crash() } else { self.launch.start() });
            self.serve().await?;
            self.process = None;
            self.shown.restarts += 1;
            let message = format!("back-off {pause:?} restarting failed container={}", self.shown.container);
            self.wait("CrashLoopBackOff", &message).await?;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Shows the container as running, then as ready; returns when its process has ended.
    async fn serve(&mut self) -> Result<(), Gone> {
        self.show(&Stage::Running { ready: false }).await?;
        let mut ready = false;
        let mut pace = tokio::time::interval(LOOK);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.process.as_mut().is_some_and(|process| process.ended().is_none()) {
            if !ready && self.behaviour != Behaviour::Unready && accepts(&self.launch.probe).await {
                ready = true;
                self.show(&Stage::Running { ready }).await?;
                pace = tokio::time::interval(LATER_LOOK);
            }
            pace.tick().await;
        }
        Ok(())
    }

    async fn fail_to_pull(&self) -> Result<(), Gone> {
        let image = &self.shown.image;
        let message = format!("failed to pull and unpack image \"{image}\": not found");
        self.wait("ErrImagePull", &message).await?;
        self.wait("ImagePullBackOff", &format!("Back-off pulling image \"{image}\"")).await?;
        std::future::pending().await
    }

    async fn wait(&self, reason: &'static str, message: &str) -> Result<(), Gone> {
        self.show(&Stage::Waiting { reason, message: message.into() }).await
    }

    async fn show(&self, stage: &Stage) -> Result<(), Gone> {
        self.remote.patch_status(self.shown.status(stage)).await
    }

    /// SIGTERM, the grace period, SIGKILL; then the API server may forget the pod.
    async fn end(mut self, grace: Duration) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::SIGTERM);
            let ended = async {
                let mut pace = tokio::time::interval(LOOK);
                while process.ended().is_none() {
                    pace.tick().await;
                }
            };
            // The drop of a process that is still there is its SIGKILL.
            let _ = tokio::time::timeout(grace, ended).await;
        }
        // Gone already is what it is to be.
        let _ = self.remote.delete().await;
    }
}

async fn accepts(probe: &[SocketAddr]) -> bool {
    for address in probe {
        if TcpStream::connect(address).await.is_ok() {
            return true;
        }
    }
    probe.is_empty()
}
