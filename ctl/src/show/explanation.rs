//! `cordctl explain`.

use corduroy_ipc::status::{Advertisement, Candidate, Explanation};

use super::routes::flags;
use crate::table::{or_dash, table};

/// Whose it is, each path and why it stands where it does, the kernel's route, who is told.
pub(crate) fn explanation(why: &Explanation) -> String {
    let Explanation { net, owner, services, candidates, kernel, advertised } = why;
    let mut text = match owner {
        Some(owner) => {
            format!("{net}: block {} of pool {}, owned by node {}\n", owner.block, owner.pool, owner.node)
        }
        None => format!("{net}: in no block of any pool\n"),
    };
    for service in services {
        let announced =
            if service.announced { "announced by this node" } else { "not announced by this node" };
        text += &format!("{}: {announced}: {}\n", service.what, service.why);
    }
    text += &format!("kernel: {}\n", kernel.as_deref().unwrap_or("no route of ours"));
    let path = |candidate: &Candidate| {
        let route = &candidate.route;
        let way = or_dash(route.next_hop);
        [flags(route), route.from.clone(), way, route.attributes.as_path.clone(), candidate.why.clone()]
    };
    let paths = table(["FLAG", "FROM", "NEXT HOP", "AS PATH", "WHY"], candidates.iter().map(path).collect());
    text += &if paths.is_empty() { "\nno path\n".to_owned() } else { format!("\n{paths}") };
    let peer = |to: &Advertisement| {
        let sent = if to.sent { "sent" } else { "not sent" };
        [to.to.clone(), sent.to_owned(), to.why.clone()]
    };
    let peers = table(["PEER", "IS", "WHY"], advertised.iter().map(peer).collect());
    if !peers.is_empty() {
        text += &format!("\n{peers}");
    }
    text
}

#[cfg(test)]
mod tests {
    use corduroy_ipc::status::{Attributes, Owner, Route, ServiceAddress};

    use super::*;

    #[test]
    fn a_prefix_is_explained_from_its_owner_to_its_audience() {
        let route = Route {
            net: "10.244.1.0/26".parse().unwrap(),
            from: "10.1.1.12".into(),
            best: true,
            stale: false,
            next_hop: Some([10, 1, 1, 12].into()),
            attributes: Attributes::default(),
            installed: Some(true),
        };
        let shown = explanation(&Explanation {
            net: route.net,
            owner: Some(Owner { block: route.net, pool: "v4".into(), node: "n2".into() }),
            services: vec![ServiceAddress {
                what: "load balancer of Service a/web".into(),
                announced: false,
                why: "no ready endpoint is on this node".into(),
            }],
            candidates: vec![Candidate { route, why: "best: the only path".into() }],
            kernel: Some("10.244.1.0/26 via 10.1.1.12 dev eth0 proto 67 metric 1067".into()),
            advertised: vec![Advertisement {
                to: "10.1.1.1".into(),
                sent: false,
                why: "only own prefixes are exported".into(),
            }],
        });
        let expected = "\
10.244.1.0/26: block 10.244.1.0/26 of pool v4, owned by node n2
load balancer of Service a/web: not announced by this node: no ready endpoint is on this node
kernel: 10.244.1.0/26 via 10.1.1.12 dev eth0 proto 67 metric 1067

FLAG  FROM       NEXT HOP   AS PATH  WHY
*k    10.1.1.12  10.1.1.12           best: the only path

PEER      IS        WHY
10.1.1.1  not sent  only own prefixes are exported
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_nobody_announced_is_explained_too() {
        let net = "192.0.2.0/24".parse().unwrap();
        let nothing = Explanation {
            net,
            owner: None,
            services: Vec::new(),
            candidates: Vec::new(),
            kernel: None,
            advertised: Vec::new(),
        };
        assert_eq!(
            explanation(&nothing),
            "192.0.2.0/24: in no block of any pool\nkernel: no route of ours\n\nno path\n"
        );
    }
}
