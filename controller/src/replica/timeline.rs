//! When the phases of wakes ended, for people. In: what happened when; out: a timeline once a wake is whole. Pure; bounded by
//! the workloads that wake.

use std::collections::BTreeMap;
use std::time::Duration;

use zenvoy_shared::id::{Episode, NodeId, WorkloadId};

use super::core::Core;
use super::event::{Cause, Effect, Now, Switch};
use super::sessions::Served;
use crate::report::{Happening, Occasion, WakeTimeline};

/// The wakes that go on.
#[derive(Debug, Default)]
pub(super) struct Timelines {
    wakes: BTreeMap<WorkloadId, Wake>,
}

#[derive(Debug)]
struct Wake {
    held_unix_nanos: u64,
    asked: bool,
    timeline: WakeTimeline,
}

impl Wake {
    fn since_held(&self, now: Now) -> Option<Duration> {
        Some(Duration::from_nanos(now.unix_nanos.saturating_sub(self.held_unix_nanos)))
    }

    fn is_whole(&self) -> bool {
        self.timeline.first_byte.is_some() && (self.timeline.switched.is_some() || !self.asked)
    }
}

impl Timelines {
    /// A wake is about to be opened for a connection held since then.
    pub(super) fn held(&mut self, workload: &WorkloadId, episode: Episode, held_unix_nanos: u64) {
        let timeline = WakeTimeline { episode: Some(episode), ..WakeTimeline::default() };
        self.wakes.insert(workload.clone(), Wake { held_unix_nanos, asked: false, timeline });
    }

    /// The intent of that episode lies in the store. An intent that another replica wrote is not followed here.
    /// True the first time.
    fn intent(&mut self, workload: &WorkloadId, episode: &Episode, now: Now) -> bool {
        let Some(wake) = self.wakes.get_mut(workload) else { return false };
        let first = wake.timeline.episode.as_ref() == Some(episode) && wake.timeline.intent.is_none();
        if first {
            wake.timeline.intent = wake.since_held(now);
        }
        first
    }

    pub(super) fn scaled(&mut self, workload: &WorkloadId, now: Now) {
        if let Some(wake) = self.wakes.get_mut(workload) {
            wake.timeline.scaled = wake.since_held(now);
        }
    }

    pub(super) fn started(&mut self, workload: &WorkloadId, now: Now) {
        if let Some(wake) = self.wakes.get_mut(workload)
            && wake.timeline.started.is_none()
        {
            wake.timeline.started = wake.since_held(now);
        }
    }

    /// Ready endpoints are there. Returns the episode the first time.
    fn ready(&mut self, workload: &WorkloadId, now: Now) -> Option<Episode> {
        let wake = self.wakes.get_mut(workload)?;
        if wake.timeline.ready.is_some() {
            return None;
        }
        wake.timeline.ready = wake.since_held(now);
        wake.timeline.episode.clone()
    }

    /// A node was asked when it has applied the switch: the wake is not whole before it has.
    fn asked(&mut self, workload: &WorkloadId) {
        if let Some(wake) = self.wakes.get_mut(workload) {
            wake.asked = true;
        }
    }

    pub(super) fn switched(
        &mut self,
        workload: &WorkloadId,
        episode: &Episode,
        now: Now,
    ) -> Option<WakeTimeline> {
        let wake = self.wakes.get_mut(workload)?;
        if wake.timeline.episode.as_ref() == Some(episode) {
            wake.timeline.switched = wake.since_held(now);
        }
        self.take_whole(workload)
    }

    pub(super) fn first_byte(&mut self, workload: &WorkloadId, waited: Duration) -> Option<WakeTimeline> {
        let wake = self.wakes.get_mut(workload)?;
        if wake.timeline.first_byte.is_none() {
            wake.timeline.first_byte = Some(waited);
        }
        self.take_whole(workload)
    }

    fn take_whole(&mut self, workload: &WorkloadId) -> Option<WakeTimeline> {
        self.wakes.get(workload)?.is_whole().then(|| self.wakes.remove(workload))?.map(|wake| wake.timeline)
    }

    /// The workload is gone.
    pub(super) fn forget(&mut self, workload: &WorkloadId) {
        self.wakes.remove(workload);
    }
}

impl Core {
    /// What a changed view says of a wake's phases.
    pub(super) fn look_at_timeline(&mut self, workload: &WorkloadId) {
        let view = self.inventory.view(workload);
        if view.facts.is_none() {
            self.timelines.forget(workload);
            return;
        }
        let (usable, wake) = (view.has_usable(), view.wake().map(|wake| &wake.record));
        if let Some(wake) = wake
            && self.timelines.intent(workload, &wake.episode, self.now)
        {
            let (workload, upstream) = (workload.clone(), wake.upstream.clone());
            self.effect(Effect::Happened(Occasion { workload, upstream, what: Happening::Waking }));
        }
        if !usable {
            return;
        }
        let Some(episode) = self.timelines.ready(workload, self.now) else { return };
        let upstreams = self.upstreams_of(workload);
        let served =
            |node: &NodeId| self.sessions.get(node).is_some_and(|session| session.served == Served::Fully);
        if let Some(node) = self.nodes.demanding(&upstreams).filter(|node| served(node)).cloned() {
            self.timelines.asked(workload);
            let switch = Switch { workload: workload.clone(), upstreams, cause: Cause::Wake(episode) };
            self.effect(Effect::AwaitApplied(node, switch));
        }
    }

    pub(super) fn tell_timeline(&mut self, workload: &WorkloadId, whole: Option<WakeTimeline>) {
        let (Some(timeline), Some(upstream)) = (whole, self.upstreams_of(workload).into_iter().next()) else {
            return;
        };
        let what = Happening::Woken(timeline);
        self.effect(Effect::Happened(Occasion { workload: workload.clone(), upstream, what }));
    }
}
