//! The state machine of RFC 4271 §8, as a table.
//!
//! [`transition`] is the whole of §8.2.2: state outside, event inside, every event of a state listed under the RFC's
//! name; what comes out is the next state and what is to be done on the way, in order. It knows no peer, no clock and
//! no bytes. `peer` runs two of these machines for each neighbour (§6.8), does what the actions say and feeds events.
//!
//! Of the optional session attributes (§8.1) we have AllowAutomaticStart, PassiveTcpEstablishment and, after too many
//! prefixes, IdleHoldTimer; DelayOpen is not offered, so its events do not occur. Later RFCs add the events at the
//! end: the send hold timer (RFC 9687) and ROUTE-REFRESH (RFC 2918, RFC 7313). Where we differ from §8.2.2:
//! - A NOTIFICATION is never answered with one (§6.4), also not in OpenSent, where the RFC's "any other event" would.
//! - A bad header in Established is answered with its own code (§6.1), not with FSM Error.
//! - An OPEN in OpenConfirm or Established is unexpected; collisions are resolved before it becomes an event.
//! - ConnectRetryCounter, which nothing in the RFC reads, is not kept.
//! - FSM Error carries the subcodes of RFC 6608.

use crate::status::SessionState;
use crate::wire::notification::FsmError;

/// The events of RFC 4271 §8.1 that occur here, under its names and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "the names are the RFC's")]
pub enum Event {
    /// 1
    ManualStart,
    /// 2
    ManualStop,
    /// 3
    AutomaticStart,
    /// 4
    ManualStart_with_PassiveTcpEstablishment,
    /// 5
    AutomaticStart_with_PassiveTcpEstablishment,
    /// 8
    AutomaticStop,
    /// 9
    ConnectRetryTimer_Expires,
    /// 10
    HoldTimer_Expires,
    /// 11
    KeepaliveTimer_Expires,
    /// 13
    IdleHoldTimer_Expires,
    /// 16
    Tcp_CR_Acked,
    /// 17
    TcpConnectionConfirmed,
    /// 18
    TcpConnectionFails,
    /// 19
    BGPOpen,
    /// 21
    BGPHeaderErr,
    /// 22
    BGPOpenMsgErr,
    /// 23
    OpenCollisionDump,
    /// 24
    NotifMsgVerErr,
    /// 25
    NotifMsg,
    /// 26
    KeepAliveMsg,
    /// 27
    UpdateMsg,
    /// 28
    UpdateMsgErr,
    /// 29 (RFC 9687 §3.1)
    SendHoldTimer_Expires,
    /// A ROUTE-REFRESH (RFC 2918).
    RouteRefreshMsg,
    /// A ROUTE-REFRESH that can't be read (RFC 7313 §5).
    RouteRefreshMsgErr,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 25] = [
        Self::ManualStart,
        Self::ManualStop,
        Self::AutomaticStart,
        Self::ManualStart_with_PassiveTcpEstablishment,
        Self::AutomaticStart_with_PassiveTcpEstablishment,
        Self::AutomaticStop,
        Self::ConnectRetryTimer_Expires,
        Self::HoldTimer_Expires,
        Self::KeepaliveTimer_Expires,
        Self::IdleHoldTimer_Expires,
        Self::Tcp_CR_Acked,
        Self::TcpConnectionConfirmed,
        Self::TcpConnectionFails,
        Self::BGPOpen,
        Self::BGPHeaderErr,
        Self::BGPOpenMsgErr,
        Self::OpenCollisionDump,
        Self::NotifMsgVerErr,
        Self::NotifMsg,
        Self::KeepAliveMsg,
        Self::UpdateMsg,
        Self::UpdateMsgErr,
        Self::SendHoldTimer_Expires,
        Self::RouteRefreshMsg,
        Self::RouteRefreshMsgErr,
    ];
}

/// What is done on the way to the next state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// (Re)starts ConnectRetryTimer.
    StartConnectRetry,
    /// Stops ConnectRetryTimer.
    StopConnectRetry,
    /// Begins a TCP connection to the peer.
    InitiateTcp,
    /// Sends OPEN and sets HoldTimer to a large value.
    SendOpen,
    /// Settles on hold time and capabilities, starts HoldTimer and KeepaliveTimer.
    Agree,
    /// Sends KEEPALIVE.
    SendKeepalive,
    /// Restarts KeepaliveTimer unless the hold time is zero.
    StartKeepalive,
    /// Restarts HoldTimer unless the hold time is zero.
    StartHold,
    /// The session is up: routes may flow.
    Establish,
    /// Sends the NOTIFICATION that came with the event.
    Notify,
    /// Sends Hold Timer Expired.
    NotifyHoldTimer,
    /// Sends Send Hold Timer Expired, should the peer ever read again.
    NotifySendHoldTimer,
    /// Sends Finite State Machine Error with this subcode.
    NotifyFsm(FsmError),
    /// The session is over: its routes go, or stay as stale (RFC 4724).
    Release,
    /// Drops the connection, after what is queued has gone out.
    DropTcp,
}

use Action::{
    Agree, DropTcp, Establish, InitiateTcp, Notify, NotifyFsm, NotifyHoldTimer, NotifySendHoldTimer, Release,
    SendKeepalive, SendOpen, StartConnectRetry, StartHold, StartKeepalive, StopConnectRetry,
};
use FsmError::{UnexpectedInEstablished, UnexpectedInOpenConfirm, UnexpectedInOpenSent};
use SessionState::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};

/// A transition: the next state, and what to do on the way there.
pub type Transition = (SessionState, &'static [Action]);

const STAY: &[Action] = &[];
/// The end of an attempt that had no connection, or one without OPENs.
const GIVE_UP: &[Action] = &[StopConnectRetry, DropTcp];
/// The end that an operator or the configuration wants.
const STOP: &[Action] = &[Notify, StopConnectRetry, Release, DropTcp];
/// The end with the NOTIFICATION that came with the event.
const FAIL: &[Action] = &[Notify, StopConnectRetry, Release, DropTcp];
/// The end that the peer or the transport has brought.
const LOST: &[Action] = &[StopConnectRetry, Release, DropTcp];
const HOLD_EXPIRED: &[Action] = &[NotifyHoldTimer, StopConnectRetry, Release, DropTcp];
const SEND_HOLD_EXPIRED: &[Action] = &[NotifySendHoldTimer, StopConnectRetry, Release, DropTcp];
const NOT_IN_OPEN_SENT: &[Action] = &[NotifyFsm(UnexpectedInOpenSent), StopConnectRetry, Release, DropTcp];
const NOT_IN_OPEN_CONFIRM: &[Action] =
    &[NotifyFsm(UnexpectedInOpenConfirm), StopConnectRetry, Release, DropTcp];
const NOT_IN_ESTABLISHED: &[Action] =
    &[NotifyFsm(UnexpectedInEstablished), StopConnectRetry, Release, DropTcp];

/// RFC 4271 §8.2.2: the state here, the events of each state below in the RFC's order of states.
#[must_use]
pub fn transition(state: SessionState, event: Event) -> Transition {
    match state {
        Idle => idle(event),
        Connect => connect(event),
        Active => active(event),
        OpenSent => open_sent(event),
        OpenConfirm => open_confirm(event),
        Established => established(event),
    }
}

#[rustfmt::skip]
fn idle(event: Event) -> Transition {
    use Event as E;
    match event {
        E::ManualStart | E::AutomaticStart | E::IdleHoldTimer_Expires
            => (Connect, &[StartConnectRetry, InitiateTcp]),
        E::ManualStart_with_PassiveTcpEstablishment | E::AutomaticStart_with_PassiveTcpEstablishment
            => (Active, &[StartConnectRetry]),
        E::ManualStop | E::AutomaticStop | E::ConnectRetryTimer_Expires | E::HoldTimer_Expires
        | E::KeepaliveTimer_Expires | E::Tcp_CR_Acked | E::TcpConnectionConfirmed | E::TcpConnectionFails
        | E::BGPOpen | E::BGPHeaderErr | E::BGPOpenMsgErr | E::OpenCollisionDump | E::NotifMsgVerErr
        | E::NotifMsg | E::KeepAliveMsg | E::UpdateMsg | E::UpdateMsgErr | E::SendHoldTimer_Expires
        | E::RouteRefreshMsg | E::RouteRefreshMsgErr
            => (Idle, STAY),
    }
}

#[rustfmt::skip]
fn connect(event: Event) -> Transition {
    use Event as E;
    match event {
        E::ManualStart | E::AutomaticStart | E::ManualStart_with_PassiveTcpEstablishment
        | E::AutomaticStart_with_PassiveTcpEstablishment
            => (Connect, STAY),
        E::ManualStop
            => (Idle, &[DropTcp, StopConnectRetry]),
        E::ConnectRetryTimer_Expires
            => (Connect, &[DropTcp, StartConnectRetry, InitiateTcp]),
        E::Tcp_CR_Acked | E::TcpConnectionConfirmed
            => (OpenSent, &[StopConnectRetry, SendOpen]),
        E::TcpConnectionFails
            => (Idle, &[StopConnectRetry, DropTcp]),
        E::AutomaticStop | E::HoldTimer_Expires | E::KeepaliveTimer_Expires | E::IdleHoldTimer_Expires
        | E::BGPOpen | E::BGPHeaderErr | E::BGPOpenMsgErr | E::OpenCollisionDump | E::NotifMsgVerErr
        | E::NotifMsg | E::KeepAliveMsg | E::UpdateMsg | E::UpdateMsgErr | E::SendHoldTimer_Expires
        | E::RouteRefreshMsg | E::RouteRefreshMsgErr
            => (Idle, GIVE_UP),
    }
}

#[rustfmt::skip]
fn active(event: Event) -> Transition {
    use Event as E;
    match event {
        E::ManualStart | E::AutomaticStart | E::ManualStart_with_PassiveTcpEstablishment
        | E::AutomaticStart_with_PassiveTcpEstablishment
            => (Active, STAY),
        E::ManualStop
            => (Idle, &[DropTcp, StopConnectRetry]),
        E::ConnectRetryTimer_Expires
            => (Connect, &[StartConnectRetry, InitiateTcp]),
        E::Tcp_CR_Acked | E::TcpConnectionConfirmed
            => (OpenSent, &[StopConnectRetry, SendOpen]),
        E::TcpConnectionFails
            => (Idle, &[StartConnectRetry, DropTcp]),
        E::AutomaticStop | E::HoldTimer_Expires | E::KeepaliveTimer_Expires | E::IdleHoldTimer_Expires
        | E::BGPOpen | E::BGPHeaderErr | E::BGPOpenMsgErr | E::OpenCollisionDump | E::NotifMsgVerErr
        | E::NotifMsg | E::KeepAliveMsg | E::UpdateMsg | E::UpdateMsgErr | E::SendHoldTimer_Expires
        | E::RouteRefreshMsg | E::RouteRefreshMsgErr
            => (Idle, GIVE_UP),
    }
}

#[rustfmt::skip]
fn open_sent(event: Event) -> Transition {
    use Event as E;
    match event {
        E::ManualStart | E::AutomaticStart | E::ManualStart_with_PassiveTcpEstablishment
        | E::AutomaticStart_with_PassiveTcpEstablishment | E::Tcp_CR_Acked | E::TcpConnectionConfirmed
            => (OpenSent, STAY),
        E::ManualStop
            => (Idle, STOP),
        E::AutomaticStop | E::BGPHeaderErr | E::BGPOpenMsgErr | E::OpenCollisionDump
            => (Idle, FAIL),
        E::HoldTimer_Expires
            => (Idle, HOLD_EXPIRED),
        E::SendHoldTimer_Expires
            => (Idle, SEND_HOLD_EXPIRED),
        E::TcpConnectionFails
            => (Active, &[DropTcp, StartConnectRetry]),
        E::BGPOpen
            => (OpenConfirm, &[StopConnectRetry, Agree, SendKeepalive]),
        E::NotifMsgVerErr
            => (Idle, &[StopConnectRetry, Release, DropTcp]),
        E::NotifMsg
            => (Idle, LOST),
        E::ConnectRetryTimer_Expires | E::KeepaliveTimer_Expires | E::IdleHoldTimer_Expires
        | E::KeepAliveMsg | E::UpdateMsg | E::UpdateMsgErr | E::RouteRefreshMsg | E::RouteRefreshMsgErr
            => (Idle, NOT_IN_OPEN_SENT),
    }
}

#[rustfmt::skip]
fn open_confirm(event: Event) -> Transition {
    use Event as E;
    match event {
        E::ManualStart | E::AutomaticStart | E::ManualStart_with_PassiveTcpEstablishment
        | E::AutomaticStart_with_PassiveTcpEstablishment | E::Tcp_CR_Acked | E::TcpConnectionConfirmed
            => (OpenConfirm, STAY),
        E::ManualStop
            => (Idle, STOP),
        E::AutomaticStop | E::BGPHeaderErr | E::BGPOpenMsgErr | E::OpenCollisionDump
            => (Idle, FAIL),
        E::HoldTimer_Expires
            => (Idle, HOLD_EXPIRED),
        E::SendHoldTimer_Expires
            => (Idle, SEND_HOLD_EXPIRED),
        E::KeepaliveTimer_Expires
            => (OpenConfirm, &[SendKeepalive, StartKeepalive]),
        E::TcpConnectionFails | E::NotifMsg
            => (Idle, LOST),
        E::NotifMsgVerErr
            => (Idle, &[StopConnectRetry, Release, DropTcp]),
        E::KeepAliveMsg
            => (Established, &[StartHold, Establish]),
        E::ConnectRetryTimer_Expires | E::IdleHoldTimer_Expires | E::BGPOpen
        | E::UpdateMsg | E::UpdateMsgErr | E::RouteRefreshMsg | E::RouteRefreshMsgErr
            => (Idle, NOT_IN_OPEN_CONFIRM),
    }
}

#[rustfmt::skip]
fn established(event: Event) -> Transition {
    use Event as E;
    match event {
        E::ManualStart | E::AutomaticStart | E::ManualStart_with_PassiveTcpEstablishment
        | E::AutomaticStart_with_PassiveTcpEstablishment | E::Tcp_CR_Acked | E::TcpConnectionConfirmed
            => (Established, STAY),
        E::ManualStop
            => (Idle, STOP),
        E::AutomaticStop | E::OpenCollisionDump | E::BGPHeaderErr | E::UpdateMsgErr | E::RouteRefreshMsgErr
            => (Idle, FAIL),
        E::HoldTimer_Expires
            => (Idle, HOLD_EXPIRED),
        E::SendHoldTimer_Expires
            => (Idle, SEND_HOLD_EXPIRED),
        E::KeepaliveTimer_Expires
            => (Established, &[SendKeepalive, StartKeepalive]),
        E::TcpConnectionFails | E::NotifMsgVerErr | E::NotifMsg
            => (Idle, LOST),
        E::KeepAliveMsg | E::UpdateMsg | E::RouteRefreshMsg
            => (Established, &[StartHold]),
        E::ConnectRetryTimer_Expires | E::IdleHoldTimer_Expires | E::BGPOpen | E::BGPOpenMsgErr
            => (Idle, NOT_IN_ESTABLISHED),
    }
}

#[cfg(test)]
mod tests;
