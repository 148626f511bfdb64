//! Whatever the agent wants of the kernel is read back as what was wanted: if it were not, the agent would write it
//! again for ever.

use std::net::IpAddr;

use corduroy_agent_core::desired::nft as rules;
use corduroy_agent_core::known::Known;
use corduroy_agent_core::me::{Chosen, Me, Membership, TunnelAddresses, Why};
use corduroy_agent_core::pods::Pod;
use corduroy_api::{Event, Resource, yaml};
use corduroy_kernel::nft::{Change, Name, Table};
use corduroy_kernel::{Features, LinkName, Op, Support};

use crate::netns::Netns;
use crate::nft::changes;
use crate::{HOST_MAC, POD_MAC, done, open};

const RESOURCES: &str = r"
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata: {name: v4}
spec: {cidr: 10.64.0.0/10, ipipMode: CrossSubnet, natOutgoing: true}
---
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata: {name: v6}
spec: {cidr: fd64::/48, vxlanMode: Always, natOutgoing: true}
---
apiVersion: corduroy.dev/v1alpha1
kind: FabricNode
metadata: {name: here}
spec: {uid: a, addresses: [192.0.2.1/24, 'fd01::1/64'], asNumber: 64512}
---
apiVersion: corduroy.dev/v1alpha1
kind: FabricNode
metadata: {name: there}
spec: {uid: b, addresses: [192.0.2.2/24, 'fd01::2/64'], asNumber: 64512}
---
apiVersion: corduroy.dev/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec: {serviceClusterIPs: [{cidr: 10.32.0.0/16}, {cidr: 'fd32::/108'}]}
";

/// A node with everything a table can hold: both tunnels, pools and pods of both families, another node.
fn known() -> Known {
    let chosen = |address: &str| {
        let why = Why::Configured;
        Some(Chosen { address: address.parse().unwrap(), prefix_len: 24, why })
    };
    let mut known = Known::new(Me {
        name: "here".to_owned(),
        uid: "a".to_owned(),
        v4: chosen("192.0.2.1"),
        v6: chosen("fd01::1"),
        tunnels: TunnelAddresses::default(),
        member: Membership::Itself,
        given: false,
    });
    let yes = Support::Yes;
    known.facts.features = Features { ipip: yes, vxlan: yes, lwtunnel: yes, ipv6: yes };
    for document in yaml::documents(RESOURCES) {
        match Resource::read(&document.parse().unwrap()).unwrap() {
            Resource::IpPool(pool) => known.pools.push(pool),
            Resource::FabricNode(node) => {
                let name = node.metadata.name.clone();
                known.nodes.set(&name, Some(&node));
            }
            other => {
                let key = other.key();
                known.model.apply(Event::Put(other));
                known.services.apply(&known.model, "here", &key);
            }
        }
    }
    let addresses = vec!["10.64.0.2".parse().unwrap(), "fd64::2".parse().unwrap()];
    let pod = Pod { link: LinkName::pod(7), host_mac: HOST_MAC, mac: POD_MAC, mtu: 1400, addresses };
    known.pods.put(pod);
    known
}

/// The table the agent wants, every element asked for by its key as the agent does.
fn wanted(known: &Known) -> Table {
    let mut table = Table::default();
    for name in rules::CHAINS.map(Name::new) {
        let chain = rules::chain(known, &name).unwrap();
        table.chains.insert(name, chain);
    }
    for name in rules::SETS.map(Name::new) {
        let set = rules::set(&name).unwrap();
        table.sets.insert(name, set);
    }
    let nodes =
        ["192.0.2.1", "192.0.2.2", "fd01::1", "fd01::2"].map(|a| rules::node_element(a.parse().unwrap()));
    let pools = ["10.64.0.0/10", "fd64::/48"].map(|net| rules::pool_elements(net.parse().unwrap()));
    let pod =
        ["10.64.0.2", "fd64::2"].map(|a| rules::pod_element(LinkName::pod(7), a.parse::<IpAddr>().unwrap()));
    let ranges = ["10.32.0.0/16", "fd32::/108"].map(|net| rules::range_element(net.parse().unwrap()));
    let links = rules::link_elements(LinkName::pod(7));
    let elements = nodes.into_iter().chain(pools.into_iter().flatten()).chain(pod).chain(ranges).chain(links);
    for (set, key) in elements {
        let verdict = rules::element(known, &set, &key).unwrap();
        table.sets.get_mut(&set).unwrap().elements.insert(key, verdict);
    }
    assert!(table.sets.values().all(|set| !set.elements.is_empty()), "every set is tried: {table}");
    table
}

#[test]
fn the_agents_table_is_read_back_as_it_was_wanted() {
    let netns = Netns::new();
    let mut kernel = open(&netns);
    let table = wanted(&known());
    done(&mut kernel, [Op::Nft(changes(&table))]);
    let read = kernel.read().unwrap().nft.unwrap();
    assert_eq!(read.to_string(), table.to_string());
    assert_eq!(read, table);
    // And what nft reads in its own way says the same.
    done(&mut kernel, [Op::Nft(vec![Change::DeleteTable])]);
    crate::nft::load_text(&netns, &table);
    assert_eq!(kernel.read().unwrap().nft, Some(table));
}
