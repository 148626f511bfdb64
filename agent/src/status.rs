//! What the agent says of itself to `cordctl`. What the speaker knows is asked of it first, and joined with what the
//! agent knows.

use std::io;
use std::path::Path;
use std::sync::Arc;

use corduroy_agent_core::convert;
use corduroy_agent_core::ipam::BlockUse;
use corduroy_agent_core::known::WATCHED;
use corduroy_api::IpPool;
use corduroy_fabric::status::{kinds, owner, services};
use corduroy_fabric::{blocks, encapsulation};
use corduroy_ipc::status::{
    BgpSummary, BlockUsage, Holder, Ipam, IpamAddress, IpamBlock, IpamPool, KernelSummary, PodSummary,
    Status, StatusAnswer, StatusRequest, Tunnel,
};
use corduroy_kernel::LinkName;
use corduroy_status::{SpeakerView, StatusSocket};
use ipnetwork::IpNetwork;

use crate::policies;
use crate::view::{Asker, View};

/// Answers at `socket` as long as the runtime lives.
///
/// # Errors
/// As the system says.
pub fn serve(socket: &Path, agent: Asker) -> io::Result<()> {
    let mut socket = StatusSocket::listen(socket)?;
    let counted = Arc::new(policies::Counters::default());
    tokio::spawn(async move {
        loop {
            let question = socket.next().await;
            let (agent, counted) = (agent.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let answer = answer(question.request.clone(), (&agent, &counted)).await;
                question.answer(answer.unwrap_or_else(|why| StatusAnswer::Failed { why }));
            });
        }
    });
    Ok(())
}

async fn answer(
    request: StatusRequest,
    (agent, counted): (&Asker, &policies::Counters),
) -> Result<StatusAnswer, String> {
    if let StatusRequest::Policy(request) = request {
        return policies::answer(request, (agent, counted)).await.map(StatusAnswer::Policy);
    }
    let speaker = agent.ask(|view| view.speaker()).await.map_err(|error| error.to_string())?;
    let wanted = "there is no BGP speaker yet: `cordctl status` says what is waited for";
    match (request, speaker) {
        (StatusRequest::Status, speaker) => {
            let bgp = match &speaker {
                Some(speaker) => speaker.summary().await.map_err(|error| error.to_string())?,
                None => BgpSummary::default(),
            };
            let status = agent.ask(move |view| Box::new(status(view, bgp))).await;
            status.map(StatusAnswer::Status).map_err(|error| error.to_string())
        }
        (StatusRequest::Ipam, _) => {
            agent.ask(ipam).await.map(StatusAnswer::Ipam).map_err(|error| error.to_string())
        }
        (StatusRequest::Peers, None) => Ok(StatusAnswer::Peers { peers: Vec::new() }),
        (_, None) => Err(wanted.to_owned()),
        (request, Some(speaker)) => ask_speaker(request, &speaker, agent).await,
    }
}

/// What the speaker answers, and the kernel's side to it.
async fn ask_speaker(
    request: StatusRequest,
    speaker: &SpeakerView,
    agent: &Asker,
) -> Result<StatusAnswer, String> {
    let gone = |error: crate::view::Gone| error.to_string();
    match request {
        StatusRequest::Routes(query) => {
            let mut page = speaker.routes(&query).await.map_err(|error| error.to_string())?;
            let page = agent.ask(move |view| {
                for route in page.routes.iter_mut().filter(|route| route.best) {
                    route.installed = Some(installed(view, route.net).is_some());
                }
                page
            });
            page.await.map(StatusAnswer::Routes).map_err(gone)
        }
        StatusRequest::Explain { net } => {
            let mut explanation = speaker.explain(net).await.map_err(|error| error.to_string())?;
            let explanation = agent.ask(move |view| {
                let known = view.agent.known();
                explanation.owner = owner(&known.model, explanation.net.network());
                explanation.services = services(&known.model, &known.me.name, net);
                explanation.kernel = installed(view, explanation.net);
                Box::new(explanation)
            });
            explanation.await.map(StatusAnswer::Explain).map_err(gone)
        }
        StatusRequest::Peers | StatusRequest::Status | StatusRequest::Ipam | StatusRequest::Policy(_) => {
            let peers = speaker.peers().await.map_err(|error| error.to_string())?;
            Ok(StatusAnswer::Peers { peers })
        }
    }
}

/// The kernel's route to this prefix, as `ip route` shows it.
fn installed(view: &View<'_>, net: IpNetwork) -> Option<String> {
    let routes = &view.agent.reconciler().picture().routes;
    routes.get(&convert::from_network(net)).map(ToString::to_string)
}

/// How this node is.
pub(crate) fn status(view: &View<'_>, bgp: BgpSummary) -> Status {
    let agent = view.agent;
    let originated = agent.announced().map(|net| convert::to_network(convert::from_bgp(net))).collect();
    Status {
        node: agent.known().me.name.clone(),
        role: "agent".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: view.now.since(view.started).as_secs(),
        ready: agent.not_ready().is_none(),
        kinds: kinds(&agent.known().model, &WATCHED),
        conditions: view.conditions(),
        bgp: BgpSummary { originated, ..bgp },
        kernel: Some(kernel(view)),
        pods: Some(pods(view)),
    }
}

fn kernel(view: &View<'_>) -> KernelSummary {
    let (known, reconciler) = (view.agent.known(), view.agent.reconciler());
    let picture = reconciler.picture();
    KernelSummary {
        routes: picture.routes.len() as u64,
        links: picture.links.keys().filter(|link| link.is_ours()).count() as u64,
        pending: reconciler.pending() as u64,
        refused: reconciler.refusals().map(|(key, refusal)| format!("{key:?}: {}", refusal.error)).collect(),
        repaired: reconciler.repaired(),
        tunnels: [LinkName::IPIP, LinkName::VXLAN]
            .into_iter()
            .filter(|device| picture.links.contains_key(device))
            .map(|device| Tunnel {
                device: device.to_string(),
                addresses: known.me.tunnels.all().filter(|(d, _)| *d == device).map(|(_, a)| a).collect(),
                remotes: remotes(view, device),
            })
            .collect(),
    }
}

/// How many nodes are reached by a tunnel device.
fn remotes(view: &View<'_>, device: LinkName) -> u64 {
    let known = view.agent.known();
    let Some(us) = known.nodes.get(&known.me.name) else { return 0 };
    let is_by = |pool: &IpPool, node| match encapsulation(pool, us, node) {
        corduroy_fabric::Encap::None => false,
        corduroy_fabric::Encap::Ipip => device == LinkName::IPIP,
        corduroy_fabric::Encap::Vxlan => device == LinkName::VXLAN,
    };
    let others = known.nodes.iter().filter(|node| node.metadata.name != known.me.name);
    others.filter(|node| known.pools.iter().any(|pool| is_by(pool, node))).count() as u64
}

fn pods(view: &View<'_>) -> PodSummary {
    let endpoints = view.agent.endpoints();
    let (pending, failed) = endpoints.counts();
    let usage = || endpoints.ipam().usage();
    PodSummary {
        attached: endpoints.iter().filter(|endpoint| endpoint.wired).count() as u64,
        pending: pending as u64,
        failed,
        addresses_used: usage().map(|block| u64::from(block.used)).sum(),
        addresses_total: usage().map(|b| u64::from(b.used + b.resting + b.ready + b.withheld)).sum(),
    }
}

fn ipam(view: &View<'_>) -> Ipam {
    let known = view.agent.known();
    Ipam {
        pools: known.model.pools().values().map(|pool| ipam_pool(view, pool)).collect(),
        blocks: ipam_blocks(view),
        addresses: ipam_addresses(view),
    }
}

fn ipam_pool(view: &View<'_>, pool: &IpPool) -> IpamPool {
    let known = view.agent.known();
    let capacity = blocks::capacity(&known.model, pool);
    let in_force = blocks::pools_in_force(&known.model);
    let overlaps = !in_force.iter().any(|other| other.metadata.name == pool.metadata.name);
    let not_here = if pool.disabled {
        Some("disabled")
    } else if overlaps {
        Some("overlaps another pool")
    } else {
        (!blocks::may_claim(&known.model, pool, &known.me.name)).then_some("nodeSelector")
    };
    IpamPool {
        name: pool.metadata.name.clone(),
        cidr: pool.cidr,
        block_size: pool.block_size,
        blocks_total: capacity.blocks.to_string(),
        blocks_claimed: u64::try_from(capacity.claimed).unwrap_or(u64::MAX),
        not_here: not_here.map(str::to_owned),
    }
}

fn ipam_blocks(view: &View<'_>) -> Vec<IpamBlock> {
    let model = &view.agent.known().model;
    let usage: Vec<BlockUse> = view.agent.endpoints().ipam().usage().collect();
    let claimed = model.blocks().values().map(|block| (block.cidr, &block.node));
    let given = model.nodes().values();
    let given = given.flat_map(|node| node.pod_cidrs.iter().map(|cidr| (*cidr, &node.metadata.name)));
    let all = claimed.chain(given).map(|(cidr, node)| IpamBlock {
        cidr,
        pool: blocks::pool_of(model, cidr.ip()).map(|p| p.metadata.name.clone()).unwrap_or_default(),
        node: node.clone(),
        usage: usage.iter().find(|own| own.cidr == cidr).map(|own| BlockUsage {
            used: own.used.into(),
            cooling: own.resting.into(),
            withheld: own.withheld.into(),
            free: own.ready.into(),
        }),
    });
    let mut all: Vec<IpamBlock> = all.collect();
    all.sort_by_key(|block| block.cidr);
    all
}

fn ipam_addresses(view: &View<'_>) -> Vec<IpamAddress> {
    let endpoints = view.agent.endpoints();
    let usage: Vec<BlockUse> = endpoints.ipam().usage().collect();
    let holder = |link: LinkName| {
        let endpoint = endpoints.iter().find(|endpoint| endpoint.pod.link == link);
        let Some((key, owner)) = endpoint.map(|endpoint| (endpoint.key, endpoint.owner)) else {
            return Holder::Tunnel { device: link.to_string() };
        };
        let key = key.as_ref();
        Holder::Attachment {
            network: key.map(|key| key.network.clone()).unwrap_or_default(),
            container_id: key.map(|key| key.container_id.clone()).unwrap_or_default(),
            ifname: key.map(|key| key.ifname.clone()).unwrap_or_default(),
            host_interface: link.to_string(),
            pod: owner.map(|pod| format!("{}/{}", pod.namespace, pod.name)),
        }
    };
    let one = |(address, link)| IpamAddress {
        address,
        block: usage.iter().map(|own| own.cidr).find(|cidr| cidr.contains(address)),
        holder: holder(link),
    };
    endpoints.ipam().used().map(one).collect()
}
