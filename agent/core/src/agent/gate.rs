//! What is waited for: before anything is done, and before pods are served.

use corduroy_api::Kind;
use corduroy_api::block::overlap;

use super::{Agent, conditions};
use crate::known::WATCHED;
use crate::me::Membership;

/// What is waited for before anything is done.
pub(super) fn waits_for(agent: &Agent) -> Option<String> {
    if !agent.course.reading.is_done() {
        return Some("the kernel has not been read yet".to_owned());
    }
    let model = &agent.known.model;
    let waiting: Vec<&str> =
        WATCHED.into_iter().filter(|kind| !model.ready(&[*kind])).map(Kind::name).collect();
    if !waiting.is_empty() {
        return Some(format!("the datastore has not said everything of {}", waiting.join(", ")));
    }
    if let Some(what) = agent.known.lacks() {
        return Some(format!("the datastore has not said everything of {what}"));
    }
    if agent.known.me.v4.is_none() && agent.known.me.v6.is_none() {
        return Some("this node has no address: see the log, or set one in the configuration".to_owned());
    }
    conditions::name_taken(agent).map(|(node, uid)| {
        format!("{node} belongs to another machine (uid {uid}); delete it, or give this node another name")
    })
}

/// Why pods can't be served; `None` when they can.
pub(super) fn not_ready(agent: &Agent) -> Option<String> {
    closed(agent).or_else(|| not_serving(agent))
}

/// Why no new pods are taken in, though those that are here are served.
pub(super) fn closed(agent: &Agent) -> Option<String> {
    let is_removed = agent.known.me.member == Membership::Removed;
    is_removed.then(|| format!("the cluster has no Node {} any more", agent.known.me.name))
}

/// Why nothing can be done for any pod.
pub(super) fn not_serving(agent: &Agent) -> Option<String> {
    // A FabricNode that has gone with its Node is not written again.
    let is_unwritten = !is_own_known(agent) && closed(agent).is_none();
    let unwritten = || is_unwritten.then(|| "this node's FabricNode is not written yet".to_owned());
    let no_cidrs = || if closed(agent).is_some() { None } else { no_cidrs(agent) };
    waits_for(agent).or_else(unwritten).or_else(no_cidrs)
}

/// Why the CIDRs that the cluster gives this node can't be its blocks, where they are to be.
fn no_cidrs(agent: &Agent) -> Option<String> {
    let me = &agent.known.me;
    if !me.given {
        return None;
    }
    let cidrs = me.pod_cidrs();
    if cidrs.is_empty() {
        return Some(format!(
            "Node {} has no spec.podCIDRs: the controller manager gives them when it runs with \
             --allocate-node-cidrs and --cluster-cidr",
            me.name
        ));
    }
    let model = &agent.known.model;
    let others = model.nodes().values().filter(|node| node.metadata.name != me.name);
    let given = others.flat_map(|node| node.pod_cidrs.iter().map(|cidr| (*cidr, &node.metadata.name)));
    let claimed = model.blocks().values().map(|block| (block.cidr, &block.node));
    let mut taken = given.chain(claimed);
    taken.find(|(other, _)| cidrs.iter().any(|cidr| overlap(*other, *cidr))).map(|(other, node)| {
        format!(
            "spec.podCIDRs of Node {} overlap {other}, which node {node} has: nodes that use podCIDRs and nodes that \
             claim blocks need pools of their own",
            me.name
        )
    })
}

/// Does the datastore have this node's FabricNode, and is it of this machine?
pub(super) fn is_own_known(agent: &Agent) -> bool {
    let me = &agent.known.me;
    agent.known.nodes.get(&me.name).is_some_and(|node| node.uid == me.uid)
}
