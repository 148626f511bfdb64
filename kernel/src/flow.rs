//! Tracked connections.

use core::net::IpAddr;

use crate::{Packet, Transport};

/// A connection the kernel tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// By which it is found: how its first packet came, before any translation.
    pub key: FlowKey,
    /// How its answers come: turned round, and from and to where the translation leads.
    pub reply: Tuple,
    /// Its mark (`ct mark`).
    pub mark: u32,
    /// How far TCP got; `None` of other protocols.
    pub tcp: Option<TcpState>,
    /// What else is known.
    pub status: FlowStatus,
}

/// What tells a connection from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// How its first packet came.
    pub original: Tuple,
    /// The zone it is tracked in, 0 by default.
    pub zone: u16,
}

/// Who sends what to whom, one way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// From where.
    pub source: IpAddr,
    /// To where.
    pub destination: IpAddr,
    /// The transport protocol (IANA).
    pub protocol: u8,
    /// What of the protocol tells connections apart.
    pub id: TupleId,
}

/// What of a protocol tells connections apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TupleId {
    /// Nothing.
    None,
    /// Ports; of GRE, its keys.
    Ports {
        /// The sender's.
        source: u16,
        /// The receiver's.
        destination: u16,
    },
    /// Of ICMP and ICMPv6 requests and their answers.
    Icmp {
        /// The identifier.
        id: u16,
        /// What sort of message.
        kind: u8,
        /// And which of that sort.
        code: u8,
    },
}

impl Tuple {
    /// A packet that goes this way.
    #[must_use]
    pub fn packet(&self) -> Packet {
        let transport = match self.id {
            TupleId::Icmp { kind, code, .. } => Transport::Icmp { kind, code },
            TupleId::Ports { source, destination } if self.protocol != GRE => {
                Transport::Ports { source, destination }
            }
            _ => Transport::Unknown,
        };
        Packet { source: self.source, destination: self.destination, protocol: self.protocol, transport }
    }
}

/// Its keys are no ports.
const GRE: u8 = 47;

/// How far a TCP connection got, as its tracking sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpState {
    /// Nothing was seen that fits.
    None,
    /// SYN.
    SynSent,
    /// SYN and its answer.
    SynRecv,
    /// Open both ways.
    Established,
    /// One end has ended.
    FinWait,
    /// The other knows.
    CloseWait,
    /// Both have ended.
    LastAck,
    /// Both know.
    TimeWait,
    /// Reset, or over.
    Close,
    /// SYN from both ends.
    SynSent2,
}

impl TcpState {
    /// Every one, in the kernel's order.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::SynSent,
        Self::SynRecv,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
        Self::SynSent2,
    ];
}

/// What is known of a connection (IPS_* of include/uapi/linux/netfilter/nf_conntrack_common.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowStatus(pub u32);

impl FlowStatus {
    /// It was answered.
    pub const SEEN_REPLY: Self = Self(2);
    /// It is kept when the table is full.
    pub const ASSURED: Self = Self(4);
    /// Its source is translated.
    pub const SRC_NAT: Self = Self(16);
    /// Its destination is translated.
    pub const DST_NAT: Self = Self(32);

    /// Is all of this known?
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
