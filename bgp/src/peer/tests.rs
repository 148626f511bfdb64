use super::*;
use crate::wire::KEEPALIVE;

#[test]
fn messages_in_a_segment_are_counted_by_their_headers() {
    let two = [&KEEPALIVE[..], &refresh::encode(Family::Ipv4Unicast)].concat();
    assert_eq!(messages(&two), 2);
    assert_eq!(messages(&[]), 0);
}

#[test]
fn keepalives_do_not_pile_up_for_a_peer_that_does_not_read() {
    let mut link = Link::new(ConnId(1), true, None, Time(0));
    for _ in 0..100 {
        link.queue(KEEPALIVE);
    }
    link.queue(refresh::encode(Family::Ipv4Unicast));
    let mut out = Vec::new();
    assert_eq!(link.take(65536, &mut out), 19 + 23);
    assert_eq!(link.take(65536, &mut out), 0);
}

#[test]
fn a_large_message_goes_out_alone_when_it_is_more_than_was_asked_for() {
    let mut link = Link::new(ConnId(1), true, None, Time(0));
    link.queue(refresh::encode(Family::Ipv4Unicast));
    link.queue(refresh::encode(Family::Ipv6Unicast));
    let mut out = Vec::new();
    assert_eq!(link.take(1, &mut out), 23);
    assert_eq!(link.take(1, &mut out), 23);
}
