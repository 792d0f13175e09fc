use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

struct Ends {
    client: TcpStream,
    server: TcpStream,
    counts: Arc<Relayed>,
    relay: JoinHandle<Result<(), RelayError>>,
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn relayed() -> Ends {
    let (client, accepted) = pair().await;
    let (dialled, server) = pair().await;
    let counts = Arc::new(Relayed::default());
    let shared = counts.clone();
    let relay = tokio::spawn(async move { relay(&accepted, &dialled, &*shared).await });
    Ends { client, server, counts, relay }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("within 30 s")
}

#[tokio::test]
async fn bytes_go_both_ways_and_are_counted() {
    let mut ends = relayed().await;
    ends.client.write_all(b"ping").await.unwrap();
    let mut read = [0; 4];
    soon(ends.server.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"ping");
    ends.server.write_all(b"pong!").await.unwrap();
    drop(ends.server);
    let mut answer = Vec::new();
    soon(ends.client.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"pong!");
    drop(ends.client);
    soon(ends.relay).await.unwrap().unwrap();
    assert_eq!((ends.counts.to_server(), ends.counts.to_client()), (4, 5));
}

#[tokio::test]
async fn a_client_that_closed_its_writing_half_still_gets_the_answer() {
    let mut ends = relayed().await;
    ends.client.write_all(b"all I have").await.unwrap();
    ends.client.shutdown().await.unwrap();
    let mut request = Vec::new();
    soon(ends.server.read_to_end(&mut request)).await.unwrap();
    assert_eq!(request, b"all I have");
    ends.server.write_all(b"late answer").await.unwrap();
    ends.server.shutdown().await.unwrap();
    let mut answer = Vec::new();
    soon(ends.client.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"late answer");
    soon(ends.relay).await.unwrap().unwrap();
}

#[tokio::test]
async fn much_more_than_a_pipe_holds_arrives_whole_with_a_slow_reader() {
    let ends = relayed().await;
    let sent: Vec<u8> = (0..8_000_000u32).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect();
    let expected = sent.clone();
    let (mut client, mut server) = (ends.client, ends.server);
    let writer = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let mut got = Vec::new();
    let mut small = [0; 1_000];
    loop {
        let n = soon(server.read(&mut small)).await.unwrap();
        if n == 0 {
            break;
        }
        got.extend_from_slice(&small[..n]);
    }
    assert!(got == expected);
    drop(server);
    drop(soon(writer).await.unwrap());
    soon(ends.relay).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reset_of_the_server_resets_the_client() {
    let mut ends = relayed().await;
    socket2::SockRef::from(&ends.server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(ends.server);
    let error = soon(ends.client.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(matches!(soon(ends.relay).await.unwrap(), Err(RelayError::Server(_))));
}
