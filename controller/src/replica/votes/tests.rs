use proptest::prelude::*;
use zenvoy_shared::id::{ControllerId, NodeId};

use super::*;
use crate::store::{Key, LeaseId, Write};

fn workload(number: usize) -> WorkloadId {
    WorkloadId::new("shop", "Deployment.apps", format!("service-{number}"))
}

fn place() -> Place {
    Place { replica: ControllerId("replica-1".into()), lease: LeaseId(1) }
}

/// What a replica votes and what of it lies in the store.
struct Voter {
    own: OwnVotes,
    votes: Votes,
    nodes: BTreeMap<String, Revision>,
    level: u32,
    revision: i64,
}

impl Voter {
    fn new() -> Self {
        let mut votes = Votes::default();
        votes.joins(&place().replica);
        Self { own: OwnVotes::default(), votes, nodes: BTreeMap::new(), level: SHARDED_LEVEL, revision: 0 }
    }

    /// So many workloads fall idle, one by one.
    fn fall_idle(&mut self, count: usize) {
        for number in 0..count {
            self.own.set(&workload(number), true);
        }
    }

    fn transaction(&mut self) -> Vec<Write> {
        let nothing = Ballot::default();
        let have = self.votes.of(&place().replica).unwrap_or(&nothing);
        self.own.writes(have, self.nodes.clone(), self.level, &place())
    }

    fn stored(&mut self, write: &Write) {
        self.revision += 1;
        let at = Revision(self.revision);
        match write {
            Write::Put(key, value, Some(_)) => {
                let (replica, cast) = match key.clone() {
                    Key::IdleVotes(id) => (id, Cast::Whole(serde_json::from_slice(value).expect("JSON"))),
                    Key::VoteNodes(id) => (id, Cast::Nodes(serde_json::from_slice(value).expect("JSON"))),
                    Key::VoteShard(id, shard) => {
                        (id, Cast::Shard(shard, serde_json::from_slice(value).expect("JSON")))
                    }
                    key => panic!("no vote: {key}"),
                };
                self.votes.cast(&replica, cast, at);
            }
            Write::Put(..) => panic!("without a lease, a dead replica's votes would stay"),
            Write::Delete(key) => {
                self.votes.withdraw(key, at);
            }
        }
    }

    /// Transactions until the store has all; each as the sizes of its values.
    fn settle(&mut self) -> Vec<Vec<usize>> {
        let mut transactions = Vec::new();
        loop {
            let writes = self.transaction();
            if writes.is_empty() {
                return transactions;
            }
            writes.iter().for_each(|write| self.stored(write));
            let size = |write: &Write| if let Write::Put(_, value, _) = write { value.len() } else { 0 };
            transactions.push(writes.iter().map(size).collect());
        }
    }

    fn counted(&self) -> BTreeSet<WorkloadId> {
        let mut all = BTreeSet::new();
        while let Some(next) = self.votes.next_idle(all.last()) {
            let next = next.clone();
            all.insert(next);
        }
        all
    }
}

#[test]
fn ten_thousand_services_idle_at_once_are_few_transactions_and_small_records() {
    let mut voter = Voter::new();
    voter.fall_idle(10_000);
    let transactions = voter.settle();
    let records: usize = transactions.iter().map(Vec::len).sum();
    assert!(transactions.len() <= 3, "{} transactions", transactions.len());
    assert_eq!(records, usize::from(Shard::COUNT) + 1, "each shard once, and the nodes");
    let largest = transactions.iter().flatten().max();
    assert!(largest < Some(&16_384), "{largest:?} bytes in one record");
    assert_eq!(voter.counted().len(), 10_000);
}

#[test]
fn one_change_among_ten_thousand_rewrites_one_small_record() {
    let mut voter = Voter::new();
    voter.fall_idle(10_000);
    voter.settle();
    for idle in [false, true] {
        assert!(voter.own.set(&workload(7), idle));
        let transactions = voter.settle();
        assert!(matches!(&transactions[..], [writes] if writes.len() == 1 && writes[0] < 16_384));
        assert_eq!(voter.votes.all_vote_idle(&workload(7)), idle);
    }
    assert!(!voter.own.set(&workload(7), true), "nothing new");
    assert!(voter.transaction().is_empty());
}

#[test]
fn a_node_that_comes_or_goes_rewrites_no_vote() {
    let mut voter = Voter::new();
    voter.fall_idle(10_000);
    voter.settle();
    voter.nodes.insert("node-1".into(), Revision(5));
    assert_eq!(voter.settle().concat().len(), 1);
    // Registered anew: taken back, then named again.
    voter.nodes.insert("node-1".into(), Revision(9));
    assert_eq!(voter.settle().concat().len(), 2);
}

#[test]
fn transactions_stay_within_what_etcd_takes_however_long_the_names_are() {
    let mut voter = Voter::new();
    for number in 0..20_000 {
        let long = WorkloadId::new("n".repeat(63), "Deployment.apps", format!("{number:0>253}"));
        voter.own.set(&long, true);
    }
    for transaction in voter.settle() {
        assert!(transaction.len() <= 64 && transaction.iter().sum::<usize>() < 1_000_000, "{transaction:?}");
    }
    assert_eq!(voter.counted().len(), 20_000);
}

#[test]
fn while_a_replica_of_level_one_lives_votes_are_in_one_record_and_later_in_shards_again() {
    let mut voter = Voter::new();
    voter.level = 1;
    voter.fall_idle(100);
    assert_eq!(voter.settle().concat().len(), 1);
    assert_eq!(voter.votes.keys().collect::<Vec<_>>(), [Key::IdleVotes(place().replica)]);
    for level in [2, 1, 2] {
        voter.level = level;
        voter.own.look_at_all();
        voter.settle();
        let whole = voter.votes.keys().any(|key| matches!(key, Key::IdleVotes(_)));
        assert_eq!((voter.counted().len(), whole), (100, level == 1));
    }
}

/// What happens to a replica between two transactions.
#[derive(Debug, Clone)]
enum Step {
    /// The node comes, or comes anew, and keeps these workloads up.
    Comes(u8, u64),
    Goes(u8),
    Level(u32),
    /// One transaction, seen write by write.
    Writes,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3u8, any::<u64>()).prop_map(|(node, blocks)| Step::Comes(node, blocks)),
        1 => (0..3u8).prop_map(Step::Goes),
        1 => (1..3u32).prop_map(Step::Level),
        6 => Just(Step::Writes),
    ];
    prop::collection::vec(step, 1..60)
}

const WORKLOADS: usize = 64;

proptest! {
    /// The order of writes: whoever sees any part of them finds no vote that names a node it was given without.
    #[test]
    fn no_vote_ever_counts_for_a_node_that_it_was_given_without(steps in steps()) {
        let mut voter = Voter::new();
        // What each start of a node keeps up.
        let mut blocks: BTreeMap<(String, Revision), u64> = BTreeMap::new();
        let is_blocked = |blocks: &u64, number: usize| blocks & (1 << number) != 0;
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Comes(node, keeps_up) => {
                    let at = Revision(i64::try_from(number).expect("few"));
                    voter.nodes.insert(format!("node-{node}"), at);
                    blocks.insert((format!("node-{node}"), at), *keeps_up);
                }
                Step::Goes(node) => drop(voter.nodes.remove(&format!("node-{node}"))),
                Step::Level(level) => {
                    voter.level = *level;
                    voter.own.look_at_all();
                }
                Step::Writes => {}
            }
            for workload_number in 0..WORKLOADS {
                let blocked = voter.nodes.iter().any(|(node, at)| {
                    is_blocked(&blocks[&(node.clone(), *at)], workload_number)
                });
                voter.own.set(&workload(workload_number), !blocked);
            }
            if !matches!(step, Step::Writes) {
                continue;
            }
            for write in voter.transaction() {
                voter.stored(&write);
                let named = voter.votes.of(&place().replica).and_then(Ballot::nodes).cloned().unwrap_or_default();
                for start in named {
                    for number in (0..WORKLOADS).filter(|number| is_blocked(&blocks[&start], *number)) {
                        prop_assert!(!voter.counted().contains(&workload(number)), "{start:?} keeps {number} up");
                    }
                }
            }
        }
        voter.settle();
        let own: BTreeSet<WorkloadId> = voter.own.iter().cloned().collect();
        prop_assert_eq!(voter.counted(), own);
        let named = voter.votes.of(&place().replica).and_then(Ballot::nodes).cloned();
        prop_assert_eq!(named, Some(voter.nodes.clone()));
    }

    /// The count that is kept is the count that one would make.
    #[test]
    fn the_count_kept_is_the_count_made_anew(ops in prop::collection::vec((0..8u8, 0..3u8, any::<u8>()), 1..80)) {
        let mut votes = Votes::default();
        let (mut live, mut nodes) = (BTreeSet::new(), BTreeMap::new());
        for (at, (op, replica, bits)) in (1..).map(Revision).zip(ops) {
            let id = ControllerId(format!("replica-{replica}"));
            let workloads = (0..8).filter(|bit| bits & (1 << bit) != 0).map(workload);
            let node = format!("node-{replica}");
            let named: BTreeMap<String, Revision> =
                (0..3).filter(|bit| bits & (1 << bit) != 0).map(|bit| (format!("node-{bit}"), Revision(1))).collect();
            let unknown = serde_json::Map::new();
            match op {
                0 => {
                    live.insert(id.clone());
                    votes.joins(&id);
                }
                1 => {
                    live.remove(&id);
                    votes.leaves(&id);
                }
                2 => {
                    let registered = (bits % 3 != 0).then_some(Revision(i64::from(bits % 3)));
                    match registered {
                        Some(at) => drop(nodes.insert(node.clone(), at)),
                        None => drop(nodes.remove(&node)),
                    }
                    votes.node(&NodeId(node), registered);
                }
                3 => {
                    votes.cast(&id, Cast::Nodes(VoteNodes { nodes: named, unknown }), at);
                }
                4 => {
                    let cast = IdleVotes { workloads: workloads.collect(), nodes: named, unknown };
                    votes.cast(&id, Cast::Whole(cast), at);
                }
                5 => {
                    let shard = Shard::of(&workload(usize::from(bits % 8)));
                    let workloads = workloads.filter(|workload| Shard::of(workload) == shard).collect();
                    votes.cast(&id, Cast::Shard(shard, VoteShard { workloads, unknown }), at);
                }
                6 => {
                    votes.withdraw(&Key::VoteNodes(id), at);
                }
                _ => {
                    votes.withdraw(&Key::IdleVotes(id), at);
                }
            }
            for number in 0..8 {
                let workload = workload(number);
                let votes_idle = |id| {
                    votes.of(id).is_some_and(|ballot| ballot.is_idle(&workload, Shard::of(&workload)))
                };
                let all = !live.is_empty() && live.iter().all(votes_idle);
                prop_assert_eq!(votes.all_vote_idle(&workload), all);
            }
            let spoken = |node: &str, at: &Revision| {
                live.iter().any(|id| votes.of(id).and_then(Ballot::nodes).is_some_and(|nodes| nodes.get(node) == Some(at)))
            };
            let unspoken: BTreeSet<NodeId> =
                nodes.iter().filter(|(node, at)| !spoken(node, at)).map(|(node, _)| NodeId(node.clone())).collect();
            prop_assert_eq!(votes.unspoken_for(), &unspoken);
        }
    }
}
