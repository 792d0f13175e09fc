//! The memory that requests take before they are in the core's hands: little for each stream, and a common limit for more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::Status;

/// Bytes of each stream that are not counted.
const FREE: usize = 64 * 1024;

/// What all streams hold.
#[derive(Debug)]
pub(super) struct Rooms {
    held: AtomicUsize,
    most: usize,
}

impl Rooms {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), most })
    }
}

/// One stream's part, given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    rooms: Arc<Rooms>,
    held: usize,
}

impl Room {
    pub(super) fn new(rooms: Arc<Rooms>) -> Self {
        Self { rooms, held: 0 }
    }

    /// The stream holds so many bytes now.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Status> {
        let counted = bytes.saturating_sub(FREE);
        if counted <= self.held {
            self.rooms.held.fetch_sub(self.held - counted, Ordering::Relaxed);
            self.held = counted;
            return Ok(());
        }
        let more = counted - self.held;
        let before = self.rooms.held.fetch_add(more, Ordering::Relaxed);
        self.held = counted;
        if before + more > self.rooms.most {
            return Err(Status::resource_exhausted(format!(
                "requests of all streams that are still to be taken in hold more than {} bytes: try again later",
                self.rooms.most
            )));
        }
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.rooms.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_streams_hold_together_is_limited_beyond_a_little_of_each() {
        let rooms = Rooms::new(1000);
        let [mut one, mut two, mut three] = [(); 3].map(|()| Room::new(rooms.clone()));
        one.hold(FREE + 600).expect("room");
        two.hold(FREE + 400).expect("room");
        three.hold(FREE).expect("a little is free");
        assert!(three.hold(FREE + 1).expect_err("full").message().contains("1000 bytes"));
        three.hold(0).expect("room");
        two.hold(FREE + 300).expect("less than before");
        drop(one);
        three.hold(FREE + 700).expect("what is dropped is given back");
        assert_eq!(rooms.held.load(Ordering::Relaxed), 1000);
    }
}
