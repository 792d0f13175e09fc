//! A management server that can die.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use zenvoy_xds::server::Server;

/// A replica whose end takes all its connections along, as the death of a process would.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    runtime: Runtime,
}

impl Replica {
    pub(crate) fn start(server: &Server) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        socket.set_nonblocking(true).expect("non-blocking");
        let address = socket.local_addr().expect("bound");
        let service = server.service();
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(socket).expect("a listener"));
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await
        });
        Self { address, runtime }
    }

    pub(crate) fn end(self) {
        self.runtime.shutdown_background();
    }
}
