//! The addresses of this node's tunnel devices: asked for when a pool wants the encapsulation, declared to other nodes
//! when the device is ready to take packets, given back when it is gone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use corduroy_api::fabric_node::{Tunnels as Declared, VxlanEnd};
use corduroy_kernel::{Family, LinkName};

use crate::desired::links;
use crate::endpoints::Input;
use crate::former::Former;
use crate::key::Key;
use crate::known::Known;
use crate::reconcile::Reconciler;

/// What has been asked for.
#[derive(Debug, Default)]
pub(super) struct Tunnels {
    asked: BTreeSet<(LinkName, Family)>,
}

const ENDS: [(LinkName, Family); 3] =
    [(LinkName::IPIP, Family::V4), (LinkName::VXLAN, Family::V4), (LinkName::VXLAN, Family::V6)];

impl Tunnels {
    /// What the endpoints are to be asked: addresses for ends that are wanted, or to take back those of a device that
    /// is gone.
    pub(super) fn settle(&mut self, known: &mut Known, is_there: impl Fn(LinkName) -> bool) -> Vec<Input> {
        let mut inputs = Vec::new();
        for (device, family) in ENDS {
            let asked_for = links::is_asked_for(known, device, family);
            if asked_for && self.asked.insert((device, family)) {
                let wanted = recorded(known, device, family);
                inputs.push(Input::Tunnel { device, family, wanted });
            }
        }
        for device in [LinkName::IPIP, LinkName::VXLAN] {
            let was_asked = self.asked.iter().any(|(dev, _)| *dev == device);
            if was_asked && !links::is_wanted(known, device) && !is_there(device) {
                self.asked.retain(|(dev, _)| *dev != device);
                known.me.tunnels.forget(device);
                inputs.push(Input::NoTunnel(device));
            }
        }
        inputs
    }
}

/// The address this very machine had before, if there is a record of it.
fn recorded(known: &Known, device: LinkName, family: Family) -> Option<IpAddr> {
    let node = known.nodes.get(&known.me.name).filter(|node| node.uid == known.me.uid)?;
    match family {
        Family::V4 if device == LinkName::IPIP => node.tunnels.ipip.map(IpAddr::V4),
        Family::V4 => node.tunnels.vxlan_v4.map(|end| IpAddr::V4(end.address)),
        Family::V6 => node.tunnels.vxlan_v6.map(|end| IpAddr::V6(end.address)),
    }
}

/// What is declared: the ends that pools ask for and whose device and address are in the kernel.
pub(super) fn declared(known: &Known, reconciler: &Reconciler, former: &Former) -> Declared {
    let ready = |device: LinkName, family: Family| {
        let addr = known.me.tunnels.on(device, family)?;
        let keys = [Key::Link(device), Key::Up(device), Key::Address(device, addr)];
        let is_up = reconciler.picture().links.get(&device).is_some_and(|seen| seen.link.up);
        let is_ready = is_up && keys.iter().all(|key| reconciler.is_done(known, former, key));
        // A device that is being repaired is no reason for the whole fabric to move: what is declared stays.
        let is_known = recorded(known, device, family) == Some(addr);
        (links::is_asked_for(known, device, family) && (is_ready || is_known)).then_some(addr)
    };
    let mac = known.me.vxlan_mac().0;
    let v4 = |addr| if let IpAddr::V4(addr) = addr { Some(addr) } else { None };
    let v6 = |addr| if let IpAddr::V6(addr) = addr { Some(addr) } else { None };
    Declared {
        ipip: ready(LinkName::IPIP, Family::V4).and_then(v4),
        vxlan_v4: ready(LinkName::VXLAN, Family::V4).and_then(v4).map(|address| VxlanEnd { address, mac }),
        vxlan_v6: ready(LinkName::VXLAN, Family::V6).and_then(v6).map(|address| VxlanEnd { address, mac }),
    }
}
