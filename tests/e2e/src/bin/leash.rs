//! Runs a program that dies with the thread that started it, however that one ends:
//! `leash PARENT-PID NAMESPACE PROGRAM ARGS…`, where NAMESPACE is the file of a network namespace to run it in, or empty.
//! The kernel keeps the wish over `exec`, so nothing stays between the test and the program, and its pid is the one known.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(parent), Some(namespace), Some(program)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        eprintln!("usage: leash PARENT-PID NAMESPACE PROGRAM [ARGUMENT…]");
        return ExitCode::from(2);
    };
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
        eprintln!("leash: {error}");
        return ExitCode::FAILURE;
    }
    // The parent may have died before the wish was made.
    if *parent != *getppid().to_string() {
        return ExitCode::FAILURE;
    }
    if let Err(error) = enter(&namespace) {
        eprintln!("leash: enter {}: {error}", namespace.display());
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("leash: {}: {error}", program.display());
    ExitCode::FAILURE
}

fn enter(namespace: &OsStr) -> std::io::Result<()> {
    if namespace.is_empty() {
        return Ok(());
    }
    Ok(setns(File::open(namespace)?, CloneFlags::CLONE_NEWNET)?)
}
