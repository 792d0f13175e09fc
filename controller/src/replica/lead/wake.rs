//! The leader's part in a wake: the plan's next step becomes a write.

use std::time::Duration;

use zenvoy_shared::id::WorkloadId;

use crate::execute::{Decided, Job, Subject};
use crate::model::{Revision, Term, WakeRecord, WakeState};
use crate::plan::wake::WakeStep;
use crate::replica::core::{Core, Later};
use crate::replica::drains::with_state;
use crate::replica::lead::Asked;
use crate::source::ScaleWrite;
use crate::store::{Compare, Key, Txn, Write, encode};

/// In a storm of wakes, the record that one was scaled waits for the scale writes of the others: as long at a time...
const NOTE_PAUSE: Duration = Duration::from_millis(100);
/// ...and in all.
const LONGEST_NOTE: Duration = Duration::from_secs(2);

impl Core {
    pub(super) fn lead_wake(&mut self, workload: &WorkloadId, step: WakeStep, term: Term) -> Option<Job> {
        let view = self.inventory.view(workload);
        let wake = view.open_wake()?;
        if let Some(problem) = self.led.workloads.get_mut(workload).and_then(|led| led.refusal.take()) {
            let record = with_state(wake, |record| {
                record.attempts = record.attempts.saturating_add(1);
                record.last_error = Some(problem.into());
            });
            return Self::write_wake(workload, wake.revision, &record, term);
        }
        match step {
            WakeStep::Nothing => None,
            WakeStep::ScaleUp { replicas, resource_version, .. } => {
                let job = self.scale(workload, &resource_version.clone(), |resource_version| {
                    Decided::ScaleUp(ScaleWrite { replicas, resource_version })
                })?;
                self.led.scaling.insert(workload.clone());
                Some(job)
            }
            WakeStep::RecordScaled { .. }
                if !self.led.scaling.is_empty() && self.open_for(workload) < LONGEST_NOTE =>
            {
                // Nobody waits for this record, and somebody does for each scale write.
                let later = self.now.moment.after(NOTE_PAUSE);
                self.later.by(Later::Subject(Subject::Workload(workload.clone())), later);
                None
            }
            WakeStep::RecordScaled { at } => {
                let record = with_state(wake, |record| {
                    record.state = WakeState::Scaled;
                    record.attempts = record.attempts.saturating_add(1);
                    record.last_error = None;
                });
                Self::write_wake(workload, at, &record, term)
            }
            WakeStep::Retire { at, endpoints, ready } => {
                let record = with_state(wake, |record| {
                    record.state = WakeState::Retired;
                    record.last_error = None;
                    record.endpoints = endpoints;
                    record.ready = ready;
                });
                Self::write_wake(workload, at, &record, term)
            }
            WakeStep::GiveUp { at } => {
                let record = with_state(wake, |record| record.state = WakeState::Retired);
                Self::write_wake(workload, at, &record, term)
            }
        }
    }

    fn write_wake(workload: &WorkloadId, at: Revision, record: &WakeRecord, term: Term) -> Option<Job> {
        let key = Key::Wake(workload.clone());
        let txn = Txn {
            compares: vec![Self::guard(term), Compare::WrittenAt(key.clone(), at)],
            writes: vec![Write::Put(key, encode(record), None)],
        };
        Self::job(Subject::Workload(workload.clone()), txn)
    }

    /// A scale write on `resource_version`, unless it is older than what the last one did.
    pub(super) fn scale(
        &mut self,
        workload: &WorkloadId,
        resource_version: &str,
        decided: impl FnOnce(String) -> Decided,
    ) -> Option<Job> {
        let led = self.led.workloads.entry(workload.clone()).or_default();
        let seen = led.asked.as_ref().and_then(|asked| asked.bars(resource_version));
        let until = seen.unwrap_or_default().max(led.no_scale_before);
        if until > self.now.moment {
            self.later.by(Later::Subject(Subject::Workload(workload.clone())), until);
            return None;
        }
        led.asked = Some(Asked::of(resource_version, self.now.moment));
        Some(Job::Decide { workload: workload.clone(), decided: decided(resource_version.to_owned()) })
    }
}
