//! The picture of the kernel: what was read, with what was asked for since drawn in.
//!
//! An operation is drawn in when it is planned, so that what follows in the same plan sees it. Where the kernel
//! refuses one, the picture is wrong and is read again.

use corduroy_kernel::{LinkName, Op, SeenLink, State, nft};

/// The index of an interface that was asked for and not read yet.
pub const NEW: u32 = 0;

/// Draws one operation in, with what follows of it by itself.
pub fn draw(state: &mut State, op: &Op) {
    match op {
        Op::AddLink(link) | Op::AddVeth(link, _) => {
            let link = corduroy_kernel::Link { up: false, ..link.clone() };
            state.links.insert(link.name, SeenLink { index: NEW, link, running: false });
        }
        Op::SetLink(link) => {
            if let Some(seen) = state.links.get_mut(&link.name) {
                let (kind, up) = (seen.link.kind.clone(), seen.link.up);
                let mac = link.mac.or(seen.link.mac);
                seen.link = corduroy_kernel::Link { kind, up, mac, ..link.clone() };
            }
        }
        Op::SetUp(dev, up) => {
            if let Some(seen) = state.links.get_mut(dev) {
                seen.link.up = *up;
            }
            if !up {
                routes_by(state, *dev);
            }
        }
        Op::DeleteLink(dev) => delete_link(state, *dev),
        Op::PutAddress(address) => {
            state.addresses.insert(*address);
        }
        Op::DeleteAddress(address) => {
            state.addresses.remove(address);
        }
        Op::PutNeighbour(n) => {
            state.neighbours.insert((n.dev, n.addr), n.mac);
        }
        Op::DeleteNeighbour(dev, addr) => {
            state.neighbours.remove(&(*dev, *addr));
        }
        Op::PutFdb(entry) => {
            state.fdb.insert((entry.dev, entry.mac), entry.vtep);
        }
        Op::DeleteFdb(dev, mac) => {
            state.fdb.remove(&(*dev, *mac));
        }
        Op::PutRoute(route) => {
            state.routes.insert(route.dst, route.clone());
        }
        Op::DeleteRoute(dst) => {
            state.routes.remove(dst);
        }
        Op::DeleteStrayRoute(dst, metric) => {
            state.stray_routes.remove(&(*dst, *metric));
        }
        Op::SetSysctl(switch, value) => {
            state.sysctls.insert(*switch, *value);
        }
        Op::Nft(changes) => changes.iter().for_each(|change| draw_nft(&mut state.nft, change)),
        Op::SetPod(_) | Op::ForgetFlows(_) | Op::MarkFlows { .. } => {}
    }
}

fn delete_link(state: &mut State, dev: LinkName) {
    state.links.remove(&dev);
    state.addresses.retain(|address| address.dev != dev);
    state.neighbours.retain(|(d, _), _| *d != dev);
    state.fdb.retain(|(d, _), _| *d != dev);
    state.sysctls.retain(|switch, _| switch.dev() != Some(dev));
    routes_by(state, dev);
}

/// Routes vanish with their interface; of several next hops the others stay, but which is the kernel's business.
fn routes_by(state: &mut State, dev: LinkName) {
    state.routes.retain(|_, route| route.hops().iter().all(|hop| hop.dev != dev));
}

/// Draws a change of the table in.
pub fn draw_nft(state: &mut Option<nft::Table>, change: &nft::Change) {
    if let nft::Change::DeleteTable = change {
        *state = None;
        return;
    }
    let table = state.get_or_insert_default();
    match change {
        nft::Change::AddTable | nft::Change::DeleteTable => {}
        nft::Change::AddChain(name, base) => table.chains.entry(name.clone()).or_default().base = *base,
        nft::Change::DeleteChain(name) => {
            table.chains.remove(name);
        }
        nft::Change::SetRules(name, rules) => {
            table.chains.entry(name.clone()).or_default().rules.clone_from(rules);
        }
        nft::Change::AddSet(name, kind, verdicts) => {
            let set = || nft::Set { kind: kind.clone(), verdicts: *verdicts, elements: Default::default() };
            table.sets.entry(name.clone()).or_insert_with(set);
        }
        nft::Change::DeleteSet(name) => {
            table.sets.remove(name);
        }
        nft::Change::AddElements(name, elements) => {
            if let Some(set) = table.sets.get_mut(name) {
                set.elements.extend(elements.iter().cloned());
            }
        }
        nft::Change::DeleteElements(name, keys) => {
            if let Some(set) = table.sets.get_mut(name) {
                keys.iter().for_each(|key| {
                    set.elements.remove(key);
                });
            }
        }
    }
}
