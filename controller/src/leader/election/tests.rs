use super::*;
use crate::model::Revision;

const TTL: Duration = Duration::from_secs(15);

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn held_by(holder: &str, renewal: u64) -> Observed {
    Observed { holder: holder.into(), renewal: renewal.to_string(), ttl: TTL }
}

/// Whose store is there, and goes on to be.
fn candidate() -> Election {
    let mut election = Election::new("me".into(), TTL);
    election.heard_store(at(1_000));
    election.trust_store(true);
    assert_eq!(election.next(at(100)), Next::Observe);
    election
}

fn acquiring() -> Election {
    let mut election = candidate();
    election.observed(Observed::absent(), at(100));
    assert_eq!(election.next(at(100)), Next::Acquire);
    election
}

fn leader() -> Election {
    let mut election = acquiring();
    election.wrote(Written::Held, at(100), at(100));
    assert_eq!(election.next(at(100)), Next::TakeTerm);
    election.took_term(Some(Term(Revision(7))));
    election
}

#[test]
fn a_lease_that_is_renewed_is_left_to_its_holder_and_one_that_is_not_is_taken_after_its_duration() {
    let mut election = candidate();
    for second in (100..200).step_by(5) {
        election.observed(held_by("other", second), at(second));
        assert_ne!(election.next(at(second + 4)), Next::Acquire);
    }
    election.observed(held_by("other", 195), at(205));
    assert_ne!(election.next(at(209)), Next::Acquire);
    assert_eq!(election.next(at(210)), Next::Acquire);
}

#[test]
fn a_released_lease_is_taken_at_once_and_a_stop_is_noticed_within_half_a_second() {
    let mut election = candidate();
    election.observed(held_by("other", 1), at(100));
    assert_eq!(election.next(at(100)), Next::WaitUntil(Moment(Duration::from_millis(100_500))));
    election.observed(held_by("", 2), at(101));
    assert_eq!(election.next(at(101)), Next::Acquire);
}

#[test]
fn who_lost_the_answer_of_an_acquisition_looks_first_and_does_not_wait_for_a_whole_duration_again() {
    let mut election = candidate();
    election.observed(held_by("dead", 1), at(100));
    assert_eq!(election.next(at(115)), Next::Acquire);
    election.wrote(Written::Unknown, at(115), at(118));
    assert!(matches!(election.next(at(118)), Next::WaitUntil(_)));
    assert_eq!(election.next(at(119)), Next::Observe);
    election.observed(held_by("dead", 1), at(119));
    assert_eq!(election.next(at(119)), Next::Acquire, "it was not written");
    election.wrote(Written::Unknown, at(119), at(122));
    election.observed(held_by("me", 2), at(123));
    assert_eq!(
        election.next(at(123)),
        Next::Acquire,
        "it was written: its time is counted from a call that is answered"
    );
}

#[test]
fn who_holds_the_lease_leads_only_once_it_has_the_term() {
    let mut election = acquiring();
    election.wrote(Written::Held, at(100), at(100));
    assert_eq!(election.term(at(101)), None);
    election.took_term(Some(Term(Revision(7))));
    assert_eq!(election.term(at(101)), Some(Term(Revision(7))));
    assert_eq!(election.next(at(101)), Next::WaitUntil(at(103)));
    assert_eq!(election.next(at(103)), Next::Renew);
}

#[test]
fn a_leader_whose_renewals_go_unanswered_steps_down_at_two_thirds() {
    let mut election = leader();
    for second in 103..110 {
        assert_eq!(election.term(at(second)), Some(Term(Revision(7))));
        election.wrote(Written::Unknown, at(second), at(second));
    }
    assert_eq!(election.term(at(110)), None);
    assert_eq!(election.next(at(110)), Next::Observe);
}

#[test]
fn no_call_of_a_leader_goes_on_when_its_time_is_over() {
    let election = leader();
    assert_eq!(election.patience(at(100)), TTL / 5);
    assert_eq!(election.patience(at(108)), Duration::from_secs(2));
    assert_eq!(election.patience(at(111)), Duration::ZERO);
}

#[test]
fn a_renewal_counts_from_before_it_was_asked_for() {
    let mut election = leader();
    // A pause of the process between asking and reading the answer gives no time.
    election.wrote(Written::Held, at(103), at(112));
    assert_eq!(election.term(at(113)), None);
    assert!(election.term(at(112)).is_some());
}

#[test]
fn a_leader_whose_lease_was_annotated_by_somebody_looks_and_renews_without_stepping_down() {
    let mut election = leader();
    election.wrote(Written::Conflict, at(103), at(103));
    assert_eq!(election.next(at(103)), Next::Observe);
    election.observed(held_by("me", 1), at(103));
    assert_eq!(election.term(at(103)), Some(Term(Revision(7))));
    assert_eq!(election.next(at(103)), Next::Renew);
    election.wrote(Written::Held, at(103), at(103));
    assert_eq!(election.next(at(104)), Next::WaitUntil(at(106)));
}

#[test]
fn a_leader_that_sees_another_hold_the_lease_is_none_at_once() {
    let mut election = leader();
    election.wrote(Written::Conflict, at(103), at(103));
    election.observed(held_by("other", 9), at(103));
    assert_eq!(election.term(at(103)), None);
    assert!(matches!(election.next(at(103)), Next::WaitUntil(_)));
}

#[test]
fn a_leader_without_the_store_lets_go_at_two_thirds_and_does_not_compete_for_two_durations() {
    let mut election = Election { store_heard: Some(at(100)), ..leader() };
    election.wrote(Written::Held, at(109), at(109));
    assert_eq!(election.next(at(109)), Next::WaitUntil(at(110)), "it looks up in time");
    assert_eq!(election.next(at(110)), Next::Release);
    assert_eq!(election.term(at(110)), None);
    election.released();
    election.heard_store(at(112));
    assert_eq!(election.next(at(112)), Next::Observe);
    election.observed(held_by("other", 9), at(112));
    election.heard_store(at(126));
    election.observed(held_by("", 10), at(126));
    assert_ne!(election.next(at(127)), Next::Acquire, "others come first");
    election.heard_store(at(139));
    election.observed(held_by("", 10), at(139));
    assert_ne!(election.next(at(139)), Next::Acquire);
    assert_eq!(election.next(at(140)), Next::Acquire, "two durations are over");
}

#[test]
fn a_lease_that_stays_free_is_taken_by_who_let_it_go() {
    let mut election = Election { store_heard: Some(at(100)), ..leader() };
    assert_eq!(election.next(at(110)), Next::Release);
    election.released();
    election.heard_store(at(120));
    election.observed(held_by("", 9), at(111));
    assert_ne!(election.next(at(125)), Next::Acquire);
    assert_eq!(election.next(at(126)), Next::Acquire);
}

#[test]
fn without_the_store_nobody_competes() {
    for heard in [None, Some(at(90))] {
        let mut election = Election { store_heard: heard, ..acquiring() };
        assert_ne!(election.next(at(100)), Next::Acquire);
        election.heard_store(at(99));
        assert_eq!(election.next(at(100)), Next::Acquire);
    }
}

#[test]
fn on_a_store_that_is_not_trusted_nobody_leads() {
    let mut election = acquiring();
    election.trust_store(false);
    assert_ne!(election.next(at(100)), Next::Acquire);
    let mut election = leader();
    election.trust_store(false);
    assert_eq!(election.next(at(101)), Next::Release);
    assert_eq!(election.term(at(101)), None);
}

#[test]
fn who_was_slower_in_the_store_gives_the_lease_back() {
    let mut election = acquiring();
    election.wrote(Written::Held, at(100), at(100));
    election.took_term(None);
    assert_eq!(election.next(at(100)), Next::Release);
}
