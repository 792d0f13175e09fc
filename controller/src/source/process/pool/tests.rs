use super::super::config::Readiness;
use super::super::file::KIND;
use super::super::instance::How;
use super::*;
use crate::model::UpstreamSpec;
use std::time::Duration;

fn id() -> WorkloadId {
    WorkloadId::new("local", KIND, "web")
}

fn upstream() -> UpstreamId {
    UpstreamId::new("local", "web", 80)
}

fn config(command: &str) -> Config {
    let spec = ProcessSpec {
        command: vec![command.into()],
        env: BTreeMap::new(),
        directory: "/".into(),
        stop_grace: Duration::from_secs(1),
        readiness: Readiness::Connect,
        variables: BTreeSet::from(["PORT".into()]),
    };
    let upstream_of = ProcessUpstream {
        spec: UpstreamSpec::default(),
        workload: id(),
        variable: "PORT".into(),
        position: 0,
    };
    Config {
        upstreams: BTreeMap::from([(upstream(), upstream_of)]),
        processes: BTreeMap::from([(id(), Arc::new(spec))]),
    }
}

fn loaded() -> Pool {
    let mut pool = Pool::default();
    pool.load(&config("serve"), Instant::now());
    facts(&mut pool);
    pool
}

fn facts(pool: &mut Pool) -> Vec<Fact> {
    std::iter::from_fn(|| pool.next_fact()).collect()
}

fn steps(pool: &mut Pool) -> Vec<Step> {
    std::iter::from_fn(|| pool.next_step()).collect()
}

fn scale(pool: &mut Pool, replicas: u32) -> Result<String, ScaleError> {
    let resource_version = pool.read(&id()).expect("exists").version.resource_version;
    pool.scale(&id(), &ScaleWrite { replicas, resource_version }, Instant::now())
}

/// Scales up and returns the instances that were started.
fn woken(pool: &mut Pool, replicas: u32) -> Vec<Uid> {
    scale(pool, replicas).expect("scaled");
    let started = steps(pool).into_iter().map(|step| match step {
        Step::Start { instance, .. } => instance,
        Step::Stop(_) => panic!("nothing to stop"),
    });
    started.collect()
}

fn ready(pool: &mut Pool, uid: &Uid) {
    pool.ready(uid, BTreeMap::from([("PORT".into(), 40_000)]));
}

fn ending() -> Ending {
    Ending { how: How::Exited(1), last_lines: Vec::new(), ran: Duration::ZERO }
}

#[test]
fn everything_is_said_once_and_then_that_it_was_everything() {
    let mut pool = Pool::default();
    pool.load(&config("serve"), Instant::now());
    let said = facts(&mut pool);
    assert!(matches!(
        said.as_slice(),
        [Fact::Workload(..), Fact::Upstream(..), Fact::Endpoints(..), Fact::Complete]
    ));
    assert!(steps(&mut pool).is_empty(), "nothing runs before somebody asks");
}

#[test]
fn a_write_on_a_version_that_has_moved_conflicts() {
    let mut pool = loaded();
    let old = pool.read(&id()).expect("exists").version;
    let write = ScaleWrite { replicas: 1, resource_version: old.resource_version.clone() };
    let new = pool.scale(&id(), &write, Instant::now()).expect("the first write");
    assert_eq!(pool.scale(&id(), &write, Instant::now()), Err(ScaleError::Conflict(id())));
    let now = pool.read(&id()).expect("exists");
    assert_eq!((now.version.uid, now.version.generation), (old.uid, old.generation + 1));
    assert_eq!(now.version.observed_generation, now.version.generation);
    assert_eq!(steps(&mut pool).len(), 1);
    assert_ne!(old.resource_version, new);
}

#[test]
fn readiness_moves_the_version_and_not_the_generation() {
    let mut pool = loaded();
    let started = woken(&mut pool, 1);
    let before = pool.read(&id()).expect("exists").version;
    ready(&mut pool, &started[0]);
    let after = pool.read(&id()).expect("exists").version;
    assert_ne!(before.resource_version, after.resource_version);
    assert_eq!(before.generation, after.generation);
    let endpoints =
        vec![Endpoint { address: ([127, 0, 0, 1], 40_000).into(), pod: Some(started[0].clone()) }];
    assert!(facts(&mut pool).contains(&Fact::Endpoints(upstream(), endpoints)));
}

#[test]
fn a_stopped_instance_is_no_endpoint_and_stays_a_pod_until_it_is_gone() {
    let mut pool = loaded();
    let started = woken(&mut pool, 1);
    ready(&mut pool, &started[0]);
    facts(&mut pool);
    scale(&mut pool, 0).expect("scaled");
    assert_eq!(steps(&mut pool), [Step::Stop(started[0].clone())]);
    assert!(facts(&mut pool).contains(&Fact::Endpoints(upstream(), Vec::new())));
    let pod = Pod { uid: started[0].clone(), terminating: true };
    assert_eq!(pool.pods(&id()), Ok(vec![pod]));
    pool.ended(&started[0], &ending(), Instant::now());
    assert_eq!(pool.pods(&id()), Ok(Vec::new()));
    assert!(steps(&mut pool).is_empty());
}

#[test]
fn fewer_replicas_stop_what_does_not_serve_yet_first() {
    let mut pool = loaded();
    let started = woken(&mut pool, 3);
    ready(&mut pool, &started[2]);
    scale(&mut pool, 1).expect("scaled");
    let stopped = steps(&mut pool);
    assert_eq!(stopped.len(), 2);
    assert!(!stopped.contains(&Step::Stop(started[2].clone())));
}

#[test]
fn an_end_before_ready_is_a_problem_until_the_next_try() {
    let mut pool = loaded();
    let started = woken(&mut pool, 1);
    let now = Instant::now();
    pool.ended(&started[0], &ending(), now);
    assert!(steps(&mut pool).is_empty());
    let problem = pool.read(&id()).and_then(|facts| facts.problem).expect("a problem");
    assert_eq!(problem.reason, "ExitedBeforeReady");
    let due = pool.due().expect("a next try");
    pool.tick(due - Duration::from_millis(1));
    assert!(steps(&mut pool).is_empty());
    pool.tick(due);
    assert_eq!(steps(&mut pool).len(), 1);
    assert_eq!(pool.read(&id()).and_then(|facts| facts.problem), None);
    assert_eq!(pool.due(), None);
}

#[test]
fn a_fresh_wake_does_not_wait_for_the_back_off_of_the_last() {
    let mut pool = loaded();
    let started = woken(&mut pool, 1);
    pool.ended(&started[0], &ending(), Instant::now());
    scale(&mut pool, 0).expect("scaled");
    assert_eq!(pool.read(&id()).and_then(|facts| facts.problem), None);
    assert_eq!(woken(&mut pool, 1).len(), 1);
}

#[test]
fn a_changed_command_ends_the_old_instances_before_new_ones_start() {
    let mut pool = loaded();
    let started = woken(&mut pool, 1);
    ready(&mut pool, &started[0]);
    let before = pool.read(&id()).expect("exists").version;
    pool.load(&config("serve-better"), Instant::now());
    assert_eq!(steps(&mut pool), [Step::Stop(started[0].clone())]);
    pool.ended(&started[0], &ending(), Instant::now());
    let restarted = steps(&mut pool);
    assert!(matches!(&restarted[..], [Step::Start { spec, .. }] if spec.command == ["serve-better"]));
    let after = pool.read(&id()).expect("exists").version;
    assert_eq!((after.uid, after.generation), (before.uid, before.generation + 1));
}

#[test]
fn the_same_file_again_restarts_nothing() {
    let mut pool = loaded();
    let started = woken(&mut pool, 1);
    ready(&mut pool, &started[0]);
    facts(&mut pool);
    pool.load(&config("serve"), Instant::now());
    assert!(steps(&mut pool).is_empty());
    assert_eq!(facts(&mut pool), [Fact::Complete]);
}

#[test]
fn what_vanishes_from_the_file_ends_and_comes_back_as_another_object() {
    let mut pool = loaded();
    let uid = pool.read(&id()).expect("exists").version.uid;
    let started = woken(&mut pool, 1);
    facts(&mut pool);
    pool.load(&Config::default(), Instant::now());
    assert_eq!(steps(&mut pool), [Step::Stop(started[0].clone())]);
    let said = facts(&mut pool);
    let gone =
        [Fact::UpstreamGone(upstream()), Fact::WorkloadGone(id()), Fact::Endpoints(upstream(), Vec::new())];
    assert_eq!(said[..3], gone);
    assert_eq!(pool.pods(&id()), Err(ScaleError::Missing(id())));
    pool.load(&config("serve"), Instant::now());
    assert_ne!(pool.read(&id()).expect("exists").version.uid, uid);
}

#[test]
fn after_the_shut_down_nothing_starts_any_more() {
    let mut pool = loaded();
    let started = woken(&mut pool, 2);
    pool.shut_down();
    assert_eq!(steps(&mut pool).len(), 2);
    pool.ended(&started[0], &ending(), Instant::now());
    assert!(steps(&mut pool).is_empty());
}
