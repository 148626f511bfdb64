//! Who is freed, and above all who is not.

use corduroy_api::{Event, Source};
use proptest::prelude::*;

use super::*;
use crate::testing::{self, change};

const PATIENCE: Duration = Duration::from_secs(300);
const MINUTE: u64 = 60_000_000_000;

/// This agent is `a`; `b` and `c` have a block each, in a pool that is announced. `heard`: whose block is.
fn known(heard: &[&str]) -> Known {
    let mut known = testing::known();
    testing::put(&mut known, [testing::pool("pods", "10.0.0.0/8", "")]);
    for (node, address, block) in
        [("b", "192.0.2.2/24", "10.2.0.0/26"), ("c", "198.51.100.3/24", "10.3.0.0/26")]
    {
        testing::put(&mut known, [testing::node(node, address, "")]);
        testing::put(&mut known, [testing::block(block, node)]);
        if heard.contains(&node) {
            known.learned.apply(&change(block, &["192.0.2.2"]));
        }
    }
    for kind in [Kind::IpPool, Kind::IpamBlock, Kind::FabricNode] {
        known.model.apply(Event::InSync { kind, from: Source::Live });
    }
    known
}

fn owner(node: &str) -> Owner {
    Owner { node: node.to_owned(), uid: format!("uid-{node}") }
}

fn nodes(names: &[&str]) -> BTreeMap<String, String> {
    names.iter().map(|name| ((*name).to_owned(), format!("uid-{name}"))).collect()
}

fn seen(known: &Known, nodes: &BTreeMap<String, String>) -> Seen {
    Seen::of(known).unwrap().beside(nodes.clone())
}

fn judge(
    gone: &mut Gone,
    known: &Known,
    nodes: &BTreeMap<String, String>,
    signs: &Signs,
    minute: u64,
) -> Judgement {
    let seen = seen(known, nodes);
    assert_eq!(gone.absent(&seen), [owner("c")]);
    gone.judge(&seen, &owner("c"), signs, Time(minute * MINUTE))
}

fn keys(judgement: &Judgement) -> Vec<String> {
    match judgement {
        Judgement::Free(writes) => writes.iter().map(|write| write.key().to_string()).collect(),
        Judgement::Keep(why) => panic!("kept: {why}"),
    }
}

#[test]
fn a_node_that_is_gone_is_freed_at_the_second_look_blocks_first() {
    let (known, nodes) = (known(&["b"]), nodes(&["a", "b"]));
    let mut gone = Gone::new(PATIENCE);
    let watched = Judgement::Keep(Kept::Watched { since: Time(0) });
    assert_eq!(judge(&mut gone, &known, &nodes, &Signs::default(), 0), watched);
    assert_eq!(judge(&mut gone, &known, &nodes, &Signs::default(), 4), watched);
    let freed = judge(&mut gone, &known, &nodes, &Signs::default(), 5);
    assert_eq!(keys(&freed), ["IPAMBlock/10-3-0-0-26", "FabricNode/c"]);
}

#[test]
fn nobody_asks_anybody_while_every_block_is_announced() {
    let seen = Seen::of(&known(&["b", "c"])).unwrap();
    assert!(!seen.is_quiet());
    assert!(Seen::of(&known(&["b"])).unwrap().is_quiet());
}

#[test]
fn a_block_that_is_announced_keeps_everything_of_its_node_even_by_a_part_of_it() {
    let mut known = known(&["b"]);
    known.learned.apply(&change("10.3.0.7/32", &["192.0.2.250"]));
    let mut gone = Gone::new(PATIENCE);
    assert_eq!(gone.absent(&seen(&known, &nodes(&["a", "b"]))), []);
    testing::put(&mut known, [testing::block("10.3.1.0/26", "c")]);
    assert_eq!(gone.absent(&seen(&known, &nodes(&["a", "b"]))), [], "one of its blocks is enough");
    known.learned.apply(&change("10.3.0.7/32", &[]));
    known.learned.apply(&change("10.3.0.64/26", &["192.0.2.250"]));
    assert_eq!(gone.absent(&seen(&known, &nodes(&["a", "b"]))), [owner("c")], "its neighbour");
}

#[test]
fn a_sign_of_life_between_two_looks_begins_the_watch_anew() {
    let (quiet, nodes) = (known(&["b"]), nodes(&["a", "b"]));
    let pod = Signs { pods: vec![vec!["10.3.0.9".parse().unwrap()]], kubelet: None };
    let mut gone = Gone::new(PATIENCE);
    judge(&mut gone, &quiet, &nodes, &Signs::default(), 0);
    assert_eq!(judge(&mut gone, &quiet, &nodes, &pod, 4), Judgement::Keep(Kept::Pods(1)));
    let watched = |since: u64| Judgement::Keep(Kept::Watched { since: Time(since * MINUTE) });
    assert_eq!(judge(&mut gone, &quiet, &nodes, &Signs::default(), 6), watched(6));
    // It announces for a moment.
    gone.absent(&seen(&known(&["b", "c"]), &nodes));
    assert_eq!(judge(&mut gone, &quiet, &nodes, &Signs::default(), 12), watched(12));
    // Its Node is there for a moment.
    gone.absent(&seen(&quiet, &self::nodes(&["a", "b", "c"])));
    assert_eq!(judge(&mut gone, &quiet, &nodes, &Signs::default(), 18), watched(18));
    // It is written to.
    let mut other = known(&["b"]);
    testing::put(&mut other, [testing::block("10.3.1.0/26", "c")]);
    assert_eq!(judge(&mut gone, &other, &nodes, &Signs::default(), 24), watched(24));
}

#[test]
fn a_kubelet_that_renews_its_lease_lives_and_one_that_left_it_behind_does_not() {
    let (known, nodes) = (known(&["b"]), nodes(&["a", "b"]));
    let lease = |renewed: &str| Signs {
        kubelet: Some(KubeletLease { uid: None, renewed: renewed.to_owned() }),
        ..Signs::default()
    };
    let mut gone = Gone::new(PATIENCE);
    judge(&mut gone, &known, &nodes, &lease("12:00"), 0);
    assert_eq!(judge(&mut gone, &known, &nodes, &lease("12:05"), 5), Judgement::Keep(Kept::Kubelet));
    judge(&mut gone, &known, &nodes, &lease("12:05"), 6);
    keys(&judge(&mut gone, &known, &nodes, &lease("12:05"), 11));
    let of_another = Signs {
        kubelet: Some(KubeletLease { uid: Some("uid-new".to_owned()), renewed: "12:12".to_owned() }),
        ..Signs::default()
    };
    judge(&mut gone, &known, &nodes, &lease("12:05"), 12);
    keys(&judge(&mut gone, &known, &nodes, &of_another, 17));
}

#[test]
fn a_node_made_anew_under_the_name_does_not_keep_the_old_ones_blocks_but_pods_in_them_do() {
    let known = known(&["b"]);
    let mut anew = nodes(&["a", "b"]);
    anew.insert("c".to_owned(), "uid-new".to_owned());
    let signs = |address: &str| Signs { pods: vec![vec![address.parse().unwrap()], vec![]], kubelet: None };
    let mut gone = Gone::new(PATIENCE);
    assert_eq!(judge(&mut gone, &known, &anew, &signs("10.3.0.9"), 0), Judgement::Keep(Kept::Pods(1)));
    judge(&mut gone, &known, &anew, &signs("10.9.0.9"), 1);
    let freed = judge(&mut gone, &known, &anew, &signs("10.9.0.9"), 6);
    assert_eq!(keys(&freed), ["IPAMBlock/10-3-0-0-26", "FabricNode/c"]);
}

#[test]
fn who_hears_of_no_other_block_frees_none_unless_there_is_none_to_hear_of() {
    let mut gone = Gone::new(PATIENCE);
    let (deaf, alone) = (nodes(&["a", "b"]), nodes(&["a"]));
    let known = known(&[]);
    for minute in [0, 6] {
        let now = Time(minute * MINUTE);
        let judged = gone.judge(&seen(&known, &deaf), &owner("c"), &Signs::default(), now);
        assert_eq!(judged, Judgement::Keep(Kept::Deaf));
    }
    gone.judge(&seen(&known, &alone), &owner("c"), &Signs::default(), Time(0));
    keys(&gone.judge(&seen(&known, &alone), &owner("c"), &Signs::default(), Time(5 * MINUTE)));
}

#[test]
fn a_snapshot_is_not_what_the_datastore_says_and_a_persons_node_is_a_persons() {
    let mut known = known(&["b"]);
    testing::put(&mut known, [testing::resource(Kind::FabricNode, "tor", "{addresses: [192.0.2.250/24]}")]);
    let mut gone = Gone::new(PATIENCE);
    assert_eq!(gone.absent(&seen(&known, &nodes(&["a", "b"]))), [owner("c")]);
    known.model.apply(Event::InSync { kind: Kind::IpamBlock, from: Source::Snapshot });
    assert_eq!(Seen::of(&known), None);
}

#[test]
fn of_many_each_has_its_turn() {
    let mut known = known(&["b"]);
    for n in 0..100 {
        testing::put(&mut known, [testing::block(&format!("10.4.{n}.0/26"), &format!("lost-{n}"))]);
    }
    let seen = seen(&known, &nodes(&["a", "b", "c"]));
    let mut gone = Gone::new(PATIENCE);
    let asked: BTreeSet<Owner> = (0..4).flat_map(|_| gone.absent(&seen)).collect();
    assert_eq!(asked.len(), 100);
}

/// What a round finds of node `c`.
#[derive(Clone, Copy, Debug)]
struct Round {
    minutes: u64,
    there: bool,
    announces: bool,
    pods: bool,
    renewed: bool,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let seldom = || prop::bool::weighted(0.08);
    let round = (1u64..4, seldom(), seldom(), seldom(), seldom());
    let round = round.prop_map(|(minutes, there, announces, pods, renewed)| Round {
        minutes,
        there,
        announces,
        pods,
        renewed,
    });
    prop::collection::vec(round, 1..40)
}

proptest! {
    /// Whatever the rounds find: freed is only who showed no sign in any round of the last five minutes.
    #[test]
    fn nothing_is_freed_within_five_minutes_of_any_sign_of_life(rounds in rounds()) {
        let (quiet, loud) = (known(&["b"]), known(&["b", "c"]));
        let mut gone = Gone::new(PATIENCE);
        let (mut minute, mut alive, mut renewed, mut first) = (0, None, 0, None);
        for round in rounds {
            minute += round.minutes;
            renewed += u64::from(round.renewed);
            let known = if round.announces { &loud } else { &quiet };
            let seen = seen(known, &nodes(if round.there { &["a", "b", "c"] } else { &["a", "b"] }));
            let lease = KubeletLease { uid: None, renewed: renewed.to_string() };
            let pods = if round.pods { vec![vec![]] } else { Vec::new() };
            let signs = Signs { pods, kubelet: Some(lease) };
            // A renewal shows only against a look before it.
            if round.there || round.announces || round.pods || (round.renewed && first.is_some()) {
                alive = Some(minute);
                first = None;
            }
            for owner in gone.absent(&seen) {
                let judged = gone.judge(&seen, &owner, &signs, Time(minute * MINUTE));
                if let Judgement::Free(_) = judged {
                    let said = format!("freed at {minute}, alive at {alive:?}");
                    prop_assert!(alive.is_none_or(|alive| minute >= alive + 5), "{said}");
                    prop_assert!(first.is_some_and(|first| minute >= first + 5), "at {minute}, first seen {first:?}");
                    first = None;
                } else if alive != Some(minute) {
                    first = first.or(Some(minute));
                }
            }
        }
    }
}
