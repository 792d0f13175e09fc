use super::*;

fn client(limits: Limits) -> Delta {
    Delta::over(Hub::new(limits, String::new()))
}

fn names_of(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

fn exceeded(client: &mut Delta, type_url: &str, names: Vec<String>) -> Option<String> {
    let request = DeltaDiscoveryRequest {
        type_url: type_url.into(),
        resource_names_subscribe: names,
        ..Default::default()
    };
    client.hub.delta(client.id, request, false).err().map(|error| error.to_string())
}

#[test]
fn types_names_and_their_length_are_limited_and_the_error_says_which() {
    let mut client = client(Limits { types: 2, names: 10, name_length: 80, ..Limits::default() });
    assert_eq!(exceeded(&mut client, CDS, names_of(6)), None);
    assert_eq!(exceeded(&mut client, EDS, names_of(4)), None);
    let error = exceeded(&mut client, EDS, vec!["x".into()]).expect("too many names");
    assert_eq!(error, "more than 10 names subscribed to, or stated, on one stream");
    let error = exceeded(&mut client, RDS, Vec::new()).expect("too many types");
    assert_eq!(error, "more than 2 types on one stream");
    client.unask(EDS, &["0"]);
    let error = exceeded(&mut client, EDS, vec!["x".repeat(81)]).expect("too long a name");
    assert_eq!(error, "a resource name of 81 bytes: at most 80 are taken");
}

#[test]
fn type_urls_and_node_ids_are_limited_like_names() {
    let mut client = client(Limits { name_length: 100, ..Limits::default() });
    let long = "x".repeat(101);
    let error = exceeded(&mut client, &long, Vec::new()).expect("too long a type");
    assert_eq!(error, "a type URL of 101 bytes: at most 100 are taken");
    let error = client.hub.open(long.as_str().into(), Variant::Delta, None).expect_err("too long an id");
    assert_eq!(error.to_string(), "a node id of 101 bytes: at most 100 are taken");
}

#[test]
fn names_that_a_client_of_everything_says_it_had_count_while_they_are_kept_for_it_alone() {
    let mut client = client(Limits { names: 10, ..Limits::default() });
    client.set(CDS, "exists", "1");
    client.has(CDS, &[], &[("exists", "1"), ("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")]);
    assert_eq!(exceeded(&mut client, EDS, names_of(5)), None);
    assert!(exceeded(&mut client, EDS, vec!["one".into()]).is_some());
}

#[test]
fn streams_of_a_node_are_limited() {
    let mut client = client(Limits { streams_of_node: 1, ..Limits::default() });
    let error = client.hub.open("node".into(), Variant::Delta, None).expect_err("too many");
    assert!(error.to_string().starts_with("the limit of 1 streams for node \"node\" is reached"), "{error}");
    client.hub.open("other".into(), Variant::Delta, None).expect("room");
    client.hub.close(client.id);
    client.hub.open("node".into(), Variant::Delta, None).expect("room again");
}

#[test]
fn an_aggregated_stream_needs_a_type_and_a_single_type_one_knows_it() {
    let mut client = client(Limits::default());
    assert_eq!(
        client.hub.delta(client.id, DeltaDiscoveryRequest::default(), false),
        Err(RequestError::NoType)
    );
    client.set(CDS, "a", "1");
    client.id = client.hub.open("node".into(), Variant::Delta, Some(CDS.into())).expect("room");
    client.ask("", &[]);
    assert_eq!(names(&client.acked()), ["a"]);
    let error = exceeded(&mut client, EDS, Vec::new()).expect("another type");
    assert_eq!(error, format!("this service serves type {CDS}, not {EDS}"));
}

#[test]
fn clusters_that_are_kept_for_routes_that_are_refused_or_unanswered_are_limited() {
    for answered in [true, false] {
        let mut client = client(Limits { removals: 2, ..Limits::default() });
        let clusters = ["a", "b", "c"];
        client.hub.apply(clusters.map(|name| set(CDS, name, "1")));
        client.set(RDS, "routes", "to all");
        client.ask(CDS, &[]);
        client.acked();
        client.ask(RDS, &["routes"]);
        client.acked();
        client.hub.apply([set(RDS, "routes", "bad"), Change::remove(CDS, "a")]);
        let routes = client.next().expect("a response");
        if answered {
            client.nack(&routes, "no");
        }
        client.remove(CDS, "b");
        assert_eq!(client.next(), None, "the client may still route to them");
        client.remove(CDS, "c");
        assert_eq!(client.acked().removed_resources, clusters);
    }
}

#[test]
fn a_full_state_keeps_no_more_clusters_than_the_limit_for_routes_that_are_refused() {
    let mut client = Sotw::over(Hub::new(Limits { removals: 1, ..Limits::default() }, String::new()));
    client.hub.apply([set(CDS, "a", "a1"), set(CDS, "b", "b1"), set(CDS, "c", "c1")]);
    client.set(RDS, "routes", "to a");
    client.ask(CDS, &[], "");
    client.acked(&[]);
    client.ask(RDS, &["routes"], "");
    client.acked(&["routes"]);
    client.hub.apply([set(RDS, "routes", "bad"), Change::remove(CDS, "a")]);
    let routes = client.next().expect("a response");
    client.refuse(&routes, &["routes"], "no");
    assert_eq!(client.next(), None, "the client may still route to it");
    client.remove(CDS, "b");
    assert_eq!(contents(&client.acked(&[])), ["c1"]);
}
