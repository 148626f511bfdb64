//! Questions about policies: to the agent of this machine, or a trace by what the cluster's API server has.

use std::io::{self, Write as _};
use std::time::Duration;
use std::{fs, thread};

use corduroy_agent_core::explain::{trace, world};
use corduroy_api::Kind;
use corduroy_api::policy::Protocol;
use corduroy_ipc::policy::{PolicyAnswer, PolicyRequest, TraceQuery};
use corduroy_ipc::status::{StatusAnswer, StatusRequest};

use crate::Place;
use crate::client::{Client, NoAnswer};
use crate::cluster::Cluster;
use crate::show::{Output, policy as show};

/// How often `--follow` asks.
const POLL: Duration = Duration::from_millis(500);

/// What is asked about policies.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum PolicyQuestion {
    /// What becomes of a packet: which policy and rule decides, in each direction that this node judges. With
    /// --cluster, or away from a node, both directions.
    Trace(Trace),
    /// The policies in force on this node, in the order in which they are asked, with what their rules have counted;
    /// what is broken, and which rules are there for nothing.
    Show {
        /// Only this one: its name, NAMESPACE/NAME, or with its kind as in netpol/shop/web.
        name: Option<String>,
    },
    /// The packets that policies denied last, with the pods and the rule; of a flood, ten a second.
    Drops {
        /// Go on with those to come.
        #[arg(long, short)]
        follow: bool,
    },
}

/// What is planned.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// YAML documents of policy kinds; - is standard input.
    #[arg(short, long, value_name = "FILE")]
    file: String,
    /// As if they were taken away.
    #[arg(long)]
    delete: bool,
}

/// The packet.
#[derive(Debug, clap::Args)]
pub(crate) struct Trace {
    /// Who sends it.
    #[arg(long, value_name = "NAMESPACE/POD|ADDRESS")]
    from: String,
    /// Who is to get it.
    #[arg(long, value_name = "NAMESPACE/POD|ADDRESS")]
    to: String,
    /// The receiver's port.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// tcp, udp, sctp, icmp, icmpv6, udplite or an IANA number.
    #[arg(long, value_parser = protocol, default_value = "tcp")]
    protocol: u8,
    /// The sender's port [default: one of those that are handed out].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    source_port: Option<u16>,
    /// Of ICMP, the type of message and its code [default: an echo request].
    #[arg(long, value_name = "TYPE[/CODE]", value_parser = icmp)]
    icmp: Option<(u8, u8)>,
    /// By IPv4.
    #[arg(short = '4', conflicts_with = "v6")]
    v4: bool,
    /// By IPv6.
    #[arg(short = '6')]
    v6: bool,
}

impl From<Trace> for TraceQuery {
    fn from(trace: Trace) -> Self {
        let Trace { from, to, port, protocol, source_port, icmp, v4, v6 } = trace;
        let family = if v4 { Some(4) } else { v6.then_some(6) };
        Self { from, to, protocol, port, source_port, icmp, family }
    }
}

/// A protocol by its name, however it is written, or by its number.
fn protocol(text: &str) -> Result<u8, String> {
    const NAMES: [&str; 6] = ["TCP", "UDP", "SCTP", "ICMP", "ICMPv6", "UDPLite"];
    let name = NAMES.iter().find(|name| name.eq_ignore_ascii_case(text)).copied().unwrap_or(text);
    let found = Protocol::named(name).map(|protocol| protocol.0);
    found.ok_or_else(|| {
        "tcp, udp, sctp, icmp, icmpv6, udplite, or a number from 1 to 255 is wanted".to_owned()
    })
}

/// `8` or `3/4`.
fn icmp(text: &str) -> Result<(u8, u8), String> {
    let (kind, code) = text.split_once('/').unwrap_or((text, "0"));
    let both = kind.parse().ok().zip(code.parse().ok());
    both.ok_or_else(|| "TYPE or TYPE/CODE is wanted, each from 0 to 255, such as 8 or 3/4".to_owned())
}

/// Asks.
pub(crate) fn answer(place: &Place, question: PolicyQuestion, output: Output) -> Result<String, NoAnswer> {
    let socket = place.socket();
    let client = Client::new(&socket);
    match question {
        PolicyQuestion::Trace(query) => {
            let query = query.into();
            let found = match place.is_cluster() {
                true => PolicyAnswer::Trace(in_cluster(&Cluster::connect(&place.identity())?, &query)?),
                false => ask(&client, PolicyRequest::Trace(query))?,
            };
            match found {
                PolicyAnswer::Trace(trace) => output.show(&trace, show::trace),
                other => Err(NoAnswer::unexpected(StatusAnswer::Policy(other))),
            }
        }
        PolicyQuestion::Show { .. } if place.is_cluster() => {
            Err(of_a_node("policies in force are", "policy show"))
        }
        PolicyQuestion::Show { name } => match ask(&client, PolicyRequest::Show { name })? {
            PolicyAnswer::Show(all) => output.show(&all, show::show),
            other => Err(NoAnswer::unexpected(StatusAnswer::Policy(other))),
        },
        PolicyQuestion::Drops { .. } if place.is_cluster() => Err(of_a_node("drops are", "policy drops")),
        PolicyQuestion::Drops { follow } => drops(&client, follow, output),
    }
}

/// Asks what would change.
pub(crate) fn plan(place: &Place, Plan { file, delete }: Plan, output: Output) -> Result<String, NoAnswer> {
    if place.is_cluster() {
        return Err(of_a_node("plans are", "plan -f FILE"));
    }
    let read = match file.as_str() {
        "-" => io::read_to_string(io::stdin()),
        file => fs::read_to_string(file),
    };
    let documents = read.map_err(|why| NoAnswer::Failed(format!("--file {file}: {why}")))?;
    let socket = place.socket();
    match ask(&Client::new(&socket), PolicyRequest::Plan { documents, delete })? {
        PolicyAnswer::Plan(plan) => output.show(&plan, |plan, _| show::plan(plan)),
        other => Err(NoAnswer::unexpected(StatusAnswer::Policy(other))),
    }
}

/// What was denied; with `follow` for as long as somebody reads it.
fn drops(client: &Client<'_>, follow: bool, output: Output) -> Result<String, NoAnswer> {
    let mut last = 0;
    let mut lost = None;
    loop {
        let mut found = match ask(client, PolicyRequest::Drops { after: last })? {
            PolicyAnswer::Drops(found) => found,
            other => return Err(NoAnswer::unexpected(StatusAnswer::Policy(other))),
        };
        last = found.last;
        if !follow {
            return output.show(&found, |found, _| show::drops(found));
        }
        // Said once each: what was lost before is no news.
        let all = lost.replace(found.lost);
        found.lost -= all.unwrap_or(0).min(found.lost);
        let is_news = !found.drops.is_empty() || found.lost > 0;
        if is_news || all.is_none() {
            let text = output.show(&found, |found, _| show::followed(found))?;
            let mut out = io::stdout();
            // Whoever reads may have read enough.
            if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
                return Ok(String::new());
            }
        }
        thread::sleep(POLL);
    }
}

fn ask(client: &Client<'_>, request: PolicyRequest) -> Result<PolicyAnswer, NoAnswer> {
    match client.ask(StatusRequest::Policy(request))? {
        StatusAnswer::Policy(answer) => Ok(answer),
        other => Err(NoAnswer::unexpected(other)),
    }
}

fn of_a_node(what: &str, question: &str) -> NoAnswer {
    NoAnswer::Failed(format!(
        "{what} asked of a node: kubectl -n corduroy-system exec POD -- /cordctl {question}, where POD is the agent's \
         on that node (kubectl -n corduroy-system get pods -o wide)"
    ))
}

/// Judges by what the API server has, both ends as on their nodes.
fn in_cluster(cluster: &Cluster, query: &TraceQuery) -> Result<corduroy_ipc::policy::PolicyTrace, NoAnswer> {
    let mut resources = cluster.resources(&world::KINDS)?;
    if world::names_services(&resources) {
        resources.extend(cluster.resources(&[Kind::ServiceEndpoints])?);
    }
    let known = world::world(resources, [&query.from, &query.to]);
    let mut trace = trace::trace(&known, query, &[]).map_err(|why| NoAnswer::Failed(why.to_string()))?;
    trace
        .remarks
        .push("by what the API server has now; HostEndpoints are judged on their nodes only".to_owned());
    Ok(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_named_as_people_write_it_or_by_number() {
        assert_eq!(["tcp", "UDP", "icmpv6", "47"].map(protocol), [Ok(6), Ok(17), Ok(58), Ok(47)]);
        for bad in ["0", "256", "http", ""] {
            assert!(protocol(bad).unwrap_err().contains("sctp"), "{bad}");
        }
    }

    #[test]
    fn an_icmp_message_is_a_type_or_a_type_and_a_code() {
        assert_eq!((icmp("8"), icmp("3/4")), (Ok((8, 0)), Ok((3, 4))));
        for bad in ["", "3/", "/4", "300", "3/4/5"] {
            assert!(icmp(bad).unwrap_err().contains("TYPE/CODE"), "{bad}");
        }
    }
}
