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
    /// W1: a wake is opened by compare-and-swap.
    pub(crate) wake_compares: bool,
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
        wake_compares: true,
        seen_at_zero: true,
    };
}
