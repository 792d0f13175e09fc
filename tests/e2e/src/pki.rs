//! Certificates for tests, and folders that change as those that the kubelet mounts.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd,
};

/// The trust domain of all tests.
pub const DOMAIN: &str = "test.zenvoy";

/// An authority.
#[derive(Debug)]
pub struct Authority {
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate, its key, and the authorities that its holder trusts, as PEM text.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// Whom its holder trusts.
    pub trusted: String,
}

/// When a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Now,
    /// No more.
    Over,
}

impl Authority {
    /// A fresh one, unlike all others.
    ///
    /// # Panics
    /// When it cannot be made.
    #[expect(clippy::new_without_default, reason = "no two are alike")]
    pub fn new() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        Self::called(format!("an authority for a test, {}", MADE.fetch_add(1, Ordering::Relaxed)))
    }

    /// Another with the same name, as an authority has that was made anew.
    #[must_use]
    pub fn namesake(&self) -> Self {
        Self::called(self.name.clone())
    }

    fn called(name: String) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, &name);
        let key = KeyPair::generate().expect("a key");
        Self { name, issuer: CertifiedIssuer::self_signed(params, key).expect("an authority") }
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// For a controller at 127.0.0.1 and localhost.
    pub fn controller(&self) -> Issued {
        self.issue("controller", Validity::Now)
    }

    /// For a node.
    pub fn node(&self, name: &str) -> Issued {
        self.issue(&format!("node/{name}"), Validity::Now)
    }

    /// For `spiffe://test.zenvoy/zenvoy/<name>`, at 127.0.0.1 and localhost.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn issue(&self, name: &str, validity: Validity) -> Issued {
        let hosts = ["127.0.0.1", "localhost"].map(str::to_owned);
        let mut params = CertificateParams::new(hosts.to_vec()).expect("parameters");
        let uri = format!("spiffe://{DOMAIN}/zenvoy/{name}");
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().expect("a URI")));
        if validity == Validity::Over {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Issued { certificate, key: key.serialize_pem(), trusted: self.pem() }
    }
}

impl Issued {
    /// The same, for a holder that trusts these authorities.
    #[must_use]
    pub fn trusting(self, authorities: &[&Authority]) -> Self {
        Self { trusted: authorities.iter().map(|authority| authority.pem()).collect(), ..self }
    }

    /// Puts it into `folder` in cert-manager's layout, in place of what is there, in one step: as the kubelet does, by a
    /// link to a folder with a new name.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn mount(&self, folder: &Path) {
        static MOUNTED: AtomicU64 = AtomicU64::new(0);
        let version = format!("..{}", MOUNTED.fetch_add(1, Ordering::Relaxed));
        let data = folder.join(&version);
        std::fs::create_dir_all(&data).expect("make a folder");
        for (file, text) in
            [("tls.crt", &self.certificate), ("tls.key", &self.key), ("ca.crt", &self.trusted)]
        {
            std::fs::write(data.join(file), text).expect("write a file");
            let link = folder.join(file);
            if link.symlink_metadata().is_err() {
                std::os::unix::fs::symlink(Path::new("..data").join(file), link).expect("make a link");
            }
        }
        let next = folder.join("..data_tmp");
        std::os::unix::fs::symlink(version, &next).expect("make a link");
        std::fs::rename(next, folder.join("..data")).expect("swap a link");
    }
}
