//! `cordctl peers`.

use corduroy_ipc::status::{Peer, PeerFamily, SessionState};

use crate::table::{age, or_dash, table};

/// A row a peer, and below the rows why sessions are down. Wide adds what was negotiated.
pub(crate) fn peers(peers: &[Peer], wide: bool) -> String {
    if peers.is_empty() {
        return "no peers\n".to_owned();
    }
    let mut text = if wide { negotiated(peers) } else { sessions(peers) };
    for peer in peers.iter().filter(|peer| peer.state != SessionState::Established) {
        if let Some(error) = &peer.last_error {
            text += &format!("\n{}: {error}\n", peer.address);
        }
    }
    text
}

fn sessions(peers: &[Peer]) -> String {
    let headers = ["PEER", "AS", "STATE", "SINCE", "IN", "ACCEPTED", "STALE", "OUT", "ORIGIN"];
    let row = |peer: &Peer| {
        let sum = |of: fn(&PeerFamily) -> u64| peer.families.iter().map(of).sum::<u64>().to_string();
        let client = if peer.reflector_client { " (client)" } else { "" };
        [
            peer.address.clone(),
            peer.asn.to_string(),
            format!("{:?}", peer.state),
            age(peer.since),
            sum(|family| family.received),
            sum(|family| family.accepted),
            sum(|family| family.stale),
            sum(|family| family.advertised),
            format!("{}{client}", peer.origin),
        ]
    };
    table(headers, peers.iter().map(row).collect())
}

fn negotiated(peers: &[Peer]) -> String {
    let headers =
        ["PEER", "AS", "STATE", "SINCE", "ROUTER ID", "HOLD", "FAMILY IN/ACCEPTED/OUT", "CAPABILITIES"];
    let family = |f: &PeerFamily| format!("{} {}/{}/{}", f.family, f.received, f.accepted, f.advertised);
    let row = |peer: &Peer| {
        [
            peer.address.clone(),
            peer.asn.to_string(),
            format!("{:?}", peer.state),
            age(peer.since),
            or_dash(peer.router_id),
            age(peer.hold_time.into()),
            peer.families.iter().map(family).collect::<Vec<_>>().join(", "),
            peer.capabilities.join(", "),
        ]
    };
    table(headers, peers.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use corduroy_ipc::status::MessageCounts;

    use super::*;

    fn peer(address: &str, state: SessionState) -> Peer {
        let family = |name: &str, n| PeerFamily {
            family: name.to_owned(),
            received: n,
            accepted: n,
            advertised: 1,
            end_of_rib: true,
            stale: 0,
        };
        Peer {
            address: address.to_owned(),
            origin: "mesh".to_owned(),
            asn: 64512,
            state,
            since: 42,
            router_id: Some([10, 1, 1, 12].into()),
            reflector_client: false,
            hold_time: 90,
            capabilities: vec!["route refresh".to_owned()],
            families: vec![family("ipv4-unicast", 3), family("ipv6-unicast", 2)],
            messages: MessageCounts::default(),
            last_error: (state != SessionState::Established).then(|| "connection refused".to_owned()),
        }
    }

    #[test]
    fn a_row_sums_the_families_and_what_is_down_says_why() {
        let rows = [peer("10.1.1.12", SessionState::Established), peer("10.1.2.13", SessionState::Active)];
        let expected = "\
PEER       AS     STATE        SINCE  IN  ACCEPTED  STALE  OUT  ORIGIN
10.1.1.12  64512  Established  42s    5   5         0      2    mesh
10.1.2.13  64512  Active       42s    5   5         0      2    mesh

10.1.2.13: connection refused
";
        assert_eq!(peers(&rows, false), expected);
    }

    #[test]
    fn wide_keeps_the_families_apart() {
        let shown = peers(&[peer("10.1.1.12", SessionState::Established)], true);
        assert!(shown.contains("ipv4-unicast 3/3/1, ipv6-unicast 2/2/1  route refresh"), "{shown}");
        assert!(shown.contains("10.1.1.12  1m30s"), "{shown}");
    }

    #[test]
    fn nobody_is_said() {
        assert_eq!(peers(&[], false), "no peers\n");
    }
}
