//! What one certificate says. Pure.

use std::time::{Duration, SystemTime};

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Identity, IdentityError};

/// A certificate cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the certificate cannot be read: {0}")]
pub struct InvalidCertificate(String);

/// What is needed of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its serial number, in hexadecimal bytes with colons between.
    pub serial: String,
    /// Its first moment.
    pub not_before: SystemTime,
    /// Its last.
    pub not_after: SystemTime,
    /// Who it is for.
    pub identity: Result<Identity, IdentityError>,
}

impl Leaf {
    /// Reads it from DER. Nothing is proven by that.
    ///
    /// # Errors
    /// When it is no X.509 certificate.
    pub fn read(der: &[u8]) -> Result<Self, InvalidCertificate> {
        let invalid = |error: &dyn std::fmt::Display| InvalidCertificate(error.to_string());
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| invalid(&error))?;
        let names = certificate.subject_alternative_name().map_err(|error| invalid(&error))?;
        let uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let validity = certificate.validity();
        Ok(Self {
            serial: certificate.tbs_certificate.raw_serial_as_string(),
            not_before: unix(validity.not_before.timestamp()),
            not_after: unix(validity.not_after.timestamp()),
            identity: Identity::among(uris),
        })
    }

    /// Whether it holds at `now`.
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Its last moment in seconds since the Unix epoch.
    pub fn not_after_unix(&self) -> u64 {
        self.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }
}

/// What lies before the epoch is long over.
fn unix(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
