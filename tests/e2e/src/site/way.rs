//! A long way: what comes in at one end goes out at the other, so much later, in order. tc's netem does the same where the kernel
//! has it; not every kernel that tests run on has.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::tap::Tap;

/// Frames on their way in one direction; what is more is lost, as on any link.
const MOST: usize = 20_000;
/// How often it is looked whether this is to end.
const LOOK: Duration = Duration::from_millis(50);

/// Between two ends, which are gone with it.
#[derive(Debug)]
pub(super) struct LongWay {
    stop: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
}

impl LongWay {
    /// Takes `delay` each way.
    ///
    /// # Panics
    /// When no thread can be had.
    pub(super) fn between(one: Tap, other: Tap, delay: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        // A thread of its own: the test's is busy with clients, and would add to the delay.
        let carry = move || carry(&[one, other], delay, &told);
        let carrier = std::thread::Builder::new().name("a long way".into()).spawn(carry);
        Self { stop, carrier: Some(carrier.expect("start a thread")) }
    }
}

impl Drop for LongWay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
    }
}

fn carry(ends: &[Tap; 2], delay: Duration, stop: &AtomicBool) {
    let [one, other] = ends;
    let mut ways = [Way::new(one, other), Way::new(other, one)];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let dues: Vec<Instant> = ways.iter_mut().filter_map(|way| way.deliver(now)).collect();
        let pause = dues.into_iter().min().map_or(LOOK, |due| due.duration_since(now).min(LOOK));
        let mut ready = [one, other].map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
        // Rounded up: a wait of nothing would be made again and again.
        let pause = PollTimeout::try_from(pause + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut ready, pause);
        for way in &mut ways {
            way.take(Instant::now() + delay);
        }
    }
}

/// One direction.
struct Way<'a> {
    from: &'a Tap,
    to: &'a Tap,
    /// In the order in which they are due.
    under_way: VecDeque<(Instant, Vec<u8>)>,
}

impl<'a> Way<'a> {
    fn new(from: &'a Tap, to: &'a Tap) -> Self {
        Self { from, to, under_way: VecDeque::new() }
    }

    /// Delivers what is due, and says when the next is.
    fn deliver(&mut self, now: Instant) -> Option<Instant> {
        while let Some((due, frame)) = self.under_way.front() {
            if *due > now {
                return Some(*due);
            }
            self.to.send(frame);
            self.under_way.pop_front();
        }
        None
    }

    /// Takes what has come.
    fn take(&mut self, due: Instant) {
        while let Some(frame) = self.from.receive() {
            if self.under_way.len() < MOST {
                self.under_way.push_back((due, frame));
            }
        }
    }
}
