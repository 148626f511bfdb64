//! What each CNI command does to the table, and when it has to wait.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use corduroy_api::Pod as ClusterPod;
use corduroy_bgp::Time;
use corduroy_ipc::cni::{Add, AttachmentKey, CniAnswer, CniFailure, CniRequest, Del, ValidAttachment, code};
use corduroy_kernel::{LinkName, Mac, NetnsId};
use ipnetwork::IpNetwork;

use super::directory::Unmet;
use super::join::Endpoints;
use super::journal::Record;
use super::table::{Attachment, Check, Phase, Teardown, mac};
use super::{Output, RequestId};
use crate::ipam::AssignError;
use crate::pods::Pod;

/// A request that can't start yet.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// Whom to answer; nobody once a DEL has been told to come back later or its plugin has hung up. It is
    /// done nevertheless.
    id: Option<RequestId>,
    request: CniRequest,
    netns: Option<NetnsId>,
    /// When it fails; never, when there is nobody to tell.
    pub(super) deadline: Option<Time>,
    why: String,
}

/// What came of an attempt to start a request.
enum Start {
    /// It is under way or answered.
    Started,
    /// It has to wait, and why.
    Wait(String),
    /// It failed.
    Failed(CniFailure),
}

fn link_of(key: &AttachmentKey) -> LinkName {
    LinkName::pod(key.hash())
}

impl Endpoints {
    pub(super) fn request(&mut self, id: RequestId, request: CniRequest, netns: Option<NetnsId>, now: Time) {
        if let CniRequest::Status = request {
            self.close(netns);
            let refusal = self.node.ready.as_ref().err().or(self.node.closed.as_ref());
            return match refusal.cloned() {
                None => self.push(Output::Answer { id, answer: CniAnswer::Done }),
                Some(why) => {
                    let failure = CniFailure::new(code::NOT_AVAILABLE, "the agent can't serve pods yet");
                    self.push(Output::Answer { id, answer: CniAnswer::Failed(failure.details(why)) });
                }
            };
        }
        let deadline = Some(now + self.settings.patience);
        let why = "the agent has not compared its journal with the kernel yet".to_owned();
        self.waiting.push_back(Waiting { id: Some(id), request, netns, deadline, why });
    }

    /// Tries every waiting request, in the order in which they came.
    pub(super) fn start_waiting(&mut self, now: Time) {
        let mut queue: VecDeque<Waiting> = std::mem::take(&mut self.waiting);
        while let Some(mut waiting) = queue.pop_front() {
            let start = match (&self.node.ready, &waiting.request) {
                (Err(why), _) => Start::Wait(why.clone()),
                (Ok(()), CniRequest::Add(_)) if self.node.closed.is_some() => {
                    Start::Wait(self.node.closed.clone().unwrap_or_default())
                }
                (Ok(()), CniRequest::Add(add)) => self.start_add(&waiting, add, now),
                (Ok(()), CniRequest::Del(del)) => self.start_del(waiting.id, del, now),
                (Ok(()), CniRequest::Check { key, ips }) => self.start_check(&waiting, key, ips),
                (Ok(()), CniRequest::Gc { network, valid }) => self.start_gc(waiting.id, network, valid),
                (Ok(()), CniRequest::Status) => Start::Started,
            };
            match start {
                Start::Started => {}
                Start::Wait(why) => {
                    waiting.why = why;
                    self.waiting.push_back(waiting);
                }
                Start::Failed(failure) => {
                    self.close(waiting.netns);
                    self.fail(waiting.id, failure);
                }
            }
        }
    }

    fn start_add(&mut self, waiting: &Waiting, add: &Add, now: Time) -> Start {
        let link = link_of(&add.key);
        if self.tombstones.overtook(link, add.started) {
            let why = "a DEL of this attachment, begun later, has been served already";
            return Start::Failed(CniFailure::new(code::SUPERSEDED, why));
        }
        match self.table.get(&link) {
            Some(other) if other.key.as_ref().is_some_and(|key| *key != add.key) => {
                let why = format!("interface {link} is in use by another attachment with the same hash");
                return Start::Failed(CniFailure::new(code::INVALID_CONFIG, why));
            }
            Some(same) if same.is_wired() => {
                let why = format!("{} is wired already: DEL has to come before another ADD", add.key);
                return Start::Failed(CniFailure::new(code::ALREADY_ATTACHED, why));
            }
            Some(_) => return Start::Wait("another operation on this attachment is under way".into()),
            None => {}
        }
        let (Some(id), Some(netns)) = (waiting.id, waiting.netns) else {
            let why = "ADD came without the container's network namespace";
            return Start::Failed(CniFailure::new(code::INVALID_ENVIRONMENT, why));
        };
        let ifname = match LinkName::new(&add.key.ifname) {
            Ok(ifname) => ifname,
            Err(error) => {
                let why = format!("CNI_IFNAME {:?} can't name an interface", add.key.ifname);
                return Start::Failed(
                    CniFailure::new(code::INVALID_ENVIRONMENT, why).details(error.to_string()),
                );
            }
        };
        let Some(node_mtu) = self.node.mtu else {
            return Start::Wait("the uplink's MTU is not known yet".into());
        };
        let addresses = match self.addresses(link, add, now) {
            Ok(addresses) => addresses,
            Err(start) => return start,
        };
        let pod = Pod {
            link,
            host_mac: mac(&add.key, "host"),
            mac: add.mac.map_or_else(|| mac(&add.key, "pod"), |mac| Mac(mac.0)),
            mtu: add.mtu.map_or(node_mtu, |mtu| mtu.min(node_mtu)),
            addresses,
            owner: add.pod.as_ref().map(|pod| ClusterPod::key_name(&pod.namespace, &pod.name)),
        };
        let phase = Phase::Wiring { id, netns, ifname };
        let attachment = Attachment {
            key: Some(add.key.clone()),
            owner: add.pod.clone(),
            pod: pod.clone(),
            started: add.started,
            phase,
        };
        self.record(&Record::Wiring(attachment.to_journal()));
        self.table.insert(link, attachment);
        self.push(Output::Wire { pod, netns, ifname });
        Start::Started
    }

    /// Addresses as the pod wishes, or what comes of the request without.
    fn addresses(&mut self, link: LinkName, add: &Add, now: Time) -> Result<Vec<IpAddr>, Start> {
        let wishes = self.directory.wishes(add).map_err(|unmet| match unmet {
            Unmet::Later(why) => Start::Wait(why),
            Unmet::Bad(of, bad) => {
                Start::Failed(CniFailure::new(code::ADDRESS_REFUSED, format!("{of}: {bad}")))
            }
        })?;
        let addresses = self.ipam.assign(link, &wishes.request, now).map_err(|error| {
            if error.may_pass() {
                return Start::Wait(error.to_string());
            }
            Start::Failed(refusal(&error).details(wishes.said.join("; ")))
        })?;
        if let Some(unknown) = wishes.unknown {
            self.push(Output::Warn(unknown));
        }
        Ok(addresses)
    }

    fn start_del(&mut self, id: Option<RequestId>, del: &Del, now: Time) -> Start {
        let link = link_of(&del.key);
        self.tombstones.put(link, del.started, now);
        let overtaken = |w: &Waiting| matches!(&w.request, CniRequest::Add(add) if add.key == del.key);
        let (overtaken, kept): (Vec<_>, _) =
            std::mem::take(&mut self.waiting).into_iter().partition(overtaken);
        self.waiting = kept.into();
        for add in overtaken {
            self.close(add.netns);
            self.fail(add.id, superseded());
        }
        // A note that a plugin left while there was no agent may be read when the name is in use again.
        if self.table.get(&link).is_some_and(|a| del.started != 0 && del.started < a.started) {
            return self.tear_down(id, BTreeSet::new());
        }
        if let Some(Phase::Wiring { id: add, .. }) = self.table.get(&link).map(|a| &a.phase) {
            self.fail(Some(*add), superseded());
        }
        let links = self.table.contains_key(&link).then_some(link).into_iter().collect();
        self.tear_down(id, links)
    }

    fn start_gc(&mut self, id: Option<RequestId>, network: &str, valid: &[ValidAttachment]) -> Start {
        let valid: BTreeSet<(&str, &str)> =
            valid.iter().map(|v| (v.container_id.as_str(), v.ifname.as_str())).collect();
        // What is on its way up has a plugin of its own and is no garbage; what was found without a record
        // may be of another network.
        let garbage = |a: &&Attachment| {
            a.is_wired()
                && a.key.as_ref().is_some_and(|key| {
                    key.network == network && !valid.contains(&(&key.container_id, &key.ifname))
                })
        };
        let links = self.table.values().filter(garbage).map(|a| a.pod.link).collect();
        self.tear_down(id, links)
    }

    fn tear_down(&mut self, id: Option<RequestId>, links: BTreeSet<LinkName>) -> Start {
        for link in &links {
            self.unwire(*link);
        }
        if let Some(id) = id {
            self.teardowns.push(Teardown { id, links });
            self.answer_teardowns();
        }
        Start::Started
    }

    fn start_check(&mut self, waiting: &Waiting, key: &AttachmentKey, ips: &[IpNetwork]) -> Start {
        let link = link_of(key);
        let failed = |why: String| Start::Failed(CniFailure::new(code::CHECK_FAILED, why));
        let Some(attachment) = self.table.get(&link) else {
            return failed(format!("{key} is not wired"));
        };
        if !attachment.is_wired() {
            return Start::Wait("another operation on this attachment is under way".into());
        }
        if let Some(ip) = ips.iter().find(|ip| !attachment.pod.addresses.contains(&ip.ip())) {
            return failed(format!("prevResult has {ip}, which {key} does not have"));
        }
        let (Some(id), Ok(ifname)) = (waiting.id, LinkName::new(&key.ifname)) else {
            return failed(format!("CNI_IFNAME {:?} can't name an interface", key.ifname));
        };
        self.checks.push(Check { id, link, netns: waiting.netns });
        self.push(Output::Verify { link, netns: waiting.netns, ifname });
        Start::Started
    }

    pub(super) fn verified(&mut self, link: LinkName, problems: &[String]) {
        let Some(at) = self.checks.iter().position(|check| check.link == link) else { return };
        let check = self.checks.remove(at);
        self.close(check.netns);
        if problems.is_empty() {
            self.push(Output::Answer { id: check.id, answer: CniAnswer::Done });
        } else {
            let failure = CniFailure::new(code::CHECK_FAILED, format!("{link} is not as ADD left it"));
            self.fail(Some(check.id), failure.details(problems.join("; ")));
        }
    }

    pub(super) fn fail_checks(&mut self, link: LinkName, why: &str) {
        let failed: Vec<Check> = self.checks.extract_if(.., |check| check.link == link).collect();
        for check in failed {
            self.close(check.netns);
            self.fail(Some(check.id), CniFailure::new(code::CHECK_FAILED, why));
        }
    }

    pub(super) fn hung_up(&mut self, id: RequestId) {
        if let Some(at) = self.waiting.iter().position(|w| w.id == Some(id))
            && let Some(mut waiting) = self.waiting.remove(at)
        {
            waiting.id = None;
            self.keep_del(waiting);
        }
        let wiring =
            self.table.values().find(|a| matches!(a.phase, Phase::Wiring { id: of, .. } if of == id));
        if let Some(link) = wiring.map(|a| a.pod.link) {
            self.unwire(link);
        }
        self.teardowns.retain(|teardown| teardown.id != id);
        for check in self.checks.extract_if(.., |check| check.id == id).collect::<Vec<_>>() {
            self.close(check.netns);
        }
    }

    /// Fails what has waited long enough. A DEL is told to come back later too, but it is not forgotten: the
    /// runtime may take it for done.
    pub(super) fn out_of_patience(&mut self, now: Time) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            if waiting.deadline.is_none_or(|deadline| deadline > now) {
                self.waiting.push_back(waiting);
                continue;
            }
            let failure = CniFailure::new(code::TRY_AGAIN_LATER, "the agent could not serve this in time");
            self.fail(waiting.id.take(), failure.details(waiting.why.clone()));
            self.keep_del(waiting);
        }
    }

    /// Keeps a DEL that has nobody left to answer, once for each attachment; lets other requests go.
    fn keep_del(&mut self, mut waiting: Waiting) {
        self.close(waiting.netns.take());
        waiting.deadline = None;
        let CniRequest::Del(del) = &waiting.request else { return };
        let same =
            |w: &Waiting| w.id.is_none() && matches!(&w.request, CniRequest::Del(d) if d.key == del.key);
        if !self.waiting.iter().any(same) {
            self.waiting.push_back(waiting);
        }
    }
}

fn superseded() -> CniFailure {
    CniFailure::new(code::SUPERSEDED, "a DEL of this attachment came before the ADD was through")
}

fn refusal(error: &AssignError) -> CniFailure {
    let code = match error {
        AssignError::Pending(_) | AssignError::Resting { .. } | AssignError::Claimed { .. } => {
            code::TRY_AGAIN_LATER
        }
        AssignError::NoPool(_) | AssignError::Exhausted { .. } => code::NO_ADDRESS,
        AssignError::InUse { .. }
        | AssignError::Outside { .. }
        | AssignError::Foreign { .. }
        | AssignError::TwoOfAFamily(..) => code::ADDRESS_REFUSED,
    };
    CniFailure::new(code, error.to_string())
}
