//! Whatever the agent wants of the kernel is read back as what was wanted: if it were not, the agent would write it
//! again for ever.

use std::collections::BTreeSet;

use corduroy_agent_core::desired::{self, nft as rules};
use corduroy_agent_core::key::Key;
use corduroy_agent_core::known::Known;
use corduroy_agent_core::me::{Chosen, Me, Membership, TunnelAddresses, Why};
use corduroy_agent_core::pods::Pod;
use corduroy_api::{Event, Resource, yaml};
use corduroy_kernel::nft::{Change, Table};
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
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
    - from: [{podSelector: {}}, {namespaceSelector: {}, podSelector: {matchLabels: {app: db}}}]
      ports: [{port: 80}, {port: 8080, endPort: 8090}, {port: http}, {protocol: SCTP, port: 7}, {protocol: UDP}]
  egress:
    - to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.2.0.0/16]}}, {ipBlock: {cidr: 'fd00::/8'}}]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: first}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {}}
  ingress:
    - {action: Deny, from: [{namespaces: {matchLabels: {team: red}}}]}
    - {action: Pass, from: [{namespaces: {}}]}
  egress:
    - {action: Accept, to: [{nodes: {}}, {networks: [192.0.2.0/24, 198.51.100.0/24, 'fd01::/64']}]}
---
apiVersion: corduroy.dev/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: icmp}
spec:
  order: 1
  ingress:
    - {action: Log, protocol: ICMP, icmp: {type: 8, code: 0}}
    - {action: Deny, protocol: ICMPv6, icmp: {type: 128}, source: {notNets: ['fd00::/16', 'fe80::/10']}}
    - {action: Pass, notProtocol: TCP, source: {selector: has(kind)}}
---
apiVersion: corduroy.dev/v1alpha1
kind: GlobalNetworkSet
metadata: {name: some, labels: {kind: net}}
spec: {nets: [203.0.113.0/24, 203.0.113.128/25, 198.51.100.7/32, 'fd02::/64']}
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
            policy @ Resource::Policy(_) => {
                let key = policy.key();
                known.model.apply(Event::Put(policy));
                known.police(&key);
            }
            other => {
                let key = other.key();
                known.model.apply(Event::Put(other));
                known.services.apply(&known.model, "here", &key);
            }
        }
    }
    let addresses = vec!["10.64.0.2".parse().unwrap(), "fd64::2".parse().unwrap()];
    let pod = Pod {
        link: LinkName::pod(7),
        host_mac: HOST_MAC,
        mac: POD_MAC,
        mtu: 1400,
        addresses,
        owner: Some("shop/web".into()),
    };
    known.pods.put(pod.clone());
    known.police_pod(&pod);
    known
}

/// The table the agent wants, asked for by its keys as the agent does.
fn wanted(known: &Known) -> Table {
    let mut table = Table::default();
    for key in desired::keys(known).collect::<BTreeSet<Key>>() {
        match key {
            Key::NftChain(name) => {
                let chain = rules::chain(known, &name).unwrap();
                table.chains.insert(name, chain);
            }
            Key::NftSet(name) => {
                let set = rules::set(known, &name).unwrap();
                table.sets.insert(name, set);
            }
            Key::NftElement(set, element) => {
                let verdict = rules::element(known, &set, &element).unwrap();
                table.sets.get_mut(&set).unwrap().elements.insert(element, verdict);
            }
            _ => {}
        }
    }
    let empty =
        table.sets.iter().filter(|(name, set)| set.elements.is_empty() && !name.as_str().starts_with("set-"));
    assert_eq!(empty.count(), 0, "every set is tried: {table}");
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
