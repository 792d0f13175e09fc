//! What a look at the files means. In: what they hold now; out: new material, or why the old one stays. Pure.
//!
//! Files are not swapped together: a certificate may be seen beside the key of its predecessor. So what is bad is called
//! bad only when the next look sees the same.

use std::time::SystemTime;

use super::{Contents, Material, Role, TlsError, TlsFiles};

/// What a look brought.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing to do: as it was, or not settled yet.
    Nothing,
    /// Other handshakes from now on.
    Taken(Box<Material>),
    /// The old material stays, and somebody should know why.
    Refused(TlsError),
}

/// The state between looks.
#[derive(Debug)]
pub(super) struct Reload {
    files: TlsFiles,
    role: Role,
    /// In use.
    taken: Material,
    /// What was seen last, where that cannot be used.
    bad: Option<Bad>,
}

#[derive(Debug)]
struct Bad {
    seen: Result<Contents, TlsError>,
    told: bool,
}

impl Reload {
    pub(super) fn new(files: TlsFiles, role: Role, taken: Material) -> Self {
        Self { files, role, taken, bad: None }
    }

    /// Whether what the files hold now is in use.
    pub(super) fn is_current(&self) -> bool {
        self.bad.is_none()
    }

    pub(super) fn look(&mut self, seen: Result<Contents, TlsError>, now: SystemTime) -> Look {
        if seen.as_ref().is_ok_and(|seen| seen == self.taken.contents()) {
            self.bad = None;
            return Look::Nothing;
        }
        match seen.clone().and_then(|contents| self.check(contents, now)) {
            Ok(material) => {
                self.bad = None;
                self.taken = material.clone();
                Look::Taken(Box::new(material))
            }
            Err(error) => match self.bad.as_mut().filter(|bad| bad.seen == seen) {
                Some(bad) if bad.told => Look::Nothing,
                Some(bad) => {
                    bad.told = true;
                    Look::Refused(error)
                }
                None => {
                    self.bad = Some(Bad { seen, told: false });
                    Look::Nothing
                }
            },
        }
    }

    /// Peers know the process by its name: that one does not change under it.
    fn check(&self, contents: Contents, now: SystemTime) -> Result<Material, TlsError> {
        let material = Material::check(contents, &self.files, &self.role, now)?;
        match (self.taken.identity(), material.identity(), &self.files.identity) {
            (Some(old), Some(new), Some((path, _))) if old.domain != new.domain => Err(TlsError::unusable(
                path,
                format!(
                    "the certificate is for {new}, and this process began as {old}; restart it to change its trust domain"
                ),
            )),
            _ => Ok(material),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, SanType};

    use super::*;
    use crate::id::NodeId;

    /// What an authority gives to `uri`.
    fn contents(uri: &str) -> Contents {
        let key = || KeyPair::generate().expect("a key");
        let authority = CertificateParams::new(Vec::new()).expect("parameters");
        let authority = CertifiedIssuer::self_signed(authority, key()).expect("an authority");
        let (mut params, own) = (CertificateParams::new(Vec::new()).expect("parameters"), key());
        params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("a URI"))];
        let certificate = params.signed_by(&own, &authority).expect("a certificate");
        let identity = Some((certificate.pem().into_bytes(), own.serialize_pem().into_bytes()));
        Contents { ca: Some(authority.pem().into_bytes()), identity }
    }

    const NODE: &str = "spiffe://d/zenvoy/node/a";

    fn reload(contents: Contents) -> Reload {
        let (files, role) = (TlsFiles::in_folder("/tls".as_ref()), Role::Node(NodeId("a".into())));
        let material = Material::check(contents, &files, &role, SystemTime::now()).expect("good");
        Reload::new(files, role, material)
    }

    fn refusal(reload: &mut Reload, seen: &Result<Contents, TlsError>) -> String {
        assert!(
            matches!(reload.look(seen.clone(), SystemTime::now()), Look::Nothing),
            "it may not be settled yet"
        );
        match reload.look(seen.clone(), SystemTime::now()) {
            Look::Refused(error) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_good_is_taken_at_once_and_once() {
        let (first, second) = (contents(NODE), contents(NODE));
        let mut reload = reload(first.clone());
        assert!(matches!(reload.look(Ok(first), SystemTime::now()), Look::Nothing));
        assert!(matches!(reload.look(Ok(second.clone()), SystemTime::now()), Look::Taken(_)));
        assert!(matches!(reload.look(Ok(second), SystemTime::now()), Look::Nothing));
    }

    #[test]
    fn what_is_bad_is_told_once_when_it_has_settled_and_the_old_stays() {
        let (first, second) = (contents(NODE), contents(NODE));
        let (Some((certificate, _)), Some((_, key))) = (second.identity.clone(), first.identity.clone())
        else {
            panic!("both have an identity")
        };
        let torn = Ok(Contents { identity: Some((certificate, key)), ..first.clone() });
        let mut reload = reload(first.clone());
        let error = refusal(&mut reload, &torn);
        assert!(error.starts_with("/tls/tls.key: the key is not that of the certificate"), "{error}");
        assert!(matches!(reload.look(torn, SystemTime::now()), Look::Nothing));
        assert!(!reload.is_current());
        assert!(matches!(reload.look(Ok(first), SystemTime::now()), Look::Nothing));
        assert!(reload.is_current(), "the files are back at what is in use");
        assert!(matches!(reload.look(Ok(second), SystemTime::now()), Look::Taken(_)));
    }

    #[test]
    fn files_in_the_middle_of_a_change_are_no_alarm() {
        let (first, second) = (contents(NODE), contents(NODE));
        let missing = Err(TlsError::Read { path: "/tls/tls.key".into(), why: "not there".into() });
        let mut reload = reload(first);
        assert!(matches!(reload.look(missing, SystemTime::now()), Look::Nothing));
        assert!(matches!(reload.look(Ok(second), SystemTime::now()), Look::Taken(_)));
    }

    #[test]
    fn each_way_of_being_bad_is_named_with_its_file() {
        let good = contents(NODE);
        let with = |certificate: &[u8], key: &[u8]| {
            Ok(Contents { identity: Some((certificate.to_vec(), key.to_vec())), ..good.clone() })
        };
        let Some((certificate, key)) = &good.identity else { panic!("it has an identity") };
        let cases = [
            (with(b"", key), "/tls/tls.crt: it holds no certificate"),
            (with(certificate, b"x"), "/tls/tls.key: it holds no key"),
            (Ok(Contents { ca: Some(Vec::new()), ..good.clone() }), "/tls/ca.crt: it holds no certificate"),
            (Ok(contents("spiffe://d/zenvoy/node/b")), "for spiffe://d/zenvoy/node/b, and this is node a"),
            (
                Ok(contents("spiffe://d/zenvoy/controller")),
                "for spiffe://d/zenvoy/controller, and this is node a",
            ),
            (Ok(contents("spiffe://e/zenvoy/node/a")), "restart it to change its trust domain"),
            (Ok(contents("https://example.org")), "needs one SAN URI"),
        ];
        for (seen, expected) in cases {
            let error = refusal(&mut reload(good.clone()), &seen);
            assert!(error.contains(expected), "{error}, not {expected}");
        }
    }

    #[test]
    fn a_certificate_out_of_its_time_is_not_taken() {
        let (first, second) = (contents(NODE), contents(NODE));
        let mut reload = reload(first);
        // rcgen's default is valid from 1975 to 4096.
        let late = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(70_000_000_000);
        reload.look(Ok(second.clone()), late);
        let Look::Refused(error) = reload.look(Ok(second), late) else { panic!("it has expired") };
        assert!(error.to_string().contains("has expired"), "{error}");
    }
}
