use std::time::Duration;

use super::*;

fn annotations() -> Naming {
    Naming::Annotation
}

fn faults(draft: &Draft) -> Vec<String> {
    check(draft, &annotations()).expect_err("faults").iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_set_gives_the_defaults_and_the_protocol_of_the_port() {
    let checked = check(&Draft::default(), &annotations()).expect("valid");
    assert_eq!(checked.spec(Protocol::Http), UpstreamSpec::default());
    assert_eq!(checked.spec(Protocol::Tcp).protocol, Protocol::Tcp);
}

#[test]
fn everything_set_is_taken() {
    let draft = Draft {
        protocol: Some("tls".into()),
        hosts: vec!["DB.example.com".into(), "db.example.com".into(), "*.db.example.com".into()],
        listen_port: Some("5432".into()),
        idle_after: Some("1h30m".into()),
        wake_timeout: Some("90s".into()),
        wake_replicas: Some("3".into()),
        max_held: Some("10".into()),
    };
    let spec = check(&draft, &annotations()).expect("valid").spec(Protocol::Http);
    assert_eq!(spec.hosts, ["db.example.com", "*.db.example.com"]);
    assert_eq!((spec.protocol, spec.listen_port), (Protocol::Tls, Some(5432)));
    assert_eq!((spec.idle_after, spec.wake_timeout), (Duration::from_secs(5400), Duration::from_secs(90)));
    assert_eq!((spec.wake_replicas, spec.max_held), (3, 10));
}

#[test]
fn a_fault_names_the_annotation_its_value_and_what_is_expected() {
    let draft = Draft { idle_after: Some("5 minutes".into()), ..Draft::default() };
    assert_eq!(
        faults(&draft),
        [r#"zenvoy.dev/idle-after is "5 minutes"; expected a duration from 1s to 168h, as 90s, 5m or 1h30m"#]
    );
}

#[test]
fn a_fault_in_an_object_names_its_field() {
    let draft = Draft { max_held: Some("0".into()), ..Draft::default() };
    let naming = Naming::Field { prefix: "spec.".into() };
    let faults = check(&draft, &naming).expect_err("a fault");
    assert!(faults[0].to_string().starts_with(r#"spec.maxHeld is "0";"#), "{}", faults[0]);
}

#[test]
fn all_faults_are_told_at_once() {
    let draft = Draft {
        protocol: Some("htpp".into()),
        hosts: vec!["shop.example.com:80".into(), "ok.example.com".into()],
        listen_port: Some("70000".into()),
        wake_timeout: Some("2h".into()),
        ..Draft::default()
    };
    let names: Vec<String> =
        check(&draft, &annotations()).expect_err("faults").into_iter().map(|fault| fault.name).collect();
    assert_eq!(
        names,
        ["zenvoy.dev/protocol", "zenvoy.dev/listen-port", "zenvoy.dev/wake-timeout", "zenvoy.dev/hosts"]
    );
}

#[test]
fn hosts_that_envoy_would_refuse_or_that_catch_everything_are_faults() {
    for host in
        ["", "*", "*.com", "a..b", "-a.b", "a_b.c", "http://a.b", "a.b/c", "a.b:80", "[::1]", "a.*.b", "a b"]
    {
        let draft = Draft { hosts: vec![host.into()], ..Draft::default() };
        assert!(check(&draft, &annotations()).is_err(), "{host:?}");
    }
    let long = Draft { hosts: vec![vec!["a"; 128].join(".")], ..Draft::default() };
    assert!(check(&long, &annotations()).is_err());
}

#[test]
fn too_many_hosts_are_a_fault() {
    let hosts = (0..65).map(|n| format!("h{n}.example.com")).collect();
    assert!(faults(&Draft { hosts, ..Draft::default() })[0].contains("65 hosts"));
}

#[test]
fn hosts_with_protocol_tcp_are_a_fault_that_says_what_to_do() {
    let draft =
        Draft { protocol: Some("tcp".into()), hosts: vec!["db.example.com".into()], ..Draft::default() };
    assert!(faults(&draft)[0].contains("zenvoy.dev/listen-port"));
}

#[test]
fn a_tcp_port_of_a_service_with_hosts_has_none_of_them() {
    let draft = Draft { hosts: vec!["shop.example.com".into()], ..Draft::default() };
    let checked = check(&draft, &annotations()).expect("valid");
    assert!(checked.spec(Protocol::Tcp).hosts.is_empty());
    assert_eq!(checked.spec(Protocol::Http).hosts, ["shop.example.com"]);
}

#[test]
fn durations_need_units_and_the_range() {
    for text in ["", "5", "5 m", "-5m", "1.5h", "5y", "500ms", "169h", "0s"] {
        let draft = Draft { idle_after: Some(text.into()), ..Draft::default() };
        assert!(check(&draft, &annotations()).is_err(), "{text:?}");
    }
}

#[test]
fn a_long_value_is_cut_in_the_message() {
    let draft = Draft { protocol: Some("x".repeat(5_000)), ..Draft::default() };
    assert!(faults(&draft)[0].len() < 300);
}
