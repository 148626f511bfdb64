//! The network configuration on standard input.
//!
//! Beside the specification's fields it may have: `socket` and `runDir` (where the agent is), `mtu`, and
//! `ipam.pools` (names of IPPools to choose from). Capabilities: `ips` and `mac`.

use std::net::IpAddr;

use corduroy_ipc::cni::{AttachmentKey, CniFailure, Mac, ValidAttachment, code};
use serde_json::{Map, Value, json};

use crate::env::{Attachment, Command, Environment, IDENTIFIER, is_identifier, parse_ip};

/// The newest version of the specification we speak.
pub(crate) const NEWEST: &str = "1.1.0";
/// All of them, oldest first.
pub(crate) const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", NEWEST];

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// `cniVersion`.
    pub(crate) version: String,
    /// `name`.
    pub(crate) name: String,
    /// The agent's socket.
    pub(crate) socket: String,
    /// The agent's directory for what lasts as long as the boot.
    pub(crate) run_dir: String,
    pub(crate) mtu: Option<u32>,
    pub(crate) pools: Vec<String>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) mac: Option<Mac>,
    /// `dns`, passed on into the result.
    pub(crate) dns: Option<Value>,
    /// `prevResult`, if the plugin is not the first of its chain.
    pub(crate) prev_result: Option<Map<String, Value>>,
    /// `cni.dev/valid-attachments`.
    valid: Option<Value>,
}

/// The answer to VERSION.
pub(crate) fn versions(stdin: &[u8]) -> Result<String, CniFailure> {
    let given = if stdin.trim_ascii().is_empty() { Value::Null } else { parse(stdin)? };
    let version = given.get("cniVersion").and_then(Value::as_str).unwrap_or(NEWEST);
    Ok(json!({ "cniVersion": version, "supportedVersions": VERSIONS }).to_string())
}

impl Config {
    /// Reads and checks it for a command.
    pub(crate) fn read(stdin: &[u8], environment: &Environment) -> Result<Self, CniFailure> {
        let Value::Object(root) = parse(stdin)? else {
            return Err(CniFailure::new(code::DECODE, "the network configuration is not a JSON object"));
        };
        let fields = Fields { of: &root, path: "" };
        let version = fields.text("cniVersion")?.unwrap_or("0.1.0").to_owned();
        check_version(&version, &environment.command)?;
        let name = fields.text("name")?.unwrap_or_default().to_owned();
        if !is_identifier(&name) {
            return Err(invalid("name", &json!(name), IDENTIFIER));
        }
        let run_dir = fields.path("runDir")?.unwrap_or("/run/corduroy").to_owned();
        let socket = fields.path("socket")?.map_or_else(|| format!("{run_dir}/cni.sock"), str::to_owned);
        let mtu = match fields.value("mtu") {
            None => None,
            // The least an IPv6 link may have (RFC 8200 §5), and the most a veth takes.
            Some(value) => match value.as_u64().and_then(|mtu| u32::try_from(mtu).ok()) {
                Some(0) => None,
                Some(mtu) if (1280..=65535).contains(&mtu) => Some(mtu),
                _ => {
                    return Err(invalid(
                        "mtu",
                        value,
                        "octets from 1280 to 65535, or 0 for the agent's choice",
                    ));
                }
            },
        };
        let (ips, mac) = wishes(&fields, environment)?;
        Ok(Self {
            version,
            name,
            socket,
            run_dir,
            mtu,
            pools: fields.inner("ipam")?.map_or(Ok(Vec::new()), |ipam| ipam.texts("pools"))?,
            ips,
            mac,
            dns: root.get("dns").filter(|dns| dns.as_object().is_some_and(|dns| !dns.is_empty())).cloned(),
            prev_result: fields.inner("prevResult")?.map(|prev| prev.of.clone()),
            valid: root.get("cni.dev/valid-attachments").filter(|value| !value.is_null()).cloned(),
        })
    }

    /// What the agent knows the attachment by.
    pub(crate) fn key(&self, attachment: &Attachment) -> AttachmentKey {
        AttachmentKey {
            network: self.name.clone(),
            container_id: attachment.container_id.clone(),
            ifname: attachment.ifname.clone(),
        }
    }

    /// The attachments GC has to keep. The field has to be there: a list that was forgotten is not an empty
    /// one.
    pub(crate) fn valid_attachments(&self) -> Result<Vec<ValidAttachment>, CniFailure> {
        let name = "cni.dev/valid-attachments";
        let allowed = "a list of objects with containerID and ifname";
        let list = self.valid.as_ref().and_then(Value::as_array);
        let list = list.ok_or_else(|| invalid(name, self.valid.as_ref().unwrap_or(&Value::Null), allowed))?;
        let entry = |value: &Value| {
            let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
            let (container_id, ifname) = (text("containerID"), text("ifname"));
            container_id.zip(ifname).map(|(container_id, ifname)| ValidAttachment { container_id, ifname })
        };
        list.iter().map(|value| entry(value).ok_or_else(|| invalid(name, value, allowed))).collect()
    }
}

fn parse(stdin: &[u8]) -> Result<Value, CniFailure> {
    serde_json::from_slice(stdin).map_err(|error| {
        CniFailure::new(code::DECODE, "the network configuration is not JSON").details(error.to_string())
    })
}

fn check_version(version: &str, command: &Command) -> Result<(), CniFailure> {
    // CHECK came with 0.4.0, GC and STATUS with 1.1.0.
    let since = match command {
        Command::Check(_) => "0.4.0",
        Command::Gc | Command::Status => "1.1.0",
        Command::Add(_) | Command::Del(_) | Command::Version => "0.3.1",
    };
    let usable: Vec<&str> = VERSIONS.into_iter().skip_while(|v| *v != since).collect();
    if usable.contains(&version) {
        return Ok(());
    }
    let (given, usable) = (shown(version), usable.join(", "));
    let why = format!("cniVersion is {given}, this command needs one of {usable}");
    Err(CniFailure::new(code::INCOMPATIBLE_VERSION, why))
}

/// Addresses and MAC that were asked for: by capability, else by `args.cni`, else by `CNI_ARGS`.
fn wishes(fields: &Fields<'_>, env: &Environment) -> Result<(Vec<IpAddr>, Option<Mac>), CniFailure> {
    let runtime = fields.inner("runtimeConfig")?;
    let args = fields.inner("args")?.map_or(Ok(None), |args| args.inner("cni"))?;
    let cni_args = match &env.command {
        Command::Add(attachment) => Some(&attachment.args),
        _ => None,
    };
    let mut ips = Vec::new();
    let mut mac = None;
    for source in [&runtime, &args].into_iter().flatten() {
        if ips.is_empty() {
            for text in source.texts("ips")? {
                let ip = parse_ip(&text);
                ips.push(
                    ip.ok_or_else(|| invalid("ips", &json!(text), "IP addresses, with or without a length"))?,
                );
            }
        }
        if let (None, Some(text)) = (mac, source.text("mac")?) {
            mac = Some(
                text.parse().map_err(|_| invalid("mac", &json!(text), "a MAC, as in 02:00:5e:10:00:01"))?,
            );
        }
    }
    if ips.is_empty() {
        ips.extend(cni_args.and_then(|args| args.ip));
    }
    Ok((ips, mac.or(cni_args.and_then(|args| args.mac))))
}

/// A JSON object whose fields are read with errors that name them.
struct Fields<'a> {
    of: &'a Map<String, Value>,
    path: &'a str,
}

impl<'a> Fields<'a> {
    /// A field that is there and not null.
    fn value(&self, name: &str) -> Option<&'a Value> {
        self.of.get(name).filter(|value| !value.is_null())
    }
    fn text(&self, name: &str) -> Result<Option<&'a str>, CniFailure> {
        let text = |value: &'a Value| value.as_str().ok_or_else(|| self.invalid(name, value, "a text"));
        self.value(name).map(text).transpose()
    }
    fn path(&self, name: &str) -> Result<Option<&'a str>, CniFailure> {
        match self.text(name)? {
            Some(path) if !path.starts_with('/') => Err(self.invalid(name, &json!(path), "an absolute path")),
            path => Ok(path.map(|path| path.trim_end_matches('/'))),
        }
    }
    fn texts(&self, name: &str) -> Result<Vec<String>, CniFailure> {
        let Some(value) = self.value(name) else { return Ok(Vec::new()) };
        let texts = value.as_array().map(|list| list.iter().map(|v| v.as_str().map(str::to_owned)));
        texts.and_then(Iterator::collect).ok_or_else(|| self.invalid(name, value, "a list of texts"))
    }
    fn inner(&self, name: &'a str) -> Result<Option<Fields<'a>>, CniFailure> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let of = value.as_object().ok_or_else(|| self.invalid(name, value, "an object"))?;
        Ok(Some(Fields { of, path: name }))
    }
    fn invalid(&self, name: &str, value: &Value, allowed: &str) -> CniFailure {
        let dot = if self.path.is_empty() { "" } else { "." };
        invalid(&format!("{}{dot}{name}", self.path), value, allowed)
    }
}

/// A field says what it may not.
pub(crate) fn invalid(field: &str, value: &Value, allowed: &str) -> CniFailure {
    let value = if value.is_null() { "missing".to_owned() } else { cut(&value.to_string()) };
    CniFailure::new(code::INVALID_CONFIG, format!("{field} is {value}, allowed is {allowed}"))
}

/// A text in quotes, with what is not printable escaped, and not longer than a line.
pub(crate) fn shown(text: &str) -> String {
    cut(&format!("{text:?}"))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
