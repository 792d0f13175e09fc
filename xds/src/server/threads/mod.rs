//! What happens where threads meet: the production code runs under a scheduler that tries very many orders. A wake-up that
//! is lost leaves nobody able to run, which the scheduler reports.

mod ends;
mod groups;
mod peer;
mod waits;
mod wakes;

use std::sync::Arc;
use std::task::{Context, Poll, Wake};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::{Condvar, Mutex};
use shuttle::{Config, Runner};

use crate::core::Change;

const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

/// Orders tried of each test and by each scheduler.
const ORDERS: usize = 700;
/// How many turns of threads an order is about that the second scheduler looks for.
const DEPTH: usize = 3;

/// Runs `test` in many orders.
fn in_all_orders(test: impl Fn() + Send + Sync + 'static) {
    let test = Arc::new(test);
    run(RandomScheduler::new(ORDERS), test.clone());
    run(PctScheduler::new(DEPTH, ORDERS), test);
}

fn run(scheduler: impl Scheduler + 'static, test: Arc<impl Fn() + Send + Sync + 'static>) {
    // Streams set timers, which need a runtime's clock; none of them is ever due.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    Runner::new(scheduler, config).run(move || test());
}

/// Runs a future to its end. A wake-up counts from the beginning of a poll: one of before must not stand for one that
/// is lost during it (as it would with the scheduler's own `block_on`).
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let woken = Arc::new(Woken::default());
    let waker = woken.clone().into();
    loop {
        *woken.flag.lock().expect("not poisoned") = false;
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut flag = woken.flag.lock().expect("not poisoned");
        while !*flag {
            flag = woken.changed.wait(flag).expect("not poisoned");
        }
    }
}

#[derive(Default)]
struct Woken {
    flag: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.flag.lock().expect("not poisoned") = true;
        self.changed.notify_one();
    }
}

fn set(name: &str, content: &str) -> Change {
    Change::set(CDS, name, content.to_owned())
}
