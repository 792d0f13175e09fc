//! What the command says about itself, and about what it cannot use.

use std::process::{Command, Output};

fn zenvoy(arguments: &[&str]) -> Output {
    with_env(arguments, &[])
}

fn with_env(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zenvoy"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ZENVOY_")) {
        command.env_remove(name);
    }
    command.args(arguments).envs(variables.iter().copied()).output().expect("run zenvoy")
}

/// The message of a command that must end with status 2.
fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = with_env(arguments, variables);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    message
}

fn printed(arguments: &[&str]) -> String {
    let output = zenvoy(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_long_flag_has_a_variable_and_the_help_says_which() {
    for command in ["controller", "proxy", "up", "bootstrap", "certs"] {
        let help = printed(&[command, "--help"]);
        let flags: Vec<&str> = help.split("\n      --").skip(1).collect();
        assert!(flags.len() > 4, "{help}");
        for flag in flags {
            assert!(flag.contains("[env: ZENVOY_"), "{command} has a flag without a variable: --{flag}");
        }
    }
}

#[test]
fn a_heading_of_the_help_holds_for_its_own_flags_only() {
    let headed = |command: &str, heading: &str| -> Vec<String> {
        let help = printed(&[command, "--help"]);
        let below =
            help.split_once(&format!("\n{heading}:\n")).unwrap_or_else(|| panic!("{heading}: {help}")).1;
        // The next heading stands at the margin.
        let own = below.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
        let flag = |line: &str| line.trim().strip_prefix("--")?.split(' ').next().map(ToOwned::to_owned);
        own.filter_map(flag).collect()
    };
    let pod =
        headed("proxy", "The Pod it lives in with its Envoy; its deletion proves that the node is gone");
    assert_eq!(pod, ["pod-namespace", "pod-name", "pod-uid"]);
    let etcd = headed("controller", "Where decisions are kept");
    assert!(etcd.iter().all(|flag| flag == "store" || flag.starts_with("etcd-")), "{etcd:?}");
    assert_eq!(headed("up", "Ending"), ["shutdown-timeout"]);
}

#[test]
fn the_help_documents_exit_codes_and_hides_what_is_not_for_people() {
    let help = printed(&["--help"]);
    assert!(help.contains("Exit codes: 0 all went well, 1 it failed while running, 2 bad usage"));
    assert!(!help.contains("keep"), "{help}");
}

/// Command lines, and what is said of each.
const BAD: &[(&[&str], &str)] = &[
    (&["proxy", "--controllers", "host:18000"], "give http://host:port"),
    (&["proxy"], "--controllers"),
    (
        &["proxy", "--controllers", "http://localhost:1", "--port-pool", "127.0.0.1:9-1"],
        "127.0.0.1:20000-32767",
    ),
    (
        &["proxy", "--controllers", "http://localhost:1", "--port-pool", "10.0.0.1:1-2"],
        "give loopback-ip:first-last",
    ),
    (&["proxy", "--controllers", "http://localhost:1", "--rules", "ipfw"], "give nft, iptables or none"),
    (&["proxy", "--controllers", "https://c:1", "--tls-ca", "/proc/self/stat"], "--tls-dir"),
    (&["proxy", "--controllers", "https://c:1", "--tls-dir", "/nowhere"], "read /nowhere/ca.crt"),
    (
        &["proxy", "--controllers", "https://c:1", "--mode", "listen"],
        "https://c:1/ speaks TLS; give --tls-dir",
    ),
    (&["proxy", "--controllers", "http://c:1"], "controller http://c:1/ is beyond this machine"),
    (&["proxy", "--controllers", "http://c:1", "--plaintext", "--tls-dir", "x"], "--plaintext"),
    (
        &["proxy", "--controllers", "http://[::1]:1", "--envoy-listen", "0.0.0.0:1"],
        "is not an address on this host",
    ),
    (&["controller", "--store", "memory"], "--listen 0.0.0.0:18000 is beyond this machine"),
    (&["proxy", "--controllers", "http://localhost:1", "--node", "a b"], "is not a node's name"),
    (
        &["certs", "--out", "x", "--node", "../x"],
        "is not a node's name: give 1 to 253 letters (a-z, A-Z), digits, '-', '.' and '_'",
    ),
    (&["certs", "--out", "x", "--node-class", "a b"], "is not a class of nodes: give 1 to 240 letters"),
    (&["certs", "--out", "x", "--controller-host", "https://c"], "give a DNS name or an IP address"),
    (&["certs", "--out", "x", "--etcd-host", "etcd:2379"], "give a DNS name or an IP address"),
    (&["controller", "--listen", "18000"], "give ip:port, as 127.0.0.1:18000"),
    (&["up", "x.yaml", "--admin", "localhost:1"], "give ip:port"),
    (&["up", "x.yaml", "--listener-bind", "localhost"], "give one as 127.0.0.1"),
    (&["bootstrap", "--cluster", ""], "--cluster"),
    (&["bootstrap", "--stats-flush-interval", "1"], "as 90s, 5m or 1h30m"),
    (&["up", "x.yaml", "--http-port", "0"], "--http-port"),
    (&["up"], "FILE"),
    (&["controller"], "--store etcd needs --etcd-endpoints"),
    (&["controller", "--etcd-endpoints", "etcd:2379"], "give http://host:port"),
    (&["controller", "--port-pool", "10.0.0.1:1-2"], "give loopback-ip:first-last"),
    (&["controller", "--lease-ttl", "1s"], "at least 3s"),
    (&["controller", "--store", "redis"], "etcd, memory"),
    (
        &["controller", "--store", "memory", "--plaintext", "--kubeconfig", "/nowhere/config"],
        "--kubeconfig: use /nowhere/config",
    ),
    (&["controller", "--store", "memory", "--advertise", "foo"], "give host:port"),
    (&["controller", "--store", "memory", "--cluster-domain", "a b"], "is not a DNS domain"),
    (
        &["controller", "--store", "memory", "--etcd-endpoints", "http://etcd:2379"],
        "--etcd-endpoints has no meaning with --store memory",
    ),
    (
        &["controller", "--store", "memory", "--port-pool", "127.0.0.1:9000-11000"],
        "--port-pool covers 0.0.0.0:10000 (--http-port)",
    ),
    (
        &["controller", "--store", "memory", "--plaintext", "--http-port", "8443", "--tls-port", "8443"],
        "--http-port and --tls-port ask for one address",
    ),
    (
        &["controller", "--store", "memory", "--port-pool", "127.0.0.1:18080-18080"],
        "--port-pool covers 127.0.0.1:18080 (--admin)",
    ),
    (
        &["proxy", "--controllers", "http://c:1", "--port-pool", "127.0.0.1:18001-18001"],
        "--port-pool covers 127.0.0.1:18001 (--envoy-listen)",
    ),
    (
        &["proxy", "--controllers", "http://localhost:20001"],
        "--port-pool covers 127.0.0.1:20001 (--controllers)",
    ),
    (
        &["proxy", "--controllers", "http://c:1", "--tproxy-port", "20001"],
        "--port-pool covers 127.0.0.1:20001 (--tproxy-port)",
    ),
];

#[test]
fn a_bad_flag_is_one_message_that_says_what_is_expected() {
    for (arguments, expected) in BAD {
        let message = refused(arguments, &[]);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

#[test]
fn an_etcd_that_is_missing_or_away_is_told_without_a_promise() {
    let missing = refused(&["node", "list"], &[]);
    assert!(missing.contains("--etcd-endpoints is missing") && !missing.contains("--store"), "{missing}");
    let away = zenvoy(&["node", "list", "--etcd-endpoints", "http://127.0.0.1:1"]);
    let said = String::from_utf8_lossy(&away.stderr);
    assert_eq!(away.status.code(), Some(1), "{said}");
    assert!(said.contains("the store did not answer: http://127.0.0.1:1: "), "{said}");
    assert!(said.contains("Connection refused") && !said.contains("tried again"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_file_that_is_not_there_is_told_before_anything_starts_with_its_flag() {
    let etcd = &["controller", "--etcd-endpoints", "https://etcd:2379"][..];
    let proxy = &["proxy", "--controllers", "https://c:1"][..];
    let cases = [
        (etcd, "--etcd-ca", &[][..]),
        (etcd, "--etcd-cert", &["--etcd-key", "/proc/self/stat"]),
        (etcd, "--etcd-key", &["--etcd-cert", "/proc/self/stat"]),
        (etcd, "--etcd-password-file", &["--etcd-user", "zenvoy"]),
        (proxy, "--tls-ca", &["--tls-dir", "/proc"]),
    ];
    for (command, flag, beside) in cases {
        let message = refused(&[command, beside, &[flag, "/nowhere/file.pem"]].concat(), &[]);
        for part in [flag, "/nowhere/file.pem", "No such file"] {
            assert!(message.contains(part), "{flag}: {message}");
        }
        let folder = refused(&[command, beside, &[flag, "/proc"]].concat(), &[]);
        assert!(folder.contains(flag) && folder.contains("it is a folder"), "{flag}: {folder}");
    }
}

#[test]
fn a_variable_counts_as_its_flag_and_the_flag_wins() {
    let message = refused(&["bootstrap"], &[("ZENVOY_ENVOY_ADMIN", "nonsense")]);
    assert!(message.contains("give ip:port, or none"), "{message}");
    let output = with_env(&["bootstrap", "--node", "flag"], &[("ZENVOY_NODE", "variable")]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("flag") && !text.contains("variable"), "{text}");
}

#[test]
fn what_is_wrong_with_a_variable_is_told_with_its_name_beside_the_flag() {
    let proxy = ["proxy", "--controllers", "http://localhost:1"];
    let cases: &[(&[&str], (&str, &str), &str)] = &[
        (&["bootstrap"], ("ZENVOY_ENVOY_ADMIN", "nonsense"), "'--admin <ADDRESS> (from ZENVOY_ENVOY_ADMIN)'"),
        (&["proxy"], ("ZENVOY_CONTROLLERS", "c:1"), "'--controllers <URL,...> (from ZENVOY_CONTROLLERS)'"),
        (&proxy, ("ZENVOY_MODE", "bridge"), "'--mode <MODE> (from ZENVOY_MODE)'"),
        (&proxy, ("ZENVOY_PLAINTEXT", "perhaps"), "'--plaintext (from ZENVOY_PLAINTEXT)'"),
        (&["crd"], ("ZENVOY_LOG", "zenvoy=loud"), "'--log <FILTER> (from ZENVOY_LOG)'"),
        (&["node", "list"], ("ZENVOY_CLUSTER", "A"), "'--cluster <NAME> (from ZENVOY_CLUSTER)'"),
    ];
    for (arguments, variable, expected) in cases {
        let message = refused(arguments, &[*variable]);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
    let both = refused(&[&proxy[..], &["--tls-dir", "/"]].concat(), &[("ZENVOY_PLAINTEXT", "true")]);
    assert!(
        both.contains("--plaintext (from ZENVOY_PLAINTEXT)") && both.contains("'--tls-dir <FOLDER>'"),
        "{both}"
    );
    let given = refused(&["bootstrap", "--admin", "nonsense"], &[("ZENVOY_ENVOY_ADMIN", "127.0.0.1:1")]);
    assert!(!given.contains("ZENVOY_"), "the flag wins: {given}");
}

#[test]
fn what_is_found_later_of_a_variable_is_told_with_its_name_too() {
    let message = refused(
        &["proxy", "--controllers", "http://localhost:1", "--mode", "listen"],
        &[("ZENVOY_ADMIN", "127.0.0.1:18001"), ("ZENVOY_RULES", "none")],
    );
    assert!(message.contains("--envoy-listen and --admin ask for one address"), "{message}");
    assert!(message.ends_with("\n  --admin is from ZENVOY_ADMIN\n"), "{message}");
}

#[test]
fn a_grace_that_the_end_would_cut_is_refused() {
    let proxy = ["proxy", "--controllers", "http://localhost:1", "--mode", "listen"];
    let cases: &[(&[&str], &str)] = &[
        (
            &["--relay-grace", "40s"],
            "--relay-grace 40s makes the end take up to 46s, but --shutdown-timeout cuts it off after 30s",
        ),
        (&["--relay-grace", "25s"], "--relay-grace 25s makes the end take up to 31s"),
        (&["--shutdown-timeout", "10s"], "--relay-grace 20s makes the end take up to 26s"),
        (&["--envoy-grace", "1m"], "--envoy-grace 1m makes the end take up to 1m3s"),
    ];
    for (flags, expected) in cases {
        let message = refused(&[&proxy[..], flags].concat(), &[]);
        assert!(message.contains(expected) && message.contains("terminationGracePeriodSeconds"), "{message}");
    }
}

#[test]
fn a_socket_in_a_folder_that_is_not_there_is_told_with_the_cure() {
    let at = ["--mode", "listen", "--admin", "none", "--envoy-listen", "unix:/nowhere/proxy.sock"];
    let output = zenvoy(&[&["proxy", "--controllers", "http://localhost:1"][..], &at].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("unix:/nowhere/proxy.sock: No such file") && said.contains("make its folder"),
        "{said}"
    );
}

#[test]
fn a_bad_log_filter_is_refused_with_an_example() {
    for (subcommand, filter) in [("proxy", "zenvoy=loud"), ("crd", "zenvoy=loud"), ("crd", "info, debug")] {
        let message = refused(&[subcommand, "--log", filter], &[]);
        assert!(message.contains("an example is info,zenvoy_controller=debug"), "{message}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_told_with_place_and_cure() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("up.yaml");
    let file = path.to_str().expect("text");
    let envoy = ("ZENVOY_ENVOY", "/bin/true");
    assert!(refused(&["up", file], &[envoy]).contains("No such file"));
    std::fs::write(&path, "upstreams:\n- name: web\n  port: 80\n  command: [a]\n  idleAfter: 5 minutes\n")
        .expect("written");
    let message = refused(&["up", file], &[envoy]);
    assert!(message.contains("up.yaml:5:14: "), "{message}");
    assert!(
        message.contains("expected a duration from 1s to 168h")
            && message.contains("5 |   idleAfter: 5 minutes"),
        "{message}"
    );
}

#[test]
fn without_envoy_the_message_says_how_to_get_it() {
    let nowhere = ("PATH", "/nowhere");
    let missing = refused(&["up", "/nowhere/up.yaml"], &[nowhere]);
    assert!(missing.contains("/nowhere/up.yaml") && !missing.contains("Envoy"), "the file first: {missing}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("up.yaml");
    std::fs::write(&path, "upstreams: [{name: web, port: 80, command: [a]}]\n").expect("written");
    let message = refused(&["up", path.to_str().expect("text")], &[nowhere]);
    assert!(message.contains("Envoy is not installed") && message.contains("--envoy"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn the_definition_of_upstreams_is_printed() {
    let definition = printed(&["crd"]);
    assert!(
        definition.contains("kind: CustomResourceDefinition") && definition.contains("zenvoy.dev"),
        "{definition}"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let printing: [&[&str]; 4] =
        [&["crd"], &["bootstrap", "--node", "n1"], &["completions", "bash"], &["version"]];
    for arguments in printing {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_zenvoy"))
            .args(arguments)
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .expect("run zenvoy");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {said}");
    }
}

#[test]
fn completions_and_version_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        assert!(script.contains("bootstrap"), "{shell}");
    }
    assert_eq!(printed(&["version"]), format!("zenvoy {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_bootstrap_is_written_to_a_file_where_there_is_no_shell() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("envoy.yaml");
    let out = file.to_str().expect("a path in UTF-8");
    assert_eq!(printed(&["bootstrap", "--node", "n1", "--out", out]), "");
    assert_eq!(
        std::fs::read_to_string(&file).expect("it is written"),
        printed(&["bootstrap", "--node", "n1"])
    );
    let failed = zenvoy(&["bootstrap", "--node", "n1", "--out", "/nowhere/envoy.yaml"]);
    assert_eq!(failed.status.code(), Some(1));
    let message = String::from_utf8_lossy(&failed.stderr);
    assert!(message.contains("--out: write /nowhere/envoy.yaml"), "{message}");
}

#[test]
fn the_bootstrap_names_node_proxy_and_interval() {
    let text =
        printed(&["bootstrap", "--node", "n1", "--proxy", "127.0.0.1:7", "--stats-flush-interval", "250ms"]);
    assert!(text.contains("n1") && text.contains("port_value: 7") && text.contains("0.25s"), "{text}");
}
