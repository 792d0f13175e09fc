//! A pod of the deployment, run as a kubelet runs it: volumes, init containers and sidecars, probes, and the order of its
//! end. Each container is a process with the manifest's rights and no others.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod as PodObject;
use kube::api::{Api, DeleteParams};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::container::Container;
use super::network::Place;
use crate::http::get;
use crate::until;

/// What a pod's containers find around them.
pub(super) struct Surroundings<'a> {
    pub(super) pod_name: &'a str,
    pub(super) uid: &'a str,
    pub(super) namespace: &'a str,
    pub(super) place: &'a Place,
    pub(super) security: &'a Value,
    pub(super) hosts: &'a Path,
    /// The ServiceAccount's token and what belongs to it, if the pod is given it.
    pub(super) account: Option<&'a Path>,
    /// The pod's own folder.
    pub(super) folder: &'a Path,
    /// Where containers log.
    pub(super) logs: &'a Path,
    /// A key of a ConfigMap in the pod's namespace.
    pub(super) setting: &'a dyn Fn(&str, &str) -> String,
}

impl Surroundings<'_> {
    /// Where a volume's content is.
    pub(super) fn volume(&self, name: &str) -> PathBuf {
        self.folder.join("volumes").join(name)
    }

    /// The variables of a container.
    pub(super) fn variables(&self, spec: &Value) -> Vec<(String, String)> {
        let variables = spec["env"].as_array().into_iter().flatten();
        let given = variables.map(|variable| {
            let name = variable["name"].as_str().expect("a name").to_owned();
            (name, self.value(variable))
        });
        // What the kubelet adds, and what a container engine does.
        let api = [("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc"), ("KUBERNETES_SERVICE_PORT", "443")];
        let added = api.into_iter().chain([("HOSTNAME", self.pod_name)]);
        given.chain(added.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
    }

    fn value(&self, variable: &Value) -> String {
        if let Some(value) = variable["value"].as_str() {
            return value.to_owned();
        }
        let from = &variable["valueFrom"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match from["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.name") => self.pod_name.to_owned(),
            Some("metadata.namespace") => self.namespace.to_owned(),
            Some("metadata.uid") => self.uid.to_owned(),
            Some("status.podIP") => self.place.ip.to_string(),
            Some(other) => panic!("no field {other}"),
            None => {
                let key = &from["configMapKeyRef"];
                (self.setting)(&text(&key["name"]), &text(&key["key"]))
            }
        }
    }
}

/// A running pod. Dropped: its processes end at once.
#[derive(Debug)]
pub struct Pod {
    pub(super) name: String,
    /// The API server's objects of its namespace.
    pub(super) objects: Api<PodObject>,
    pub(super) place: Place,
    pub(super) before: Vec<Container>,
    pub(super) containers: Vec<Container>,
}

impl Pod {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A port of it.
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.place.ip, port).into()
    }

    /// The kernel's account of each running container's rights: `/proc/PID/status`.
    ///
    /// # Panics
    /// When one has ended.
    pub fn rights(&self) -> Vec<(String, String)> {
        let running = self.before.iter().filter(|container| container.is_sidecar()).chain(&self.containers);
        let of_one = |container: &Container| {
            let pid = container.process.as_ref().expect("it was started").pid();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
            (container.name.clone(), status)
        };
        running.map(of_one).collect()
    }

    /// Runs a command in its first container, as `kubectl exec` does. Returns what that and the container have printed.
    ///
    /// # Panics
    /// When it fails.
    pub async fn exec(&self, command: &[&str]) -> String {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let mut process = self.containers.first().expect("a container").run(&command);
        let status = process.end().await;
        assert!(status.success(), "{command:?}: {status}: {}", process.log());
        process.log()
    }

    /// Starts its containers: one init container after the other, each to its end or, if it is a sidecar, until it has
    /// started; then the others.
    ///
    /// # Panics
    /// When a container ends that should not, or fails.
    pub async fn start(&mut self) {
        for index in 0..self.before.len() {
            self.before[index].start();
            if self.before[index].is_sidecar() {
                self.until(Stage::Before(index), "startupProbe").await;
            } else {
                let process = self.before[index].process.as_mut().expect("it was started");
                let status = process.end().await;
                assert!(status.success(), "{}: {status}: {}", self.name, process.log());
            }
        }
        self.containers.iter_mut().for_each(Container::start);
        for index in 0..self.containers.len() {
            self.until(Stage::Main(index), "startupProbe").await;
        }
    }

    /// Waits until all its readiness and liveness probes succeed.
    ///
    /// # Panics
    /// When one does not within a minute.
    pub async fn until_ready(&mut self) {
        let sidecars: Vec<usize> = (0..self.before.len()).filter(|i| self.before[*i].is_sidecar()).collect();
        for probe in ["readinessProbe", "livenessProbe"] {
            for index in sidecars.iter().copied() {
                self.until(Stage::Before(index), probe).await;
            }
            for index in 0..self.containers.len() {
                self.until(Stage::Main(index), probe).await;
            }
        }
    }

    /// Ends it as its deletion does: what is to be done before, then SIGTERM to its containers, and to sidecars after them.
    /// Returns what the processes answered.
    ///
    /// # Panics
    /// When one does not end.
    pub async fn end(&mut self) -> Vec<(String, std::process::ExitStatus)> {
        let mut ended = Vec::new();
        for container in &mut self.containers {
            if let Some(command) = container.spec.pointer("/lifecycle/preStop/exec/command") {
                let status = container.run(&words(command)).end().await;
                assert!(status.success(), "{}, before its end: {status}", self.name);
            }
        }
        let sidecars = self.before.iter_mut().rev();
        for container in self.containers.iter_mut().chain(sidecars) {
            let Some(process) = &mut container.process else { continue };
            if process.ended().is_none() {
                process.signal(Signal::SIGTERM);
                ended.push((container.name.clone(), process.end().await));
            }
        }
        ended
    }

    /// Deletes its object, as the kubelet does when all of it has ended.
    ///
    /// # Panics
    /// When the API server refuses that.
    pub async fn delete_object(&self) {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.objects.delete(&self.name, &at_once).await.expect("its object is deleted");
    }

    /// Kills all its processes: nothing of it says another word. Its object stays.
    ///
    /// # Panics
    /// When one does not end.
    pub async fn kill(&mut self) {
        for container in self.before.iter_mut().chain(&mut self.containers) {
            let Some(process) = &mut container.process else { continue };
            process.kill().await;
        }
    }

    async fn until(&mut self, stage: Stage, probe: &str) {
        let what = format!("{} of {stage:?} of {}", probe, self.name);
        let ip = self.place.ip;
        let container = match stage {
            Stage::Before(index) => &mut self.before[index],
            Stage::Main(index) => &mut self.containers[index],
        };
        until::so(&what, async || {
            container.process.as_mut().expect("it was started").assert_running();
            probed(container, probe, ip.into()).await
        })
        .await;
    }
}

/// A container of a pod.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Before(usize),
    Main(usize),
}

async fn probed(container: &Container, probe: &str, ip: std::net::IpAddr) -> bool {
    let probe = &container.spec[probe];
    if let Some(command) = probe.pointer("/exec/command") {
        return container.run(&words(command)).end().await.success();
    }
    let Some(path) = probe["httpGet"]["path"].as_str() else { return true };
    let ports = container.spec["ports"].as_array().into_iter().flatten();
    let port = ports
        .filter(|port| port["name"] == probe["httpGet"]["port"])
        .find_map(|port| port["containerPort"].as_u64());
    let port = port.and_then(|port| u16::try_from(port).ok()).expect("the probe's port is the container's");
    get((ip, port).into(), "probe", path).await.is_ok_and(|answer| (200..400).contains(&answer.status))
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}
