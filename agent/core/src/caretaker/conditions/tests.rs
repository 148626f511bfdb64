use corduroy_api::{Event, Source};

use super::*;
use crate::testing;

const NOW: &str = "2026-01-01T00:00:00Z";

/// A fabric of which everything is known.
fn known(resources: Vec<Resource>) -> Known {
    let mut known = testing::known();
    testing::put(&mut known, [testing::node("a", "192.0.2.1/24", "")]);
    testing::put(&mut known, resources);
    for kind in NEEDED {
        known.model.apply(Event::InSync { kind, from: Source::Live });
    }
    known
}

fn judged(resources: Vec<Resource>) -> Judgements {
    Ground::of(&known(resources)).judge()
}

fn pools(pools: &[(&str, &str, &str)], blocks: &[&str]) -> BTreeMap<String, Judged> {
    let pools = pools.iter().map(|(name, cidr, more)| testing::pool(name, cidr, more));
    let all = judged(pools.chain(blocks.iter().map(|cidr| testing::block(cidr, "b"))).collect());
    all.into_iter()
        .filter(|(key, _)| key.kind == Kind::IpPool)
        .map(|(key, judged)| (key.name, judged))
        .collect()
}

fn peer(name: &str, more: &str) -> Resource {
    testing::resource(Kind::BgpPeer, name, &format!("{{peerIP: 192.0.2.250, asNumber: 65001{more}}}"))
}

fn numbers(judged: &Judged) -> [u64; 4] {
    let status = &judged.status;
    [status.addresses, status.blocks, status.blocks_claimed, status.blocks_free].map(Option::unwrap)
}

fn said(status: &IpPoolStatusSpec) -> (&str, &str) {
    let condition = in_force(status).unwrap();
    (condition.status.as_deref().unwrap(), condition.reason.as_deref().unwrap())
}

/// What is written where a status stands so.
fn written(judged: &Judged, there: &IpPoolStatusSpec, generation: u64, now: &str) -> Due {
    due(judged, &Stands { words: &judged.words, generation, status: there }, now)
}

fn status(due: Due) -> IpPoolStatusSpec {
    let Due::Write { status, .. } = due else { panic!("{due:?}") };
    status
}

fn news(due: Due) -> Option<News> {
    let Due::Write { news, .. } = due else { panic!("{due:?}") };
    news
}

#[test]
fn a_pool_says_how_full_it_is() {
    let all = pools(
        &[("four", "10.0.0.0/24", ""), ("six", "fd00::/8", ""), ("small", "10.1.0.0/30", "")],
        &["10.0.0.0/26", "10.0.0.128/25", "fd00::40/122"],
    );
    assert_eq!(numbers(&all["four"]), [256, 4, 2, 1], "a block of another length takes two");
    let most = i64::MAX.unsigned_abs();
    assert_eq!(numbers(&all["six"]), [most, most, 1, most]);
    assert_eq!(numbers(&all["small"]), [4, 1, 0, 1]);
}

#[test]
fn a_pool_says_whether_it_is_in_force() {
    let all = pools(
        &[("a", "10.0.0.0/16", ""), ("b", "10.0.1.0/24", ""), ("c", "10.1.0.0/16", ", disabled: true")],
        &[],
    );
    let reasons: Vec<_> = all.values().map(|judged| said(&judged.status)).collect();
    assert_eq!(reasons, [("True", "InForce"), ("False", "Overlapping"), ("True", "Disabled")]);
    let message = in_force(&all["b"].status).unwrap().message.clone().unwrap();
    assert!(message.contains("spec.cidr") && message.contains("IPPool/a"), "{message}");
}

#[test]
fn a_kind_is_spoken_of_once_all_it_depends_on_comes_from_the_datastore() {
    let mut known = testing::known();
    let reservation = testing::resource(Kind::IpReservation, "r", "{reservedCIDRs: [10.0.0.0/30]}");
    testing::put(&mut known, [testing::pool("p", "10.0.0.0/16", ""), peer("t", ""), reservation]);
    let spoken =
        |known: &Known| Ground::of(known).judge().into_keys().map(|key| key.name).collect::<String>();
    assert_eq!(spoken(&known), "");
    for (kind, wanted) in [
        (Kind::IpReservation, ""),
        (Kind::IpPool, "r"),
        (Kind::FabricNode, "r"),
        (Kind::IpamBlock, "pr"),
        (Kind::BgpPeer, "pr"),
        (Kind::BgpFilter, "pr"),
        (Kind::BgpConfiguration, "prt"),
    ] {
        known.model.apply(Event::InSync { kind, from: Source::Snapshot });
        known.model.apply(Event::InSync { kind, from: Source::Live });
        assert_eq!(spoken(&known), wanted, "{kind}");
    }
    known.model.apply(Event::Unavailable { kind: Kind::BgpFilter, why: "forbidden".to_owned() });
    assert_eq!(spoken(&known), "pr");
}

#[test]
fn a_status_is_written_only_when_it_says_something_else() {
    let wanted = &pools(&[("a", "10.0.0.0/24", "")], &[])["a"];
    let first = status(written(wanted, &IpPoolStatusSpec::default(), 1, NOW));
    assert_eq!(in_force(&first).unwrap().last_transition_time.as_deref(), Some(NOW));
    assert_eq!(written(wanted, &first, 1, "later"), Due::Nothing);
    let fuller = &pools(&[("a", "10.0.0.0/24", "")], &["10.0.0.0/26"])["a"];
    let again = status(written(fuller, &first, 1, "later"));
    assert_eq!(again.blocks_claimed, Some(1));
    assert_eq!(again.conditions, first.conditions, "its time stays while what it says stays");
    let overlapped = &pools(&[("0a", "10.0.0.0/24", ""), ("a", "10.0.0.0/24", "")], &[])["a"];
    let third = status(written(overlapped, &first, 2, "later"));
    let condition = in_force(&third).unwrap();
    assert_eq!(condition.last_transition_time.as_deref(), Some("later"));
    assert_eq!(condition.observed_generation, Some(2));
}

#[test]
fn conditions_of_somebody_else_stay() {
    let wanted = &pools(&[("a", "10.0.0.0/24", "")], &[])["a"];
    let theirs = ConditionSpec { kind: Some("Audited".to_owned()), ..ConditionSpec::default() };
    let there = IpPoolStatusSpec { conditions: Some(vec![theirs.clone()]), ..IpPoolStatusSpec::default() };
    let first = status(written(wanted, &there, 1, NOW));
    assert!(first.conditions.as_ref().unwrap().contains(&theirs));
    assert_eq!(written(wanted, &first, 1, "later"), Due::Nothing);
}

#[test]
fn nothing_is_said_of_words_that_were_not_judged() {
    let key = Key::new(Kind::BgpPeer, "t");
    let judge = |more: &str| judged(vec![peer("t", more)])[&key].clone();
    let (bad, good) = (judge(", filters: [gone]"), judge(""));
    let there = IpPoolStatusSpec::default();
    let changed = Stands { words: &good.words, generation: 2, status: &there };
    assert_eq!(due(&bad, &changed, NOW), Due::Later, "it was corrected since");
    // A new version alone says nothing new.
    let same = Ok(good.words.clone().unwrap().at_version("77".to_owned()));
    let status = status(due(&good, &Stands { words: &same, generation: 2, status: &there }, NOW));
    assert_eq!(in_force(&status).unwrap().observed_generation, Some(2));
    let refused = Err(Vec::new());
    assert_eq!(due(&good, &Stands { words: &refused, generation: 2, status: &there }, NOW), Due::Later);
}

#[test]
fn what_is_refused_after_admission_is_said_of_its_very_words() {
    let mut known = known(vec![peer("t", "")]);
    let key = Key::new(Kind::BgpPeer, "t");
    let rejection = |why: &str| {
        vec![Rejection {
            key: Some(key.clone()),
            line: None,
            why: corduroy_api::Why::Unreadable(why.to_owned()),
        }]
    };
    known.model.apply(Event::Rejected { source: key.to_string(), rejections: rejection("one") });
    let judged = Ground::of(&known).judge()[&key].clone();
    assert_eq!(said(&judged.status), ("False", "Invalid"));
    let there = IpPoolStatusSpec::default();
    let at = |words: Words| due(&judged, &Stands { words: &words, generation: 1, status: &there }, NOW);
    assert!(matches!(at(Err(rejection("one"))), Due::Write { .. }));
    assert_eq!(at(Err(rejection("two"))), Due::Later);
}

#[test]
fn who_turns_false_is_news_once_and_who_turns_true_again_too() {
    let key = Key::new(Kind::BgpPeer, "t");
    let judge = |more: &str| judged(vec![peer("t", more)])[&key].clone();
    let (bad, good) = (judge(", filters: [gone]"), judge(""));
    let none = IpPoolStatusSpec::default();
    assert_eq!(news(written(&good, &none, 1, NOW)), None, "that is how it should be");
    let told = news(written(&bad, &none, 1, NOW)).unwrap();
    assert!(
        told.is_warning && told.reason == "NoFilter" && told.note.contains("spec.filters[0]"),
        "{told:?}"
    );
    let there = status(written(&bad, &none, 1, NOW));
    assert_eq!(written(&bad, &there, 1, "later"), Due::Nothing);
    assert_eq!(news(written(&bad, &there, 2, "later")), None, "only its generation is another");
    let other = judge(", password: {secretKeyRef: {name: s, key: k}}");
    assert_eq!(
        news(written(&other, &there, 2, "later")).map(|news| news.reason).as_deref(),
        Some("NoPassword")
    );
    let mended = written(&good, &there, 2, "later");
    assert_eq!(said(&status(mended.clone())), ("True", "InForce"));
    let told = news(mended).unwrap();
    assert!(!told.is_warning && told.reason == "InForce", "{told:?}");
}

#[test]
fn what_is_not_in_force_is_said_when_two_looks_have_found_it_so() {
    let key = Key::new(Kind::BgpPeer, "t");
    let judge = |more: &str| judged(vec![peer("t", more)]);
    let (bad, good) = (judge(", filters: [gone]"), judge(""));
    let mut sayings = Sayings::default();
    let say = |sayings: &mut Sayings, found: &Judgements| {
        let news = sayings.look(found.clone(), false);
        let news: Vec<(Key, Judged)> = news.into_values().flatten().collect();
        news.iter().for_each(|(key, judged)| sayings.said(key.clone(), judged.clone()));
        news.into_iter().map(|(key, judged)| (key, said(&judged.status).0.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(say(&mut sayings, &bad), [], "its filter may be on its way");
    assert_eq!(say(&mut sayings, &bad), [(key.clone(), "False".to_owned())]);
    assert_eq!(sayings.not_in_force()[&Kind::BgpPeer], 1);
    assert_eq!(say(&mut sayings, &bad), [], "once is enough");
    assert_eq!(say(&mut sayings, &good), [(key, "True".to_owned())], "good news is told at once");
    assert_eq!(sayings.not_in_force()[&Kind::BgpPeer], 0);
    assert_eq!(say(&mut sayings, &Judgements::new()), []);
    assert_eq!(say(&mut sayings, &good).len(), 1, "made anew, it says nothing of itself");
}

#[test]
fn how_full_pools_are_is_told_once_a_round() {
    let judge = |blocks: &[&str]| {
        judged(
            vec![testing::pool("p", "10.0.0.0/24", "")]
                .into_iter()
                .chain(blocks.iter().map(|cidr| testing::block(cidr, "b")))
                .collect(),
        )
    };
    let (empty, fuller) = (judge(&[]), judge(&["10.0.0.0/26"]));
    let mut sayings = Sayings::default();
    let (key, first) = empty.first_key_value().unwrap();
    assert_eq!(sayings.look(empty.clone(), false).len(), 1);
    sayings.said(key.clone(), first.clone());
    assert_eq!(sayings.look(fuller.clone(), false).len(), 0);
    assert_eq!(sayings.look(fuller, true).len(), 1);
}

#[test]
fn the_next_look_waits_the_longer_the_longer_the_last_one_took() {
    let [second, minute] = [1, 60].map(Duration::from_secs);
    assert_eq!(pause(Duration::ZERO, minute), LOOK);
    assert_eq!(pause(Duration::ZERO, second), second);
    assert_eq!(pause(second, minute), 20 * second);
}
