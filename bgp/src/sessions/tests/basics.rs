use alloc::string::ToString;
use alloc::vec::Vec;

use super::world::*;
use crate::io::*;
use crate::status::SessionState::*;

#[test]
fn two_speakers_that_connect_at_the_same_time_end_up_with_one_session() {
    let mut world = World::new();
    world.start(1, config(1, &[2]), Start::First);
    world.start(2, config(2, &[1]), Start::First);
    world.pass(SECOND);
    assert_eq!((world.state(1, 2), world.state(2, 1)), (Established, Established));
    assert_eq!(world.conns(1).len(), 1);
    let ups = |rib: Vec<RibInput>| rib.into_iter().filter(|i| matches!(i, RibInput::Up { .. })).count();
    assert_eq!((ups(world.rib(1)), ups(world.rib(2))), (1, 1));
}
