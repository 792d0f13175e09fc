//! When the phases of wakes ended, for people. In: what happened when; out: a timeline once a wake is whole, and spans on the way.
//! Bounded by the workloads that wake.

use std::collections::BTreeMap;
use std::time::Duration;

use zenvoy_shared::id::{Episode, NodeId, WorkloadId};

use super::core::Core;
use super::event::{Cause, Effect, Now, Switch};
use super::phases::{Phase, WakeSpans};
use super::sessions::Served;
use crate::model::WakeRecord;
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
    spans: WakeSpans,
}

impl Wake {
    fn since_held(&self, now: Now) -> Duration {
        Duration::from_nanos(now.unix_nanos.saturating_sub(self.held_unix_nanos))
    }

    /// A phase has ended. True the first time.
    fn ends(&mut self, phase: Phase, since_held: Duration) -> bool {
        let end = match phase {
            Phase::Intent => &mut self.timeline.intent,
            Phase::Scaled => &mut self.timeline.scaled,
            Phase::Started => &mut self.timeline.started,
            Phase::Ready => &mut self.timeline.ready,
            Phase::Switched => &mut self.timeline.switched,
            Phase::FirstByte => &mut self.timeline.first_byte,
        };
        let first = end.is_none();
        if first {
            *end = Some(since_held);
            self.spans.end(phase, since_held);
        }
        first
    }

    fn is_whole(&self) -> bool {
        self.timeline.first_byte.is_some() && (self.timeline.switched.is_some() || !self.asked)
    }
}

impl Timelines {
    /// A wake is about to be opened for a connection held since then.
    pub(super) fn held(&mut self, workload: &WorkloadId, wake: &WakeRecord, held_unix_nanos: u64) {
        let timeline = WakeTimeline { episode: Some(wake.episode.clone()), ..WakeTimeline::default() };
        let spans = WakeSpans::begin(workload, wake);
        self.wakes.insert(workload.clone(), Wake { held_unix_nanos, asked: false, timeline, spans });
    }

    fn ends(&mut self, workload: &WorkloadId, phase: Phase, now: Now) -> bool {
        self.wakes.get_mut(workload).is_some_and(|wake| wake.ends(phase, wake.since_held(now)))
    }

    /// The intent of that episode lies in the store. An intent that another replica wrote is not followed here.
    /// True the first time.
    fn intent(&mut self, workload: &WorkloadId, episode: &Episode, now: Now) -> bool {
        let known = self.wakes.get(workload).and_then(|wake| wake.timeline.episode.as_ref());
        known == Some(episode) && self.ends(workload, Phase::Intent, now)
    }

    pub(super) fn scaled(&mut self, workload: &WorkloadId, now: Now) {
        self.ends(workload, Phase::Scaled, now);
    }

    pub(super) fn started(&mut self, workload: &WorkloadId, now: Now) {
        self.ends(workload, Phase::Started, now);
    }

    /// Ready endpoints are there. Returns the episode the first time.
    fn ready(&mut self, workload: &WorkloadId, now: Now) -> Option<Episode> {
        let first = self.ends(workload, Phase::Ready, now);
        self.wakes.get(workload).filter(|_| first)?.timeline.episode.clone()
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
        if self.wakes.get(workload)?.timeline.episode.as_ref() == Some(episode) {
            self.ends(workload, Phase::Switched, now);
        }
        self.take_whole(workload)
    }

    pub(super) fn first_byte(&mut self, workload: &WorkloadId, waited: Duration) -> Option<WakeTimeline> {
        self.wakes.get_mut(workload)?.ends(Phase::FirstByte, waited);
        self.take_whole(workload)
    }

    fn take_whole(&mut self, workload: &WorkloadId) -> Option<WakeTimeline> {
        self.wakes.get(workload)?.is_whole().then(|| self.wakes.remove(workload))?.map(|wake| wake.timeline)
    }

    /// Whether the record of the wake was seen: once it is no longer open, nothing comes of the wake any more.
    fn had_intent(&self, workload: &WorkloadId) -> bool {
        self.wakes.get(workload).is_some_and(|wake| wake.timeline.intent.is_some())
    }

    /// The wake is over, or the workload is gone.
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
        let (usable, goes_on) = (view.has_usable(), view.open_wake().is_some());
        let wake = view.wake().map(|wake| &wake.record);
        if let Some(wake) = wake
            && self.timelines.intent(workload, &wake.episode, self.now)
        {
            let (workload, upstream) = (workload.clone(), wake.upstream.clone());
            self.effect(Effect::Happened(Occasion { workload, upstream, what: Happening::Waking }));
        }
        if !usable {
            if !goes_on && self.timelines.had_intent(workload) {
                self.timelines.forget(workload);
            }
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
