//! Certificates of an installation, which can be replaced while it runs.

use std::path::{Path, PathBuf};

use crate::pki::{Authority, Issued};

/// The folders of its controller and of its node.
#[derive(Debug)]
pub struct Certificates {
    authority: Authority,
    controller: PathBuf,
    node: PathBuf,
}

impl Certificates {
    /// Both signed by one authority.
    pub(super) fn in_folder(folder: &Path) -> Self {
        let [controller, node] = ["tls-of-controller", "tls-of-node"].map(|name| folder.join(name));
        let certificates = Self { authority: Authority::new(), controller, node };
        certificates.renew();
        certificates
    }

    /// Who signed them.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// New certificates for both.
    pub fn renew(&self) {
        self.mount(&self.authority.controller(), &self.authority.node("node-1"));
    }

    /// Other files for both.
    pub fn mount(&self, controller: &Issued, node: &Issued) {
        controller.mount(&self.controller);
        node.mount(&self.node);
    }

    pub(super) fn controller_flag(&self) -> String {
        format!("--tls-dir={}", self.controller.display())
    }

    pub(super) fn node_flag(&self) -> String {
        format!("--tls-dir={}", self.node.display())
    }
}
