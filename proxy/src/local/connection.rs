//! A connection of an Envoy. Its end tells the node that this Envoy is gone.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::server::Connected;

use crate::node::{EnvoyId, Moment, Node};

/// The bytes of a connection.
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that is followed from its first stream to its end.
pub(super) struct Followed {
    connection: Connection,
    envoy: EnvoyId,
    node: Arc<Node>,
}

impl Followed {
    pub(super) fn new(connection: Connection, envoy: EnvoyId, node: Arc<Node>) -> Self {
        Self { connection, envoy, node }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.node.envoy_gone(self.envoy, Moment::now());
    }
}

impl Connected for Followed {
    type ConnectInfo = EnvoyId;

    fn connect_info(&self) -> EnvoyId {
        self.envoy
    }
}

impl AsyncRead for Followed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().connection {
            Connection::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Connection::Unix(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Followed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().connection {
            Connection::Tcp(stream) => Pin::new(stream).poll_write(cx, from),
            Connection::Unix(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().connection {
            Connection::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Connection::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().connection {
            Connection::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Connection::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
