//! `cordctl status`.

use corduroy_ipc::status::{BgpSummary, KernelSummary, KindStatus, PodSummary, Severity, Status, Sync};

use crate::table::{age, or_dash, table};

/// What needs a look stands first; then the speaker, the kernel, the pods and the datastore.
pub(crate) fn status(status: &Status) -> String {
    let Status { node, role, version, uptime, ready, kinds, conditions, bgp, kernel, pods } = status;
    let verdict = if *ready { "ready" } else { "NOT READY" };
    let mut text = format!("{node} ({role} {version}): {verdict}, up {}\n", age(*uptime));
    for condition in conditions {
        let mark = match condition.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "warning",
        };
        text += &format!("{mark}  {}: {}\n", condition.about, condition.message);
    }
    text += "\n";
    text += &speaker(bgp);
    text += &kernel.as_ref().map(forwarding).unwrap_or_default();
    text += &pods.as_ref().map(attachments).unwrap_or_default();
    let kinds = datastore(kinds);
    if !kinds.is_empty() {
        text += &format!("\n{kinds}");
    }
    text
}

fn speaker(bgp: &BgpSummary) -> String {
    let id = or_dash(bgp.router_id);
    let reflects = bgp.cluster_id.map(|id| format!(", reflects as cluster {id}")).unwrap_or_default();
    let counts = bgp.prefixes.iter().map(|f| format!(", {} {}", f.count, f.family)).collect::<String>();
    let own = bgp.originated.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let announced = if own.is_empty() { "nothing".to_owned() } else { own };
    format!(
        "BGP        AS {}, router id {id}{reflects}; {} of {} peers established{counts}\n           \
         announces {announced}\n",
        bgp.asn, bgp.established, bgp.peers
    )
}

fn forwarding(kernel: &KernelSummary) -> String {
    let KernelSummary { routes, links, pending, refused, repaired, tunnels } = kernel;
    let mut text =
        format!("Kernel     {routes} routes, {links} links; {pending} pending, {repaired} repaired\n");
    for tunnel in tunnels {
        let addresses = tunnel.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        text += &format!("           {} {addresses}: {} nodes behind it\n", tunnel.device, tunnel.remotes);
    }
    for what in refused {
        text += &format!("           refused: {what}\n");
    }
    text
}

fn attachments(pods: &PodSummary) -> String {
    let PodSummary { attached, pending, failed, addresses_used, addresses_total } = pods;
    format!(
        "Pods       {attached} attached, {pending} under way, {failed} failed; \
         {addresses_used} of {addresses_total} addresses in use\n"
    )
}

fn datastore(kinds: &[KindStatus]) -> String {
    let row = |kind: &KindStatus| {
        let sync = match &kind.sync {
            Sync::Waiting => "waiting".to_owned(),
            Sync::Live => "live".to_owned(),
            Sync::Snapshot => "snapshot".to_owned(),
            Sync::Unavailable(why) => format!("unavailable: {why}"),
        };
        [kind.kind.clone(), kind.count.to_string(), kind.rejected.to_string(), sync]
    };
    table(["KIND", "COUNT", "REJECTED", "SYNC"], kinds.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use corduroy_ipc::status::{Condition, FamilyCount, Tunnel};

    use super::*;

    #[test]
    fn a_node_is_shown_with_what_needs_a_look_first() {
        let shown = status(&Status {
            node: "n1".into(),
            role: "agent".into(),
            version: "0.1.0".into(),
            uptime: 310,
            ready: false,
            kinds: vec![KindStatus { kind: "IPPool".into(), sync: Sync::Live, count: 2, rejected: 1 }],
            conditions: vec![Condition {
                severity: Severity::Error,
                about: "IPPool/v4".into(),
                message: "spec.cidr overlaps IPPool/old".into(),
            }],
            bgp: BgpSummary {
                asn: 64512,
                router_id: Some([10, 1, 1, 11].into()),
                cluster_id: None,
                peers: 3,
                established: 2,
                prefixes: vec![FamilyCount { family: "ipv4-unicast".into(), count: 7 }],
                originated: vec!["10.244.0.0/26".parse().unwrap()],
            },
            kernel: Some(KernelSummary {
                routes: 9,
                links: 3,
                tunnels: vec![Tunnel {
                    device: "vxlan-cord".into(),
                    addresses: vec![[10, 244, 0, 1].into()],
                    remotes: 1,
                }],
                ..KernelSummary::default()
            }),
            pods: Some(PodSummary {
                attached: 2,
                addresses_used: 3,
                addresses_total: 64,
                ..PodSummary::default()
            }),
        });
        let expected = "\
n1 (agent 0.1.0): NOT READY, up 5m10s
ERROR  IPPool/v4: spec.cidr overlaps IPPool/old

BGP        AS 64512, router id 10.1.1.11; 2 of 3 peers established, 7 ipv4-unicast
           announces 10.244.0.0/26
Kernel     9 routes, 3 links; 0 pending, 0 repaired
           vxlan-cord 10.244.0.1: 1 nodes behind it
Pods       2 attached, 0 under way, 0 failed; 3 of 64 addresses in use

KIND    COUNT  REJECTED  SYNC
IPPool  2      1         live
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_reflector_has_no_kernel_and_no_pods_to_show() {
        let cluster = Some([10, 0, 0, 9].into());
        let bgp = BgpSummary { cluster_id: cluster, ..BgpSummary::default() };
        let shown = status(&Status { ready: true, bgp, ..Status::default() });
        assert!(shown.contains("reflects as cluster 10.0.0.9"), "{shown}");
        assert!(!shown.contains("Kernel") && !shown.contains("Pods"), "{shown}");
    }
}
