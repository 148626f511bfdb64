//! What is ours and was changed by somebody else is put right; what is not ours is left alone.

use corduroy_tests::eventually;
use corduroy_tests::fabric::Segment;

use super::{PATIENCE, Two};

/// What of ours the first node's kernel has, without what counts; an error while some of it is missing.
fn ours(two: &Two) -> Result<String, String> {
    let host = two.nodes[0].host();
    let mut text = host.ip("-4 route show proto 67") + &host.ip("-6 route show proto 67");
    text += &host.try_ip("-br address show dev vxlan-cord")?;
    text += &host.try_run("bridge fdb show dev vxlan-cord")?;
    text += &host.ip("neighbour show nud permanent");
    text += &host.try_run("nft -s list table inet corduroy")?;
    for link in ["vxlan-cord".to_owned(), two.pods[0].host_interface()] {
        text += &host.try_ip(&format!("-br link show dev {link}"))?;
    }
    // Hash tables come out in an order of their own.
    let mut lines: Vec<&str> = text.split(['\n', ',']).map(str::trim).collect();
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

#[test]
fn whatever_somebody_else_removes_of_ours_comes_back_as_it_was() {
    let two = Two::new("repair", Segment::B);
    eventually(PATIENCE, || if two.way(true).contains("vxlan-cord") { Ok(()) } else { Err(two.way(true)) });
    let host = two.nodes[0].host();
    let right = ours(&two).unwrap();
    let block = two.nodes[1].blocks().remove(0);
    let pod = two.pods[0].host_interface();
    let address = two.pods[0].address(false);
    let damages = [
        format!("ip route del {block} proto 67"),
        format!("ip route replace blackhole {block} proto 67 metric 1067"),
        format!("ip route del {address} proto 67"),
        format!("ip neighbour del {address} dev {pod}"),
        format!("ip link set {pod} down"),
        "ip link set vxlan-cord down".to_owned(),
        "ip link del vxlan-cord".to_owned(),
        "ip link add other-cord type bridge".to_owned(),
        "nft delete table inet corduroy".to_owned(),
        "nft flush chain inet corduroy forward".to_owned(),
        "nft flush set inet corduroy pods4".to_owned(),
        format!("ip route add {block} via 10.1.1.1 proto 67 metric 7"),
    ];
    for damage in damages {
        host.run(&damage);
        eventually(PATIENCE, || {
            let now = ours(&two)?;
            if now == right { Ok(()) } else { Err(format!("after {damage}:\n{now}\nwas:\n{right}")) }
        });
    }
    two.reach_each_other();
    host.run("ip link show other-cord");
    let repaired = two.nodes[0].status().unwrap()["kernel"]["repaired"].as_u64().unwrap();
    assert!(repaired >= 10, "{repaired} repairs were counted");
}
