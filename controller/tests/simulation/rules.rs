//! Rules that can be switched off, to see what they are for. Each is switched off at the rim: the production code runs
//! unchanged, and the world no longer does what the rule asks of it.

/// Which rules hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// D3: a proof of quiet waits until the switch has passed every worker.
    pub(crate) flush_barrier: bool,
    /// N3: a node is given nothing new before its registration was watched.
    pub(crate) registered_first: bool,
    /// N1: session and ADS go to one replica, and break together.
    pub(crate) one_fate: bool,
    /// N2: a node that cannot be registered gets no direct routes.
    pub(crate) relayed_unregistered: bool,
    /// N2: nor is it taken before all replicas were asked to register it.
    pub(crate) all_asked: bool,
    /// N4: no timer forgets a node.
    pub(crate) no_timer: bool,
    /// D5: the commit compares wake, acknowledgements, nodes and replicas.
    pub(crate) full_commit: bool,
    /// D6, D7: the scale-down patch carries the pinned version.
    pub(crate) pinned: bool,
    /// G1: irrevocable steps read by quorum.
    pub(crate) quorum_reads: bool,
    /// D4: an acknowledgement names only nodes that its replica vouches for.
    pub(crate) own_nodes_only: bool,
    /// D8: a drain ends when no pod lives, by a list of them.
    pub(crate) living_pods: bool,
    /// N5: each start of a node has an epoch of its own.
    pub(crate) epochs: bool,
    /// G3: what is missing in a list is gone.
    pub(crate) lists_end: bool,
    /// G4: a re-created workload has another UID than the records of the one before.
    pub(crate) uids: bool,
    /// G5: the leader changes the record that it decided on.
    pub(crate) decided_on: bool,
    /// W1: a wake is opened by compare-and-swap.
    pub(crate) wake_compares: bool,
    /// W2: a retired wake's record names the pods that serve.
    pub(crate) names_pods: bool,
    /// W3: the patch 0 -> n carries the version seen at zero.
    pub(crate) seen_at_zero: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        flush_barrier: true,
        registered_first: true,
        one_fate: true,
        relayed_unregistered: true,
        all_asked: true,
        no_timer: true,
        full_commit: true,
        pinned: true,
        quorum_reads: true,
        own_nodes_only: true,
        living_pods: true,
        epochs: true,
        lists_end: true,
        uids: true,
        decided_on: true,
        wake_compares: true,
        names_pods: true,
        seen_at_zero: true,
    };
}
