//! What the source says: what is opted in, its pods, and how its API behaves.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use zenvoy_controller::model::{Endpoint, Fact, Problem, Target, UpstreamFacts, UpstreamSpec};
use zenvoy_controller::replica::Event;
use zenvoy_shared::id::{Uid, UpstreamId};

use super::{IDLE_AFTER, World, cart, workload};
use crate::api::Meddle;

impl World {
    pub(crate) async fn opt_in(&mut self, service: &str) {
        self.opt_in_as(service, UpstreamSpec::default()).await;
    }

    pub(crate) async fn opt_in_with_host(&mut self, service: &str, host: &str) {
        self.opt_in_as(service, UpstreamSpec { hosts: vec![host.into()], ..UpstreamSpec::default() }).await;
    }

    pub(crate) async fn opt_in_on_port(&mut self, service: &str, port: u16) {
        self.opt_in_as(service, UpstreamSpec { listen_port: Some(port), ..UpstreamSpec::default() }).await;
    }

    async fn opt_in_as(&mut self, service: &str, spec: UpstreamSpec) {
        let spec = UpstreamSpec { idle_after: IDLE_AFTER, ..spec };
        let facts = UpstreamFacts { spec, target: Target::Workload(workload()), created: 0 };
        self.event(Event::Fact(Fact::Upstream(UpstreamId::new("shop", service, 80), facts))).await;
        self.see_object().await;
        self.wait(Duration::from_secs(1)).await;
    }

    pub(crate) async fn opt_out(&mut self) {
        self.event(Event::Fact(Fact::UpstreamGone(cart()))).await;
        self.wait(Duration::from_secs(1)).await;
    }

    pub(super) async fn see_object(&mut self) {
        let facts = self.api.0.lock().expect("not poisoned").facts();
        self.event(Event::Fact(Fact::Workload(workload(), facts))).await;
    }

    pub(super) async fn see_endpoints(&mut self) {
        let pods: Vec<String> = self.api.0.lock().expect("not poisoned").pods.keys().cloned().collect();
        let endpoints = pods.iter().map(|pod| Endpoint {
            address: SocketAddr::from((Ipv4Addr::new(10, 42, 0, pod.as_bytes()[4] - b'0'), 80)),
            pod: Some(Uid(pod.clone())),
        });
        self.event(Event::Fact(Fact::Endpoints(cart(), endpoints.collect()))).await;
    }

    pub(crate) async fn pod_ready(&mut self, pod: &str) {
        self.api.0.lock().expect("not poisoned").pods.insert(pod.into(), false);
        self.see_endpoints().await;
    }

    pub(crate) async fn pod_starts(&mut self) {
        self.event(Event::Fact(Fact::Started(workload()))).await;
    }

    pub(crate) async fn pods_end(&mut self) {
        self.api.0.lock().expect("not poisoned").pods.clear();
        self.see_object().await;
        self.see_endpoints().await;
    }

    pub(crate) async fn others_scale_to_zero(&mut self) {
        {
            let mut object = self.api.0.lock().expect("not poisoned");
            (object.replicas, object.version) = (0, object.version + 1);
            object.generation += 1;
        }
        self.pods_end().await;
    }

    pub(crate) fn refuse_scaling(&self, refuses: bool) {
        self.api.0.lock().expect("not poisoned").refuses = refuses;
    }

    /// Why its pods do not become ready, as the source tells.
    pub(crate) async fn pods_fail(&mut self, reason: Option<&str>) {
        let problem = reason.map(|reason| Problem { reason: reason.into(), message: "pod cart-1".into() });
        self.api.0.lock().expect("not poisoned").problem = problem;
        self.see_object().await;
    }

    /// What keeps its pods from being ready, as the source tells.
    pub(crate) async fn pods_lack(&mut self, said: &str) {
        self.event(Event::Fact(Fact::Unready(workload(), said.into()))).await;
    }

    /// A crash loop whose next start waits so long.
    pub(crate) async fn pods_back_off(&mut self, wait: Option<Duration>) {
        self.api.0.lock().expect("not poisoned").back_off = wait;
        self.pods_fail(Some("CrashLoop")).await;
    }

    pub(crate) fn touch_status_on_next_scale(&self) {
        self.api.0.lock().expect("not poisoned").on_next_scale = Some(Meddle::Status);
    }

    pub(crate) fn change_spec_on_next_scale(&self) {
        self.api.0.lock().expect("not poisoned").on_next_scale = Some(Meddle::Spec);
    }
}
