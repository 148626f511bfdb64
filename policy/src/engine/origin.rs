//! What a rule of the kernel stands for. The comments of rules are made here and nowhere else, so that what was counted
//! can be told by policy and rule again.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use corduroy_api::policy::tier::DefaultAction;
use corduroy_kernel::nft::Counted;

use super::Engine;
use crate::normal::{Action, Direction, PolicyId};

/// Which rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleRef {
    /// Of which policy.
    pub policy: PolicyId,
    /// In which list of it.
    pub direction: Direction,
    /// Its place in the list of the resource, from 0.
    pub rule: usize,
}

/// `netpol/shop/web ingress rule 0`
impl Display for RuleRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} rule {}", self.policy, self.direction, self.rule)
    }
}

/// What a rule in a chain of the engine stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The policies of a tier are asked.
    Tier {
        /// The name of the tier.
        name: String,
        /// What becomes of what they do not decide.
        default_action: DefaultAction,
    },
    /// Rules of a policy are asked.
    Policy(PolicyId),
    /// A rule of a policy. It can be several in the kernel: one for each family, say.
    Rule(RuleRef, Action),
    /// What the policies of a tier did not decide is denied.
    Silence {
        /// The name of the tier.
        tier: String,
        /// Which way.
        direction: Direction,
    },
    /// No tier denied it.
    Undenied,
}

impl Origin {
    /// The comment of the rule, if it has one: at most 127 octets, as much as the kernel takes.
    #[must_use]
    pub fn comment(&self) -> Option<String> {
        let text = match self {
            Self::Tier { .. } | Self::Policy(_) => return None,
            Self::Rule(rule, _) => rule.to_string(),
            Self::Silence { tier, direction } => format!("tier {tier}, {direction}: no rule matched"),
            Self::Undenied => "no tier denied it".to_owned(),
        };
        Some(cut(&text))
    }
}

/// As much as the kernel takes of a comment or prefix.
pub(super) fn cut(text: &str) -> String {
    const MOST: usize = 127;
    text.chars().filter(char::is_ascii).take(MOST).collect()
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Their octets.
    pub bytes: u64,
}

/// Says of what the kernel has counted which rule of which policy counted it. What was counted in chains that are not
/// the engine's, or are not as it has them (the kernel is behind for a moment), is left out.
pub(super) fn counts(engine: &Engine, counted: &[Counted]) -> BTreeMap<Origin, Count> {
    let mut all: BTreeMap<Origin, Count> = BTreeMap::new();
    for of_chain in counted.chunk_by(|a, b| a.chain == b.chain) {
        let Some(origins) = of_chain.first().and_then(|one| engine.origins(&one.chain)) else { continue };
        for one in of_chain {
            let Some(origin) = origins.get(one.position).filter(|it| it.comment() == one.comment) else {
                continue;
            };
            let count = all.entry(origin.clone()).or_default();
            count.packets = count.packets.saturating_add(one.packets);
            count.bytes = count.bytes.saturating_add(one.bytes);
        }
    }
    all
}
