//! The example that docs send people to first, as they would run it.

use std::process::Command;
use std::time::Duration;

use corduroy_tests::daemons::{Bird, Daemon, Neighbour, Router, holds_exactly};
use corduroy_tests::process::{Process, example};
use corduroy_tests::{Topology, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn the_announce_example_tells_bird_a_prefix_and_takes_it_back_when_it_is_gone() {
    let net = Topology::new("announce");
    let [bird, us] = ["bird", "us"].map(|label| net.namespace(label));
    net.link(&bird, "eth0", &us, "eth0");
    bird.address("eth0", "192.0.2.1/24");
    us.address("eth0", "192.0.2.2/24");
    let router = Router::new(64513, "192.0.2.1").peer(Neighbour::new("192.0.2.2", 64512));
    let bird = Bird::start(&bird, router);
    let mut announce = Command::new(example("announce"));
    announce.args(["192.0.2.2", "192.0.2.1", "179", "198.51.100.0/24"]);
    let mut announce = Process::spawn(&us, "announce", announce);
    eventually(PATIENCE, || holds_exactly(&bird, &["198.51.100.0/24"]));
    let learned = bird.learned().unwrap().remove("198.51.100.0/24").unwrap();
    assert_eq!(learned.as_path, [64512]);
    assert_eq!(learned.next_hop, Some("192.0.2.2".parse().unwrap()));
    assert!(announce.log().contains("192.0.2.1"), "{}", announce.log());
    announce.kill();
    eventually(PATIENCE, || holds_exactly(&bird, &[]));
}
