//! Many cold services hit at once: the time to the last scale write, against the same writes sent bare.

use std::time::{Duration, Instant};

use crate::figure::{Figure, Quantile, Target};
use zenvoy_e2e::load::all;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::Installation;

use crate::bare::{self, Bare, answered};
use crate::clock::Wall;

pub(crate) async fn measure(on: &mut Installation, services: usize, rounds: usize) -> Figure {
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
    let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        of_ours.push(wake_all(on, &ours).await);
        for backend in &ours {
            on.until_cold(backend).await;
        }
        of_theirs.push(scale_all(on, &bare, &theirs).await);
    }
    let (value, baseline) = (Quantile::Median.of(&of_ours), Quantile::Median.of(&of_theirs));
    let name = format!("{services} cold services at once: last scale answered / put + patch");
    Figure::new(&name, value, Some(baseline), Target::Ratio(1.5))
}

async fn wake_all(on: &Installation, backends: &[Backend]) -> Duration {
    let began = Wall::of(Instant::now());
    let report = all(backends.iter().map(|backend| on.http(backend, "/"))).await;
    report.assert_all_served();
    last_answer(on, backends).since(began)
}

async fn scale_all(on: &Installation, bare: &Bare, backends: &[Backend]) -> Duration {
    let began = bare.storm(backends).await;
    let took = last_answer(on, backends).since(began);
    // The pods come and go as after a wake, before the next round.
    for backend in backends {
        until::so("the bare pod is there", async || !backend.pods(&on.cluster).await.is_empty()).await;
        bare.end(backend).await;
    }
    for backend in backends {
        until::so("the bare pod has ended", async || backend.pods(&on.cluster).await.is_empty()).await;
    }
    took
}

fn last_answer(on: &Installation, backends: &[Backend]) -> Wall {
    backends.iter().map(|backend| answered(on, backend, 1)).max().expect("there are some")
}
