//! What the facts mean, and what to do. No machine is looked at here.

use std::net::IpAddr;

use corduroy_ipc::status::Severity;
use corduroy_kernel::{Conf, Conf4, ForeignChain, Link, LinkName, State, Support, Sysctl};

use super::facts::{Facts, Legacy};
use super::{Check, Verdict};

/// The oldest kernel that is known to have all that is used.
const OLDEST: (u32, u32) = (5, 10);
/// 2026-01-01: a clock before that is older than this program.
const BUILT: u64 = 1_767_225_600;

fn ok(about: &str, found: impl Into<String>) -> Check {
    Check { about: about.to_owned(), verdict: Verdict::Ok, found: found.into(), advice: None }
}

fn bad(verdict: Verdict, about: &str, found: impl Into<String>, advice: &str) -> Check {
    Check { about: about.to_owned(), verdict, found: found.into(), advice: Some(advice.to_owned()) }
}

/// Everything that was looked at, the worst first.
pub(crate) fn judge(facts: &Facts) -> Vec<Check> {
    let mut out = vec![release(&facts.release)];
    match &facts.kernel {
        Ok(state) => {
            out.extend(modules(state));
            out.push(forwarding(state));
            out.push(reverse_path(state));
            out.extend(drops(state));
            out.push(node_address(state));
            out.extend(mtu(state));
        }
        Err(why) => out.push(bad(
            Verdict::Error,
            "kernel",
            format!("can't be read: {why}"),
            "run this as root; if it is root, the kernel lacks nf_tables: modprobe nf_tables, or take a kernel that \
             has CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET",
        )),
    }
    out.push(legacy(facts.legacy));
    out.push(firewalld(facts.firewalld));
    out.push(networks(facts));
    out.push(network_manager(facts.network_manager));
    out.extend(networkd(facts));
    out.push(clock(facts.now, facts.clock_is_kept));
    out.extend(agent(facts));
    out.sort_by_key(|check| check.verdict);
    out
}

fn release(release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => ok("kernel version", release),
        (Some(_), Some(_)) => bad(
            Verdict::Error,
            "kernel version",
            format!("{release} is older than {}.{}", OLDEST.0, OLDEST.1),
            "take a newer kernel; docs/operations.md has a table of distributions",
        ),
        _ => bad(Verdict::Unknown, "kernel version", format!("{release:?} can't be read"), "see uname -r"),
    }
}

fn modules(state: &State) -> Vec<Check> {
    let features = &state.features;
    let needed = [
        ("module ipip", features.ipip, "modprobe ipip", "pools with ipipMode"),
        ("module lwtunnel", features.lwtunnel, "a kernel with CONFIG_LWTUNNEL", "pools with ipipMode"),
        ("module vxlan", features.vxlan, "modprobe vxlan", "pools with vxlanMode"),
        ("IPv6", features.ipv6, "boot without ipv6.disable=1", "IPv6 pools"),
    ];
    let judged = needed.map(|(about, support, how, what)| match support {
        Support::Yes => ok(about, "there"),
        Support::Unknown => bad(Verdict::Unknown, about, "not found out", "run this as root"),
        Support::No => bad(
            Verdict::Warning,
            about,
            format!("not there: {what} can't be served here"),
            &format!(
                "{how}; on Debian and Ubuntu some modules are in linux-modules-extra-$(uname -r). Not needed where no \
                 pool asks for it"
            ),
        ),
    });
    judged.into()
}

fn forwarding(state: &State) -> Check {
    let get = |sysctl: Sysctl| state.sysctls.get(&sysctl).copied();
    let uplinks = state.links.keys().filter(|link| !link.is_ours() && link.as_str() != "lo");
    let off: Vec<&str> = uplinks
        .filter(|link| get(Sysctl::V4(Conf::Dev(**link), Conf4::Forwarding)) == Some(0))
        .map(LinkName::as_str)
        .collect();
    let advice = "the agent switches it on; if it runs, something switches it off again: look for ip_forward and \
                  forwarding in /etc/sysctl.conf, /etc/sysctl.d and what your configuration management writes";
    match get(Sysctl::Ipv4Forward) {
        Some(0) => bad(Verdict::Error, "forwarding", "net.ipv4.ip_forward is 0: no pod is reached", advice),
        Some(_) if !off.is_empty() => {
            let found = format!("off on {}: pods are not reached by it", off.join(", "));
            bad(Verdict::Warning, "forwarding", found, advice)
        }
        Some(_) => ok("forwarding", "on"),
        None => bad(Verdict::Unknown, "forwarding", "not found out", "run this as root"),
    }
}

/// The larger of `all` and the interface holds.
fn reverse_path(state: &State) -> Check {
    let get = |conf: Conf| state.sysctls.get(&Sysctl::V4(conf, Conf4::RpFilter)).copied().unwrap_or(0);
    let all = get(Conf::All);
    let others = state.links.keys().filter(|link| !link.is_pod() && link.as_str() != "lo");
    let strict: Vec<&str> =
        others.filter(|link| all.max(get(Conf::Dev(**link))) == 1).map(LinkName::as_str).collect();
    if strict.is_empty() {
        return ok("reverse path", "no interface but pods' is checked strictly");
    }
    bad(
        Verdict::Warning,
        "reverse path",
        format!("rp_filter is strict on {}", strict.join(", ")),
        "a packet that comes by another interface than its answer would take is dropped: several uplinks, ECMP and \
         tunnels suffer. Set net.ipv4.conf.all.rp_filter=0 and net.ipv4.conf.default.rp_filter=0, or 2, in \
         /etc/sysctl.d",
    )
}

fn drops(state: &State) -> Vec<Check> {
    if state.foreign_drops.is_empty() {
        return vec![ok("nftables", "nobody's forward chain drops by default")];
    }
    let check = |chain: &ForeignChain| {
        bad(
            Verdict::Error,
            "nftables",
            format!("{} {} {} drops forwarded packets by default", chain.family, chain.table, chain.chain),
            "no rule of ours can overrule another's drop: accept there what goes to and comes from the pools. Docker: \
             rules in its DOCKER-USER chain; ufw: DEFAULT_FORWARD_POLICY=\"ACCEPT\" in /etc/default/ufw",
        )
    };
    state.foreign_drops.iter().map(check).collect()
}

fn node_address(state: &State) -> Check {
    let devices: Vec<LinkName> = state
        .gateways
        .iter()
        .filter(|(to, _)| to.prefix_len() == 0)
        .map(|(_, gateway)| gateway.dev)
        .collect();
    let is_global = |addr: IpAddr| match addr {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let global =
        || state.addresses.iter().filter(|a| !a.dev.is_ours() && a.dev.as_str() != "lo" && is_global(a.addr));
    let shown: Vec<String> = global()
        .filter(|address| devices.contains(&address.dev))
        .map(|address| format!("{}/{} on {}", address.addr, address.prefix_len, address.dev))
        .collect();
    let advice = "nodes reach each other by the address of the default route's interface, or by the one the Node \
                  object has: give the interface one, or set address.v4 or address.v6 in the agent's configuration";
    match (shown.is_empty(), global().count()) {
        (false, _) => ok("node address", shown.join(", ")),
        (true, 0) => bad(Verdict::Error, "node address", "no interface has a global address", advice),
        (true, _) if devices.is_empty() => {
            bad(Verdict::Warning, "node address", "there is no default route", advice)
        }
        (true, _) => bad(
            Verdict::Warning,
            "node address",
            "the default route's interface has no global address",
            advice,
        ),
    }
}

/// A tunnel's packets must fit what they travel by.
fn mtu(state: &State) -> Vec<Check> {
    let outside: Vec<LinkName> = state.gateways.values().map(|gateway| gateway.dev).collect();
    let uplinks = state.links.iter().filter(|(name, seen)| {
        let has_address = state.addresses.iter().any(|address| address.dev == **name);
        !name.is_ours() && name.as_str() != "lo" && seen.link.up && (outside.contains(name) || has_address)
    });
    let Some((uplink, smallest)) =
        uplinks.map(|(name, seen)| (name, seen.link.mtu)).min_by_key(|(_, mtu)| *mtu)
    else {
        return vec![bad(Verdict::Unknown, "MTU", "there is no uplink to compare with", "see ip link")];
    };
    let mut out = Vec::new();
    for (tunnel, overhead) in
        [(LinkName::IPIP, Link::IPIP_OVERHEAD), (LinkName::VXLAN, Link::VXLAN_OVERHEAD_V4)]
    {
        let Some(seen) = state.links.get(&tunnel) else { continue };
        let (mtu, needs) = (seen.link.mtu, seen.link.mtu.saturating_add(overhead));
        out.push(if needs <= smallest {
            ok("MTU", format!("{tunnel} {mtu} fits {uplink} {smallest}"))
        } else {
            bad(
                Verdict::Error,
                "MTU",
                format!("{tunnel} has {mtu} and needs {needs} of {uplink}, which has {smallest}"),
                "large packets between nodes are lost while small ones pass: give the uplink a larger MTU, or let the \
                 agent see its new one (it sets the tunnel's by it)",
            )
        });
    }
    if out.is_empty() {
        out.push(ok("MTU", format!("{uplink} {smallest}; no tunnels")));
    }
    out
}

fn legacy(legacy: Legacy) -> Check {
    let advice = "iptables-legacy -P FORWARD ACCEPT, or accept there what goes to and comes from the pools";
    match legacy {
        Legacy::Absent => ok("iptables-legacy", "no rules"),
        Legacy::Accepts => ok("iptables-legacy", "accepts forwarded packets by default"),
        Legacy::Drops => bad(Verdict::Error, "iptables-legacy", "drops forwarded packets by default", advice),
        Legacy::Unknown => bad(
            Verdict::Unknown,
            "iptables-legacy",
            "has rules, and there is no iptables-legacy to read them with",
            "look at them from a container that has it",
        ),
    }
}

fn firewalld(is_there: bool) -> Check {
    if !is_there {
        return ok("firewalld", "not there");
    }
    bad(
        Verdict::Warning,
        "firewalld",
        "runs, and rejects forwarded packets of zones it does not know",
        "firewall-cmd --permanent --zone=trusted --add-source=POOL for each pool, and --add-port=179/tcp (BGP), \
         4789/udp (VXLAN), --add-protocol=ipip in the nodes' zone; then firewall-cmd --reload; or disable it",
    )
}

fn networks(facts: &Facts) -> Check {
    let about = "container network";
    let Some(first) = facts.networks.first() else {
        return bad(
            Verdict::Error,
            about,
            "/etc/cni/net.d has no network: no pod starts",
            "the agent's pod writes it when it starts: see kubectl -n corduroy-system get pods -o wide",
        );
    };
    let ours = facts.networks.iter().find(|network| network.is_ours);
    match ours {
        Some(ours) if ours == first => ok(about, format!("{} is ours and the first", ours.file)),
        Some(ours) => bad(
            Verdict::Error,
            about,
            format!("{} stands before {}, which is ours: pods get that network", first.file, ours.file),
            "remove the other network, its agent first: the runtime takes the first file by name",
        ),
        None => bad(
            Verdict::Error,
            about,
            format!("{} is another network's, and there is none of ours", first.file),
            "remove the other network; ours is written by the agent's pod when it starts",
        ),
    }
}

fn network_manager(leaves: Option<bool>) -> Check {
    match leaves {
        None => ok("NetworkManager", "not there"),
        Some(true) => ok("NetworkManager", "leaves our interfaces alone"),
        Some(false) => bad(
            Verdict::Warning,
            "NetworkManager",
            "runs, and is not told to leave our interfaces alone",
            "write /etc/NetworkManager/conf.d/corduroy.conf with the lines [keyfile] and unmanaged-devices=\
             interface-name:cord*;interface-name:ipip-cord;interface-name:vxlan-cord, then nmcli general reload",
        ),
    }
}

fn networkd(facts: &Facts) -> Vec<Check> {
    let about = "systemd-networkd";
    let Some(networkd) = &facts.networkd else { return vec![ok(about, "not there")] };
    let mut out = Vec::new();
    if networkd.takes_routes {
        out.push(bad(
            Verdict::Warning,
            about,
            "takes away routes it does not know when it is restarted",
            "write /etc/systemd/networkd.conf.d/corduroy.conf with the lines [Network], ManageForeignRoutes=no and \
             ManageForeignRoutingPolicyRules=no, then systemctl restart systemd-networkd; the agent puts routes back",
        ));
    }
    if let Some(file) = &networkd.takes_links {
        out.push(bad(
            Verdict::Warning,
            about,
            format!("{file} means interfaces of ours, too"),
            "let its [Match] name the uplinks only, or write a file that sorts before it with [Match] Name=cord* \
             ipip-cord vxlan-cord and [Link] Unmanaged=yes",
        ));
    }
    if out.is_empty() {
        out.push(ok(about, "leaves our routes and interfaces alone"));
    }
    out
}

fn clock(now: u64, is_kept: Option<bool>) -> Check {
    let advice =
        "with a wrong clock the API server's certificates are refused: run chrony or systemd-timesyncd";
    match is_kept {
        _ if now < BUILT => {
            let found = format!("{} is before this program was made", corduroy_api::instant::write(now));
            bad(Verdict::Error, "clock", found, advice)
        }
        Some(true) => ok("clock", "is kept right"),
        Some(false) => bad(Verdict::Warning, "clock", "nothing keeps it right", advice),
        None => bad(
            Verdict::Unknown,
            "clock",
            "plausible; whether something keeps it right can't be told",
            advice,
        ),
    }
}

fn agent(facts: &Facts) -> Vec<Check> {
    let status = match &facts.agent {
        Ok(status) => status,
        Err(why) => {
            let first = why.lines().next().unwrap_or_default().to_owned();
            let advice = "see kubectl -n corduroy-system get pods -o wide, and the log of this node's; outside a \
                          cluster systemctl status corduroy-agent";
            return vec![bad(Verdict::Error, "agent", first, advice)];
        }
    };
    let mut out: Vec<Check> = status
        .conditions
        .iter()
        .map(|condition| {
            let verdict = match condition.severity {
                Severity::Error => Verdict::Error,
                Severity::Warning => Verdict::Warning,
            };
            let about = format!("agent: {}", condition.about);
            bad(verdict, &about, condition.message.clone(), "docs/operations.md, When something is wrong")
        })
        .collect();
    if status.ready {
        out.push(ok("agent", format!("{} serves pods", status.version)));
    } else if out.is_empty() {
        out.push(bad(
            Verdict::Error,
            "agent",
            "does not serve pods",
            "cordctl status says what it waits for",
        ));
    }
    out
}
