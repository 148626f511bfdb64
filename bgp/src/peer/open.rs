//! OPEN: what ours says to a peer, and whether the peer's is acceptable.

use alloc::vec::Vec;

use crate::config::{PeerConfig, RemoteAs};
use crate::sessions::core::Identity;
use crate::wire::NotificationMessage;
use crate::wire::capability::{self, GracefulRestart, Offer};
use crate::wire::notification::{ErrorCode, OpenError};
use crate::wire::open::Open;
use crate::{Asn, FamilySet};

impl PeerConfig {
    /// The AS we show this peer.
    pub(crate) fn shown_as(&self, ours: Asn) -> Asn {
        self.local_as.unwrap_or(ours)
    }
    /// May a peer with this AS be it?
    pub(crate) fn admits(&self, remote: Asn, ours: Asn) -> bool {
        match self.remote_as {
            RemoteAs::Exactly(asn) => remote == asn,
            RemoteAs::Internal => remote == self.shown_as(ours),
            RemoteAs::External => remote != self.shown_as(ours),
        }
    }
    /// Our OPEN to this peer. `flown`: families that have been up with it since this process started.
    pub(crate) fn open(&self, us: &Identity, flown: FamilySet, restarted: bool) -> Open {
        let c = &self.capabilities;
        let graceful_restart = c.graceful_restart.map(|g| GracefulRestart {
            restarted,
            notification: g.notification,
            restart_time: g.restart_time,
            families: c.families,
            // What a session that merely broke left in our kernel is as well kept as what a restart left.
            forwarding: c.families.and(us.forwarding.or(flown)),
        });
        let asn = self.shown_as(us.local_as);
        Open {
            asn,
            hold_time: self.timers.hold,
            router_id: us.router_id,
            offer: Offer {
                families: c.families,
                route_refresh: c.route_refresh,
                extended_messages: c.extended_messages,
                graceful_restart,
                as4: Some(asn),
            },
        }
    }
    /// Is this OPEN acceptable (RFC 4271 §6.2, RFC 6286 §2.2, RFC 5492 §3)?
    pub(super) fn judge(&self, open: &Open, us: &Identity) -> Result<(), NotificationMessage> {
        let error = |e| NotificationMessage::new(ErrorCode::Open(e));
        if !self.admits(open.asn, us.local_as) {
            return Err(error(OpenError::BadPeerAs));
        }
        if open.asn == self.shown_as(us.local_as) && open.router_id == us.router_id {
            return Err(error(OpenError::BadIdentifier));
        }
        if open.offer.families.and(self.capabilities.families).is_empty() {
            let ours = Offer { families: self.capabilities.families, ..Offer::default() };
            let mut data = Vec::new();
            capability::encode(&ours, &mut data);
            let code = ErrorCode::Open(OpenError::UnsupportedCapability);
            return Err(NotificationMessage::with_data(code, &data));
        }
        Ok(())
    }
}
