//! Import and export policy as data: an operator's BGPFilters, then the built-in rules.
//!
//! **Export.** A node sends its own prefixes and nothing else, whatever it has learned: pods' traffic must never cross
//! a node that is neither end of it. A reflector passes routes on inside the AS. An operator's Accept does not change
//! that by accident: on a session where routes are not passed on it is about our own prefixes, unless the rule says
//! `source: RemotePeers`.
//!
//! **Services.** What a node announces of services is for routers outside, and for reflectors, which have them in turn.
//! A node that is no reflector has its own kube-proxy for those addresses: it is not sent them, and does not take them.
//! (Calico sends them to every peer and keeps them out of the kernel.)
//!
//! **Import**, in order: fixed addresses of our own blocks that another node has claimed; nothing else that touches one
//! of our own blocks; on a node that is no reflector, nothing in a range of services; whatever lies in a pool; no
//! default route; nothing
//! that covers or lies in a subnet of nodes, or covers a peer or a protected prefix; the rest. An operator's rules come
//! before, so that a filter can let in what these refuse.
//!
//! Sessions with the same filters share one [`Filter`], so that the speaker's update groups stay few.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corduroy_api::bgp_filter::{
    FilterRule, MatchOperator, Operation as ApiOperation, PrefixMatch as ApiPrefixMatch,
};
use corduroy_api::bgp_peer::Remote;
use corduroy_api::{BgpFilter, Community as ApiCommunity, FabricNode, IpNetwork};
use corduroy_bgp::policy::{
    Action, Community, Filter, Match, Operation, Operator, Otherwise, PeerType, PrefixMatch, Rule, Source,
};
use corduroy_bgp::{Asn, Family, Net};

use super::{Options, asn};
use crate::originate::net;
use crate::services::Ranges;
use crate::{Model, blocks};

/// The filters of one node's sessions, each made once.
pub(super) struct Policies<'m> {
    model: &'m Model,
    built_in: Vec<Rule>,
    services: BTreeSet<IpNetwork>,
    imports: BTreeMap<Vec<String>, Arc<Filter>>,
    exports: BTreeMap<(Vec<String>, To), Arc<Filter>>,
}

/// Whom a session sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct To {
    /// Routes are passed on to it.
    pub(super) reflects: bool,
    /// It is a node of the fabric and no reflector.
    pub(super) plain_node: bool,
}

impl<'m> Policies<'m> {
    pub(super) fn new(model: &'m Model, me: &FabricNode, options: &Options) -> Self {
        let services = Ranges::of(model).all();
        let refused = me.route_reflector_cluster_id.is_none().then_some(&services);
        let built_in = import_rules(model, me, options, refused);
        Self { model, built_in, services, imports: BTreeMap::new(), exports: BTreeMap::new() }
    }

    /// What a session with these filters takes.
    pub(super) fn import(&mut self, names: &[String]) -> Arc<Filter> {
        if let Some(filter) = self.imports.get(names) {
            return Arc::clone(filter);
        }
        let filter = match rules(self.model, names, Direction::Import) {
            None => Filter::reject_all(),
            Some(mut rules) => {
                rules.extend(self.built_in.iter().cloned());
                Filter { rules, otherwise: Otherwise::Accept }
            }
        };
        let filter = Arc::new(filter);
        self.imports.insert(names.to_vec(), Arc::clone(&filter));
        filter
    }

    /// What a session with these filters sends.
    pub(super) fn export(&mut self, names: &[String], to: To) -> Arc<Filter> {
        // Without services there is one filter for all, and so one update group.
        let to = To { plain_node: to.plain_node && !self.services.is_empty(), ..to };
        let reflects = to.reflects;
        let key = (names.to_vec(), to);
        if let Some(filter) = self.exports.get(&key) {
            return Arc::clone(filter);
        }
        let services = self.services.iter().filter(|_| to.plain_node);
        let services = services.filter_map(|range| rule("services", *range, Operator::In, Action::Reject));
        let rules = rules(self.model, names, Direction::Export { reflects });
        let filter = match rules.map(|rules| rules.into_iter().chain(services).collect::<Vec<_>>()) {
            None => Filter::reject_all(),
            Some(rules) if reflects => Filter { rules, otherwise: Otherwise::Accept },
            Some(mut rules) => {
                rules.push(Rule {
                    name: "built-in: our own prefixes".into(),
                    matches: Match { source: Some(Source::Local), ..Match::default() },
                    action: Action::Accept(Vec::new()),
                });
                Filter { rules, otherwise: Otherwise::Reject }
            }
        };
        let filter = Arc::new(filter);
        self.exports.insert(key, Arc::clone(&filter));
        filter
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Import,
    Export { reflects: bool },
}

/// The rules of these filters in order; `None` when one of them does not exist.
fn rules(model: &Model, names: &[String], direction: Direction) -> Option<Vec<Rule>> {
    let mut out = Vec::new();
    for name in names {
        let filter: &BgpFilter = model.filters().get(name)?;
        let lists = match direction {
            Direction::Import => [
                ("importV4", &filter.import_v4, Family::Ipv4Unicast),
                ("importV6", &filter.import_v6, Family::Ipv6Unicast),
            ],
            Direction::Export { .. } => [
                ("exportV4", &filter.export_v4, Family::Ipv4Unicast),
                ("exportV6", &filter.export_v6, Family::Ipv6Unicast),
            ],
        };
        for (list, rules, family) in lists {
            for (i, rule) in rules.iter().enumerate() {
                let name = format!("BGPFilter/{name} {list}[{i}]");
                out.push(operator_rule(name, rule, family, direction));
            }
        }
    }
    Some(out)
}

fn operator_rule(name: String, rule: &FilterRule, family: Family, direction: Direction) -> Rule {
    let source = match direction {
        _ if rule.from_peers => Some(Source::RemotePeers),
        // See the module: an Accept without a source does not make a node pass routes on.
        Direction::Export { reflects: false } if rule.accept => Some(Source::Local),
        Direction::Export { .. } | Direction::Import => None,
    };
    let matches = Match {
        family: Some(family),
        prefix: prefix(rule.prefix, rule.prefix_length, family),
        source,
        peer_type: rule
            .external
            .map(|external| if external { PeerType::External } else { PeerType::Internal }),
        communities: rule.community.map(community).into_iter().collect(),
        as_path_prefix: rule.as_path_prefix.iter().map(|n| asn(*n)).collect(),
        local_pref: None,
    };
    let action = if rule.accept {
        Action::Accept(rule.operations.iter().map(operation).collect())
    } else {
        Action::Reject
    };
    Rule { name: name.into(), matches, action }
}

/// The condition on the prefix. One on the length alone is one about everything of the family.
fn prefix(prefix: Option<ApiPrefixMatch>, length: Option<(u8, u8)>, family: Family) -> Option<PrefixMatch> {
    let length = length.map(|(min, max)| min..=max);
    match prefix {
        Some(wanted) => {
            let operator = match wanted.operator {
                MatchOperator::Equal => Operator::Equal,
                MatchOperator::NotEqual => Operator::NotEqual,
                MatchOperator::In => Operator::In,
                MatchOperator::NotIn => Operator::NotIn,
            };
            Some(PrefixMatch { net: net(wanted.cidr)?, operator, length })
        }
        None => {
            length.as_ref()?;
            Some(PrefixMatch { net: everything(family)?, operator: Operator::In, length })
        }
    }
}

fn everything(family: Family) -> Option<Net> {
    match family {
        Family::Ipv4Unicast => "0.0.0.0/0".parse().ok(),
        Family::Ipv6Unicast => "::/0".parse().ok(),
    }
}

fn community(value: ApiCommunity) -> Community {
    match value {
        ApiCommunity::Standard(c) => Community::Standard(c),
        ApiCommunity::Large(c) => Community::Large(c),
    }
}

fn operation(value: &ApiOperation) -> Operation {
    match value {
        ApiOperation::AddCommunity(c) => Operation::AddCommunity(community(*c)),
        ApiOperation::PrependAsPath(path) => {
            Operation::PrependAsPath(path.iter().map(|n| Asn(n.get())).collect())
        }
        ApiOperation::SetPriority(value) => Operation::SetLocalPref(*value),
    }
}

/// The built-in import rules; see the module.
fn import_rules(
    model: &Model,
    me: &FabricNode,
    options: &Options,
    services: Option<&BTreeSet<IpNetwork>>,
) -> Vec<Rule> {
    let own: BTreeSet<IpNetwork> = blocks::owned_by(model, &me.metadata.name, &me.uid).collect();
    let pools: BTreeSet<IpNetwork> = blocks::pools_in_force(model).iter().map(|pool| pool.cidr).collect();
    let subnets: BTreeSet<IpNetwork> = model.nodes().values().flat_map(|node| subnets(node)).collect();
    let mut covered: BTreeSet<IpNetwork> = options.protected.iter().copied().collect();
    covered.extend(model.peers().values().filter_map(|peer| match peer.remote {
        Remote::Address { ip, .. } => Some(IpNetwork::from(ip)),
        Remote::Selector(_) => None,
    }));
    let mut out = Vec::new();
    for cidr in blocks::claimed_from(model, me) {
        out.extend(rule("fixed address", cidr, Operator::Equal, Action::Accept(Vec::new())));
    }
    for cidr in &own {
        // The block around a fixed address of ours is its owner's to announce.
        if !blocks::is_one(*cidr) {
            out.extend(rule("own block", *cidr, Operator::Covers, Action::Protect));
        }
        out.extend(rule("inside own block", *cidr, Operator::In, Action::Protect));
    }
    for cidr in services.into_iter().flatten() {
        out.extend(rule("services", *cidr, Operator::In, Action::Protect));
    }
    for cidr in &pools {
        out.extend(rule("pool", *cidr, Operator::In, Action::Accept(Vec::new())));
    }
    out.extend(Filter::protecting(&[]));
    for cidr in &subnets {
        out.extend(rule("covers nodes' subnet", *cidr, Operator::Covers, Action::Protect));
        out.extend(rule("inside nodes' subnet", *cidr, Operator::In, Action::Protect));
    }
    for cidr in &covered {
        out.extend(rule("covers", *cidr, Operator::Covers, Action::Protect));
    }
    out
}

fn subnets(node: &FabricNode) -> impl Iterator<Item = IpNetwork> {
    let declared = [node.address(false), node.address(true)].into_iter().flatten();
    declared.filter_map(|net| IpNetwork::new(net.network(), net.prefix()).ok())
}

fn rule(what: &str, cidr: IpNetwork, operator: Operator, action: Action) -> Option<Rule> {
    let prefix = Some(PrefixMatch { net: net(cidr)?, operator, length: None });
    let name = format!("built-in: {what} {cidr}").into();
    Some(Rule { name, matches: Match { prefix, ..Match::default() }, action })
}
