//! The CustomResourceDefinition of each kind.

use serde_yaml::{Mapping, Value};

use super::{Schema, policy};
use crate::bgp_configuration::BgpConfiguration;
use crate::bgp_filter::BgpFilter;
use crate::bgp_peer::BgpPeer;
use crate::fabric_node::FabricNode;
use crate::ip_pool::{IpPool, IpPoolStatusSpec};
use crate::ip_reservation::IpReservation;
use crate::ipam_block::IpamBlock;
use crate::meta::Kind;
use crate::node_status::{self, NodeReport};
use crate::raw::{Raw, raw};
use crate::resource::{API_VERSION, Checked};

raw! {
    /// `status:` of every kind: what became of the resource.
    pub struct StatusSpec {
        /// What holds of the resource at present, one condition a type.
        conditions: Vec<ConditionSpec> = "conditions" => .most(16).keyed("type"),
    }
}

raw! {
    /// An item of `status.conditions`, as all of Kubernetes has them.
    pub struct ConditionSpec {
        /// What it is about, in CamelCase.
        kind: String = "type" => .required().most(316),
        /// Whether it holds: True, False or Unknown.
        status: String = "status" => .required().words(&["True", "False", "Unknown"]),
        /// Of which generation of the resource this is said.
        observed_generation: u64 = "observedGeneration",
        /// When `status` last changed.
        last_transition_time: String = "lastTransitionTime" => .required().date_time(),
        /// Why, in one CamelCase word.
        reason: String = "reason" => .required().least(1).most(1024),
        /// Why, in a sentence.
        message: String = "message" => .required().most(32768),
    }
}

/// What an API server must know of a kind beside its schema.
pub(super) struct Naming {
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) short: &'static str,
    pub(super) about: &'static str,
    /// Columns of `kubectl get`: heading, type, JSONPath.
    pub(super) columns: &'static [(&'static str, &'static str, &'static str)],
    /// Fields that a watch may select by.
    pub(super) selectable: &'static [&'static str],
}

/// The definition of a kind, ready for `apiextensions.k8s.io/v1`; `None` for a kind that is not ours to define.
#[must_use]
pub fn definition(kind: Kind) -> Option<Value> {
    Some(match kind {
        Kind::IpPool => assemble(&POOL, schema::<IpPool>(POOL.about)),
        Kind::IpamBlock => assemble(&BLOCK, named_by_cidr(schema::<IpamBlock>(BLOCK.about))),
        Kind::FabricNode => assemble(&NODE, schema::<FabricNode>(NODE.about)),
        Kind::BgpConfiguration => {
            assemble(&CONFIGURATION, scoped_by_name(schema::<BgpConfiguration>(CONFIGURATION.about)))
        }
        Kind::BgpPeer => assemble(&PEER, schema::<BgpPeer>(PEER.about)),
        Kind::BgpFilter => assemble(&FILTER, schema::<BgpFilter>(FILTER.about)),
        Kind::IpReservation => assemble(&RESERVATION, schema::<IpReservation>(RESERVATION.about)),
        kind => {
            let (naming, spec) = policy::of(kind)?;
            assemble(&naming, whole(kind, naming.about, spec))
        }
    })
}

/// How a kind is called in paths of the API, as in `ippools`; `None` for a kind that is not ours to define.
#[must_use]
pub fn plural(kind: Kind) -> Option<&'static str> {
    let all = [POOL, BLOCK, NODE, CONFIGURATION, PEER, FILTER, RESERVATION];
    let known = all.iter().find(|n| n.kind == kind.name()).map(|n| n.plural);
    known.or_else(|| policy::of(kind).map(|(naming, _)| naming.plural))
}

/// The definitions of what is no kind of the fabric's, with the plurals: reports that are written and never watched.
#[must_use]
pub fn reports() -> [(&'static str, Value); 1] {
    [(node_status::PLURAL, assemble(&NODE_STATUS, reported::<NodeReport>(NODE_STATUS.about)))]
}

/// The name of a kind's definition, as in `ippools.corduroy.dev`; `None` for a kind that is not ours to define.
#[must_use]
pub fn name(kind: Kind) -> Option<String> {
    let (group, _) = API_VERSION.split_once('/')?;
    plural(kind).map(|plural| format!("{plural}.{group}"))
}

/// The label that all our definitions have, for whoever wants to find them: key and value.
pub const LABEL: (&str, &str) = ("app.kubernetes.io/part-of", "corduroy");

/// Of the kinds that people write: what their condition of this type says.
pub(super) const IN_FORCE: (&str, &str, &str) =
    ("In-Force", "string", ".status.conditions[?(@.type=='InForce')].status");

const POOL: Naming = Naming {
    kind: Kind::IpPool.name(),
    plural: "ippools",
    short: "ipp",
    about: "Addresses for pods and tunnels, how they are cut into blocks, and how packets between nodes travel.",
    columns: &[
        ("CIDR", "string", ".spec.cidr"),
        ("Block", "integer", ".spec.blockSize"),
        ("IPIP", "string", ".spec.ipipMode"),
        ("VXLAN", "string", ".spec.vxlanMode"),
        ("NAT", "boolean", ".spec.natOutgoing"),
        ("Disabled", "boolean", ".spec.disabled"),
        IN_FORCE,
        ("Blocks", "integer", ".status.blocks"),
        ("Free", "integer", ".status.blocksFree"),
    ],
    selectable: &[],
};

const BLOCK: Naming = Naming {
    kind: Kind::IpamBlock.name(),
    plural: "ipamblocks",
    short: "ipab",
    about: "A block of a pool and the node that owns it. Agents write these; do not edit them.",
    columns: &[
        ("CIDR", "string", ".spec.cidr"),
        ("Node", "string", ".spec.node"),
        ("Epoch", "integer", ".spec.epoch"),
    ],
    selectable: &[".spec.node"],
};

const NODE: Naming = Naming {
    kind: Kind::FabricNode.name(),
    plural: "fabricnodes",
    short: "fn",
    about: "What every node must know of every other. The node's agent writes it, on change.",
    columns: &[
        ("Addresses", "string", ".spec.addresses"),
        ("AS", "string", ".spec.asNumber"),
        ("Cluster-ID", "string", ".spec.routeReflectorClusterID"),
        ("IPIP", "string", ".spec.tunnels.ipip.address"),
        ("VXLAN", "string", ".spec.tunnels.vxlan.address"),
    ],
    selectable: &[],
};

const CONFIGURATION: Naming = Naming {
    kind: Kind::BgpConfiguration.name(),
    plural: "bgpconfigurations",
    short: "bgpc",
    about: "Settings of the fabric's BGP: the one named default holds for all, one named node.NAME for that node.",
    columns: &[
        ("AS", "string", ".spec.asNumber"),
        ("Mesh", "boolean", ".spec.nodeToNodeMeshEnabled"),
        ("Port", "integer", ".spec.listenPort"),
        IN_FORCE,
    ],
    selectable: &[],
};

const PEER: Naming = Naming {
    kind: Kind::BgpPeer.name(),
    plural: "bgppeers",
    short: "bgpp",
    about: "BGP sessions beside the mesh or instead of it: which nodes peer with whom, and how.",
    columns: &[
        ("Node", "string", ".spec.node"),
        ("Node-Selector", "string", ".spec.nodeSelector"),
        ("Peer", "string", ".spec.peerIP"),
        ("Peer-Selector", "string", ".spec.peerSelector"),
        ("AS", "string", ".spec.asNumber"),
        IN_FORCE,
    ],
    selectable: &[],
};

const FILTER: Naming = Naming {
    kind: Kind::BgpFilter.name(),
    plural: "bgpfilters",
    short: "bgpf",
    about: "Import and export rules for BGP sessions: the first rule that matches decides.",
    columns: &[IN_FORCE],
    selectable: &[],
};

const NODE_STATUS: Naming = Naming {
    kind: node_status::KIND,
    plural: node_status::PLURAL,
    short: "nst",
    about: "How a node's fabric is: sessions, blocks, what is wrong. The node's agent writes it, on change.",
    columns: &[
        ("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
        ("Sessions", "string", ".status.bgp.summary"),
        ("Advertised", "integer", ".status.advertised.count"),
        ("Blocks", "integer", ".status.blocks.count"),
        ("Problems", "integer", ".status.problems.count"),
        ("Version", "string", ".status.version"),
    ],
    selectable: &[],
};

/// A resource that nobody asks for: it only says how things are.
fn reported<T: Raw>(about: &str) -> Schema {
    Schema::object(vec![
        ("apiVersion", "The version of this kind's schema.".to_owned(), Schema::text()),
        ("kind", "The kind.".to_owned(), Schema::text()),
        ("metadata", String::new(), Schema::object(Vec::new())),
        ("status", "How things are.".to_owned(), T::schema()),
    ])
    .described(about)
}

const RESERVATION: Naming = Naming {
    kind: Kind::IpReservation.name(),
    plural: "ipreservations",
    short: "ipr",
    about: "Addresses of pools that are not handed out to whoever asks for any address.",
    columns: &[("CIDRs", "string", ".spec.reservedCIDRs"), IN_FORCE],
    selectable: &[],
};

/// The whole resource.
fn schema<T: Checked>(about: &str) -> Schema {
    whole(T::KIND, about, T::Spec::schema())
}

fn whole(kind: Kind, about: &str, spec: Schema) -> Schema {
    Schema::object(vec![
        ("apiVersion", "The version of this kind's schema.".to_owned(), Schema::text()),
        ("kind", "The kind.".to_owned(), Schema::text()),
        // The name is named so that a rule may point at it.
        ("metadata", String::new(), Schema::object(vec![("name", String::new(), Schema::text())])),
        ("spec", "What is wanted.".to_owned(), spec.required()),
        ("status", "What became of it.".to_owned(), status(kind)),
    ])
    .described(about)
}

/// What a kind says of itself beyond conditions.
fn status(kind: Kind) -> Schema {
    match kind {
        Kind::IpPool => IpPoolStatusSpec::schema(),
        _ => StatusSpec::schema(),
    }
}

/// Two objects for one block would be two owners of it: the name is what the datastore keeps unique.
fn named_by_cidr(schema: Schema) -> Schema {
    schema.rule_at(
        "spec.cidr",
        "self.metadata.name == (self.spec.cidr.startsWith(':') ? '0' : '') + \
         self.spec.cidr.replace('.', '-').replace(':', '-').replace('/', '-')",
        "the CIDR of the resource's name: 10.244.0.64/26 is named 10-244-0-64-26",
    )
}

/// A name that nobody looks at would be settings that silently do nothing.
fn scoped_by_name(schema: Schema) -> Schema {
    let named = schema.rule_at(
        "metadata.name",
        "self.metadata.name == 'default' || self.metadata.name.startsWith('node.')",
        "default, or node. and a node's name",
    );
    let shared = [
        "asNumber",
        "nodeToNodeMeshEnabled",
        "nodeMeshPassword",
        "nodeMeshMaxRestartTime",
        "nodeMeshHoldTime",
        "nodeMeshKeepaliveTime",
        "serviceClusterIPs",
        "serviceExternalIPs",
        "serviceLoadBalancerIPs",
        "serviceLoadBalancerAggregation",
    ];
    shared.iter().fold(named, |schema, field| {
        let rule = format!("self.metadata.name == 'default' || !has(self.spec.{field})");
        schema.rule_at(
            &format!("spec.{field}"),
            &rule,
            "left out: only the BGPConfiguration named default has it",
        )
    })
}

fn assemble(naming: &Naming, schema: Schema) -> Value {
    let (group, version) = API_VERSION.split_once('/').unwrap_or((API_VERSION, ""));
    let singular = naming.kind.to_lowercase();
    let namespaced = Kind::named(naming.kind).is_some_and(Kind::is_namespaced);
    let scope = if namespaced { "Namespaced" } else { "Cluster" };
    let names = map(vec![
        ("kind", naming.kind.into()),
        ("listKind", format!("{}List", naming.kind).into()),
        ("plural", naming.plural.into()),
        ("singular", singular.into()),
        ("shortNames", list(vec![naming.short.into()])),
        ("categories", list(vec!["corduroy".into()])),
    ]);
    let mut served = vec![("name", version.into()), ("served", true.into()), ("storage", true.into())];
    // What only says how things are is written whole, by one request.
    if naming.kind != node_status::KIND {
        served.push(("subresources", map(vec![("status", map(Vec::new()))])));
    }
    served.push(("additionalPrinterColumns", columns(naming.columns)));
    if !naming.selectable.is_empty() {
        let fields = naming.selectable.iter().map(|path| map(vec![("jsonPath", (*path).into())]));
        served.push(("selectableFields", list(fields.collect())));
    }
    served.push(("schema", map(vec![("openAPIV3Schema", schema.into_value())])));
    map(vec![
        ("apiVersion", "apiextensions.k8s.io/v1".into()),
        ("kind", "CustomResourceDefinition".into()),
        (
            "metadata",
            map(vec![
                ("name", format!("{}.{group}", naming.plural).into()),
                ("labels", map(vec![(LABEL.0, LABEL.1.into())])),
            ]),
        ),
        (
            "spec",
            map(vec![
                ("group", group.into()),
                ("scope", scope.into()),
                ("names", names),
                ("versions", list(vec![map(served)])),
            ]),
        ),
    ])
}

fn columns(columns: &[(&str, &str, &str)]) -> Value {
    let age = ("Age", "date", ".metadata.creationTimestamp");
    let column = |(heading, kind, path): &(&str, &str, &str)| {
        map(vec![("name", (*heading).into()), ("type", (*kind).into()), ("jsonPath", (*path).into())])
    };
    list(columns.iter().chain([&age]).map(column).collect())
}

fn map(entries: Vec<(&str, Value)>) -> Value {
    Value::Mapping(entries.into_iter().map(|(key, value)| (key.into(), value)).collect::<Mapping>())
}

fn list(items: Vec<Value>) -> Value {
    Value::Sequence(items)
}
