//! `zenvoy up FILE`: controller, proxy and a real Envoy on one machine, with local commands as workloads.

mod board;
mod compose;
mod envoy;
mod logs;
mod ports;
mod reach;
mod show;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use zenvoy_controller::source::process;
use zenvoy_controller::translate::{ListenerOptions, settle};
use zenvoy_shared::pool::PortPool;

use self::board::Board;
use crate::exit::Failure;
use crate::logs::LogArgs;
use crate::pool::check_pool;
use crate::shutdown::{ShutdownArgs, run_until_signal};
use crate::{keep, value};

const ABOUT: &str = "\
Run local commands that sleep until somebody connects, behind a real Envoy

Controller (with its decisions in memory), proxy and Envoy run together; a command is started on the first \
connection, and stopped when it has been idle. On a terminal a live table is shown, elsewhere plain lines. No root is \
needed.

A minimal FILE:

    upstreams:
    - name: web
      port: 80
      idleAfter: 30s
      command: [python3, -m, http.server, --bind, 127.0.0.1, '{port}']

Then: curl http://web.localhost:10000/

The file is read again when it changes, and on SIGHUP; a bad one is refused and the last good one stays.";

#[derive(Debug, clap::Args)]
#[command(about = "Run local commands that sleep until somebody connects, behind a real Envoy", long_about = ABOUT)]
pub(crate) struct Args {
    /// Upstreams and their commands, YAML; examples/demo.yaml explains the fields
    file: PathBuf,
    /// The Envoy executable; else the first `envoy` on the PATH
    #[arg(long, value_name = "PATH", env = "ZENVOY_ENVOY")]
    envoy: Option<PathBuf>,
    /// The address on which Envoy listens
    #[arg(long, value_name = "IP", env = "ZENVOY_LISTENER_BIND", default_value = "127.0.0.1",
        value_parser = value::ip)]
    listener_bind: IpAddr,
    /// The port of Envoy's HTTP listener, which all http and http2 upstreams share
    #[arg(long, value_name = "PORT", env = "ZENVOY_HTTP_PORT", default_value_t = 10_000,
        value_parser = clap::value_parser!(u16).range(1..))]
    http_port: u16,
    /// The port of Envoy's TLS listener, which all tls upstreams share
    #[arg(long, value_name = "PORT", env = "ZENVOY_TLS_PORT", default_value_t = 10_443,
        value_parser = clap::value_parser!(u16).range(1..))]
    tls_port: u16,
    /// Activator addresses, as 127.0.0.1:20000-32767; else on a loopback address that no other `zenvoy up` uses
    #[arg(long, value_name = "RANGES", env = "ZENVOY_PORT_POOL")]
    port_pool: Option<PortPool>,
    /// Serve the proxy's health, status (/status) and metrics (/metrics) here, as 127.0.0.1:18081
    #[arg(long, value_name = "ADDRESS", env = "ZENVOY_ADMIN", value_parser = value::address)]
    admin: Option<SocketAddr>,
    /// Envoy's own admin interface, as 127.0.0.1:9901
    #[arg(long, value_name = "ADDRESS", env = "ZENVOY_ENVOY_ADMIN", value_parser = value::address)]
    envoy_admin: Option<SocketAddr>,
    /// How often Envoy tells its statistics: the grain of idleness
    #[arg(long, value_name = "DURATION", env = "ZENVOY_STATS_FLUSH_INTERVAL", default_value = "250ms",
        value_parser = value::flush_interval)]
    stats_flush_interval: Duration,
    #[command(flatten)]
    shutdown: ShutdownArgs,
}

pub(crate) fn run(args: Args, logs: &LogArgs) -> Result<(), Failure> {
    let listeners =
        ListenerOptions { bind: args.listener_bind, http_port: args.http_port, tls_port: args.tls_port };
    let conflicts = move |upstreams: &_| settle(upstreams, listeners, &compose::names()).lost;
    let (source, scaler) =
        process::open(args.file, Box::new(conflicts), keep::keeper()).map_err(Failure::configuration)?;
    // The file first: it is the user's own, and what is wrong with it is mended sooner.
    let program = envoy::find(args.envoy.as_deref()).map_err(Failure::configuration)?;
    let pool = args.port_pool.unwrap_or_else(ports::own_pool);
    let mut wanted = reach::listeners(&source.config().borrow(), listeners);
    wanted.extend(args.admin.map(|address| (address, "--admin".into())));
    wanted.extend(args.envoy_admin.map(|address| (address, "--envoy-admin".into())));
    check_pool(&pool, &wanted).map_err(Failure::configuration)?;
    ports::check_free(&wanted).map_err(Failure::configuration)?;
    let board = Board::default();
    logs::init(logs, &board)?;
    let plan = compose::Plan {
        program,
        source,
        scaler,
        listeners,
        pool,
        admin: args.admin,
        envoy_admin: args.envoy_admin,
        stats_flush_interval: args.stats_flush_interval,
    };
    run_until_signal(&args.shutdown, |stop| compose::up(plan, board, stop))
}
