use super::*;
use crate::tests::model;

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: corduroy.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

fn block(name: &str, cidr: &str, node: &str) -> String {
    document("IPAMBlock", name, &format!("cidr: {cidr}, node: {node}, nodeUID: uid-{node}, epoch: 1"))
}

/// Two nodes, a block each, in one pool.
fn cluster() -> String {
    let node = |name: &str, last: u8| {
        let tunnel = format!("tunnels: {{ipip: {{address: 10.0.0.{last}}}}}");
        document("FabricNode", name, &format!("uid: uid-{name}, addresses: [192.0.2.{last}/24], {tunnel}"))
    };
    [
        document("IPPool", "pods", "cidr: 10.0.0.0/16"),
        node("a", 1),
        node("b", 65),
        block("10-0-0-0-26", "10.0.0.0/26", "a"),
        block("10-0-0-64-26", "10.0.0.64/26", "b"),
    ]
    .concat()
}

fn pod(name: &str, node: &str, address: &str) -> PodAddresses {
    let addresses = vec![address.parse().unwrap()];
    PodAddresses { pod: format!("default/{name}"), node: node.to_owned(), addresses }
}

fn allocation(node: &str, address: &str) -> Allocation {
    Allocation { node: node.to_owned(), address: address.parse().unwrap(), holder: "cord0".to_owned() }
}

fn evidence() -> Evidence {
    Evidence {
        nodes: Some([("a", "uid-a"), ("b", "uid-b")].map(|(n, u)| (n.to_owned(), u.to_owned())).into()),
        pods: Some(vec![pod("one", "a", "10.0.0.7"), pod("two", "b", "10.0.0.70")]),
        allocations: vec![allocation("a", "10.0.0.7"), allocation("a", "10.0.0.1")],
    }
}

fn faults(model: &Model, evidence: &Evidence) -> Vec<(Fault, String)> {
    check(model, evidence).into_iter().map(|finding| (finding.fault, finding.subject)).collect()
}

#[test]
fn where_everything_fits_nothing_is_found() {
    let model = model(&cluster());
    assert_eq!(faults(&model, &evidence()), []);
    assert_eq!(faults(&model, &Evidence::default()), [], "without pods and nodes less is looked for");
}

#[test]
fn pods_with_one_address_or_a_wrong_one_come_first() {
    let model = model(&cluster());
    let mut evidence = evidence();
    evidence.pods.as_mut().unwrap().extend([
        pod("twin", "a", "10.0.0.7"),
        pod("astray", "a", "10.0.0.71"),
        pod("lost", "a", "10.0.9.9"),
        pod("elsewhere", "a", "172.16.0.1"),
    ]);
    let found = faults(&model, &evidence);
    let expected = [
        (Fault::DuplicateAddress, "10.0.0.7".to_owned()),
        (Fault::ForeignAddress, "pod default/astray".to_owned()),
        (Fault::AddressOutsideBlocks, "pod default/lost".to_owned()),
    ];
    assert_eq!(found, expected);
    assert!(found.iter().all(|(fault, _)| fault.hurts()));
}

#[test]
fn resources_that_contradict_each_other_are_named() {
    let more = [
        document("IPPool", "second", "cidr: 10.0.128.0/17"),
        block("10-0-0-0-27", "10.0.0.0/27", "a"),
        block("10-9-0-0-26", "10.9.0.0/26", "b"),
    ];
    let found = faults(&model(&(cluster() + &more.concat())), &evidence());
    let expected = [
        (Fault::DuplicateBlock, "IPAMBlock/10-0-0-0-27".to_owned()),
        (Fault::OverlappingPools, "IPPool/second".to_owned()),
        (Fault::BlockOutsidePools, "IPAMBlock/10-9-0-0-26".to_owned()),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_block_is_of_a_node_that_is_there_by_name_and_uid() {
    let model = model(&(cluster() + &block("10-0-1-0-26", "10.0.1.0/26", "c")));
    let gone = |name: &str| (Fault::BlockOfUnknownNode, format!("IPAMBlock/{name}"));
    let mut evidence = evidence();
    assert_eq!(faults(&model, &evidence), [gone("10-0-1-0-26")]);
    evidence.nodes.as_mut().unwrap().insert("b".to_owned(), "another".to_owned());
    assert_eq!(faults(&model, &evidence), [gone("10-0-0-64-26"), gone("10-0-1-0-26")]);
    evidence.nodes = None;
    assert_eq!(faults(&model, &evidence), [gone("10-0-1-0-26")], "FabricNodes tell it less well");
}

#[test]
fn an_address_that_was_handed_out_and_is_nobodys_has_leaked_unless_it_is_a_tunnels() {
    let model = model(&cluster());
    let mut evidence = evidence();
    evidence.allocations.push(allocation("b", "10.0.0.99"));
    let found = check(&model, &evidence);
    assert_eq!(found.len(), 1, "{found:?}");
    let said =
        "LeakedAddress: 10.0.0.99: node b has handed it out to cord0, but no pod of the cluster has it";
    assert_eq!(found[0].to_string(), said);
    assert!(!found[0].fault.hurts());
    evidence.pods = None;
    assert_eq!(faults(&model, &evidence), []);
}
