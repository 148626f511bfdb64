use corduroy_kernel::nft::L4;

use super::*;

fn read(text: &str) -> Result<Config, String> {
    Config::read(Path::new("agent.yaml"), text, "Host-1").map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_means_every_default() {
    let config = read("# nothing\n").unwrap();
    assert_eq!(config.node, "host-1");
    assert_eq!(config.address, Address { v4: Wanted::Auto, v6: Wanted::Auto });
    assert_eq!(config.datastore, Store::File("/etc/corduroy/datastore".into()));
    assert_eq!(config.run("cni.sock"), Path::new("/run/corduroy/cni.sock"));
    assert_eq!(config.metrics, Some("127.0.0.1:9469".parse().unwrap()));
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.failsafe, Failsafe::default());
    assert_eq!(config.log, "info");
}

#[test]
fn everything_that_can_be_said_is_understood() {
    let config = read(
        "nodeName: n1\n\
         address: {v4: 192.0.2.1/24, v6: interface=eth0}\n\
         node: {labels: {rack: a}, asNumber: 64600, routeReflectorClusterID: 244.0.0.1}\n\
         datastore: {file: {path: /tmp/store}}\n\
         runDir: /tmp/run\n\
         stateDir: /tmp/state\n\
         metrics: {listen: none}\n\
         bgp: {listen: [192.0.2.1], multipath: 4, selectionDeferral: 10s, protected: [10.96.0.0/12]}\n\
         policy: {failsafeInboundHostPorts: [{protocol: TCP, port: 22}, {protocol: udp, port: 68, net: 10.0.0.0/8}],\n\
         \x20 failsafeOutboundHostPorts: []}\n\
         auditInterval: 30s\n\
         log: debug\n",
    )
    .unwrap();
    let inbound =
        config.failsafe.inbound.iter().map(|it| (it.l4, it.port, it.net.map(|net| net.to_string())));
    let expected = vec![(L4::Tcp, 22, None), (L4::Udp, 68, Some("10.0.0.0/8".to_owned()))];
    assert_eq!(inbound.collect::<Vec<_>>(), expected);
    assert!(config.failsafe.outbound.is_empty(), "none is another thing than not saying anything");
    assert_eq!(config.address.v4, Wanted::Is("192.0.2.1".parse().unwrap(), Some(24)));
    assert_eq!(config.address.v6, Wanted::Interface(LinkName::new("eth0").unwrap()));
    assert_eq!(config.declared.labels["rack"], "a");
    assert_eq!(config.declared.route_reflector_cluster_id, Some("244.0.0.1".parse().unwrap()));
    assert_eq!(config.metrics, None);
    assert_eq!((config.peering.multipath, config.audit), (4, Duration::from_secs(30)));
    assert_eq!(config.peering.protected, ["10.96.0.0/12".parse().unwrap()]);
}

#[test]
fn everything_that_is_wrong_is_named_at_once_with_field_value_and_what_is_allowed() {
    let error = read(
        "nodeName: N_1\n\
         address: {v4: 300.0.0.1, v6: 192.0.2.1}\n\
         node: {asNumber: 0, routeReflectorClusterID: 0.0.0.0}\n\
         datastore: {file: {path: store}}\n\
         runDirectory: /run\n\
         metrics: {listen: 9469}\n\
         bgp: {listen: [eth0], multipath: 65, protected: [10.0.0.1/8]}\n\
         policy: {failsafeInboundHostPorts: [{protocol: ICMP, port: 0, net: 10.0.0.1/8}, {}]}\n\
         auditInterval: 1s\n\
         log: \"a=b=c\"\n",
    )
    .unwrap_err();
    for wanted in [
        "policy.failsafeInboundHostPorts[0].protocol: \"ICMP\" is not allowed: TCP or UDP",
        "policy.failsafeInboundHostPorts[0].port: 0 is not allowed: a whole number from 1 to 65535",
        "policy.failsafeInboundHostPorts[0].net: \"10.0.0.1/8\" is not allowed: a prefix",
        "policy.failsafeInboundHostPorts[1].protocol: missing: TCP or UDP",
        "policy.failsafeInboundHostPorts[1].port: missing: a whole number",
        "nodeName: \"N_1\" is not allowed: at most 253",
        "address.v4: \"300.0.0.1\" is not allowed: auto, none, interface=NAME",
        "address.v6: \"192.0.2.1\" is not allowed",
        "node.asNumber: \"0\" is not allowed: an AS number",
        "node.routeReflectorClusterID: \"0.0.0.0\" is not allowed",
        "datastore.file.path: \"store\" is not allowed: an absolute path",
        "runDirectory: \"/run\" is not allowed: no such field",
        "metrics.listen: 9469 is not allowed: text",
        "bgp.listen[0]: \"eth0\" is not allowed: an address of this host",
        "bgp.multipath: 65 is not allowed: a whole number from 1 to 64",
        "bgp.protected[0]: \"10.0.0.1/8\" is not allowed: a prefix",
        "auditInterval: \"1s\" is not allowed: a duration",
        "log: \"a=b=c\" is not allowed: a filter",
    ] {
        assert!(error.contains(wanted), "{wanted:?} is not in {error}");
    }
}

#[test]
fn what_is_no_yaml_is_said_with_its_line() {
    let error = read("nodeName: n1\naddress: {v4: \n").unwrap_err();
    assert!(error.starts_with("configuration agent.yaml: line "), "{error}");
    let error = read("nodeName: a\n---\nnodeName: b\n").unwrap_err();
    assert!(error.contains("2 documents in it, one is allowed"), "{error}");
    let error = Config::load(Path::new("/nowhere/agent.yaml"), "h").unwrap_err().to_string();
    assert!(error.contains("/nowhere/agent.yaml: No such file"), "{error}");
}

#[test]
fn blocks_are_claimed_or_given_by_a_cluster() {
    let given = |text: &str| read(text).map(|config| config.declared.given);
    assert_eq!(given("datastore: {kubernetes: {}}\n"), Ok(false));
    assert_eq!(given("datastore: {kubernetes: {}}\nipam: {blocks: podCIDRs}\n"), Ok(true));
    let files = given("ipam: {blocks: podCIDRs}\n").unwrap_err();
    assert!(files.contains("ipam.blocks: \"podCIDRs\" is not allowed: pools where there is no"), "{files}");
    let other = given("ipam: {blocks: host-local}\n").unwrap_err();
    assert!(other.contains("ipam.blocks: \"host-local\" is not allowed: one of pools, podCIDRs"), "{other}");
}

#[test]
fn a_cluster_is_one_datastore_and_files_are_another() {
    let store = |text: &str| read(text).map(|config| config.datastore);
    assert_eq!(store("datastore: {kubernetes: {}}\n"), Ok(Store::Kubernetes(ClusterStore::default())));
    let outside = store("datastore: {kubernetes: {kubeconfig: /etc/corduroy/kubeconfig}}\n");
    let kubeconfig = Some("/etc/corduroy/kubeconfig".into());
    let duties = crate::caretaker::Duties::default();
    assert_eq!(outside, Ok(Store::Kubernetes(ClusterStore { kubeconfig, duties })));
    let both = store("datastore: {kubernetes: {}, file: {path: /a}}\n").unwrap_err();
    assert!(
        both.contains("datastore.kubernetes: \"set beside file\" is not allowed: one datastore"),
        "{both}"
    );
    let etcd =
        store("datastore: {etcd: {endpoints: ['https://192.0.2.1:2379'], prefix: /fabric}}\n").unwrap();
    assert!(matches!(etcd, Store::Etcd(access) if access.prefix == "/fabric"));
    for beside in ["file: {path: /a}", "kubernetes: {}"] {
        let text = format!("datastore: {{etcd: {{endpoints: ['http://a:1']}}, {beside}}}\n");
        let refused = store(&text).unwrap_err();
        assert!(
            refused.contains("datastore.etcd: \"set beside another\" is not allowed: one datastore"),
            "{refused}"
        );
    }
    let relative = store("datastore: {kubernetes: {kubeconfig: config}}\n").unwrap_err();
    assert!(relative.contains("datastore.kubernetes.kubeconfig: \"config\" is not allowed"), "{relative}");
}

#[test]
fn a_caretaker_is_told_how_to_behave_in_time_and_in_pools() {
    let duties = |text: &str| {
        read(&format!("datastore: {{kubernetes: {{{text}}}}}\n")).map(|config| match config.datastore {
            Store::Kubernetes(store) => store.duties,
            other => panic!("{other:?}"),
        })
    };
    let told = duties("caretaker: {enabled: false, lease: 3s, interval: 1s, patience: 2m}, defaultPools: []");
    let told = told.unwrap();
    assert!(!told.settings.enabled);
    let times = [told.settings.term, told.settings.interval, told.settings.patience];
    assert_eq!(times.map(|time| time.as_secs()), [3, 1, 120]);
    assert_eq!(told.default_pools, Some(Vec::new()));
    let pools = duties("defaultPools: [10.244.0.0/16, 'fd00::/56']").unwrap().default_pools.unwrap();
    assert_eq!(pools.len(), 2);
    for (text, field) in [
        ("caretaker: {lease: 1s}", "datastore.kubernetes.caretaker.lease"),
        ("caretaker: {patience: never}", "datastore.kubernetes.caretaker.patience"),
        ("caretaker: {eager: true}", "datastore.kubernetes.caretaker.eager"),
        ("defaultPools: [10.244.0.1/16]", "datastore.kubernetes.defaultPools[0]"),
        ("defaultPools: [10.1.0.0/16, 10.2.0.0/16]", "datastore.kubernetes.defaultPools[1]"),
    ] {
        let refused = duties(text).unwrap_err();
        assert!(refused.contains(field), "{text}: {refused}");
    }
}
