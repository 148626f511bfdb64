//! `cordctl`: questions to the agent or the reflector of this machine, or to the cluster.
//!
//! ```text
//!            ┌─► client (status socket) ─► StatusAnswer ──────────────┐
//! arguments ─┼─► cluster (API server): NodeStatus, resources, pods ───┼─► show: table, JSON or YAML
//!            └─► doctor, bundle (this machine, and what else there is)┘
//! ```
//! Where an agent runs its socket is asked, elsewhere the cluster; `--cluster` and what belongs to it asks the cluster
//! anywhere. Nothing but a bundle's file is written. The exit code is 0 with an answer, 1 without one or with an error
//! found by `doctor` or `ipam check`, 2 when the question was none.

mod bundle;
mod client;
mod cluster;
mod doctor;
mod here;
mod policy;
mod show;
mod table;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use corduroy_datastore_kubernetes::Identity;
use ipnetwork::IpNetwork;

use client::{Client, NoAnswer};
use cluster::Cluster;
use show::Output;

/// Where an agent's or a reflector's status socket is, unless its configuration says otherwise.
const SOCKET: &str = "/run/corduroy/status.sock";

/// Shows what Corduroy does, on this machine or in a cluster, and why.
#[derive(Debug, Parser)]
#[command(name = "cordctl", version, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    place: Place,
    /// How to show it.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    question: Question,
}

/// Who is asked.
#[derive(Debug, Args)]
struct Place {
    /// The status socket of the agent or the reflector [default: /run/corduroy/status.sock, where it is].
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Ask the cluster, on a node of it, too.
    #[arg(long, global = true, conflicts_with = "socket")]
    cluster: bool,
    /// The kubeconfig to reach the cluster by [default: as kubectl].
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "socket")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "socket")]
    context: Option<String>,
}

impl Place {
    fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| PathBuf::from(SOCKET))
    }

    fn identity(&self) -> Identity {
        Identity { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }

    fn is_cluster(&self) -> bool {
        let asked = self.cluster || self.kubeconfig.is_some() || self.context.is_some();
        asked || self.socket.is_none() && !PathBuf::from(SOCKET).exists()
    }
}

#[derive(Debug, Subcommand)]
enum Question {
    /// How is this node, or how are all nodes of the cluster: sessions, kernel, pods, what needs a look.
    Status,
    /// The BGP peers, their sessions and routes.
    Peers {
        /// Only this one.
        address: Option<String>,
        /// Only those of this node of the cluster.
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
    /// The routes the speaker of this node has, path by path.
    Routes(here::Routes),
    /// Why a prefix is as it is: whose it is, each path and what put it out, the kernel, who is told. Of a cluster:
    /// pool, block, pod and node of an address, and who announces it.
    Explain {
        /// A prefix, or an address, which is looked up by longest match.
        #[arg(value_parser = here::prefix)]
        prefix: IpNetwork,
    },
    /// Addresses: pools, blocks, who has what.
    Ipam {
        #[command(subcommand)]
        what: IpamQuestion,
    },
    /// Policies: what becomes of a packet and why, what is in force.
    Policy {
        #[command(subcommand)]
        what: policy::PolicyQuestion,
    },
    /// What policies would change on this node if they were applied: chains, sets, pods, and the live connections they
    /// would cut. Nothing is applied.
    Plan(policy::Plan),
    /// What is wrong with this machine as a node, and what to do about it.
    Doctor(Root),
    /// An archive of everything an engineer asks for, without secrets.
    SupportBundle {
        /// The file to write [default: corduroy-support-TIME.tar.gz].
        file: Option<PathBuf>,
        #[command(flatten)]
        root: Root,
    },
}

#[derive(Debug, Args)]
struct Root {
    /// Where the node's files are: /host in a pod that `kubectl debug node/NAME` made.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum IpamQuestion {
    /// Pools, the blocks of all nodes, and the addresses in use.
    Show,
    /// Whether pools, blocks, nodes and pods of the cluster fit together.
    Check,
}

fn main() -> ExitCode {
    let Arguments { place, output, question } = Arguments::parse();
    match answer(&place, question, output) {
        // Whoever reads may have read enough.
        Ok((text, code)) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => code,
            Err(_) => ExitCode::FAILURE,
        },
        Err(why) => {
            eprintln!("cordctl: {why}");
            ExitCode::FAILURE
        }
    }
}

fn answer(place: &Place, question: Question, output: Output) -> Result<(String, ExitCode), NoAnswer> {
    let socket = place.socket();
    let client = Client::new(&socket);
    let code = |is_bad: bool| if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    let text = match question {
        Question::Doctor(Root { root }) => {
            let checks = doctor::judge(&doctor::gather(&root, &client));
            let text = output.show(&checks, |checks, _| doctor::show(checks))?;
            return Ok((text, code(doctor::has_errors(&checks))));
        }
        Question::Ipam { what: IpamQuestion::Check } => {
            let cluster = Cluster::connect(&place.identity())?;
            let (found, unseen) = cluster::check::examine(&cluster)?;
            let all = cluster::check::findings(&found, &unseen);
            let text = output.show(&all, |_, _| cluster::check::show_findings(&found, &unseen))?;
            return Ok((text, code(!found.is_empty())));
        }
        Question::SupportBundle { file, root: Root { root } } => {
            bundle::write(file, &client, Cluster::connect(&place.identity()), &root)?
        }
        Question::Peers { address, node: Some(node) } => {
            let cluster = Cluster::connect(&place.identity())?;
            of_cluster(&cluster, Question::Peers { address, node: Some(node) }, output)?
        }
        Question::Routes(routes) => here::routes(&client, routes, output, place.is_cluster())?,
        Question::Policy { what } => policy::answer(place, what, output)?,
        Question::Plan(plan) => policy::plan(place, plan, output)?,
        question if place.is_cluster() => {
            of_cluster(&Cluster::connect(&place.identity())?, question, output)?
        }
        question => here::answer(&client, question, output)?,
    };
    Ok((text, ExitCode::SUCCESS))
}

/// What the cluster answers.
fn of_cluster(cluster: &Cluster, question: Question, output: Output) -> Result<String, NoAnswer> {
    match question {
        Question::Status => {
            output.show(&cluster::nodes::nodes(cluster)?, |rows, wide| cluster::nodes::show(rows, wide))
        }
        Question::Peers { address, node } => {
            let reports = cluster.reports()?;
            let (all, left_out) = cluster::peers::sessions(reports, node.as_deref(), address.as_deref());
            output.show(&all, |all, _| cluster::peers::show(all, left_out))
        }
        Question::Explain { prefix } => output
            .show(&cluster::address::explain(cluster, prefix.ip())?, |known, _| {
                cluster::address::show(known)
            }),
        Question::Ipam { .. } => output.show(&cluster::ipam::usage(cluster)?, cluster::ipam::show),
        Question::Routes(_)
        | Question::Policy { .. }
        | Question::Plan(_)
        | Question::Doctor(_)
        | Question::SupportBundle { .. } => Err(NoAnswer::Failed("this is asked of a node".to_owned())),
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
            assert_eq!((arguments.output, arguments.place.socket().to_str()), (Output::Json, Some("/s")));
            assert!(!arguments.place.is_cluster());
        }
    }

    #[test]
    fn a_kubeconfig_or_context_means_the_cluster() {
        for line in
            ["cordctl --kubeconfig /k status", "cordctl status --context c", "cordctl --cluster status"]
        {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert!(arguments.place.is_cluster(), "{line}");
        }
        assert!(refusal("cordctl --socket /s --cluster status").contains("cannot be used with"));
    }

    #[test]
    fn what_is_no_prefix_is_refused_with_the_value() {
        let why = refusal("cordctl explain 10.0.0.0/33");
        assert!(why.contains("10.0.0.0/33") && why.contains("10.244.0.0/26"), "{why}");
    }

    #[test]
    fn an_unknown_output_is_refused_with_what_is_allowed() {
        let why = refusal("cordctl peers -o xml");
        assert!(why.contains("xml") && why.contains("table, wide, json, yaml"), "{why}");
    }

    #[test]
    fn what_comes_from_a_peer_and_what_goes_to_one_are_two_questions() {
        assert!(refusal("cordctl routes --from 10.0.0.1 --to 10.0.0.2").contains("cannot be used with"));
    }
}
