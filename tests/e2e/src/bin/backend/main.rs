//! What runs in the pods of tests: an HTTP server (HTTP/1.1 and HTTP/2 without TLS, WebSocket), a gRPC server, a TCP echo,
//! or a TCP server that speaks first.

mod grpc;
mod http;
mod tcp;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// A server to wake: it answers, echoes or greets.
#[derive(Debug, Parser)]
struct Command {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Answers HTTP/1.1 and HTTP/2 requests: `/` says who answered and when, `/slow?ms=N` waits first, `/stream?ms=N&count=N` sends
    /// a line every N ms (count 0: for ever), `/echo` returns the body, `/ws` is a WebSocket that echoes messages.
    Http(Options),
    /// The gRPC health service: `Check`, and `Watch`, whose stream stays open.
    Grpc(Options),
    /// Sends back every byte that it gets.
    Tcp(Options),
    /// Sends one line at once, then every byte that it gets.
    Greeter(Options),
}

#[derive(Debug, Clone, Args)]
struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// The name it answers with.
    #[arg(long, env = "POD_NAME", default_value = "backend")]
    name: String,
    /// Milliseconds before it listens.
    #[arg(long, default_value_t = 0)]
    start_delay: u64,
    /// Milliseconds that it goes on for after SIGTERM.
    #[arg(long, default_value_t = 0)]
    linger: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mode = Command::parse().mode;
    let (Mode::Http(options) | Mode::Grpc(options) | Mode::Tcp(options) | Mode::Greeter(options)) = &mode;
    let options = options.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::time::sleep(Duration::from_millis(options.start_delay)).await;
    let listener = TcpListener::bind(options.listen).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    println!("listening on {} at {}", listener.local_addr()?, now.as_nanos());
    let serve = async {
        match mode {
            Mode::Http(_) => http::serve(listener, options.name).await,
            Mode::Grpc(_) => grpc::serve(listener).await,
            Mode::Tcp(_) => tcp::serve(listener, String::new()).await,
            Mode::Greeter(_) => tcp::serve(listener, format!("hello from {}\n", options.name)).await,
        }
    };
    let end = async {
        terminate.recv().await;
        tokio::time::sleep(Duration::from_millis(options.linger)).await;
    };
    tokio::select! {
        () = serve => {}
        () = end => {}
    }
    Ok(())
}
