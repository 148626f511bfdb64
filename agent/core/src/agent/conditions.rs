//! What a person should know, in words: the worst first.

use corduroy_api::{Key as ResourceKey, Kind};
use corduroy_ipc::status::{Condition, Severity};
use corduroy_kernel::{Family, LinkName};

use super::Agent;
use crate::desired::links;
use crate::marks::Marks;
use crate::me::Membership;

fn condition(severity: Severity, about: impl Into<String>, message: impl Into<String>) -> Condition {
    Condition { severity, about: about.into(), message: message.into() }
}

/// Everything that is not as it should be.
#[must_use]
pub fn conditions(agent: &Agent) -> Vec<Condition> {
    let mut out = Vec::new();
    let known = agent.known();
    if let Some(why) = agent.not_ready() {
        out.push(condition(Severity::Error, "agent", why));
    }
    let problems = agent.peering().map(|peering| peering.problems.as_slice()).unwrap_or_default();
    out.extend(corduroy_fabric::status::conditions(&known.model, problems));
    for (key, refusal) in agent.reconciler().refusals() {
        out.push(condition(Severity::Error, format!("{key:?}"), refusal.error.to_string()));
    }
    for (key, why) in agent.course.unwritten.iter() {
        out.push(condition(Severity::Error, key.to_string(), why));
    }
    for bad in known.me.member.marks().into_iter().flat_map(Marks::bad) {
        out.push(condition(Severity::Error, format!("Node/{}", known.me.name), bad.to_string()));
    }
    for device in links::impossible(known) {
        out.push(condition(Severity::Error, device.as_str(), cannot(device)));
    }
    for chain in &known.facts.foreign_drops {
        let about = format!("nftables {} {} {}", chain.family, chain.table, chain.chain);
        let why = "drops forwarded packets by default; no rule of ours can overrule that: accept there what goes to \
                   and from pools";
        out.push(condition(Severity::Warning, about, why));
    }
    out.extend(policies(agent));
    out.sort_by_key(|condition| condition.severity);
    out
}

/// What of policies is not as it was meant, or not yet. (What is wrong with one of them, and a kind that can't be had,
/// is said with all other resources.)
fn policies(agent: &Agent) -> Vec<Condition> {
    let known = agent.known();
    let engine = known.policies.engine();
    let homeless = engine.homeless().map(|(id, tier)| {
        let message = format!(
            "nobody has made its tier {tier:?}: it is asked last, and what it does not allow is denied"
        );
        condition(Severity::Warning, id.to_string(), message)
    });
    let waiting = agent.endpoints().iter().filter(|endpoint| !endpoint.wired).count();
    let lacks = known
        .lacks()
        .filter(|_| waiting > 0)
        .map(|what| condition(Severity::Warning, "policies", format!("{waiting} pods wait for {what}")));
    let deaf = agent.drops().deaf().map(|why| {
        condition(Severity::Warning, "policies", format!("packets that they deny are not reported: {why}"))
    });
    homeless.chain(lacks).chain(deaf).collect()
}

fn cannot(device: LinkName) -> String {
    let module = if device == LinkName::IPIP { "ipip and lwtunnel" } else { "vxlan" };
    format!(
        "a pool asks for this tunnel, but the kernel can't make it (no {module}) or the node has no {} address; \
         packets to other nodes go without it",
        if device == LinkName::IPIP { format!("{:?}", Family::V4) } else { "usable".to_owned() }
    )
}

/// Why this node does nothing: another machine has its name. In a cluster that can't be, and a FabricNode of another
/// identity is what a former Node of this name has left.
pub(super) fn name_taken(agent: &Agent) -> Option<(String, String)> {
    let me = &agent.known().me;
    if me.member != Membership::Itself {
        return None;
    }
    let node = agent.known().model.nodes().get(&me.name).filter(|node| node.uid != me.uid)?;
    Some((ResourceKey::new(Kind::FabricNode, me.name.clone()).to_string(), node.uid.clone()))
}
