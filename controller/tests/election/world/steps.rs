//! What a replica does: asks its election what to call, and tells it what came of that.

use zenvoy_controller::leader::{Next, Observed, Written};
use zenvoy_controller::model::{Revision, Term};
use zenvoy_controller::session::Moment;

use super::{Answer, Call, Flight, Lease, TTL, World};

impl World {
    pub(super) fn step(&mut self, at: usize) {
        let now = self.own(at);
        self.hear(at, now);
        self.tell(at, now);
        match self.replicas[at].flight.take() {
            Some(flight) => self.go_on(at, flight, now),
            None => self.begin(at, now),
        }
        self.tell(at, now);
    }

    /// The own lease in the store is prolonged.
    fn hear(&mut self, at: usize, now: Moment) {
        let replica = &mut self.replicas[at];
        let reached = replica.without_store_until <= self.now_ms || !self.rules.lets_go;
        if reached && self.now_ms >= replica.heard_ms + 3_750 {
            replica.heard_ms = self.now_ms;
            replica.election.heard_store(now);
        }
    }

    /// The mind is told, and writes what it thinks it may.
    fn tell(&mut self, at: usize, now: Moment) {
        let replica = &mut self.replicas[at];
        let term = replica.election.term(now);
        let changed = std::mem::replace(&mut replica.told, term) != term;
        if changed {
            self.note(at, format!("leads in {term:?}"));
        }
        if let Some(term) = term
            && self.writes.len() < 20
            && self.chance(5)
        {
            self.writes.push((self.replicas[at].name.clone(), term));
        }
    }

    fn begin(&mut self, at: usize, now: Moment) {
        let wall = self.now_ms + self.replicas[at].wall_ms;
        let replica = &mut self.replicas[at];
        let mut next = replica.election.next(now);
        let waits = matches!(next, Next::Observe | Next::WaitUntil(_)) && !replica.election.holds();
        if !self.rules.monotonic_expiry
            && waits
            && wall > replica.lease.renewed + 15_000
            && replica.lease.version > 0
        {
            next = Next::Acquire;
        }
        let call = match next {
            Next::WaitUntil(_) => return,
            Next::Observe => Call::Read,
            Next::Acquire | Next::Renew => Call::Hold { seen: replica.lease.version },
            Next::TakeTerm if self.rules.term_before_lease => Call::ObserveTerm { lease: None },
            Next::TakeTerm => Call::ReadAgain { observed: None },
            Next::Release => Call::Release,
        };
        self.call(at, call, now);
    }

    fn call(&mut self, at: usize, call: Call, now: Moment) {
        let deadline = now.after(self.replicas[at].election.patience(now));
        self.replicas[at].flight = Some(Flight { call, asked: now, deadline, answer: None, lost: false });
    }

    fn go_on(&mut self, at: usize, mut flight: Flight, now: Moment) {
        let replica = &self.replicas[at];
        let (name, wall) = (replica.name.clone(), self.now_ms + replica.wall_ms);
        let cut_until = if flight.call.is_to_the_store() {
            replica.without_store_until
        } else {
            replica.without_api_until
        };
        if flight.answer.is_none() && cut_until <= self.now_ms {
            flight.answer = Some(self.serve(&name, wall, &flight.call));
            flight.lost = self.chance(20);
            // Some are answered at once.
            if flight.lost || self.chance(2) {
                self.replicas[at].flight = Some(flight);
                return;
            }
        }
        match flight.answer.take() {
            // An answer that is there is read, however late.
            Some(answer) if !flight.lost => self.answered(at, &flight, answer, now),
            _ if now >= flight.deadline => {
                let unsent = !flight.lost && matches!(flight.call, Call::Hold { .. } | Call::Claim { .. });
                if unsent && self.late.len() < 10 {
                    self.late.push((name, wall, flight.call.clone()));
                }
                self.note(at, format!("no answer to {:?}", flight.call));
                self.unanswered(at, &flight, now);
            }
            answer => {
                flight.answer = answer;
                self.replicas[at].flight = Some(flight);
            }
        }
    }

    fn answered(&mut self, at: usize, flight: &Flight, answer: Answer, now: Moment) {
        self.note(at, format!("{:?} -> {answer:?}", flight.call));
        let asked = if self.rules.counts_from_asking { flight.asked } else { now };
        let replica = &mut self.replicas[at];
        match (&flight.call, answer) {
            (Call::ReadAgain { observed }, Answer::Lease(lease)) => {
                replica.election.observed(observed_of(&lease), now);
                replica.lease = lease.clone();
                if replica.election.next(now) == Next::TakeTerm {
                    let transitions = lease.transitions;
                    let next = match observed {
                        Some(observed) => Call::Claim { observed: *observed, transitions },
                        None => Call::ObserveTerm { lease: Some(lease) },
                    };
                    self.call(at, next, now);
                }
            }
            (Call::ObserveTerm { lease: None }, Answer::Term(observed)) => {
                self.call(at, Call::ReadAgain { observed: Some(observed) }, now);
            }
            (Call::ObserveTerm { lease: Some(lease) }, Answer::Term(observed)) => {
                self.call(at, Call::Claim { observed, transitions: lease.transitions }, now);
            }
            (_, Answer::Lease(lease)) => {
                replica.election.observed(observed_of(&lease), now);
                replica.lease = lease;
            }
            (_, Answer::Held(lease)) => {
                replica.lease = lease;
                replica.election.wrote(Written::Held, asked, now);
                if replica.told.is_some() {
                    self.call(at, Call::LookAtTerm, now);
                }
            }
            (Call::Hold { .. }, Answer::Refused) => replica.election.wrote(Written::Conflict, asked, now),
            (Call::Claim { .. }, Answer::Refused) => replica.election.took_term(None),
            (_, Answer::Claimed(revision)) => replica.election.took_term(Some(Term(Revision(revision)))),
            (_, Answer::Term(revision)) => replica.election.term_is(Some(Term(Revision(revision)))),
            (_, Answer::Done | Answer::Refused) => replica.election.released(),
        }
    }

    fn unanswered(&mut self, at: usize, flight: &Flight, now: Moment) {
        let election = &mut self.replicas[at].election;
        match flight.call {
            Call::Hold { .. } => election.wrote(Written::Unknown, flight.asked, now),
            Call::Release => election.released(),
            Call::LookAtTerm => {}
            Call::Read | Call::ObserveTerm { .. } | Call::ReadAgain { .. } | Call::Claim { .. } => {
                election.failed(now);
            }
        }
    }
}

fn observed_of(lease: &Lease) -> Observed {
    if lease.version == 0 {
        return Observed::absent();
    }
    let renewal = format!("{} {}", lease.renewed, lease.version);
    Observed { holder: lease.holder.clone(), renewal, ttl: TTL }
}
