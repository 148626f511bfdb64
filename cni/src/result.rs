//! The result of ADD in the version the configuration has, merged into what plugins before us in the chain
//! said.

use std::str::FromStr;

use corduroy_ipc::cni::{Added, CniFailure, Interface, Mac};
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

/// The addresses that `prevResult` gives to this attachment's interface in the container: what CHECK has to
/// find.
pub(crate) fn own_ips(config: &Config, attachment: &Attachment) -> Result<Vec<IpNetwork>, CniFailure> {
    let Some(prev) = &config.prev_result else {
        return Err(invalid("prevResult", &Value::Null, "the result of the ADD, which CHECK compares with"));
    };
    let field = |name: &str| prev.get(name).and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    let is_ours = |interface: &Value| {
        let text = |name: &str| interface.get(name).and_then(Value::as_str).unwrap_or_default();
        text("name") == attachment.ifname && !text("sandbox").is_empty()
    };
    let Some(ours) = field("interfaces").iter().position(is_ours) else {
        let interfaces = prev.get("interfaces").unwrap_or(&Value::Null);
        let allowed = format!("a list that has {} with a sandbox", attachment.ifname);
        return Err(invalid("prevResult.interfaces", interfaces, &allowed));
    };
    let of_ours = |ip: &&Value| ip.get("interface").and_then(Value::as_u64) == Some(ours as u64);
    let parse = |ip: &Value| {
        let text = ip.get("address").and_then(Value::as_str).unwrap_or_default();
        IpNetwork::from_str(text).map_err(|_| invalid("prevResult.ips", ip, "an address with its length"))
    };
    field("ips").iter().filter(of_ours).map(parse).collect()
}
