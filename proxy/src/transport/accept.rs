//! A loop that accepts until it is told to stop, whatever the kernel is short of meanwhile.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Accepted, accept};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the accept loops have met; shared by all of them.
#[derive(Debug, Default)]
pub struct AcceptCounts {
    accepted: AtomicU64,
    lost: AtomicU64,
    exhausted: AtomicU64,
}

impl AcceptCounts {
    /// Connections accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that were gone before they could be accepted.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Times the process or the system had no descriptor or memory for one more.
    pub fn exhausted(&self) -> u64 {
        self.exhausted.load(Ordering::Relaxed)
    }
}

/// Hands each connection of `listener` to `found` until `stop`. Short of descriptors or memory it pauses, longer each
/// time up to a second; clients wait in the kernel's queue meanwhile.
pub async fn accept_each(
    listener: TcpListener,
    found: impl Fn(Accepted),
    counts: &AcceptCounts,
    stop: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept(&listener) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                pause = FIRST_PAUSE;
                counts.accepted.fetch_add(1, Ordering::Relaxed);
                found(accepted);
            }
            Err(error) if is_exhaustion(&error) => {
                counts.exhausted.fetch_add(1, Ordering::Relaxed);
                warn!(%error, pause_ms = pause.as_millis(), "cannot accept; raise the limit of open files");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => {
                counts.lost.fetch_add(1, Ordering::Relaxed);
                debug!(%error, "a connection was gone before it was accepted");
            }
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::sync::Arc;

    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;
    use zenvoy_shared::id::ActivatorAddress;

    use super::*;
    use crate::transport::listen;

    /// A process of its own, since the limit of open files is the process's.
    #[test]
    fn a_loop_that_ran_out_of_descriptors_accepts_again_when_there_are_some() {
        const CHILD: &str = "ZENVOY_TEST_OUT_OF_DESCRIPTORS";
        if std::env::var_os(CHILD).is_none() {
            let name = "transport::accept::tests::a_loop_that_ran_out_of_descriptors_accepts_again_when_there_are_some";
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            let status = child.args(["--exact", name]).env(CHILD, "1").status().unwrap();
            assert!(status.success());
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let limited = async { tokio::time::timeout(Duration::from_secs(60), starved()).await };
        runtime.block_on(limited).expect("within 60 s");
    }

    async fn starved() {
        let listener = listen(ActivatorAddress(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(AcceptCounts::default());
        let stop = CancellationToken::new();
        let (found, mut arrived) = mpsc::unbounded_channel();
        let (shared, until) = (counts.clone(), stop.clone());
        let accepting = tokio::spawn(async move {
            accept_each(listener, |accepted| drop(found.send(accepted)), &shared, until).await;
        });
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let client = tokio::net::TcpSocket::new_v4().unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 256, hard).unwrap();
        let full: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        let client: TcpStream = client.connect(address).await.unwrap();
        while counts.exhausted() == 0 {
            tokio::task::yield_now().await;
        }
        drop(full);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        let accepted: Accepted = arrived.recv().await.unwrap();
        assert_eq!(accepted.stream.peer_addr().unwrap(), client.local_addr().unwrap());
        assert_eq!(counts.accepted(), 1);
        stop.cancel();
        accepting.await.unwrap();
    }
}
