//! `cordctl ipam show`.

use corduroy_ipc::status::{Holder, Ipam, IpamAddress, IpamBlock, IpamPool};

use crate::table::{or_dash, table};

/// Pools, then the blocks of all nodes, then the addresses of this one.
pub(crate) fn ipam(ipam: &Ipam) -> String {
    let pools = table(
        ["POOL", "CIDR", "BLOCK SIZE", "BLOCKS", "CLAIMED", "HERE"],
        ipam.pools.iter().map(pool).collect(),
    );
    let blocks = table(
        ["BLOCK", "POOL", "NODE", "USED", "COOLING", "FREE", "WITHHELD"],
        ipam.blocks.iter().map(block).collect(),
    );
    let addresses =
        table(["ADDRESS", "BLOCK", "HOLDER", "INTERFACE"], ipam.addresses.iter().map(address).collect());
    let or = |text: String, none: &str| if text.is_empty() { format!("{none}\n") } else { text };
    [or(pools, "no pools"), or(blocks, "no blocks"), or(addresses, "no addresses in use here")].join("\n")
}

fn pool(pool: &IpamPool) -> [String; 6] {
    [
        pool.name.clone(),
        pool.cidr.to_string(),
        format!("/{}", pool.block_size),
        pool.blocks_total.clone(),
        pool.blocks_claimed.to_string(),
        pool.not_here.as_ref().map_or_else(|| "yes".to_owned(), |why| format!("no: {why}")),
    ]
}

fn block(block: &IpamBlock) -> [String; 7] {
    let usage = block.usage;
    let pool = if block.pool.is_empty() { "-".to_owned() } else { block.pool.clone() };
    [
        block.cidr.to_string(),
        pool,
        block.node.clone(),
        or_dash(usage.map(|usage| usage.used)),
        or_dash(usage.map(|usage| usage.cooling)),
        or_dash(usage.map(|usage| usage.free)),
        or_dash(usage.map(|usage| usage.withheld)),
    ]
}

fn address(row: &IpamAddress) -> [String; 4] {
    let (holder, interface) = match &row.holder {
        Holder::Attachment { container_id, ifname, host_interface, pod, .. } => {
            (pod.clone().unwrap_or_else(|| container_id.clone()), format!("{host_interface} ({ifname})"))
        }
        Holder::Tunnel { device } => ("this node".to_owned(), device.clone()),
    };
    [row.address.to_string(), or_dash(row.block), holder, interface]
}

#[cfg(test)]
mod tests {
    use corduroy_ipc::status::BlockUsage;

    use super::*;

    #[test]
    fn pools_blocks_and_addresses_stand_below_each_other() {
        let cidr = "10.244.0.0/26".parse().unwrap();
        let shown = ipam(&Ipam {
            pools: vec![IpamPool {
                name: "v4".into(),
                cidr: "10.244.0.0/16".parse().unwrap(),
                block_size: 26,
                blocks_total: "1024".into(),
                blocks_claimed: 2,
                not_here: None,
            }],
            blocks: vec![IpamBlock {
                cidr,
                pool: "v4".into(),
                node: "n1".into(),
                usage: Some(BlockUsage { used: 1, cooling: 0, free: 61, withheld: 2 }),
            }],
            addresses: vec![IpamAddress {
                address: [10, 244, 0, 1].into(),
                block: Some(cidr),
                holder: Holder::Attachment {
                    network: "corduroy".into(),
                    container_id: "c1".into(),
                    ifname: "eth0".into(),
                    host_interface: "cord0123456789a".into(),
                    pod: Some("default/web".into()),
                },
            }],
        });
        let expected = "\
POOL  CIDR           BLOCK SIZE  BLOCKS  CLAIMED  HERE
v4    10.244.0.0/16  /26         1024    2        yes

BLOCK          POOL  NODE  USED  COOLING  FREE  WITHHELD
10.244.0.0/26  v4    n1    1     0        61    2

ADDRESS     BLOCK          HOLDER       INTERFACE
10.244.0.1  10.244.0.0/26  default/web  cord0123456789a (eth0)
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_empty_node_says_so() {
        assert_eq!(ipam(&Ipam::default()), "no pools\n\nno blocks\n\nno addresses in use here\n");
    }
}
