//! `cordctl`: questions to the agent or the reflector of this machine.
//!
//! ```text
//! arguments ─► StatusRequest ─► client (status socket) ─► StatusAnswer ─► show: table, or JSON as it came
//! ```
//! It reads; it changes nothing. The exit code is 0 with an answer, 1 without one, 2 when the question was none.

mod client;
mod show;
mod table;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use corduroy_ipc::status::{Route, RouteQuery, StatusAnswer, StatusRequest};
use ipnetwork::IpNetwork;

use client::{Client, NoAnswer};

/// Shows what Corduroy does on this machine, and why.
#[derive(Debug, Parser)]
#[command(name = "cordctl", version, arg_required_else_help = true)]
struct Arguments {
    /// The status socket of the agent or the reflector.
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/corduroy/status.sock")]
    socket: PathBuf,
    /// How to show it.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    question: Question,
}

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// Everything, for programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// How is this node: sessions, kernel, pods, what needs a look.
    Status,
    /// The BGP peers, their sessions and routes.
    Peers {
        /// Only this one.
        address: Option<String>,
    },
    /// The routes the speaker has, path by path.
    Routes(Routes),
    /// Why a prefix is as it is: whose it is, each path and what put it out, the kernel, who is told.
    Explain {
        /// A prefix, or an address, which is looked up by longest match.
        #[arg(value_parser = prefix)]
        prefix: IpNetwork,
    },
    /// Addresses: pools, blocks, who has what.
    Ipam {
        #[command(subcommand)]
        what: IpamQuestion,
    },
}

#[derive(Debug, clap::Args)]
struct Routes {
    /// Only this prefix and what is inside it.
    #[arg(value_parser = prefix)]
    prefix: Option<IpNetwork>,
    /// Only routes from this peer, as they came.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "to")]
    from: Option<String>,
    /// Only routes that are sent to this peer, as they are sent.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Only the best.
    #[arg(long)]
    best: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum IpamQuestion {
    /// Pools, the blocks of all nodes, and the addresses in use on this one.
    Show,
}

fn prefix(text: &str) -> Result<IpNetwork, String> {
    text.parse()
        .map_err(|_| "a prefix such as 10.244.0.0/26 or fd00:244::/122, or an address, is wanted".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let client = Client::new(&arguments.socket);
    match answer(&client, arguments.question, arguments.output) {
        // Whoever reads may have read enough.
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(why) => {
            eprintln!("cordctl: {why}");
            ExitCode::FAILURE
        }
    }
}

fn answer(client: &Client<'_>, question: Question, output: Output) -> Result<String, NoAnswer> {
    let wide = output == Output::Wide;
    let json = output == Output::Json;
    match question {
        Question::Status => match client.ask(StatusRequest::Status)? {
            StatusAnswer::Status(status) if json => show::json(&status),
            StatusAnswer::Status(status) => Ok(show::status(&status)),
            other => Err(NoAnswer::unexpected(other)),
        },
        Question::Peers { address } => match client.ask(StatusRequest::Peers)? {
            StatusAnswer::Peers { mut peers } => {
                if let Some(wanted) = address {
                    peers.retain(|peer| peer.address == wanted);
                    if peers.is_empty() {
                        return Err(NoAnswer::NoSuchPeer(wanted));
                    }
                }
                if json { show::json(&peers) } else { Ok(show::peers(&peers, wide)) }
            }
            other => Err(NoAnswer::unexpected(other)),
        },
        Question::Routes(routes) => {
            let rows = all_routes(client, routes)?;
            if json { show::json(&rows) } else { Ok(show::routes(&rows, wide)) }
        }
        Question::Explain { prefix } => match client.ask(StatusRequest::Explain { net: prefix })? {
            StatusAnswer::Explain(why) if json => show::json(&why),
            StatusAnswer::Explain(why) => Ok(show::explanation(&why)),
            other => Err(NoAnswer::unexpected(other)),
        },
        Question::Ipam { what: IpamQuestion::Show } => match client.ask(StatusRequest::Ipam)? {
            StatusAnswer::Ipam(ipam) if json => show::json(&ipam),
            StatusAnswer::Ipam(ipam) => Ok(show::ipam(&ipam)),
            other => Err(NoAnswer::unexpected(other)),
        },
    }
}

/// Page after page.
fn all_routes(client: &Client<'_>, wanted: Routes) -> Result<Vec<Route>, NoAnswer> {
    let Routes { prefix, from, to, best } = wanted;
    let mut query = RouteQuery { within: prefix, from, to, best, after: None, limit: 0 };
    let mut all = Vec::new();
    loop {
        match client.ask(StatusRequest::Routes(query.clone()))? {
            StatusAnswer::Routes(page) => {
                all.extend(page.routes);
                if page.next.is_none() {
                    return Ok(all);
                }
                query.after = page.next;
            }
            other => return Err(NoAnswer::unexpected(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        Arguments::try_parse_from(line.split(' ')).unwrap_err().to_string()
    }

    #[test]
    fn options_stand_before_or_behind_the_question() {
        for line in ["cordctl -o json --socket /s peers", "cordctl peers -o json --socket /s"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!((arguments.output, arguments.socket.to_str()), (Output::Json, Some("/s")));
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused_with_the_value() {
        let why = refusal("cordctl explain 10.0.0.0/33");
        assert!(why.contains("10.0.0.0/33") && why.contains("10.244.0.0/26"), "{why}");
    }

    #[test]
    fn an_unknown_output_is_refused_with_what_is_allowed() {
        let why = refusal("cordctl peers -o yaml");
        assert!(why.contains("yaml") && why.contains("table, wide, json"), "{why}");
    }

    #[test]
    fn what_comes_from_a_peer_and_what_goes_to_one_are_two_questions() {
        assert!(refusal("cordctl routes --from 10.0.0.1 --to 10.0.0.2").contains("cannot be used with"));
    }
}
