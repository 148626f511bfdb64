//! NOTIFICATION (RFC 4271 §4.5): the code, the subcode and the data that say why a session ends.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::MessageType;

macro_rules! subcodes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// A subcode we have no name for; 0 is the RFC's "unspecific".
            Other(u8),
        }
        impl $name {
            /// From its number on the wire.
            #[must_use]
            pub fn from_code(code: u8) -> Self {
                match code { $($value => Self::$variant,)+ other => Self::Other(other) }
            }
            /// Its number on the wire.
            #[must_use]
            pub fn code(self) -> u8 {
                match self { $(Self::$variant => $value,)+ Self::Other(other) => other }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($text),)+
                    Self::Other(0) => f.write_str("unspecific"),
                    Self::Other(code) => write!(f, "subcode {code}"),
                }
            }
        }
    };
}

subcodes! {
    /// Message Header Error subcodes (RFC 4271 §6.1).
    HeaderError {
        /// The marker is not all ones.
        NotSynchronized = 1, "Connection Not Synchronized";
        /// Data: the length field.
        BadLength = 2, "Bad Message Length";
        /// Data: the type field.
        BadType = 3, "Bad Message Type";
    }
}
subcodes! {
    /// OPEN Message Error subcodes (RFC 4271 §6.2, RFC 5492 §5).
    OpenError {
        /// Data: the highest version we speak.
        UnsupportedVersion = 1, "Unsupported Version Number";
        /// Its AS is not the one configured, or zero (RFC 7607).
        BadPeerAs = 2, "Bad Peer AS";
        /// Zero, or our own within our AS (RFC 6286 §2.2).
        BadIdentifier = 3, "Bad BGP Identifier";
        /// An optional parameter that is not Capabilities.
        UnsupportedParameter = 4, "Unsupported Optional Parameter";
        /// Hold time of 1 or 2 seconds.
        UnacceptableHoldTime = 6, "Unacceptable Hold Time";
        /// Data: the capabilities we miss (RFC 5492 §5).
        UnsupportedCapability = 7, "Unsupported Capability";
    }
}
subcodes! {
    /// UPDATE Message Error subcodes (RFC 4271 §6.3).
    UpdateError {
        /// Lengths contradict each other, or an attribute that must be single is not.
        MalformedAttributeList = 1, "Malformed Attribute List";
        /// Data: the attribute.
        UnrecognizedWellKnown = 2, "Unrecognized Well-known Attribute";
        /// Data: the attribute's type code.
        MissingWellKnown = 3, "Missing Well-known Attribute";
        /// Data: the attribute.
        AttributeFlags = 4, "Attribute Flags Error";
        /// Data: the attribute.
        AttributeLength = 5, "Attribute Length Error";
        /// Data: the attribute.
        InvalidOrigin = 6, "Invalid ORIGIN Attribute";
        /// Data: the attribute.
        InvalidNextHop = 8, "Invalid NEXT_HOP Attribute";
        /// Data: the attribute.
        OptionalAttribute = 9, "Optional Attribute Error";
        /// Prefixes that can't be read.
        InvalidNetwork = 10, "Invalid Network Field";
        /// Segments that can't be read.
        MalformedAsPath = 11, "Malformed AS_PATH";
    }
}
subcodes! {
    /// Finite State Machine Error subcodes (RFC 6608 §3).
    FsmError {
        /// A message that does not belong in OpenSent. Data: its type.
        UnexpectedInOpenSent = 1, "Receive Unexpected Message in OpenSent State";
        /// A message that does not belong in OpenConfirm. Data: its type.
        UnexpectedInOpenConfirm = 2, "Receive Unexpected Message in OpenConfirm State";
        /// A message that does not belong in Established. Data: its type.
        UnexpectedInEstablished = 3, "Receive Unexpected Message in Established State";
    }
}
subcodes! {
    /// Cease subcodes (RFC 4486 §3, RFC 8538 §3).
    Cease {
        /// Data: AFI, SAFI and the limit.
        MaximumPrefixes = 1, "Maximum Number of Prefixes Reached";
        /// Data: a text (RFC 9003).
        AdministrativeShutdown = 2, "Administrative Shutdown";
        /// The peer was taken out of the configuration.
        PeerDeconfigured = 3, "Peer De-configured";
        /// Data: a text (RFC 9003).
        AdministrativeReset = 4, "Administrative Reset";
        /// No session with this one now.
        ConnectionRejected = 5, "Connection Rejected";
        /// A change that needs a new OPEN.
        OtherConfigurationChange = 6, "Other Configuration Change";
        /// Of two connections this is the lesser (RFC 4271 §6.8).
        CollisionResolution = 7, "Connection Collision Resolution";
        /// Something has run short.
        OutOfResources = 8, "Out of Resources";
        /// Keep nothing across it. Data: the true code, subcode and data (RFC 8538 §3.1).
        HardReset = 9, "Hard Reset";
    }
}
subcodes! {
    /// ROUTE-REFRESH Message Error subcodes (RFC 7313 §5).
    RefreshError {
        /// Data: the whole message.
        InvalidLength = 1, "Invalid Message Length";
    }
}

/// Why a session ends: code and subcode together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Code 1.
    Header(HeaderError),
    /// Code 2.
    Open(OpenError),
    /// Code 3.
    Update(UpdateError),
    /// Code 4.
    HoldTimerExpired,
    /// Code 5.
    Fsm(FsmError),
    /// Code 6.
    Cease(Cease),
    /// Code 7.
    Refresh(RefreshError),
    /// Code 8 (RFC 9687).
    SendHoldTimerExpired,
    /// A code we have no name for.
    Other {
        /// The code.
        code: u8,
        /// The subcode.
        subcode: u8,
    },
}

impl ErrorCode {
    /// From code and subcode on the wire.
    #[must_use]
    pub fn from_codes(code: u8, subcode: u8) -> Self {
        match (code, subcode) {
            (1, s) => Self::Header(HeaderError::from_code(s)),
            (2, s) => Self::Open(OpenError::from_code(s)),
            (3, s) => Self::Update(UpdateError::from_code(s)),
            (4, 0) => Self::HoldTimerExpired,
            (5, s) => Self::Fsm(FsmError::from_code(s)),
            (6, s) => Self::Cease(Cease::from_code(s)),
            (7, s) => Self::Refresh(RefreshError::from_code(s)),
            (8, 0) => Self::SendHoldTimerExpired,
            (code, subcode) => Self::Other { code, subcode },
        }
    }
    /// Code and subcode on the wire.
    #[must_use]
    pub fn codes(self) -> (u8, u8) {
        match self {
            Self::Header(s) => (1, s.code()),
            Self::Open(s) => (2, s.code()),
            Self::Update(s) => (3, s.code()),
            Self::HoldTimerExpired => (4, 0),
            Self::Fsm(s) => (5, s.code()),
            Self::Cease(s) => (6, s.code()),
            Self::Refresh(s) => (7, s.code()),
            Self::SendHoldTimerExpired => (8, 0),
            Self::Other { code, subcode } => (code, subcode),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(s) => write!(f, "Message Header Error/{s}"),
            Self::Open(s) => write!(f, "OPEN Message Error/{s}"),
            Self::Update(s) => write!(f, "UPDATE Message Error/{s}"),
            Self::HoldTimerExpired => f.write_str("Hold Timer Expired"),
            Self::Fsm(s) => write!(f, "Finite State Machine Error/{s}"),
            Self::Cease(s) => write!(f, "Cease/{s}"),
            Self::Refresh(s) => write!(f, "ROUTE-REFRESH Message Error/{s}"),
            Self::SendHoldTimerExpired => f.write_str("Send Hold Timer Expired"),
            Self::Other { code, subcode } => write!(f, "code {code} subcode {subcode}"),
        }
    }
}

/// A whole NOTIFICATION.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationMessage {
    /// Why.
    pub error: ErrorCode,
    /// What the code's RFC wants told with it.
    pub data: Bytes,
}

impl NotificationMessage {
    /// With no data.
    #[must_use]
    pub fn new(error: ErrorCode) -> Self {
        Self { error, data: Bytes::new() }
    }
    /// With data.
    #[must_use]
    pub fn with_data(error: ErrorCode, data: &[u8]) -> Self {
        Self { error, data: Bytes::copy_from_slice(data) }
    }
    /// A Cease with a text for the peer's operator (RFC 9003 §2), cut at a character's end to 255 octets.
    #[must_use]
    pub fn cease_with_text(cease: Cease, text: &str) -> Self {
        let mut end = text.len().min(255);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.as_bytes().get(..end).unwrap_or_default();
        let mut data = Vec::with_capacity(1 + end);
        if let (Ok(len), false) = (u8::try_from(end), text.is_empty()) {
            data.push(len);
            data.extend_from_slice(text);
        }
        Self { error: ErrorCode::Cease(cease), data: data.into() }
    }
    /// The same wrapped in Cease/Hard Reset, so that a peer with the N bit keeps nothing (RFC 8538 §3.1).
    #[must_use]
    pub fn into_hard_reset(self) -> Self {
        let (code, subcode) = self.error.codes();
        let mut data = Vec::with_capacity(2 + self.data.len());
        data.extend_from_slice(&[code, subcode]);
        data.extend_from_slice(&self.data);
        Self { error: ErrorCode::Cease(Cease::HardReset), data: data.into() }
    }
    /// What a Cease/Hard Reset wraps; itself when it is none.
    #[must_use]
    pub fn innermost(&self) -> Self {
        match (self.error, self.data.get(..2)) {
            (ErrorCode::Cease(Cease::HardReset), Some(&[code, subcode])) => {
                Self { error: ErrorCode::from_codes(code, subcode), data: self.data.slice(2..) }
            }
            _ => self.clone(),
        }
    }
    /// The text of an Administrative Shutdown or Reset (RFC 9003): what of it is UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        let ErrorCode::Cease(Cease::AdministrativeShutdown | Cease::AdministrativeReset) = self.error else {
            return None;
        };
        let (&len, rest) = self.data.split_first()?;
        core::str::from_utf8(rest.get(..usize::from(len))?).ok().filter(|t| !t.is_empty())
    }
    /// From a message's body.
    ///
    /// # Errors
    /// Message Header Error/Bad Message Length when code or subcode are missing. Nothing answers a NOTIFICATION
    /// (RFC 4271 §6.4), so it is for the log.
    pub fn decode(body: &Bytes) -> Result<Self, Self> {
        match body.get(..2) {
            Some(&[code, subcode]) => {
                Ok(Self { error: ErrorCode::from_codes(code, subcode), data: body.slice(2..) })
            }
            _ => Err(Self::new(ErrorCode::Header(HeaderError::BadLength))),
        }
    }
    /// The whole message with its header. Data beyond what a message of 4,096 octets takes is cut.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (code, subcode) = self.error.codes();
        let data = self.data.get(..self.data.len().min(4096 - 21)).unwrap_or_default();
        super::message(MessageType::Notification, |out| {
            out.extend_from_slice(&[code, subcode]);
            out.extend_from_slice(data);
        })
    }
}

impl fmt::Display for NotificationMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.innermost();
        if inner.error != self.error {
            write!(f, "{}: ", self.error)?;
        }
        inner.error.fmt(f)?;
        match inner.text() {
            Some(text) => write!(f, " ({text:?})"),
            None => Ok(()),
        }
    }
}
