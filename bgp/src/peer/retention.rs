//! Graceful restart, the part of the one who stays (RFC 4724 §4.2, RFC 8538): which of a peer's routes are kept when a
//! session ends and for how long. Plain bookkeeping by family; `peer` keeps the clocks and tells the RIB.

use core::time::Duration;

use crate::FamilySet;
use crate::config;
use crate::wire::capability;

/// What both OPENs said about graceful restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// Families whose forwarding the peer keeps when it restarts.
    pub(crate) families: FamilySet,
    /// Also across NOTIFICATION and hold timer expiry: both sides set the N bit.
    pub(crate) notification: bool,
    /// How long the peer wants to be waited for.
    pub(crate) restart_time: Duration,
    /// Both sides know End-of-RIB.
    pub(crate) spoken: bool,
    /// The peer has restarted: it waits for our End-of-RIB, so nobody should wait for its (RFC 4724 §4.1).
    pub(crate) restarted: bool,
}

impl Agreed {
    /// Of what we have configured and what the peer offers, for the families of the session.
    pub(crate) fn new(
        ours: Option<&config::GracefulRestart>,
        theirs: Option<&capability::GracefulRestart>,
        families: FamilySet,
    ) -> Self {
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return Self::default() };
        Self {
            families: theirs.families.and(families),
            notification: ours.notification && theirs.notification,
            restart_time: theirs.restart_time,
            spoken: true,
            restarted: theirs.restarted,
        }
    }
}

/// How a session ended, as far as it matters to the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Without a word: the transport failed, or the peer came anew.
    Silent,
    /// With a NOTIFICATION of either side.
    Notification,
    /// With Cease/Connection Collision Resolution: nobody has restarted, another connection of the peer takes over.
    Collision,
    /// With Cease/Hard Reset (RFC 8538 §3), or because we want no session with it.
    Hard,
}

/// What is kept of a peer while it is away or has not said everything again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Families with stale routes.
    stale: FamilySet,
}

impl Retention {
    pub(crate) fn stale(self) -> FamilySet {
        self.stale
    }
    /// A session ended. Returns the families whose routes that are stale already go now, because a second restart
    /// came before the End-of-RIB of the first (RFC 4724 §4.2), and the families whose routes become stale.
    pub(crate) fn ended(&mut self, agreed: &Agreed, how: End) -> (FamilySet, FamilySet) {
        let keep = match how {
            End::Silent | End::Collision => agreed.families,
            End::Notification if agreed.notification => agreed.families,
            End::Notification | End::Hard => FamilySet::EMPTY,
        };
        let twice = if how == End::Collision { FamilySet::EMPTY } else { self.stale.and(keep) };
        self.stale = keep;
        (twice, keep)
    }
    /// The peer is back. Returns the families whose stale routes stay until End-of-RIB: those it offers again and whose
    /// forwarding state it says it has kept (F bit).
    pub(crate) fn returned(
        &mut self,
        theirs: Option<&capability::GracefulRestart>,
        agreed: &Agreed,
    ) -> FamilySet {
        let kept = theirs.map_or(FamilySet::EMPTY, |g| g.forwarding);
        self.stale = self.stale.and(agreed.families).and(kept);
        self.stale
    }
    /// End-of-RIB: nothing of this family is stale any more.
    pub(crate) fn end_of_rib(&mut self, family: crate::Family) {
        self.stale = self.stale.without(family);
    }
    /// The wait is over. Returns the families whose stale routes go.
    pub(crate) fn expired(&mut self) -> FamilySet {
        core::mem::take(&mut self.stale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Family::{Ipv4Unicast as V4, Ipv6Unicast as V6};

    const ONLY4: FamilySet = FamilySet::EMPTY.with(V4);
    const ONLY6: FamilySet = FamilySet::EMPTY.with(V6);

    fn offer(families: FamilySet, forwarding: FamilySet) -> capability::GracefulRestart {
        let restart_time = Duration::from_secs(120);
        capability::GracefulRestart {
            restarted: true,
            notification: true,
            restart_time,
            families,
            forwarding,
        }
    }
    fn ours(notification: bool) -> config::GracefulRestart {
        let secs = Duration::from_secs;
        config::GracefulRestart { restart_time: secs(120), stale_time: secs(180), notification }
    }

    #[test]
    fn routes_are_kept_for_the_families_both_sides_agreed_on_and_only_after_a_silent_end_without_the_n_bit() {
        let agreed = Agreed::new(Some(&ours(false)), Some(&offer(FamilySet::BOTH, ONLY4)), ONLY4);
        assert!(!agreed.notification);
        assert_eq!(Retention::default().ended(&agreed, End::Silent), (FamilySet::EMPTY, ONLY4));
        assert_eq!(Retention::default().ended(&agreed, End::Notification).1, FamilySet::EMPTY);
        let agreed = Agreed::new(Some(&ours(true)), Some(&offer(FamilySet::BOTH, ONLY4)), FamilySet::BOTH);
        assert_eq!(Retention::default().ended(&agreed, End::Notification).1, FamilySet::BOTH);
        assert_eq!(Retention::default().ended(&agreed, End::Hard).1, FamilySet::EMPTY);
    }

    #[test]
    fn nothing_is_kept_of_a_peer_without_graceful_restart() {
        for agreed in [
            Agreed::new(Some(&ours(true)), None, FamilySet::BOTH),
            Agreed::new(None, Some(&offer(FamilySet::BOTH, FamilySet::BOTH)), FamilySet::BOTH),
        ] {
            assert_eq!(Retention::default().ended(&agreed, End::Silent).1, FamilySet::EMPTY);
        }
    }

    #[test]
    fn a_family_without_the_f_bit_or_not_offered_again_is_not_kept_when_the_peer_returns() {
        let agreed =
            Agreed::new(Some(&ours(true)), Some(&offer(FamilySet::BOTH, FamilySet::BOTH)), FamilySet::BOTH);
        let mut r = Retention::default();
        r.ended(&agreed, End::Silent);
        let back = offer(FamilySet::BOTH, ONLY6);
        assert_eq!(r.returned(Some(&back), &agreed), ONLY6, "no F bit for IPv4");
        let mut r = Retention::default();
        r.ended(&agreed, End::Silent);
        let back = offer(ONLY4, FamilySet::BOTH);
        let fewer = Agreed::new(Some(&ours(true)), Some(&back), ONLY4);
        assert_eq!(r.returned(Some(&back), &fewer), ONLY4, "IPv6 is not offered any more");
        assert_eq!(r.returned(None, &Agreed::default()), FamilySet::EMPTY, "no graceful restart any more");
    }

    #[test]
    fn a_second_restart_before_end_of_rib_throws_away_what_was_stale_already() {
        let both = offer(FamilySet::BOTH, FamilySet::BOTH);
        let agreed = Agreed::new(Some(&ours(true)), Some(&both), FamilySet::BOTH);
        let mut r = Retention::default();
        assert_eq!(r.ended(&agreed, End::Silent), (FamilySet::EMPTY, FamilySet::BOTH));
        assert_eq!(r.returned(Some(&both), &agreed), FamilySet::BOTH);
        r.end_of_rib(V6);
        assert_eq!(r.ended(&agreed, End::Silent), (ONLY4, FamilySet::BOTH), "IPv6 had its End-of-RIB");
        assert_eq!(r.expired(), FamilySet::BOTH);
        assert_eq!(r.stale(), FamilySet::EMPTY);
    }

    #[test]
    fn a_collision_is_no_second_restart() {
        let both = offer(FamilySet::BOTH, FamilySet::BOTH);
        let agreed = Agreed::new(Some(&ours(false)), Some(&both), FamilySet::BOTH);
        let mut r = Retention::default();
        r.ended(&agreed, End::Silent);
        r.returned(Some(&both), &agreed);
        assert_eq!(r.ended(&agreed, End::Collision), (FamilySet::EMPTY, FamilySet::BOTH), "nothing goes");
        assert_eq!(r.returned(Some(&both), &agreed), FamilySet::BOTH);
    }
}
