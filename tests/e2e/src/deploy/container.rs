//! One container of a pod, as a process in a root and with the rights that the manifest gives it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::image::Image;
use super::pod::Surroundings;
use crate::process::Process;

/// A container that can be started, and entered by probes.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) spec: Value,
    pub(super) process: Option<Process>,
    log: PathBuf,
    /// Everything up to the program.
    sandbox: Vec<String>,
    program: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Container {
    /// From its spec in a pod.
    pub(super) fn new(spec: &Value, image: &Image, around: &Surroundings<'_>) -> Self {
        let name = spec["name"].as_str().expect("a name").to_owned();
        let variables = around.variables(spec);
        let expand = |text: &str| {
            variables
                .iter()
                .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
        };
        let texts = |key: &str| -> Vec<String> {
            spec[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(expand).collect()
        };
        let mut program = texts("command");
        if program.is_empty() {
            program = image.entrypoint.iter().map(|word| (*word).to_owned()).collect();
        }
        program.extend(texts("args"));
        let root = around.folder.join(format!("root-of-{name}"));
        let sandbox = sandbox(spec, image, around, &root);
        let log = around.logs.join(format!("{}-{name}.log", around.pod_name));
        Self { name, spec: spec.clone(), process: None, log, sandbox, program, variables }
    }

    /// Starts it.
    pub(super) fn start(&mut self) {
        self.process = Some(self.run(&self.program));
    }

    /// Another command in the same root, with the same rights.
    pub(super) fn run(&self, command: &[String]) -> Process {
        let arguments =
            self.sandbox.iter().map(String::as_str).chain(["--"]).chain(command.iter().map(String::as_str));
        Process::start(Path::new("/usr/bin/nsenter"), arguments, &self.variables, &self.log)
    }

    /// It runs on when the pod's other init containers start.
    pub(super) fn is_sidecar(&self) -> bool {
        self.spec["restartPolicy"] == "Always"
    }
}

/// How the container script is called.
fn sandbox(spec: &Value, image: &Image, around: &Surroundings<'_>, root: &Path) -> Vec<String> {
    let own = &spec["securityContext"];
    let security =
        |key: &str| Some(&own[key]).filter(|value| !value.is_null()).unwrap_or(&around.security[key]);
    let number = |key: &str| security(key).as_u64().unwrap_or(0).to_string();
    let dropped = own["capabilities"]["drop"].as_array().into_iter().flatten().any(|name| name == "ALL");
    assert!(dropped && own["allowPrivilegeEscalation"] == false, "only containers without rights run here");
    let added = own["capabilities"]["add"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let capabilities =
        added.fold("-all".to_owned(), |all, capability| format!("{all},+{}", capability.to_lowercase()));
    let mode = if own["readOnlyRootFilesystem"] == true { "read-only" } else { "writable" };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/deploy/container.sh");
    let shown = |path: &Path| path.display().to_string();
    let mut words = vec![format!("--net={}", around.place.door())];
    words.extend(["unshare", "--mount", "--propagation=private", "bash"].map(ToOwned::to_owned));
    words.extend([shown(&script), shown(root), shown(&image.root), shown(around.hosts), mode.into()]);
    words.extend([number("runAsUser"), number("runAsGroup"), capabilities]);
    if let Some((program, name)) = &image.program {
        words.push(format!("{}:/opt/bin/{name}:ro", program.display()));
    }
    for mount in spec["volumeMounts"].as_array().into_iter().flatten() {
        let (name, at) =
            (mount["name"].as_str().expect("a name"), mount["mountPath"].as_str().expect("a path"));
        let how = if mount["readOnly"] == true { "ro" } else { "rw" };
        words.push(format!("{}:{at}:{how}", around.volume(name).display()));
    }
    if let Some(account) = around.account {
        words.push(format!("{}:/var/run/secrets/kubernetes.io/serviceaccount:ro", account.display()));
    }
    words
}
