//! What the manifests say of the programs that they start is so: flags, variables, ports, times, versions.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use zenvoy_e2e::deploy::{self, Object};
use zenvoy_e2e::folder::Folder;
use zenvoy_e2e::parts;

fn output(program: &str, arguments: &[&str]) -> String {
    let path = if program == "zenvoy" { parts::zenvoy() } else { parts::path(program) };
    let output = Command::new(&path).args(arguments).output().expect("run a program");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The overlay with most in it.
fn complete() -> Vec<Object> {
    deploy::render("overlays/complete")
}

/// All workloads of all overlays.
fn workloads() -> Vec<Object> {
    let objects = deploy::overlays().into_iter().flat_map(|name| deploy::render(&format!("overlays/{name}")));
    objects.filter(Object::is_workload).collect()
}

fn containers(workload: &Object) -> Vec<Value> {
    let lists = ["initContainers", "containers"].map(|list| workload.pod()[list].as_array().cloned());
    lists.into_iter().flatten().flatten().collect()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
}

/// The flags of a program's help.
fn flags(help: &str) -> BTreeSet<String> {
    let words = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.starts_with("--")).map(ToOwned::to_owned).collect()
}

#[test]
fn every_flag_and_variable_in_the_manifests_is_one_that_the_program_has() {
    let mut seen = BTreeSet::new();
    for container in workloads().iter().flat_map(containers) {
        let (image, arguments) = (container["image"].as_str().unwrap_or_default(), texts(&container["args"]));
        let help = match image.split([':', '/']).find(|part| ["zenvoy", "etcd", "envoy"].contains(part)) {
            Some("zenvoy") => output("zenvoy", &[&arguments[0], "--help"]),
            Some("etcd") => output("etcd", &["--help"]),
            _ => output("envoy", &["--help"]),
        };
        let known = flags(&help);
        for argument in arguments.iter().filter(|argument| argument.starts_with("--")) {
            let flag = argument.split_once('=').map_or(argument.as_str(), |(flag, _)| flag);
            assert!(known.contains(flag), "{image} has no {flag}");
            seen.insert(flag.to_owned());
        }
        let variables = container["env"].as_array().into_iter().flatten();
        for name in variables.filter_map(|variable| variable["name"].as_str()) {
            let is_ours = name.starts_with("ZENVOY_");
            let is_used = arguments.iter().any(|argument| argument.contains(&format!("$({name})")));
            assert!(
                is_used || is_ours && help.contains(&format!("[env: {name}=")),
                "{image} reads no {name}"
            );
        }
    }
    for flag in ["--tls-dir", "--out", "--listen-metrics-urls", "--disable-hot-restart"] {
        assert!(seen.contains(flag), "{flag} was looked at");
    }
}

#[test]
fn ports_of_services_probes_and_policies_are_those_that_containers_listen_on() {
    for overlay in deploy::overlays() {
        let objects = deploy::render(&format!("overlays/{overlay}"));
        for workload in objects.iter().filter(|object| object.is_workload()) {
            let place = format!("{overlay}: {}", workload.name());
            let mut ports: BTreeMap<String, u64> = BTreeMap::new();
            for container in containers(workload) {
                let arguments = texts(&container["args"]).join(" ");
                for port in container["ports"].as_array().into_iter().flatten() {
                    let number = port["containerPort"].as_u64().expect("a port");
                    // Envoy is told its ports by the controller.
                    let said = arguments.contains(&format!(":{number}")) || container["name"] == "envoy";
                    assert!(said, "{place}: no flag says port {number}");
                    ports.insert(port["name"].as_str().expect("a name").to_owned(), number);
                }
                for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                    let get = &container[probe]["httpGet"];
                    if let Some(port) = get["port"].as_str() {
                        assert!(ports.contains_key(port), "{place}: {probe} at {port}");
                    }
                }
            }
            let labels = workload.at("/spec/selector/matchLabels");
            for object in &objects {
                let (selector, named) = match object.kind() {
                    "Service" => (
                        "/spec/selector",
                        object.list("/spec/ports").iter().map(|p| &p["targetPort"]).collect(),
                    ),
                    "NetworkPolicy" => {
                        let rules = object.list("/spec/ingress").iter();
                        let of_rules = rules.flat_map(|rule| rule["ports"].as_array().into_iter().flatten());
                        (
                            "/spec/podSelector/matchLabels",
                            of_rules.map(|port| &port["port"]).collect::<Vec<_>>(),
                        )
                    }
                    _ => continue,
                };
                if object.at(selector) == labels {
                    for port in named.into_iter().filter_map(Value::as_str) {
                        assert!(
                            ports.contains_key(port),
                            "{place}: {} {} at {port}",
                            object.kind(),
                            object.name()
                        );
                    }
                }
            }
        }
    }
    // Where proxies look for controllers, and what Envoy listens on, are defaults of the program.
    let help = output("zenvoy", &["controller", "--help"]);
    for default in ["[default: 10000]", "[default: 10443]", "[default: 0.0.0.0:18000]"] {
        assert!(help.contains(default), "{default}: {help}");
    }
    let help = output("zenvoy", &["bootstrap", "--help"]);
    assert!(help.contains("[default: 127.0.0.1:9901]"), "envoy.sh asks there: {help}");
}

/// The default of a flag, in seconds.
fn default_seconds(help: &str, flag: &str) -> u64 {
    let after = help.split(&format!("{flag} ")).nth(1).unwrap_or_else(|| panic!("no {flag} in {help}"));
    let default = after.split("[default: ").nth(1).and_then(|rest| rest.split(']').next());
    let seconds = default.and_then(|text| text.strip_suffix('s')?.parse().ok());
    seconds.unwrap_or_else(|| panic!("{flag} has a default in seconds"))
}

#[test]
fn every_pod_has_the_time_that_its_processes_take_to_end() {
    let controller = default_seconds(&output("zenvoy", &["controller", "--help"]), "--shutdown-timeout");
    let proxy = default_seconds(&output("zenvoy", &["proxy", "--help"]), "--shutdown-timeout");
    for workload in workloads() {
        let given = workload.pod()["terminationGracePeriodSeconds"].as_u64().expect("a grace period");
        let needed = match workload.name() {
            "zenvoy-controller" => controller,
            "zenvoy-gateway" => {
                let envoy = workload.pod().pointer("/containers/0/lifecycle/preStop/exec/command/3");
                let drain: u64 =
                    envoy.and_then(Value::as_str).and_then(|text| text.parse().ok()).expect("a drain");
                // The proxy is told to end after Envoy has, so that it can say that the node is gone.
                assert_eq!(workload.pod().pointer("/initContainers/1/restartPolicy"), Some(&"Always".into()));
                drain + proxy
            }
            _ => continue,
        };
        assert!(given > needed, "{}: {given} s for {needed} s", workload.name());
    }
}

#[test]
fn images_are_of_the_versions_that_all_tests_run() {
    let envoy = output("envoy", &["--version"]);
    let etcd = output("etcd", &["--version"]);
    for container in workloads().iter().flat_map(containers) {
        let image = container["image"].as_str().expect("an image");
        match image.rsplit_once(":v") {
            Some((name, version)) if name.ends_with("envoy") => {
                assert!(envoy.contains(&format!("/{version}/")), "{image}, and tests run {envoy}");
            }
            Some((_, version)) => {
                assert!(etcd.contains(&format!("etcd Version: {version}")), "{image}, and tests run {etcd}");
            }
            None => assert_eq!(image, "zenvoy", "set by those who deploy"),
        }
    }
}

#[test]
fn the_definition_of_upstreams_is_what_the_program_prints() {
    let file = deploy::folder().join("base/controller/upstreams.yaml");
    let deployed = std::fs::read_to_string(&file).expect("the definition");
    assert_eq!(deployed, output("zenvoy", &["crd"]), "zenvoy crd > deploy/ha/base/controller/upstreams.yaml");
}

#[test]
fn certificates_are_what_cert_manager_takes_and_secrets_are_those_that_pods_mount() {
    for overlay in deploy::overlays() {
        let folder = Folder::new();
        let text = deploy::render_text(&format!("overlays/{overlay}"));
        let manifests = folder.write("manifests.yaml", &text);
        let made = folder.path().join("secrets");
        let issuing = Command::new(parts::path("certificates")).args([&manifests, &made]).output();
        let issuing = issuing.expect("run certificates");
        assert!(issuing.status.success(), "{overlay}: {}", String::from_utf8_lossy(&issuing.stderr));
        let objects = deploy::render(&format!("overlays/{overlay}"));
        for workload in objects.iter().filter(|object| object.is_workload()) {
            let volumes = workload.pod()["volumes"].as_array().expect("volumes");
            for secret in volumes.iter().filter_map(|volume| volume["secret"]["secretName"].as_str()) {
                let by_hand =
                    overlay == "secrets" || overlay == "existing-etcd" && secret == "zenvoy-etcd-client-tls";
                let exists = made.join(workload.namespace()).join(secret).is_dir();
                assert_eq!(exists, !by_hand, "{overlay}: {secret}");
            }
        }
    }
    assert!(complete().iter().any(|object| object.kind() == "Certificate"));
}
