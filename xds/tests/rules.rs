//! The tests that `docs/rules.md` names exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// All of `file.rs::name` that stand between backticks.
fn named(text: &str) -> BTreeSet<(&str, &str)> {
    text.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).collect()
}

fn path(file: &str) -> PathBuf {
    let inside = file.starts_with("core/") || file.starts_with("server/");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(if inside { "src" } else { "tests" }).join(file)
}

#[test]
fn every_rule_has_a_test_and_every_test_that_is_named_exists() {
    let text = include_str!("../docs/rules.md");
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| **")).skip(1) {
        assert!(!named(row).is_empty(), "a rule without a test: {row}");
    }
    let named = named(text);
    assert!(named.len() > 50, "{}", named.len());
    for (file, name) in named {
        let text = std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(&format!("fn {name}(")), "{file} has no test {name}");
    }
}
