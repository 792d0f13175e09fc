//! Where the source and the leader leave what is to be written, and the writer takes it from. The newest replaces what
//! waits; nobody waits for the API server here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::jiff::Timestamp;
use tokio::sync::Notify;
use tracing::debug;
use zenvoy_shared::id::{Uid, UpstreamId};

use super::render::{self, Text};
use crate::model::Problem;
use crate::report::{Occasion, Status};
use crate::source::kube::crd::{ConditionStatus, Status as ObjectStatus};
use crate::source::kube::keep::SERVICE_CONDITION;
use crate::source::kube::notice::{Notice, ObjectId, Shown};

/// Events that wait at most; beyond, the oldest is dropped.
const EVENTS: usize = 1_024;

/// Shared by [`KubeSource`](crate::source::kube::KubeSource), [`KubeReporter`](super::KubeReporter) and
/// [`ReportWriter`](super::ReportWriter).
#[derive(Clone, Default)]
pub struct Desk {
    papers: Arc<Mutex<Papers>>,
    changed: Arc<Notify>,
}

/// What the writer should do next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Job {
    Status(ObjectId, ObjectStatus),
    /// The condition that a Service should carry, if any.
    Condition(ObjectId, Option<ConditionStatus>),
    /// The annotation that a Service should carry, if any.
    LastGood(ObjectId, Option<String>),
    Event(ObjectId, Uid, Text),
}

/// What stands on an object as far as is known: as written, else as seen.
#[derive(Debug, Clone, Default, PartialEq)]
struct Standing {
    status: ObjectStatus,
    condition: Option<ConditionStatus>,
    last_good: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Papers {
    leads: bool,
    notices: BTreeMap<ObjectId, Notice>,
    homes: BTreeMap<UpstreamId, ObjectId>,
    upstreams_of: BTreeMap<ObjectId, BTreeSet<UpstreamId>>,
    statuses: BTreeMap<UpstreamId, Status>,
    /// What was written in this term of leading.
    written: BTreeMap<ObjectId, Standing>,
    /// Faults that an event has told in this term.
    announced: BTreeMap<(ObjectId, &'static str), Problem>,
    dirty: BTreeSet<ObjectId>,
    events: VecDeque<(ObjectId, Text)>,
}

impl Desk {
    /// What the source found, and whose object each upstream is configured by.
    pub(in super::super) fn take(
        &self,
        notices: Vec<(ObjectId, Option<Notice>)>,
        homes: Vec<(UpstreamId, Option<ObjectId>)>,
    ) {
        if notices.is_empty() && homes.is_empty() {
            return;
        }
        let mut papers = self.papers();
        for (upstream, home) in homes {
            papers.set_home(upstream, home);
        }
        for (id, notice) in notices {
            papers.set_notice(id, notice);
        }
        self.changed.notify_one();
    }

    pub(super) fn status(&self, upstream: &UpstreamId, status: Option<Status>) {
        if self.papers().set_status(upstream, status) {
            self.changed.notify_one();
        }
    }

    pub(super) fn happened(&self, occasion: &Occasion) {
        if self.papers().happened(occasion) {
            self.changed.notify_one();
        }
    }

    pub(super) fn leading(&self, leads: bool) {
        self.papers().set_leading(leads);
        self.changed.notify_one();
    }

    pub(super) fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Papers {
    pub(super) fn set_home(&mut self, upstream: UpstreamId, home: Option<ObjectId>) {
        if let Some(old) = self.homes.remove(&upstream) {
            if let Some(of_old) = self.upstreams_of.get_mut(&old) {
                of_old.remove(&upstream);
                if of_old.is_empty() {
                    self.upstreams_of.remove(&old);
                }
            }
            self.dirty.insert(old);
        }
        if let Some(home) = home {
            self.upstreams_of.entry(home.clone()).or_default().insert(upstream.clone());
            self.dirty.insert(home.clone());
            self.homes.insert(upstream, home);
        }
    }

    pub(super) fn set_notice(&mut self, id: ObjectId, notice: Option<Notice>) {
        let Some(notice) = notice else {
            self.notices.remove(&id);
            self.written.remove(&id);
            self.dirty.remove(&id);
            self.announced.retain(|(about, _), _| *about != id);
            return;
        };
        if self.notices.get(&id).is_some_and(|known| known.uid != notice.uid) {
            self.written.remove(&id);
        }
        self.notices.insert(id.clone(), notice);
        self.announce(&id);
        self.dirty.insert(id);
    }

    pub(super) fn set_status(&mut self, upstream: &UpstreamId, status: Option<Status>) -> bool {
        let changed = match status {
            Some(status) if self.statuses.get(upstream) == Some(&status) => false,
            Some(status) => {
                self.statuses.insert(upstream.clone(), status);
                true
            }
            None => self.statuses.remove(upstream).is_some(),
        };
        if changed {
            self.dirty.extend(self.homes.get(upstream).cloned());
        }
        changed
    }

    pub(super) fn happened(&mut self, occasion: &Occasion) -> bool {
        if !self.leads {
            return false;
        }
        let Some(home) = self.homes.get(&occasion.upstream).cloned() else { return false };
        self.push_event(home, render::event(occasion));
        true
    }

    pub(super) fn set_leading(&mut self, leads: bool) {
        if self.leads == leads {
            return;
        }
        self.leads = leads;
        self.written.clear();
        self.announced.clear();
        self.events.clear();
        if leads {
            let all: Vec<ObjectId> = self.notices.keys().cloned().collect();
            all.iter().for_each(|id| self.announce(id));
            self.dirty.extend(all);
        }
    }

    /// Faults that are new become events.
    fn announce(&mut self, id: &ObjectId) {
        let Some(notice) = self.notices.get(id).filter(|_| self.leads) else { return };
        let mut news = Vec::new();
        for condition in &notice.conditions {
            let key = (id.clone(), condition.kind);
            if condition.holds {
                self.announced.remove(&key);
            } else if self.announced.get(&key) != Some(&condition.problem) {
                self.announced.insert(key, condition.problem.clone());
                news.push(render::fault(condition));
            }
        }
        news.into_iter().for_each(|text| self.push_event(id.clone(), text));
    }

    fn push_event(&mut self, about: ObjectId, text: Text) {
        if self.events.len() == EVENTS {
            debug!("too many events wait; the oldest is dropped");
            self.events.pop_front();
        }
        self.events.push_back((about, text));
    }

    /// What to write next; nothing unless this replica leads.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Job> {
        if !self.leads {
            return None;
        }
        while let Some((about, text)) = self.events.pop_front() {
            if let Some(notice) = self.notices.get(&about) {
                return Some(Job::Event(about, notice.uid.clone(), text));
            }
        }
        while let Some(id) = self.dirty.first().cloned() {
            if let Some(job) = self.due(&id, now) {
                return Some(job);
            }
            self.dirty.remove(&id);
        }
        None
    }

    /// A job is done, or refused for good: it counts as standing there.
    pub(super) fn done(&mut self, job: &Job) {
        let standing = match job {
            Job::Status(id, _) | Job::Condition(id, _) | Job::LastGood(id, _) => id,
            Job::Event(..) => return,
        };
        let mut now = self.standing(standing);
        match job {
            Job::Status(_, status) => now.status.clone_from(status),
            Job::Condition(_, condition) => now.condition.clone_from(condition),
            Job::LastGood(_, last_good) => now.last_good.clone_from(last_good),
            Job::Event(..) => {}
        }
        self.written.insert(standing.clone(), now);
    }

    /// The object is not there any more: nothing is tried until something changes.
    pub(super) fn gone(&mut self, job: &Job) {
        if let Job::Status(id, _) | Job::Condition(id, _) | Job::LastGood(id, _) = job {
            self.dirty.remove(id);
        }
    }

    /// The first difference between what should stand on an object and what does.
    fn due(&self, id: &ObjectId, now: Timestamp) -> Option<Job> {
        let notice = self.notices.get(id)?;
        let standing = self.standing(id);
        let ports = self.ports(id);
        match &notice.shown {
            Shown::Upstream { .. } => {
                let unsaid = ports.is_empty() && self.upstreams_of.contains_key(id);
                let said = (!unsaid).then_some(&ports);
                let status = render::status(notice, said, &standing.status, now);
                (status != standing.status).then(|| Job::Status(id.clone(), status))
            }
            Shown::Service { .. } => {
                let fault = notice.problem().or_else(|| render::problem(&ports));
                let condition = fault.map(|problem| ConditionStatus {
                    kind: SERVICE_CONDITION.into(),
                    status: "False".into(),
                    reason: problem.reason.clone(),
                    message: problem.message.clone(),
                    last_transition_time: standing
                        .condition
                        .as_ref()
                        .map_or_else(|| render::seconds(now), |old| old.last_transition_time.clone()),
                    observed_generation: None,
                });
                if notice.last_good != standing.last_good {
                    return Some(Job::LastGood(id.clone(), notice.last_good.clone()));
                }
                (condition != standing.condition).then(|| Job::Condition(id.clone(), condition))
            }
        }
    }

    /// What the leader says of the ports that the object configures.
    fn ports(&self, id: &ObjectId) -> BTreeMap<u16, &Status> {
        let upstreams = self.upstreams_of.get(id).into_iter().flatten();
        upstreams.filter_map(|upstream| Some((upstream.port, self.statuses.get(upstream)?))).collect()
    }

    fn standing(&self, id: &ObjectId) -> Standing {
        if let Some(written) = self.written.get(id) {
            return written.clone();
        }
        match self.notices.get(id).map(|notice| &notice.shown) {
            Some(Shown::Upstream { status }) => {
                // A status that cannot be read is replaced.
                let status = serde_json::from_value(status.clone()).unwrap_or_default();
                Standing { status, ..Standing::default() }
            }
            Some(Shown::Service { condition, last_good }) => {
                let condition = condition.as_ref().map(|condition| ConditionStatus {
                    kind: condition.type_.clone(),
                    status: condition.status.clone(),
                    reason: condition.reason.clone(),
                    message: condition.message.clone(),
                    last_transition_time: render::seconds(condition.last_transition_time.0),
                    observed_generation: condition.observed_generation,
                });
                Standing { condition, last_good: last_good.clone(), ..Standing::default() }
            }
            None => Standing::default(),
        }
    }
}
