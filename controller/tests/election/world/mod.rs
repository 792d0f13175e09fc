//! An API server with one Lease, a store with one term, and replicas whose calls take their time.

mod far;
mod judge;
mod steps;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zenvoy_controller::leader::Election;
use zenvoy_controller::model::Term;
use zenvoy_controller::session::Moment;

const TTL: Duration = Duration::from_secs(15);

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
}
