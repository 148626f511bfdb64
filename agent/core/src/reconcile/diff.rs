//! The difference between what should be and what is, for one key: the operations that end it.

use corduroy_kernel::nft::{self, Name};
use corduroy_kernel::{Address, FdbEntry, IpNet, LinkKind, LinkName, Mac, Neighbour, Op, State, Sysctl};

use super::owned::is_tunnel;
use crate::desired::{links, neighbours, nft as rules, routes, sysctls};
use crate::former::Former;
use crate::key::Key;
use crate::known::Known;

/// What is to be done about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is as it should be.
    Nothing,
    /// It is to be made or changed.
    Make(Vec<Piece>),
    /// It is to go.
    Remove(Vec<Piece>),
}

/// A piece of a plan: changes of the table are gathered into one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// An operation of its own.
    Op(Op),
    /// A part of the transaction.
    Nft(nft::Change),
}

/// What is to be done about `key`, given what is desired, what is there, and what a former run left.
#[must_use]
pub fn step(known: &Known, state: &State, former: &Former, key: &Key) -> Step {
    match key {
        Key::Link(dev) => link(known, state, *dev),
        Key::Up(dev) => up(known, state, *dev),
        Key::Sysctl(switch) => sysctl(known, state, *switch),
        Key::NftSet(name) => nft_set(known, state, name),
        Key::NftChain(name) => nft_chain(known, state, name),
        Key::NftElement(set, element) => nft_element(known, state, set, element),
        Key::Address(dev, addr) => {
            let there = state.addresses.iter().find(|a| a.dev == *dev && a.addr == *addr);
            address(links::address(known, *dev, *addr), there.copied())
        }
        Key::Neighbour(dev, addr) => {
            let desired = neighbours::neighbour(known, *dev, *addr);
            keyed(
                desired,
                state.neighbours.get(&(*dev, *addr)),
                Op::DeleteNeighbour(*dev, *addr),
                |mac: Mac| Op::PutNeighbour(Neighbour { dev: *dev, addr: *addr, mac }),
            )
        }
        Key::Fdb(dev, mac) => {
            let desired = neighbours::fdb(known, *dev, *mac);
            keyed(desired, state.fdb.get(&(*dev, *mac)), Op::DeleteFdb(*dev, *mac), |vtep| {
                Op::PutFdb(FdbEntry { dev: *dev, mac: *mac, vtep })
            })
        }
        Key::Route(dst) => route(known, state, former, *dst),
        Key::StrayRoute(dst, metric) if state.stray_routes.contains(&(*dst, *metric)) => {
            Step::Remove(vec![Piece::Op(Op::DeleteStrayRoute(*dst, *metric))])
        }
        Key::StrayRoute(..) => Step::Nothing,
    }
}

fn keyed<T: PartialEq>(desired: Option<T>, there: Option<&T>, delete: Op, put: impl Fn(T) -> Op) -> Step {
    match (desired, there) {
        (Some(desired), there) if there == Some(&desired) => Step::Nothing,
        (Some(desired), _) => make(put(desired)),
        (None, Some(_)) => Step::Remove(vec![Piece::Op(delete)]),
        (None, None) => Step::Nothing,
    }
}

fn make(op: Op) -> Step {
    Step::Make(vec![Piece::Op(op)])
}

/// A pod's interface is made and deleted with its pod, by whoever has the pod's namespace; here it is only kept as it
/// should be. One that belongs to no pod passes nothing and stays: a lost record must not cut a living pod's wire.
fn link(known: &Known, state: &State, dev: LinkName) -> Step {
    let there = state.links.get(&dev).map(|seen| &seen.link);
    match (links::link(known, dev), there) {
        (None, Some(_)) if is_tunnel(dev) => Step::Remove(vec![Piece::Op(Op::DeleteLink(dev))]),
        (Some(desired), None) if is_tunnel(dev) => make(Op::AddLink(desired)),
        (Some(desired), Some(there)) if desired.kind != there.kind => match desired.kind {
            LinkKind::Ipip(_) | LinkKind::Vxlan(_) => {
                Step::Make(vec![Piece::Op(Op::DeleteLink(dev)), Piece::Op(Op::AddLink(desired))])
            }
            LinkKind::Veth | LinkKind::Other(_) => Step::Nothing,
        },
        (Some(desired), Some(there)) => {
            let same_mac = desired.mac.is_none() || desired.mac == there.mac;
            if same_mac && desired.mtu == there.mtu && desired.addr_gen == there.addr_gen {
                Step::Nothing
            } else {
                make(Op::SetLink(desired))
            }
        }
        (None, _) | (Some(_), None) => Step::Nothing,
    }
}

fn up(known: &Known, state: &State, dev: LinkName) -> Step {
    let is_down = state.links.get(&dev).is_some_and(|seen| !seen.link.up);
    if is_down && links::link(known, dev).is_some() { make(Op::SetUp(dev, true)) } else { Step::Nothing }
}

/// A switch that was not read is one the kernel does not have, unless its interface has just been made.
fn sysctl(known: &Known, state: &State, switch: Sysctl) -> Step {
    let Some(desired) = sysctls::sysctl(known, switch) else { return Step::Nothing };
    let is_new = |dev| state.links.get(&dev).is_some_and(|seen| seen.index == super::picture::NEW);
    match state.sysctls.get(&switch) {
        Some(there) if *there == desired => Step::Nothing,
        None if !switch.dev().is_some_and(is_new) => Step::Nothing,
        Some(_) | None => make(Op::SetSysctl(switch, desired)),
    }
}

fn address(desired: Option<Address>, there: Option<Address>) -> Step {
    match (desired, there) {
        (Some(desired), Some(there)) if desired.prefix_len != there.prefix_len => {
            Step::Make(vec![Piece::Op(Op::DeleteAddress(there)), Piece::Op(Op::PutAddress(desired))])
        }
        (Some(desired), None) => make(Op::PutAddress(desired)),
        (None, Some(there)) => Step::Remove(vec![Piece::Op(Op::DeleteAddress(there))]),
        (Some(_), Some(_)) | (None, None) => Step::Nothing,
    }
}

fn route(known: &Known, state: &State, former: &Former, dst: IpNet) -> Step {
    match (routes::route(known, dst), state.routes.get(&dst)) {
        (Some(desired), there) if there == Some(&desired) => Step::Nothing,
        (Some(desired), _) => make(Op::PutRoute(desired)),
        (None, Some(_)) if crate::convert::to_bgp(dst).is_some_and(|net| former.holds(net)) => Step::Nothing,
        (None, Some(_)) => Step::Remove(vec![Piece::Op(Op::DeleteRoute(dst))]),
        (None, None) => Step::Nothing,
    }
}

fn nft_set(known: &Known, state: &State, name: &Name) -> Step {
    let there = state.nft.as_ref().and_then(|table| table.sets.get(name));
    match (rules::set(known, name), there) {
        (Some(desired), None) => {
            transaction([nft::Change::AddSet(name.clone(), desired.kind, desired.verdicts)])
        }
        (None, Some(_)) => Step::Remove(vec![Piece::Nft(nft::Change::DeleteSet(name.clone()))]),
        (Some(_), Some(_)) | (None, None) => Step::Nothing,
    }
}

fn nft_chain(known: &Known, state: &State, name: &Name) -> Step {
    let there = state.nft.as_ref().and_then(|table| table.chains.get(name));
    match (rules::chain(known, name), there) {
        (Some(desired), Some(there)) if desired.rules == there.rules => Step::Nothing,
        (Some(desired), Some(_)) => transaction([nft::Change::SetRules(name.clone(), desired.rules)]),
        (Some(desired), None) => transaction([
            nft::Change::AddChain(name.clone(), desired.base),
            nft::Change::SetRules(name.clone(), desired.rules),
        ]),
        // Emptied first: chains that go together may jump to each other.
        (None, Some(_)) => Step::Remove(vec![
            Piece::Nft(nft::Change::SetRules(name.clone(), Vec::new())),
            Piece::Nft(nft::Change::DeleteChain(name.clone())),
        ]),
        (None, None) => Step::Nothing,
    }
}

fn nft_element(known: &Known, state: &State, set: &Name, element: &nft::Key) -> Step {
    let there = state.nft.as_ref().and_then(|table| table.sets.get(set)).map(|set| &set.elements);
    let there = there.and_then(|elements| elements.get(element));
    let add = |verdict| nft::Change::AddElements(set.clone(), vec![(element.clone(), verdict)]);
    let delete = || nft::Change::DeleteElements(set.clone(), vec![element.clone()]);
    match (rules::element(known, set, element), there) {
        (Some(desired), Some(there)) if desired == *there => Step::Nothing,
        (Some(desired), Some(_)) => transaction([delete(), add(desired)]),
        (Some(desired), None) => transaction([add(desired)]),
        (None, Some(_)) => Step::Remove(vec![Piece::Nft(delete())]),
        (None, None) => Step::Nothing,
    }
}

fn transaction<const N: usize>(changes: [nft::Change; N]) -> Step {
    Step::Make(changes.into_iter().map(Piece::Nft).collect())
}

/// Is what is there of another build: a set of another type, or a base chain at another place, than is desired? Neither
/// can be changed; the table is made anew, in one transaction.
#[must_use]
pub fn is_of_another_build(known: &Known, table: &nft::Table, key: &Key) -> bool {
    match key {
        Key::NftSet(name) => table.sets.get(name).is_some_and(|set| {
            rules::set(known, name)
                .is_some_and(|desired| desired.kind != set.kind || desired.verdicts != set.verdicts)
        }),
        Key::NftChain(name) => table
            .chains
            .get(name)
            .is_some_and(|chain| rules::base(name) != chain.base && rules::chain(known, name).is_some()),
        _ => false,
    }
}
