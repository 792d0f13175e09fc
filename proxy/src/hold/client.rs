//! The client's side of a connection that waits: its first byte, and whether it is still there. Nothing is consumed.
//!
//! Who is gone? A reset says so. An end of the client's stream (FIN) with no byte sent before it says so as well: there
//! is nothing to serve. A FIN after bytes is ambiguous: a client that sent its whole request and waits for the answer
//! (a half-close, which TCP allows) looks the same as one that closed. Such a client stays, but for one case in which
//! the kernel knows better: the client is a process on this host, as Envoy is, and its socket belongs to no process any
//! more ([`peer`](super::peer)). Otherwise each request that a client of Envoy gave up would wake its service.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::peer::{Owner, owner};

/// A client that half-closed may close fully later, and no packet tells.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The first look comes a moment after the FIN: closing a socket sends it before it gives the socket up.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// A waiting client.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
}

/// What came first of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// A byte.
    Byte,
    /// Its end.
    End,
}

impl Client {
    /// Takes the stream over.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream }
    }

    /// Gives the stream back, with all that the client sent. It is registered with the runtime anew, since waiting for
    /// the client's end clears what is known of its readiness.
    pub fn into_stream(self) -> io::Result<TcpStream> {
        TcpStream::from_std(self.stream.into_std()?)
    }

    /// Waits for the client's first byte, or its end.
    pub async fn first(&self) -> First {
        if self.peek(&mut [0]) == 1 {
            return First::Byte;
        }
        match self.stream.peek(&mut [0]).await {
            Ok(1) => First::Byte,
            Ok(_) | Err(_) => First::End,
        }
    }

    /// What the client sent first, as far as it is there and fits.
    pub fn peek(&self, into: &mut [u8]) -> usize {
        recv(self.stream.as_raw_fd(), into, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT).unwrap_or(0)
    }

    /// Returns when the client is gone; see above.
    pub async fn gone(&self) {
        loop {
            let Ok(ready) = self.stream.ready(Interest::READABLE.add(Interest::ERROR)).await else { return };
            if ready.is_error() || ready.is_read_closed() {
                break;
            }
            // More of the request: no news. To say that reading would block clears it until the next event.
            let clear = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = self.stream.try_io(Interest::READABLE, clear);
        }
        if self.failed() || self.peek(&mut [0]) == 0 {
            return;
        }
        tokio::select! {
            // Ready only for errors now: a reset.
            _ = self.stream.ready(Interest::ERROR) => {}
            () = self.given_up() => {}
        }
    }

    /// Returns when the peer's socket has lost its process; never, if the peer is not on this host.
    async fn given_up(&self) {
        tokio::time::sleep(FIRST_LOOK).await;
        let mut seen = false;
        loop {
            match owner(&self.stream) {
                Ok(Owner::Process) => seen = true,
                Ok(Owner::Nobody) => return,
                // Its socket was here, and has gone: the kernel drops those without a process after a minute.
                Ok(Owner::NotHere) if seen => return,
                Ok(Owner::NotHere) | Err(_) => std::future::pending().await,
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn failed(&self) -> bool {
        !matches!(SockRef::from(&self.stream).take_error(), Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    async fn pair() -> (TcpStream, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.unwrap(), Client::new(far.unwrap().0))
    }

    async fn soon<T>(future: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(30), future).await.expect("within 30 s")
    }

    /// Long enough for several looks.
    async fn stays(client: &Client) -> bool {
        timeout(FIRST_LOOK + 2 * LOOK_AGAIN, client.gone()).await.is_err()
    }

    #[tokio::test]
    async fn the_first_byte_is_seen_and_not_consumed() {
        let (mut near, client) = pair().await;
        near.write_all(b"GET /").await.unwrap();
        assert_eq!(soon(client.first()).await, First::Byte);
        let mut start = [0; 16];
        assert_eq!(client.peek(&mut start), 5);
        let mut read = [0; 5];
        soon(client.into_stream().unwrap().read_exact(&mut read)).await.unwrap();
        assert_eq!(&read, b"GET /");
    }

    #[tokio::test]
    async fn a_client_that_closes_without_a_byte_ended() {
        let (near, client) = pair().await;
        drop(near);
        assert_eq!(soon(client.first()).await, First::End);
        soon(client.gone()).await;
    }

    #[tokio::test]
    async fn a_client_that_resets_is_gone_at_once_even_after_its_request() {
        let (mut near, client) = pair().await;
        near.write_all(b"request").await.unwrap();
        soon(client.first()).await;
        crate::relay::cut(&near);
        drop(near);
        soon(client.gone()).await;
    }

    #[tokio::test]
    async fn a_client_that_closed_after_its_request_is_gone() {
        let (mut near, client) = pair().await;
        near.write_all(b"request").await.unwrap();
        drop(near);
        soon(client.gone()).await;
    }

    #[tokio::test]
    async fn a_client_that_half_closed_after_its_request_stays_until_it_closes() {
        let (mut near, client) = pair().await;
        near.write_all(b"request").await.unwrap();
        near.shutdown().await.unwrap();
        assert!(stays(&client).await);
        drop(near);
        soon(client.gone()).await;
    }

    #[tokio::test]
    async fn more_of_a_request_is_not_the_end_and_all_of_it_is_there_afterwards() {
        let (mut near, client) = pair().await;
        for part in ["one ", "two ", "three"] {
            near.write_all(part.as_bytes()).await.unwrap();
            assert!(timeout(Duration::from_millis(50), client.gone()).await.is_err());
        }
        let mut stream = client.into_stream().unwrap();
        near.into_std().unwrap().shutdown(Shutdown::Write).unwrap();
        let mut all = String::new();
        soon(stream.read_to_string(&mut all)).await.unwrap();
        assert_eq!(all, "one two three");
    }
}
