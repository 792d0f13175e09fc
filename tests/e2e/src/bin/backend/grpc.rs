//! The gRPC server: the health service, serving.

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::ServingStatus;

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener) {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::Serving).await;
    let router = tonic::transport::Server::builder().add_service(service);
    // It ends with the process.
    let _ = router.serve_with_incoming(TcpListenerStream::new(listener)).await;
}
