//! What the API server and the store do.

use super::{Answer, Call, Leader, World};

impl World {
    /// What the API server or the store does.
    pub(super) fn serve(&mut self, name: &str, wall: u64, call: &Call) -> Answer {
        match call {
            Call::Read | Call::ReadAgain { .. } => Answer::Lease(self.lease.clone()),
            Call::Hold { seen } => {
                if *seen != self.lease.version && self.rules.compare_and_swap {
                    return Answer::Refused;
                }
                if self.lease.holder != name {
                    self.lease.transitions += 1;
                }
                name.clone_into(&mut self.lease.holder);
                self.lease.renewed = wall;
                self.lease.version += 1;
                Answer::Held(self.lease.clone())
            }
            Call::Release => {
                // It is read and written on what was read.
                if self.lease.holder == name {
                    self.lease.holder.clear();
                    self.lease.version += 1;
                }
                Answer::Done
            }
            Call::ObserveTerm { .. } | Call::LookAtTerm => Answer::Term(self.leader.revision),
            Call::Claim { observed, transitions } => self.claim(name, *observed, *transitions),
        }
    }

    fn claim(&mut self, name: &str, observed: i64, transitions: u64) -> Answer {
        if self.leader.revision != observed {
            return if self.leader.by == name {
                Answer::Claimed(self.leader.revision)
            } else {
                Answer::Refused
            };
        }
        let rightful =
            self.lease.holder == self.leader.by && self.lease.transitions == self.leader.transitions;
        if rightful && self.leader.by != name {
            self.violation = Some(format!("{} holds the Lease and lost its term to {name}", self.leader.by));
        }
        self.revision += 1;
        self.terms += 1;
        self.leader = Leader { by: name.into(), revision: self.revision, transitions };
        Answer::Claimed(self.revision)
    }
}
