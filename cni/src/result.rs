//! The result of ADD in the version the configuration has, merged into what plugins before us in the chain
//! said.

use std::str::FromStr;

use corduroy_ipc::cni::{Added, CniFailure, Interface, Mac, Route};
use ipnetwork::IpNetwork;
use serde_json::{Map, Value, json};

use crate::config::{Config, invalid};
use crate::env::Attachment;

/// The JSON of a successful ADD.
pub(crate) fn added(config: &Config, attachment: &Attachment, added: &Added) -> Result<String, CniFailure> {
    let mut result = config.prev_result.clone().unwrap_or_default();
    result.insert("cniVersion".into(), json!(config.version));
    // The interfaces of the plugins before us keep their numbers; ours are counted after them.
    let interfaces = list(&mut result, "interfaces")?;
    let inside = interfaces.len() + 1;
    interfaces.push(interface(config, &added.host, None));
    interfaces.push(interface(config, &added.container, Some(&attachment.netns)));
    let ips = list(&mut result, "ips")?;
    for ip in &added.ips {
        let mut entry = json!({ "address": ip.address, "gateway": ip.gateway, "interface": inside });
        if config.version.starts_with("0.") {
            entry["version"] = json!(if ip.address.is_ipv4() { "4" } else { "6" });
        }
        ips.push(entry);
    }
    let routes = list(&mut result, "routes")?;
    for route in &added.routes {
        let mut entry = json!({ "dst": route.dst });
        if let Some(gw) = route.gw {
            entry["gw"] = json!(gw);
        }
        routes.push(entry);
    }
    if !result.contains_key("dns") {
        result.insert("dns".into(), config.dns.clone().unwrap_or_else(|| json!({})));
    }
    Ok(Value::Object(result).to_string())
}

fn interface(config: &Config, of: &Interface, sandbox: Option<&str>) -> Value {
    let mac: Mac = of.mac;
    let mut entry = json!({ "name": of.name, "mac": mac });
    if let Some(sandbox) = sandbox {
        entry["sandbox"] = json!(sandbox);
    }
    if config.version == crate::config::NEWEST {
        entry["mtu"] = json!(of.mtu);
    }
    entry
}

/// The list of this name, empty if it is missing.
fn list<'a>(result: &'a mut Map<String, Value>, name: &str) -> Result<&'a mut Vec<Value>, CniFailure> {
    let value = result.entry(name).or_insert(Value::Null);
    if value.is_null() {
        *value = json!([]);
    }
    match value {
        Value::Array(list) => Ok(list),
        other => Err(invalid(&format!("prevResult.{name}"), other, "a list")),
    }
}

/// What `prevResult` says of this attachment: what CHECK has to find.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The interface's MAC, if it is told.
    pub(crate) mac: Option<Mac>,
    /// The MAC of the host's end, if it is told.
    pub(crate) host_mac: Option<Mac>,
    /// The addresses of the interface.
    pub(crate) ips: Vec<IpNetwork>,
    /// The routes by our gateways.
    pub(crate) routes: Vec<Route>,
}

impl Expected {
    /// Reads it.
    pub(crate) fn read(config: &Config, attachment: &Attachment) -> Result<Self, CniFailure> {
        let Some(prev) = &config.prev_result else {
            return Err(invalid(
                "prevResult",
                &Value::Null,
                "the result of the ADD, which CHECK compares with",
            ));
        };
        let field =
            |name: &str| prev.get(name).and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
        let interfaces = field("interfaces");
        let is_ours = |interface: &&Value| {
            text(interface, "name") == attachment.ifname && !text(interface, "sandbox").is_empty()
        };
        let Some((at, ours)) = interfaces.iter().enumerate().find(|(_, interface)| is_ours(interface)) else {
            let interfaces = prev.get("interfaces").unwrap_or(&Value::Null);
            let allowed = format!("a list that has {} with a sandbox", attachment.ifname);
            return Err(invalid("prevResult.interfaces", interfaces, &allowed));
        };
        let host = config.key(attachment).host_interface();
        let is_host =
            |interface: &&Value| text(interface, "name") == host && text(interface, "sandbox").is_empty();
        let mac = |interface: &Value| text(interface, "mac").parse().ok();
        let of_ours = |ip: &&Value| ip.get("interface").and_then(Value::as_u64) == Some(at as u64);
        let parse = |ip: &Value| {
            let parsed = IpNetwork::from_str(text(ip, "address"));
            parsed.map_err(|_| invalid("prevResult.ips", ip, "an address with its length"))
        };
        let ips: Vec<IpNetwork> = field("ips").iter().filter(of_ours).map(parse).collect::<Result<_, _>>()?;
        let gateways: Vec<&str> = field("ips").iter().filter(of_ours).map(|ip| text(ip, "gateway")).collect();
        // A route by another gateway is of another plugin, which has a CHECK of its own.
        let by_us = |route: &&Value| gateways.contains(&text(route, "gw"));
        let route = |route: &Value| {
            let dst = text(route, "dst").parse().ok()?;
            Some(Route { dst, gw: Some(text(route, "gw").parse().ok()?) })
        };
        Ok(Self {
            mac: mac(ours),
            host_mac: interfaces.iter().find(is_host).and_then(mac),
            ips,
            routes: field("routes").iter().filter(by_us).filter_map(route).collect(),
        })
    }
}

/// A text in an object; empty if it is missing or no text.
fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}
