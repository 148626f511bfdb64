//! The machine against a table copied out of RFC 4271 §8.2.2 by hand, in a notation of its own: a row an event, a
//! column a state. Whoever changes the machine has to change the table, and look at the RFC for it.
//!
//! `-` stay, nothing done · `C` begin TCP, Connect · `A` Active · `S` send OPEN, OpenSent · `O` OpenConfirm ·
//! `E` Established · `k` stay, KEEPALIVE sent · `h` stay, HoldTimer restarted · `r` stay, TCP tried again ·
//! `q` Idle without a word · `n` Idle with the event's NOTIFICATION · `H` Idle, Hold Timer Expired ·
//! `W` Idle, Send Hold Timer Expired · `1`, `2`, `3` Idle, FSM Error with this subcode (RFC 6608)

use super::*;
use alloc::vec::Vec;

#[rustfmt::skip]
const RFC: [(Event, &str); 25] = [
    //                                                    Idle Connect Active OpenSent OpenConfirm Established
    (Event::ManualStart,                                 "C - - - - -"),
    (Event::ManualStop,                                  "- q q n n n"),
    (Event::AutomaticStart,                              "C - - - - -"),
    (Event::ManualStart_with_PassiveTcpEstablishment,    "A - - - - -"),
    (Event::AutomaticStart_with_PassiveTcpEstablishment, "A - - - - -"),
    (Event::AutomaticStop,                               "- q q n n n"),
    (Event::ConnectRetryTimer_Expires,                   "- r C 1 2 3"),
    (Event::HoldTimer_Expires,                           "- q q H H H"),
    (Event::KeepaliveTimer_Expires,                      "- q q 1 k k"),
    (Event::IdleHoldTimer_Expires,                       "C q q 1 2 3"),
    (Event::Tcp_CR_Acked,                                "- S S - - -"),
    (Event::TcpConnectionConfirmed,                      "- S S - - -"),
    (Event::TcpConnectionFails,                          "- q q A q q"),
    (Event::BGPOpen,                                     "- q q O 2 3"),
    (Event::BGPHeaderErr,                                "- q q n n n"),
    (Event::BGPOpenMsgErr,                               "- q q n n 3"),
    (Event::OpenCollisionDump,                           "- q q n n n"),
    (Event::NotifMsgVerErr,                              "- q q q q q"),
    (Event::NotifMsg,                                    "- q q q q q"),
    (Event::KeepAliveMsg,                                "- q q 1 E h"),
    (Event::UpdateMsg,                                   "- q q 1 2 h"),
    (Event::UpdateMsgErr,                                "- q q 1 2 n"),
    (Event::SendHoldTimer_Expires,                       "- q q W W W"),
    (Event::RouteRefreshMsg,                             "- q q 1 2 h"),
    (Event::RouteRefreshMsgErr,                          "- q q 1 2 n"),
];

const STATES: [SessionState; 6] = [Idle, Connect, Active, OpenSent, OpenConfirm, Established];

/// What a letter of the table demands: the next state, and which of the telling actions occur.
fn demanded(letter: &str, state: SessionState) -> (SessionState, Vec<Action>) {
    match letter {
        "-" => (state, Vec::new()),
        "C" => (Connect, [InitiateTcp].into()),
        "A" => (Active, Vec::new()),
        "S" => (OpenSent, [SendOpen].into()),
        "O" => (OpenConfirm, [Agree, SendKeepalive].into()),
        "E" => (Established, [StartHold, Establish].into()),
        "k" => (state, [SendKeepalive, StartKeepalive].into()),
        "h" => (state, [StartHold].into()),
        "r" => (state, [InitiateTcp].into()),
        "q" => (Idle, Vec::new()),
        "n" => (Idle, [Notify].into()),
        "H" => (Idle, [NotifyHoldTimer].into()),
        "W" => (Idle, [NotifySendHoldTimer].into()),
        "1" => (Idle, [NotifyFsm(UnexpectedInOpenSent)].into()),
        "2" => (Idle, [NotifyFsm(UnexpectedInOpenConfirm)].into()),
        "3" => (Idle, [NotifyFsm(UnexpectedInEstablished)].into()),
        _ => panic!("no such letter: {letter}"),
    }
}

/// All but what keeps timers and connection tidy, which has tests of its own.
fn telling(action: &Action) -> bool {
    !matches!(action, StartConnectRetry | StopConnectRetry | Release | DropTcp)
}

#[test]
fn every_event_in_every_state_leads_where_rfc_4271_says() {
    assert_eq!(RFC.map(|(event, _)| event), Event::ALL, "the table has every event once");
    for (event, row) in RFC {
        for (state, letter) in STATES.into_iter().zip(row.split(' ')) {
            let (next, actions) = transition(state, event);
            let actions: Vec<Action> = actions.iter().copied().filter(telling).collect();
            assert_eq!((next, actions), demanded(letter, state), "{event:?} in {state}");
        }
    }
}

#[test]
fn whoever_leaves_a_connection_drops_it_and_whoever_leaves_a_session_releases_it() {
    for event in Event::ALL {
        for state in STATES {
            let (next, actions) = transition(state, event);
            let connected = state >= OpenSent;
            if connected && next < OpenSent {
                assert!(actions.contains(&DropTcp), "{event:?} in {state}");
                assert_eq!(
                    actions.last() == Some(&StartConnectRetry),
                    next == Active,
                    "{event:?} in {state}"
                );
            }
            if state == Established && next != Established {
                assert!(actions.contains(&Release), "{event:?}");
            }
            if state != Idle && next == Idle {
                assert!(actions.contains(&StopConnectRetry) || state == Active, "{event:?} in {state}");
            }
            let said = actions.iter().position(|a| matches!(a, Notify | NotifyHoldTimer | NotifyFsm(_)));
            let dropped = actions.iter().position(|a| *a == DropTcp);
            assert!(
                said.is_none() || said < dropped,
                "the NOTIFICATION precedes the end: {event:?} in {state}"
            );
        }
    }
}
