//! Socket filters: what of others' business never reaches us (classic BPF, run by the kernel on each
//! datagram).
//!
//! A filter sees a datagram's octets; loads are in network order, while netlink writes the host's, so
//! constants are turned round. A filter only ever drops what is certainly not for us: what it does not
//! understand passes, and is judged again by the reader.

use std::io;
use std::os::fd::BorrowedFd;

use corduroy_kernel::route::PROTOCOL;

use crate::socket::set_option;
use crate::{neighbour, route};

/// Load a word, half word or octet from a fixed place.
const LD_W: u16 = 0x20;
const LD_H: u16 = 0x28;
const LD_B: u16 = 0x30;
/// The same from X and an offset.
const LD_W_X: u16 = 0x40;
const LD_B_X: u16 = 0x50;
const LD_LEN: u16 = 0x80;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;
const ADD_X: u16 = 0x0c;
const SUB_X: u16 = 0x1c;
const ADD: u16 = 0x04;
const AND: u16 = 0x54;
const LSH: u16 = 0x64;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const RET: u16 = 0x06;
const ST: u16 = 0x02;
const LDX_MEM: u16 = 0x61;
const LDX_IMM: u16 = 0x01;

const PASS: u32 = u32::MAX;
const DROP: u32 = 0;

/// Where a message's header has its length, type and port.
const TYPE: u32 = 4;
const PORT: u32 = 12;
const BODY: u32 = 16;

/// How many messages of one datagram are looked at before it is passed unseen. A transaction's notices come
/// many to a datagram, and those of our table need not be first (`nft flush ruleset`).
const HOPS: usize = 24;

type Insn = libc::sock_filter;

fn op(code: u16, k: u32) -> Insn {
    Insn { code, jt: 0, jf: 0, k }
}

/// Go on with the next instruction if equal, else skip `otherwise` instructions.
fn unless_eq(k: u32, otherwise: u8) -> Insn {
    Insn { code: JEQ, jt: 0, jf: otherwise, k }
}

/// A 16-bit constant as a load in network order shows it.
fn host16(value: u16) -> u32 {
    u32::from(u16::from_be_bytes(value.to_ne_bytes()))
}

fn host32(value: u32) -> u32 {
    u32::from_be_bytes(value.to_ne_bytes())
}

/// Of rtnetlink: not what we wrote ourselves (routes and neighbours; interfaces and addresses of ours pass),
/// no routes of other routing daemons, no neighbours that are not permanent.
pub(super) fn route(port: u32) -> Vec<Insn> {
    const PROTOCOL_AT: u32 = BODY + 5;
    const STATE_AT: u32 = BODY + 8;
    let (new_route, del_route) = (host16(route::RTM_NEWROUTE), host16(route::RTM_DELROUTE));
    let [boot, fixed, ra, dhcp] = route::OTHERS;
    let (new_neigh, del_neigh) = (host16(neighbour::RTM_NEWNEIGH), host16(neighbour::RTM_DELNEIGH));
    vec![
        op(LD_H, TYPE),
        // A route?
        Insn { code: JEQ, jt: 4, jf: 0, k: new_route },
        Insn { code: JEQ, jt: 3, jf: 0, k: del_route },
        Insn { code: JEQ, jt: 8, jf: 0, k: new_neigh },
        Insn { code: JEQ, jt: 10, jf: 0, k: del_neigh },
        op(RET, PASS),
        // Of a protocol we read?
        op(LD_B, PROTOCOL_AT),
        Insn { code: JEQ, jt: 7, jf: 0, k: u32::from(PROTOCOL) },
        Insn { code: JEQ, jt: 6, jf: 0, k: u32::from(boot) },
        Insn { code: JEQ, jt: 5, jf: 0, k: u32::from(fixed) },
        Insn { code: JEQ, jt: 4, jf: 0, k: u32::from(ra) },
        Insn { code: JEQ, jt: 3, jf: 6, k: u32::from(dhcp) },
        // A permanent neighbour?
        op(LD_H, STATE_AT),
        op(AND, host16(0x80)),
        Insn { code: JEQ, jt: 3, jf: 0, k: 0 },
        // Not by us?
        op(LD_W, PORT),
        Insn { code: JEQ, jt: 1, jf: 0, k: host32(port) },
        op(RET, PASS),
        op(RET, DROP),
    ]
}

/// Of nf_tables: not what we wrote ourselves, only datagrams in which some message is about a table
/// `corduroy`.
pub(super) fn nft(port: u32) -> Vec<Insn> {
    // struct nfgenmsg, then the attribute that names the table: length, type, text with NUL.
    const NAME_AT: u32 = BODY + 4 + 4;
    const END: u32 = NAME_AT + 9;
    let mut program = vec![op(LD_W, PORT), unless_eq(host32(port), 1), op(RET, DROP), op(LDX_IMM, 0)];
    for _ in 0..HOPS {
        program.extend([
            // Is there room for a name in what is left? Else there is none: drop.
            op(LD_LEN, 0),
            op(SUB_X, 0),
            Insn { code: JGE, jt: 1, jf: 0, k: END },
            op(RET, DROP),
            op(LD_W_X, NAME_AT),
            unless_eq(u32::from_be_bytes(*b"cord"), 5),
            op(LD_W_X, NAME_AT + 4),
            unless_eq(u32::from_be_bytes(*b"uroy"), 3),
            op(LD_B_X, NAME_AT + 8),
            unless_eq(0, 1),
            op(RET, PASS),
        ]);
        program.extend(skip_message());
    }
    program.push(op(RET, PASS));
    program
}

/// X to the next message: the low 16 bits of the length (a notice is far shorter), rounded up to four.
fn skip_message() -> [Insn; 13] {
    let (low, high) = if cfg!(target_endian = "little") { (0, 1) } else { (3, 2) };
    [
        op(LD_B_X, low),
        op(ST, 0),
        op(LD_B_X, high),
        op(LSH, 8),
        op(ST, 1),
        op(TXA, 0),
        op(LDX_MEM, 0),
        op(ADD_X, 0),
        op(LDX_MEM, 1),
        op(ADD_X, 0),
        // X was a multiple of four, so rounding up the sum rounds up the length.
        op(ADD, 3),
        op(AND, !3),
        op(TAX, 0),
    ]
}

/// Attach a filter to a socket.
pub(super) fn attach(fd: BorrowedFd<'_>, program: &[Insn]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}
