//! How a pod may be told to misbehave.

use std::time::Duration;

/// The annotation on a pod (so: of a workload's pod template) that says how.
pub const BEHAVIOUR: &str = "harness.zenvoy.dev/behaviour";

/// What a pod does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// Starts at once, is ready when it accepts connections.
    #[default]
    Well,
    /// Its process is started so much later: `slow-start=1500` (milliseconds).
    SlowStart(Duration),
    /// Its process ends at once, again and again: `crash-loop`.
    CrashLoop,
    /// Its image cannot be had: `image-pull-error`.
    ImagePullError,
    /// It runs and is never ready: `unready`.
    Unready,
    /// No node takes it: `unschedulable`.
    Unschedulable,
}

impl Behaviour {
    /// Reads the annotation's value; none is good behaviour.
    ///
    /// # Panics
    /// On a word that it does not know: a typing error in a test.
    pub fn read(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::Well };
        match text.split_once('=').unwrap_or((text, "")) {
            ("slow-start", milliseconds) => {
                Self::SlowStart(Duration::from_millis(milliseconds.parse().expect("slow-start=MILLISECONDS")))
            }
            ("crash-loop", "") => Self::CrashLoop,
            ("image-pull-error", "") => Self::ImagePullError,
            ("unready", "") => Self::Unready,
            ("unschedulable", "") => Self::Unschedulable,
            _ => panic!("{BEHAVIOUR}: {text} is no behaviour"),
        }
    }
}
