//! What `cordctl policy` and `cordctl plan` ask, and what they get back.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A question about policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "camelCase")]
pub enum PolicyRequest {
    /// What becomes of a packet?
    Trace(TraceQuery),
    /// Which policies are in force here?
    Show {
        /// Only this one: its name, `namespace/name`, or with its kind as in `netpol/shop/web`.
        name: Option<String>,
    },
    /// Which packets were denied?
    Drops {
        /// Only those behind this number.
        after: u64,
    },
    /// What would change if these resources were there? Nothing is applied.
    Plan {
        /// YAML documents.
        documents: String,
        /// They are taken away instead.
        delete: bool,
    },
}

/// An answer about policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "camelCase")]
pub enum PolicyAnswer {
    /// To [`PolicyRequest::Trace`].
    Trace(PolicyTrace),
    /// To [`PolicyRequest::Show`].
    Show(PolicyShow),
    /// To [`PolicyRequest::Drops`].
    Drops(PolicyDrops),
    /// To [`PolicyRequest::Plan`].
    Plan(PolicyPlan),
}

/// A packet that is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TraceQuery {
    /// Who sends it: `namespace/name` of a pod, or an address.
    pub from: String,
    /// Who is to get it: as `from`.
    pub to: String,
    /// The transport protocol (IANA).
    pub protocol: u8,
    /// The receiver's port.
    pub port: Option<u16>,
    /// The sender's port; one of those that are handed out, if nothing is said.
    pub source_port: Option<u16>,
    /// Of ICMP, type and code; an echo request, if nothing is said.
    pub icmp: Option<(u8, u8)>,
    /// 4 or 6; if nothing is said, IPv4 where both ends have it.
    pub family: Option<u8>,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTrace {
    /// The packet, in words.
    pub packet: String,
    /// Who sends it.
    pub from: TraceEnd,
    /// Who is to get it.
    pub to: TraceEnd,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What each end that is judged here says: first what may be sent, then what may be got.
    pub judgements: Vec<Judged>,
    /// What is not judged here, and why.
    pub remarks: Vec<String>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It may pass, and nobody else judges it.
    Allowed,
    /// It may pass as far as this node judges it; another node judges it too.
    AllowedHere,
    /// It is dropped.
    Denied,
}

/// An end of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceEnd {
    /// Its address.
    pub address: IpAddr,
    /// Whose it is, in words: `pod shop/web`; none when nothing is known of it.
    pub name: Option<String>,
    /// Is it of this node, so that policies are enforced on it here?
    pub here: bool,
}

/// What the policies of one end say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// Whose policies: `namespace/name` of a pod, or the name of a HostEndpoint.
    pub endpoint: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// May it pass?
    pub allowed: bool,
    /// All of it in one line.
    pub why: String,
    /// What the rule, or the tier's default action, that decided has counted in the kernel.
    pub counted: Option<Counted>,
    /// The tiers that were asked, in order.
    pub tiers: Vec<AskedTier>,
}

/// A tier that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedTier {
    /// Its name.
    pub tier: String,
    /// Its policies that were asked, in order.
    pub policies: Vec<String>,
    /// The rules that noted the packet and went on.
    pub noted: Vec<String>,
    /// What the tier said.
    pub said: String,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Packets.
    pub packets: u64,
    /// Their octets.
    pub bytes: u64,
}

/// The policies of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyShow {
    /// The number of the program that is in force: connections carry it.
    pub generation: u16,
    /// Those that select a pod or HostEndpoint of this node, in the order in which they are asked.
    pub policies: Vec<ShownPolicy>,
    /// Those that are not in force as they were written, here or elsewhere: `netpol/shop/web: why`.
    pub broken: Vec<String>,
    /// Those that name a tier nobody has made: `gnp/all: tier "ops"`.
    pub homeless: Vec<String>,
    /// Rules that are there for nothing.
    pub warnings: Vec<String>,
}

/// A policy that selects somebody here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShownPolicy {
    /// Its kind and name: `netpol/shop/web`.
    pub policy: String,
    /// Its tier.
    pub tier: String,
    /// The tier's place; none: behind all that have one.
    pub tier_order: Option<String>,
    /// Its place in the tier; none: behind all that have one.
    pub order: Option<String>,
    /// What it selects on this node.
    pub selects: Vec<String>,
    /// Its rules, ingress first.
    pub rules: Vec<ShownRule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownRule {
    /// `ingress` or `egress`.
    pub direction: String,
    /// Its place in the list of the resource, from 0.
    pub rule: u64,
    /// `Allow`, `Deny`, `Pass` or `Log`.
    pub action: String,
    /// What it has counted, since it was last written; none when the kernel has no such rule (yet).
    pub counted: Option<Counted>,
}

/// Packets that were denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyDrops {
    /// In the order they came; of a flood, ten a second.
    pub drops: Vec<Drop>,
    /// The number to ask behind next.
    pub last: u64,
    /// How many the kernel handed over in vain, since the agent began.
    pub lost: u64,
    /// How many that were asked for are forgotten by now.
    pub forgotten: u64,
    /// Why none are heard of, if so.
    pub deaf: Option<String>,
}

/// A packet that was denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drop {
    /// Its number.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub time: u64,
    /// Who sent it, in words, if that is known.
    pub from: Option<String>,
    /// From where.
    pub source: IpAddr,
    /// Its port.
    pub source_port: Option<u16>,
    /// Who was to get it.
    pub to: Option<String>,
    /// To where.
    pub destination: IpAddr,
    /// Its port.
    pub port: Option<u16>,
    /// `tcp`, `udp`, …, `icmp type 8 code 0`, or a number.
    pub protocol: String,
    /// `ingress` or `egress`: in which direction it was denied; none when the policies allow it by now.
    pub direction: Option<String>,
    /// The rule, or the default action of a tier, that denied it.
    pub by: String,
}

/// What would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyPlan {
    /// What becomes of each resource.
    pub resources: Vec<PlannedResource>,
    /// Chains, by name.
    pub chains: Vec<Planned>,
    /// Sets, by name, with elements.
    pub sets: Vec<Planned>,
    /// Pods and HostEndpoints of this node that are judged by another program, and by which policies then.
    pub programs: Vec<PlannedProgram>,
    /// Live connections that would be cut.
    pub cut: Vec<CutFlow>,
    /// How many live connections of pods of this node were looked at.
    pub flows: u64,
    /// What else is to be said: policies that would be broken, rules for nothing.
    pub remarks: Vec<String>,
}

/// What becomes of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedResource {
    /// Its kind and name.
    pub resource: String,
    /// What becomes of it.
    pub change: Change,
}

/// How something changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// It is there then.
    Added,
    /// It is another one.
    Changed,
    /// It is there no more.
    Removed,
    /// It is as it was.
    Unchanged,
}

/// How a chain or set changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub change: Change,
    /// Rules or elements that come.
    pub more: u64,
    /// Rules or elements that go.
    pub less: u64,
}

/// An endpoint that is judged by another program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedProgram {
    /// `pod shop/web`.
    pub endpoint: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// The policies that judge it now, in order.
    pub before: Vec<String>,
    /// The policies that would.
    pub after: Vec<String>,
}

/// A live connection that would be cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutFlow {
    /// Who began it, to whom, by which protocol and ports.
    pub flow: String,
    /// What would deny it.
    pub by: String,
}
