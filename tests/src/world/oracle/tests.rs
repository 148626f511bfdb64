//! A judge must be able to condemn: every kind of wrong state is wrong in its own words.

use super::*;
use crate::world::plan::{Own, Pfx, Plan};

fn path(as_path: &[u32], next_hop: IpAddr, local_pref: Option<u32>) -> Path {
    Path {
        as_path: as_path.to_vec(),
        origin: 0,
        next_hop: Some(next_hop),
        local_pref,
        med: None,
        communities: Vec::new(),
        originator: None,
        clusters: Vec::new(),
    }
}

/// Three routers of one AS in a mesh (links 0-1, 0-2, 1-2); the first originates `p`; everything is as it must be.
fn mesh() -> (Plan, Claims, Pfx) {
    let mut plan = Plan::default();
    let r: Vec<usize> = (0..3).map(|_| plan.router(64512)).collect();
    plan.link(r[0], r[1], false);
    plan.link(r[0], r[2], false);
    plan.link(r[1], r[2], false);
    let p = Pfx::nth(1, false);
    plan.owns[0].insert(p, Own::default());
    let hop = plan.routers[0].addr(false);
    let mut claims = Claims { loc_rib: vec![[].into(); 3], wire: [].into() };
    claims.loc_rib[0].insert(p, vec![(None, hop)]);
    claims.loc_rib[1].insert(p, vec![(Some(0), hop)]);
    claims.loc_rib[2].insert(p, vec![(Some(1), hop)]);
    claims.wire.insert((0, 0), [(p, path(&[], hop, Some(100)))].into());
    claims.wire.insert((0, 1), [(p, path(&[], hop, Some(100)))].into());
    (plan, claims, p)
}

/// AS 1 at the top, two routers of AS 2 and AS 3 below it, AS 4 at the bottom, which originates.
fn diamond() -> (Plan, Claims, Pfx) {
    let mut plan = Plan::default();
    let r: Vec<usize> = [1, 2, 3, 4].into_iter().map(|asn| plan.router(asn)).collect();
    for (a, b) in [(0, 1), (0, 2), (1, 3), (2, 3)] {
        plan.link(r[a], r[b], false);
    }
    let p = Pfx::nth(2, false);
    plan.owns[3].insert(p, Own::default());
    let hop = |n: usize| plan.routers[n].addr(false);
    let mut claims = Claims { loc_rib: vec![[].into(); 4], wire: [].into() };
    claims.loc_rib[3].insert(p, vec![(None, hop(3))]);
    claims.loc_rib[1].insert(p, vec![(Some(2), hop(3))]);
    claims.loc_rib[2].insert(p, vec![(Some(3), hop(3))]);
    claims.loc_rib[0].insert(p, vec![(Some(0), hop(1))]);
    claims.wire.insert((3, 2), [(p, path(&[4], hop(3), None))].into());
    claims.wire.insert((3, 3), [(p, path(&[4], hop(3), None))].into());
    claims.wire.insert((1, 0), [(p, path(&[2, 4], hop(1), None))].into());
    claims.wire.insert((2, 1), [(p, path(&[3, 4], hop(2), None))].into());
    // The top's best came over link 0, so the router behind link 1 hears of it.
    claims.wire.insert((0, 1), [(p, path(&[1, 2, 4], hop(0), None))].into());
    (plan, claims, p)
}

fn condemned(plan: &Plan, claims: &Claims, words: &str) {
    let wrong = Oracle::judge(plan, claims);
    assert!(wrong.iter().any(|w| w.contains(words)), "wanted {words:?} among {wrong:#?}");
}

#[test]
fn states_that_are_right_pass() {
    let (plan, claims, _) = mesh();
    assert_eq!(Oracle::judge(&plan, &claims), Vec::<String>::new());
    let (plan, claims, _) = diamond();
    assert_eq!(Oracle::judge(&plan, &claims), Vec::<String>::new());
}

#[test]
fn a_route_that_is_missing_is_seen_in_the_table_and_on_the_session() {
    let (plan, mut claims, p) = mesh();
    claims.loc_rib[2].remove(&p);
    condemned(&plan, &claims, "router 2's best path is None");
    let (plan, mut claims, p) = mesh();
    claims.wire.get_mut(&(0, 1)).unwrap().remove(&p);
    condemned(&plan, &claims, "on link 1 router 0 told router 2 nothing instead of");
}

#[test]
fn a_route_that_went_from_mesh_peer_to_mesh_peer_is_seen() {
    let (plan, mut claims, p) = mesh();
    let leaked = claims.wire[&(0, 0)][&p].clone();
    claims.wire.insert((1, 2), [(p, leaked)].into());
    condemned(&plan, &claims, "on link 2 router 1 told router 2 Path");
}

#[test]
fn a_wrong_attribute_is_seen() {
    let (plan, mut claims, p) = mesh();
    claims.wire.get_mut(&(0, 0)).unwrap().get_mut(&p).unwrap().local_pref = Some(101);
    condemned(&plan, &claims, "local_pref: Some(101)");
}

#[test]
fn a_route_that_nobody_originates_any_more_is_seen() {
    let (mut plan, claims, p) = mesh();
    plan.owns[0].remove(&p);
    condemned(&plan, &claims, "router 0 says it originates it, which cannot be");
}

#[test]
fn routers_that_have_a_route_from_each_other_alone_are_seen() {
    let mut plan = Plan::default();
    let (a, b) = (plan.router(1), plan.router(2));
    plan.link(a, b, true);
    let p = Pfx::nth(3, true);
    let from = |n: usize| vec![(Some(0), plan.routers[n].addr(true))];
    let claims = Claims { loc_rib: vec![[(p, from(1))].into(), [(p, from(0))].into()], wire: [].into() };
    condemned(&plan, &claims, "nobody originates it");
}

#[test]
fn the_older_of_two_equal_external_paths_may_stay_whichever_it_is() {
    let (plan, mut claims, p) = diamond();
    let hop = plan.routers[2].addr(false);
    claims.loc_rib[0].insert(p, vec![(Some(1), hop)]);
    let back = claims.wire.remove(&(0, 1)).unwrap()[&p].clone();
    claims.wire.insert((0, 0), [(p, Path { as_path: vec![1, 3, 4], ..back })].into());
    assert_eq!(Oracle::judge(&plan, &claims), Vec::<String>::new());
}

#[test]
fn a_longer_as_path_may_not_win() {
    let (plan, mut claims, p) = diamond();
    // AS 2 says it has the route over the top instead of straight from its origin.
    claims.loc_rib[1].insert(p, vec![(Some(0), plan.routers[0].addr(false))]);
    claims.loc_rib[0].insert(p, vec![(Some(1), plan.routers[2].addr(false))]);
    condemned(&plan, &claims, "router 1's best path is Some(Some(0)), allowed are [Some(2)]");
}

#[test]
fn equal_cost_paths_must_all_be_used_and_others_must_not() {
    let (mut plan, mut claims, p) = diamond();
    plan.routers[0].multipath = 2;
    // AS paths 2 4 and 3 4 differ: not equal without relax.
    assert_eq!(Oracle::judge(&plan, &claims), Vec::<String>::new());
    plan.routers[0].relax = true;
    condemned(&plan, &claims, "equal are {10.0.0.2, 10.0.0.3}");
    claims.loc_rib[0].get_mut(&p).unwrap().push((Some(1), plan.routers[2].addr(false)));
    assert_eq!(Oracle::judge(&plan, &claims), Vec::<String>::new());
}

#[test]
fn a_reflector_adds_originator_and_cluster_and_a_non_client_does_not_pass_on() {
    let mut plan = Plan::default();
    let r: Vec<usize> = (0..4).map(|_| plan.router(64512)).collect();
    plan.routers[0].cluster = Some(7);
    // 1 and 2 are clients of 0, 3 is not.
    for other in &r[1..] {
        let link = plan.link(r[0], *other, false);
        plan.links[link].ends[0].client = *other != r[3];
    }
    assert!(may_pass(&plan, 0, 0, 1) && may_pass(&plan, 0, 0, 2) && may_pass(&plan, 0, 2, 0));
    plan.links[0].ends[0].client = false;
    assert!(!may_pass(&plan, 0, 0, 2), "neither is a client");
    plan.links[0].ends[0].client = true;
    let p = Pfx::nth(1, false);
    plan.owns[1].insert(p, Own::default());
    let hop = plan.routers[1].addr(false);
    let reflected =
        Path { originator: Some(plan.routers[1].id), clusters: vec![7], ..path(&[], hop, Some(100)) };
    let mut claims = Claims { loc_rib: vec![[].into(); 4], wire: [].into() };
    claims.loc_rib[1].insert(p, vec![(None, hop)]);
    for (router, link) in [(0, 0), (2, 1), (3, 2)] {
        claims.loc_rib[router].insert(p, vec![(Some(link), hop)]);
    }
    claims.wire.insert((1, 0), [(p, path(&[], hop, Some(100)))].into());
    claims.wire.insert((0, 1), [(p, reflected.clone())].into());
    claims.wire.insert((0, 2), [(p, reflected.clone())].into());
    assert_eq!(Oracle::judge(&plan, &claims), Vec::<String>::new());
    claims.wire.insert((0, 1), [(p, Path { clusters: Vec::new(), ..reflected })].into());
    condemned(&plan, &claims, "clusters: [7]");
}
