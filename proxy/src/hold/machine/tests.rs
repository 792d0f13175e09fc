use zenvoy_shared::id::{Protocol, UpstreamId};

use super::*;

const PATIENCE: Patience = Patience { first_byte: Duration::from_secs(10), dial: Duration::from_secs(1) };
const SECOND: Duration = Duration::from_secs(1);

fn held(protocol: Protocol, verdict: Verdict) -> Held {
    Held {
        upstream: UpstreamId::new("shop", "cart", 80),
        activator: "127.0.0.1:20000".parse().unwrap(),
        protocol,
        wake_timeout: 60 * SECOND,
        max_held: 10,
        verdict,
        lacks: None,
        refused: None,
    }
}

fn hold() -> Verdict {
    Verdict::Hold { drain: None }
}

fn forward() -> Verdict {
    Verdict::Forward(vec!["10.42.0.1:80".parse().unwrap()])
}

fn refuse() -> Verdict {
    Verdict::Fail { reason: "ImagePull".into(), message: "no image".into(), retry_after: 30 * SECOND }
}

fn machine() -> (Machine, Instant) {
    let now = Instant::now();
    (Machine::new(PATIENCE, now), now)
}

#[test]
fn a_client_that_speaks_first_is_held_only_once_it_has_spoken() {
    for protocol in [Protocol::Http, Protocol::Http2, Protocol::Tls] {
        let (mut machine, now) = machine();
        let cold = held(protocol, hold());
        assert_eq!(machine.next(Some(&cold), now), Step::AwaitByte { until: now + 10 * SECOND });
        machine.spoke();
        assert_eq!(machine.next(Some(&cold), now + SECOND), Step::Hold { until: now + 61 * SECOND });
    }
}

#[test]
fn where_the_server_may_speak_first_accepting_is_demand() {
    let (mut machine, now) = machine();
    assert_eq!(
        machine.next(Some(&held(Protocol::Tcp, hold())), now),
        Step::Hold { until: now + 60 * SECOND }
    );
}

#[test]
fn a_client_that_stays_silent_is_closed_and_never_was_demand() {
    let (mut machine, now) = machine();
    assert_eq!(machine.next(Some(&held(Protocol::Http, hold())), now + 10 * SECOND), Step::Close);
    assert!(!machine.was_held());
}

#[test]
fn a_warm_upstream_is_dialled_at_once_without_waiting_for_a_byte() {
    let (mut machine, now) = machine();
    let Step::Dial { deadline, .. } = machine.next(Some(&held(Protocol::Http, forward())), now) else {
        panic!("dial")
    };
    assert_eq!(deadline, now + 60 * SECOND);
}

#[test]
fn a_held_connection_fails_at_its_deadline_and_says_why() {
    let (mut machine, now) = machine();
    let cold = held(Protocol::Tcp, hold());
    machine.next(Some(&cold), now);
    let Step::Fail(failure) = machine.next(Some(&cold), now + 60 * SECOND) else { panic!("fail") };
    assert_eq!(failure.reason, "WakeDeadline");
    assert_eq!(failure.message, "shop/cart:80 did not become ready within its wake timeout of 1m");
    let told = Held { lacks: Some("nobody listens. Its last lines:\nopening".into()), ..cold };
    let Step::Fail(failure) = machine.next(Some(&told), now + 60 * SECOND) else { panic!("fail") };
    assert!(
        failure.message.ends_with("of 1m: nobody listens. Its last lines:\nopening"),
        "{}",
        failure.message
    );
}

#[test]
fn ready_is_not_yet_accepting_dials_go_on_with_growing_pauses_until_the_deadline() {
    let (mut machine, mut now) = machine();
    let start = now;
    machine.next(Some(&held(Protocol::Tcp, hold())), now);
    let ready = held(Protocol::Tcp, forward());
    let mut pauses = Vec::new();
    let failure = loop {
        match machine.next(Some(&ready), now) {
            Step::Dial { .. } => machine.dial_failed("connection refused".into(), now),
            Step::Pause { until } => {
                pauses.push((until - now).as_millis());
                now = until;
            }
            Step::Fail(failure) => break failure,
            step => panic!("{step:?}"),
        }
    };
    assert_eq!(pauses[..6], [5, 10, 20, 40, 80, 100]);
    assert_eq!(now, start + 60 * SECOND);
    let expected =
        "became ready, but did not accept within its wake timeout of 1m; last attempt: connection refused";
    assert!(failure.message.ends_with(expected), "{}", failure.message);
}

#[test]
fn a_verdict_that_changes_back_to_hold_while_dialling_keeps_the_connection_held() {
    let (mut machine, now) = machine();
    let cold = held(Protocol::Tcp, hold());
    machine.next(Some(&cold), now);
    machine.next(Some(&held(Protocol::Tcp, forward())), now + SECOND);
    machine.dial_failed("connection refused".into(), now + SECOND);
    let deadline = now + 60 * SECOND;
    assert_eq!(
        machine.next(Some(&cold), now + 2 * SECOND),
        Step::Hold { until: deadline },
        "the same deadline"
    );
}

#[test]
fn a_verdict_to_fail_ends_a_held_connection_with_its_reason() {
    let (mut machine, now) = machine();
    machine.next(Some(&held(Protocol::Tcp, hold())), now);
    let Step::Fail(failure) = machine.next(Some(&held(Protocol::Tcp, refuse())), now) else { panic!("fail") };
    assert_eq!((failure.reason.as_str(), failure.retry_after), ("ImagePull", 30 * SECOND));
}

#[test]
fn an_http_client_gets_its_failure_only_after_its_request_and_others_at_once() {
    let (mut http, now) = machine();
    let broken = held(Protocol::Http, refuse());
    assert_eq!(http.next(Some(&broken), now), Step::AwaitByte { until: now + 10 * SECOND });
    http.spoke();
    assert!(matches!(http.next(Some(&broken), now), Step::Fail(_)));
    let (mut tcp, now) = machine();
    assert!(matches!(tcp.next(Some(&held(Protocol::Tcp, refuse())), now), Step::Fail(_)));
}

#[test]
fn an_upstream_that_is_removed_fails_what_is_held_and_closes_what_is_not() {
    let (mut waiting, now) = machine();
    waiting.next(Some(&held(Protocol::Tcp, hold())), now);
    let Step::Fail(failure) = waiting.next(None, now) else { panic!("fail") };
    assert_eq!(failure.reason, "UpstreamRemoved");
    assert_eq!(machine().0.next(None, now), Step::Close);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![Just(hold()), Just(forward())]
    }

    fn protocol() -> impl Strategy<Value = Protocol> {
        prop_oneof![Just(Protocol::Http), Just(Protocol::Http2), Just(Protocol::Tcp), Just(Protocol::Tls)]
    }

    proptest! {
        /// Whatever the verdicts and however they alternate, if every dial fails.
        #[test]
        fn no_connection_waits_beyond_its_deadline(
            protocol in protocol(),
            speaks in any::<bool>(),
            verdicts in prop::collection::vec(verdict(), 1..20),
        ) {
            let (mut machine, start) = machine();
            let mut now = start;
            if speaks {
                machine.spoke();
            }
            let mut verdicts = verdicts.into_iter().cycle();
            let end = start + PATIENCE.first_byte + 60 * SECOND;
            for _ in 0..10_000 {
                let verdict = verdicts.next().unwrap();
                match machine.next(Some(&held(protocol, verdict)), now) {
                    Step::AwaitByte { until } | Step::Hold { until } | Step::Pause { until } => {
                        prop_assert!(until > now && until <= end);
                        now = until;
                    }
                    Step::Dial { deadline, .. } => {
                        prop_assert!(deadline > now && deadline <= end);
                        machine.dial_failed("refused".into(), now);
                    }
                    Step::Fail(failure) => {
                        prop_assert_eq!(failure.reason, reason::WAKE_DEADLINE);
                        return Ok(());
                    }
                    Step::Close => {
                        prop_assert!(!machine.was_held());
                        return Ok(());
                    }
                }
            }
            prop_assert!(false, "it neither ended nor failed");
        }
    }
}
