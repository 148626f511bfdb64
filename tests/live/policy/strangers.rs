//! Others at work on the same kernel: what they break is mended, what they build is let alone.

use std::fs;
use std::time::Instant;

use corduroy_tests::eventually;
use corduroy_tests::probe::{Ping, Talk};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open};
use socket2::Socket;

use super::{GUARDED, Ground, HTTP, PATIENCE, nothing_passes};

/// What a stranger does again and again.
const TIMES: usize = 3;

#[test]
fn a_ruleset_that_a_stranger_flushes_is_back_soon_and_what_flows_goes_on() {
    let ground = Ground::new("flush");
    ground.guard();
    let allowed = [ground.talk("client", "web"), ground.talk("web", "api")];
    let forbidden = [ground.hammer("client", "api"), ground.hammer("api", "web")];
    let forbidden: Vec<Ping> = forbidden.into_iter().flatten().collect();
    nothing_passes(&forbidden, &vec![0; forbidden.len()], "before anything happens");
    let right = ground.program().unwrap();
    let mut took = Vec::new();
    for _ in 0..TIMES {
        let begun = Instant::now();
        ground.host().run("nft flush ruleset");
        eventually(PATIENCE, || {
            let now =
                ground.program().map_err(|why| format!("{:?} after the flush: {why}", begun.elapsed()))?;
            if now == right { Ok(()) } else { Err(format!("{:?} after the flush:\n{now}", begun.elapsed())) }
        });
        took.push(begun.elapsed());
        let since: Vec<u32> = forbidden.iter().map(Ping::sent).collect();
        allowed.iter().for_each(Talk::flows_now);
        nothing_passes(&forbidden, &since, &format!("the program was back {took:?} after the flushes, and"));
        let through = format!("flushes of the ruleset, mended after {took:?}");
        allowed.iter().for_each(|talk| talk.goes_on(&through));
    }
    ground.becomes(&GUARDED);
    let repaired = ground.node.status().unwrap()["kernel"]["repaired"].as_u64();
    assert!(repaired >= Some(TIMES as u64), "{repaired:?} repairs were counted; it took {took:?}");
}

#[test]
fn a_table_of_a_stranger_that_drops_is_let_alone_as_ours_is_and_when_it_goes_all_flows_again() {
    let ground = Ground::new("foreign");
    ground.guard();
    let talk = ground.talk("client", "web");
    // A rule that is written again has another handle.
    let ours = || ground.host().run("nft -a -s list table inet corduroy");
    let before = ours();
    for priority in [10, -10] {
        let chain = format!("type filter hook forward priority {priority}; policy drop;");
        let file = ground
            .host()
            .file("stranger.nft", &format!("table inet stranger {{ chain drop-all {{ {chain} }}; }}"));
        ground.host().run(&format!("nft -f {}", file.display()));
        let theirs = ground.host().run("nft -a list table inet stranger");
        ground.becomes(&GUARDED.map(|(from, to, over, _)| (from, to, over, false)));
        // What changes meanwhile changes ours only.
        ground.rules("{action: Deny, source: $api},");
        eventually(
            PATIENCE,
            || if ours() == before { Err("nothing has changed".to_owned()) } else { Ok(()) },
        );
        ground.rules("");
        assert_eq!(ground.host().run("nft -a list table inet stranger"), theirs);
        ground.host().run("nft delete table inet stranger");
        ground.becomes(&GUARDED);
        talk.flows_now();
    }
    let status = ground.node.status().unwrap();
    assert_eq!(status["kernel"]["repaired"], 0, "{status}");
}

#[test]
fn an_agent_that_missed_what_happened_reads_it_again_and_has_all_policies_in_force() {
    let mut ground = Ground::new("starved");
    ground.guard();
    let routes = |ground: &Ground| {
        let host = ground.host();
        Ok::<_, String>(host.try_ip("-4 route show proto 67")? + &host.try_ip("-6 route show proto 67")?)
    };
    let right = (ground.program().unwrap(), routes(&ground).unwrap());
    let block = ground.node.blocks().remove(0);
    let pid = ground.node.agent().id();
    let ears = starve(pid);
    assert_eq!(ears.len(), 2, "one socket hears of routes, one of rules: {ears:?}");
    for _ in 0..TIMES {
        let missed = lost(pid, &ears);
        ground.node.agent().signal(Signal::STOP);
        // The first of each still has room.
        for n in 0..20 {
            ground.host().ip(&format!("link add noise{n} type bridge"));
            ground.host().ip(&format!("link del noise{n}"));
        }
        ground.host().ip(&format!("route del blackhole {block} proto 67"));
        for damage in [
            "flush chain inet corduroy forward",
            "flush set inet corduroy pools4",
            "delete table inet corduroy",
        ] {
            ground.host().run(&format!("nft {damage}"));
        }
        ground.rules("{action: Deny, source: $client},");
        ground.node.agent().signal(Signal::CONT);
        ground.becomes(&[
            ("client", "web", HTTP, false),
            ("web", "api", HTTP, true),
            ("api", "web", HTTP, false),
        ]);
        let now = lost(pid, &ears);
        assert!(now.iter().zip(&missed).all(|(now, before)| now > before), "nothing was lost: {now:?}");
        ground.rules("");
        ground.becomes(&GUARDED);
        eventually(PATIENCE, || {
            let now = (ground.program()?, routes(&ground)?);
            if without_generation(&now.0) == without_generation(&right.0) && now.1 == right.1 {
                Ok(())
            } else {
                Err(format!("{}\n{}\nwas:\n{}\n{}", now.0, now.1, right.0, right.1))
            }
        });
    }
}

/// What every new program has another number of.
fn without_generation(program: &str) -> Vec<&str> {
    program.lines().filter(|line| !line.contains("ct mark")).collect()
}

/// The sockets of a process that are told of changes in the kernel: their descriptors there and their inodes. Their
/// buffers are made as small as the kernel lets them be, so that few events are too many.
#[track_caller]
fn starve(pid: u32) -> Vec<u64> {
    let process = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let process = pidfd_open(process, PidfdFlags::empty()).unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let link = fs::read_link(entry.path()).unwrap_or_default();
        let inode =
            link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        let Some(inode) = inode.filter(|inode| ears(pid).iter().any(|(ear, _)| ear == inode)) else {
            continue;
        };
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let copy = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).unwrap();
        Socket::from(copy).set_recv_buffer_size(1).unwrap();
        found.push(inode);
    }
    found
}

/// The netlink sockets in the process's network namespace that listen to groups: inode, and how many events were lost.
fn ears(pid: u32) -> Vec<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/netlink")).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listens = rows.filter(|row| row.get(3).is_some_and(|groups| *groups != "00000000"));
    listens.filter_map(|row| Some((row.get(9)?.parse().ok()?, row.get(8)?.parse().ok()?))).collect()
}

fn lost(pid: u32, sockets: &[u64]) -> Vec<u64> {
    let all = ears(pid);
    let of = |inode: &u64| all.iter().find(|(ear, _)| ear == inode).map_or(0, |(_, lost)| *lost);
    sockets.iter().map(of).collect()
}
