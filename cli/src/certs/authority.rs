//! Development authorities, and what they sign.

use std::fmt;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use zenvoy_shared::tls::{Identity, Name};

use self::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};

use super::folder::{Existing, Folder, Pair};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const OF_AUTHORITY: u32 = 3_650;
/// Clocks of machines differ.
const SKEW: Duration = Duration::from_secs(300);

/// Who a certificate is for.
pub(super) struct Subject {
    common_name: String,
    identity: Option<Identity>,
    hosts: Vec<String>,
    uses: Vec<ExtendedKeyUsagePurpose>,
}

impl Subject {
    /// A part of zenvoy. A node's certificate serves nobody, and a controller's demands nothing.
    pub(super) fn of_zenvoy(identity: Identity, hosts: Vec<String>) -> Self {
        let uses = match identity.name {
            Name::Controller => vec![ServerAuth],
            Name::Node(_) | Name::Nodes(_) => vec![ClientAuth],
        };
        Self { common_name: "zenvoy".into(), identity: Some(identity), hosts, uses }
    }

    /// Members of etcd, to clients or to each other: a member calls others, and itself, with what it serves with.
    pub(super) fn of_etcd(common_name: &str, hosts: Vec<String>) -> Self {
        Self { common_name: common_name.into(), identity: None, hosts, uses: vec![ServerAuth, ClientAuth] }
    }

    /// Controllers at etcd.
    pub(super) fn at_etcd() -> Self {
        let common_name = "zenvoy-etcd-client".into();
        Self { common_name, identity: None, hosts: Vec::new(), uses: vec![ClientAuth] }
    }
}

/// What people are shown.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.identity {
            Some(identity) => identity.fmt(f),
            None => f.write_str(&self.common_name),
        }
    }
}

/// Signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// The one in `folder`, or a new one of this name that is written there.
    pub(super) fn in_folder(folder: &Folder, common_name: &str) -> anyhow::Result<Self> {
        let pair = match folder.read()? {
            Some(pair) => pair,
            None => {
                let pair = fresh(common_name)?;
                folder.write(&pair, Existing::Refused)?;
                pair
            }
        };
        let what = || format!("use the authority in {}", folder.path().display());
        let key = KeyPair::from_pem(&pair.key).with_context(what)?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key).with_context(what)?;
        Ok(Self { issuer, certificate: pair.certificate })
    }

    /// A certificate for `subject` and its key.
    pub(super) fn sign(&self, subject: &Subject, days: u32) -> anyhow::Result<Pair> {
        let hosts = || format!("hosts of {subject}: {}", subject.hosts.join(", "));
        let mut params = CertificateParams::new(subject.hosts.clone()).with_context(hosts)?;
        if let Some(identity) = &subject.identity {
            params.subject_alt_names.push(SanType::URI(identity.to_string().as_str().try_into()?));
        }
        name(&mut params, &subject.common_name);
        lasts(&mut params, days);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages.clone_from(&subject.uses);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem(), authority: self.certificate.clone() })
    }
}

fn fresh(common_name: &str) -> anyhow::Result<Pair> {
    let mut params = CertificateParams::new(Vec::new())?;
    name(&mut params, common_name);
    lasts(&mut params, OF_AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.pem();
    Ok(Pair { authority: certificate.clone(), certificate, key: key.serialize_pem() })
}

fn name(params: &mut CertificateParams, name: &str) {
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
}

fn lasts(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + DAY * days).into();
}
