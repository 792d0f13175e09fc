//! The secrets of an overlay, in folders: as cert-manager would fill them, or as the documentation has people make them.

use std::path::Path;
use std::process::Command;

use crate::parts;

/// By the code of cert-manager, from the Certificates among these manifests.
pub(super) fn by_cert_manager(manifests: &Path, secrets: &Path) {
    let made = Command::new(parts::path("certificates")).args([manifests, secrets]).status();
    assert!(made.expect("run certificates").success(), "the overlay's certificates are made");
}

/// By the commands in `docs/deploy.md`, run in `folder`; what kubectl would be given is copied.
pub(super) fn by_the_documentation(folder: &Path, secrets: &Path) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/deploy.md");
    let page = std::fs::read_to_string(page).expect("docs/deploy.md").replace("\\\n", " ");
    let block = page.split("```").find(|block| block.trim_start().starts_with("zenvoy certs "));
    for line in block.expect("how certificates are made").trim().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["zenvoy", ref flags @ ..] => {
                let made = Command::new(parts::zenvoy()).args(flags).current_dir(folder).status();
                assert!(made.expect("run zenvoy").success(), "{line}");
            }
            ["kubectl", "-n", namespace, "create", "secret", "generic", name, from] => {
                let from = from.strip_prefix("--from-file=").expect("a folder");
                copy(&folder.join(from), &secrets.join(namespace).join(name));
            }
            _ => panic!("what is this: {line}"),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a folder");
    for entry in std::fs::read_dir(from).expect("a folder of certificates") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy a file");
    }
}
