//! The plugin `loopback`, which is ours called by that name: a runtime calls it for every pod before any network's
//! plugin, to have the container's `lo` set up, and starts no pod where there is none.
//!
//! It is no part of a network: no agent is asked, there is nothing to configure, and nothing is left to undo, since
//! `lo` goes with the namespace. Names, versions, results and errors are as for any plugin.

use std::os::fd::AsFd;

use corduroy_ipc::cni::{CniFailure, code};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::env::{Attachment, Command};
use crate::inside::Inside;
use crate::netlink::{RTM_SETLINK, Rtnetlink, raised};
use crate::netns;

/// The name by which we are this plugin.
pub(crate) const NAME: &str = "loopback";
/// The interface every network namespace has.
const LO: &str = "lo";

/// Serves a call that asks for more than versions.
pub(crate) fn serve(config: &Config, command: &Command) -> Result<String, CniFailure> {
    match command {
        Command::Add(attachment) => add(config, attachment),
        Command::Check(attachment) => check(attachment).map(|()| String::new()),
        Command::Del(_) | Command::Gc | Command::Status | Command::Version => Ok(String::new()),
    }
}

/// The calling thread is in the container's namespace afterwards.
fn add(config: &Config, attachment: &Attachment) -> Result<String, CniFailure> {
    let socket = enter(attachment)?;
    let refused = |doing: &str| {
        let why = format!("{LO} in the container can't be {doing}");
        move |errno: rustix::io::Errno| CniFailure::new(code::IO, why).details(errno.to_string())
    };
    let body = raised(LO).unwrap_or_default();
    socket.perform(RTM_SETLINK, &body).map_err(refused("set up"))?;
    let lo = Inside::read(LO).map_err(refused("read"))?.unwrap_or_default();
    Ok(result(config, attachment, &lo))
}

/// What a plugin before us said, or else what there is.
fn result(config: &Config, attachment: &Attachment, lo: &Inside) -> String {
    let mut result = config.prev_result.clone().unwrap_or_else(|| {
        let address = |ip: &ipnetwork::IpNetwork| {
            let mut entry = json!({ "address": ip, "interface": 0 });
            if config.version.starts_with("0.") {
                entry["version"] = json!(if ip.is_ipv4() { "4" } else { "6" });
            }
            entry
        };
        let mac = lo.mac.map_or(Value::Null, |mac| json!(mac));
        let interfaces = json!([{ "name": LO, "mac": mac, "sandbox": attachment.netns }]);
        let ips: Vec<_> = lo.ips.iter().map(address).collect();
        Map::from_iter([("interfaces".to_owned(), interfaces), ("ips".to_owned(), json!(ips))])
    });
    result.insert("cniVersion".to_owned(), json!(config.version));
    Value::Object(result).to_string()
}

fn check(attachment: &Attachment) -> Result<(), CniFailure> {
    enter(attachment)?;
    match Inside::read(LO) {
        Ok(Some(lo)) if lo.is_up => Ok(()),
        Ok(_) => Err(CniFailure::new(code::CHECK_FAILED, format!("{LO} in the container is down"))),
        Err(error) => {
            let why = "the container's namespace can't be read";
            Err(CniFailure::new(code::IO, why).details(error.to_string()))
        }
    }
}

fn enter(attachment: &Attachment) -> Result<Rtnetlink, CniFailure> {
    let netns = netns::open(&attachment.netns)?;
    let entered = move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network));
    entered.and_then(|()| Rtnetlink::open()).map_err(|error| {
        let why = format!("CNI_NETNS {} can't be entered", attachment.netns);
        CniFailure::new(code::INVALID_NETNS, why).details(error.to_string())
    })
}
