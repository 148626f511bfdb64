//! What is otherwise in one picture of the kernel than in another, by key.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_kernel::{State, nft};

use super::owned::is_tunnel;
use crate::key::Key;

/// The keys of ours whose things differ between `old` and `new`.
#[must_use]
pub(super) fn between(old: &State, new: &State) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    differing(
        &old.links,
        &new.links,
        |a, b| a.link == b.link,
        |dev| {
            if dev.is_ours() {
                keys.extend([Key::Link(*dev), Key::Up(*dev)]);
            }
        },
    );
    for address in old.addresses.symmetric_difference(&new.addresses).filter(|a| is_tunnel(a.dev)) {
        keys.insert(Key::Address(address.dev, address.addr));
    }
    differing(&old.neighbours, &new.neighbours, PartialEq::eq, |(dev, addr)| {
        if dev.is_ours() {
            keys.insert(Key::Neighbour(*dev, *addr));
        }
    });
    differing(&old.fdb, &new.fdb, PartialEq::eq, |(dev, mac)| {
        if dev.is_ours() {
            keys.insert(Key::Fdb(*dev, *mac));
        }
    });
    differing(&old.routes, &new.routes, PartialEq::eq, |dst| {
        keys.insert(Key::Route(*dst));
    });
    for (dst, metric) in old.stray_routes.symmetric_difference(&new.stray_routes) {
        keys.insert(Key::StrayRoute(*dst, *metric));
    }
    differing(&old.sysctls, &new.sysctls, PartialEq::eq, |switch| {
        keys.insert(Key::Sysctl(*switch));
    });
    tables(old.nft.as_ref(), new.nft.as_ref(), &mut keys);
    keys
}

fn tables(old: Option<&nft::Table>, new: Option<&nft::Table>, keys: &mut BTreeSet<Key>) {
    let empty = nft::Table::default();
    let (old, new) = (old.unwrap_or(&empty), new.unwrap_or(&empty));
    differing(&old.chains, &new.chains, PartialEq::eq, |name| {
        keys.insert(Key::NftChain(name.clone()));
    });
    let names: BTreeSet<_> = old.sets.keys().chain(new.sets.keys()).collect();
    let none = BTreeMap::new();
    for name in names {
        let (old, new) = (old.sets.get(name), new.sets.get(name));
        let of = |set: Option<&nft::Set>| set.map(|set| (set.kind.clone(), set.verdicts));
        if of(old) != of(new) {
            keys.insert(Key::NftSet(name.clone()));
        }
        let [before, after] = [old, new].map(|set| set.map_or(&none, |set| &set.elements));
        differing(before, after, PartialEq::eq, |key| {
            keys.insert(Key::NftElement(name.clone(), key.clone()));
        });
    }
}

/// Calls `with` for every key that one map lacks or that has values for which `same` does not hold.
fn differing<K: Ord, V>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    same: impl Fn(&V, &V) -> bool,
    mut with: impl FnMut(&K),
) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (Some((a, before)), Some((b, after))) => match a.cmp(b) {
                std::cmp::Ordering::Less => {
                    with(a);
                    old.next();
                }
                std::cmp::Ordering::Greater => {
                    with(b);
                    new.next();
                }
                std::cmp::Ordering::Equal => {
                    if !same(before, after) {
                        with(a);
                    }
                    old.next();
                    new.next();
                }
            },
            (Some((a, _)), None) => {
                with(a);
                old.next();
            }
            (None, Some((b, _))) => {
                with(b);
                new.next();
            }
            (None, None) => return,
        }
    }
}
