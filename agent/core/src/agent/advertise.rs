//! What this node announces: its blocks, and what the services in the cluster ask for. Which prefixes, said to the
//! [`Announcer`](super::announcer::Announcer); what it says then, said to the speaker.

use corduroy_bgp::Net;
use corduroy_fabric::originate;
use corduroy_kernel::IpNet;

use super::announcer::Word;
use super::{Agent, Note, Output};
use crate::convert;
use crate::desired;
use crate::key::Key;
use crate::known::Known;

/// What is to be announced as things stand.
pub(super) fn want(agent: &mut Agent) {
    let Agent { known, announcer, endpoints, course, .. } = agent;
    let me = &known.me.name;
    // A setting that tags prefixes may have changed, or everything: rare, and then all is looked at.
    let all = std::mem::take(&mut course.announce);
    if all {
        let mut blocks = originate::originations(&known.model, me);
        blocks.retain(|net, _| {
            let dst = convert::from_bgp(*net);
            !endpoints.is_leaving(convert::to_network(dst)) && is_inhabited(known, dst)
        });
        announcer.want_blocks(blocks);
    }
    let mut changed = known.services.take_changed();
    if all {
        changed.extend(known.services.wanted());
    }
    for prefix in changed {
        let wanted = known.services.wants(prefix);
        let how = wanted.then(|| originate::origination(&known.model, me, prefix));
        if let Some(net) = originate::net(prefix) {
            announcer.want(net, how);
        }
    }
}

/// Is there something at the end of a prefix of this node? A block of one address has no blackhole under it: while
/// nobody has the address, packets to it would leave the way they came.
fn is_inhabited(known: &Known, dst: IpNet) -> bool {
    let tunnel = || known.me.tunnels.all().any(|(_, addr)| addr == dst.addr());
    !dst.is_host() || known.pods.by_address(dst.addr()).is_some() || tunnel()
}

/// Tells the speaker what of it is new and forwards.
pub(super) fn tell(agent: &mut Agent) {
    let Agent { announcer, known, reconciler, former, out, .. } = agent;
    let is_done = |key: &Key| reconciler.is_done(known, former, key);
    let forwards = |net: Net| {
        let dst = convert::from_bgp(net);
        match known.services.ranges().around(convert::to_network(dst)) {
            Some(range) => is_done(&desired::of_range(convert::from_network(range))),
            None => is_done(&Key::Route(dst)),
        }
    };
    let network = |net: Net| convert::to_network(convert::from_bgp(net));
    for word in announcer.settle(forwards) {
        match word {
            Word::Originate(net, how) => {
                out.push_back(Output::Note(Note::Announced(network(net), true)));
                out.push_back(Output::Originate(net, how));
            }
            Word::Change(net, how) => out.push_back(Output::Originate(net, how)),
            Word::Withdraw(net) => {
                out.push_back(Output::Note(Note::Announced(network(net), false)));
                out.push_back(Output::Withdraw(net));
            }
            Word::Complete => out.push_back(Output::OriginationComplete),
        }
    }
}
