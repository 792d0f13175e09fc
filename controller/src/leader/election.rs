//! When a replica may hold the Lease and lead. In: what is seen of the Lease, answers, and `now` on the own monotonic clock;
//! out: what to do next. Pure.
//!
//! Nothing here trusts a wall clock: a Lease has expired when it has not changed for its whole duration while this
//! replica looked (rule L2), and a holder counts its own time from before it asked.

use std::time::Duration;

use crate::model::Term;
use crate::session::Moment;

/// The Lease as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Who holds it; empty when it was released.
    pub holder: String,
    /// Changes with every write, so with every renewal.
    pub resource_version: String,
    /// How long its holder may be silent.
    pub ttl: Duration,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Look at the Lease.
    Observe,
    /// Try to get it.
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

/// One replica's part in the election.
#[derive(Debug)]
pub struct Election {
    me: String,
    ttl: Duration,
    role: Role,
    /// When the Lease was last looked at or written.
    looked: Option<Moment>,
    /// Nothing is tried before then: the last call failed.
    not_before: Moment,
    /// The store has been out of reach since then.
    cut_off: Option<Moment>,
    /// Not to compete before then, unless the Lease stays free (rule L1).
    barred_until: Option<Moment>,
}

#[derive(Debug)]
enum Role {
    Follower { seen: Option<(Observed, Moment)> },
    Holder { lost_at: Moment, term: Option<Term> },
    Leaving,
}

impl Election {
    /// A follower that has seen nothing. `me` names this incarnation; `ttl` is the Lease's duration.
    pub fn new(me: String, ttl: Duration) -> Self {
        let role = Role::Follower { seen: None };
        Self { me, ttl, role, looked: None, not_before: Moment::default(), cut_off: None, barred_until: None }
    }

    /// The term, while it may be acted on.
    pub fn term(&self, now: Moment) -> Option<Term> {
        match &self.role {
            Role::Holder { lost_at, term } if now < *lost_at => *term,
            _ => None,
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Moment) -> Next {
        if self.must_let_go(now) {
            self.role = Role::Leaving;
            self.barred_until = Some(now.after(self.ttl * 2));
        }
        let lost = matches!(&self.role, Role::Holder { lost_at, .. } if now >= *lost_at);
        if now < self.not_before && !lost && !matches!(self.role, Role::Leaving) {
            return Next::WaitUntil(self.not_before);
        }
        match &self.role {
            Role::Leaving => Next::Release,
            Role::Holder { lost_at, .. } if now >= *lost_at => {
                self.role = Role::Follower { seen: None };
                Next::Observe
            }
            Role::Holder { term, .. } => {
                let renew_at = self.looked.unwrap_or_default().after(self.ttl / 5);
                match term {
                    None if self.cut_off.is_none() => Next::TakeTerm,
                    _ if now >= renew_at => Next::Renew,
                    _ => Next::WaitUntil(renew_at),
                }
            }
            Role::Follower { seen: None } => Next::Observe,
            Role::Follower { seen: Some((lease, since)) } => {
                let look_at = self.looked.unwrap_or_default().after(self.ttl / 10);
                if self.may_acquire(lease, *since, now) {
                    Next::Acquire
                } else if now >= look_at {
                    Next::Observe
                } else {
                    Next::WaitUntil(look_at)
                }
            }
        }
    }

    /// Rule L1: a leader that cannot write decisions must not keep others from leading.
    fn must_let_go(&self, now: Moment) -> bool {
        let holds = matches!(self.role, Role::Holder { .. });
        holds && self.cut_off.is_some_and(|since| since.until(now) >= self.ttl * 2 / 3)
    }

    fn may_acquire(&self, lease: &Observed, since: Moment, now: Moment) -> bool {
        if self.cut_off.is_some() {
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

    /// The Lease was looked at; `None`: there is none.
    pub fn observed(&mut self, lease: Option<Observed>, now: Moment) {
        self.looked = Some(now);
        let Role::Follower { seen } = &mut self.role else { return };
        let lease = lease.unwrap_or_else(|| Observed {
            holder: String::new(),
            resource_version: String::new(),
            ttl: Duration::ZERO,
        });
        match seen {
            Some((known, _)) if *known == lease => {}
            _ => *seen = Some((lease, now)),
        }
    }

    /// An acquisition or renewal was answered. `asked` was taken before the call: the Lease cannot have been
    /// written earlier, so it cannot end earlier than that says.
    pub fn answered(&mut self, holds: bool, asked: Moment) {
        self.looked = Some(asked);
        // One third is left for a successor's clock and for writes on their way.
        let until = asked.after(self.ttl * 2 / 3);
        match (&mut self.role, holds) {
            (Role::Holder { lost_at, .. }, true) => *lost_at = until,
            (Role::Follower { .. }, true) => {
                self.barred_until = None;
                self.role = Role::Holder { lost_at: until, term: None };
            }
            (Role::Holder { .. } | Role::Follower { .. }, false) => self.role = Role::Follower { seen: None },
            (Role::Leaving, _) => {}
        }
    }

    /// An acquisition or renewal failed without an answer: it is tried again, and the own time runs on.
    pub fn failed(&mut self, now: Moment) {
        self.looked = Some(now);
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

    /// The Lease was given back, or could not be: it ends by itself.
    pub fn released(&mut self) {
        self.role = Role::Follower { seen: None };
    }

    /// Whether the store is within reach: the own lease there lives.
    pub fn store_is(&mut self, reachable: bool, now: Moment) {
        match (reachable, self.cut_off) {
            (true, _) => self.cut_off = None,
            (false, None) => self.cut_off = Some(now),
            (false, Some(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Revision;

    const TTL: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn held_by(holder: &str, version: u32) -> Option<Observed> {
        Some(Observed { holder: holder.into(), resource_version: version.to_string(), ttl: TTL })
    }

    fn follower() -> Election {
        let mut election = Election::new("me".into(), TTL);
        assert_eq!(election.next(at(100)), Next::Observe);
        election
    }

    fn leader() -> Election {
        let mut election = follower();
        election.observed(None, at(100));
        assert_eq!(election.next(at(100)), Next::Acquire);
        election.answered(true, at(100));
        assert_eq!(election.next(at(100)), Next::TakeTerm);
        election.took_term(Some(Term(Revision(7))));
        election
    }

    #[test]
    fn a_lease_that_is_renewed_is_left_to_its_holder_and_one_that_is_not_is_taken_after_its_duration() {
        let mut election = follower();
        for second in (100..200).step_by(5) {
            election.observed(held_by("other", second), at(second.into()));
            assert_ne!(election.next(at(u64::from(second) + 4)), Next::Acquire);
        }
        election.observed(held_by("other", 195), at(205));
        assert_ne!(election.next(at(209)), Next::Acquire);
        assert_eq!(election.next(at(210)), Next::Acquire);
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let mut election = follower();
        election.observed(held_by("", 1), at(100));
        assert_eq!(election.next(at(100)), Next::Acquire);
    }

    #[test]
    fn who_holds_the_lease_leads_only_once_it_has_the_term() {
        let mut election = follower();
        election.observed(None, at(100));
        election.answered(true, at(100));
        assert_eq!(election.term(at(101)), None);
        election.took_term(Some(Term(Revision(7))));
        assert_eq!(election.term(at(101)), Some(Term(Revision(7))));
        assert_eq!(election.next(at(101)), Next::WaitUntil(at(103)));
        assert_eq!(election.next(at(103)), Next::Renew);
    }

    #[test]
    fn a_leader_whose_renewals_go_unanswered_steps_down_at_two_thirds() {
        let mut election = leader();
        for second in 103..110 {
            assert_eq!(election.term(at(second)), Some(Term(Revision(7))));
            election.failed(at(second));
        }
        assert_eq!(election.term(at(110)), None);
        assert_eq!(election.next(at(110)), Next::Observe);
    }

    #[test]
    fn a_renewal_counts_from_before_it_was_asked_for() {
        let mut election = leader();
        // A pause of the process between asking and reading the answer gives no time.
        election.answered(true, at(103));
        assert_eq!(election.term(at(113)), None);
        assert!(election.term(at(112)).is_some());
    }

    #[test]
    fn a_leader_cut_off_from_the_store_lets_go_and_does_not_compete_for_two_durations() {
        let mut election = leader();
        election.store_is(false, at(101));
        election.answered(true, at(105));
        election.answered(true, at(110));
        assert_eq!(election.next(at(111)), Next::Release);
        assert_eq!(election.term(at(111)), None);
        election.released();
        election.store_is(true, at(112));
        election.observed(held_by("", 9), at(112));
        assert_ne!(election.next(at(113)), Next::Acquire, "others come first");
        assert_eq!(election.next(at(127)), Next::Acquire, "the Lease stayed free");
    }

    #[test]
    fn without_the_store_nobody_competes() {
        let mut election = follower();
        election.store_is(false, at(100));
        election.observed(None, at(100));
        assert_ne!(election.next(at(100)), Next::Acquire);
    }

    #[test]
    fn who_was_slower_in_the_store_gives_the_lease_back() {
        let mut election = follower();
        election.observed(None, at(100));
        election.answered(true, at(100));
        election.took_term(None);
        assert_eq!(election.next(at(100)), Next::Release);
    }
}
