//! `BGPFilter`: import and export rules, in order; the first that matches decides. A rule's conditions must all hold.
//! What no rule of any filter matches meets the built-in policy.

use ipnetwork::IpNetwork;

use crate::meta::{Kind, Metadata};
use crate::raw::{NumberOrText, raw};
use crate::report::{Report, quoted};
use crate::resource::Checked;
use crate::schema::Schema;
use crate::value::{AsNumber, Community};

/// Rules by direction and family, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BgpFilter {
    /// Name, labels and so on.
    pub metadata: Metadata,
    /// For IPv4 routes that come.
    pub import_v4: Vec<FilterRule>,
    /// For IPv6 routes that come.
    pub import_v6: Vec<FilterRule>,
    /// For IPv4 routes that go.
    pub export_v4: Vec<FilterRule>,
    /// For IPv6 routes that go.
    pub export_v6: Vec<FilterRule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRule {
    /// Let it pass (else: drop it).
    pub accept: bool,
    /// Only such prefixes.
    pub prefix: Option<PrefixMatch>,
    /// Only prefixes of such lengths, both ends included.
    pub prefix_length: Option<(u8, u8)>,
    /// Only routes that a peer sent us (in an export rule: none of our own).
    pub from_peers: bool,
    /// Only over eBGP (`Some(true)`) or iBGP (`Some(false)`) sessions.
    pub external: Option<bool>,
    /// Only routes that carry this community.
    pub community: Option<Community>,
    /// Only routes whose AS_PATH begins so.
    pub as_path_prefix: Vec<AsNumber>,
    /// What is done to a route that is let pass.
    pub operations: Vec<Operation>,
}

/// How a route's prefix must lie to a rule's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixMatch {
    /// The rule's prefix.
    pub cidr: IpNetwork,
    /// How.
    pub operator: MatchOperator,
}

/// See [`PrefixMatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchOperator {
    /// The same prefix.
    Equal,
    /// Another prefix.
    NotEqual,
    /// The same or inside it.
    In,
    /// Neither the same nor inside it.
    NotIn,
}

/// A change to a route that is let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Add this community.
    AddCommunity(Community),
    /// Put these in front of AS_PATH, the first becoming the first.
    PrependAsPath(Vec<AsNumber>),
    /// LOCAL_PREF.
    SetPriority(u32),
}

raw! {
    /// `spec:` of a BGPFilter as it stands in YAML.
    pub struct BgpFilterSpec {
        /// For IPv4 routes that come.
        import_v4: Vec<RuleSpec> = "importV4" => .filter_rules(4),
        /// For IPv6 routes that come.
        import_v6: Vec<RuleSpec> = "importV6" => .filter_rules(6),
        /// For IPv4 routes that go.
        export_v4: Vec<RuleSpec> = "exportV4" => .filter_rules(4),
        /// For IPv6 routes that go.
        export_v6: Vec<RuleSpec> = "exportV6" => .filter_rules(6),
    }
}

raw! {
    /// A rule.
    pub struct RuleSpec {
        /// What becomes of a route that matches: Accept, Reject.
        action: String = "action" => .required().words(&["Accept", "Reject"]),
        /// A prefix to compare the route's with.
        cidr: String = "cidr" => .cidr(),
        /// How the route's prefix must lie to `cidr`: Equal, NotEqual, In, NotIn; needed with `cidr`.
        match_operator: String = "matchOperator" => .words(&["Equal", "NotEqual", "In", "NotIn"]),
        /// Only prefixes of such lengths.
        prefix_length: PrefixLengthSpec = "prefixLength",
        /// RemotePeers: only routes that a peer sent.
        source: String = "source" => .words(&["RemotePeers"]),
        /// Only over such sessions: eBGP, iBGP.
        peer_type: String = "peerType" => .words(&["eBGP", "iBGP"]),
        /// Only routes that carry this community.
        communities: CommunitiesSpec = "communities",
        /// Only routes whose AS_PATH begins so.
        as_path_prefix: Vec<NumberOrText> = "asPathPrefix" => .most(10).each(Schema::as_number),
        /// What is done to a route that is accepted, at most 10.
        operations: Vec<OperationSpec> = "operations" => .most(10),
    } => .rule_at(
            "matchOperator",
            "has(self.cidr) == has(self.matchOperator)",
            "there with cidr, and left out without it",
        )
        .rule_at(
            "operations",
            "self.action == 'Accept' || !has(self.operations) || self.operations.size() == 0",
            "left out when action is Reject: what is dropped is not changed",
        )
}

raw! {
    /// `prefixLength:`.
    pub struct PrefixLengthSpec {
        /// The shortest; 0 by default.
        min: u64 = "min" => .range(0, 128),
        /// The longest; 32 or 128 by default.
        max: u64 = "max" => .range(0, 128),
    } => .rule_at("min", "!has(self.min) || !has(self.max) || self.min <= self.max", "at most max")
}

raw! {
    /// `communities:` of a rule.
    pub struct CommunitiesSpec {
        /// Exactly one.
        values: Vec<String> = "values" => .required().least(1).most(1).each(Schema::community),
    }
}

raw! {
    /// An item of `operations`: exactly one field.
    pub struct OperationSpec {
        /// Add a community.
        add_community: AddCommunitySpec = "addCommunity",
        /// Put AS numbers in front of AS_PATH.
        prepend_as_path: PrependSpec = "prependASPath",
        /// Set LOCAL_PREF.
        set_priority: PrioritySpec = "setPriority",
    } => .rule(
        "[has(self.addCommunity), has(self.prependASPath), has(self.setPriority)].filter(there, there).size() == 1",
        "exactly one of addCommunity, prependASPath, setPriority",
    )
}

raw! {
    /// `addCommunity:`.
    pub struct AddCommunitySpec {
        /// `aa:nn` or `aa:nn:mm`.
        value: String = "value" => .required().community(),
    }
}

raw! {
    /// `prependASPath:`.
    pub struct PrependSpec {
        /// AS numbers, 1 to 10.
        prefix: Vec<NumberOrText> = "prefix" => .required().least(1).most(10).each(Schema::as_number),
    }
}

raw! {
    /// `setPriority:`.
    pub struct PrioritySpec {
        /// 0 to 4294967295.
        value: u64 = "value" => .required().range(0, 4_294_967_295),
    }
}

impl Checked for BgpFilter {
    const KIND: Kind = Kind::BgpFilter;
    type Spec = BgpFilterSpec;

    fn check(metadata: Metadata, spec: &BgpFilterSpec, report: &mut Report) -> Option<Self> {
        Some(Self {
            metadata,
            import_v4: check_rules("importV4", spec.import_v4.as_deref(), report),
            import_v6: check_rules("importV6", spec.import_v6.as_deref(), report),
            export_v4: check_rules("exportV4", spec.export_v4.as_deref(), report),
            export_v6: check_rules("exportV6", spec.export_v6.as_deref(), report),
        })
    }

    fn spec(&self) -> BgpFilterSpec {
        let raw = |rules: &[FilterRule]| {
            (!rules.is_empty()).then(|| rules.iter().map(FilterRule::raw).collect::<Vec<_>>())
        };
        BgpFilterSpec {
            import_v4: raw(&self.import_v4),
            import_v6: raw(&self.import_v6),
            export_v4: raw(&self.export_v4),
            export_v6: raw(&self.export_v6),
        }
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}

const OPERATORS: [(&str, MatchOperator); 4] = [
    ("Equal", MatchOperator::Equal),
    ("NotEqual", MatchOperator::NotEqual),
    ("In", MatchOperator::In),
    ("NotIn", MatchOperator::NotIn),
];

impl FilterRule {
    fn raw(&self) -> RuleSpec {
        let word = |m: &PrefixMatch| {
            OPERATORS.iter().find(|(_, op)| *op == m.operator).map(|(w, _)| (*w).to_owned())
        };
        let path: Vec<_> = self.as_path_prefix.iter().map(|n| n.raw()).collect();
        let operations: Vec<_> = self.operations.iter().map(Operation::raw).collect();
        RuleSpec {
            action: Some(if self.accept { "Accept" } else { "Reject" }.to_owned()),
            cidr: self.prefix.map(|m| m.cidr.to_string()),
            match_operator: self.prefix.as_ref().and_then(word),
            prefix_length: self
                .prefix_length
                .map(|(min, max)| PrefixLengthSpec { min: Some(min.into()), max: Some(max.into()) }),
            source: self.from_peers.then(|| "RemotePeers".to_owned()),
            peer_type: self.external.map(|external| if external { "eBGP" } else { "iBGP" }.to_owned()),
            communities: self.community.map(|c| CommunitiesSpec { values: Some(vec![c.to_string()]) }),
            as_path_prefix: (!path.is_empty()).then_some(path),
            operations: (!operations.is_empty()).then_some(operations),
        }
    }
}

impl Operation {
    fn raw(&self) -> OperationSpec {
        let mut raw = OperationSpec::default();
        match self {
            Self::AddCommunity(c) => {
                raw.add_community = Some(AddCommunitySpec { value: Some(c.to_string()) });
            }
            Self::PrependAsPath(path) => {
                let prefix = Some(path.iter().map(|n| n.raw()).collect());
                raw.prepend_as_path = Some(PrependSpec { prefix });
            }
            Self::SetPriority(value) => {
                raw.set_priority = Some(PrioritySpec { value: Some((*value).into()) });
            }
        }
        raw
    }
}

fn check_rules(list: &str, raw: Option<&[RuleSpec]>, report: &mut Report) -> Vec<FilterRule> {
    let ipv6 = list.ends_with("V6");
    let rules = raw.unwrap_or_default();
    report.within(list, |r| {
        rules.iter().enumerate().filter_map(|(i, rule)| r.within(i, |r| check_rule(ipv6, rule, r))).collect()
    })
}

fn check_rule(ipv6: bool, raw: &RuleSpec, report: &mut Report) -> Option<FilterRule> {
    if raw.action.is_none() {
        report.missing("action", "Accept or Reject");
    }
    let accept = report.choice("action", raw.action.as_ref(), &[("Accept", true), ("Reject", false)])?;
    let source = report.choice("source", raw.source.as_ref(), &[("RemotePeers", true)]);
    let kinds = [("eBGP", Some(true)), ("iBGP", Some(false))];
    let external = raw.peer_type.as_ref().and_then(|t| report.choice("peerType", Some(t), &kinds)).flatten();
    let operations = raw.operations.as_deref().unwrap_or_default();
    if !accept && !operations.is_empty() {
        let allowed = "left out when action is Reject: what is dropped is not changed";
        report.refuse_field("operations", format!("{} operations", operations.len()), allowed);
    }
    Some(FilterRule {
        accept,
        prefix: check_prefix(ipv6, raw, report),
        prefix_length: raw.prefix_length.as_ref().and_then(|l| check_lengths(ipv6, l, report)),
        from_peers: raw.source.is_some() && source == Some(true),
        external,
        community: raw.communities.as_ref().and_then(|c| check_community(c, report)),
        as_path_prefix: check_path("asPathPrefix", raw.as_path_prefix.as_deref(), report),
        operations: check_operations(operations, report),
    })
}

fn check_prefix(ipv6: bool, raw: &RuleSpec, report: &mut Report) -> Option<PrefixMatch> {
    let operator =
        raw.match_operator.as_ref().and_then(|w| report.choice("matchOperator", Some(w), &OPERATORS));
    match (&raw.cidr, &raw.match_operator) {
        (None, None) => return None,
        (Some(_), None) => {
            report.missing("matchOperator", "one of Equal, NotEqual, In, NotIn, since there is a cidr");
        }
        (None, Some(_)) => report.missing("cidr", "a CIDR, since there is a matchOperator"),
        (Some(_), Some(_)) => {}
    }
    let cidr = report.prefix("cidr", raw.cidr.as_ref())?;
    if cidr.is_ipv6() != ipv6 {
        let allowed = if ipv6 { "an IPv6 CIDR in a V6 rule" } else { "an IPv4 CIDR in a V4 rule" };
        report.refuse_field("cidr", quoted(&cidr.to_string()), allowed);
        return None;
    }
    Some(PrefixMatch { cidr, operator: operator? })
}

fn check_lengths(ipv6: bool, raw: &PrefixLengthSpec, report: &mut Report) -> Option<(u8, u8)> {
    let longest: u8 = if ipv6 { 128 } else { 32 };
    report.within("prefixLength", |r| {
        let min: u8 = r.ranged("min", Some(raw.min.unwrap_or(0)), 0..=longest.into())?;
        let max: u8 = r.ranged("max", Some(raw.max.unwrap_or(longest.into())), 0..=longest.into())?;
        if min > max {
            r.refuse_field("min", min, format!("at most max, which is {max}"));
        }
        Some((min, max))
    })
}

fn check_community(raw: &CommunitiesSpec, report: &mut Report) -> Option<Community> {
    report.within("communities", |r| match raw.values.as_deref() {
        Some([only]) => r.within("values", |r| {
            r.within(0, |r| {
                only.parse().map_err(|e: crate::NotACommunity| r.refuse(quoted(only), e.to_string())).ok()
            })
        }),
        Some(values) => {
            r.refuse_field("values", format!("a list of {}", values.len()), "exactly one community");
            None
        }
        None => {
            r.missing("values", "a list of exactly one community");
            None
        }
    })
}

fn check_path(name: &str, raw: Option<&[NumberOrText]>, report: &mut Report) -> Vec<AsNumber> {
    let check = |(i, number): (usize, &NumberOrText), r: &mut Report| {
        let refuse = |r: &mut Report, e: crate::NotAnAsNumber| r.refuse(&number.0, e.to_string());
        r.within(i, |r| number.0.parse().map_err(|e| refuse(r, e)).ok())
    };
    report.within(name, |r| raw.unwrap_or_default().iter().enumerate().filter_map(|n| check(n, r)).collect())
}

fn check_operations(raw: &[OperationSpec], report: &mut Report) -> Vec<Operation> {
    report.within("operations", |r| {
        if raw.len() > 10 {
            r.refuse(format!("a list of {}", raw.len()), "at most 10 operations");
        }
        raw.iter().enumerate().filter_map(|(i, op)| r.within(i, |r| check_operation(op, r))).collect()
    })
}

fn check_operation(raw: &OperationSpec, report: &mut Report) -> Option<Operation> {
    match (&raw.add_community, &raw.prepend_as_path, &raw.set_priority) {
        (Some(add), None, None) => report.within("addCommunity", |r| {
            if add.value.is_none() {
                r.missing("value", "a community");
            }
            r.tried("value", add.value.as_ref(), str::parse).map(Operation::AddCommunity)
        }),
        (None, Some(prepend), None) => report.within("prependASPath", |r| {
            let count = prepend.prefix.as_ref().map_or(0, Vec::len);
            if !(1..=10).contains(&count) {
                r.refuse_field("prefix", format!("a list of {count}"), "1 to 10 AS numbers");
            }
            Some(Operation::PrependAsPath(check_path("prefix", prepend.prefix.as_deref(), r)))
        }),
        (None, None, Some(priority)) => report.within("setPriority", |r| {
            if priority.value.is_none() {
                r.missing("value", "a whole number from 0 to 4294967295");
            }
            r.ranged("value", priority.value, 0..=u64::from(u32::MAX)).map(Operation::SetPriority)
        }),
        _ => {
            report.refuse("an operation", "exactly one of addCommunity, prependASPath, setPriority");
            None
        }
    }
}
