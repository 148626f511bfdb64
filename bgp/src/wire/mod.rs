//! Messages as they stand on the wire (RFC 4271 §4).
//!
//! [`Framer`] cuts a byte stream into messages and checks the header; [`open`] reads OPEN with its capabilities (nom:
//! rare, nested, full of lengths), [`update`] cuts an UPDATE into its three fields (a cursor: this is the hot path;
//! the attributes in it are `attrs`' affair), [`notification`] and [`refresh`] the rest. Every error is the
//! NOTIFICATION that the RFC answers it with, data included, so whoever meets one only has to send it.

pub mod capability;
mod cursor;
pub mod frame;
pub mod nlri;
pub mod notification;
pub mod open;
pub mod refresh;
pub mod update;

use alloc::vec::Vec;

use bytes::Bytes;

pub(crate) use cursor::Cursor;
pub use frame::Framer;
pub use notification::{ErrorCode, NotificationMessage};

/// Octets before a message's body: marker, length, type.
pub const HEADER_LEN: usize = 19;
/// The largest message without RFC 8654.
pub const MESSAGE_MAX: u16 = 4096;
/// The largest UPDATE, NOTIFICATION or ROUTE-REFRESH with RFC 8654.
pub const EXTENDED_MESSAGE_MAX: u16 = 65535;

/// What a message is (RFC 4271 §4.1, RFC 2918 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// 1
    Open,
    /// 2
    Update,
    /// 3
    Notification,
    /// 4
    Keepalive,
    /// 5
    RouteRefresh,
}

impl MessageType {
    /// From its number; `None` when it is none of ours.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Open,
            2 => Self::Update,
            3 => Self::Notification,
            4 => Self::Keepalive,
            5 => Self::RouteRefresh,
            _ => return None,
        })
    }
    /// Its number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }
}

/// A KEEPALIVE, the same every time.
pub const KEEPALIVE: Bytes = Bytes::from_static(&[
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 19, 4,
]);

/// A whole message: header, and the body that `body` appends. What would not fit a 16-bit length is the caller's
/// fault and is cut there.
pub(crate) fn message(kind: MessageType, body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::with_capacity(64);
    append_message(kind, &mut out, body);
    out.into()
}

/// Appends a whole message to `out`.
pub(crate) fn append_message(kind: MessageType, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&[0, 0, kind.code()]);
    body(out);
    out.truncate(start + usize::from(u16::MAX));
    let len = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
    put_u16_at(out, start + 16, len);
}

/// Overwrites two octets that were left open for a length.
pub(crate) fn put_u16_at(out: &mut [u8], at: usize, value: u16) {
    if let Some(place) = out.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}
