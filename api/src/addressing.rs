//! What annotations say of a pod's addresses: from which pools, or which addresses.
//!
//! | annotation | on | value |
//! |---|---|---|
//! | `corduroy.dev/ipv4pools`, `corduroy.dev/ipv6pools` | pods, namespaces | `["pool-a", "pool-b"]`: names of IPPools |
//! | `corduroy.dev/ipAddrs` | pods | `["10.0.0.5"]`: at most one address of a family |
//!
//! Each is also known under `cni.projectcalico.org/`, where Calico has it. Where both are set, ours counts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::value::is_host;

/// Pools for IPv4, then for IPv6: our name, then Calico's.
pub const POOLS: [[&str; 2]; 2] = [
    ["corduroy.dev/ipv4pools", "cni.projectcalico.org/ipv4pools"],
    ["corduroy.dev/ipv6pools", "cni.projectcalico.org/ipv6pools"],
];
/// Fixed addresses: our name, then Calico's.
pub const ADDRESSES: [&str; 2] = ["corduroy.dev/ipAddrs", "cni.projectcalico.org/ipAddrs"];
/// All of them.
pub const ALL: [&str; 6] = [POOLS[0][0], POOLS[0][1], POOLS[1][0], POOLS[1][1], ADDRESSES[0], ADDRESSES[1]];

/// What the annotations of a pod or namespace ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addressing {
    /// Only of these pools, for IPv4; empty: it does not say.
    pub pools_v4: Vec<String>,
    /// Only of these pools, for IPv6; empty: it does not say.
    pub pools_v6: Vec<String>,
    /// These very addresses, at most one of a family.
    pub addresses: Vec<IpAddr>,
}

/// An annotation that can't be met. The pod does not start before it is mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {name} has the value {value:?}; allowed is {allowed}")]
pub struct BadAnnotation {
    /// Which.
    pub name: String,
    /// What it says.
    pub value: String,
    /// What it may say.
    pub allowed: &'static str,
}

const POOL_NAMES: &str = "a list of names of IPPools, as in [\"pool-a\"]";
const FIXED: &str =
    "a list of addresses of pods, at most one of IPv4 and one of IPv6, as in [\"10.244.0.5\"]";

impl Addressing {
    /// What these annotations ask for.
    ///
    /// # Errors
    /// [`BadAnnotation`], the first of them.
    pub fn read(annotations: &BTreeMap<String, String>) -> Result<Self, BadAnnotation> {
        let [v4, v6] = POOLS.map(|names| pools(annotations, names));
        Ok(Self { pools_v4: v4?, pools_v6: v6?, addresses: addresses(annotations)? })
    }
}

fn set<'a>(annotations: &'a BTreeMap<String, String>, names: [&'a str; 2]) -> Option<(&'a str, &'a String)> {
    names.into_iter().find_map(|name| annotations.get(name).map(|value| (name, value)))
}

/// A list in JSON, as Calico has it, and not an empty one: who sets an annotation means something by it.
fn list(name: &str, value: &str, allowed: &'static str) -> Result<Vec<String>, BadAnnotation> {
    let bad = || BadAnnotation { name: name.to_owned(), value: value.to_owned(), allowed };
    let list: Vec<String> = serde_yaml::from_str(value).map_err(|_| bad())?;
    if value.trim_start().starts_with('[') && !list.is_empty() { Ok(list) } else { Err(bad()) }
}

fn pools(annotations: &BTreeMap<String, String>, names: [&str; 2]) -> Result<Vec<String>, BadAnnotation> {
    let Some((name, value)) = set(annotations, names) else { return Ok(Vec::new()) };
    let pools = list(name, value, POOL_NAMES)?;
    if pools.iter().all(|pool| crate::meta::is_name(pool)) {
        return Ok(pools);
    }
    Err(BadAnnotation { name: name.to_owned(), value: value.clone(), allowed: POOL_NAMES })
}

fn addresses(annotations: &BTreeMap<String, String>) -> Result<Vec<IpAddr>, BadAnnotation> {
    let Some((name, value)) = set(annotations, ADDRESSES) else { return Ok(Vec::new()) };
    let bad = || BadAnnotation { name: name.to_owned(), value: value.clone(), allowed: FIXED };
    let usable = |address: &IpAddr| is_host(*address) && !address.is_loopback();
    let parse = |text: &String| text.parse().ok().filter(usable).ok_or_else(bad);
    let addresses: Vec<IpAddr> = list(name, value, FIXED)?.iter().map(parse).collect::<Result<_, _>>()?;
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    if v4 > 1 || addresses.len() - v4 > 1 { Err(bad()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotations: &[(&str, &str)]) -> Result<Addressing, String> {
        let map = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Addressing::read(&map).map_err(|bad| bad.to_string())
    }

    #[test]
    fn annotations_are_known_by_our_name_and_by_calicos_and_ours_counts() {
        let calico = ("cni.projectcalico.org/ipv4pools", "[\"theirs\"]");
        assert_eq!(read(&[calico]).unwrap().pools_v4, ["theirs"]);
        assert_eq!(read(&[calico, ("corduroy.dev/ipv4pools", "[ours]")]).unwrap().pools_v4, ["ours"]);
        let fixed = read(&[("cni.projectcalico.org/ipAddrs", "[\"10.0.0.5\", \"fd00::5\"]")]).unwrap();
        assert_eq!(fixed.addresses, ["10.0.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
        assert_eq!(read(&[("somebody.else/ipAddrs", "nonsense")]).unwrap(), Addressing::default());
    }

    #[test]
    fn a_bad_annotation_is_named_with_its_value_and_what_is_allowed() {
        for (name, value) in [
            ("corduroy.dev/ipAddrs", "10.0.0.5"),
            ("corduroy.dev/ipAddrs", "[]"),
            ("corduroy.dev/ipAddrs", "[\"10.0.0.5/32\"]"),
            ("corduroy.dev/ipAddrs", "[\"127.0.0.1\"]"),
            ("cni.projectcalico.org/ipAddrs", "[\"10.0.0.5\", \"10.0.0.6\"]"),
            ("corduroy.dev/ipv4pools", "pool-a"),
            ("corduroy.dev/ipv6pools", "[\"Not A Name\"]"),
            ("corduroy.dev/ipv6pools", "[{}]"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(&format!("{value:?}")), "{error}");
            assert!(error.contains("allowed is a list of"), "{error}");
        }
    }
}
