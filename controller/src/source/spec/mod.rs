//! One validation for every way an upstream can be configured: annotations, the `Upstream` object, a file. In: values as
//! text, and how the user's place spells their names; out: a configuration, or every fault in it. Pure.

mod value;

use std::fmt;

use zenvoy_shared::id::Protocol;

use crate::model::UpstreamSpec;

/// What can be set. The words are those of the annotations and of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setting {
    /// The workload behind the upstream.
    Target,
    /// What clients speak.
    Protocol,
    /// HTTP hosts or TLS server names.
    Hosts,
    /// A TCP listener of its own.
    ListenPort,
    /// Idle for this long: drain.
    IdleAfter,
    /// Held for this long at most.
    WakeTimeout,
    /// Replicas to wake with.
    WakeReplicas,
    /// Held connections per node.
    MaxHeld,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Target,
        Self::Protocol,
        Self::Hosts,
        Self::ListenPort,
        Self::IdleAfter,
        Self::WakeTimeout,
        Self::WakeReplicas,
        Self::MaxHeld,
    ];

    /// As a word of an annotation's name: `idle-after`.
    pub const fn kebab(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Protocol => "protocol",
            Self::Hosts => "hosts",
            Self::ListenPort => "listen-port",
            Self::IdleAfter => "idle-after",
            Self::WakeTimeout => "wake-timeout",
            Self::WakeReplicas => "wake-replicas",
            Self::MaxHeld => "max-held",
        }
    }

    /// As a field of JSON or YAML: `idleAfter`.
    pub const fn camel(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Protocol => "protocol",
            Self::Hosts => "hosts",
            Self::ListenPort => "listenPort",
            Self::IdleAfter => "idleAfter",
            Self::WakeTimeout => "wakeTimeout",
            Self::WakeReplicas => "wakeReplicas",
            Self::MaxHeld => "maxHeld",
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Target => {
                "a workload's name, with its kind if needed: cart, StatefulSet/cart or Rollout.argoproj.io/cart"
            }
            Self::Protocol => "http, http2, tcp or tls",
            Self::Hosts => {
                "DNS names without port, as shop.example.com or *.example.com; at most 64, each at most 253 characters"
            }
            Self::ListenPort => "a port number from 1 to 65535",
            Self::IdleAfter => "a duration from 1s to 168h, as 90s, 5m or 1h30m",
            Self::WakeTimeout => "a duration from 1s to 1h, as 30s or 2m",
            Self::WakeReplicas => "a number from 1 to 1000",
            Self::MaxHeld => "a number from 1 to 1000000",
        }
    }
}

/// How the place that the user wrote in spells a setting's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// `zenvoy.dev/idle-after`.
    Annotation,
    /// `spec.idleAfter`, or whatever stands before the field.
    Field {
        /// What stands before it, with its dot: `spec.`.
        prefix: String,
    },
}

impl Naming {
    /// The name of `setting` there.
    pub fn name(&self, setting: Setting) -> String {
        match self {
            Self::Annotation => format!("zenvoy.dev/{}", setting.kebab()),
            Self::Field { prefix } => format!("{prefix}{}", setting.camel()),
        }
    }

    /// A fault in the value of `setting`.
    pub fn fault(&self, setting: Setting, value: impl Into<String>) -> Invalid {
        Invalid { name: self.name(setting), value: value.into(), expected: setting.expected().into() }
    }
}

/// One value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// The annotation or field.
    pub name: String,
    /// What stands there.
    pub value: String,
    /// What could stand there.
    pub expected: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 120;
        let mut value: String = self.value.chars().take(SHOWN).collect();
        if value.len() < self.value.len() {
            value.push('…');
        }
        write!(f, "{} is {value:?}; expected {}", self.name, self.expected)
    }
}

/// Values as written, before validation. What is absent gets its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// `http`, `http2`, `tcp` or `tls`.
    pub protocol: Option<String>,
    /// One host each.
    pub hosts: Vec<String>,
    /// A port.
    pub listen_port: Option<String>,
    /// A duration.
    pub idle_after: Option<String>,
    /// A duration.
    pub wake_timeout: Option<String>,
    /// A number.
    pub wake_replicas: Option<String>,
    /// A number.
    pub max_held: Option<String>,
}

/// Valid settings; the protocol may still be left to the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    protocol: Option<Protocol>,
    spec: UpstreamSpec,
}

impl Checked {
    /// For a port that says `default` where the user said nothing. Hosts are for the ports that can tell by host.
    pub fn spec(&self, default: Protocol) -> UpstreamSpec {
        let protocol = self.protocol.unwrap_or(default);
        let hosts = if protocol == Protocol::Tcp { Vec::new() } else { self.spec.hosts.clone() };
        UpstreamSpec { protocol, hosts, ..self.spec.clone() }
    }

    /// Whether a listener of its own is asked for: only one port can have it.
    pub fn listen_port(&self) -> Option<u16> {
        self.spec.listen_port
    }
}

/// Validates. All faults are told at once.
///
/// # Errors
/// Each value that cannot be used, under the name that `naming` gives it.
pub fn check(draft: &Draft, naming: &Naming) -> Result<Checked, Vec<Invalid>> {
    let mut faults = Vec::new();
    let default = UpstreamSpec::default();
    let protocol = take(&mut faults, naming, Setting::Protocol, draft.protocol.as_deref(), value::protocol);
    let listen_port =
        take(&mut faults, naming, Setting::ListenPort, draft.listen_port.as_deref(), value::port);
    let idle_after =
        take(&mut faults, naming, Setting::IdleAfter, draft.idle_after.as_deref(), value::idle_after);
    let wake_timeout =
        take(&mut faults, naming, Setting::WakeTimeout, draft.wake_timeout.as_deref(), value::wake_timeout);
    let wake_replicas = take(
        &mut faults,
        naming,
        Setting::WakeReplicas,
        draft.wake_replicas.as_deref(),
        value::wake_replicas,
    );
    let max_held = take(&mut faults, naming, Setting::MaxHeld, draft.max_held.as_deref(), value::max_held);
    let hosts = hosts(&mut faults, naming, &draft.hosts, protocol);
    if !faults.is_empty() {
        return Err(faults);
    }
    let spec = UpstreamSpec {
        protocol: protocol.unwrap_or_default(),
        hosts,
        listen_port,
        idle_after: idle_after.unwrap_or(default.idle_after),
        wake_timeout: wake_timeout.unwrap_or(default.wake_timeout),
        wake_replicas: wake_replicas.unwrap_or(default.wake_replicas),
        max_held: max_held.unwrap_or(default.max_held),
    };
    Ok(Checked { protocol, spec })
}

fn take<T>(
    faults: &mut Vec<Invalid>,
    naming: &Naming,
    setting: Setting,
    text: Option<&str>,
    read: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let text = text?;
    let value = read(text.trim());
    if value.is_none() {
        faults.push(naming.fault(setting, text));
    }
    value
}

const MAX_HOSTS: usize = 64;

fn hosts(
    faults: &mut Vec<Invalid>,
    naming: &Naming,
    hosts: &[String],
    protocol: Option<Protocol>,
) -> Vec<String> {
    if protocol == Some(Protocol::Tcp) && !hosts.is_empty() {
        faults.push(Invalid {
            expected: format!(
                "none with protocol tcp, which has no host to tell by; set {} or another protocol",
                naming.name(Setting::ListenPort)
            ),
            ..naming.fault(Setting::Hosts, hosts.join(","))
        });
        return Vec::new();
    }
    if hosts.len() > MAX_HOSTS {
        faults.push(naming.fault(Setting::Hosts, format!("{} hosts", hosts.len())));
    }
    let mut valid: Vec<String> = Vec::with_capacity(hosts.len());
    for host in hosts {
        match value::host(host) {
            Some(host) if valid.contains(&host) => {}
            Some(host) => valid.push(host),
            None => faults.push(naming.fault(Setting::Hosts, host)),
        }
    }
    valid
}

#[cfg(test)]
mod tests;
