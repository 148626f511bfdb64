//! Is it ours? The only judge, and it needs no memory: names, the protocol number and the table decide.
//!
//! | thing | ours when |
//! |---|---|
//! | link | it is called `cord` + 11 hex digits, `ipip-cord` or `vxlan-cord` |
//! | address | it is on a tunnel device of ours |
//! | neighbour, FDB entry | it is permanent and on an interface of ours |
//! | route | it is in the main table and carries protocol 67 |
//! | set, chain, rule | it is in table `inet corduroy` |
//! | sysctl | never: we set some, and remove none |

use corduroy_kernel::{LinkName, Op, State, nft};

use crate::key::Key;

/// Is this interface one of the two tunnel devices?
#[must_use]
pub fn is_tunnel(dev: LinkName) -> bool {
    dev == LinkName::IPIP || dev == LinkName::VXLAN
}

/// The keys of everything in `state` that is ours.
pub fn keys(state: &State) -> impl Iterator<Item = Key> + '_ {
    let links = state.links.keys().filter(|dev| dev.is_ours()).copied();
    let links = links.flat_map(|dev| [Key::Link(dev), Key::Up(dev)]);
    let addresses = state.addresses.iter().filter(|address| is_tunnel(address.dev));
    let addresses = addresses.map(|address| Key::Address(address.dev, address.addr));
    let neighbours = state.neighbours.keys().filter(|(dev, _)| dev.is_ours());
    let neighbours = neighbours.map(|(dev, addr)| Key::Neighbour(*dev, *addr));
    let fdb = state.fdb.keys().filter(|(dev, _)| dev.is_ours()).map(|(dev, mac)| Key::Fdb(*dev, *mac));
    let routes = state.routes.keys().map(|dst| Key::Route(*dst));
    let stray = state.stray_routes.iter().map(|(dst, metric)| Key::StrayRoute(*dst, *metric));
    links.chain(addresses).chain(neighbours).chain(fdb).chain(routes).chain(stray).chain(nft_keys(state))
}

/// What takes everything away that is ours. Interfaces come first, the rules last: a pod must not be without its rules
/// while it can send. Addresses, neighbours and FDB entries go with their interface.
#[must_use]
pub fn removal(state: &State) -> Vec<Op> {
    let links = state.links.keys().filter(|dev| dev.is_ours()).map(|dev| Op::DeleteLink(*dev));
    let routes = state.routes.keys().map(|dst| Op::DeleteRoute(*dst));
    let stray = state.stray_routes.iter().map(|(dst, metric)| Op::DeleteStrayRoute(*dst, *metric));
    let table = state.nft.iter().map(|_| Op::Nft(vec![nft::Change::DeleteTable]));
    links.chain(routes).chain(stray).chain(table).collect()
}

fn nft_keys(state: &State) -> impl Iterator<Item = Key> + '_ {
    state.nft.iter().flat_map(|table| {
        let chains = table.chains.keys().map(|name| Key::NftChain(name.clone()));
        let sets = table.sets.iter().flat_map(|(name, set)| {
            let elements = set.elements.keys().map(|key| Key::NftElement(name.clone(), key.clone()));
            std::iter::once(Key::NftSet(name.clone())).chain(elements)
        });
        chains.chain(sets)
    })
}
