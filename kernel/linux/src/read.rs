//! Reading: dumps into a [`State`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use corduroy_kernel::nft::{Chain, Counted, Name, Rule, Set, Table};
use corduroy_kernel::route::PROTOCOL;
use corduroy_kernel::{
    Cause, Changed, Family, ForeignChain, Gateway, IpNet, LinkName, SeenLink, State, Sysctl,
};

use crate::error::{KernelError, netlink};
use crate::index::Index;
use crate::neighbour::Which;
use crate::nft::{self, decode};
use crate::socket::Socket;
use crate::wire::{Batch, DUMP};
use crate::{Kernel, address, link, neighbour, route, sysctl, within};

/// Read everything.
pub(crate) fn all(kernel: &mut Kernel) -> Result<State, KernelError> {
    let mut state = State { features: kernel.features, ..State::default() };
    links(kernel, &mut state)?;
    let (socket, index) = (&mut kernel.route, &kernel.index);
    addresses(socket, index, &mut state, None)?;
    routes(socket, index, &mut state)?;
    gateways(socket, index, &mut state)?;
    neighbours(socket, index, &mut state)?;
    let names: Vec<LinkName> = state.links.keys().copied().collect();
    let switches = Sysctl::global().chain(names.into_iter().flat_map(Sysctl::of));
    state.sysctls = sysctls(kernel, switches.collect())?;
    state.nft = table(&mut kernel.nft)?;
    state.foreign_drops = foreign_drops(&mut kernel.nft).map_err(netlink("read chains"))?;
    Ok(state)
}

/// Read again what changes say may be different. Of interfaces all at once: most of what costs is the same for many.
pub(crate) fn refresh(
    kernel: &mut Kernel,
    state: &mut State,
    changes: &BTreeSet<&Changed>,
) -> Result<(), KernelError> {
    if changes.contains(&Changed::Overrun) {
        *state = all(kernel)?;
        return Ok(());
    }
    let names =
        changes.iter().filter_map(|change| if let Changed::Link(name) = change { Some(*name) } else { None });
    let names: BTreeSet<LinkName> = names.collect();
    if !names.is_empty() {
        some_links(kernel, state, &names)?;
    }
    for change in changes {
        match change {
            Changed::Link(_) | Changed::Overrun => {}
            Changed::Addresses(name) => {
                if let Ok(number) = kernel.index.of(*name) {
                    addresses(&mut kernel.route, &kernel.index, state, Some((*name, number)))?;
                }
            }
            Changed::Routes => {
                state.routes.clear();
                state.stray_routes.clear();
                routes(&mut kernel.route, &kernel.index, state)?;
                gateways(&mut kernel.route, &kernel.index, state)?;
            }
            Changed::Neighbours => {
                state.neighbours.clear();
                state.fdb.clear();
                neighbours(&mut kernel.route, &kernel.index, state)?;
            }
            Changed::Nft => {
                state.nft = table(&mut kernel.nft)?;
                state.foreign_drops = foreign_drops(&mut kernel.nft).map_err(netlink("read chains"))?;
            }
        }
    }
    Ok(())
}

fn links(kernel: &mut Kernel, state: &mut State) -> Result<(), KernelError> {
    let ask = |batch: &mut Batch, seq| link::ask(batch, seq, None);
    let found: Vec<SeenLink> = kernel
        .route
        .dump(ask, |found: &mut Vec<_>, message| found.extend(link::parse(message)))
        .map_err(netlink("read interfaces"))?;
    kernel.index = Index::default();
    for seen in found {
        if kernel.is_leaving(seen.index) {
            continue;
        }
        kernel.index.insert(seen.link.name, seen.index);
        state.links.insert(seen.link.name, seen);
    }
    Ok(())
}

/// Some interfaces and everything on them.
fn some_links(kernel: &mut Kernel, state: &mut State, names: &BTreeSet<LinkName>) -> Result<(), KernelError> {
    state.addresses.retain(|address| !names.contains(&address.dev));
    state.neighbours.retain(|(dev, _), _| !names.contains(dev));
    state.fdb.retain(|(dev, _), _| !names.contains(dev));
    state.sysctls.retain(|sysctl, _| sysctl.dev().is_none_or(|dev| !names.contains(&dev)));
    state.routes.retain(|_, route| route.hops().iter().all(|hop| !names.contains(&hop.dev)));
    let mut there = Vec::new();
    for name in names {
        state.links.remove(name);
        if let Some(seen) = lookup(kernel, *name)? {
            there.push((*name, seen.index));
            state.links.insert(*name, seen);
        }
    }
    if names.iter().any(|name| !name.is_ours()) {
        gateways(&mut kernel.route, &kernel.index, state)?;
    }
    for (name, number) in &there {
        addresses(&mut kernel.route, &kernel.index, state, Some((*name, *number)))?;
    }
    for family in Family::ALL {
        match there.as_slice() {
            [] => {}
            [(_, number)] => some_routes(&mut kernel.route, &kernel.index, state, family, Some(*number))?,
            // The kernel walks the whole table for each.
            _ => some_routes(&mut kernel.route, &kernel.index, state, family, None)?,
        }
    }
    if there.iter().any(|(name, _)| name.is_ours()) {
        neighbours(&mut kernel.route, &kernel.index, state)?;
    }
    let switches = there.iter().flat_map(|(name, _)| Sysctl::of(*name)).collect();
    state.sysctls.extend(sysctls(kernel, switches)?);
    Ok(())
}

/// An interface by its name; what is known of its number is put right.
pub(crate) fn lookup(kernel: &mut Kernel, name: LinkName) -> Result<Option<SeenLink>, KernelError> {
    kernel.index.forget(name);
    let found = kernel.route.query(|batch, seq| link::ask(batch, seq, Some(name)), link::parse);
    match found {
        Ok(seen) => {
            let seen = seen.filter(|seen| !kernel.is_leaving(seen.index));
            if let Some(seen) = &seen {
                kernel.index.insert(name, seen.index);
            }
            Ok(seen)
        }
        Err(error) if error.cause == Cause::Missing => Ok(None),
        Err(error) => Err(netlink("read an interface")(io::Error::from_raw_os_error(error.errno))),
    }
}

fn addresses(
    socket: &mut Socket,
    index: &Index,
    state: &mut State,
    only: Option<(LinkName, u32)>,
) -> Result<(), KernelError> {
    let ask = |batch: &mut Batch, seq| address::ask(batch, seq, only.map(|(_, number)| number));
    let found: BTreeSet<_> = socket
        .dump(ask, |found: &mut BTreeSet<_>, message| found.extend(address::parse(message, index)))
        .or_else(|error| if only.is_some() { gone(error) } else { Err(error) })
        .map_err(netlink("read addresses"))?;
    state.addresses.retain(|address| only.is_some_and(|(name, _)| address.dev != name));
    state.addresses.extend(found);
    Ok(())
}

/// Something that vanished while it was asked for has nothing.
fn gone<T: Default>(error: io::Error) -> io::Result<T> {
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENOENT | libc::ESRCH) => Ok(T::default()),
        _ => Err(error),
    }
}

fn routes(socket: &mut Socket, index: &Index, state: &mut State) -> Result<(), KernelError> {
    Family::ALL.into_iter().try_for_each(|family| some_routes(socket, index, state, family, None))
}

#[derive(Default)]
struct Routes {
    ours: Vec<corduroy_kernel::Route>,
    strays: Vec<(IpNet, u32)>,
}

fn some_routes(
    socket: &mut Socket,
    index: &Index,
    state: &mut State,
    family: Family,
    oif: Option<u32>,
) -> Result<(), KernelError> {
    let ask = |batch: &mut Batch, seq| route::ask(batch, seq, family, PROTOCOL, oif);
    let each = |found: &mut Routes, message: crate::wire::Message<'_>| match route::parse(message, index) {
        Some(route::Found::Ours(route)) => found.ours.push(route),
        Some(route::Found::Stray(dst, metric)) => found.strays.push((dst, metric)),
        None => {}
    };
    // A table nothing was ever put in does not exist: ENOENT.
    let found = socket.dump(ask, each).or_else(gone).map_err(netlink("read routes"))?;
    state.routes.extend(found.ours.into_iter().map(|route| (route.dst, route)));
    state.stray_routes.extend(found.strays);
    Ok(())
}

/// Others' routes by way of a gateway: of each destination the one of the lowest metric.
fn gateways(socket: &mut Socket, index: &Index, state: &mut State) -> Result<(), KernelError> {
    let mut best: BTreeMap<IpNet, (u32, Gateway)> = BTreeMap::new();
    for (family, protocol) in Family::ALL.into_iter().flat_map(|f| route::OTHERS.map(|p| (f, p))) {
        let ask = |batch: &mut Batch, seq| route::ask(batch, seq, family, protocol, None);
        let found: Vec<_> = socket
            .dump(ask, |found: &mut Vec<_>, message| found.extend(route::parse_gateway(message, index)))
            .or_else(gone)
            .map_err(netlink("read routes"))?;
        for (dst, metric, gateway) in found {
            let known = best.entry(dst).or_insert((metric, gateway));
            *known = (*known).min((metric, gateway));
        }
    }
    state.gateways = best.into_iter().map(|(dst, (_, gateway))| (dst, gateway)).collect();
    Ok(())
}

fn neighbours(socket: &mut Socket, index: &Index, state: &mut State) -> Result<(), KernelError> {
    for which in [Which::Network, Which::Fdb] {
        let ask = |batch: &mut Batch, seq| neighbour::ask(batch, seq, which);
        let found: Vec<_> = socket
            .dump(ask, |found: &mut Vec<_>, message| found.extend(neighbour::parse(message, index)))
            .map_err(netlink("read neighbours"))?;
        for one in found {
            match one {
                neighbour::Found::Neighbour(n) => drop(state.neighbours.insert((n.dev, n.addr), n.mac)),
                neighbour::Found::Fdb(entry) => drop(state.fdb.insert((entry.dev, entry.mac), entry.vtep)),
            }
        }
    }
    Ok(())
}

fn sysctls(kernel: &Kernel, switches: Vec<Sysctl>) -> Result<BTreeMap<Sysctl, u32>, KernelError> {
    within(kernel.netns.as_ref(), || {
        switches.into_iter().filter_map(|switch| Some((switch, sysctl::read(&switch)?))).collect()
    })
}

fn request(kind: u16, flags: u16, family: u8, names: &[(u16, &str)]) -> impl Fn(&mut Batch, u32) {
    move |batch, seq| {
        batch.begin(kind, flags, seq);
        batch.raw(&[family, 0, 0, 0]);
        for (attr, name) in names {
            batch.string(*attr, name);
        }
        batch.end();
    }
}

/// Our table; `None` when there is none, or no nf_tables.
fn table(socket: &mut Socket) -> Result<Option<Table>, KernelError> {
    let ours = [(nft::TABLE_ATTR, corduroy_kernel::nft::TABLE)];
    let ask = request(nft::GETTABLE, 0, nft::NFPROTO_INET, &ours);
    match socket.query(ask, |_| Some(())) {
        Ok(_) => {}
        Err(error) if matches!(error.cause, Cause::Missing | Cause::Unsupported) => return Ok(None),
        Err(error) => return Err(netlink("read our table")(io::Error::from_raw_os_error(error.errno))),
    }
    parts(socket, &ours).or_else(|error| gone(error).map(|()| None)).map_err(netlink("read our table"))
}

/// What the rules of our table have counted; nothing, when there is no table.
pub(crate) fn counters(socket: &mut Socket) -> Result<Vec<Counted>, KernelError> {
    let ours = [(nft::TABLE_ATTR, corduroy_kernel::nft::TABLE)];
    let ask = request(nft::GETRULE, DUMP, nft::NFPROTO_INET, &ours);
    let each = |counters: &mut decode::Counters, message: crate::wire::Message<'_>| {
        counters.read(message);
    };
    let counters = socket.dump(ask, each).or_else(|error| match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::EINVAL) => Ok(decode::Counters::default()),
        _ => gone(error),
    });
    Ok(counters.map_err(netlink("read counters"))?.found)
}

fn parts(socket: &mut Socket, ours: &[(u16, &str)]) -> io::Result<Option<Table>> {
    let inet = nft::NFPROTO_INET;
    let mut chains: BTreeMap<Name, Chain> =
        socket.dump(request(nft::GETCHAIN, DUMP, inet, &[]), |found: &mut BTreeMap<_, _>, message| {
            found.extend(decode::chain(message));
        })?;
    let rules: Vec<(Name, Rule)> =
        socket.dump(request(nft::GETRULE, DUMP, inet, ours), |found: &mut Vec<_>, message| {
            found.extend(decode::rule(message));
        })?;
    for (chain, rule) in rules {
        chains.entry(chain).or_default().rules.push(rule);
    }
    let mut sets: BTreeMap<Name, Set> =
        socket.dump(request(nft::GETSET, DUMP, inet, ours), |found: &mut BTreeMap<_, _>, message| {
            found.extend(decode::set(message));
        })?;
    for (name, set) in &mut sets {
        let of_set = [ours, &[(nft::SET_ATTR, name.as_str())]].concat();
        let raw =
            socket.dump(request(nft::GETSETELEM, DUMP, inet, &of_set), |found: &mut Vec<_>, message| {
                decode::raw_elements(message, found);
            })?;
        decode::elements(set, raw);
    }
    Ok(Some(Table { chains, sets }))
}

fn foreign_drops(socket: &mut Socket) -> io::Result<Vec<ForeignChain>> {
    let ask = request(nft::GETCHAIN, DUMP, nft::NFPROTO_UNSPEC, &[]);
    let found: BTreeSet<_> = socket
        .dump(ask, |found: &mut BTreeSet<_>, message| found.extend(decode::foreign_drop(message)))
        .or_else(|error| match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::EINVAL) => Ok(BTreeSet::new()),
            _ => gone(error),
        })?;
    Ok(found.into_iter().collect())
}
