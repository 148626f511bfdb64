//! Addresses of the node's tunnel devices: they come from the pools like those of pods, and are kept as long
//! as the device wishes for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use corduroy_bgp::Time;
use corduroy_kernel::{Family, LinkName};

use super::Output;
use crate::ipam::{Allocator, Purpose, Request};

/// What the tunnel devices wish for.
#[derive(Clone, Debug, Default)]
pub(super) struct Tunnels {
    wishes: BTreeMap<(LinkName, Family), Wish>,
}

#[derive(Clone, Debug)]
struct Wish {
    /// The address it had before.
    wanted: Option<IpAddr>,
    /// What was answered last.
    told: Option<Result<IpAddr, String>>,
}

impl Tunnels {
    pub(super) fn wish(&mut self, device: LinkName, family: Family, wanted: Option<IpAddr>) {
        self.wishes.insert((device, family), Wish { wanted, told: None });
    }

    pub(super) fn forget(&mut self, device: LinkName) {
        self.wishes.retain(|(of, _), _| *of != device);
    }

    /// Tries to fulfil what is open. Returns the answers that are news, and the devices whose addresses
    /// changed.
    pub(super) fn serve(&mut self, ipam: &mut Allocator, now: Time) -> (Vec<Output>, BTreeSet<LinkName>) {
        let (mut answers, mut changed) = (Vec::new(), BTreeSet::new());
        for ((device, family), wish) in &mut self.wishes {
            let (device, family) = (*device, *family);
            if let Some(Ok(_)) = wish.told {
                continue;
            }
            let before = ipam.addresses(device).len();
            let result = assign(ipam, device, family, wish.wanted, now);
            if ipam.addresses(device).len() != before {
                changed.insert(device);
            }
            if wish.told.as_ref() != Some(&result) {
                wish.told = Some(result.clone());
                answers.push(Output::TunnelAddress { device, family, result });
            }
        }
        (answers, changed)
    }
}

/// The address it had before, else any: a pool may have gone, or another node have its block now.
fn assign(
    ipam: &mut Allocator,
    device: LinkName,
    family: Family,
    wanted: Option<IpAddr>,
    now: Time,
) -> Result<IpAddr, String> {
    let any = Request { family: Some(family), ..Request::any(Purpose::Tunnel) };
    let same = Request { wanted: wanted.into_iter().collect(), ..any.clone() };
    let mut result = ipam.assign(device, &same, now);
    if wanted.is_some() && result.as_ref().is_err_and(|error| !error.may_pass()) {
        result = ipam.assign(device, &any, now);
    }
    let all = result.map_err(|error| error.to_string())?;
    let of_family = all.into_iter().find(|address| Family::of(*address) == family);
    of_family.ok_or_else(|| "no IPPool of this family serves tunnels".to_owned())
}
