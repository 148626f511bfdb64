use std::collections::BTreeMap;

use corduroy_api::{Event, Invalid, Rejection, Secret, SecretValue, Source, Why};

use super::*;
use crate::tests::model;

const API: &str = "apiVersion: corduroy.dev/v1alpha1";

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\n{API}\nkind: {kind}\nmetadata: {{name: {name}, labels: {{name: {name}}}}}\nspec: {{{spec}}}\n"
    )
}

fn peer(name: &str, spec: &str) -> String {
    document("BGPPeer", name, spec)
}

/// a and b have both families, c has IPv4 only.
fn three() -> String {
    document("FabricNode", "a", "addresses: [192.0.2.1/24, '2001:db8::1/64']")
        + &document("FabricNode", "b", "addresses: [192.0.2.2/24, '2001:db8::2/64'], asNumber: 65002")
        + &document("FabricNode", "c", "addresses: [198.51.100.3/24]")
}

fn all(model: &Model) -> BTreeMap<String, String> {
    let shown = |(key, standing): (Key, Standing)| {
        (key.to_string(), format!("{}: {}", standing.reason.name(), standing.why))
    };
    standings(model).into_iter().map(shown).collect()
}

/// How one BGPPeer stands beside others, with everything there that can be had.
#[track_caller]
fn stands(documents: &str, name: &str, wanted: &str) {
    let mut model = model(&(three() + documents));
    model.apply(Event::InSync { kind: Kind::Secret, from: Source::Live });
    let all = all(&model);
    let said = &all[&format!("BGPPeer/{name}")];
    assert!(said.starts_with(wanted), "{said}\nis not\n{wanted}");
}

#[test]
fn a_peering_by_address_names_the_field_that_leads_nowhere() {
    let one = |spec: &str, wanted: &str| stands(&peer("p", spec), "p", wanted);
    one("peerIP: 192.0.2.250, asNumber: 65001", "InForce: its sessions");
    one("peerIP: 192.0.2.250", "NoAS: spec.asNumber: missing: 192.0.2.250 is no FabricNode's address");
    one("peerIP: 192.0.2.2", "InForce: ");
    one(
        "peerIP: 192.0.2.2, asNumber: 65001",
        "WrongAS: spec.asNumber: 192.0.2.2 is FabricNode/b, whose AS is 65002",
    );
    one("node: b, peerIP: 192.0.2.2", "OwnAddress: spec.peerIP: 192.0.2.2 is an address of the only node");
    one("node: z, peerIP: 192.0.2.2", "NoNode: spec.node: there is no FabricNode z");
    one("nodeSelector: has(rack), peerIP: 192.0.2.2", "NoNode: spec.nodeSelector: has(rack) chooses no node");
    one("peerIP: 'fe80::1', asNumber: 65001", "Unreachable: spec.peerIP: fe80::1 is link-local");
    one("node: c, peerIP: '2001:db8::250', asNumber: 65001", "Unreachable: spec.peerIP: 2001:db8::250");
    let part =
        "InForceInPart: spec.peerIP: 1 of 3 nodes have no IPv6 address to reach 2001:db8::250 from (c)";
    one("peerIP: '2001:db8::250', asNumber: 65001", part);
    one("peerIP: '2001:db8::250', asNumber: 65001, sourceAddress: None", "InForce: ");
}

#[test]
fn a_peering_by_selector_names_the_field_that_leads_nowhere() {
    let one = |spec: &str, wanted: &str| stands(&peer("p", spec), "p", wanted);
    one("peerSelector: name == 'b'", "InForce: ");
    one("peerSelector: has(rr)", "NoNeighbour: spec.peerSelector: has(rr) chooses no node");
    one("node: a, peerSelector: name == 'a'", "NoNeighbour: ");
    let six = document("FabricNode", "s", "addresses: ['2001:db8::9/64']");
    stands(&(six + &peer("p", "node: c, peerSelector: name == 's'")), "p", "Unreachable: spec.peerSelector");
}

#[test]
fn everything_that_is_wrong_is_told_and_what_is_worst_is_the_reason() {
    let bad = peer("p", "peerIP: '2001:db8::250', asNumber: 65001, filters: [f, g]");
    let said = "NoFilter: spec.filters[1]: there is no BGPFilter/g; until there is, no route passes its sessions; \
                spec.peerIP: 1 of 3 nodes";
    stands(&(bad + &document("BGPFilter", "f", "importV4: [{action: Reject}]")), "p", said);
}

#[test]
fn of_two_peerings_for_one_session_the_later_is_told_of_the_other_unless_both_want_the_same() {
    let tor = |name: &str, more: &str| peer(name, &format!("peerIP: 192.0.2.250, asNumber: 65001{more}"));
    let two = |more: &str| tor("p", "") + &tor("q", more);
    stands(&two(""), "q", "InForce: ");
    stands(&two(", passive: true"), "q", "AnotherPeer: spec.peerIP: BGPPeer/p means 192.0.2.250 too");
    stands(&two(", passive: true"), "p", "InForce: ");
    let one_node = tor("p", ", node: a") + &tor("q", ", passive: true");
    stands(&one_node, "q", "InForceInPart: spec.peerIP: on 1 of 3 nodes BGPPeer/p");
    // An address may be a node's that another one selects.
    let both =
        peer("p", "peerIP: 192.0.2.2") + &peer("q", "peerSelector: name == 'b', passive: true, node: c");
    stands(&both, "q", "AnotherPeer: spec.peerSelector: BGPPeer/p");
    let families = peer("p", "peerIP: 192.0.2.2") + &peer("q", "peerSelector: name == 'b', passive: true");
    stands(&families, "q", "InForce: ");
    // What has no session itself shapes none.
    let dead = tor("p", ", password: {secretKeyRef: {name: bgp, key: tor}}");
    stands(&(dead + &tor("q", "")), "q", "InForce: ");
}

#[test]
fn a_password_is_missed_only_by_who_can_read_passwords() {
    let spec = "peerIP: 192.0.2.250, asNumber: 65001, password: {secretKeyRef: {name: bgp, key: tor}}";
    let mesh =
        document("BGPConfiguration", "default", "nodeMeshPassword: {secretKeyRef: {name: bgp, key: mesh}}");
    let mut model = model(&(three() + &peer("p", spec) + &mesh));
    assert!(all(&model)["BGPPeer/p"].starts_with("SecretsUnavailable: "), "not before they were read");
    model.apply(Event::Unavailable { kind: Kind::Secret, why: "forbidden".to_owned() });
    let said = "SecretsUnavailable: spec.password.secretKeyRef: whether there is a secret bgp can't be told: forbidden";
    assert_eq!(all(&model)["BGPPeer/p"], said);
    model.apply(Event::InSync { kind: Kind::Secret, from: Source::Live });
    let said = all(&model);
    let missing = "NoPassword: spec.password.secretKeyRef: there is no secret bgp with a key tor";
    assert!(said["BGPPeer/p"].starts_with(missing), "{said:?}");
    let missing = "NoPassword: spec.nodeMeshPassword.secretKeyRef: there is no secret bgp with a key mesh";
    assert!(said["BGPConfiguration/default"].starts_with(missing), "{said:?}");
    let keys =
        [("tor", "x"), ("mesh", "")].map(|(key, value)| (key.to_owned(), SecretValue::new(value.as_bytes())));
    let secret = Secret::new("bgp", keys.into()).unwrap();
    model.apply(Event::Put(corduroy_api::Resource::Secret(std::sync::Arc::new(secret))));
    assert!(all(&model)["BGPPeer/p"].starts_with("InForce: "));
    assert!(all(&model)["BGPConfiguration/default"].contains("must be 1 to 80 bytes"));
}

#[test]
fn pools_reservations_settings_and_filters_say_how_they_stand() {
    let all = all(&model(
        &(three()
            + &document("IPPool", "a", "cidr: 10.0.0.0/16")
            + &document("IPPool", "b", "cidr: 10.0.1.0/24")
            + &document("IPPool", "c", "cidr: 10.1.0.0/16, nodeSelector: has(gpu)")
            + &document("IPPool", "d", "cidr: 10.2.0.0/16, nodeSelector: has(gpu), disabled: true")
            + &document("IPReservation", "in", "reservedCIDRs: [10.0.0.0/30]")
            + &document("IPReservation", "out", "reservedCIDRs: [10.0.0.0/30, 10.9.0.0/30]")
            + &document("BGPConfiguration", "default", "serviceClusterIPs: [{cidr: 10.1.0.0/24}]")
            + &document("BGPConfiguration", "node.a", "listenPort: 1179")
            + &document("BGPConfiguration", "node.z", "listenPort: 1179")
            + &document("BGPFilter", "f", "importV4: [{action: Reject}]")),
    ));
    for (key, wanted) in [
        ("IPPool/a", "InForce: "),
        ("IPPool/b", "Overlapping: spec.cidr: 10.0.1.0/24 overlaps 10.0.0.0/16 of IPPool/a"),
        ("IPPool/c", "NoNode: spec.nodeSelector: has(gpu) chooses no node"),
        ("IPPool/d", "Disabled: "),
        ("IPReservation/in", "InForce: "),
        ("IPReservation/out", "OutsidePools: spec.reservedCIDRs[1]: 10.9.0.0/30 is in no IPPool"),
        (
            "BGPConfiguration/default",
            "Overlapping: spec.serviceClusterIPs[0].cidr: 10.1.0.0/24 overlaps IPPool/c",
        ),
        ("BGPConfiguration/node.a", "InForce: "),
        ("BGPConfiguration/node.z", "NoNode: metadata.name: there is no FabricNode z"),
        ("BGPFilter/f", "NotReferred: "),
    ] {
        assert!(all[key].starts_with(wanted), "{key}: {}", all[key]);
    }
    assert_eq!(all.len(), 10, "nothing is said of nodes");
}

#[test]
fn a_policy_says_what_is_broken_and_when_its_tier_is_not_there() {
    let rule = "ingress: [{action: Allow, protocol: Nonsense}]";
    let all = all(&model(
        &(three()
            + &document("Tier", "ops", "order: 5")
            + &document("GlobalNetworkPolicy", "fine", "tier: ops, selector: has(app)")
            + &document("GlobalNetworkPolicy", "kube", "tier: kube-baseline")
            + &document("NetworkPolicy", "lost", "tier: none")
            + &document("NetworkPolicy", "broken", rule)
            + &document("GlobalNetworkSet", "s", "nets: [192.0.2.0/24]")
            + &document("HostEndpoint", "a", "node: a, interfaceName: '*'")
            + &document("HostEndpoint", "z", "node: z, interfaceName: '*'")),
    ));
    for (key, wanted) in [
        ("Tier/ops", "InForce: "),
        ("GlobalNetworkPolicy/fine", "InForce: "),
        ("GlobalNetworkPolicy/kube", "InForce: "),
        ("NetworkPolicy/default/lost", "NoTier: spec.tier: there is no Tier none; "),
        ("NetworkPolicy/default/broken", "Invalid: spec.ingress[0].protocol: \"Nonsense\" is not allowed: "),
        ("GlobalNetworkSet/s", "InForce: "),
        ("HostEndpoint/a", "InForce: "),
        ("HostEndpoint/z", "NoNode: spec.node: there is no FabricNode z"),
    ] {
        assert!(all[key].starts_with(wanted), "{key}: {}", all[key]);
    }
    let broken = &all["NetworkPolicy/default/broken"];
    assert!(
        broken.ends_with("until that is mended it denies what it selects, in every direction it has"),
        "{broken}"
    );
}

#[test]
fn what_our_own_check_refuses_says_so_and_what_holds_instead() {
    let mut model = model(&(three() + &peer("p", "peerIP: 192.0.2.250, asNumber: 65001")));
    for name in ["p", "q"] {
        let key = Key::new(Kind::BgpPeer, name);
        let field = corduroy_api::FieldPath(vec!["spec".into(), "holdTime".into()]);
        let why =
            Why::Invalid(Invalid { field, value: Some("1s".to_owned()), allowed: "0s or 3s".to_owned() });
        let rejections = vec![Rejection { key: Some(key.clone()), line: None, why }];
        model.apply(Event::Rejected { source: key.to_string(), rejections });
    }
    let all = all(&model);
    let said = "Invalid: spec.holdTime: 1s is not allowed: 0s or 3s; ";
    assert_eq!(all["BGPPeer/p"], format!("{said}what it said before stays in force"));
    assert_eq!(all["BGPPeer/q"], format!("{said}it has no effect"));
}

#[test]
fn a_part_of_a_model_is_what_is_known_of_these_kinds() {
    let model = model(&(three() + &peer("p", "peerIP: 192.0.2.250, asNumber: 65001")));
    let part = model.part(&[Kind::BgpPeer]);
    assert_eq!((part.peers(), part.nodes().len()), (model.peers(), 0));
    assert_eq!(model.part(&[Kind::BgpPeer, Kind::FabricNode]), model);
    assert!(
        model.get(&Key::new(Kind::BgpPeer, "p")).is_some()
            && model.get(&Key::new(Kind::BgpPeer, "q")).is_none()
    );
}

#[test]
fn every_reason_stands_in_the_operators_table_with_what_it_makes_of_a_resource() {
    let page = include_str!("../../../docs/operations.md");
    for reason in Reason::ALL {
        let status = match reason.verdict() {
            Verdict::InForce => "True",
            Verdict::NotInForce => "False",
            Verdict::Unknown => "Unknown",
        };
        let row = format!("| {status} | `{}` |", reason.name());
        assert!(page.contains(&row), "{row} is not in docs/operations.md");
    }
}
