//! A resource is encoded once, whoever is sent it and however often: all responses hold the same bytes.

use bytes::Bytes;

use super::*;

/// Who may ask for clusters: in either variant, on an aggregated stream or on one of its own, for all or by name.
fn streams(hub: &mut Hub) -> Vec<(StreamId, Variant)> {
    let mut streams = Vec::new();
    for variant in [Variant::Delta, Variant::StateOfTheWorld] {
        for service in [None, Some(CDS.into())] {
            for name in ["*", "a"] {
                let id = hub.open("node".into(), variant, service.clone()).expect("room");
                let (type_url, names) = (CDS.to_owned(), vec![name.to_owned()]);
                match variant {
                    Variant::Delta => {
                        let resource_names_subscribe = names;
                        let request = DeltaDiscoveryRequest {
                            type_url,
                            resource_names_subscribe,
                            ..Default::default()
                        };
                        hub.delta(id, request, false).expect("a good request");
                    }
                    Variant::StateOfTheWorld => {
                        let request =
                            DiscoveryRequest { type_url, resource_names: names, ..Default::default() };
                        hub.sotw(id, request, false).expect("a good request");
                    }
                }
                streams.push((id, variant));
            }
        }
    }
    streams
}

/// The next response's only resource, as it is sent, and the response's nonce.
fn resource(hub: &mut Hub, id: StreamId) -> (Bytes, String) {
    let response = hub.poll(id).expect("a response");
    let nonce = response.nonce().to_string();
    let mut pieces = response.into_pieces().skip(1);
    let resource = pieces.next().expect("a resource");
    assert_eq!(pieces.next(), None);
    (resource, nonce)
}

/// Whether they are the same bytes in memory, or one of them is the other's end.
fn are_one(one: &Bytes, other: &Bytes) -> bool {
    one.as_ptr_range().end == other.as_ptr_range().end
}

#[test]
fn a_change_is_encoded_once_for_all_streams_of_both_variants_and_all_services() {
    let mut hub = Hub::new(Limits::default(), String::new());
    hub.apply([set(CDS, "a", "1")]);
    let streams = streams(&mut hub);
    for (changes, content) in ["1", "2", "3"].into_iter().enumerate() {
        hub.apply([set(CDS, "a", content)]);
        let first = resource(&mut hub, streams[0].0);
        assert!(first.0.ends_with(content.as_bytes()));
        let mut sent = vec![(streams[0], first.1)];
        for stream in &streams[1..] {
            let (bytes, nonce) = resource(&mut hub, stream.0);
            assert!(are_one(&bytes, &first.0), "of its own: {stream:?}");
            sent.push((*stream, nonce));
        }
        for ((id, variant), response_nonce) in sent {
            let type_url = CDS.to_owned();
            let answer = match variant {
                Variant::Delta => hub.delta(
                    id,
                    DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() },
                    false,
                ),
                Variant::StateOfTheWorld => {
                    let resource_names = vec!["a".into()];
                    let request =
                        DiscoveryRequest { type_url, response_nonce, resource_names, ..Default::default() };
                    hub.sotw(id, request, false)
                }
            };
            answer.expect("a good request").expect("an ACK");
        }
        assert_eq!(hub.encoded(), 1 + changes as u64);
        hub.apply([set(CDS, "a", content)]);
        assert_eq!(hub.encoded(), 1 + changes as u64, "it is the same");
    }
}

#[test]
fn what_is_sent_again_in_a_full_state_or_a_part_is_not_encoded_again() {
    let mut client = Sotw::new();
    for kind in [CDS, EDS] {
        client.hub.apply([set(kind, "a", "1"), set(kind, "b", "1")]);
        client.ask(kind, &["a", "b"], "");
        client.acked(&["a", "b"]);
        let before = client.hub.encoded();
        client.set(kind, "a", "2");
        client.acked(&["a", "b"]);
        assert_eq!(client.hub.encoded(), before + 1, "{kind}");
    }
    client.hub.apply([set(EDS, "a", "bad"), set(EDS, "b", "bad")]);
    let before = client.hub.encoded();
    let both = client.next().expect("a response");
    client.refuse(&both, &["a", "b"], "no");
    client.acked(&["a", "b"]);
    client.acked(&["a", "b"]);
    assert_eq!((client.next(), client.hub.encoded()), (None, before));
}
