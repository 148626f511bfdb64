//! The agent without IO: inputs in, outputs out, in order.
//!
//! The join decides nothing. Each input goes to the part it is for; then `settle` asks every part in turn what
//! it wants now, given what the others know, and passes that on. The parts know nothing of each other:
//!
//! | part | decides |
//! |---|---|
//! | [`Known`], `intake` | what a change of the inputs touches |
//! | [`Endpoints`] | which addresses and blocks are in use, which pods are wired |
//! | [`Reconciler`] | what the kernel is asked, and in which order |
//! | [`Former`] | which routes of a former run still stay |
//! | `policing` | which keys policies touch, and what they ask of others |
//! | `wiring` | when a pod is in the kernel, or out of it |
//! | `tunnels` | which tunnel addresses are needed, and which are declared to others |
//! | `farewell` | when a node that was removed gives back what it has |
//! | `own_node` | what is written of this node |
//! | `sessions` | what the speaker is to be |
//! | `advertise`, `announcer` | what is announced: only what forwards |
//! | `reading` | when the kernel is read |
//! | `sweep` | which connections are denied by now |
//!
//! Nothing is done to kernel, peers or datastore before every kind of resource has been said (or can't be had) and the
//! kernel was read once.

use std::collections::VecDeque;
use std::time::Duration;

use corduroy_bgp::Time;
use corduroy_bgp::event::Event as BgpEvent;
use corduroy_fabric::{peering, sessions::Sessions};
use corduroy_kernel::OpResult;

use crate::convert;
use crate::endpoints::{self, Endpoints};
use crate::explain::drops::Drops;
use crate::former::Former;
use crate::key::Key;
use crate::known::Known;
use crate::me::{Me, TunnelAddresses};
use crate::reconcile::Reconciler;
use announcer::Announcer;
use course::Course;
use wiring::Wiring;

mod advertise;
mod announcer;
mod conditions;
mod course;
mod endpoint_side;
mod farewell;
mod gate;
mod intake;
mod io;
mod observe;
mod own_node;
mod policing;
mod reading;
mod settings;
mod settle;
mod sweep;
#[cfg(test)]
mod tests;
mod tunnels;
mod unwritten;
mod wiring;

pub use conditions::conditions;
pub use io::{Input, Note, Output, Read};
pub use own_node::Declared;
pub use settings::Settings;

/// How long routes of a former run stay at most without a word from their owners.
pub const HOLD: Duration = Duration::from_secs(120);

/// The agent.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    known: Known,
    reconciler: Reconciler,
    former: Former,
    endpoints: Endpoints,
    wiring: Wiring,
    tunnels: tunnels::Tunnels,
    announcer: Announcer,
    own_node: own_node::OwnNode,
    sessions: Sessions,
    course: Course,
    out: VecDeque<Output>,
}

impl Agent {
    /// An agent that knows nothing yet but who it is and what its endpoints' journal says.
    #[must_use]
    pub fn new(settings: Settings, endpoints: Endpoints) -> Self {
        let me = Me {
            name: settings.node.clone(),
            uid: settings.uid.clone(),
            v4: None,
            v6: None,
            tunnels: TunnelAddresses::default(),
            member: settings.member.clone(),
            given: settings.declared.given,
        };
        let mut agent = Self {
            known: Known { failsafe: settings.failsafe.clone(), ..Known::new(me) },
            sessions: Sessions::new(settings.peering.clone()),
            settings,
            reconciler: Reconciler::default(),
            former: Former::default(),
            endpoints,
            wiring: Wiring::default(),
            tunnels: tunnels::Tunnels::default(),
            announcer: Announcer::default(),
            own_node: own_node::OwnNode::default(),
            course: Course::default(),
            out: VecDeque::new(),
        };
        settle::touch_kernel(&mut agent, Time(0));
        agent
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input, now: Time) {
        match input {
            Input::Datastore(events) => events.into_iter().for_each(|event| intake::event(self, event, now)),
            Input::Written { key, result } if key == own_node::key(&self.known.me.name) => {
                self.own_node.finished(&result, now);
                let _ = self.course.unwritten.finished(&key, &result, now);
                if let Err(why) = result {
                    self.note(Note::NotWritten(why));
                }
            }
            Input::Written { key, result } => {
                let trouble = self.course.unwritten.finished(&key, &result, now);
                trouble.into_iter().for_each(|why| self.note(Note::Unwritten(why)));
                self.endpoints.handle(endpoints::Input::Written { key, result }, now);
            }
            Input::Read(state) => observe::read(self, *state, now),
            Input::Applied(results) => self.applied(results, now),
            Input::Changed(changed) => self.course.reading.want(changed),
            Input::LocRib(changes) => {
                intake::loc_rib(&mut self.known, &mut self.reconciler, &mut self.former, &changes);
            }
            Input::Bgp(event) => self.speaker(&event),
            Input::Peers { peers, sole } => self.sessions.peers(&peers, sole),
            Input::Cni { id, request, netns } => {
                let request = endpoints::Input::Request { id, request: *request, netns };
                self.endpoints.handle(request, now);
            }
            Input::Member(member) => intake::member(self, member),
            Input::Heard(heard) => self.course.drops.heard(&self.known, heard),
            Input::Flows(flows) => sweep::flows(self, flows, now),
            Input::HungUp(id) => self.endpoints.handle(endpoints::Input::HungUp(id), now),
            Input::Timeout => self.timeout(now),
        }
        settle::settle(self, now);
    }

    /// What the agent wants next.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let times = [
            self.reconciler.next_timeout(),
            self.former.next_timeout(),
            self.endpoints.next_timeout(),
            self.own_node.next_timeout(),
            self.sessions.next_timeout(),
            self.wiring.next_timeout(),
            self.course.reading.next_timeout(),
            self.course.policing.next_timeout(),
            self.course.sweep.next_timeout(),
        ];
        times.into_iter().flatten().min()
    }

    fn timeout(&mut self, now: Time) {
        let released = self.former.expire(now);
        self.release(&released);
        self.reconciler.handle_timeout(&self.known, now);
        self.endpoints.handle_timeout(now);
        self.sessions.timeout(now);
        self.wiring.timeout(&mut self.known, &mut self.reconciler, now);
    }

    fn applied(&mut self, results: Vec<OpResult>, now: Time) {
        let outcome = self.reconciler.applied(results, now);
        if outcome.reread {
            self.course.reading.want_everything();
        }
        self.wiring.results(outcome.tickets);
        for (key, error) in outcome.refused {
            self.note(Note::Refused(format!("{key:?}: {error}")));
        }
    }

    fn speaker(&mut self, event: &BgpEvent) {
        if let BgpEvent::EndOfRib { peer, family } = event {
            let released = self.former.end_of_rib(peer.address, *family);
            self.release(&released);
        }
        self.sessions.something_happened();
    }

    fn release(&mut self, nets: &[corduroy_bgp::Net]) {
        for net in nets {
            self.reconciler.mark(&self.known, Key::Route(convert::from_bgp(*net)));
        }
        if !nets.is_empty() {
            self.note(Note::Swept(nets.len()));
        }
    }

    fn note(&mut self, note: Note) {
        self.out.push_back(Output::Note(note));
    }

    /// What is known.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// How the kernel stands to it.
    #[must_use]
    pub fn reconciler(&self) -> &Reconciler {
        &self.reconciler
    }

    /// The packets that were denied last.
    #[must_use]
    pub fn drops(&self) -> &Drops {
        &self.course.drops
    }

    /// The pods and their addresses.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Who peers with this node and why, once that is known.
    #[must_use]
    pub fn peering(&self) -> Option<&peering::Peering> {
        self.sessions.peering()
    }

    /// Why pods can't be served; `None` when they can.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        gate::not_ready(self)
    }

    /// How many routes of a former run still stay.
    #[must_use]
    pub fn held(&self) -> usize {
        self.former.len()
    }

    /// What is announced.
    pub fn announced(&self) -> impl Iterator<Item = corduroy_bgp::Net> + '_ {
        self.announcer.announced()
    }
}
