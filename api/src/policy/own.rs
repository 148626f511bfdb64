//! Our own `NetworkPolicy` and `GlobalNetworkPolicy`, with the fields of `projectcalico.org/v3`.

use super::rule::{Namespaces, Rule, RuleSpec, Way, check_namespaces, plain};
use super::{Judged, Number, bounded, judged, mentions};
use crate::meta::Metadata;
use crate::raw::raw;
use crate::report::{Report, Violations, quoted};
use crate::selector::Selector;
use crate::yaml::Value;

/// A policy of one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkPolicy {
    /// Name (`namespace/name`) and so on.
    pub metadata: Metadata,
    /// When it is asked and what it says.
    pub body: Body,
}

/// A policy of all namespaces and of hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalNetworkPolicy {
    /// Name and so on.
    pub metadata: Metadata,
    /// When it is asked and what it says.
    pub body: Body,
    /// In which namespaces; nothing said: in all, and hosts.
    pub namespaces: Namespaces,
    /// To which packets of hosts it applies.
    pub reach: Reach,
}

/// What both have.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// The tier it is in; `default` by default.
    pub tier: String,
    /// Its place in the tier, lower first; `None`: behind all that have one.
    pub order: Option<Number>,
    /// Which endpoints.
    pub selector: Selector,
    /// Pods of which service accounts, by the labels of these; `None`: any, and what is no pod.
    pub service_accounts: Option<Selector>,
    /// What they get; `None`: it does not say.
    pub ingress: Option<Vec<Rule>>,
    /// What they send; `None`: it does not say.
    pub egress: Option<Vec<Rule>>,
}

/// To which packets of a host a policy applies; all of this is nothing to pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// To what the host itself gets and sends.
    #[default]
    Host,
    /// And to what it forwards.
    Forward,
    /// To all of it, before connections are tracked: each packet for itself.
    Untracked,
    /// To all that comes, before destinations are translated.
    PreDnat,
}

raw! {
    /// `spec:` of a NetworkPolicy of ours.
    pub struct NetworkPolicySpec {
        /// The tier; `default` by default.
        tier: String = "tier" => .name(),
        /// Its place in the tier, lower first; last by default.
        order: Number = "order",
        /// Which endpoints of the namespace; all by default.
        selector: String = "selector" => .selector(),
        /// Pods of which service accounts.
        service_account_selector: String = "serviceAccountSelector" => .selector(),
        /// Ingress, Egress; by default as the rules tell.
        types: Vec<String> = "types" => .most(2).each(|word| word.words(&["Ingress", "Egress"])),
        /// What they get.
        ingress: Vec<RuleSpec> = "ingress" => .most(1024),
        /// What they send.
        egress: Vec<RuleSpec> = "egress" => .most(1024),
        /// AssumeNeededOnEveryNode; means nothing here.
        performance_hints: Vec<String> = "performanceHints" => .most(16).each(|hint| hint.most(64)),
    }
}

raw! {
    /// `spec:` of a GlobalNetworkPolicy.
    pub struct GlobalNetworkPolicySpec {
        /// The tier; `default` by default.
        tier: String = "tier" => .name(),
        /// Its place in the tier, lower first; last by default.
        order: Number = "order",
        /// Which endpoints; all by default.
        selector: String = "selector" => .selector(),
        /// In which namespaces; in all, and hosts, by default.
        namespace_selector: String = "namespaceSelector" => .selector(),
        /// Pods of which service accounts.
        service_account_selector: String = "serviceAccountSelector" => .selector(),
        /// Ingress, Egress; by default as the rules tell.
        types: Vec<String> = "types" => .most(2).each(|word| word.words(&["Ingress", "Egress"])),
        /// What they get.
        ingress: Vec<RuleSpec> = "ingress" => .most(1024),
        /// What they send.
        egress: Vec<RuleSpec> = "egress" => .most(1024),
        /// To what a host forwards, too.
        apply_on_forward: bool = "applyOnForward",
        /// Before connections are tracked.
        do_not_track: bool = "doNotTrack",
        /// Before destinations are translated.
        pre_dnat: bool = "preDNAT",
        /// AssumeNeededOnEveryNode; means nothing here.
        performance_hints: Vec<String> = "performanceHints" => .most(16).each(|hint| hint.most(64)),
    }
}

/// The tier of policies that name none.
pub const DEFAULT_TIER: &str = "default";
const RULES: usize = 1024;

impl NetworkPolicy {
    /// Reads the `spec:` of the policy `name` of `namespace`.
    ///
    /// # Errors
    /// It can't be said whom it is about, or when it is asked.
    pub fn read(namespace: &str, metadata: Metadata, spec: &Value) -> Result<Judged<Self>, Violations> {
        let name = crate::Pod::key_name(namespace, &metadata.name);
        let metadata = Metadata { name, ..metadata };
        let vital = ["tier", "order", "selector", "serviceAccountSelector"];
        judged(spec, &vital, |raw: NetworkPolicySpec, report| {
            let has = [mentions(spec, "ingress"), mentions(spec, "egress")];
            Some(Self { metadata, body: Body::check(&raw, has, true, report)? })
        })
    }
}

impl GlobalNetworkPolicy {
    /// Reads the `spec:` of a policy.
    ///
    /// # Errors
    /// It can't be said whom it is about, or when it is asked.
    pub fn read(metadata: Metadata, spec: &Value) -> Result<Judged<Self>, Violations> {
        let vital = [
            "tier",
            "order",
            "selector",
            "namespaceSelector",
            "serviceAccountSelector",
            "applyOnForward",
            "doNotTrack",
            "preDNAT",
        ];
        judged(spec, &vital, |raw: GlobalNetworkPolicySpec, report| {
            let namespaces = check_namespaces(raw.namespace_selector.as_ref(), report);
            let reach = check_reach(&raw, report);
            let has = [mentions(spec, "ingress"), mentions(spec, "egress")];
            let common = NetworkPolicySpec {
                tier: raw.tier,
                order: raw.order,
                selector: raw.selector,
                service_account_selector: raw.service_account_selector,
                types: raw.types,
                ingress: raw.ingress,
                egress: raw.egress,
                performance_hints: raw.performance_hints,
            };
            let body = Body::check(&common, has, false, report)?;
            if reach? == Reach::PreDnat && body.egress.is_some() {
                let allowed =
                    "left out with preDNAT: only what comes is seen before destinations are translated";
                report.refuse_field("preDNAT", true, allowed);
            }
            Some(Self { metadata, body, namespaces: namespaces?, reach: reach? })
        })
    }
}

fn check_reach(raw: &GlobalNetworkPolicySpec, report: &mut Report) -> Option<Reach> {
    let said = |field: Option<bool>| field.unwrap_or(false);
    match (said(raw.do_not_track), said(raw.pre_dnat), raw.apply_on_forward) {
        (true, true, _) => {
            report.refuse_field("preDNAT", true, "left out beside doNotTrack");
            None
        }
        (true, ..) | (_, true, _) if !said(raw.apply_on_forward) => {
            let allowed = "true with doNotTrack or preDNAT, which see what is forwarded too";
            report.refuse_field("applyOnForward", false, allowed);
            None
        }
        (true, ..) => Some(Reach::Untracked),
        (_, true, _) => Some(Reach::PreDnat),
        (.., Some(true)) => Some(Reach::Forward),
        _ => Some(Reach::Host),
    }
}

impl Body {
    fn check(raw: &NetworkPolicySpec, has: [bool; 2], namespaced: bool, report: &mut Report) -> Option<Self> {
        let selector = match &raw.selector {
            None => Some(Selector::all()),
            text => report.tried("selector", text.as_ref(), plain),
        };
        let service_accounts = match &raw.service_account_selector {
            None => None,
            text => Some(report.tried("serviceAccountSelector", text.as_ref(), plain)?),
        };
        let [ingress, egress] = directions(raw.types.as_deref(), has, report);
        let mut rules = |name: &str, way, list: Option<&Vec<RuleSpec>>| -> Vec<Rule> {
            let list = list.map(Vec::as_slice).unwrap_or_default();
            bounded(name, list.len(), RULES, report);
            report.within(name, |r| {
                let read = list.iter().enumerate();
                read.filter_map(|(i, raw)| r.within(i, |r| Rule::check(raw, way, namespaced, r))).collect()
            })
        };
        let gets = rules("ingress", Way::Ingress, raw.ingress.as_ref());
        let sends = rules("egress", Way::Egress, raw.egress.as_ref());
        Some(Self {
            tier: raw.tier.clone().unwrap_or_else(|| DEFAULT_TIER.to_owned()),
            order: raw.order,
            selector: selector?,
            service_accounts,
            ingress: ingress.then_some(gets),
            egress: egress.then_some(sends),
        })
    }
}

/// The directions it has. Without a word about it: what is got, unless there are only rules for what is sent; and what
/// is sent, if there are rules for it.
fn directions(types: Option<&[String]>, has: [bool; 2], report: &mut Report) -> [bool; 2] {
    let Some(types) = types.filter(|types| !types.is_empty()) else {
        let [ingress, egress] = has;
        return [ingress || !egress, egress];
    };
    let (mut ingress, mut egress) = (false, false);
    report.within("types", |r| {
        for (i, word) in types.iter().enumerate() {
            match word.as_str() {
                "Ingress" => ingress = true,
                "Egress" => egress = true,
                other => {
                    r.within(i, |r| r.refuse(quoted(other), "one of Ingress, Egress"));
                    (ingress, egress) = (true, true);
                }
            }
        }
    });
    [ingress, egress]
}
