//! nf_tables over netlink: one transaction out, the table in.
//!
//! Written by hand because every other way (the `nft` binary, libnftables) first reads all sets of the table,
//! so that one element costs as much as the whole table (crates that speak netlink lack maps or intervals).

pub(crate) mod decode;
pub(crate) mod encode;
mod expr;
mod value;

/// NFNL_SUBSYS_NFTABLES in the upper half of a message type.
const SUBSYS: u16 = 10 << 8;
pub(crate) const NEWTABLE: u16 = SUBSYS;
pub(crate) const GETTABLE: u16 = SUBSYS | 1;
pub(crate) const DELTABLE: u16 = SUBSYS | 2;
pub(crate) const NEWCHAIN: u16 = SUBSYS | 3;
pub(crate) const GETCHAIN: u16 = SUBSYS | 4;
pub(crate) const DELCHAIN: u16 = SUBSYS | 5;
pub(crate) const NEWRULE: u16 = SUBSYS | 6;
pub(crate) const GETRULE: u16 = SUBSYS | 7;
pub(crate) const DELRULE: u16 = SUBSYS | 8;
pub(crate) const NEWSET: u16 = SUBSYS | 9;
pub(crate) const GETSET: u16 = SUBSYS | 10;
pub(crate) const DELSET: u16 = SUBSYS | 11;
pub(crate) const NEWSETELEM: u16 = SUBSYS | 12;
pub(crate) const GETSETELEM: u16 = SUBSYS | 13;
pub(crate) const DELSETELEM: u16 = SUBSYS | 14;
pub(crate) const BATCH_BEGIN: u16 = 0x10;
pub(crate) const BATCH_END: u16 = 0x11;

pub(crate) const NFPROTO_UNSPEC: u8 = 0;
pub(crate) const NFPROTO_INET: u8 = 1;
pub(crate) const NFPROTO_IPV4: u8 = 2;
pub(crate) const NFPROTO_IPV6: u8 = 10;

/// Octets of struct nfgenmsg.
pub(crate) const NFGENMSG: usize = 4;
/// NFTA_LIST_ELEM: an item of a list.
const LIST_ELEM: u16 = 1;

/// The attribute that names the table, in every message.
pub(crate) const TABLE_ATTR: u16 = nfta::TABLE_NAME;
/// The attribute that names the set, in messages about elements.
pub(crate) const SET_ATTR: u16 = nfta::LIST_SET;

/// Attributes of tables, chains, rules, sets and elements (include/uapi/linux/netfilter/nf_tables.h).
mod nfta {
    pub(super) const TABLE_NAME: u16 = 1;
    pub(super) const CHAIN_TABLE: u16 = 1;
    pub(super) const CHAIN_NAME: u16 = 3;
    pub(super) const CHAIN_HOOK: u16 = 4;
    pub(super) const CHAIN_POLICY: u16 = 5;
    pub(super) const CHAIN_TYPE: u16 = 7;
    pub(super) const HOOK_NUM: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
    pub(super) const RULE_CHAIN: u16 = 2;
    pub(super) const RULE_EXPRESSIONS: u16 = 4;
    pub(super) const RULE_USERDATA: u16 = 7;
    pub(super) const SET_NAME: u16 = 2;
    pub(super) const SET_FLAGS: u16 = 3;
    pub(super) const SET_KEY_TYPE: u16 = 4;
    pub(super) const SET_KEY_LEN: u16 = 5;
    pub(super) const SET_DATA_TYPE: u16 = 6;
    pub(super) const SET_DATA_LEN: u16 = 7;
    pub(super) const SET_ID: u16 = 10;
    pub(super) const SET_USERDATA: u16 = 13;
    pub(super) const LIST_SET: u16 = 2;
    pub(super) const LIST_ELEMENTS: u16 = 3;
    pub(super) const ELEM_KEY: u16 = 1;
    pub(super) const ELEM_DATA: u16 = 2;
    pub(super) const ELEM_FLAGS: u16 = 3;
    pub(super) const EXPR_NAME: u16 = 1;
    pub(super) const EXPR_DATA: u16 = 2;
    pub(super) const DATA_VALUE: u16 = 1;
    pub(super) const DATA_VERDICT: u16 = 2;
    pub(super) const VERDICT_CODE: u16 = 1;
    pub(super) const VERDICT_CHAIN: u16 = 2;
}

/// NFT_SET_INTERVAL.
const SET_INTERVAL: u32 = 4;
/// NFT_SET_MAP.
const SET_MAP: u32 = 8;
/// NFT_SET_ELEM_INTERVAL_END: this element is where an interval ends.
const INTERVAL_END: u32 = 1;
/// NFT_DATA_VERDICT, as the type of a map's data.
const DATA_TYPE_VERDICT: u32 = 0xffff_ff00;
