use super::*;

fn cart() -> UpstreamId {
    UpstreamId::new("shop", "cart", 80)
}

fn drain() -> DrainId {
    DrainId("drain-1".into())
}

fn own(open: u32, drain: Option<DrainId>) -> impl Fn(&UpstreamId) -> Option<Own> {
    move |_| Some(Own { drain: drain.clone(), open, protocol: Protocol::Http })
}

/// The proxy holds for the drain, and nothing is open there.
fn calm() -> impl Fn(&UpstreamId) -> Option<Own> {
    own(0, Some(drain()))
}

fn flush(taken: i64, active: u64, total: u64) -> Flush {
    let counters = Counters { requests_active: active, requests: total, ..Default::default() };
    Flush::with(Some(taken), &[(&cart(), counters)])
}

fn asked() -> Proofs {
    let mut proofs = Proofs::default();
    proofs.ask(drain(), vec![cart()], 1000);
    proofs
}

/// After which of the flushes, numbered from one, the node is proven quiet.
fn proven_after(proofs: &mut Proofs, flushes: &[Flush]) -> Vec<usize> {
    let mut at = Vec::new();
    for (n, one) in (1..).zip(flushes) {
        at.extend(proofs.flush(one, calm(), 0).iter().map(|_| n));
    }
    at
}

#[test]
fn a_marker_and_two_calm_flushes_after_it_prove_quiet_once() {
    let flushes = [flush(1001, 0, 5), flush(2001, 0, 5), flush(3001, 0, 5), flush(4001, 0, 5)];
    assert_eq!(proven_after(&mut asked(), &flushes), [3]);
}

#[test]
fn a_flush_taken_before_the_request_is_no_marker() {
    let flushes =
        [flush(999, 0, 5), flush(1000, 0, 5), flush(1999, 0, 5), flush(2999, 0, 5), flush(3999, 0, 5)];
    assert_eq!(proven_after(&mut asked(), &flushes), [5]);
}

/// [A flush that straddles the ACK passes a worker before it switches, and that worker begins a request.]
#[test]
fn the_flush_that_may_straddle_the_switch_proves_nothing() {
    let flushes = [flush(1001, 0, 5), flush(2001, 0, 6), flush(3001, 0, 6)];
    assert_eq!(proven_after(&mut asked(), &flushes), [3], "the marker's own count is not compared");
    assert_eq!(proven_after(&mut asked(), &flushes[..2]), [0; 0]);
}

#[test]
fn an_open_request_delays_the_proof_until_two_flushes_after_its_end() {
    let flushes =
        [flush(1001, 1, 5), flush(2001, 1, 5), flush(3001, 1, 5), flush(4001, 0, 5), flush(5001, 0, 5)];
    assert_eq!(proven_after(&mut asked(), &flushes), [5]);
    let between = [flush(1001, 0, 5), flush(2001, 0, 5), flush(3001, 1, 6), flush(4001, 0, 6)];
    assert_eq!(proven_after(&mut asked(), &between), [0; 0]);
}

#[test]
fn a_request_that_came_and_went_between_the_two_flushes_delays_the_proof() {
    let flushes = [flush(1001, 0, 5), flush(2001, 0, 5), flush(3001, 0, 6), flush(4001, 0, 6)];
    assert_eq!(proven_after(&mut asked(), &flushes), [4]);
}

#[test]
fn a_pending_request_is_not_quiet() {
    let pending = |taken| {
        let counters = Counters { requests_pending: 1, ..Default::default() };
        Flush::with(Some(taken), &[(&cart(), counters)])
    };
    assert_eq!(proven_after(&mut asked(), &[1001, 2001, 3001, 4001].map(pending)), [0; 0]);
}

#[test]
fn an_open_tcp_connection_is_not_quiet() {
    let tcp = |_: &UpstreamId| Some(Own { drain: Some(drain()), open: 0, protocol: Protocol::Tcp });
    let open = Counters { connections_active: 1, connections: 1, ..Default::default() };
    let mut proofs = asked();
    for taken in 1001..1010 {
        assert_eq!(proofs.flush(&Flush::with(Some(taken), &[(&cart(), open)]), tcp, 0), []);
    }
}

#[test]
fn a_held_or_relayed_connection_starts_the_proof_over() {
    let mut proofs = asked();
    assert_eq!(proven_after(&mut proofs, &[flush(1001, 0, 5), flush(2001, 0, 5)]), [0; 0]);
    proofs.disturb(&cart(), 2500);
    let flushes = [flush(2400, 0, 5), flush(3400, 0, 5), flush(4400, 0, 5), flush(5400, 0, 5)];
    assert_eq!(proven_after(&mut proofs, &flushes), [4]);
    proofs.disturb(&UpstreamId::new("shop", "other", 80), 6000);
    assert_eq!(proven_after(&mut proofs, &[flush(6400, 0, 5)]), [0; 0], "another upstream is no matter");
}

#[test]
fn own_connections_that_last_prove_nothing() {
    let mut proofs = asked();
    for taken in [1001, 2001, 3001] {
        assert_eq!(proofs.flush(&flush(taken, 0, 5), own(1, Some(drain())), taken), []);
    }
    assert_eq!(proven_after(&mut proofs, &[flush(3500, 0, 5), flush(4500, 0, 5), flush(5500, 0, 5)]), [3]);
}

/// [The table lags: the proxy still forwards, and the next connection goes to a pod that is condemned.]
#[test]
fn a_proxy_that_does_not_hold_for_this_drain_proves_nothing() {
    let other = DrainId("drain-0".into());
    for verdict in [None, Some(other)] {
        let mut proofs = asked();
        for taken in [1001, 2001, 3001, 4001] {
            assert_eq!(proofs.flush(&flush(taken, 0, 5), own(0, verdict.clone()), taken), []);
        }
        assert_eq!(proven_after(&mut proofs, &[flush(5001, 0, 5), flush(6001, 0, 5)]), [0; 0]);
        assert_eq!(proven_after(&mut proofs, &[flush(7001, 0, 5)]), [1]);
    }
    let mut proofs = asked();
    for taken in [1001, 2001, 3001, 4001] {
        assert_eq!(proofs.flush(&flush(taken, 0, 5), |_| None, taken), [], "not in the table");
    }
}

#[test]
fn all_upstreams_of_the_drain_must_be_quiet() {
    let other = UpstreamId::new("shop", "cart", 81);
    let mut proofs = Proofs::default();
    proofs.ask(drain(), vec![cart(), other.clone()], 1000);
    let busy = Counters { requests_active: 1, requests: 1, ..Default::default() };
    for taken in [1001, 2001, 3001, 4001] {
        assert_eq!(proofs.flush(&Flush::with(Some(taken), &[(&other, busy)]), calm(), 0), []);
    }
}

#[test]
fn without_stamps_the_second_flush_to_arrive_is_the_marker() {
    let unstamped = Flush::default();
    assert_eq!(proven_after(&mut asked(), &[(); 4].map(|()| unstamped.clone())), [4]);
}

#[test]
fn a_proof_that_is_withdrawn_is_forgotten_and_one_that_is_asked_for_again_starts_over() {
    let mut proofs = asked();
    proven_after(&mut proofs, &[flush(1001, 0, 5), flush(2001, 0, 5)]);
    proofs.ask(drain(), vec![cart()], 2500);
    assert_eq!(proven_after(&mut proofs, &[flush(3001, 0, 5), flush(4001, 0, 5)]), [0; 0]);
    proofs.withdraw(&drain());
    assert_eq!(proven_after(&mut proofs, &[flush(5001, 0, 5)]), [0; 0]);
}

#[test]
fn another_envoy_starts_every_proof_over() {
    let mut proofs = asked();
    proven_after(&mut proofs, &[flush(1001, 0, 5), flush(2001, 0, 5)]);
    proofs.restart(2500);
    assert_eq!(proven_after(&mut proofs, &[flush(3001, 0, 0), flush(4001, 0, 0)]), [0; 0]);
    assert_eq!(proven_after(&mut proofs, &[flush(5001, 0, 0)]), [1]);
}
