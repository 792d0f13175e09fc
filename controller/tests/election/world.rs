//! An API server with one Lease, a store with one term, and replicas whose calls take their time.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zenvoy_controller::leader::{Election, Next, Observed, Written};
use zenvoy_controller::model::{Revision, Term};
use zenvoy_controller::session::Moment;

const TTL: Duration = Duration::from_secs(15);
/// Whoever is well for this long leads, or another does.
const PATIENCE_MS: u64 = 180_000;

/// Rules that can be switched off, to see what they are for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// A write of the Lease compares the version that was seen.
    pub(crate) compare_and_swap: bool,
    /// A Lease has expired when it did not change for its whole duration (rule L2), whatever its time of renewal says.
    pub(crate) monotonic_expiry: bool,
    /// A holder counts its time from before it asked.
    pub(crate) counts_from_asking: bool,
    /// A write of the leader compares its term.
    pub(crate) fencing: bool,
    /// A leader without the store lets go (rule L1).
    pub(crate) lets_go: bool,
    /// The term is observed before the Lease is read again.
    pub(crate) term_before_lease: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        compare_and_swap: true,
        monotonic_expiry: true,
        counts_from_asking: true,
        fencing: true,
        lets_go: true,
        term_before_lease: true,
    };
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Lease {
    holder: String,
    version: u64,
    /// By the wall clock of who wrote it, milliseconds.
    renewed: u64,
    transitions: u64,
}

#[derive(Debug, Clone, Default)]
struct Leader {
    by: String,
    revision: i64,
    /// Of the Lease on which it was claimed.
    transitions: u64,
}

#[derive(Debug, Clone)]
enum Call {
    Read,
    Hold { seen: u64 },
    ObserveTerm { lease: Option<Lease> },
    ReadAgain { observed: Option<i64> },
    Claim { observed: i64, transitions: u64 },
    LookAtTerm,
    Release,
}

impl Call {
    fn is_to_the_store(&self) -> bool {
        matches!(self, Self::ObserveTerm { .. } | Self::Claim { .. } | Self::LookAtTerm)
    }
}

#[derive(Debug, Clone)]
enum Answer {
    Lease(Lease),
    Held(Lease),
    Term(i64),
    Claimed(i64),
    Refused,
    Done,
}

#[derive(Debug)]
struct Flight {
    call: Call,
    asked: Moment,
    deadline: Moment,
    answer: Option<Answer>,
    lost: bool,
}

#[derive(Debug)]
struct Replica {
    name: String,
    election: Election,
    /// What its clocks have over the true time, milliseconds.
    monotonic_ms: u64,
    wall_ms: u64,
    lease: Lease,
    flight: Option<Flight>,
    /// What its mind was told.
    told: Option<Term>,
    heard_ms: u64,
    paused_until: u64,
    without_store_until: u64,
    without_api_until: u64,
    well_since: u64,
}

pub(crate) struct World {
    now_ms: u64,
    lease: Lease,
    leader: Leader,
    revision: i64,
    replicas: Vec<Replica>,
    /// Writes of the Lease whose caller waits no more.
    late: Vec<(String, u64, Call)>,
    /// Writes of leaders on their way.
    writes: Vec<(String, Term)>,
    led_ms: u64,
    born: u32,
    terms: u32,
    random: StdRng,
    rules: Rules,
    trace: Vec<String>,
    violation: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, rules: Rules) -> Self {
        let mut world = Self {
            now_ms: 10_000_000,
            lease: Lease::default(),
            leader: Leader::default(),
            revision: 0,
            replicas: Vec::new(),
            late: Vec::new(),
            writes: Vec::new(),
            led_ms: 10_000_000,
            born: 0,
            terms: 0,
            random: StdRng::seed_from_u64(seed),
            rules,
            trace: Vec::new(),
            violation: None,
        };
        for _ in 0..3 {
            let replica = world.start();
            world.replicas.push(replica);
        }
        world
    }

    /// Says how many terms there were.
    pub(crate) fn run(mut self, steps: usize) -> Result<u32, (String, Vec<String>)> {
        for _ in 0..steps {
            self.now_ms += self.random.random_range(0..200);
            self.something_breaks();
            self.what_is_late_arrives();
            for at in 0..self.replicas.len() {
                if self.replicas[at].paused_until <= self.now_ms && self.chance(2) {
                    self.step(at);
                }
            }
            self.judge();
            if let Some(violation) = self.violation.take() {
                return Err((violation, self.trace));
            }
        }
        Ok(self.terms)
    }

    fn chance(&mut self, of: u32) -> bool {
        self.random.random_range(0..of) == 0
    }

    fn note(&mut self, at: usize, what: impl std::fmt::Display) {
        self.trace.push(format!("{:>8} {}: {what}", self.now_ms - 10_000_000, self.replicas[at].name));
    }

    fn start(&mut self) -> Replica {
        self.born += 1;
        let name = format!("replica-{}", self.born);
        let mut election = Election::new(name.clone(), TTL);
        election.trust_store(true);
        Replica {
            name,
            election,
            monotonic_ms: self.random.random_range(0..1_000_000),
            wall_ms: self.random.random_range(0..10_000),
            lease: Lease::default(),
            flight: None,
            told: None,
            heard_ms: 0,
            paused_until: 0,
            without_store_until: 0,
            without_api_until: 0,
            well_since: self.now_ms,
        }
    }

    fn something_breaks(&mut self) {
        let at = self.random.random_range(0..self.replicas.len());
        let (what, longest) = match self.random.random_range(0..3_000) {
            0..8 => ("paused", 40_000),
            8..12 => ("without the store", 400_000),
            12..16 => ("without the API server", 60_000),
            16..18 => ("crashed", 1),
            18..28 => {
                self.replicas[at].wall_ms = self.random.random_range(0..7_200_000);
                return;
            }
            _ => return,
        };
        let until = self.now_ms + self.random.random_range(0..longest);
        self.note(at, format!("{what} until {}", until - 10_000_000));
        let replica = &mut self.replicas[at];
        match what {
            "paused" => replica.paused_until = until,
            "without the store" => replica.without_store_until = until,
            "without the API server" => replica.without_api_until = until,
            _ => self.replicas[at] = self.start(),
        }
    }

    fn what_is_late_arrives(&mut self) {
        if !self.late.is_empty() && self.chance(30) {
            let at = self.random.random_range(0..self.late.len());
            let (name, wall, call) = self.late.swap_remove(at);
            self.trace.push(format!("{:>8} {name}: late {call:?}", self.now_ms - 10_000_000));
            self.serve(&name, wall, &call);
        }
        if !self.writes.is_empty() && self.chance(10) {
            let at = self.random.random_range(0..self.writes.len());
            let (name, term) = self.writes.swap_remove(at);
            let current = term.0.0 == self.leader.revision;
            if !current && !self.rules.fencing {
                self.violation = Some(format!("{name}, leader in {term:?}, has written in a later term"));
            }
            self.revision += i64::from(current);
        }
    }

    fn own(&self, at: usize) -> Moment {
        Moment(Duration::from_millis(self.now_ms + self.replicas[at].monotonic_ms))
    }

    fn step(&mut self, at: usize) {
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

    /// What the API server or the store does.
    fn serve(&mut self, name: &str, wall: u64, call: &Call) -> Answer {
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

    /// What must hold at any time.
    fn judge(&mut self) {
        let believing: Vec<usize> = (0..self.replicas.len())
            .filter(|at| self.replicas[*at].election.term(self.own(*at)).is_some())
            .collect();
        if let [one, other, ..] = believing[..] {
            let (one, other) = (&self.replicas[one].name, &self.replicas[other].name);
            self.violation = Some(format!("{one} and {other} lead at once"));
        }
        let now = self.now_ms;
        let is_well = |replica: &Replica| {
            replica.paused_until <= now
                && replica.without_store_until <= now
                && replica.without_api_until <= now
        };
        if believing.iter().any(|at| is_well(&self.replicas[*at])) {
            self.led_ms = now;
        }
        for replica in &mut self.replicas {
            if !is_well(replica) {
                replica.well_since = now;
            }
            let since = replica.well_since.max(self.led_ms);
            if now - since > PATIENCE_MS {
                self.violation = Some(format!("nobody leads since {since}, though {} could", replica.name));
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
