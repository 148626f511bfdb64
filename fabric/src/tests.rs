//! The Model, who owns what, what is announced and what is wrapped.

use corduroy_api::{Event, Key, Kind, Rejection, Resource, Source, Why, yaml};

use crate::{Changed, Encap, Model, Sync, blocks, encapsulation, originate};

/// A model of these YAML documents; what is refused fails the test with the reasons.
pub(crate) fn model(documents: &str) -> Model {
    let mut model = Model::default();
    for document in yaml::documents(documents) {
        let value = document.parse().unwrap();
        model.apply(Event::Put(Resource::read(&value).unwrap()));
    }
    model
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    let api = "apiVersion: corduroy.dev/v1alpha1";
    format!(
        "---\n{api}\nkind: {kind}\nmetadata: {{name: {name}, labels: {{name: {name}}}}}\nspec: {{{spec}}}\n"
    )
}

fn pool(name: &str, spec: &str) -> String {
    document("IPPool", name, spec)
}

fn node(name: &str, spec: &str) -> String {
    document("FabricNode", name, spec)
}

fn block(name: &str, cidr: &str, node: &str, uid: &str) -> String {
    document("IPAMBlock", name, &format!("cidr: {cidr}, node: {node}, nodeUID: {uid}, epoch: 1"))
}

#[test]
fn an_event_says_what_it_changed_and_nothing_when_nothing_did() {
    let mut model = Model::default();
    let text = pool("p", "cidr: 10.0.0.0/16");
    let resource = Resource::read(&yaml::documents(&text)[0].parse().unwrap()).unwrap();
    let key = Key::new(Kind::IpPool, "p");
    assert_eq!(model.apply(Event::Put(resource.clone())), Changed::Resource(key.clone()));
    assert_eq!(model.apply(Event::Put(resource)), Changed::Nothing);
    let live = Event::InSync { kind: Kind::IpPool, from: Source::Live };
    assert!(!model.ready(&[Kind::IpPool]));
    assert_eq!(model.apply(live.clone()), Changed::Sync(Kind::IpPool));
    assert_eq!(model.apply(live), Changed::Nothing);
    assert!(model.ready(&[Kind::IpPool]));
    let away = Event::Unavailable { kind: Kind::IpPool, why: "no permission".to_owned() };
    assert_eq!(model.apply(away), Changed::Sync(Kind::IpPool));
    assert_eq!(model.sync(Kind::IpPool), &Sync::Unavailable("no permission".to_owned()));
    assert!(
        model.ready(&[Kind::IpPool]) && model.pools().len() == 1,
        "what was known stays and holds nobody up"
    );
    let rejection = Rejection { key: None, line: Some(3), why: Why::Syntax("?".to_owned()) };
    let rejected = |rejections| Event::Rejected { source: "f.yaml".to_owned(), rejections };
    let changed = Changed::Rejections("f.yaml".to_owned());
    assert_eq!(model.apply(rejected(vec![rejection.clone()])), changed);
    assert_eq!(model.apply(rejected(vec![rejection])), Changed::Nothing);
    assert_eq!(model.apply(rejected(vec![])), changed);
    assert_eq!(model.apply(rejected(vec![])), Changed::Nothing);
    assert_eq!(model.apply(Event::Gone(key.clone())), Changed::Resource(key.clone()));
    assert_eq!(model.apply(Event::Gone(key)), Changed::Nothing);
}

#[test]
fn a_machine_made_anew_under_an_old_name_inherits_no_block() {
    let model = model(
        &(block("10-0-0-0-26", "10.0.0.0/26", "a", "old")
            + &block("10-0-0-64-26", "10.0.0.64/26", "a", "new")),
    );
    let owned: Vec<_> = blocks::owned_by(&model, "a", "new").map(|cidr| cidr.to_string()).collect();
    assert_eq!(owned, ["10.0.0.64/26"]);
    assert!(blocks::block_of(&model, "10.0.0.1".parse().unwrap()).is_some(), "nobody else owns it either");
}

#[test]
fn a_fixed_address_is_of_the_node_that_claimed_it_and_no_clash_with_the_block_around() {
    let node = |name: &str, cidrs: &str| {
        format!(
            "---\napiVersion: corduroy.dev/v1alpha1\nkind: FabricNode\nmetadata: {{name: {name}}}\n\
             spec: {{uid: u-{name}, addresses: [192.0.2.1/24]{cidrs}}}\n"
        )
    };
    let model = model(
        &(pool("p", "cidr: 10.0.0.0/16")
            + &block("10-0-0-0-26", "10.0.0.0/26", "a", "u-a")
            + &block("10-0-0-5-32", "10.0.0.5/32", "b", "u-b")
            + &node("a", "")
            + &node("c", ", podCIDRs: [10.1.0.0/24]")),
    );
    let owner = |address: &str| blocks::block_of(&model, address.parse().unwrap()).map(|(_, node)| node);
    assert_eq!([owner("10.0.0.4"), owner("10.0.0.5")], [Some("a"), Some("b")]);
    assert_eq!([owner("10.1.0.1"), owner("10.2.0.1")], [Some("c"), None]);
    let lent = |name: &str| blocks::claimed_from(&model, &model.nodes()[name]).map(|c| c.to_string());
    assert_eq!(lent("a").collect::<Vec<_>>(), ["10.0.0.5/32"]);
    assert_eq!(blocks::problems(&model), []);
    assert_eq!(blocks::capacity(&model, &model.pools()["p"]).claimed, 1);
    let given: Vec<_> = blocks::owned_by(&model, "c", "u-c").map(|c| c.to_string()).collect();
    assert_eq!(given, ["10.1.0.0/24"]);
    assert_eq!(blocks::owned_by(&model, "c", "another").count(), 0);
}

#[test]
fn of_pools_that_overlap_only_the_first_is_in_force_and_the_other_is_named() {
    let model = model(
        &(pool("a", "cidr: 10.0.0.0/16")
            + &pool("b", "cidr: 10.0.128.0/17")
            + &pool("c", "cidr: 10.1.0.0/16")),
    );
    let names: Vec<_> = blocks::pools_in_force(&model).iter().map(|p| p.metadata.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(blocks::pool_of(&model, "10.0.200.1".parse().unwrap()).unwrap().metadata.name, "a");
    let problems: Vec<_> = blocks::problems(&model).iter().map(ToString::to_string).collect();
    let why = "10.0.128.0/17 overlaps 10.0.0.0/16 of IPPool/a, which is in force; nothing new is claimed from \
               this pool";
    assert_eq!(problems, [format!("IPPool/b: spec.cidr: {why}")]);
}

#[test]
fn blocks_that_overlap_are_named() {
    let two = block("10-0-0-0-25", "10.0.0.0/25", "a", "u") + &block("10-0-0-0-26", "10.0.0.0/26", "b", "v");
    let problems: Vec<_> = blocks::problems(&model(&two)).iter().map(ToString::to_string).collect();
    let why = "10.0.0.0/26 overlaps IPAMBlock/10-0-0-0-25 of node a";
    assert_eq!(problems, [format!("IPAMBlock/10-0-0-0-26: spec.cidr: {why}")]);
    let more =
        [("10-0-0-64-27", "10.0.0.64/27"), ("10-0-0-0-20", "10.0.0.0/20"), ("10-0-0-9-32", "10.0.0.9/32")];
    let many = more.iter().fold(two, |text, (name, cidr)| text + &block(name, cidr, "c", "w"));
    let named: Vec<_> = blocks::problems(&model(&many)).iter().map(ToString::to_string).collect();
    let says = |name: &str, cidr: &str| {
        format!("IPAMBlock/{name}: spec.cidr: {cidr} overlaps IPAMBlock/10-0-0-0-20 of node c")
    };
    let expected =
        [("10-0-0-0-25", "10.0.0.0/25"), ("10-0-0-0-26", "10.0.0.0/26"), ("10-0-0-64-27", "10.0.0.64/27")];
    assert_eq!(named, expected.map(|(name, cidr)| says(name, cidr)), "the first by name is the one named");
}

#[test]
fn every_block_of_a_pool_is_found_once_and_nodes_begin_at_different_ones() {
    let mut text = pool("p", "cidr: 10.0.0.0/24");
    let mut found = std::collections::BTreeSet::new();
    for i in 0..4 {
        let model = model(&text);
        let free = blocks::unclaimed(&model, &model.pools()["p"], "node-a").unwrap();
        assert!(found.insert(free), "{free} was found twice");
        text += &block(&corduroy_api::block::block_name(free), &free.to_string(), "n", &format!("u{i}"));
    }
    let full = model(&text);
    assert_eq!(blocks::unclaimed(&full, &full.pools()["p"], "node-a"), None);
    assert_eq!(
        blocks::capacity(&full, &full.pools()["p"]),
        blocks::Capacity { addresses: 256, blocks: 4, claimed: 4 }
    );
    let wide = model(&pool("p", "cidr: 10.0.0.0/8"));
    let starts: std::collections::BTreeSet<_> =
        (0..100).filter_map(|i| blocks::unclaimed(&wide, &wide.pools()["p"], &format!("node-{i}"))).collect();
    assert!(starts.len() > 95, "{} different blocks for 100 nodes", starts.len());
}

#[test]
fn a_claim_of_another_size_is_in_the_way_of_the_blocks_it_overlaps() {
    let text = pool("p", "cidr: 10.0.0.0/24, blockSize: 26") + &block("10-0-0-0-25", "10.0.0.0/25", "n", "u");
    let model = model(&text);
    let free = blocks::unclaimed(&model, &model.pools()["p"], "any").unwrap();
    assert!(["10.0.0.128/26", "10.0.0.192/26"].contains(&free.to_string().as_str()), "{free}");
}

#[test]
fn a_node_may_claim_where_it_is_chosen_and_the_pool_is_open() {
    let text = node("a", "addresses: [192.0.2.1/24]")
        + &pool("open", "cidr: 10.0.0.0/16")
        + &pool("other", "cidr: 10.1.0.0/16, nodeSelector: name == 'b'")
        + &pool("shut", "cidr: 10.2.0.0/16, disabled: true");
    let model = model(&text);
    let may = |pool: &str| blocks::may_claim(&model, &model.pools()[pool], "a");
    assert_eq!([may("open"), may("other"), may("shut")], [true, false, false]);
    assert!(!blocks::may_claim(&model, &model.pools()["open"], "stranger"));
}

#[test]
fn a_node_announces_its_own_blocks_with_the_communities_of_the_narrowest_entry() {
    let advertise = "prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: ['1:1']}, \
                     {cidr: 10.0.0.0/16, communities: ['1:2', '1:2:3']}]";
    let text = node("a", "uid: u, addresses: [192.0.2.1/24]")
        + &pool("open", "cidr: 10.0.0.0/16")
        + &pool("quiet", "cidr: 10.1.0.0/16, disableBGPExport: true")
        + &block("10-0-0-0-26", "10.0.0.0/26", "a", "u")
        + &block("10-1-0-0-26", "10.1.0.0/26", "a", "u")
        + &block("10-2-0-0-26", "10.2.0.0/26", "a", "u")
        + &block("10-0-0-64-26", "10.0.0.64/26", "b", "v");
    let plain = model(&text);
    let nets = |model: &Model| {
        originate::originations(model, "a").keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(nets(&plain), ["10.0.0.0/26", "10.2.0.0/26"]);
    assert!(originate::originations(&plain, "stranger").is_empty());
    let tagged = model(&(text.clone() + &document("BGPConfiguration", "default", advertise)));
    let routes: Vec<_> = originate::originations(&tagged, "a").into_values().collect();
    assert_eq!(
        (routes[0].communities.as_slice(), routes[0].large_communities.as_slice()),
        (&[0x1_0002][..], &[[1, 2, 3]][..])
    );
    assert_eq!((routes[1].communities.as_slice(), routes[1].large_communities.len()), (&[0x1_0001][..], 0));
    let own = "prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: ['9:9']}]";
    let own = model(
        &(text
            + &document("BGPConfiguration", "default", advertise)
            + &document("BGPConfiguration", "node.a", own)),
    );
    assert!(originate::originations(&own, "a").values().all(|route| route.communities == [0x9_0009]));
}

#[test]
fn encapsulation_is_the_same_from_both_ends_whatever_they_declare() {
    let tunnels = [
        "",
        ", tunnels: {ipip: {address: 10.9.0.1}}",
        ", tunnels: {vxlan: {address: 10.9.0.2, mac: '66:00:00:00:00:01'}}",
        ", tunnels: {vxlan: {addressV6: 'fd09::2', macV6: '66:00:00:00:00:01'}}",
    ];
    let addresses =
        ["192.0.2.1/24", "192.0.2.2/25", "192.0.2.200/24", "198.51.100.1/24", "192.0.2.3/32", "'fd00::1/64'"];
    let mut text = String::new();
    for (i, address) in addresses.iter().enumerate() {
        for (j, tunnel) in tunnels.iter().enumerate() {
            text += &node(&format!("n{i}-{j}"), &format!("addresses: [{address}]{tunnel}"));
        }
    }
    for (i, (family, cidr)) in [("v4", "10.0.0.0/16"), ("v6", "'fd10::/64'")].into_iter().enumerate() {
        for mode in ["Always", "CrossSubnet"] {
            let lower = mode.to_lowercase();
            text += &pool(&format!("vxlan-{family}-{lower}"), &format!("cidr: {cidr}, vxlanMode: {mode}"));
            if i == 0 {
                text += &pool(&format!("ipip-{lower}"), &format!("cidr: {cidr}, ipipMode: {mode}"));
            }
        }
    }
    let model = model(&text);
    let mut seen = std::collections::BTreeSet::new();
    for pool in model.pools().values() {
        for one in model.nodes().values() {
            for other in model.nodes().values() {
                let there = encapsulation(pool, one, other);
                assert_eq!(there, encapsulation(pool, other, one), "{one:?} {other:?} {pool:?}");
                seen.insert(there);
            }
        }
    }
    assert_eq!(seen.len(), 3, "none, ipip and vxlan all occur");
    let answer = |pool: &str, one: &str, other: &str| {
        encapsulation(&model.pools()[pool], &model.nodes()[one], &model.nodes()[other])
    };
    assert_eq!(answer("ipip-crosssubnet", "n0-1", "n2-1"), Encap::None, "one subnet");
    assert_eq!(answer("ipip-crosssubnet", "n1-1", "n2-1"), Encap::Ipip, "one of them does not think so");
    assert_eq!(answer("ipip-crosssubnet", "n0-1", "n3-1"), Encap::Ipip);
    assert_eq!(answer("ipip-always", "n0-1", "n2-1"), Encap::Ipip);
    assert_eq!(answer("ipip-always", "n0-1", "n2-2"), Encap::None, "the other does not terminate it");
    assert_eq!(answer("vxlan-v6-always", "n0-3", "n5-3"), Encap::Vxlan);
    assert_eq!(answer("vxlan-v6-always", "n0-3", "n5-2"), Encap::None);
}
