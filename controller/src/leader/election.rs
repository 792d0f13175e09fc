//! When a replica may hold the Lease and lead. In: what is seen of the Lease, answers, and `now` on the own monotonic clock;
//! out: what to do next. Pure.
//!
//! Nothing here trusts a wall clock: a Lease has expired when it has not changed for its whole duration while this
//! replica looked (rule L2), and a holder counts its own time from before it asked.

use std::time::Duration;

use crate::model::Term;
use crate::session::Moment;

/// The Lease as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observed {
    /// Who holds it; empty when it was released, or was never there.
    pub holder: String,
    /// Changes with every renewal. Not the object's version, which an annotation changes too.
    pub renewal: String,
    /// How long its holder may be silent.
    pub ttl: Duration,
}

impl Observed {
    /// What is seen where there is no Lease.
    pub fn absent() -> Self {
        Self { holder: String::new(), renewal: String::new(), ttl: Duration::ZERO }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Look at the Lease.
    Observe,
    /// Try to get it, as it was last seen.
    Acquire,
    /// Say that this replica still holds it.
    Renew,
    /// Take over the term in the store.
    TakeTerm,
    /// Give the Lease back.
    Release,
    /// Nothing before then.
    WaitUntil(Moment),
}

/// How a write of the Lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is this replica's.
    Held,
    /// Something else was written in between: nothing was changed.
    Conflict,
    /// No answer: it was written or not.
    Unknown,
}

/// One replica's part in the election.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Election {
    me: String,
    /// Of the Lease, and of the own lease in the store.
    ttl: Duration,
    role: Role,
    /// When the Lease was last looked at or written.
    looked: Moment,
    /// The Lease may have changed since it was seen: it is looked at before it is written.
    stale: bool,
    /// Nothing is tried before then: the last call failed.
    not_before: Moment,
    /// When the own lease in the store was last prolonged.
    store_heard: Option<Moment>,
    /// Whether the store is the one that was led on before (rule L3).
    store_trusted: bool,
    /// Not to compete before then, unless the Lease stays free (rule L1).
    barred_until: Option<Moment>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Role {
    Follower { seen: Option<(Observed, Moment)> },
    Holder { lost_at: Moment, term: Option<Term> },
    Leaving,
}

impl Election {
    /// A follower that has seen nothing. `me` names this incarnation; `ttl` is the Lease's duration, in whole seconds as
    /// the Lease can say it.
    pub fn new(me: String, ttl: Duration) -> Self {
        Self {
            me,
            ttl,
            role: Role::Follower { seen: None },
            looked: Moment::default(),
            stale: true,
            not_before: Moment::default(),
            store_heard: None,
            store_trusted: false,
            barred_until: None,
        }
    }

    /// The term, while it may be acted on.
    pub fn term(&self, now: Moment) -> Option<Term> {
        match &self.role {
            Role::Holder { lost_at, term } if now < *lost_at => *term,
            _ => None,
        }
    }

    /// Whether the Lease is this replica's to give back.
    pub fn holds(&self) -> bool {
        matches!(self.role, Role::Holder { .. } | Role::Leaving)
    }

    /// How long a call that is made at `now` may take: several fit into the time a holder has, and none goes on when
    /// that time is over.
    pub fn patience(&self, now: Moment) -> Duration {
        let usual = self.ttl / 5;
        match &self.role {
            Role::Holder { lost_at, .. } => usual.min(now.until(self.let_go_at().min(*lost_at))),
            Role::Follower { .. } | Role::Leaving => usual,
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Moment) -> Next {
        if let Role::Holder { lost_at, .. } = self.role {
            // Rule L1: a leader that cannot write decisions must not keep others from leading.
            if now >= self.let_go_at() {
                self.role = Role::Leaving;
                self.barred_until = Some(now.after(self.ttl * 2));
            } else if !self.store_trusted {
                self.role = Role::Leaving;
            } else if now >= lost_at {
                self.role = Role::Follower { seen: None };
                self.stale = true;
                self.not_before = now;
            }
        }
        if self.role == Role::Leaving {
            return Next::Release;
        }
        if now < self.not_before {
            return Next::WaitUntil(self.not_before);
        }
        if self.stale {
            return Next::Observe;
        }
        match &self.role {
            Role::Leaving => Next::Release,
            Role::Holder { term: None, .. } => Next::TakeTerm,
            Role::Holder { lost_at, term: Some(_) } => {
                let renew_at = self.looked.after(self.ttl / 5);
                if now >= renew_at {
                    Next::Renew
                } else {
                    Next::WaitUntil(renew_at.min(self.let_go_at()).min(*lost_at))
                }
            }
            Role::Follower { seen } => {
                // Often enough that a leader's stop delays nobody for long.
                let look_at = self.looked.after(self.ttl / 30);
                if seen.as_ref().is_some_and(|(lease, since)| self.may_acquire(lease, *since, now)) {
                    Next::Acquire
                } else if now >= look_at {
                    Next::Observe
                } else {
                    Next::WaitUntil(look_at)
                }
            }
        }
    }

    /// When this replica has been without the store for too long (rule L1).
    fn let_go_at(&self) -> Moment {
        self.store_heard.map_or(Moment::default(), |heard| heard.after(self.ttl * 2 / 3))
    }

    fn may_acquire(&self, lease: &Observed, since: Moment, now: Moment) -> bool {
        if now >= self.let_go_at() || !self.store_trusted {
            return false;
        }
        let unchanged = since.until(now);
        let free = lease.holder.is_empty() || lease.holder == self.me;
        match self.barred_until {
            // Others had their chance: a Lease that stays free is for whoever is there.
            Some(until) if now < until => free && unchanged >= self.ttl,
            _ => free || unchanged >= lease.ttl,
        }
    }

    /// The Lease was looked at.
    pub fn observed(&mut self, lease: Observed, now: Moment) {
        self.looked = now;
        self.stale = false;
        match &mut self.role {
            Role::Follower { seen: Some((known, _)) } if *known == lease => {}
            Role::Holder { .. } if lease.holder == self.me => {
                // Something else was written into it, or an own write was not answered: it is renewed at once.
                self.looked = Moment::default();
            }
            Role::Follower { .. } | Role::Holder { .. } => {
                self.role = Role::Follower { seen: Some((lease, now)) };
            }
            Role::Leaving => {}
        }
    }

    /// An acquisition or renewal has ended. `asked` was taken before the call: the Lease cannot have been written
    /// earlier, so it cannot end earlier than that says.
    pub fn wrote(&mut self, written: Written, asked: Moment, now: Moment) {
        match written {
            Written::Held => {
                self.looked = asked;
                // One third is left for a successor's clock and for writes on their way.
                let until = asked.after(self.ttl * 2 / 3);
                match &mut self.role {
                    Role::Holder { lost_at, .. } => *lost_at = until,
                    Role::Follower { .. } => {
                        self.barred_until = None;
                        self.role = Role::Holder { lost_at: until, term: None };
                    }
                    Role::Leaving => {}
                }
            }
            Written::Conflict => self.stale = true,
            Written::Unknown => {
                self.stale = true;
                self.failed(now);
            }
        }
    }

    /// A call failed: it is tried again, and the own time runs on.
    pub fn failed(&mut self, now: Moment) {
        self.not_before = now.after(self.ttl / 20);
    }

    /// The term was taken over, or another replica was faster.
    pub fn took_term(&mut self, taken: Option<Term>) {
        match (&mut self.role, taken) {
            (Role::Holder { term, .. }, Some(taken)) => *term = Some(taken),
            (Role::Holder { .. }, None) => self.role = Role::Leaving,
            _ => {}
        }
    }

    /// The term that the store has now: another replica may have taken it over before it noticed that it does not hold the
    /// Lease. Who holds it takes the term back.
    pub fn term_is(&mut self, current: Option<Term>) {
        if let Role::Holder { term, .. } = &mut self.role
            && *term != current
        {
            *term = None;
        }
    }

    /// The Lease was given back, or could not be: it ends by itself.
    pub fn released(&mut self) {
        self.role = Role::Follower { seen: None };
        self.stale = true;
    }

    /// The own lease in the store was prolonged by a call that began at `asked`.
    pub fn heard_store(&mut self, asked: Moment) {
        self.store_heard = self.store_heard.max(Some(asked));
    }

    /// Whether the store goes on where it was (rule L3).
    pub fn trust_store(&mut self, trusted: bool) {
        self.store_trusted = trusted;
    }
}

#[cfg(test)]
mod tests;
