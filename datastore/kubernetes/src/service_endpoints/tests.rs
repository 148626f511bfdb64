//! What becomes of slices.

use serde_json::{Value, json};

use super::*;

fn slice(name: &str, service: &str, addresses: &[&str], ports: &Value) -> PortSlice {
    let endpoints: Vec<Value> = addresses.iter().map(|it| json!({ "addresses": [it] })).collect();
    let object = json!({
        "metadata": { "name": name, "namespace": "x", "labels": { SERVICE_NAME: service, "more": "b" } },
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    });
    serde_json::from_value(object).unwrap()
}

fn shown(service: &ServiceEndpoints) -> Vec<String> {
    service.endpoints.iter().map(|it| format!("{} {:?}", it.address, it.ports)).collect()
}

#[test]
fn a_service_is_every_address_of_its_slices_at_every_port_of_them() {
    let ports = json!([{ "name": "a", "protocol": "UDP", "port": 53 }, { "port": 53 }, { "name": "any" }]);
    let (first, second) = (
        slice("s-1", "dns", &["10.0.0.2", "10.0.0.1", "db.example"], &ports),
        slice("s-2", "dns", &["10.0.0.1", "fd00::1"], &json!([{ "protocol": "SCTP", "port": 9 }])),
    );
    let other = slice("o-1", "web", &["10.0.0.9"], &Value::Null);
    let read = |slice: &PortSlice| slice.read(Kind::ServiceEndpoints).unwrap();
    let all = joined(&[read(&second), read(&other), read(&first)]);
    let [Resource::ServiceEndpoints(dns), Resource::ServiceEndpoints(web)] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert_eq!((dns.metadata.name.as_str(), web.metadata.name.as_str()), ("x/dns", "x/web"));
    assert_eq!(
        shown(dns),
        ["10.0.0.1 [(6, 53), (17, 53), (132, 9)]", "10.0.0.2 [(6, 53), (17, 53)]", "fd00::1 [(132, 9)]"]
    );
    assert_eq!(shown(web), ["10.0.0.9 []"]);
}

#[test]
fn endpoints_count_whether_they_are_ready_or_not_and_names_do_not() {
    let text = r#"{"metadata": {"name": "s", "namespace": "x"}, "addressType": "IPv6", "ports": [{"port": 80}],
        "endpoints": [{"addresses": ["fd00::1"], "conditions": {"ready": false, "terminating": true}}]}"#;
    assert_eq!(serde_json::from_str::<PortSlice>(text).unwrap().part().endpoints.len(), 1);
    let names = text.replace("IPv6", "FQDN");
    assert!(serde_json::from_str::<PortSlice>(&names).unwrap().part().endpoints.is_empty());
}

#[test]
fn a_replay_takes_the_place_of_what_was_known_when_it_is_through_and_not_before() {
    let of = |service: &str| Some(BTreeSet::from([format!("x/{service}")]));
    let one = |name: &str, service: &str| Change::Put(slice(name, service, &["10.0.0.1"], &Value::Null));
    let mut slices = Slices::default();
    slices.take(Change::Replay);
    assert_eq!(slices.take(one("s-1", "a")), Some(BTreeSet::new()));
    slices.take(one("s-2", "a"));
    assert!(slices.known.is_empty() && !slices.whole);
    assert_eq!(slices.take(Change::InSync), None);
    assert_eq!((slices.known.len(), slices.whole), (2, true));
    assert_eq!(slices.take(one("s-3", "b")), of("b"));
    let moved = Some(BTreeSet::from(["x/a".to_owned(), "x/b".to_owned()]));
    assert_eq!(slices.take(one("s-3", "a")), moved, "both have others now");
    let gone = Change::Gone(slice("s-3", "a", &[], &Value::Null));
    assert_eq!(slices.take(gone), of("a"));
    slices.take(Change::Replay);
    slices.take(one("s-2", "a"));
    assert_eq!(slices.known.len(), 2, "what was known stays until all is said");
    slices.take(Change::InSync);
    assert_eq!(slices.known.keys().collect::<Vec<_>>(), ["x/s-2"]);
}
