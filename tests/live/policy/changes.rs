//! Policies that change under what flows, and what belongs to nothing that flows.

use std::net::{IpAddr, SocketAddr};

use corduroy_ipc::policy::{PolicyAnswer, PolicyRequest};
use corduroy_ipc::status::{StatusAnswer, StatusRequest};
use corduroy_tests::eventually;
use corduroy_tests::probe::Ping;
use corduroy_tests::status::Asked;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Ground, HTTP, OTHER, PATIENCE, UDP, nothing_passes};

/// Programs, each of which is in force for a while.
const CHANGES: u64 = 2_000;
/// How often all is looked at between them.
const LOOKS: u64 = 4;

/// The number of the program that the agent wants.
fn generation(ground: &Ground) -> Result<u16, String> {
    let request = StatusRequest::Policy(PolicyRequest::Show { name: None });
    match Asked::put(&ground.node.socket("status.sock"), request)?.answer()? {
        StatusAnswer::Policy(PolicyAnswer::Show(show)) => Ok(show.generation),
        other => Err(format!("{other:?}")),
    }
}

/// Is the program of this number in the kernel?
fn is_in_force(ground: &Ground, generation: u16) -> Result<(), String> {
    let chain = ground.host().try_run("nft list chain inet corduroy passed")?;
    let mark = format!("0x{:08x}", u32::from(generation) << 16);
    if chain.contains(&mark) { Ok(()) } else { Err(format!("no {mark} in {chain}")) }
}

#[test]
fn thousands_of_programs_one_after_the_other_let_nothing_forbidden_pass_and_cut_nothing_allowed() {
    let ground = Ground::new("changes");
    ground.guard();
    let allowed = [ground.talk("client", "web"), ground.talk("web", "api")];
    let forbidden = [ground.hammer("client", "api"), ground.hammer("api", "web")];
    let forbidden: Vec<Ping> = forbidden.into_iter().flatten().collect();
    let start = vec![0; forbidden.len()];
    let mut last = generation(&ground).unwrap();
    let mut programs = 0;
    for n in 0..CHANGES {
        // Another address each time, so that a set changes, and each second time a rule more and a rule less.
        let more = if n % 2 == 0 { "{action: Log, protocol: TCP}," } else { "" };
        let address = format!("192.0.{}.{}", n / 250, n % 250);
        ground.rules(&format!(
            "{more} {{action: Deny, source: {{nets: [{address}/32, '2001:db8::{n:x}/128']}}}},"
        ));
        let now = eventually(PATIENCE, || match generation(&ground)? {
            now if now == last => Err(format!("still program {now}, after change {n}")),
            now => Ok(now),
        });
        programs += u64::from(now.wrapping_sub(last));
        last = now;
        if n % (CHANGES / LOOKS) == 0 {
            eventually(PATIENCE, || is_in_force(&ground, last));
            nothing_passes(&forbidden, &start, &format!("after {n} changes"));
            allowed.iter().for_each(|talk| talk.goes_on(&format!("{n} changes")));
        }
    }
    assert!(programs >= CHANGES, "{CHANGES} changes made {programs} programs");
    eventually(PATIENCE, || is_in_force(&ground, last));
    let since: Vec<u32> = forbidden.iter().map(Ping::sent).collect();
    nothing_passes(&forbidden, &since, "after all changes");
    let what = format!("{programs} programs");
    forbidden.iter().for_each(|ping| assert_eq!(ping.answered(), None, "{what}"));
    allowed.iter().for_each(|talk| talk.goes_on(&what));
    // Those that tried all the time would have got through.
    ground.take("GlobalNetworkPolicy", "guard");
    for ping in &forbidden {
        ping.marker(PATIENCE);
    }
}

#[test]
fn what_is_denied_by_now_is_cut_even_where_only_answers_flow_and_the_rest_goes_on() {
    let ground = Ground::new("cut");
    let cut = ground.talk("client", "web");
    let other = ground.talk("client", "api");
    let between = ground.talk("api", "web");
    ground.put(
        "GlobalNetworkPolicy",
        "in",
        "types: [Ingress], ingress: [{action: Deny, source: $client, destination: $web}, {action: Allow}]",
    );
    ground.becomes(&[
        ("client", "web", HTTP, false),
        ("client", "api", HTTP, true),
        ("api", "web", UDP, true),
    ]);
    cut.is_cut(&other);
    [&other, &between].iter().for_each(|talk| talk.goes_on("a policy that cuts another"));
    // What one may send, of two on one node.
    ground.put(
        "NetworkPolicy",
        "out",
        "types: [Egress], egress: [{action: Deny, source: $api, destination: $web}, {action: Allow}]",
    );
    ground.becomes(&[("api", "web", HTTP, false), ("web", "api", HTTP, true), ("api", "client", UDP, true)]);
    between.is_cut(&other);
    other.goes_on("a policy for what others send");
    ground.take("GlobalNetworkPolicy", "in");
    ground.take("NetworkPolicy", "out");
    ground.becomes(&[("client", "web", OTHER, true), ("api", "web", OTHER, true)]);
    other.goes_on("policies that go");
}

/// An answer to a ping that nobody sent, which fits no connection.
fn stray(ground: &Ground, from: &str, to: IpAddr) {
    let (domain, protocol, packet) = match to.is_ipv6() {
        // Of ICMPv6 the kernel makes the checksum.
        true => (Domain::IPV6, Protocol::ICMPV6, [129, 0, 0, 0, 0xab, 0xcd, 0, 1]),
        false => (Domain::IPV4, Protocol::ICMPV4, [0, 0, 0x54, 0x31, 0xab, 0xcd, 0, 1]),
    };
    let sent = ground.party(from).host.enter(|| {
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.send_to(&packet, &SocketAddr::new(to, 0).into())
    });
    sent.unwrap_or_else(|e| panic!("{from} -> {to}: {e}"));
}

#[test]
fn a_packet_that_fits_no_connection_is_judged_as_others_are() {
    let ground = Ground::new("stray");
    ground.guard();
    let table = "table inet seen { chain in { type filter hook input priority 0; \
                 icmp type echo-reply counter; icmpv6 type echo-reply counter; }\n}\n";
    for pod in ["web", "api"] {
        let host = &ground.party(pod).host;
        host.run(&format!("nft -f {}", host.file("seen.nft", table).display()));
    }
    let seen = |pod: &str| {
        let text = ground.party(pod).host.try_run("nft list table inet seen")?;
        let mut words = text.split_whitespace();
        let mut all = Vec::new();
        while words.any(|word| word == "packets") {
            all.push(words.next().and_then(|word| word.parse::<u64>().ok()).ok_or_else(|| text.clone())?);
        }
        Ok::<_, String>(all)
    };
    let send =
        |from: &str, to: &str| ground.party(to).addresses.into_iter().for_each(|to| stray(&ground, from, to));
    let all_came = |pod: &str| match seen(pod)? {
        counts if counts.iter().all(|count| *count > 0) => Ok(()),
        counts => Err(format!("{pod} got {counts:?}")),
    };
    // The one may, the other may not.
    for _ in 0..10 {
        send("api", "web");
        send("web", "api");
    }
    eventually(PATIENCE, || all_came("api"));
    assert_eq!(seen("web").unwrap(), [0, 0], "what api may not send");
    ground.rules("{action: Allow, source: $api},");
    eventually(PATIENCE, || {
        send("api", "web");
        all_came("web")
    });
}
