use corduroy_api::{Event, Rejection, Why};
use corduroy_bgp::config::DynamicRange;
use corduroy_bgp::status::{
    Advertised, ExplainedPath, Explanation, MessageCounters, Outcome, RemoteStatus, Route, RouteAttributes,
    RoutePage, Select, SessionStatus, Table, Unusable, Withheld,
};
use corduroy_bgp::{Asn, Family, FamilySet, Net};

use super::*;
use crate::peering::{Options, peering};
use crate::tests::model;

const NODES: &str = "\
apiVersion: corduroy.dev/v1alpha1\nkind: FabricNode\nmetadata: {name: a}\nspec: {addresses: [192.0.2.1/24]}\n---
apiVersion: corduroy.dev/v1alpha1\nkind: FabricNode\nmetadata: {name: b}\nspec: {addresses: [192.0.2.2/24]}\n---
apiVersion: corduroy.dev/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor}
spec: {peerIP: 192.0.2.254, asNumber: 65001}\n";

fn key(address: &str) -> PeerKey {
    PeerKey::new(address.parse().unwrap())
}

fn status(address: &str, up: bool) -> PeerStatus {
    let remote = RemoteStatus {
        asn: Asn(65001),
        router_id: RouterId::new("192.0.2.254".parse().unwrap()).unwrap(),
        local: "192.0.2.1".parse().unwrap(),
        families: FamilySet::EMPTY.with(Family::Ipv4Unicast),
        hold: std::time::Duration::from_secs(90),
        graceful: FamilySet::EMPTY.with(Family::Ipv4Unicast),
    };
    PeerStatus {
        session: SessionStatus {
            key: key(address),
            state: if up { SessionState::Established } else { SessionState::Active },
            since: Time(5_000_000_000),
            dynamic: false,
            local_as: Asn(64512),
            remote: up.then_some(remote),
            established: u32::from(up),
            last_error: (!up).then(|| "connection refused".into()),
            counters: MessageCounters { received: 7, updates_received: 3, ..MessageCounters::default() },
        },
        families: Vec::new(),
    }
}

#[test]
fn a_peer_says_who_it_is_where_it_comes_from_and_how_it_does() {
    let peering = peering(&model(NODES), "a", &Options::default());
    let statuses = [status("192.0.2.2", false), status("192.0.2.9", true), status("192.0.2.254", true)];
    let peers = peers(&statuses, &peering.config, &origins(&peering.peers), Time(65_000_000_000));
    let rows: Vec<_> = peers.iter().map(|p| (p.address.as_str(), p.origin.as_str(), p.asn)).collect();
    assert_eq!(
        rows,
        [
            ("192.0.2.2", "mesh (b)", 64512),
            ("192.0.2.9", "leaving", 65001),
            ("192.0.2.254", "BGPPeer/tor", 65001)
        ]
    );
    assert_eq!((peers[0].state, peers[0].since), (ipc::SessionState::Active, 60));
    assert_eq!(peers[0].last_error.as_deref(), Some("connection refused"));
    assert_eq!((peers[2].hold_time, peers[2].messages.total_in), (90, 7));
    assert_eq!(peers[2].capabilities, ["ipv4-unicast", "graceful-restart ipv4-unicast"]);
    let summary = summary(&peering.config, &statuses);
    assert_eq!((summary.asn, summary.peers, summary.established), (64512, 3, 2));
}

#[test]
fn a_peer_out_of_a_range_is_of_the_narrowest_around_it() {
    let mut peering = peering(&model(NODES), "a", &Options::default());
    let peer = peering.config.peers.values().next().unwrap();
    let range = |range: &str| DynamicRange { range: range.parse().unwrap(), limit: 9, peer: peer.clone() };
    peering.config.dynamic =
        vec![range("192.0.2.0/24"), range("192.0.2.128/25"), range("2001:db8::/32"), range("192.0.0.0/16")];
    let mut dynamic = status("192.0.2.200", true);
    dynamic.session.dynamic = true;
    let peers = peers(&[dynamic], &peering.config, &origins(&peering.peers), Time(65_000_000_000));
    assert_eq!(peers[0].origin, "dynamic 192.0.2.128/25");
}

fn route_to(net: &str) -> Route {
    Route {
        net: net.parse().unwrap(),
        peer: Some(key("192.0.2.2")),
        best: net.ends_with("26"),
        multipath: false,
        stale: false,
        since: Time(0),
        attributes: RouteAttributes {
            next_hop: Some("192.0.2.2".parse().unwrap()),
            ..RouteAttributes::default()
        },
    }
}

#[test]
fn a_question_about_routes_becomes_pages_until_it_is_answered() {
    let query = ipc::RouteQuery { best: true, ..ipc::RouteQuery::default() };
    let mut pager = Pager::new(&query).unwrap();
    let first = pager.query().unwrap();
    assert_eq!(
        (first.family, first.table, first.select, first.from),
        (Family::Ipv4Unicast, Table::LocRib, Select::All, 0)
    );
    let routes = vec![route_to("10.0.0.0/26"), route_to("10.0.0.0/25")];
    pager.take(&RoutePage { routes, next: Some(17) });
    assert_eq!(pager.query().map(|q| (q.family, q.from)), Some((Family::Ipv4Unicast, 17)));
    pager.take(&RoutePage::default());
    assert_eq!(pager.query().map(|q| (q.family, q.from)), Some((Family::Ipv6Unicast, 0)));
    pager.take(&RoutePage::default());
    assert_eq!(pager.query(), None);
    let page = pager.finish();
    assert_eq!((page.routes.len(), page.next), (1, None), "only the best");
}

#[test]
fn a_full_page_says_where_the_next_begins() {
    let query = ipc::RouteQuery { limit: 1, from: Some("192.0.2.2".into()), ..ipc::RouteQuery::default() };
    let mut pager = Pager::new(&query).unwrap();
    pager.take(&RoutePage { routes: vec![route_to("10.0.0.0/26")], next: Some(17) });
    assert_eq!(pager.query(), None);
    let next = pager.finish().next.unwrap();
    let pager = Pager::new(&ipc::RouteQuery { after: Some(next), ..query }).unwrap();
    let query = pager.query().unwrap();
    assert_eq!(
        (query.family, query.from, query.table),
        (Family::Ipv4Unicast, 17, Table::AdjRibIn(key("192.0.2.2")))
    );
}

#[test]
fn a_question_that_makes_no_sense_is_refused_with_what_would() {
    let ask = |query: ipc::RouteQuery| Pager::new(&query).unwrap_err().to_string();
    let base = ipc::RouteQuery::default;
    assert_eq!(
        ask(ipc::RouteQuery { from: Some("tor".into()), ..base() }),
        "\"tor\" is no peer: wanted its address, as in 192.0.2.1 or 2001:db8::1"
    );
    assert_eq!(
        ask(ipc::RouteQuery { from: Some("192.0.2.1".into()), to: Some("192.0.2.1".into()), ..base() }),
        "routes from a peer and routes to a peer are two tables: ask for one of them"
    );
    assert_eq!(
        ask(ipc::RouteQuery { within: Some("10.0.0.1/8".parse().unwrap()), ..base() }),
        "10.0.0.1/8 is no prefix: bits behind the length are set"
    );
    for after in ["", "3.0", "1", "x.y", "1.-1"] {
        let wrong = ask(ipc::RouteQuery { after: Some(after.into()), ..base() });
        assert_eq!(wrong, format!("{after:?} is no place to go on from"));
    }
}

#[test]
fn an_address_is_looked_up_by_the_longest_prefix_around_it() {
    let asked: Net = "10.0.0.1/32".parse().unwrap();
    let found = [route_to("10.0.0.0/8"), route_to("10.0.0.0/26"), route_to("10.0.0.0/16")];
    assert_eq!(longest(asked, &found).to_string(), "10.0.0.0/26");
    assert_eq!(longest(asked, &[]), asked);
}

#[test]
fn an_explanation_gives_every_path_and_every_peer_its_reason() {
    let path = |outcome| ExplainedPath { route: route_to("10.0.0.0/26"), outcome };
    let told = |address: &str, how| Advertised { peer: key(address), how };
    let explained = Explanation {
        net: "10.0.0.0/26".parse().unwrap(),
        paths: vec![
            path(Outcome::Best { by: Some(corduroy_bgp::decide::Step::LocalPref) }),
            path(Outcome::Unusable(Unusable::Policy(Some("built-in: own block".into())))),
        ],
        advertised: vec![
            told("192.0.2.2", Err(Withheld::FromThisPeer)),
            told(
                "192.0.2.254",
                Ok(RouteAttributes { as_path: "64512".into(), ..RouteAttributes::default() }),
            ),
        ],
    };
    let block = "apiVersion: corduroy.dev/v1alpha1\nkind: IPAMBlock\nmetadata: {name: 10-0-0-0-26}\n\
                 spec: {cidr: 10.0.0.0/26, node: b, nodeUID: b, epoch: 1}\n";
    let shown = explanation(&explained);
    let whys: Vec<_> = shown.candidates.iter().map(|c| c.why.as_str()).collect();
    assert_eq!(
        whys,
        ["best by step 2: highest LOCAL_PREF", "not usable: refused by the import rule built-in: own block"]
    );
    let owner = owner(&model(block), "10.0.0.9".parse().unwrap());
    assert_eq!(owner.map(|owner| owner.node).as_deref(), Some("b"));
    assert_eq!(
        (shown.advertised[0].sent, shown.advertised[0].why.as_str()),
        (false, "the best path is its own")
    );
    assert!(shown.advertised[1].sent);
}

#[test]
fn what_is_wrong_with_resources_is_said_with_the_source() {
    let mut model = model(NODES);
    let rejection = Rejection {
        key: Some(corduroy_api::Key::new(Kind::IpPool, "p")),
        line: Some(7),
        why: Why::Syntax("oh".to_owned()),
    };
    model.apply(Event::Rejected { source: "/etc/p.yaml".to_owned(), rejections: vec![rejection] });
    model.apply(Event::Unavailable { kind: Kind::Secret, why: "forbidden".to_owned() });
    let said: Vec<_> =
        conditions(&model, &[]).iter().map(|c| format!("{}: {}", c.about, c.message)).collect();
    assert_eq!(said, ["/etc/p.yaml: line 7: IPPool/p: not YAML: oh", "Secret: can't be had: forbidden"]);
    let pools = kinds(&model, &Kind::ALL).into_iter().find(|kind| kind.kind == "IPPool").unwrap();
    assert_eq!((pools.count, pools.rejected, pools.sync), (0, 1, ipc::Sync::Waiting));
}
