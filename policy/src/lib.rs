//! Policies, made sense of: from resources to what the kernel is to do.
//!
//! ```text
//! NetworkPolicy (Kubernetes) ─┐
//! ClusterNetworkPolicy ───────┼─ normal ─► Policy, Tier ─┐
//! our own kinds ──────────────┘                          ├─ engine ─► chains, sets, elements, programs
//! pods, nodes, network sets, namespaces, services ───────┘            and which of them changed
//! ```
//! One order for all kinds. **Tiers** are asked in their order: `kube-admin` (1,000), `default` (1,000,000),
//! `kube-baseline` (10,000,000) and those of operators around them; a tier without an order comes last. Of a tier, the
//! policies that select the endpoint and have the direction are asked by order and name; when there is none, the tier
//! is skipped. Of a policy, the rules are asked as they stand: Allow ends it well, Deny ends it badly, Pass leaves the
//! tier, Log is noted. When no rule of the tier matched, its default action decides: Deny or Pass. Behind the last tier
//! a packet may pass. Both directions are judged for a packet's first of a connection, sender's egress and receiver's
//! ingress; answers are connection tracking's matter.
//!
//! No IO, no clock; the same resources give the same chains, in whatever order they came.
#![warn(missing_docs)]

pub mod engine;
pub mod normal;
pub mod trace;
pub mod warnings;

pub use engine::{Changes, Class, Dirty, Endpoint, EndpointKey, Engine, Stage};
pub use engine::{Count, Origin, RuleRef};
pub use normal::{Direction, Policy, PolicyId, PolicyKind, Tier};
pub use trace::{Judgement, Said, Settled, Step, Trace};
pub use warnings::{Warning, Why};
