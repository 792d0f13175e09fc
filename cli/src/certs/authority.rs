//! A development authority, and what it signs.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use zenvoy_shared::tls::{Identity, Name};

use super::folder::{Existing, Folder, Pair};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const OF_AUTHORITY: u32 = 3_650;
/// Clocks of machines differ.
const SKEW: Duration = Duration::from_secs(300);

/// Who a certificate is for.
pub(super) struct Subject {
    pub(super) identity: Identity,
    pub(super) hosts: Vec<String>,
}

/// Signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// The one in `folder`, or a new one that is written there.
    pub(super) fn in_folder(folder: &Folder) -> anyhow::Result<Self> {
        let pair = match folder.read()? {
            Some(pair) => pair,
            None => {
                let pair = fresh()?;
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
        let mut params = CertificateParams::new(subject.hosts.clone()).context("--controller-host")?;
        let uri = subject.identity.to_string();
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        name(&mut params, "zenvoy");
        lasts(&mut params, days);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A node's certificate serves nobody, and a controller's demands nothing.
        params.extended_key_usages = vec![match subject.identity.name {
            Name::Controller => ExtendedKeyUsagePurpose::ServerAuth,
            Name::Node(_) | Name::Nodes(_) => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem(), authority: self.certificate.clone() })
    }
}

fn fresh() -> anyhow::Result<Pair> {
    let mut params = CertificateParams::new(Vec::new())?;
    name(&mut params, "zenvoy development authority");
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
