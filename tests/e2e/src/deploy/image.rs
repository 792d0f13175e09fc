//! Roots of containers, as images would have them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::folder::Folder;
use crate::parts;

/// What containers of the deployment are started from.
#[derive(Debug)]
pub struct Images {
    zenvoy: PathBuf,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Image {
    /// The folder with its `usr` and `etc`.
    pub(super) root: PathBuf,
    /// A program beside that: mounted at `/opt/bin`, which is on the path, by this name.
    pub(super) program: Option<(PathBuf, &'static str)>,
    /// What is run where the manifest names no command.
    pub(super) entrypoint: &'static [&'static str],
}

impl Images {
    /// Makes zenvoy's, as its Containerfile does.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make(folder: &Folder) -> Self {
        let zenvoy = folder.path().join("image");
        make(&zenvoy);
        Self { zenvoy }
    }

    /// The one that a manifest names. Those of others have the programs that tests run, and this machine's `/usr`.
    pub(super) fn get(&self, name: &str) -> Image {
        let other = |part, program| Image {
            root: "/".into(),
            program: Some((parts::path(part), program)),
            entrypoint: &[],
        };
        match name {
            "zenvoy" => Image { root: self.zenvoy.clone(), program: None, entrypoint: &["/usr/bin/zenvoy"] },
            name if name.contains("envoy:") => other("envoy", "envoy"),
            name if name.contains("etcd:") => other("etcd", "etcd"),
            name => panic!("no image {name}"),
        }
    }
}

/// Makes the root of zenvoy's image in `folder`.
///
/// # Panics
/// When it cannot be made.
pub fn make(folder: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/image");
    let made = Command::new(script).arg(parts::zenvoy()).arg(folder).output().expect("run deploy/image");
    assert!(made.status.success(), "deploy/image: {}", String::from_utf8_lossy(&made.stderr));
}
