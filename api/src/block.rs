//! Block arithmetic: a pool is cut into blocks of equal size, an address of a block has an ordinal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

/// The block length for IPv4 where the pool names none: 64 addresses.
pub const DEFAULT_BLOCK_V4: u8 = 26;
/// The block length for IPv6 where the pool names none: 64 addresses.
pub const DEFAULT_BLOCK_V6: u8 = 122;

/// What lengths a block may have, and which it has by default: /20 to /32 (/26) or /116 to /128 (/122).
#[must_use]
pub fn block_lengths(pool: IpNetwork) -> (std::ops::RangeInclusive<u8>, u8) {
    match pool {
        IpNetwork::V4(_) => (20..=32, DEFAULT_BLOCK_V4),
        IpNetwork::V6(_) => (116..=128, DEFAULT_BLOCK_V6),
    }
}

/// How many blocks of `/len` a pool has; `u128::MAX` is never reached, since a block of /128 in a ::/0 pool is refused
/// long before. 0 when `len` is shorter than the pool's.
#[must_use]
pub fn block_count(pool: IpNetwork, len: u8) -> u128 {
    len.checked_sub(pool.prefix()).map_or(0, |bits| 1u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX))
}

/// Block number `index` of a pool, counted from its lowest address. `None` past the last.
#[must_use]
pub fn block_at(pool: IpNetwork, len: u8, index: u128) -> Option<IpNetwork> {
    if index >= block_count(pool, len) {
        return None;
    }
    let host_bits = u32::from(width(pool).checked_sub(len)?);
    let offset = index.checked_shl(host_bits)?;
    from_bits(pool, bits(pool.network()).checked_add(offset)?, len)
}

/// The number of `block` within `pool`; `None` when it is not one of its blocks of this length.
#[must_use]
pub fn block_index(pool: IpNetwork, block: IpNetwork) -> Option<u128> {
    if !contains(pool, block) {
        return None;
    }
    let host_bits = u32::from(width(pool).checked_sub(block.prefix())?);
    (bits(block.network()) - bits(pool.network())).checked_shr(host_bits).or(Some(0))
}

/// The block of `/len` that holds `address`.
#[must_use]
pub fn block_of(address: IpAddr, len: u8) -> Option<IpNetwork> {
    let net = IpNetwork::new(address, len).ok()?;
    IpNetwork::new(net.network(), len).ok()
}

/// How many addresses a block has. Blocks are at most /20 or /116, so 4,096; more is cut at `u32::MAX`.
#[must_use]
pub fn block_size(block: IpNetwork) -> u32 {
    1u32.checked_shl(u32::from(width(block) - block.prefix())).unwrap_or(u32::MAX)
}

/// The address with this ordinal, 0 for the lowest. Every address of a block is usable: it is routed, not bridged, so
/// none is a network or broadcast address.
#[must_use]
pub fn address_at(block: IpNetwork, ordinal: u32) -> Option<IpAddr> {
    if ordinal >= block_size(block) {
        return None;
    }
    let bits = bits(block.network()).checked_add(u128::from(ordinal))?;
    from_bits(block, bits, width(block)).map(|net| net.ip())
}

/// The ordinal of `address` within `block`; `None` when it is not in it.
#[must_use]
pub fn ordinal_of(block: IpNetwork, address: IpAddr) -> Option<u32> {
    block.contains(address).then(|| u32::try_from(bits(address) - bits(block.network())).ok()).flatten()
}

/// Is `inner` the same as `outer` or inside it? Never across families.
#[must_use]
pub fn contains(outer: IpNetwork, inner: IpNetwork) -> bool {
    outer.prefix() <= inner.prefix() && outer.contains(inner.network())
}

/// Have the two an address in common?
#[must_use]
pub fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    contains(a, b) || contains(b, a)
}

/// The name of the IPAMBlock for this CIDR: `.`, `:` and `/` become `-`, so `10.244.0.64/26` is `10-244-0-64-26`. An
/// IPv6 address that begins with `::` gets a leading `0`, since a name may not begin with `-`.
#[must_use]
pub fn block_name(block: IpNetwork) -> String {
    let text = format!("{}/{}", block.network(), block.prefix());
    let name = text.replace(['.', ':', '/'], "-");
    if name.starts_with('-') { format!("0{name}") } else { name }
}

fn width(net: IpNetwork) -> u8 {
    if net.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

fn from_bits(like: IpNetwork, bits: u128, len: u8) -> Option<IpNetwork> {
    match like {
        IpNetwork::V4(_) => {
            let addr = Ipv4Addr::from(u32::try_from(bits).ok()?);
            Ipv4Network::new(addr, len).ok().map(IpNetwork::V4)
        }
        IpNetwork::V6(_) => Ipv6Network::new(Ipv6Addr::from(bits), len).ok().map(IpNetwork::V6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn a_pool_is_cut_into_blocks_without_gap_or_overlap() {
        for (pool, len, count) in
            [("10.244.0.0/20", 26, 64), ("fd00:10::/116", 122, 64), ("10.0.0.0/26", 26, 1)]
        {
            let pool = net(pool);
            assert_eq!(block_count(pool, len), count);
            let blocks: Vec<IpNetwork> = (0..count).map(|i| block_at(pool, len, i).unwrap()).collect();
            assert_eq!(block_at(pool, len, count), None);
            for (i, block) in blocks.iter().enumerate() {
                assert!(contains(pool, *block));
                assert_eq!(block_index(pool, *block), Some(i as u128));
                assert!(!blocks.iter().take(i).any(|other| overlap(*other, *block)));
            }
        }
    }

    #[test]
    fn bounds_hold_at_both_ends() {
        let largest = net("10.0.0.0/20");
        assert_eq!(block_size(largest), 4096);
        assert_eq!(address_at(largest, 4095), Some("10.0.15.255".parse().unwrap()));
        assert_eq!(address_at(largest, 4096), None);
        let single = net("255.255.255.255/32");
        assert_eq!((block_size(single), address_at(single, 0)), (1, Some(single.ip())));
        let last = net("ffff:ffff:ffff:ffff:ffff:ffff:ffff:f000/116");
        assert_eq!(address_at(last, 4095), Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()));
        assert_eq!(block_at(net("10.0.0.0/30"), 26, 0), None, "a pool smaller than a block has none");
        assert_eq!(block_count(net("fd00::/8"), 122), 1 << 114);
        assert_eq!(block_index(net("10.0.0.0/8"), net("192.0.2.0/26")), None);
    }

    #[test]
    fn an_ordinal_and_its_address_belong_together() {
        for block in ["10.244.0.64/26", "fd00:10::40/122"] {
            let block = net(block);
            for ordinal in 0..block_size(block) {
                let address = address_at(block, ordinal).unwrap();
                assert_eq!(ordinal_of(block, address), Some(ordinal));
                assert_eq!(block_of(address, block.prefix()), Some(block));
            }
        }
        assert_eq!(ordinal_of(net("10.244.0.64/26"), "10.244.0.128".parse().unwrap()), None);
    }

    #[test]
    fn a_block_has_a_name_that_kubernetes_takes_and_no_other_block_has() {
        let names = ["10.244.0.64/26", "fd00:10::40/122", "::ffff:0/122", "fd00::/122", "fd00:0:1::/122"];
        let made: std::collections::BTreeSet<String> = names.iter().map(|n| block_name(net(n))).collect();
        assert_eq!(made.len(), names.len());
        assert!(made.iter().all(|name| crate::meta::is_name(name)), "{made:?}");
        assert!(made.contains("10-244-0-64-26"));
    }
}
