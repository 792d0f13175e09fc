use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn cart() -> UpstreamId {
    UpstreamId::new("shop", "cart", 80)
}

fn requests(active: u64, total: u64) -> Flush {
    Flush::with(
        Some(1),
        &[(&cart(), Counters { requests_active: active, requests: total, ..Default::default() })],
    )
}

/// One HTTP upstream, one Envoy, nothing flushed yet.
fn fresh(now: Instant) -> Activities {
    let mut activities = Activities::new(3 * SECOND);
    activities.track([(cart(), Protocol::Http)], now);
    activities.envoys(1);
    activities
}

fn said(activities: &mut Activities, now: Instant) -> Option<ProtoState> {
    let changes = activities.changes(now).upstreams;
    assert!(changes.len() <= 1);
    changes.into_iter().next().and_then(|change| change.state)
}

#[test]
fn nothing_is_known_before_the_first_flush_and_an_absent_counter_is_zero_after_it() {
    let start = Instant::now();
    let mut activities = fresh(start);
    assert_eq!(activities.get(&cart()), Activity::Unknown);
    assert_eq!(said(&mut activities, start), None, "never mentioned is unknown already");
    activities.flush(&Flush::default(), start + SECOND);
    assert_eq!(said(&mut activities, start + 2 * SECOND), Some(ProtoState::IdleForMs(1000)));
}

#[test]
fn an_open_request_is_activity_as_long_as_it_lasts() {
    let start = Instant::now();
    let mut activities = fresh(start);
    for second in 1..100 {
        activities.flush(&requests(1, 1), start + second * SECOND);
        assert_eq!(activities.get(&cart()), Activity::Active);
    }
    activities.flush(&requests(0, 1), start + 100 * SECOND);
    assert_eq!(activities.get(&cart()), Activity::Idle { since: start + 100 * SECOND });
}

#[test]
fn a_request_that_came_and_went_between_two_flushes_is_activity() {
    let start = Instant::now();
    let mut activities = fresh(start);
    activities.flush(&requests(0, 7), start + SECOND);
    assert_eq!(activities.get(&cart()), Activity::Idle { since: start + SECOND });
    activities.flush(&requests(0, 8), start + 2 * SECOND);
    assert_eq!(activities.get(&cart()), Activity::Active);
    activities.flush(&requests(0, 8), start + 3 * SECOND);
    assert_eq!(activities.get(&cart()), Activity::Idle { since: start + 2 * SECOND });
}

#[test]
fn steady_traffic_is_said_once() {
    let start = Instant::now();
    let mut activities = fresh(start);
    activities.flush(&requests(1, 1), start);
    assert_eq!(said(&mut activities, start), Some(ProtoState::Active(true)));
    for second in 1..100_u32 {
        activities.flush(&requests(u64::from(second % 2), u64::from(second)), start + second * SECOND);
        assert_eq!(said(&mut activities, start + second * SECOND), None);
    }
}

#[test]
fn own_connections_are_activity_whatever_envoy_says() {
    let start = Instant::now();
    let mut activities = fresh(start);
    activities.own(&cart(), 1, start);
    assert_eq!(activities.get(&cart()), Activity::Active, "even without any flush");
    activities.flush(&requests(0, 0), start + SECOND);
    activities.own(&cart(), 0, start + 2 * SECOND);
    assert_eq!(activities.get(&cart()), Activity::Idle { since: start + 2 * SECOND });
}

#[test]
fn idleness_that_was_interrupted_unseen_is_said_again() {
    let start = Instant::now();
    let mut activities = fresh(start);
    activities.flush(&requests(0, 0), start);
    assert_eq!(said(&mut activities, start + 5 * SECOND), Some(ProtoState::IdleForMs(5000)));
    activities.own(&cart(), 1, start + 5 * SECOND);
    activities.own(&cart(), 0, start + 6 * SECOND);
    assert_eq!(said(&mut activities, start + 6 * SECOND), Some(ProtoState::IdleForMs(0)));
}

#[test]
fn silence_of_envoy_is_unknown_and_what_it_proves_afterwards_still_counts() {
    let start = Instant::now();
    let mut activities = fresh(start);
    activities.flush(&requests(0, 7), start);
    said(&mut activities, start);
    assert_eq!(activities.expires_at(), Some(start + 3 * SECOND));
    activities.expire(start + 3 * SECOND);
    assert_eq!(said(&mut activities, start + 3 * SECOND), Some(ProtoState::Unknown(true)));
    activities.flush(&requests(0, 7), start + 60 * SECOND);
    assert_eq!(activities.get(&cart()), Activity::Idle { since: start }, "the totals cover the silence");
}

#[test]
fn nothing_is_known_while_two_envoys_live() {
    let start = Instant::now();
    let mut activities = fresh(start);
    activities.flush(&requests(0, 7), start);
    activities.envoys(2);
    assert_eq!(activities.get(&cart()), Activity::Unknown);
}

#[test]
fn a_new_envoy_begins_idleness_anew() {
    let start = Instant::now();
    let mut activities = fresh(start);
    activities.flush(&requests(0, 7), start);
    activities.replaced(start + 100 * SECOND);
    assert_eq!(activities.get(&cart()), Activity::Unknown);
    activities.flush(&Flush::default(), start + 101 * SECOND);
    assert_eq!(activities.get(&cart()), Activity::Idle { since: start + 101 * SECOND });
}

#[test]
fn a_session_that_opens_is_told_how_long_each_has_been_idle() {
    let start = Instant::now();
    let mut activities = fresh(start);
    activities.flush(&requests(0, 0), start);
    activities.flush(&requests(0, 0), start + 50 * SECOND);
    said(&mut activities, start + 50 * SECOND);
    let whole = activities.whole(start + 60 * SECOND);
    assert_eq!(whole.upstreams[0].state, Some(ProtoState::IdleForMs(60_000)));
    assert_eq!(said(&mut activities, start + 60 * SECOND), None, "then only changes");
}

#[test]
fn an_open_tcp_connection_is_activity_and_a_pooled_http_connection_is_not() {
    let start = Instant::now();
    let pooled = Counters { connections_active: 1, connections: 1, ..Default::default() };
    for (protocol, expected) in
        [(Protocol::Tcp, Activity::Active), (Protocol::Http, Activity::Idle { since: start })]
    {
        let mut activities = Activities::new(3 * SECOND);
        activities.track([(cart(), protocol)], start);
        activities.envoys(1);
        activities.flush(&Flush::with(None, &[(&cart(), pooled)]), start);
        assert_eq!(activities.get(&cart()), expected, "{protocol:?}");
    }
}

#[test]
fn an_upstream_that_comes_later_waits_for_a_flush() {
    let start = Instant::now();
    let mut activities = fresh(start);
    activities.flush(&requests(0, 0), start);
    let other = UpstreamId::new("shop", "other", 80);
    activities.track([(cart(), Protocol::Http), (other.clone(), Protocol::Http)], start + SECOND);
    assert_eq!(activities.get(&other), Activity::Unknown);
    activities.flush(&requests(0, 0), start + 2 * SECOND);
    assert_eq!(activities.get(&other), Activity::Idle { since: start + 2 * SECOND });
    activities.track([(other, Protocol::Http)], start + 3 * SECOND);
    assert_eq!(activities.get(&cart()), Activity::Unknown, "what left is forgotten");
}
