//! Tracked connections: read, and marked.

use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};

use corduroy_kernel::{Flow, FlowKey, FlowStatus, Op, TcpState, Tuple, TupleId};

use crate::netns::Netns;
use crate::{done, open};

/// Two addresses of each family, and something that asks for connections, so that they are tracked.
fn tracked() -> Netns {
    let netns = Netns::new();
    netns.sh("ip link set lo up; ip addr add 10.9.0.1/32 dev lo; ip addr add 10.9.0.2/32 dev lo");
    netns.sh("ip -6 addr add fd09::1/128 dev lo nodad");
    netns.sh("nft 'add table inet t; add chain inet t c { type filter hook input priority 0; }; \
         add rule inet t c ct state new'");
    netns
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ports(protocol: u8, from: (&str, u16), to: (&str, u16)) -> Tuple {
    let id = TupleId::Ports { source: from.1, destination: to.1 };
    Tuple { source: addr(from.0), destination: addr(to.0), protocol, id }
}

fn of_protocol(flows: &[Flow], protocol: u8) -> Vec<Flow> {
    flows.iter().filter(|flow| flow.key.original.protocol == protocol).copied().collect()
}

#[test]
fn connections_are_read_with_both_ways_their_state_and_what_is_translated() {
    let netns = tracked();
    netns.sh("ip route add 10.9.9.9/32 dev lo");
    netns.sh("nft 'add table ip n; add chain ip n o { type nat hook output priority -100; }; \
         add rule ip n o ip daddr 10.9.9.9 tcp dport 80 dnat to 10.9.0.2:8080'");
    // Held open until the connections have been read.
    let (_listener, stream) = netns.run(|| {
        let listener = TcpListener::bind(("10.9.0.2", 8080)).unwrap();
        (listener, TcpStream::connect(("10.9.9.9", 80)).unwrap())
    });
    let port = stream.local_addr().unwrap().port();
    let source = stream.local_addr().unwrap().ip().to_string();
    netns.sh("ping -c1 -W2 -I 10.9.0.1 10.9.0.2; ping -c1 -W2 fd09::1");
    let flows = open(&netns).flows().unwrap();
    let tcp = of_protocol(&flows, 6);
    assert_eq!(tcp.len(), 1, "{flows:#?}");
    assert_eq!(tcp[0].key.original, ports(6, (&source, port), ("10.9.9.9", 80)));
    assert_eq!(tcp[0].reply, ports(6, ("10.9.0.2", 8080), (&source, port)));
    assert_eq!((tcp[0].key.zone, tcp[0].mark, tcp[0].tcp), (0, 0, Some(TcpState::Established)));
    let status = tcp[0].status;
    assert!(status.has(FlowStatus::ASSURED) && status.has(FlowStatus::DST_NAT), "{status:?}");
    assert!(!status.has(FlowStatus::SRC_NAT), "{status:?}");
    let ping = of_protocol(&flows, 1);
    let (source, destination) = (addr("10.9.0.1"), addr("10.9.0.2"));
    assert_eq!((ping[0].key.original.source, ping[0].key.original.destination), (source, destination));
    let TupleId::Icmp { id, kind: 8, code: 0 } = ping[0].key.original.id else { panic!("{ping:?}") };
    assert_eq!(ping[0].reply.id, TupleId::Icmp { id, kind: 0, code: 0 });
    assert_eq!((ping[0].tcp, ping[0].status.has(FlowStatus::SEEN_REPLY)), (None, true));
    let ping = of_protocol(&flows, 58);
    assert!(
        ping.iter().any(|ping| ping.key.original.destination == addr("fd09::1")
            && matches!(ping.key.original.id, TupleId::Icmp { kind: 128, code: 0, .. })),
        "{ping:?}"
    );
}

#[test]
fn bits_of_the_marks_of_connections_are_written_and_one_that_is_gone_stops_no_other() {
    let netns = tracked();
    netns.sh("nft 'add rule inet t c udp dport 7 ct mark set 0xf00d'");
    netns.sh("nft 'add chain inet t z { type filter hook output priority -300; }'");
    netns.sh("nft 'add rule inet t z udp dport 8 ct zone set 9'");
    let from = netns.run(|| {
        let socket = UdpSocket::bind(("10.9.0.1", 0)).unwrap();
        for to in [("10.9.0.2", 7), ("10.9.0.2", 8), ("10.9.0.1", 9)] {
            let _ = socket.send_to(b"x", to);
        }
        let six = UdpSocket::bind(("fd09::1", 0)).unwrap();
        let _ = six.send_to(b"x", ("fd09::1", 7));
        socket.local_addr().unwrap().port()
    });
    let mut kernel = open(&netns);
    let before = of_protocol(&kernel.flows().unwrap(), 17);
    let key = |to: &str, port, zone| FlowKey { original: ports(17, ("10.9.0.1", from), (to, port)), zone };
    let of = |flows: &[Flow], key: &FlowKey| flows.iter().find(|flow| flow.key == *key).copied();
    assert_eq!(of(&before, &key("10.9.0.2", 7, 0)).unwrap().mark, 0xf00d, "{before:#?}");
    assert!(of(&before, &key("10.9.0.2", 8, 9)).is_some(), "{before:#?}");
    // One that is not there among many that are, some of them twice: more than fit into one batch.
    let mut flows = vec![key("10.9.0.3", 1, 0)];
    let of_six = before.iter().find(|flow| flow.key.original.source.is_ipv6()).unwrap().key;
    for _ in 0..200 {
        flows.extend([key("10.9.0.2", 7, 0), key("10.9.0.2", 8, 9), key("10.9.0.3", 1, 0), of_six]);
    }
    done(&mut kernel, [Op::MarkFlows { mask: 0xff00, value: 0x12_3456, flows }]);
    let after = of_protocol(&kernel.flows().unwrap(), 17);
    let marks = [key("10.9.0.2", 7, 0), key("10.9.0.2", 8, 9), of_six, key("10.9.0.1", 9, 0)]
        .map(|key| of(&after, &key).unwrap().mark);
    assert_eq!(marks, [0x340d, 0x3400, 0x340d, 0]);
    let shown = netns.sh("cat /proc/thread-self/net/nf_conntrack");
    assert!(shown.contains("mark=13325"), "{shown}");
}

#[test]
fn ten_thousand_connections_are_read_whole() {
    const SIDE: u16 = 100;
    let netns = tracked();
    netns.run(|| {
        for from in 0..SIDE {
            let socket = UdpSocket::bind(("10.9.0.1", 20_000 + from)).unwrap();
            (0..SIDE).for_each(|to| drop(socket.send_to(b"x", ("10.9.0.2", 30_000 + to))));
        }
    });
    let flows = of_protocol(&open(&netns).flows().unwrap(), 17);
    let read: std::collections::BTreeSet<Tuple> = flows.iter().map(|flow| flow.key.original).collect();
    assert_eq!(read.len(), usize::from(SIDE) * usize::from(SIDE));
}
