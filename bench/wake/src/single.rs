//! One wake after the other, each beside a bare put and patch: to the scale write's answer, and from the ready
//! EndpointSlice to the client's first byte.

use std::time::Duration;

use crate::figure::{Figure, Quantile, Target};
use zenvoy_e2e::load::{Record, once};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::Installation;

use crate::bare::{self, Bare, answered};
use crate::clock::Wall;
use crate::say;
use crate::watch::{Watch, listening};

/// What was seen of a series of wakes.
#[derive(Default)]
struct Series {
    /// From the client's first byte to the API server's answer to the scale write.
    to_scale: Vec<Duration>,
    /// The same writes, bare.
    bare: Vec<Duration>,
    /// From the ready EndpointSlice's arrival at a bare watcher to the client's first byte.
    from_slice: Vec<Duration>,
    /// From the pod's readiness at a bare watcher to the EndpointSlice's arrival there.
    pod_to_slice: Vec<Duration>,
    /// From the scale write's answer to the backend's first moment of listening.
    to_listening: Vec<Duration>,
    /// From there to the pod's readiness at a bare watcher.
    listening_to_pod: Vec<Duration>,
}

pub(crate) async fn measure(on: &mut Installation, services: usize) -> Vec<Figure> {
    let ours: Vec<Backend> =
        (0..services).map(|n| Backend::http(&format!("one-{n}")).set("idle-after", "1s")).collect();
    let theirs: Vec<Backend> = (0..services).map(|n| bare::backend(&format!("bare-{n}"))).collect();
    for (ours, theirs) in ours.iter().zip(&theirs) {
        ours.apply(&on.cluster).await;
        theirs.apply(&on.cluster).await;
    }
    for backend in &ours {
        on.until_known(backend).await;
    }
    let watch = Watch::start(on);
    say(&format!("{services} first wakes, each beside bare writes"));
    let first = series(on, &watch, &ours, &theirs).await;
    for backend in &ours {
        on.until_cold(backend).await;
    }
    say(&format!("{services} later wakes"));
    let second = series(on, &watch, &ours, &theirs).await;
    for backend in &ours {
        on.until_cold(backend).await;
    }
    figures(&first, &second)
}

async fn series(on: &Installation, watch: &Watch, ours: &[Backend], theirs: &[Backend]) -> Series {
    let mut bare = Bare::connect(on).await;
    watch.forget();
    let mut series = Series::default();
    let mut wakes: Vec<Record> = Vec::new();
    let mut patches: Vec<(Duration, Wall)> = Vec::new();
    for (ours, theirs) in ours.iter().zip(theirs) {
        // Read well before, so that it warms nothing for the bare patch.
        let version = bare.version(theirs).await;
        let record = once(&on.http(ours, "/")).await;
        record.served();
        wakes.push(record);
        let put = bare.put().await;
        patches.push((put, bare.scale(theirs, version.as_deref()).await));
        // Its pod's start must not fall into the next wake.
        until::so("the bare pod is ready", async || watch.pod(theirs.name()).is_some()).await;
        bare.end(theirs).await;
        until::so("the bare pod has ended", async || theirs.pods(&on.cluster).await.is_empty()).await;
    }
    for (((ours, theirs), wake), (put, sent)) in ours.iter().zip(theirs).zip(&wakes).zip(patches) {
        let scaled = answered(on, ours, 1);
        series.to_scale.push(scaled.since(Wall::of(wake.started)));
        series.bare.push(put + answered(on, theirs, 1).since(sent));
        let seen = (wake.first_byte, watch.slice(ours.name()), watch.pod(ours.name()));
        let ((Some(first_byte), Some(slice), Some(pod)), Some(listening)) =
            (seen, listening(on, ours.name()))
        else {
            panic!("{} was served, but its way there was not seen: {seen:?}", ours.name());
        };
        series.from_slice.push(first_byte.saturating_duration_since(slice));
        series.pod_to_slice.push(slice.saturating_duration_since(pod));
        series.to_listening.push(listening.since(scaled));
        series.listening_to_pod.push(Wall::of(pod).since(listening));
    }
    series
}

fn figures(first: &Series, second: &Series) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (which, series) in [("first wake", first), ("later wake", second)] {
        for (quantile, most) in [(Quantile::Median, 1.5), (Quantile::P99, 3.0)] {
            let name = format!("{which}: first byte to scale answered / put + patch");
            let (ours, bare) = (&series.to_scale, Some(series.bare.as_slice()));
            figures.push(Figure::of(&name, quantile, ours, bare, Target::Ratio(most)));
        }
        for (step, samples) in [
            ("scale answered to backend listening", &series.to_listening),
            ("backend listening to pod seen ready", &series.listening_to_pod),
            ("pod seen ready to EndpointSlice", &series.pod_to_slice),
        ] {
            let name = format!("{which}: {step} (Kubernetes)");
            figures.push(Figure::of(&name, Quantile::Median, samples, None, Target::None));
        }
        for (quantile, most) in [(Quantile::Median, 5), (Quantile::P99, 20)] {
            let name = format!("{which}: EndpointSlice to client's first byte");
            let target = Target::Time(Duration::from_millis(most));
            figures.push(Figure::of(&name, quantile, &series.from_slice, None, target));
        }
    }
    figures
}
