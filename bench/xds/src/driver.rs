//! Runs each server with the same clients, one after the other, and compares.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Memory, Process};
use crate::report::{Figure, print};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The Go program with go-control-plane's caches.
    #[arg(long)]
    go: PathBuf,
    /// Numbers of clusters.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    resources: Vec<usize>,
    /// Numbers of streams.
    #[arg(long, value_delimiter = ',', default_value = "1,10,100")]
    streams: Vec<usize>,
    /// Changes of one endpoint whose median counts; a tenth of it for the Go program.
    #[arg(long, default_value_t = 100)]
    changes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    GoSnapshot,
    GoLinear,
}

/// What was seen of one server with one load.
#[derive(Debug, Clone)]
struct Seen {
    sync: Duration,
    sync_cpu: Duration,
    memory: Memory,
    /// Processor time of the server for each change, as a mean.
    cpu: Duration,
    /// From the change to the last client, as a median.
    last: Duration,
    /// To all streams for each change.
    bytes: usize,
    /// To each stream for each change, as a mean.
    resources: f64,
    encodes: Option<f64>,
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut figures = Vec::new();
    let mut ours_at_1000 = None;
    for &streams in &options.streams {
        for &resources in &options.resources {
            let load = format!("N={resources} M={streams}");
            eprintln!("{load} …");
            let ours = measure(options, Kind::Ours, resources, streams).await?;
            let snapshot = measure(options, Kind::GoSnapshot, resources, streams).await?;
            let linear = measure(options, Kind::GoLinear, resources, streams).await?;
            let floor = floor(options, streams, ours.bytes / streams).await?;
            eprintln!("{load}: snapshot {snapshot:?}");
            eprintln!("{load}: linear {linear:?}");
            let large = resources == 10_000 && streams == 100;
            if resources == 1_000 && streams == 100 {
                ours_at_1000 = Some(ours.cpu);
            }
            figures.extend(compare(&load, large, &ours, &[snapshot, linear], &floor));
            if let (true, Some(small)) = (large, ours_at_1000) {
                let name = format!("{load} server CPU per change, beside N=1000");
                figures.push(Figure::beside(name, ms(ours.cpu), "ms", ms(small), Some(1.3)));
            }
        }
    }
    print(&figures)?;
    if figures.iter().all(Figure::met) { Ok(()) } else { bail!("a figure misses its target") }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn compare(load: &str, large: bool, ours: &Seen, go: &[Seen], floor: &Seen) -> Vec<Figure> {
    let best = |figure: &dyn Fn(&Seen) -> f64| go.iter().map(figure).fold(f64::INFINITY, f64::min);
    let target = |target: f64| large.then_some(target);
    let mib = |kib: u64| kib as f64 / 1024.0;
    let name = |what: &str| format!("{load} {what}");
    let peak = |seen: &Seen| mib(seen.memory.peak);
    let now = |seen: &Seen| mib(seen.memory.now);
    let mut figures = vec![
        Figure::beside(name("first sync"), ms(ours.sync), "ms", best(&|go| ms(go.sync)), target(0.5)),
        Figure::beside(
            name("first sync, server CPU"),
            ms(ours.sync_cpu),
            "ms",
            best(&|go| ms(go.sync_cpu)),
            None,
        ),
        Figure::beside(name("memory, peak"), peak(ours), "MiB", best(&peak), target(0.25)),
        Figure::beside(name("memory after first sync"), now(ours), "MiB", best(&now), target(0.25)),
        Figure::beside(
            name("server CPU per change, beside Go"),
            ms(ours.cpu),
            "ms",
            best(&|go| ms(go.cpu)),
            None,
        ),
        Figure::beside(
            name("server CPU per change, beside floor"),
            ms(ours.cpu),
            "ms",
            ms(floor.cpu),
            target(3.0),
        ),
        Figure::beside(
            name("change to last client, beside Go"),
            ms(ours.last),
            "ms",
            best(&|go| ms(go.last)),
            None,
        ),
        Figure::beside(
            name("change to last client, beside floor"),
            ms(ours.last),
            "ms",
            ms(floor.last),
            None,
        ),
        Figure::seen(name("bytes per change, to all streams"), ours.bytes as f64, "B"),
        Figure::beside(name("resources per change and stream"), ours.resources, "", 1.0, Some(1.0)),
    ];
    if let Some(encodes) = ours.encodes {
        figures.push(Figure::beside(name("encodes per change"), encodes, "", 1.0, Some(1.0)));
    }
    figures
}

async fn measure(options: &Options, kind: Kind, resources: usize, streams: usize) -> Result<Seen> {
    let own = std::env::current_exe()?;
    let count = resources.to_string();
    let (program, arguments): (&Path, Vec<String>) = match kind {
        Kind::Ours => (&own, vec!["serve".into(), "--resources".into(), count]),
        Kind::GoSnapshot => (&options.go, vec!["snapshot".into(), count]),
        Kind::GoLinear => (&options.go, vec!["linear".into(), count]),
    };
    let changes = if kind == Kind::Ours { options.changes } else { (options.changes / 10).max(3) };
    let mut server = Process::start(program, &arguments)?;
    let address = server.hear().await?;
    let seen = drive(server, &address, resources, streams, changes).await;
    seen.with_context(|| format!("{kind:?} with {resources} resources and {streams} streams"))
}

async fn floor(options: &Options, streams: usize, bytes: usize) -> Result<Seen> {
    let own = std::env::current_exe()?;
    let mut server = Process::start(&own, &["floor".into(), "--bytes".into(), bytes.to_string()])?;
    let address = server.hear().await?;
    drive(server, &address, 0, streams, options.changes).await.context("the floor")
}

async fn drive(
    mut server: Process,
    address: &str,
    resources: usize,
    streams: usize,
    changes: usize,
) -> Result<Seen> {
    let own = std::env::current_exe()?;
    let arguments = ["clients", "--address", address, "--streams"].map(str::to_owned);
    let counts = [streams.to_string(), "--resources".into(), resources.to_string()];
    let (before, started) = (server.cpu()?, Instant::now());
    let mut clients = Process::start(&own, &arguments.into_iter().chain(counts).collect::<Vec<_>>())?;
    anyhow::ensure!(clients.hear().await? == "synced", "the clients sync first");
    let sync = started.elapsed();
    quiet(&server).await?;
    let (sync_cpu, memory) = (server.cpu()? - before, server.memory()?);

    let (mut lasts, mut bytes, mut sent, mut encoded) = (Vec::new(), 0, 0, Vec::new());
    let before = server.cpu()?;
    for change in 0..changes {
        let at = Instant::now();
        let number = if resources == 0 { 0 } else { (change * 7919) % resources };
        server.say(&format!("change {number} {}", 1000 + change)).await?;
        let said = clients.hear().await?;
        lasts.push(at.elapsed());
        let (of_bytes, of_resources) =
            said.strip_prefix("changed ").and_then(|said| said.split_once(' ')).context("a change")?;
        bytes = of_bytes.parse()?;
        sent += of_resources.parse::<usize>()?;
        encoded.push(server.hear().await?);
        // Answers are part of a change's cost.
        quiet(&server).await?;
    }
    let cpu = (server.cpu()? - before) / u32::try_from(changes)?;
    lasts.sort();
    let seen = Seen {
        sync,
        sync_cpu,
        memory,
        cpu,
        last: lasts[lasts.len() / 2],
        bytes,
        resources: sent as f64 / (changes * streams) as f64,
        encodes: encodes(&encoded),
    };
    clients.end().await?;
    server.end().await?;
    Ok(seen)
}

/// How many encodings a change took, by the counts that the server says after each.
fn encodes(said: &[String]) -> Option<f64> {
    let counts: Vec<f64> =
        said.iter().filter_map(|line| line.strip_prefix("encoded ")?.parse().ok()).collect();
    let steps = (counts.len() > 1).then_some(counts.len() as f64 - 1.0)?;
    Some((counts.last()? - counts.first()?) / steps)
}

/// Waits until a server has nothing to do: it used less than a hundredth of the last few milliseconds.
async fn quiet(server: &Process) -> Result<()> {
    const LOOK: Duration = Duration::from_millis(5);
    let mut last = server.cpu()?;
    for _ in 0..2_000 {
        tokio::time::sleep(LOOK).await;
        let now = server.cpu()?;
        if now - last < LOOK / 100 {
            return Ok(());
        }
        last = now;
    }
    bail!("the server does not become quiet")
}
