//! Why an address of a service is announced, or is not.

use corduroy_api::IpNetwork;
use corduroy_api::block::contains;
use corduroy_ipc::status as ipc;

use crate::Model;
use crate::services::{EXCLUDED, Ranges, Role, is_excluded, serves};

/// Every range of services around `net`, and every Service that has its address, for the node `me`.
#[must_use]
pub fn services(model: &Model, me: &str, net: IpNetwork) -> Vec<ipc::ServiceAddress> {
    let ranges = Ranges::of(model);
    let excluded = is_excluded(model, me);
    let answer = |what: String, announced: bool, why: String| ipc::ServiceAddress {
        what,
        announced: announced && !excluded,
        why: if excluded { format!("this node has the label {EXCLUDED}") } else { why },
    };
    let mut out = Vec::new();
    for (role, range) in ranges.iter().filter(|(_, range)| contains(*range, net)) {
        let whole = ranges.is_whole(role, range);
        let why = if whole { "every node announces it" } else { "its addresses are announced one by one" };
        out.push(answer(format!("range {range} of {}", role.field()), whole, why.to_owned()));
    }
    if net.prefix() != if net.is_ipv6() { 128 } else { 32 } {
        return out;
    }
    for (name, service) in model.services() {
        for role in Role::ALL.into_iter().filter(|role| role.of(&service.spec).contains(&net.ip())) {
            let slices = model.slices().values().filter(|slice| slice.spec.service == *name);
            let serves = serves(slices.map(|slice| &slice.spec), net.is_ipv6());
            let standing = ranges.standing(role, net.ip(), &service.spec, serves);
            out.push(answer(
                format!("{role} of Service {name}"),
                standing.is_announced(),
                standing.to_string(),
            ));
        }
    }
    out
}
