//! What is kept of Services and slices.

use serde_json::{Value, json};

use super::*;

fn service(spec: &Value, ingress: &Value) -> ServiceSpec {
    let object = json!({
        "metadata": { "name": "web", "namespace": "x", "labels": { "a": "b" } },
        "spec": spec, "status": { "loadBalancer": { "ingress": ingress } },
    });
    let read = serde_json::from_value::<CoreService>(object).unwrap().read(Kind::Service).unwrap();
    assert_eq!(read.key().to_string(), "Service/x/web");
    assert!(read.metadata().labels.is_empty());
    let Resource::Service(service) = read else { panic!("{read:?}") };
    service.spec.clone()
}

#[test]
fn of_a_service_the_addresses_are_kept_that_kube_proxy_translates() {
    let ingress =
        json!([{ "ip": "203.0.113.7" }, { "ip": "203.0.113.8", "ipMode": "Proxy" }, { "hostname": "h" }]);
    let all = json!({
        "type": "LoadBalancer", "clusterIPs": ["10.96.0.9", "fd00:96::9"], "externalIPs": ["198.51.100.3"],
        "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster",
    });
    let of = |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let kept = ServiceSpec {
        cluster_ips: of(&["10.96.0.9", "fd00:96::9"]),
        external_ips: of(&["198.51.100.3"]),
        load_balancer_ips: of(&["203.0.113.7"]),
        external_local: true,
        internal_local: false,
    };
    assert_eq!(service(&all, &ingress), kept);
    for nothing in [
        json!({ "clusterIPs": ["None"], "externalIPs": ["198.51.100.3"] }),
        json!({ "type": "ExternalName", "externalName": "example.org", "clusterIPs": ["10.96.0.9"] }),
    ] {
        assert_eq!(service(&nothing, &ingress), ServiceSpec::default(), "{nothing}");
    }
}

fn slice(kind: &str, endpoints: &Value) -> EndpointSliceSpec {
    let object = json!({
        "metadata": { "name": "web-1", "namespace": "x", "labels": { SERVICE_NAME: "web" } },
        "addressType": kind, "endpoints": endpoints,
    });
    let mut slice = serde_json::from_value::<CoreSlice>(object).unwrap();
    slice.seen_from = Some("a".into());
    let Ok(Resource::EndpointSlice(read)) = slice.read(Kind::EndpointSlice) else { panic!("no slice") };
    read.spec.clone()
}

#[test]
fn of_a_slice_is_kept_how_the_best_endpoint_here_and_anywhere_serves() {
    use Serving::{No, Ready, Terminating};
    let on = |node: &str, conditions: Value| json!({ "nodeName": node, "conditions": conditions });
    let ending = || json!({ "ready": false, "serving": true, "terminating": true });
    let cases = [
        (json!([on("a", json!({}))]), (Ready, Ready)),
        (json!([on("b", json!({ "ready": true })), on("a", ending())]), (Terminating, Ready)),
        (json!([on("a", json!({ "ready": false, "serving": false, "terminating": true }))]), (No, No)),
        (json!([on("a", json!({ "ready": false }))]), (No, No)),
        (json!([{ "conditions": { "ready": true } }]), (No, Ready)),
        (Value::Null, (No, No)),
    ];
    for (endpoints, (here, anywhere)) in cases {
        let kept = slice("IPv6", &endpoints);
        assert_eq!((kept.here, kept.anywhere), (here, anywhere), "{endpoints}");
        assert_eq!((kept.service.as_str(), kept.ipv6), ("x/web", true));
    }
    let named = slice("FQDN", &json!([on("a", json!({}))]));
    assert_eq!((named.here, named.ipv6), (No, false), "names are nothing to kube-proxy");
}

#[test]
fn services_are_named_on_the_server_as_long_as_that_is_not_too_long() {
    let names = |n: usize| (0..n).map(|i| format!("ns/service-{i}")).collect::<BTreeSet<_>>();
    let two = selector(&["b/web".to_owned(), "a/web".to_owned(), "a/dns".to_owned()].into());
    assert_eq!(two.unwrap(), "kubernetes.io%2Fservice-name%20in%20(dns%2Cweb)");
    assert!(selector(&names(100)).is_some());
    assert_eq!(selector(&names(10_000)), None);
}
