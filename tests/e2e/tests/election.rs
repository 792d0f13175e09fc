//! Who leads, on a real API server and a real etcd: clocks that are off, and an etcd that comes from a backup.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Map, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zenvoy_controller::leader::{Candidate, Electing, LeaseOptions, Standing};
use zenvoy_controller::model::Replica;
use zenvoy_controller::store::{MemoryStore, keep_lease};
use zenvoy_e2e::cluster::{Cluster, NAMESPACE};
use zenvoy_e2e::deploy::SYSTEM;
use zenvoy_e2e::folder::Folder;
use zenvoy_e2e::load;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::store::Records;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::{Installation, Mode};
use zenvoy_shared::id::ControllerId;

const TTL: Duration = Duration::from_secs(3);

/// A replica that does nothing but stand for election.
struct Contender {
    stop: CancellationToken,
    standing: watch::Receiver<Standing>,
    tasks: JoinSet<()>,
}

impl Contender {
    fn start(client: &Client, store: &MemoryStore, name: &str) -> Self {
        let (events, mut told) = mpsc::channel(16);
        let (leases, mut granted) = mpsc::channel(16);
        let (heard, hears) = watch::channel(None);
        let (tell, standing) = watch::channel(Standing::Follows);
        let stop = CancellationToken::new();
        let me = Replica {
            id: ControllerId(name.into()),
            address: String::new(),
            version: String::new(),
            protocol_level: 1,
            unknown: Map::new(),
        };
        let store = Arc::new(store.clone());
        let started = tokio::time::Instant::now();
        let candidate = Candidate { store: store.clone(), me, started, heard: hears, events, standing: tell };
        let electing = Electing::Lease(LeaseOptions {
            client: client.clone(),
            namespace: NAMESPACE.into(),
            name: "zenvoy-test".into(),
            ttl: TTL,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_lease(store, TTL, leases, heard, stop.clone()));
        tasks.spawn(async move { while granted.recv().await.is_some() {} });
        tasks.spawn(async move { while told.recv().await.is_some() {} });
        let running = candidate.run(electing, stop.clone());
        tasks.spawn(async move { running.await.expect("memory is never restored") });
        Self { stop, standing, tasks }
    }

    fn leads(&self) -> bool {
        matches!(*self.standing.borrow(), Standing::Leads(_))
    }

    async fn until_leads(&mut self) {
        let leads = self.standing.wait_for(|standing| matches!(standing, Standing::Leads(_)));
        until::done("it leads", leads).await.expect("it stands");
    }

    async fn stop(mut self) {
        self.stop.cancel();
        until::done("it ends", async { while self.tasks.join_next().await.is_some() {} }).await;
    }
}

#[test]
fn a_live_lease_is_left_to_its_holder_and_a_dead_one_taken_whatever_its_time_of_renewal_says() {
    in_namespace(async || {
        let folder = Folder::new();
        let mut cluster = Cluster::start(&folder);
        cluster.until_ready().await;
        let leases = Api::<Lease>::namespaced(cluster.client(), NAMESPACE);
        for (skewed, round) in [("1970-01-01T00:00:00", 1), ("2999-01-01T00:00:00", 2)] {
            let renew = async |micros: u32| {
                let spec = json!({
                    "holderIdentity": "foreign", "leaseDurationSeconds": TTL.as_secs(), "leaseTransitions": round,
                    "renewTime": format!("{skewed}.{micros:06}Z"),
                });
                cluster.apply(&leases, "zenvoy-test", &json!({ "spec": spec })).await;
            };
            renew(0).await;
            let mut own = Contender::start(&cluster.client(), &MemoryStore::new(), &format!("own-{round}"));
            let mut every = tokio::time::interval(TTL / 6);
            for micros in 1..24 {
                every.tick().await;
                renew(micros).await;
                assert!(!own.leads(), "stolen from a live holder");
            }
            let died = Instant::now();
            own.until_leads().await;
            assert!(died.elapsed() >= TTL * 9 / 10, "taken too early: {:?}", died.elapsed());
            own.stop().await;
        }
    });
}

#[test]
fn of_two_that_want_a_free_lease_one_gets_it_and_hands_it_over_when_it_stops() {
    in_namespace(async || {
        let folder = Folder::new();
        let mut cluster = Cluster::start(&folder);
        cluster.until_ready().await;
        let store = MemoryStore::new();
        let mut leading = Contender::start(&cluster.client(), &store, "one");
        let mut other = Contender::start(&cluster.client(), &store, "two");
        for _ in 0..4 {
            tokio::select! {
                () = leading.until_leads() => {}
                () = other.until_leads() => std::mem::swap(&mut leading, &mut other),
            }
            assert!(!other.leads(), "two lead");
            let stopped = Instant::now();
            leading.stop().await;
            other.until_leads().await;
            assert!(stopped.elapsed() < TTL, "it waited for the Lease to end: {:?}", stopped.elapsed());
            leading = other;
            other = Contender::start(&cluster.client(), &store, "next");
        }
        let lease =
            Api::<Lease>::namespaced(cluster.client(), NAMESPACE).get("zenvoy-test").await.expect("a Lease");
        assert!(lease.spec.and_then(|spec| spec.lease_transitions) >= Some(4));
    });
}

#[test]
fn on_an_etcd_that_was_restored_from_a_backup_nobody_leads_until_a_person_accepts_it() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Listen).await;
        let [before, after] = ["before", "after"].map(Backend::http);
        zenvoy.create(&before).await;
        let backup = zenvoy.etcd.back_up().await;
        zenvoy.create(&after).await;
        load::once(&zenvoy.http(&after, "/")).await.served();
        let mapped = Records::of(&zenvoy.etcd).await.all("ports/by-upstream/").await;
        assert_eq!(mapped.len(), 2);
        // What was seen of it is on the Lease before it is lost.
        let leases = Api::<Lease>::namespaced(zenvoy.cluster.client(), SYSTEM);
        let led_on = async || {
            let lease = leases.get("zenvoy-default").await.expect("a Lease");
            let led_on = lease.metadata.annotations.and_then(|all| all.get("zenvoy.dev/etcd").cloned());
            let led_on = led_on.expect("it says what is led on");
            led_on.split_once('@').expect("a revision").1.parse::<i64>().expect("a number")
        };
        let written = Records::of(&zenvoy.etcd).await.revision().await;
        until::so("the Lease says how far etcd came", async || led_on().await >= written).await;

        zenvoy.etcd.restore(&backup).await;
        let ended = zenvoy.controller.process().end().await;
        assert!(!ended.success(), "{ended}");
        assert!(zenvoy.controller.process().log().contains("restored from a backup"));
        zenvoy.controller.start_again();
        zenvoy.controller.until_ready().await;
        let refusal = until::some("it refuses to lead", async || {
            zenvoy.controller.status().await["election"]["refuses"].as_str().map(str::to_owned)
        })
        .await;
        // What is up is served on; what is new gets no address.
        load::once(&zenvoy.http(&after, "/")).await.served();
        assert!(zenvoy.controller.metrics().await.contains("zenvoy_controller_refuses_to_lead 1"));
        assert_eq!(Records::of(&zenvoy.etcd).await.all("ports/by-upstream/").await.len(), 1);

        let (_, annotation) = refusal.split_once("lease zenvoy-default ").expect(&refusal);
        let (name, value) = annotation.split_once('=').expect(annotation);
        let accept = Patch::Merge(json!({ "metadata": { "annotations": { name: value } } }));
        leases.patch("zenvoy-default", &PatchParams::default(), &accept).await.expect("annotate the Lease");
        until::so("it leads", async || zenvoy.controller.status().await["election"]["leads"] == true).await;
        for backend in [&before, &after] {
            zenvoy.until_known(backend).await;
            load::once(&zenvoy.http(backend, "/")).await.served();
        }
    });
}
