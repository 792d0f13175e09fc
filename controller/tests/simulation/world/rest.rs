//! No more clients and faults: everything must come to rest, with all that was held served or failed, and all asleep.

use std::time::Duration;

use super::World;

/// Half a second each.
const ROUNDS: usize = 400;
/// By then nothing may be held any more, and the last clients leave.
const SERVED: usize = 100;

impl World {
    pub(super) fn come_to_rest(&mut self) {
        self.faults_end();
        for round in 0..ROUNDS {
            for node in 0..self.nodes.len() {
                self.session_opens(node, node % 2);
            }
            while self.work_once() && self.violation.is_none() {}
            self.time_passes(Duration::from_millis(500));
            if round == SERVED {
                let held: Vec<u32> = self.nodes.iter().map(|node| node.held).collect();
                if held.iter().any(|held| *held > 0) {
                    self.violation =
                        Some(format!("held connections are neither served nor failed: {held:?}"));
                }
                self.nodes.iter_mut().for_each(|node| node.open.clear());
            }
            if self.violation.is_some() {
                return;
            }
        }
        let replicas = self.api.state().replicas;
        if replicas > 0 {
            self.violation = Some(format!("idle for long, and still at {replicas} replicas"));
        }
    }

    fn faults_end(&mut self) {
        self.note(|| "no more faults".into());
        self.nodes.iter_mut().for_each(|node| node.stalled = false);
        self.store.state().unanswered = 0;
        self.api.state().unanswered = false;
        self.api.state().refuses = false;
        for replica in 0..self.replicas.len() {
            self.start_again(replica);
            self.with(replica, |replica, now| {
                replica.lags = false;
                replica.paused = false;
                replica.store_has_ended();
                replica.store_goes(false, now);
                while replica.catch_up(now) {}
                true
            });
        }
        self.another_leads(0);
    }

    fn work_once(&mut self) -> bool {
        let mut worked = false;
        for node in 0..self.nodes.len() {
            self.nodes[node].say();
            worked |= self.deliver_said(node) | self.apply_main(node) | self.apply_proxy(node);
            worked |= self.apply_worker(node) | self.nodes[node].proves(true) | self.release(node);
        }
        for replica in 0..self.replicas.len() {
            worked |= self.deliver_told(replica) | self.acked(replica);
            worked |= self.with(replica, |replica, now| {
                replica.catch_up(now)
                    | replica.watch(now)
                    | replica.see_object(now)
                    | replica.see_endpoints(now)
                    | replica.see_service(now)
                    | replica.step_job(0, now)
                    | replica.step_take_over(now)
            });
        }
        worked | self.kubernetes()
    }
}
