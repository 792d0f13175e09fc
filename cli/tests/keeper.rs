//! Whatever ends, nothing of a kept command lives on.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A kept shell that runs `script`, its lifeline, and what it writes.
fn kept(grace_ms: u64, script: &str) -> (Child, ChildStdin, BufReader<ChildStdout>) {
    let mut keeper = Command::new(env!("CARGO_BIN_EXE_zenvoy"))
        .args(["keep", &grace_ms.to_string(), "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the keeper");
    let output = BufReader::new(keeper.stdout.take().expect("piped"));
    // `Child::wait` would close it.
    let lifeline = keeper.stdin.take().expect("piped");
    (keeper, lifeline, output)
}

/// Reads process ids, one a line.
fn pids(output: &mut BufReader<ChildStdout>, count: usize) -> Vec<i32> {
    let lines = output.lines().take(count);
    lines.map(|line| line.expect("a line").trim().parse().expect("a process id")).collect()
}

fn lives(pid: i32) -> bool {
    // A zombie has ended; its parent has not looked yet.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
}

fn end(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("it lives");
}

/// A child, a grandchild in a session of its own, and one whose parent has gone; all deaf to SIGTERM if asked.
fn family(deaf: bool) -> String {
    let trap = if deaf { "trap '' TERM;" } else { "" };
    format!(
        "{trap} echo $$; sleep 600 & echo $!; setsid sh -c '{trap} echo $$; sleep 600' & \
         (sh -c '{trap} echo $$; sleep 600' &) ; wait; sleep 600"
    )
}

#[test]
fn when_the_lifeline_closes_children_daemons_and_orphans_end() {
    let (mut keeper, lifeline, mut output) = kept(60_000, &family(false));
    let pids = pids(&mut output, 4);
    assert!(pids.iter().all(|pid| lives(*pid)));
    drop(lifeline);
    let status = keeper.wait().expect("ended");
    assert!(!pids.iter().any(|pid| lives(*pid)));
    assert_eq!(status.code(), Some(128 + 15), "the command ended by SIGTERM");
}

#[test]
fn what_ignores_sigterm_is_killed_after_the_grace() {
    let (mut keeper, lifeline, mut output) = kept(200, &family(true));
    let pids = pids(&mut output, 4);
    let asked = Instant::now();
    drop(lifeline);
    let status = keeper.wait().expect("ended");
    assert!(asked.elapsed() >= Duration::from_millis(200));
    assert!(!pids.iter().any(|pid| lives(*pid)));
    assert_eq!(status.code(), Some(128 + 9));
}

#[test]
fn when_the_command_ends_its_daemons_end_too() {
    let (mut keeper, _lifeline, mut output) = kept(60_000, "setsid sleep 600 & echo $!; exit 7");
    let pids = pids(&mut output, 1);
    assert_eq!(keeper.wait().expect("ended").code(), Some(7));
    assert!(!lives(pids[0]));
}

#[test]
fn when_the_keeper_is_killed_the_command_is_killed_by_the_kernel() {
    let (mut keeper, _lifeline, mut output) = kept(60_000, "trap '' TERM; echo $$; while :; do :; done");
    let pids = pids(&mut output, 1);
    keeper.kill().expect("it lives");
    assert_eq!(keeper.wait().expect("ended").signal(), Some(9));
    // The pipe closes while the last process that could write to it ends.
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("closed");
    let deadline = Instant::now() + Duration::from_secs(30);
    while lives(pids[0]) {
        assert!(Instant::now() < deadline, "the command outlives its keeper");
        std::thread::yield_now();
    }
}

fn until_gone(pids: &[i32]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Some(pid) = pids.iter().find(|pid| lives(**pid)) {
        assert!(Instant::now() < deadline, "{pid} is left of {pids:?}");
        std::thread::yield_now();
    }
}

#[test]
fn when_the_guard_is_killed_the_keeper_kills_children_daemons_and_orphans() {
    let (mut guard, _lifeline, mut output) = kept(60_000, &family(true));
    let pids = pids(&mut output, 4);
    guard.kill().and_then(|()| guard.wait()).expect("ended");
    until_gone(&pids);
}

#[test]
fn when_the_keeper_is_killed_its_guard_kills_children_daemons_and_orphans() {
    let (mut guard, _lifeline, mut output) = kept(60_000, &family(true));
    let pids = pids(&mut output, 4);
    let children = format!("/proc/{0}/task/{0}/children", guard.id());
    let keeper = std::fs::read_to_string(children).expect("a process").trim().parse().expect("its keeper");
    end(keeper, Signal::SIGKILL);
    assert_eq!(guard.wait().expect("ended").code(), Some(128 + 9));
    assert!(!pids.iter().any(|pid| lives(*pid)));
}

#[test]
fn sigterm_to_the_keeper_ends_the_command_gently() {
    let script = "trap 'echo bye; exit 3' TERM; echo $$; while :; do sleep 1 & wait $!; done";
    let (mut keeper, _lifeline, mut output) = kept(60_000, script);
    pids(&mut output, 1);
    end(i32::try_from(keeper.id()).expect("a process id"), Signal::SIGTERM);
    assert_eq!(keeper.wait().expect("ended").code(), Some(3));
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("closed");
    assert_eq!(rest.trim(), "bye");
}

#[test]
fn a_command_that_cannot_be_run_gives_the_status_that_shells_give() {
    for (command, status, message) in [("/nowhere/at-all", 127, "No such file"), ("/dev/null", 126, "denied")]
    {
        let mut keeper = Command::new(env!("CARGO_BIN_EXE_zenvoy"))
            .args(["keep", "100", "--", command])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the keeper");
        let lifeline = keeper.stdin.take();
        let output = keeper.wait_with_output().expect("ended");
        drop(lifeline);
        assert_eq!(output.status.code(), Some(status));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(command) && said.contains(message), "{said}");
    }
}
