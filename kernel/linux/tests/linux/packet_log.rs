//! What rules log to a group comes to who listens to it.

use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corduroy_kernel::nft::{Base, Chain, ChainKind, Field, Hook, L4, Match, Policy, Rule, Set, Table};
use corduroy_kernel::nft::{DataType, Value};
use corduroy_kernel::{Family, Op, Packet, TcpFlags, Transport};
use corduroy_kernel_linux::{Logged, PacketLog};

use crate::netns::Netns;
use crate::nft::changes;
use crate::{done, open};

const GROUP: u16 = 67;

/// Everything until there are so many entries.
fn until(log: &mut PacketLog, entries: usize) -> Logged {
    let end = Instant::now() + Duration::from_secs(100);
    let mut all = Logged::default();
    while all.entries.len() < entries && Instant::now() < end {
        let more = log.wait(Duration::from_millis(200));
        all.entries.extend(more.entries);
        all.lost += more.lost;
        all.overrun |= more.overrun;
    }
    all
}

/// A namespace whose own packets are logged by such rules.
fn logging(rules: Vec<Rule>) -> (Netns, corduroy_kernel_linux::Kernel) {
    let netns = Netns::new();
    netns.sh("ip link set lo up; ip addr add 10.9.0.1/32 dev lo; ip -6 addr add fd09::1/128 dev lo nodad");
    let base = Base { kind: ChainKind::Filter, hook: Hook::Input, priority: 0, policy: Policy::Accept };
    let mut table = Table::default();
    let mut logged = Set::hash([DataType::Port]);
    logged.elements.insert(Value::Port(7).into(), None);
    table.sets.insert("logged".into(), logged);
    table.chains.insert("input".into(), Chain { base: Some(base), rules });
    let mut kernel = open(&netns);
    done(&mut kernel, [Op::Nft(changes(&table))]);
    (netns, kernel)
}

#[test]
fn a_logged_packet_says_who_sent_what_to_whom_and_which_rule_it_met() {
    let tcp = Match::dport(L4::Tcp, 80, 80);
    let (netns, kernel) = logging(vec![
        Rule::new().when(Match::icmp_type(Family::V6, 128)).log_group(GROUP, "ping ", 128),
        Rule::new().when(tcp).set_mark(u32::MAX, 0x42).log_group(GROUP, "web ", 0).drop(),
        Rule::new().in_set([Field::Dport(L4::Udp)], "logged").log_group(GROUP, "cut ", 24),
        Rule::new().when(Match::dport(L4::Udp, 8, 8)).log_group(GROUP + 1, "other group ", 0),
    ]);
    let mut log = kernel.packet_log(GROUP).unwrap();
    assert_eq!(log.wait(Duration::from_millis(1)), Logged::default());
    let port = netns.run(|| {
        let socket = UdpSocket::bind(("10.9.0.1", 0)).unwrap();
        socket.send_to(b"x", ("10.9.0.1", 8)).unwrap();
        let _ = socket.send_to(b"x", ("10.9.0.1", 7));
        let to = "10.9.0.1:80".parse().unwrap();
        assert!(TcpStream::connect_timeout(&to, Duration::from_millis(1)).is_err());
        socket.local_addr().unwrap().port()
    });
    netns.sh("ping -c1 -W2 fd09::1");
    let logged = until(&mut log, 3);
    let of = |prefix: &str| logged.entries.iter().find(|entry| entry.prefix == prefix).unwrap();
    assert_eq!(logged.entries.len(), 3, "{logged:#?}");
    assert_eq!((logged.lost, logged.overrun), (0, false));
    let cut = of("cut ");
    let (source, destination) = ("10.9.0.1".parse().unwrap(), "10.9.0.1".parse().unwrap());
    let transport = Transport::Ports { source: port, destination: 7 };
    assert_eq!(cut.packet, Some(Packet { source, destination, protocol: 17, transport }));
    assert_eq!((cut.iif, cut.oif, cut.mark, cut.tcp_flags), (Some(1), None, 0, None));
    let web = of("web ");
    assert_eq!((web.mark, web.tcp_flags.map(|flags| flags.to_string())), (0x42, Some("syn".to_owned())));
    let ping = of("ping ").packet.unwrap();
    assert_eq!((ping.protocol, ping.transport), (58, Transport::Icmp { kind: 128, code: 0 }));
    assert_eq!(web.tcp_flags, Some(TcpFlags(2)));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let times: Vec<_> = logged.entries.iter().filter_map(|entry| entry.time).collect();
    assert!(times.iter().all(|time| now.abs_diff(*time) < Duration::from_secs(600)), "{times:?} {now:?}");
}

#[test]
fn a_group_has_one_listener_and_is_free_again_when_it_is_gone() {
    let (_netns, kernel) = logging(vec![Rule::new().log_group(GROUP, "", 0)]);
    let log = kernel.packet_log(GROUP).unwrap();
    let error = kernel.packet_log(GROUP).err().unwrap();
    assert!(error.to_string().contains("listen to a group of the packet log"), "{error}");
    drop(log);
    kernel.packet_log(GROUP).unwrap();
}

#[test]
fn what_finds_no_room_is_counted_as_lost_and_reading_goes_on() {
    const SENT: u32 = 60_000;
    let rule = Rule::new().in_set([Field::Dport(L4::Udp)], "logged").log_group(GROUP, "flood ", 128).drop();
    let (netns, kernel) = logging(vec![rule]);
    let mut log = kernel.packet_log(GROUP).unwrap();
    let send = |count: u32| {
        netns.run(move || {
            let socket = UdpSocket::bind(("10.9.0.1", 0)).unwrap();
            (0..count).for_each(|_| assert_eq!(socket.send_to(&[0; 100], ("10.9.0.1", 7)).unwrap(), 100));
        });
    };
    send(SENT);
    let mut all = Logged { more: true, ..Logged::default() };
    while all.more {
        let some = log.drain();
        all.entries.extend(some.entries);
        all.lost += some.lost;
        all.overrun |= some.overrun;
        all.more = some.more;
    }
    let read = u32::try_from(all.entries.len()).unwrap();
    assert!(all.overrun && read > 1_000 && read < SENT, "{read} read, {} lost, {}", all.lost, all.overrun);
    send(100);
    let rest = until(&mut log, 100);
    let behind = u32::try_from(rest.entries.len()).unwrap();
    assert_eq!(read + behind + all.lost + rest.lost, SENT + 100, "{} {}", all.lost, rest.lost);
    assert!(all.lost + rest.lost > 0);
}
