//! What the runtime says in the environment.

use std::net::IpAddr;

use corduroy_ipc::cni::{CniFailure, Mac, Pod, code};

/// `CNI_COMMAND` with the variables it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Add(Attachment),
    Del(Attachment),
    Check(Attachment),
    Gc,
    Status,
    Version,
}

/// Which interface of which container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// `CNI_CONTAINERID`.
    pub(crate) container_id: String,
    /// `CNI_IFNAME`.
    pub(crate) ifname: String,
    /// `CNI_NETNS`; empty only for DEL.
    pub(crate) netns: String,
    /// `CNI_ARGS`.
    pub(crate) args: Args,
}

/// What is of use in `CNI_ARGS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) pod: Option<Pod>,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) mac: Option<Mac>,
}

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment {
    pub(crate) command: Command,
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Environment {
    /// Reads and checks the variables the command needs; all that are missing are named at once.
    pub(crate) fn read(env: Lookup<'_>) -> Result<Self, CniFailure> {
        let name =
            env("CNI_COMMAND").filter(|name| !name.is_empty()).ok_or_else(|| missing(&["CNI_COMMAND"]))?;
        let command = match name.as_str() {
            "ADD" => Command::Add(attachment(env, true)?),
            "DEL" => Command::Del(attachment(env, false)?),
            "CHECK" => Command::Check(attachment(env, true)?),
            "GC" => Command::Gc,
            "STATUS" => Command::Status,
            "VERSION" => Command::Version,
            other => {
                let allowed = "one of ADD, DEL, CHECK, GC, STATUS, VERSION";
                return Err(invalid("CNI_COMMAND", other, allowed));
            }
        };
        Ok(Self { command })
    }
}

fn attachment(env: Lookup<'_>, needs_netns: bool) -> Result<Attachment, CniFailure> {
    let get = |name: &str| env(name).filter(|value| !value.is_empty());
    let mut needed = vec!["CNI_CONTAINERID", "CNI_IFNAME"];
    needed.extend(needs_netns.then_some("CNI_NETNS"));
    let absent: Vec<&str> = needed.into_iter().filter(|name| get(name).is_none()).collect();
    let (Some(container_id), Some(ifname)) = (get("CNI_CONTAINERID"), get("CNI_IFNAME")) else {
        return Err(missing(&absent));
    };
    if !absent.is_empty() {
        return Err(missing(&absent));
    }
    if !is_identifier(&container_id) {
        return Err(invalid("CNI_CONTAINERID", &container_id, IDENTIFIER));
    }
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if ifname.len() > 15 || ifname == "." || ifname == ".." || ifname.contains(bad) {
        let allowed = "at most 15 octets without '/', ':' and white space, not \".\" or \"..\"";
        return Err(invalid("CNI_IFNAME", &ifname, allowed));
    }
    let args = args(&get("CNI_ARGS").unwrap_or_default())?;
    Ok(Attachment { container_id, ifname, netns: get("CNI_NETNS").unwrap_or_default(), args })
}

/// What names of networks and containers are made of.
pub(crate) const IDENTIFIER: &str = "a letter or digit, then letters, digits, '_', '.' and '-'";

pub(crate) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// `KEY=value;KEY=value`. Keys that are not ours are somebody else's.
fn args(text: &str) -> Result<Args, CniFailure> {
    let mut args = Args::default();
    let mut pod = Pod { namespace: String::new(), name: String::new(), uid: String::new() };
    for pair in text.split(';').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(invalid("CNI_ARGS", pair, "pairs KEY=value with semicolons between them"));
        };
        match key {
            "K8S_POD_NAMESPACE" => value.clone_into(&mut pod.namespace),
            "K8S_POD_NAME" => value.clone_into(&mut pod.name),
            "K8S_POD_UID" => value.clone_into(&mut pod.uid),
            "IP" if !value.is_empty() => {
                let parsed = parse_ip(value);
                args.ip = Some(parsed.ok_or_else(|| invalid("CNI_ARGS IP", value, "an IP address"))?);
            }
            "MAC" if !value.is_empty() => {
                let parsed = value.parse();
                args.mac = Some(
                    parsed.map_err(|_| invalid("CNI_ARGS MAC", value, "a MAC, as in 02:00:5e:10:00:01"))?,
                );
            }
            _ => {}
        }
    }
    args.pod = (!pod.name.is_empty()).then_some(pod);
    Ok(args)
}

/// An address, or the address of a CIDR.
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    address.trim().parse().ok()
}

fn missing(names: &[&str]) -> CniFailure {
    let names = names.join(", ");
    CniFailure::new(code::INVALID_ENVIRONMENT, format!("required environment variables are missing: {names}"))
}

fn invalid(name: &str, value: &str, allowed: &str) -> CniFailure {
    let value = crate::config::shown(value);
    CniFailure::new(code::INVALID_ENVIRONMENT, format!("{name} is {value}, allowed is {allowed}"))
}
