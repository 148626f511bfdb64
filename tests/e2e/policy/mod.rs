//! Policies of every kind between real pods: who reaches whom. One cluster for all of these tests, as long as one of
//! them runs or waits; they take turns.
//!
//! ```text
//! scene     who is there        language  policies and cases, written short
//! matrix    who reaches whom    ground     a cluster on which cases are tried
//! trace     what agents say who reaches whom
//!
//! peers, ports, blocks, change  NetworkPolicy of Kubernetes
//! cluster                       ClusterNetworkPolicy
//! own, tiers                    our own kinds
//! traffic, safety               what tables can't say: connections that live, pods that are born, agents that die
//! ```
//! A case is data: policies, and a table of who reaches whom ([`matrix`]). All pairs of parties are tried with real
//! connections, over TCP, UDP and ICMP, IPv4 and IPv6; what is denied must be met with silence. `CORDUROY_POLICY_CASE`
//! with some words tries only cases whose name holds them.

mod blocks;
mod change;
mod cluster;
mod ground;
mod language;
mod matrix;
mod own;
mod peers;
mod ports;
mod safety;
mod scene;
mod tiers;
mod trace;
mod traffic;

use ground::Ground;
use language::case;

#[test]
fn without_policies_everybody_reaches_everybody() {
    let open = case("without policies everybody reaches everybody", "", "allow pods -> own");
    Ground::shared().hold(&[&[open]]);
}

#[test]
fn network_policies_of_kubernetes_hold_between_pods() {
    Ground::shared().hold(&[peers::CASES, ports::CASES, blocks::CASES]);
}

#[test]
fn what_changes_in_policies_pods_and_namespaces_takes_effect() {
    Ground::shared().hold(&[change::CASES]);
}

#[test]
fn cluster_network_policies_hold_between_pods_and_come_before_or_behind_those_of_namespaces() {
    Ground::shared().hold(&[cluster::CASES]);
}

#[test]
fn policies_of_our_own_kinds_hold_between_pods() {
    Ground::shared().hold(&[own::CASES, tiers::CASES]);
}
