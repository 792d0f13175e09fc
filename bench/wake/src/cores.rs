//! Who has which cores: the control plane (API server, its controllers, both etcds) one half, and everything else the other, for
//! ours and for bare writes alike. In production they are on machines of their own; on shared cores a storm would measure how they
//! take time from each other.

use std::fs;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use zenvoy_e2e::zenvoy::Installation;

#[derive(Debug, Clone, Copy)]
enum Half {
    ControlPlane,
    Rest,
}

/// Two halves, unless there is one core only.
#[derive(Debug, Clone)]
pub(crate) struct Halves {
    cores: Vec<usize>,
}

impl Halves {
    /// Of the cores that this process may use: asked before any half is taken.
    pub(crate) fn of_this_machine() -> Option<Self> {
        let mine = sched_getaffinity(Pid::from_raw(0)).ok()?;
        let cores: Vec<usize> =
            (0..CpuSet::count()).filter(|core| mine.is_set(*core).unwrap_or(false)).collect();
        (cores.len() > 1).then_some(Self { cores })
    }

    fn set(&self, half: Half) -> CpuSet {
        let (control_plane, rest) = self.cores.split_at(self.cores.len() / 2);
        let cores = match half {
            Half::ControlPlane => control_plane,
            Half::Rest => rest,
        };
        let mut set = CpuSet::new();
        cores.iter().for_each(|core| set.set(*core).expect("a core of this machine"));
        set
    }

    /// This thread, and what it starts from now on, has the other half.
    pub(crate) fn take_rest(&self) {
        sched_setaffinity(Pid::from_raw(0), &self.set(Half::Rest)).expect("take half of the cores");
    }

    /// The control plane's processes move to their half.
    pub(crate) fn give(&self, on: &mut Installation) {
        let pids = [
            on.cluster.api().pid(),
            on.cluster.controllers().pid(),
            on.cluster.etcd().process().pid(),
            on.etcd.process().pid(),
        ];
        let set = self.set(Half::ControlPlane);
        for pid in pids {
            // A thread that is begun meanwhile may have the cores of one that has not moved yet.
            for _ in 0..2 {
                for thread in threads(pid) {
                    // One that has ended meanwhile needs no cores.
                    let _ = sched_setaffinity(thread, &set);
                }
            }
        }
    }
}

fn threads(pid: Pid) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    ids.map(Pid::from_raw).collect()
}
