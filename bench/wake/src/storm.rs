//! Many cold services hit at once: the time to the last scale write, against the same writes sent bare. Meanwhile Kubernetes' own
//! controllers pause, for both: on the same cores, what they do about the first writes would take time from the last ones, and
//! the more, the fewer cores there are.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::figure::{Figure, Quantile, Target};
use zenvoy_e2e::load::all;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::Installation;

use crate::bare::{self, Bare, answered};
use crate::clock::Wall;
use crate::say;
use crate::watch::Scaled;

/// When, after the first request or write was sent, the first, the middle and the last scale write were answered.
#[derive(Debug, Clone, Copy)]
struct Answers([Duration; 3]);

impl Answers {
    fn since(began: Wall, on: &Installation, backends: &[Backend]) -> Self {
        let mut after: Vec<Duration> =
            backends.iter().map(|backend| answered(on, backend, 1).since(began)).collect();
        after.sort_unstable();
        Self([after[0], after[after.len() / 2], after[after.len() - 1]])
    }

    fn last(self) -> Duration {
        self.0[2]
    }
}

/// `services` and `rounds` are at least 1.
pub(crate) async fn measure(on: &mut Installation, services: usize, rounds: usize) -> Vec<Figure> {
    let ours: Vec<Backend> =
        (0..services).map(|n| Backend::http(&format!("storm-{n}")).set("idle-after", "1s")).collect();
    let theirs: Vec<Backend> = (0..services).map(|n| bare::backend(&format!("calm-{n}"))).collect();
    for backend in ours.iter().chain(&theirs) {
        backend.apply(&on.cluster).await;
    }
    for backend in &ours {
        on.until_known(backend).await;
    }
    let bare = Bare::connect(on).await;
    let controllers = on.cluster.controllers().pid();
    let scaled = Scaled::start(on);
    let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        of_ours.push(wake_all(on, &ours, &scaled, Pause::of(controllers)).await);
        for backend in &ours {
            on.until_cold(backend).await;
        }
        of_theirs.push(scale_all(on, &bare, &theirs, Pause::of(controllers)).await);
        let of = |answers: &[Answers]| answers.last().map(|answers| answers.0);
        say(&format!(
            "storm {round} of {rounds}: first, middle, last answer {:?}; bare {:?}",
            of(&of_ours),
            of(&of_theirs)
        ));
    }
    let last =
        |answers: &[Answers]| -> Vec<Duration> { answers.iter().map(|answers| answers.last()).collect() };
    let (value, baseline) = (Quantile::Median.of(&last(&of_ours)), Quantile::Median.of(&last(&of_theirs)));
    let name = format!("{services} cold services at once: last scale answered / put + patch");
    vec![Figure::new(&name, value, Some(baseline), Target::Ratio(1.5))]
}

/// Kubernetes' controllers do nothing until this is dropped.
struct Pause(Pid);

impl Pause {
    fn of(controllers: Pid) -> Self {
        kill(controllers, Signal::SIGSTOP).expect("pause Kubernetes' controllers");
        Self(controllers)
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        // One that has ended meanwhile needs no end of its pause.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

async fn wake_all(on: &Installation, backends: &[Backend], scaled: &Scaled, pause: Pause) -> Answers {
    scaled.forget();
    let began = Wall::of(Instant::now());
    let served = all(backends.iter().map(|backend| on.http(backend, "/")));
    let written = async {
        until::so("all are scaled", async || scaled.count() >= backends.len()).await;
        drop(pause);
    };
    let (report, ()) = tokio::join!(served, written);
    report.assert_all_served();
    Answers::since(began, on, backends)
}

async fn scale_all(on: &Installation, bare: &Bare, backends: &[Backend], pause: Pause) -> Answers {
    let began = bare.storm(backends).await;
    drop(pause);
    let answers = Answers::since(began, on, backends);
    // The pods come and go as after a wake, before the next round.
    for backend in backends {
        until::so("the bare pod is there", async || !backend.pods(&on.cluster).await.is_empty()).await;
        bare.end(backend).await;
    }
    for backend in backends {
        until::so("the bare pod has ended", async || backend.pods(&on.cluster).await.is_empty()).await;
    }
    answers
}
