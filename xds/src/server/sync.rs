//! What threads meet at. In the crate's own unit tests a scheduler takes the place of the system's, and runs the same code in
//! very many orders (`threads.rs`).

#[cfg(not(test))]
pub(super) use futures::task::AtomicWaker;
#[cfg(test)]
pub(super) use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(test))]
pub(super) use std::sync::{Mutex, MutexGuard};
#[cfg(test)]
pub(super) use tested::{AtomicWaker, Notify};
#[cfg(not(test))]
pub(super) use tokio::sync::Notify;

/// State is consistent between statements; a panic elsewhere must not take all clients down.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tested {
    //! Each is one step to the scheduler, as its own crate has tested; others get their turn before it.

    use std::task::Waker;

    use shuttle::thread::yield_now;
    use tokio::sync::futures::Notified;

    #[derive(Debug, Default)]
    pub(in crate::server) struct AtomicWaker(futures::task::AtomicWaker);

    impl AtomicWaker {
        pub(in crate::server) fn register(&self, waker: &Waker) {
            yield_now();
            self.0.register(waker);
        }

        pub(in crate::server) fn wake(&self) {
            yield_now();
            self.0.wake();
        }
    }

    #[derive(Debug, Default)]
    pub(in crate::server) struct Notify(tokio::sync::Notify);

    impl Notify {
        pub(in crate::server) fn notified(&self) -> Notified<'_> {
            yield_now();
            self.0.notified()
        }

        pub(in crate::server) fn notify_waiters(&self) {
            yield_now();
            self.0.notify_waiters();
        }
    }
}
