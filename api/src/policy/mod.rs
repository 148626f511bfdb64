//! Policies: who may send what to whom. Kubernetes' own kinds, which are only read, and ours, with the fields of
//! `projectcalico.org/v3`.
//!
//! ```text
//! kubernetes  NetworkPolicy         networking.k8s.io/v1               read only
//! cluster     ClusterNetworkPolicy  policy.networking.k8s.io/v1alpha2  read only
//! own         NetworkPolicy, GlobalNetworkPolicy        rule  their rules
//! tier        Tier
//! sets        NetworkSet, GlobalNetworkSet
//! host        HostEndpoint
//!                     all of them, as a datastore has them: resource
//! ```
//! A resource that is wrong is not in force, and for most kinds that is the end of it. A policy is there to forbid, so
//! one that is only half understood must not let everything pass: where it is known whom it is about, it is kept with
//! what is wrong with it ([`Judged`]), and what stands behind denies instead of its rules. Only when nobody can say
//! whom it is about is it refused as a whole.

pub mod cluster;
pub mod host;
pub mod kubernetes;
mod labels;
mod number;
pub mod own;
mod resource;
pub mod rule;
pub mod sets;
pub mod tier;

pub use number::Number;
pub use resource::{PolicyBody, PolicyResource};

use crate::raw::{NumberOrText, Raw};
use crate::report::{Report, Step, Violations, quoted};
use crate::yaml::Value;

/// Ports of a transport protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// From the first to the last.
    Range(u16, u16),
    /// Those that the endpoint calls by this name.
    Named(String),
}

/// A transport protocol by its IANA number; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP, of IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP of IPv6.
    pub const ICMP_V6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);

    /// By name, as people write it.
    const NAMES: [(&'static str, Self); 6] = [
        ("TCP", Self::TCP),
        ("UDP", Self::UDP),
        ("ICMP", Self::ICMP),
        ("ICMPv6", Self::ICMP_V6),
        ("SCTP", Self::SCTP),
        ("UDPLite", Self(136)),
    ];

    /// Can rules about it name ports?
    #[must_use]
    pub fn has_ports(self) -> bool {
        [Self::TCP, Self::UDP, Self::SCTP].contains(&self)
    }

    /// The one of this name, or of this number.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, protocol)| *protocol);
        known.or_else(|| text.parse().ok().filter(|number| *number > 0).map(Self))
    }
}

/// What came of reading a policy whose subject is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged<T> {
    /// What could be read.
    pub policy: T,
    /// What is wrong with the rest: the policy denies in every direction it has.
    pub broken: Option<Violations>,
}

/// Reads the `spec:` of a policy. `subject` are the fields that say whom and where it is about.
fn judged<S: Raw, T>(
    value: &Value,
    subject: &[&str],
    check: impl FnOnce(S, &mut Report) -> Option<T>,
) -> Result<Judged<T>, Violations> {
    let mut report = Report::default();
    let policy = report.within("spec", |r| S::read(value, r).and_then(|spec| check(spec, r)));
    let violations = match report.finish::<()>(None) {
        Ok(()) => Vec::new(),
        Err(Violations(list)) => list,
    };
    let vital = |step: Option<&Step>| match step {
        Some(Step::Key(key)) => subject.contains(&key.as_str()),
        _ => true,
    };
    let fatal = violations.iter().any(|invalid| vital(invalid.field.0.get(1)));
    match policy {
        Some(policy) if !fatal => {
            Ok(Judged { policy, broken: (!violations.is_empty()).then_some(Violations(violations)) })
        }
        _ => Err(Violations(violations)),
    }
}

/// Does `value` have the field `name`, whatever stands there?
fn mentions(value: &Value, name: &str) -> bool {
    value.get(name).is_some_and(|field| !field.is_null())
}

const PORT: &str = "a port from 1 to 65535, or the name of one";

/// A number or a name; what consists of digits is a number.
fn port(raw: &NumberOrText, report: &mut Report) -> Option<Ports> {
    let text = raw.0.as_str();
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let number = text.parse().ok().filter(|number| *number > 0);
        if number.is_none() {
            report.refuse(quoted(text), PORT);
        }
        return number.map(|number| Ports::Range(number, number));
    }
    is_port_name(text, report).then(|| Ports::Named(text.to_owned()))
}

/// Letters, digits and `-`, with a letter among them, at most 63: what Kubernetes lets containers call ports.
fn is_port_name(text: &str, report: &mut Report) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let fine = inner && !text.is_empty() && text.len() <= 63 && text.bytes().any(|b| b.is_ascii_alphabetic());
    if !fine {
        report.refuse(quoted(text), PORT);
    }
    fine
}

/// A whole number of at most so much, in the field `name`.
fn bounded(name: &str, count: usize, most: usize, report: &mut Report) {
    if count > most {
        report.refuse_field(name, format!("{count} of them"), format!("at most {most}"));
    }
}

#[cfg(test)]
mod tests;
