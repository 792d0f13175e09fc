//! Values of flags: how they are read.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use zenvoy_shared::duration::{InvalidSpan, Span};
use zenvoy_shared::id::{NodeId, is_name};

/// In letters; see [`class`].
const LONGEST_CLASS: usize = 240;

/// `90s`, `5m`, `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, InvalidSpan> {
    text.parse::<Span>().map(|span| span.0)
}

/// A duration between 50 ms and a minute: below, statistics cost more than the traffic; above, nothing ever counts as
/// idle in time.
pub(crate) fn flush_interval(text: &str) -> Result<Duration, String> {
    let duration = duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_millis(50)..=Duration::from_secs(60)).contains(&duration) {
        return Ok(duration);
    }
    Err(format!("{text:?} is out of range: give 50ms to 1m"))
}

/// How long a replica may be silent.
pub(crate) fn lease_ttl(text: &str) -> Result<Duration, String> {
    let duration = duration(text).map_err(|error| error.to_string())?;
    if duration >= Duration::from_secs(3) {
        return Ok(duration);
    }
    Err(format!("{text:?} is too short: give at least 3s"))
}

/// A name as Kubernetes has them.
pub(crate) fn label(text: &str) -> Result<String, String> {
    let inner = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if inner && (1..=63).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(text.into());
    }
    Err(format!("{text:?} is not a name: use lower-case letters, digits and inner hyphens, at most 63"))
}

/// A DNS name: labels between dots.
pub(crate) fn domain(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(|part| label(part).is_ok()) {
        return Ok(text.into());
    }
    Err(format!("{text:?} is not a DNS domain: give lower-case labels with dots between, as cluster.local"))
}

/// Where something is listened on: `ip:port`.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an address: give ip:port, as 127.0.0.1:18000"))
}

/// Where Envoy listens: an IP address.
pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IP address: give one as 127.0.0.1 or ::1"))
}

/// Where others reach this process: `host:port`.
pub(crate) fn host_and_port(text: &str) -> Result<String, String> {
    let expected =
        || format!("{text:?} is not an address for others: give host:port, as zenvoy-0.zenvoy:18000");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let ipv6 = || host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let is_host = domain(&host.to_ascii_lowercase()).is_ok() || ipv6().is_some();
    match port.parse::<u16>() {
        Ok(1..) if is_host => Ok(text.into()),
        _ => Err(expected()),
    }
}

/// A file that can be read now: what is missing is told before anything starts.
pub(crate) fn file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match std::fs::File::open(&path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_dir() => Err("it is a folder; name the file in it".into()),
        Ok(_) => Ok(path),
        Err(error) => Err(format!("{error}; the process needs read access to it")),
    }
}

/// The first part of nodes' names: `CLASS-…`. A folder is called after it, so it is a little shorter.
pub(crate) fn class(text: &str) -> Result<String, String> {
    if is_name(text) && text.len() <= LONGEST_CLASS {
        return Ok(text.into());
    }
    Err(format!(
        "{text:?} is not a class of nodes: give 1 to {LONGEST_CLASS} letters (a-z, A-Z), digits, '-', '.' and '_', with which \
         their names begin"
    ))
}

/// A host as certificates name it: an IP address, or a DNS name, whose first label may be `*`.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    if text.parse::<IpAddr>().is_ok() || domain(&name.to_ascii_lowercase()).is_ok() {
        return Ok(text.into());
    }
    Err(format!("{text:?} is not a host: give a DNS name or an IP address, without scheme and port"))
}

/// This machine's (or pod's) name.
pub(crate) fn host_name() -> NodeId {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    NodeId(name.trim().into())
}

/// An address to listen on, or nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddressOrNone(pub(crate) Option<SocketAddr>);

/// `ip:port`, or `none`.
pub(crate) fn address_or_none(text: &str) -> Result<AddressOrNone, String> {
    if text == "none" {
        return Ok(AddressOrNone(None));
    }
    let address = text.parse().map_err(|_| format!("{text:?} is not an address: give ip:port, or none"))?;
    Ok(AddressOrNone(Some(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flush_intervals_have_bounds_that_the_error_names() {
        assert_eq!(flush_interval("250ms"), Ok(Duration::from_millis(250)));
        for text in ["10ms", "2m", "x"] {
            assert!(flush_interval(text).is_err());
        }
        assert!(flush_interval("2m").is_err_and(|error| error.contains("50ms to 1m")));
    }

    #[test]
    fn an_address_for_others_has_a_host_and_a_port() {
        for good in ["zenvoy-0.zenvoy:18000", "10.0.0.1:1", "[fd00::1]:18000", "Host:65535"] {
            assert_eq!(host_and_port(good), Ok(good.into()));
        }
        for bad in
            ["foo", ":1", "foo:0", "foo:65536", "a b:1", "fd00::1:18000", "http://foo:1", "[foo]:1", ""]
        {
            assert!(host_and_port(bad).is_err_and(|error| error.contains("give host:port")), "{bad}");
        }
    }

    #[test]
    fn a_domain_has_labels_between_dots() {
        assert_eq!(domain("cluster.local"), Ok("cluster.local".into()));
        for bad in ["", "a b", ".local", "local.", "Cluster.local", "a..b"] {
            assert!(domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_in_a_certificate_is_a_name_or_an_address_alone() {
        for good in ["localhost", "::1", "10.0.0.1", "*.zenvoy-etcd.zenvoy.svc", "Host.example.org"] {
            assert_eq!(host(good), Ok(good.into()));
        }
        for bad in ["", "*", "a b", "localhost:1", "https://localhost", "a.*.b", "[::1]"] {
            assert!(host(bad).is_err_and(|error| error.contains("without scheme and port")), "{bad}");
        }
    }

    #[test]
    fn none_is_no_address() {
        assert!(address_or_none("none").is_ok_and(|address| address.0.is_none()));
        assert!(address_or_none("127.0.0.1:1").is_ok_and(|address| address.0.is_some()));
        assert!(address_or_none("localhost").is_err_and(|error| error.contains("ip:port")));
    }
}
