use corduroy_api::{Event, Source};

use super::*;
use crate::caretaker::Outlook;
use crate::testing;

const NOW: &str = "2026-01-01T00:00:00Z";

fn statuses_of(pools: &[(&str, &str, &str)], blocks: &[&str]) -> BTreeMap<String, IpPoolStatusSpec> {
    let mut known = testing::known();
    testing::put(&mut known, pools.iter().map(|(name, cidr, more)| testing::pool(name, cidr, more)));
    testing::put(&mut known, blocks.iter().map(|cidr| testing::block(cidr, "b")));
    assert_eq!(Outlook::of(&known).pools, BTreeMap::new(), "not before the datastore has spoken");
    for kind in [Kind::IpPool, Kind::IpamBlock] {
        known.model.apply(Event::InSync { kind, from: Source::Live });
    }
    Outlook::of(&known).pools
}

fn numbers(status: &IpPoolStatusSpec) -> [u64; 4] {
    [status.addresses, status.blocks, status.blocks_claimed, status.blocks_free].map(Option::unwrap)
}

fn reason(status: &IpPoolStatusSpec) -> (&str, &str) {
    let condition = &status.conditions.as_ref().unwrap()[0];
    (condition.status.as_deref().unwrap(), condition.reason.as_deref().unwrap())
}

#[test]
fn a_pool_says_how_full_it_is() {
    let all = statuses_of(
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
    let all = statuses_of(
        &[("a", "10.0.0.0/16", ""), ("b", "10.0.1.0/24", ""), ("c", "10.1.0.0/16", ", disabled: true")],
        &[],
    );
    let reasons: Vec<_> = all.values().map(reason).collect();
    assert_eq!(reasons, [("True", "InForce"), ("False", "Overlapping"), ("True", "Disabled")]);
    let message = all["b"].conditions.as_ref().unwrap()[0].message.clone().unwrap();
    assert!(message.contains("IPPool/a"), "{message}");
}

#[test]
fn a_status_is_written_only_when_it_says_something_else() {
    let wanted = &statuses_of(&[("a", "10.0.0.0/24", "")], &[])["a"];
    let written = due(wanted, &IpPoolStatusSpec::default(), 1, NOW).unwrap();
    let condition = &written.conditions.as_ref().unwrap()[0];
    assert_eq!(condition.last_transition_time.as_deref(), Some(NOW));
    assert_eq!(due(wanted, &written, 1, "later"), None);
    let fuller = &statuses_of(&[("a", "10.0.0.0/24", "")], &["10.0.0.0/26"])["a"];
    let again = due(fuller, &written, 1, "later").unwrap();
    assert_eq!(again.blocks_claimed, Some(1));
    assert_eq!(again.conditions, written.conditions, "its time stays while what it says stays");
    let overlapped = &statuses_of(&[("0a", "10.0.0.0/24", ""), ("a", "10.0.0.0/24", "")], &[])["a"];
    let condition = &due(overlapped, &written, 2, "later").unwrap().conditions.unwrap()[0];
    assert_eq!(condition.last_transition_time.as_deref(), Some("later"));
    assert_eq!(condition.observed_generation, Some(2));
}

#[test]
fn conditions_of_somebody_else_stay() {
    let wanted = &statuses_of(&[("a", "10.0.0.0/24", "")], &[])["a"];
    let theirs = ConditionSpec { kind: Some("Audited".to_owned()), ..ConditionSpec::default() };
    let standing = IpPoolStatusSpec { conditions: Some(vec![theirs.clone()]), ..IpPoolStatusSpec::default() };
    let written = due(wanted, &standing, 1, NOW).unwrap();
    assert!(written.conditions.as_ref().unwrap().contains(&theirs));
    assert_eq!(due(wanted, &written, 1, "later"), None);
}
