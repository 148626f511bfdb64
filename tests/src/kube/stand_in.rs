//! A CNI plugin for clusters that are not about one: Debian's ptp, or bridge, and host-local on each node's podCIDRs,
//! with the routes between nodes and racks set by hand.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::machine::Machine;

/// Where Debian's containernetworking-plugins are.
const PLUGINS: &str = "/usr/lib/cni";
const NEEDED: &[&str] = &["bridge", "host-local", "loopback", "portmap", "ptp"];

impl Cluster {
    /// Gives pods a network. It is lost on a node that is switched off, and calling this again brings it back.
    #[track_caller]
    pub fn stand_in(&self) {
        self.wire(&json!({ "type": "ptp" }));
    }

    /// The same with all pods of a node on a bridge, as most plugins that are not about routing do it.
    #[track_caller]
    pub fn bridge(&self) {
        self.wire(&json!({ "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true }));
    }

    #[track_caller]
    fn wire(&self, plugin: &Value) {
        let cidrs: Vec<_> = self.nodes().iter().map(|node| (node, self.pod_cidrs(node))).collect();
        let cidrs: Vec<_> =
            cidrs.into_iter().map(|(n, c)| (n, c.unwrap_or_else(|why| panic!("{why}")))).collect();
        for (node, own) in &cidrs {
            node.host().forward();
            for (address, cidr) in node.addresses().iter().zip(own) {
                self.router().ip(&format!("route replace {cidr} via {address}"));
                // In a rack nodes reach each other without the router.
                for (other, _) in cidrs.iter().filter(|(other, _)| neighbours(node, other)) {
                    other.host().ip(&format!("route replace {cidr} via {address}"));
                }
            }
            install(node, own, plugin);
        }
    }
}

fn neighbours(one: &Machine, other: &Machine) -> bool {
    one.name() != other.name() && one.segment() == other.segment()
}

/// Plugins first and the configuration last, by a rename: the runtime takes what it finds at once.
#[track_caller]
fn install(node: &Machine, cidrs: &[String; 2], plugin: &Value) {
    let ranges: Vec<_> = cidrs.iter().map(|cidr| json!([{ "subnet": cidr }])).collect();
    let routes = json!([{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]);
    let mut plugin = plugin.clone();
    plugin["ipam"] = json!({ "type": "host-local", "ranges": ranges, "routes": routes });
    let config = json!({
        "cniVersion": "1.0.0", "name": "stand-in",
        "plugins": [
            plugin,
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    let installed = place(node, &config.to_string());
    installed.unwrap_or_else(|why| panic!("can't install plugins on {}: {why}", node.name()));
}

fn place(node: &Machine, config: &str) -> Result<(), String> {
    let (plugins, configs) = (node.path("/opt/cni/bin")?, node.path("/etc/cni/net.d")?);
    let place = || {
        fs::create_dir_all(&plugins)?;
        fs::create_dir_all(&configs)?;
        for name in NEEDED {
            fs::copy(Path::new(PLUGINS).join(name), plugins.join(name))?;
        }
        fs::write(configs.join(".draft"), config)?;
        fs::rename(configs.join(".draft"), configs.join("10-stand-in.conflist"))
    };
    place().map_err(|e: std::io::Error| e.to_string())
}
