//! Each fault, planted into facts of a machine that is well, or into files.

use std::fs;
use std::path::PathBuf;

use corduroy_ipc::status::{Condition, Severity, Status};
use corduroy_kernel::{
    AddrGen, Address, Conf, Conf4, Features, ForeignChain, Gateway, Link, LinkKind, LinkName, Scope,
    SeenLink, State, Support, Sysctl,
};

use super::facts::{Facts, Legacy};
use super::files::{self, Network, Networkd};
use super::*;

fn name(name: &str) -> LinkName {
    LinkName::new(name).unwrap()
}

fn link(state: &mut State, link: Link) {
    state.links.insert(link.name, SeenLink { index: 1, link, running: true });
}

fn kernel() -> State {
    let mut state = State {
        features: Features {
            ipip: Support::Yes,
            vxlan: Support::Yes,
            lwtunnel: Support::Yes,
            ipv6: Support::Yes,
        },
        ..State::default()
    };
    let eth0 = Link {
        name: name("eth0"),
        kind: LinkKind::Other(String::new()),
        mac: None,
        mtu: 1500,
        up: true,
        addr_gen: AddrGen::Other,
    };
    link(&mut state, eth0);
    link(&mut state, Link::ipip(1480));
    let address = "192.0.2.11".parse().unwrap();
    state.addresses.insert(Address {
        dev: name("eth0"),
        addr: address,
        prefix_len: 24,
        scope: Scope::Global,
    });
    let gateway = Gateway { dev: name("eth0"), via: "192.0.2.1".parse().unwrap() };
    state.gateways.insert("0.0.0.0/0".parse().unwrap(), gateway);
    state.sysctls.insert(Sysctl::Ipv4Forward, 1);
    state.sysctls.insert(Sysctl::V4(Conf::Dev(name("eth0")), Conf4::Forwarding), 1);
    state
}

fn facts() -> Facts {
    Facts {
        release: "6.1.0-18-amd64".into(),
        kernel: Ok(kernel()),
        legacy: Legacy::Absent,
        networks: vec![Network { file: "10-corduroy.conflist".into(), is_ours: true }],
        network_manager: None,
        networkd: None,
        firewalld: false,
        now: 1_800_000_000,
        clock_is_kept: Some(true),
        agent: Ok(Status { ready: true, version: "0.1.0".into(), ..Status::default() }),
    }
}

/// What is said of a machine that has this fault, and of no other thing.
fn found(plant: impl FnOnce(&mut Facts)) -> (Verdict, String) {
    let mut facts = facts();
    plant(&mut facts);
    let mut wrong = judge(&facts);
    wrong.retain(|check| check.verdict != Verdict::Ok);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].advice.is_some(), "what is wrong and nothing to do about it: {wrong:?}");
    (wrong[0].verdict, format!("{}: {}", wrong[0].about, wrong[0].found))
}

fn in_kernel(plant: impl FnOnce(&mut State)) -> (Verdict, String) {
    found(|facts| plant(facts.kernel.as_mut().unwrap()))
}

#[test]
fn a_machine_that_is_well_is_said_to_be() {
    let checks = judge(&facts());
    assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{checks:?}");
    assert!(!has_errors(&checks));
    assert!(show(&checks).contains("ok  MTU"), "{}", show(&checks));
}

#[test]
fn faults_of_the_kernel_are_told() {
    let (verdict, what) = found(|facts| facts.release = "4.18.0-553.el8".into());
    assert_eq!(
        (verdict, what.as_str()),
        (Verdict::Error, "kernel version: 4.18.0-553.el8 is older than 5.10")
    );
    let (verdict, what) = in_kernel(|state| state.features.vxlan = Support::No);
    assert_eq!(verdict, Verdict::Warning);
    assert!(what.starts_with("module vxlan: not there: pools with vxlanMode"), "{what}");
    let (verdict, what) = in_kernel(|state| {
        state.sysctls.insert(Sysctl::Ipv4Forward, 0);
    });
    assert!(verdict == Verdict::Error && what.contains("ip_forward is 0"), "{what}");
    let (verdict, what) = in_kernel(|state| {
        state.sysctls.insert(Sysctl::V4(Conf::Dev(name("eth0")), Conf4::Forwarding), 0);
    });
    assert!(verdict == Verdict::Warning && what.contains("off on eth0"), "{what}");
    let (verdict, what) = in_kernel(|state| {
        state.sysctls.insert(Sysctl::V4(Conf::All, Conf4::RpFilter), 1);
    });
    assert!(verdict == Verdict::Warning && what.contains("strict on eth0, ipip-cord"), "{what}");
    let (verdict, what) = in_kernel(|state| {
        let chain = ForeignChain { family: "ip".into(), table: "filter".into(), chain: "FORWARD".into() };
        state.foreign_drops.push(chain);
    });
    assert!(verdict == Verdict::Error && what.contains("ip filter FORWARD drops"), "{what}");
    let (verdict, what) = found(|facts| facts.kernel = Err("Protocol not supported".into()));
    assert!(verdict == Verdict::Error && what.contains("Protocol not supported"), "{what}");
}

#[test]
fn faults_of_addresses_and_sizes_are_told() {
    let (verdict, what) = in_kernel(|state| {
        link(state, Link::ipip(1500));
    });
    let expected = "MTU: ipip-cord has 1500 and needs 1520 of eth0, which has 1500";
    assert_eq!((verdict, what.as_str()), (Verdict::Error, expected));
    let (verdict, what) = in_kernel(|state| state.gateways.clear());
    assert!(verdict == Verdict::Warning && what.contains("no default route"), "{what}");
    let mut none = facts();
    if let Ok(state) = &mut none.kernel {
        state.addresses.clear();
        state.gateways.clear();
    }
    assert!(judge(&none).iter().any(|c| c.about == "node address" && c.verdict == Verdict::Error));
}

#[test]
fn faults_of_others_are_told() {
    let (verdict, what) = found(|facts| facts.legacy = Legacy::Drops);
    assert!(verdict == Verdict::Error && what.contains("iptables-legacy"), "{what}");
    assert_eq!(found(|facts| facts.legacy = Legacy::Unknown).0, Verdict::Unknown);
    assert_eq!(found(|facts| facts.firewalld = true).0, Verdict::Warning);
    let (_, what) = found(|facts| facts.network_manager = Some(false));
    assert!(what.contains("NetworkManager"), "{what}");
    let (_, what) = found(|facts| {
        facts.networkd = Some(Networkd { takes_routes: true, takes_links: None });
    });
    assert!(what.contains("takes away routes"), "{what}");
    let other = Network { file: "05-cilium.conflist".into(), is_ours: false };
    let (verdict, what) = found(|facts| facts.networks.insert(0, other.clone()));
    assert!(
        verdict == Verdict::Error && what.contains("05-cilium.conflist stands before 10-corduroy"),
        "{what}"
    );
    assert_eq!(found(|facts| facts.networks = vec![other]).0, Verdict::Error);
    assert_eq!(found(|facts| facts.networks.clear()).0, Verdict::Error);
}

#[test]
fn faults_of_clock_and_agent_are_told() {
    let (verdict, what) = found(|facts| facts.now = 5);
    assert!(verdict == Verdict::Error && what.contains("1970-01-01"), "{what}");
    assert_eq!(found(|facts| facts.clock_is_kept = Some(false)).0, Verdict::Warning);
    let (verdict, what) = found(|facts| facts.agent = Err("nobody listens at /run/s: gone\nmore".into()));
    assert_eq!((verdict, what.as_str()), (Verdict::Error, "agent: nobody listens at /run/s: gone"));
    let (verdict, what) = found(|facts| {
        let condition = Condition {
            severity: Severity::Warning,
            about: "IPPool/v4".into(),
            message: "spec.cidr: overlaps".into(),
        };
        facts.agent.as_mut().unwrap().conditions.push(condition);
    });
    assert_eq!((verdict, what.as_str()), (Verdict::Warning, "agent: IPPool/v4: spec.cidr: overlaps"));
}

/// A machine's files.
struct Root(PathBuf);

impl Root {
    fn new(label: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cordctl-doctor-{label}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn networks_stand_in_the_runtimes_order() {
    let root = Root::new("networks");
    assert_eq!(files::networks(&root.0), []);
    root.put("etc/cni/net.d/10-corduroy.conflist", "{\"plugins\": [{ \"type\": \"corduroy\" }]}");
    root.put("etc/cni/net.d/05-other.conf", "{\"type\": \"ptp\"}");
    root.put("etc/cni/net.d/.draft", "{}");
    let names: Vec<(String, bool)> =
        files::networks(&root.0).into_iter().map(|network| (network.file, network.is_ours)).collect();
    assert_eq!(names, [("05-other.conf".to_owned(), false), ("10-corduroy.conflist".to_owned(), true)]);
}

#[test]
fn networkmanager_is_asked_only_where_it_runs() {
    let root = Root::new("nm");
    root.put("etc/NetworkManager/NetworkManager.conf", "[main]\nplugins=keyfile\n");
    assert_eq!(files::network_manager(&root.0), None);
    root.put("run/NetworkManager/here", "");
    assert_eq!(files::network_manager(&root.0), Some(false));
    root.put("etc/NetworkManager/conf.d/x.conf", "#unmanaged-devices=interface-name:cord*\n");
    assert_eq!(files::network_manager(&root.0), Some(false));
    root.put("etc/NetworkManager/conf.d/x.conf", "[keyfile]\nunmanaged-devices = interface-name:cord*\n");
    assert_eq!(files::network_manager(&root.0), Some(true));
}

#[test]
fn networkd_is_told_apart_by_what_it_takes() {
    let root = Root::new("networkd");
    assert_eq!(files::networkd(&root.0), None);
    root.put("run/systemd/netif/state", "");
    assert_eq!(files::networkd(&root.0), Some(Networkd { takes_routes: true, takes_links: None }));
    root.put("etc/systemd/networkd.conf.d/c.conf", "[Network]\nManageForeignRoutes=no\n");
    root.put("etc/systemd/network/20-wired.network", "[Match]\nName=en* eth*\n");
    assert_eq!(files::networkd(&root.0), Some(Networkd { takes_routes: false, takes_links: None }));
    root.put("etc/systemd/network/99-all.network", "[Match]\nName=*\n[Network]\nDHCP=yes\n");
    let takes = files::networkd(&root.0).unwrap().takes_links;
    assert_eq!(takes.as_deref(), Some("99-all.network"));
    root.put("etc/systemd/network/99-all.network", "[Match]\nName=*-cord\n[Link]\nUnmanaged=yes\n");
    assert_eq!(files::networkd(&root.0).unwrap().takes_links, None);
}
