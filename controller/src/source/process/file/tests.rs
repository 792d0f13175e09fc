use super::*;

fn config(text: &str) -> Config {
    parse(text, Path::new("/srv"), &no_conflicts).expect("a valid file")
}

fn no_conflicts(_: &BTreeMap<UpstreamId, UpstreamFacts>) -> BTreeMap<UpstreamId, Problem> {
    BTreeMap::new()
}

/// As a user sees it.
fn error(text: &str) -> String {
    error_with(text, &no_conflicts)
}

fn error_with(text: &str, conflicts: &Conflicts) -> String {
    let fault = parse(text, Path::new("/srv"), conflicts).expect_err("not a valid file");
    let place = fault.location.and_then(|location| place(text, location));
    FileError::Invalid { path: "demo.yaml".into(), place, message: fault.message }.to_string()
}

const WEB: &str = "
upstreams:
- name: web
  port: 80
  command: [serve, '{port}']
";

#[test]
fn a_minimal_upstream_has_kubernetes_defaults_and_the_files_folder() {
    let config = config(WEB);
    let id = UpstreamId::new("local", "web", 80);
    let web = &config.upstreams[&id];
    let expected = UpstreamSpec { hosts: vec!["web.localhost".into()], ..UpstreamSpec::default() };
    assert_eq!(web.spec, expected);
    assert_eq!(web.workload, WorkloadId::new("local", KIND, "web"));
    let process = &config.processes[&web.workload];
    assert_eq!(process.command, ["serve", "{port}"]);
    assert_eq!(process.directory, Path::new("/srv"));
    assert_eq!(process.variables, BTreeSet::from(["PORT".to_owned()]));
}

#[test]
fn every_field_is_taken_over() {
    let config = config(
        "
upstreams:
- name: db
  namespace: shop
  port: 5432
  protocol: tcp
  listenPort: 15432
  idleAfter: 1m30s
  wakeTimeout: 5s
  wakeReplicas: 2
  maxHeld: 7
  portVariable: DB_PORT
  command: [./db]
  env: {MODE: fast}
  workingDirectory: data
  stopGrace: 250ms
  readiness: {http: /ready}
",
    );
    let (id, db) = config.upstreams.first_key_value().expect("one");
    assert_eq!(id.to_string(), "shop/db:5432");
    let expected = UpstreamSpec {
        protocol: Protocol::Tcp,
        hosts: Vec::new(),
        listen_port: Some(15432),
        idle_after: std::time::Duration::from_secs(90),
        wake_timeout: std::time::Duration::from_secs(5),
        wake_replicas: 2,
        max_held: 7,
    };
    assert_eq!(db.spec, expected);
    let process = &config.processes[&db.workload];
    assert_eq!(process.directory, Path::new("/srv/data"));
    assert_eq!(process.stop_grace, std::time::Duration::from_millis(250));
    assert_eq!(process.readiness, Readiness::Http { path: "/ready".into() });
    assert_eq!(process.env["MODE"], "fast");
    assert!(process.variables.contains("DB_PORT"));
}

#[test]
fn hosts_are_kept_beside_the_one_under_localhost() {
    let text = "upstreams: [{name: web, namespace: shop, port: 80, hosts: [Shop.example], command: [a]}]";
    let config = config(text);
    let web = config.upstreams.values().next().expect("one");
    assert_eq!(web.spec.hosts, ["shop.example", "web.shop.localhost"]);
}

#[test]
fn several_upstreams_may_stand_on_one_process() {
    let config = config(
        "
processes:
- name: shop
  command: [./shop, '{port}', '{admin_port}']
upstreams:
- {name: shop, port: 80, process: shop}
- {name: admin, port: 80, process: shop, portVariable: ADMIN_PORT}
",
    );
    assert_eq!(config.processes.len(), 1);
    let process = config.processes.values().next().expect("one");
    assert_eq!(process.variables.len(), 2);
    assert!(config.upstreams.values().all(|upstream| upstream.workload.name == "shop"));
}

#[test]
fn a_fault_names_line_field_and_what_is_expected() {
    let cases = [
        (
            "- {name: web, port: 80, command: [a], idleAfter: 5 minutes}",
            "demo.yaml:3:",
            "as 90s, 5m or 1h30m",
        ),
        ("- {name: web, port: 80, command: [a], idleAfter: 0s}", ":3:", "a duration from 1s"),
        ("- {name: web, port: 80, command: [a], idelAfter: 5m}", ":3:", "idelAfter"),
        (
            "- {name: web, port: 80, command: a b}",
            ":3:",
            "upstreams[0].command: expected a list of the program",
        ),
        ("- {name: web, port: 80, command: a b}", ":3:", "as [python3, app.py, '{port}']"),
        ("- {name: web, port: x, command: [a]}", ":3:", "upstreams[0].port: "),
        ("- {name: web, port: x, command: [a]}", ":3:", "expected a number from 1 to 65535"),
        ("- {name: web, port: 80, command: [a, {b: c}]}", ":3:", "upstreams[0].command[1]: "),
        ("- {name: web, port: 80, command: [a], hosts: x}", ":3:", "expected a list of DNS names"),
        ("- {name: web, port: 80, command: [a], hosts: [{a: b}]}", ":3:", "upstreams[0].hosts[0]: "),
        ("- {name: web, port: 80, command: [a], env: [b]}", ":3:", "as {MODE: fast}"),
        ("- {name: web, port: 80, command: [a], readiness: /x}", ":3:", "{http: /healthz}"),
        ("- {name: web, port: 80, command: [a], idleAfter: [5m]}", ":3:", "upstreams[0].idleAfter: "),
        (
            "- {name: web, port: 80, command: [a, '--at={prot}']}",
            ":3:",
            "web: {prot} stands for nothing: use {port}, or {{prot}} for the text {prot} itself",
        ),
        ("- {name: web, port: 80, command: [a], env: {AT: '{prot}'}}", ":3:", "{prot} stands for nothing"),
        ("- {name: web, port: 80, command: []}", ":3:", "command is empty"),
        ("- {name: Web, port: 80, command: [a]}", ":3:", "\"Web\" is not a name"),
        ("- {name: web, port: 0, command: [a]}", ":3:", "expected a number from 1 to 65535"),
        ("- {name: web, port: 70000, command: [a]}", ":3:", "70000"),
        ("- {name: web, command: [a]}", ":3:", "port"),
        (
            "- {name: web, port: 80, command: [a], hosts: ['http://x']}",
            ":3:",
            "hosts is \"http://x\"; expected DNS names",
        ),
        (
            "- {name: web, port: 80, command: [a], wakeReplicas: 0}",
            ":3:",
            "wakeReplicas is \"0\"; expected a number",
        ),
        ("- {name: web, port: 80, command: [a], protocol: udp}", ":3:", "http, http2, tcp or tls"),
        ("- {name: web, port: 80, command: [a], protocol: tcp}", ":3:", "give `listenPort`"),
        ("- {name: web, port: 80}", ":3:", "nothing to run"),
        ("- {name: web, port: 80, process: web}", ":3:", "no process \"web\""),
        ("- {name: web, port: 80, command: [a], readiness: {http: ready}}", ":3:", "start it with a slash"),
        ("- {name: web, port: 80, command: [a], env: {A-B: c}}", ":3:", "environment variable"),
        ("- {name: web, port: 80, command: [a], name: web}", ":3:", "name"),
    ];
    for (upstream, place, expected) in cases {
        let error = error(&format!("\nupstreams:\n{upstream}\n"));
        assert!(error.contains(place) && error.contains(expected), "{upstream}\n{error}");
        assert!(error.contains(&format!("\n  3 | {upstream}")), "{error}");
    }
}

#[test]
fn what_stands_twice_is_refused_at_its_second_place() {
    let twice =
        format!("{WEB}- name: web\n  port: 80\n  process: x\nprocesses:\n- {{name: x, command: [b]}}\n");
    assert!(error(&twice).contains("local/web:80 stands here a second time"), "{}", error(&twice));
    let same_process = format!("{WEB}- {{name: web, port: 81, command: [b]}}\n");
    assert!(error(&same_process).contains(":6:"), "{}", error(&same_process));
    assert!(error(&same_process).contains("`process: web`"));
    let listener = "\nupstreams:
- {name: a, port: 1, command: [a], listenPort: 5432}
- {name: b, port: 1, command: [b], listenPort: 5432}\n";
    assert!(error(listener).contains("listenPort 5432 is that of local/a:1"), "{}", error(listener));
}

#[test]
fn a_placeholder_may_name_the_port_of_any_upstream_of_its_process() {
    let file = |word: &str| {
        format!(
            "
processes:
- name: shop
  command: [./shop, '{{port}}', '{{{word}}}']
upstreams:
- {{name: shop, port: 80, process: shop}}
- {{name: admin, port: 80, process: shop, portVariable: ADMIN_PORT}}
"
        )
    };
    config(&file("admin_port"));
    let error = error(&file("admin"));
    assert!(error.contains(":4:31: shop: {admin} stands for nothing: use {admin_port} or {port}"), "{error}");
}

#[test]
fn what_an_upstream_claims_in_vain_is_refused_at_its_claim() {
    let conflict = |reason: &'static str| {
        move |all: &BTreeMap<UpstreamId, UpstreamFacts>| {
            let problem = Problem { reason: reason.into(), message: "it belongs to another".into() };
            all.keys().next_back().cloned().into_iter().map(|id| (id, problem.clone())).collect()
        }
    };
    let file =
        format!("{WEB}- name: young\n  port: 1\n  command: [a]\n  hosts: [x.example]\n  listenPort: 7\n");
    let host = error_with(&file, &conflict("HostConflict"));
    assert!(host.contains(":9:11: local/young:1: it belongs to another"), "{host}");
    let port = error_with(&file, &conflict("ListenPortConflict"));
    assert!(port.contains(":10:15: local/young:1: it belongs to another"), "{port}");
    let own_name = error_with(WEB, &conflict("HostConflict"));
    assert!(own_name.contains(":3:"), "{own_name}");
}

#[test]
fn a_process_that_nothing_could_wake_is_refused() {
    let unused = format!("{WEB}processes:\n- {{name: x, command: [b]}}\n");
    assert!(error(&unused).contains("stands behind no upstream"), "{}", error(&unused));
    assert!(error("upstreams: []").contains("at least one"));
    assert!(error("{}").contains("at least one"));
    assert!(error("").contains("demo.yaml"));
}

#[test]
fn what_is_wrong_with_the_file_as_a_whole_is_told_to_users_and_not_to_programmers() {
    for text in ["foo", "[]", "- name: web"] {
        assert!(
            error(text).starts_with("demo.yaml:1:1: expected `upstreams:` with a list below it"),
            "{}",
            error(text)
        );
    }
    let twice = error(&WEB.replace("port: 80", "port: 80\n  port: 81"));
    assert!(twice.starts_with("demo.yaml:5:3: upstreams[0]: `port` is given a second time\n"), "{twice}");
    let second = error(&format!("{WEB}---\n{WEB}"));
    assert!(
        second.contains(": a second document (`---`) begins above; the file must be a single one\n"),
        "{second}"
    );
}
