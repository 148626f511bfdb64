//! The allocator: blocks, addresses and time joined.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use corduroy_api::block::{block_name, block_of, contains};
use corduroy_api::{IpamBlock, Key, Kind, Version, Write, WriteError};
use corduroy_bgp::Time;
use corduroy_kernel::{Family, LinkName};
use ipnetwork::IpNetwork;

use super::block::{Block, State};
use super::claims::{Claims, Verdict, Wish};
use super::fixed::{Reserved, is_one};
use super::resting::Resting;
use super::{AssignError, BlockUse, Choice, Owner, Pool, Purpose, Request, Settings};

/// What an allocator wants done or known.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this to the datastore, and tell [`Allocator::written`] what came of it.
    Write(Write),
    /// [`Allocator::is_leaving`] of this block is not what it was.
    BlockChanged(IpNetwork),
}

/// Hands out the addresses of this node and sees to it that there are blocks to hand them out of.
///
/// Feed it pools, blocks, the outcome of writes and the time; after each call take what [`Allocator::poll`]
/// gives to the datastore. An [`AssignError::Pending`] is worth another [`Allocator::assign`] after any such
/// call.
#[derive(Clone, Debug)]
pub struct Allocator {
    pub(super) settings: Settings,
    pub(super) claims: Claims,
    /// The pools this node may use, by name.
    pub(super) pools: BTreeMap<String, Pool>,
    /// The blocks the datastore says are ours.
    pub(super) blocks: BTreeMap<IpNetwork, Block>,
    /// Every address in use, whether or not its block is still ours.
    pub(super) used: BTreeMap<IpAddr, LinkName>,
    holders: BTreeMap<LinkName, Vec<IpAddr>>,
    pub(super) resting: Resting,
    pub(super) effects: VecDeque<Effect>,
    /// Are pools and blocks known? Nothing is claimed or handed out before.
    pub(super) in_sync: bool,
}

impl Allocator {
    /// An allocator that knows nothing yet.
    #[must_use]
    pub fn new(owner: Owner, settings: Settings) -> Self {
        Self {
            settings,
            claims: Claims::new(owner),
            pools: BTreeMap::new(),
            blocks: BTreeMap::new(),
            used: BTreeMap::new(),
            holders: BTreeMap::new(),
            resting: Resting::default(),
            effects: VecDeque::new(),
            in_sync: false,
        }
    }

    /// A former run handed these out, and `holder` still has them.
    pub fn restore(&mut self, holder: LinkName, addresses: &[IpAddr]) {
        for address in addresses {
            self.take(*address, holder);
        }
    }

    /// A former run took this back; it rests until then.
    pub fn restore_resting(&mut self, address: IpAddr, until: Time) {
        if !self.used.contains_key(&address) {
            self.rest(address, until);
        }
    }

    /// The pools this node may claim from, all of them.
    pub fn set_pools(&mut self, pools: impl IntoIterator<Item = Pool>, now: Time) {
        self.pools = pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect();
        self.take_given();
        self.balance(now);
    }

    /// What is not to be handed out from now on to those who ask for any address.
    pub fn set_reserved(&mut self, cidrs: Vec<IpNetwork>, now: Time) {
        let reserved = Reserved::new(cidrs);
        if self.claims.reserved == reserved {
            return;
        }
        self.claims.reserved = reserved;
        let mut blocks = std::mem::take(&mut self.blocks);
        for (cidr, block) in &mut blocks {
            block.refresh(|address| self.is_withheld(*cidr, address));
        }
        self.blocks = blocks;
        self.balance(now);
    }

    /// The datastore shows a block.
    pub fn block_put(&mut self, block: &IpamBlock, now: Time) {
        match self.claims.put(block) {
            Verdict::Ours => {
                let version = block.metadata.resource_version.clone();
                self.adopt(block.cidr, version.unwrap_or_default());
            }
            Verdict::Foreign => {
                self.blocks.remove(&block.cidr);
            }
            Verdict::Stale => {}
        }
        if is_one(block.cidr) {
            let around =
                self.blocks.values_mut().find(|around| around.cidr != block.cidr && around.has(block.cidr));
            around.into_iter().for_each(|around| around.take(block.cidr.ip()));
        }
        self.balance(now);
    }

    /// The datastore has no such block any more.
    pub fn block_gone(&mut self, cidr: IpNetwork, now: Time) {
        self.claims.gone(cidr);
        let lost = self.blocks.remove(&cidr).is_some();
        if is_one(cidr) && !self.used.contains_key(&cidr.ip()) && self.block_around(cidr.ip()).is_some() {
            self.rest(cidr.ip(), now + self.settings.rest);
        }
        // Somebody deleted a claim whose addresses are in use here: they are not given up, the claim is made
        // again.
        if lost && self.used_of(cidr).next().is_some() {
            self.claim_again(cidr, now);
        }
        self.balance(now);
    }

    /// Pools and blocks have all been told.
    pub fn set_in_sync(&mut self, now: Time) {
        if !self.in_sync {
            self.in_sync = true;
            self.balance(now);
        }
    }

    /// What became of a write that [`Allocator::poll`] gave.
    pub fn written(&mut self, key: &Key, result: &Result<Version, WriteError>, now: Time) {
        if let Some(cidr) = self.claims.asked_as(&key.name) {
            match result {
                Ok(_) => self.claims.won(cidr, now),
                Err(error) => self.claims.lost(cidr, error, now),
            }
        } else if let Some(block) = self.blocks.values_mut().find(|block| block_name(block.cidr) == key.name)
        {
            let cidr = block.cidr;
            if let (Some(_), Ok(version)) = (block.lending, result) {
                block.version.clone_from(&version.0);
            }
            // A refused deletion is asked for again when its time has come; an event may settle it before.
            if matches!(block.state, State::Returned(_)) && block.lending.is_none() && result.is_ok() {
                self.claims.returned(cidr);
                self.blocks.remove(&cidr);
            }
        }
        self.balance(now);
    }

    /// Addresses for `holder`: those it has already, and one of every other family the request is for.
    ///
    /// # Errors
    /// [`AssignError`]; then nothing was handed out.
    pub fn assign(
        &mut self,
        holder: LinkName,
        request: &Request,
        now: Time,
    ) -> Result<Vec<IpAddr>, AssignError> {
        if !self.in_sync {
            return Err(AssignError::Pending("pools and blocks are not known yet".into()));
        }
        self.wake(now);
        let mut chosen = self.holders.get(&holder).cloned().unwrap_or_default();
        for family in Family::ALL.into_iter().filter(|f| request.family.is_none_or(|only| only == *f)) {
            let of_family = |address: &&IpAddr| Family::of(**address) == family;
            let mut wanted = request.wanted.iter().filter(of_family);
            let pools = self.allowed(request, family)?;
            if chosen.iter().any(|address| Family::of(*address) == family) {
                continue;
            }
            match (wanted.next(), wanted.next()) {
                (Some(one), Some(two)) => return Err(AssignError::TwoOfAFamily(*one, *two)),
                (Some(address), None) => {
                    chosen.push(self.pick_wanted(*address, &pools, request.purpose, now)?);
                }
                (None, _) if pools.is_empty() => {}
                (None, _) => chosen.push(self.pick_any(&pools, now)?),
            }
        }
        if chosen.is_empty() {
            let namespace = request.namespace.as_ref().map(|n| format!(" and namespace {}", n.metadata.name));
            let why = format!("no IPPool serves this node{}", namespace.unwrap_or_default());
            return Err(AssignError::NoPool(why));
        }
        for address in &chosen {
            self.take(*address, holder);
        }
        self.balance(now);
        Ok(chosen)
    }

    /// Takes back what `holder` has; it rests from now on. Returns the addresses.
    pub fn release(&mut self, holder: LinkName, now: Time) -> Vec<IpAddr> {
        let addresses = self.holders.remove(&holder).unwrap_or_default();
        for address in &addresses {
            self.used.remove(address);
            let block = self.block_around(*address).map(|block| block.cidr);
            match block.filter(|cidr| self.is_fixed(*cidr)).and_then(|cidr| self.blocks.get_mut(&cidr)) {
                // Nobody gets it by chance, and who has it next may be waiting for it.
                Some(fixed) => fixed.give(*address),
                None => self.rest(*address, now + self.settings.rest),
            }
        }
        self.balance(now);
        addresses
    }

    /// The next thing that follows from what was fed.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Allocator::handle_timeout`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let blocks = self.blocks.values().filter_map(|block| match block.state {
            State::Serving => None,
            State::Leaving(at) | State::Returned(at) => Some(at),
        });
        let blocks = blocks.chain(self.blocks.values().filter_map(|block| block.lending));
        blocks.chain(self.resting.next()).chain(self.claims.next_timeout()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.wake(now);
        self.claims.handle_timeout(now);
        for block in self.blocks.values_mut() {
            block.lending = block.lending.filter(|at| *at > now);
        }
        self.balance(now);
        // While a block is being written, its version is not known.
        let due = |block: &&Block| {
            let is_due = matches!(block.state, State::Leaving(at) | State::Returned(at) if at <= now);
            is_due && block.lending.is_none()
        };
        let due: Vec<IpNetwork> = self.blocks.values().filter(due).map(|block| block.cidr).collect();
        for cidr in due {
            self.turn(cidr, State::Returned(now + self.settings.linger));
            let Some(block) = self.blocks.get(&cidr) else { continue };
            let version = Version(block.version.clone());
            let key = Key::new(Kind::IpamBlock, block_name(cidr));
            self.effects.push_back(Effect::Write(Write::Delete { key, version }));
        }
    }

    /// Is this block on its way back to the pool, so that it must not be announced any more?
    #[must_use]
    pub fn is_leaving(&self, cidr: IpNetwork) -> bool {
        self.blocks.get(&cidr).is_some_and(|block| block.state != State::Serving)
    }

    /// Who has this address on this node?
    #[must_use]
    pub fn holder(&self, address: IpAddr) -> Option<LinkName> {
        self.used.get(&address).copied()
    }

    /// The addresses a holder has.
    #[must_use]
    pub fn addresses(&self, holder: LinkName) -> &[IpAddr] {
        self.holders.get(&holder).map_or(&[], Vec::as_slice)
    }

    /// Every address in use with its holder, in order.
    pub fn used(&self) -> impl Iterator<Item = (IpAddr, LinkName)> + '_ {
        self.used.iter().map(|(address, holder)| (*address, *holder))
    }

    /// Every resting address with the end of its rest.
    pub fn resting(&self) -> impl Iterator<Item = (Time, IpAddr)> + '_ {
        self.resting.iter()
    }

    /// Addresses in use whose block is not ours (any more): their pods work on until they end, but the fabric
    /// routes the block elsewhere or nowhere.
    pub fn strays(&self) -> impl Iterator<Item = (IpAddr, LinkName)> + '_ {
        self.used().filter(|(address, _)| self.block_around(*address).is_none())
    }

    /// This node's blocks in numbers, in order.
    pub fn usage(&self) -> impl Iterator<Item = BlockUse> + '_ {
        self.blocks.values().map(|block| {
            let used = u32::try_from(self.used_of(block.cidr).count()).unwrap_or(u32::MAX);
            let ready = block.ready();
            BlockUse {
                cidr: block.cidr,
                pool: self.pool_of(block.cidr).map(|pool| pool.name.clone()),
                used,
                resting: self.busy_of(block.cidr).saturating_sub(used),
                ready,
                withheld: block.size().saturating_sub(ready).saturating_sub(self.busy_of(block.cidr)),
                leaving: block.state != State::Serving,
            }
        })
    }

    /// Every block the datastore shows, in order.
    pub fn known_blocks(&self) -> impl Iterator<Item = &IpamBlock> {
        self.claims.known()
    }
}

/// Choosing addresses.
impl Allocator {
    /// The pools of a family that may serve a request: first those that are there for its namespace.
    fn allowed(&self, request: &Request, family: Family) -> Result<Vec<Pool>, AssignError> {
        let fits = |pool: &&Pool| {
            pool.family() == family && pool.is_for(request.purpose, request.namespace.as_deref())
        };
        let fitting: Vec<&Pool> = self.pools.values().filter(fits).collect();
        let choice = match family {
            Family::V4 => &request.pools[0],
            Family::V6 => &request.pools[1],
        };
        // Who asks for an address by name means a pool that is not automatic, too.
        let is_wanted = request.wanted.iter().any(|address| Family::of(*address) == family);
        let mut pools: Vec<Pool> = match choice {
            Choice::Automatic => fitting.into_iter().filter(|p| p.automatic || is_wanted).cloned().collect(),
            Choice::Among(names) | Choice::Only(names) => {
                let of_family = |name: &&String| {
                    matches!(choice, Choice::Only(_))
                        || self.pools.get(*name).is_none_or(|pool| pool.family() == family)
                };
                let named = |name: &String| {
                    let found = fitting.iter().find(|pool| pool.name == *name);
                    found.map(|pool| (*pool).clone()).ok_or_else(|| no_such(name, &fitting, family))
                };
                names.iter().filter(of_family).map(named).collect::<Result<_, _>>()?
            }
        };
        pools.sort_by_key(|pool| pool.namespaces.is_none());
        Ok(pools)
    }

    /// An address of the pools there for its namespace only, else of the others.
    fn pick_any(&mut self, pools: &[Pool], now: Time) -> Result<IpAddr, AssignError> {
        let (own, general) = pools.split_at(pools.partition_point(|pool| pool.namespaces.is_some()));
        match self.pick_of(own, now) {
            Err(AssignError::Exhausted { .. }) if !general.is_empty() => self.pick_of(general, now),
            answer => answer,
        }
    }

    fn pick_of(&mut self, pools: &[Pool], now: Time) -> Result<IpAddr, AssignError> {
        let of_pools = |block: &&Block| {
            !self.is_fixed(block.cidr) && pools.iter().any(|pool| contains(pool.cidr, block.cidr))
        };
        let serving = self.blocks.values().filter(|block| block.state == State::Serving);
        let leaving = self.blocks.values().filter(|block| matches!(block.state, State::Leaving(_)));
        if let Some(address) = serving.chain(leaving).filter(of_pools).find_map(Block::first_ready) {
            return Ok(address);
        }
        for pool in pools.iter().filter(|pool| !pool.given) {
            match self.claims.next(pool, now) {
                Wish::Claim(write) => {
                    self.effects.push_back(Effect::Write(write));
                    return Err(AssignError::Pending(format!(
                        "the node's blocks of pool {} are full",
                        pool.name
                    )));
                }
                Wish::Wait(why) => return Err(AssignError::Pending(why)),
                Wish::Full => {}
            }
        }
        let names = pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(", ");
        let rests = |(until, address): (Time, IpAddr)| {
            let block = self.block_around(address).filter(|block| block.is_ours())?;
            let of_pools = pools.iter().any(|pool| contains(pool.cidr, block.cidr));
            (of_pools && !self.claims.reserved.contains(address)).then_some(until)
        };
        Err(match self.resting.iter().find_map(rests) {
            Some(until) => AssignError::Resting { pools: names, seconds: until.since(now).as_secs() + 1 },
            None => AssignError::Exhausted { pools: names },
        })
    }

    fn pick_wanted(
        &mut self,
        address: IpAddr,
        pools: &[Pool],
        purpose: Purpose,
        now: Time,
    ) -> Result<IpAddr, AssignError> {
        let pool = pools.iter().find(|pool| pool.cidr.contains(address));
        let pool = pool.ok_or_else(|| outside(address, pools))?.clone();
        if let Some(holder) = self.used.get(&address) {
            return Err(AssignError::InUse { address, holder: *holder });
        }
        if let Some(claim) = self.claims.fixed(address)
            && !self.claims.is_own(claim)
        {
            return Err(AssignError::Claimed { address, node: claim.node.clone() });
        }
        if let Some(owner) = self.claims.owner_in_doubt(address) {
            let IpamBlock { cidr, node, .. } = owner;
            let why = format!("node {node}, which owns {cidr}, has not let go of {address} yet");
            return Err(AssignError::Pending(why));
        }
        match self.block_around(address) {
            Some(block) if block.is_ours() => return Ok(address),
            Some(block) => return Err(AssignError::Pending(format!("{} is being given back", block.cidr))),
            None => {}
        }
        if pool.given {
            return Err(outside(address, pools));
        }
        // A tunnel's address is any address of this node's, so it brings a block with it.
        let len = if purpose == Purpose::Tunnel { pool.block_len } else { IpNetwork::from(address).prefix() };
        if purpose == Purpose::Tunnel
            && let Some(block) = self.claims.around(address)
        {
            return Err(AssignError::Foreign { address, block: block.cidr, node: block.node.clone() });
        }
        let Some(cidr) = block_of(address, len) else { return Err(outside(address, pools)) };
        Err(AssignError::Pending(match self.claims.this(cidr, &pool, now) {
            Wish::Claim(write) => {
                self.effects.push_back(Effect::Write(write));
                format!("{cidr} is being claimed for {address}")
            }
            Wish::Wait(why) => why,
            Wish::Full => return Err(outside(address, pools)),
        }))
    }

    fn take(&mut self, address: IpAddr, holder: LinkName) {
        if self.used.contains_key(&address) {
            return;
        }
        self.used.insert(address, holder);
        self.holders.entry(holder).or_default().push(address);
        self.resting.wake(address);
        self.take_out(address);
        let Some(block) = self.block_around(address) else { return };
        if let (State::Leaving(_), cidr) = (block.state, block.cidr) {
            self.turn(cidr, State::Serving);
        }
    }

    fn rest(&mut self, address: IpAddr, until: Time) {
        self.resting.put(address, until);
        self.take_out(address);
    }

    /// Out of what is ready, in whichever block: a fixed address of ours may be in another block of ours.
    fn take_out(&mut self, address: IpAddr) {
        let around = self.blocks.values_mut().filter(|block| block.cidr.contains(address));
        around.for_each(|block| block.take(address));
    }

    fn wake(&mut self, now: Time) {
        while let Some(address) = self.resting.pop_due(now) {
            let Some(cidr) = self.block_around(address).map(|block| block.cidr) else { continue };
            if !self.is_withheld(cidr, address)
                && let Some(block) = self.blocks.get_mut(&cidr)
            {
                block.give(address);
            }
        }
    }

    /// The smallest block around it.
    fn block_around(&self, address: IpAddr) -> Option<&Block> {
        let before = self.blocks.range(..=IpNetwork::from(address)).rev().map(|(_, block)| block);
        before.into_iter().find(|block| block.cidr.contains(address))
    }
}

fn outside(address: IpAddr, pools: &[Pool]) -> AssignError {
    let show = |pool: &Pool| format!("{} ({})", pool.name, pool.cidr);
    let of_family = pools.iter().filter(|pool| pool.family() == Family::of(address));
    let pools: Vec<String> = of_family.map(show).collect();
    AssignError::Outside { address, pools: if pools.is_empty() { "none".into() } else { pools.join(", ") } }
}

fn no_such(name: &str, fitting: &[&Pool], family: Family) -> AssignError {
    let names: Vec<&str> = fitting.iter().map(|pool| pool.name.as_str()).collect();
    let allowed = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    AssignError::NoPool(format!(
        "IPPool {name:?} was asked for but can't serve: it does not exist, is disabled, does not select this node or \
         this namespace, or is for another use or family; for {family:?} there are: {allowed}"
    ))
}
