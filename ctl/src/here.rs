//! What the agent or the reflector of this machine answers.

use corduroy_ipc::status::{Route, RouteQuery, StatusAnswer, StatusRequest};
use ipnetwork::IpNetwork;

use crate::Question;
use crate::client::{Client, NoAnswer};
use crate::show::{self, Output};

/// Which routes.
#[derive(Debug, clap::Args)]
pub(crate) struct Routes {
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

/// A prefix, or an address.
pub(crate) fn prefix(text: &str) -> Result<IpNetwork, String> {
    text.parse()
        .map_err(|_| "a prefix such as 10.244.0.0/26 or fd00:244::/122, or an address, is wanted".to_owned())
}

/// Asks the socket.
pub(crate) fn answer(client: &Client<'_>, question: Question, output: Output) -> Result<String, NoAnswer> {
    match question {
        Question::Status => match client.ask(StatusRequest::Status)? {
            StatusAnswer::Status(status) => output.show(&status, |status, _| show::status(status)),
            other => Err(NoAnswer::unexpected(other)),
        },
        Question::Peers { address, .. } => match client.ask(StatusRequest::Peers)? {
            StatusAnswer::Peers { mut peers } => {
                if let Some(wanted) = address {
                    peers.retain(|peer| peer.address == wanted);
                    if peers.is_empty() {
                        return Err(NoAnswer::NoSuchPeer(wanted));
                    }
                }
                output.show(&peers, |peers, wide| show::peers(peers, wide))
            }
            other => Err(NoAnswer::unexpected(other)),
        },
        Question::Explain { prefix } => match client.ask(StatusRequest::Explain { net: prefix })? {
            StatusAnswer::Explain(why) => output.show(&why, |why, _| show::explanation(why)),
            other => Err(NoAnswer::unexpected(other)),
        },
        Question::Ipam { .. } => match client.ask(StatusRequest::Ipam)? {
            StatusAnswer::Ipam(ipam) => output.show(&ipam, |ipam, _| show::ipam(ipam)),
            other => Err(NoAnswer::unexpected(other)),
        },
        Question::Routes(_)
        | Question::Policy { .. }
        | Question::Plan(_)
        | Question::Doctor(_)
        | Question::SupportBundle { .. } => {
            Err(NoAnswer::Failed("this is not asked of the socket".to_owned()))
        }
    }
}

/// Page after page. Of another node they are asked there: no resource has them.
pub(crate) fn routes(
    client: &Client<'_>,
    wanted: Routes,
    output: Output,
    is_cluster: bool,
) -> Result<String, NoAnswer> {
    if is_cluster {
        let how = "routes are asked of a node: kubectl -n corduroy-system exec POD -- /cordctl routes, where POD is \
                   the agent's on that node (kubectl -n corduroy-system get pods -o wide)";
        return Err(NoAnswer::Failed(how.to_owned()));
    }
    output.show(&all_routes(client, wanted)?, |rows, wide| show::routes(rows, wide))
}

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
