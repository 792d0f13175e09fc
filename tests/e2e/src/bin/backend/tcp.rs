//! The TCP servers: an echo, with or without a first line of its own.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// Serves until it is dropped: says `greeting`, then sends back what comes.
pub(crate) async fn serve(listener: TcpListener, greeting: String) {
    let greeting: Arc<str> = greeting.into();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // A client that goes away is its own affair.
        tokio::spawn(talk(stream, greeting.clone()));
    }
}

async fn talk(mut stream: TcpStream, greeting: Arc<str>) -> std::io::Result<()> {
    let (mut from, mut to) = stream.split();
    to.write_all(greeting.as_bytes()).await?;
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}
