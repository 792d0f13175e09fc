//! From a container's spec to a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::Addresses;
use crate::parts;
use crate::process::Process;

/// What starting a container takes.
pub(super) struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    log: PathBuf,
    /// One of them accepts connections once the container is ready; without any, it is ready once it runs.
    pub(super) probe: Vec<SocketAddr>,
}

impl Launch {
    pub(super) fn new(folder: &Path, pod: &Pod, container: &Container, addresses: Addresses) -> Self {
        let variables = variables(pod, container, addresses);
        let mut words =
            container.command.iter().chain(&container.args).flatten().map(|word| expand(word, &variables));
        let program = words.next().unwrap_or_else(|| "backend".into());
        let program = if program == "backend" { parts::own("backend") } else { program.into() };
        let arguments = words.collect();
        let log = folder.join(format!("pod-{}.log", pod.name_any()));
        let both = |port| [SocketAddr::from((addresses.v4, port)), SocketAddr::from((addresses.v6, port))];
        let probe = probe_port(container).map(both).into_iter().flatten().collect();
        Self { program, arguments, variables, log, probe }
    }

    pub(super) fn start(&self) -> Process {
        Process::start(&self.program, &self.arguments, &self.variables, &self.log)
    }

    /// A program that ends at once with an error, in place of the container's.
    pub(super) fn crash(&self) -> Process {
        Process::start(Path::new("false"), [""; 0], &[], &self.log)
    }
}

fn variables(pod: &Pod, container: &Container, addresses: Addresses) -> Vec<(String, String)> {
    let mut variables = vec![
        ("POD_NAME".to_owned(), pod.name_any()),
        ("POD_IP".to_owned(), addresses.v4.to_string()),
        ("POD_IP6".to_owned(), addresses.v6.to_string()),
    ];
    for variable in container.env.iter().flatten() {
        variables.extend(variable.value.clone().map(|value| (variable.name.clone(), value)));
    }
    variables
}

/// `$(NAME)` of known variables, as Kubernetes does it.
fn expand(word: &str, variables: &[(String, String)]) -> String {
    variables.iter().fold(word.to_owned(), |word, (name, value)| word.replace(&format!("$({name})"), value))
}

fn probe_port(container: &Container) -> Option<u16> {
    let probe = container.readiness_probe.as_ref().and_then(|probe| probe.tcp_socket.as_ref());
    let declared = container.ports.iter().flatten().next().map(|port| port.container_port);
    let port = match probe.map(|probe| &probe.port) {
        Some(IntOrString::Int(port)) => Some(*port),
        Some(IntOrString::String(name)) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_ref() == Some(name))
            .map(|port| port.container_port),
        None => declared,
    };
    port.and_then(|port| u16::try_from(port).ok())
}
