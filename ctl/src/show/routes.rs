//! `cordctl routes`.

use corduroy_ipc::status::{Attributes, Route};

use crate::table::{or_dash, table};

/// A row a path: `*` marks the best, `s` what is kept over a restart, `k` what the kernel has. Wide adds the
/// attributes that do not fit.
pub(crate) fn routes(routes: &[Route], wide: bool) -> String {
    if routes.is_empty() {
        return "no routes\n".to_owned();
    }
    if !wide {
        let headers = ["FLAG", "PREFIX", "NEXT HOP", "FROM", "LOCAL PREF", "MED", "AS PATH", "ORIGIN"];
        return table(headers, routes.iter().map(row).collect());
    }
    let headers = [
        "FLAG",
        "PREFIX",
        "NEXT HOP",
        "FROM",
        "LOCAL PREF",
        "MED",
        "AS PATH",
        "ORIGIN",
        "COMMUNITIES",
        "ORIGINATOR",
        "CLUSTER LIST",
    ];
    let row = |route: &Route| {
        let [flags, net, next_hop, from, local_pref, med, path, origin] = row(route);
        let [communities, originator, clusters] = more(&route.attributes);
        [flags, net, next_hop, from, local_pref, med, path, origin, communities, originator, clusters]
    };
    table(headers, routes.iter().map(row).collect())
}

/// The flags of a path.
pub(crate) fn flags(route: &Route) -> String {
    let flags = [(route.best, '*'), (route.stale, 's'), (route.installed == Some(true), 'k')];
    flags.into_iter().filter_map(|(set, flag)| set.then_some(flag)).collect()
}

fn row(route: &Route) -> [String; 8] {
    let attributes = &route.attributes;
    [
        flags(route),
        route.net.to_string(),
        or_dash(route.next_hop),
        route.from.clone(),
        or_dash(attributes.local_pref),
        or_dash(attributes.med),
        attributes.as_path.clone(),
        attributes.origin.clone(),
    ]
}

fn more(attributes: &Attributes) -> [String; 3] {
    let clusters = attributes.cluster_list.iter().map(ToString::to_string).collect::<Vec<_>>();
    [attributes.communities.join(" "), or_dash(attributes.originator_id), clusters.join(" ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        Route {
            net: "10.244.1.0/26".parse().unwrap(),
            from: "10.1.1.12".into(),
            best: true,
            stale: false,
            next_hop: Some([10, 1, 1, 12].into()),
            attributes: Attributes {
                origin: "IGP".into(),
                local_pref: Some(100),
                communities: vec!["64512:1".into(), "no-export".into()],
                cluster_list: vec![[10, 0, 0, 9].into()],
                ..Attributes::default()
            },
            installed: Some(true),
        }
    }

    #[test]
    fn a_path_is_a_row_with_its_flags_in_front() {
        let expected = "\
FLAG  PREFIX         NEXT HOP   FROM       LOCAL PREF  MED  AS PATH  ORIGIN
*k    10.244.1.0/26  10.1.1.12  10.1.1.12  100         -             IGP
";
        assert_eq!(routes(&[route()], false), expected);
    }

    #[test]
    fn wide_shows_communities_and_reflection() {
        let shown = routes(&[route()], true);
        assert!(shown.contains("64512:1 no-export  -           10.0.0.9"), "{shown}");
    }

    #[test]
    fn none_is_said() {
        assert_eq!(routes(&[], false), "no routes\n");
    }
}
