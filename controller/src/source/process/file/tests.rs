use super::*;

fn config(text: &str) -> Config {
    parse(text, Path::new("/srv")).expect("a valid file")
}

/// As a user sees it.
fn error(text: &str) -> String {
    let fault = parse(text, Path::new("/srv")).expect_err("not a valid file");
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
        ("- {name: web, port: 80, command: a b}", ":3:", "sequence"),
        ("- {name: web, port: 80, command: []}", ":3:", "command is empty"),
        ("- {name: Web, port: 80, command: [a]}", ":3:", "\"Web\" is not a name"),
        ("- {name: web, port: 0, command: [a]}", ":3:", "nonzero"),
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
fn a_process_that_nothing_could_wake_is_refused() {
    let unused = format!("{WEB}processes:\n- {{name: x, command: [b]}}\n");
    assert!(error(&unused).contains("stands behind no upstream"), "{}", error(&unused));
    assert!(error("upstreams: []").contains("at least one"));
    assert!(error("{}").contains("at least one"));
    assert!(error("").contains("demo.yaml"));
}
