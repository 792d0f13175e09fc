//! What can happen to a fleet, and how it ends.

use std::fmt;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng;
use rand::rngs::StdRng;
use zenvoy_e2e::site::Member;

use crate::stage::Stage;

/// A fault; numbers count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    KillController(usize),
    PauseController(usize),
    StopController(usize),
    KillEtcd(usize),
    PauseEtcd(usize),
    KillApiServer,
    KillProxy(usize),
    KillEnvoy(usize),
    CutControllerFromEtcd(usize),
    CutOffController(usize),
    CutOffEtcd(usize),
    KillEtcdAllBut(usize),
    CutOffEtcdAllBut(usize),
    CutNodeFromControllers(usize),
    LosePackets(Member),
    DelayPackets(Member),
    /// So many seconds.
    JumpClock(usize, i64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::KillController(n) => write!(f, "SIGKILL of {}", controller(n)),
            Self::PauseController(n) => write!(f, "SIGSTOP of {}", controller(n)),
            Self::StopController(n) => write!(f, "SIGTERM of {}", controller(n)),
            Self::KillEtcd(n) => write!(f, "SIGKILL of {}", etcd(n)),
            Self::PauseEtcd(n) => write!(f, "SIGSTOP of {}", etcd(n)),
            Self::KillApiServer => f.write_str("SIGKILL of the API server"),
            Self::KillProxy(n) => write!(f, "SIGKILL of the proxy of {}", node(n)),
            Self::KillEnvoy(n) => write!(f, "SIGKILL of the Envoy of {}", node(n)),
            Self::CutControllerFromEtcd(n) => write!(f, "{} is cut from etcd", controller(n)),
            Self::CutOffController(n) => write!(f, "{} is cut from everyone", controller(n)),
            Self::CutOffEtcd(n) => write!(f, "{} is cut from everyone", etcd(n)),
            Self::KillEtcdAllBut(n) => write!(f, "SIGKILL of all of etcd but {}", etcd(n)),
            Self::CutOffEtcdAllBut(n) => write!(f, "all of etcd but {} is cut from everyone", etcd(n)),
            Self::CutNodeFromControllers(n) => write!(f, "{} is cut from all controllers", node(n)),
            Self::LosePackets(member) => write!(f, "{member} loses {LOST} % of its packets"),
            Self::DelayPackets(member) => write!(f, "{member} is {LATE:?} away"),
            Self::JumpClock(n, by) => write!(f, "the clock of {} jumps by {by} s", controller(n)),
        }
    }
}

/// Packets lost, in a hundred.
const LOST: u8 = 10;
/// What packets take longer, each way.
const LATE: Duration = Duration::from_millis(100);

fn small(number: usize) -> u8 {
    u8::try_from(number).expect("few")
}

pub(crate) fn controller(number: usize) -> Member {
    Member::Controller(small(number))
}

fn node(number: usize) -> Member {
    Member::Node(small(number))
}

fn etcd(number: usize) -> Member {
    Member::Etcd(small(number))
}

impl Fault {
    /// One of them; the leader is hit as often as the others together.
    ///
    /// A controller is not cut from the API server alone: rule W2 is not built, see `links`.
    pub(crate) fn random(random: &mut StdRng, leader: Option<usize>) -> Self {
        let any = random.random_range(0..3);
        let replica = leader.filter(|_| random.random_bool(0.5)).unwrap_or(any);
        let member = [controller(replica), node(any), etcd(any)][random.random_range(0..3)];
        match random.random_range(0..17) {
            0 => Self::KillController(replica),
            1 => Self::PauseController(replica),
            2 => Self::StopController(replica),
            3 => Self::KillEtcd(any),
            4 => Self::PauseEtcd(any),
            5 => Self::KillApiServer,
            6 => Self::KillProxy(any),
            7 => Self::KillEnvoy(any),
            8 => Self::CutControllerFromEtcd(replica),
            9 => Self::CutOffController(replica),
            10 => Self::CutOffEtcd(any),
            11 => Self::CutNodeFromControllers(any),
            12 => Self::LosePackets(member),
            13 => Self::DelayPackets(member),
            14 => Self::KillEtcdAllBut(any),
            15 => Self::CutOffEtcdAllBut(any),
            _ => Self::JumpClock(replica, if random.random_bool(0.5) { 3600 } else { -3600 }),
        }
    }

    /// Whether a write to etcd may be left unanswered by it, or a lease end.
    fn touches_etcd(self) -> bool {
        match self {
            Self::PauseController(_)
            | Self::KillEtcd(_)
            | Self::PauseEtcd(_)
            | Self::CutControllerFromEtcd(_)
            | Self::CutOffController(_)
            | Self::CutOffEtcd(_)
            | Self::KillEtcdAllBut(_)
            | Self::CutOffEtcdAllBut(_)
            | Self::LosePackets(_)
            | Self::DelayPackets(_) => true,
            Self::KillController(_)
            | Self::StopController(_)
            | Self::KillApiServer
            | Self::KillProxy(_)
            | Self::KillEnvoy(_)
            | Self::CutNodeFromControllers(_)
            | Self::JumpClock(..) => false,
        }
    }

    /// Lets it happen.
    pub(crate) async fn begin(self, stage: &mut Stage) {
        if self.touches_etcd() {
            stage.journal.etcd_breaks();
        }
        let fleet = &mut stage.fleet;
        match self {
            Self::KillController(n) => drop(fleet.controllers[n].process().kill().await),
            Self::PauseController(n) => fleet.controllers[n].process().signal(Signal::SIGSTOP),
            Self::StopController(n) => fleet.controllers[n].process().signal(Signal::SIGTERM),
            Self::KillEtcd(n) => drop(fleet.etcd[n].process().kill().await),
            Self::PauseEtcd(n) => fleet.etcd[n].process().signal(Signal::SIGSTOP),
            Self::KillApiServer => drop(fleet.cluster.api().kill().await),
            Self::KillProxy(n) => {
                stage.journal.excuse(n);
                fleet.nodes[n].proxy().kill().await;
            }
            Self::KillEnvoy(n) => {
                stage.journal.excuse(n);
                fleet.nodes[n].envoy().kill().await;
            }
            Self::CutControllerFromEtcd(n) => (0..3).for_each(|m| fleet.site.cut(controller(n), etcd(m))),
            Self::CutOffController(n) => fleet.site.cut_off(controller(n)),
            Self::CutOffEtcd(n) => fleet.site.cut_off(etcd(n)),
            Self::CutNodeFromControllers(n) => (0..3).for_each(|m| fleet.site.cut(node(n), controller(m))),
            Self::KillEtcdAllBut(n) => {
                for (_, member) in fleet.etcd.iter_mut().enumerate().filter(|(number, _)| *number != n) {
                    member.process().kill().await;
                }
            }
            Self::CutOffEtcdAllBut(n) => {
                (0..3).filter(|number| *number != n).for_each(|number| fleet.site.cut_off(etcd(number)));
            }
            Self::LosePackets(member) => fleet.site.lose(member, LOST),
            Self::DelayPackets(member) => fleet.site.slow(member, LATE),
            Self::JumpClock(n, by) => stage.clocks[n].put(by),
        }
    }

    /// Ends it: what it hit runs again, or reaches the others again.
    pub(crate) async fn end(self, stage: &mut Stage) {
        let fleet = &mut stage.fleet;
        match self {
            Self::PauseController(n) => fleet.controllers[n].process().signal(Signal::SIGCONT),
            Self::PauseEtcd(n) => fleet.etcd[n].process().signal(Signal::SIGCONT),
            Self::StopController(n) => drop(fleet.controllers[n].process().end().await),
            Self::JumpClock(n, _) => stage.clocks[n].put(0),
            _ => {}
        }
        fleet.site.heal();
        fleet.start_again();
        fleet.until_ready().await;
        stage.journal.no_more_excuses();
        stage.journal.etcd_is_whole();
    }
}
