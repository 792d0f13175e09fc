//! Which processes descend from this one, by the kernel's process table.

use std::collections::{BTreeMap, BTreeSet};

use nix::unistd::Pid;

/// All living descendants of `root`. Since a subreaper adopts orphans, none can hide by leaving its parent.
pub(super) fn of(root: Pid) -> BTreeSet<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (pid, parent) in table() {
        children.entry(parent).or_default().push(pid);
    }
    let (mut found, mut open) = (BTreeSet::new(), vec![root.as_raw()]);
    while let Some(parent) = open.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found.into_iter().map(Pid::from_raw).collect()
}

/// Its own children only; a subreaper's are joined by orphans.
pub(super) fn children_of(parent: Pid) -> BTreeSet<Pid> {
    let own = table().into_iter().filter(|(_, of)| *of == parent.as_raw());
    own.map(|(pid, _)| Pid::from_raw(pid)).collect()
}

/// Every process with its parent.
fn table() -> Vec<(i32, i32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent(&stat)?))
        })
        .collect()
}

/// The fourth field; the second, the program's name in parentheses, may hold anything.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_does_not_confuse() {
        assert_eq!(parent("12 (a) S 1 (b) R 7 12 12 0"), Some(7));
        assert_eq!(parent("12"), None);
    }

    #[test]
    fn a_child_and_its_child_are_found() {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & echo; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let output = shell.stdout.as_mut().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("a line");
        let found = of(Pid::this());
        let child = i32::try_from(shell.id()).expect("a pid");
        let below = of(Pid::from_raw(child));
        for pid in &below {
            let _ = nix::sys::signal::kill(*pid, nix::sys::signal::Signal::SIGKILL);
        }
        shell.kill().and_then(|()| shell.wait()).expect("ended");
        assert!(found.contains(&Pid::from_raw(child)));
        assert_eq!(below.len(), 1);
        assert!(below.is_subset(&found));
        assert!(below.is_disjoint(&children_of(Pid::this())));
    }
}
