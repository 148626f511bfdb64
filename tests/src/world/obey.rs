//! What speakers ask of the world.

use bytes::{Buf, Bytes};
use corduroy_bgp::Net;
use corduroy_bgp::event::Event;
use corduroy_bgp::io::{Close, ConnId, Connect, Input, Output};

use super::plan::Pfx;
use super::tap::Said;
use super::wire::{End, Pipe, Stage, Wire};
use super::{Happening, World, node};

impl World {
    /// Does what a speaker asks for until it asks for nothing: outputs, bytes, Loc-RIB changes, its next timer.
    pub(super) fn serve(&mut self, router: usize) {
        loop {
            let Some(speaker) = &mut self.nodes[router].speaker else { return };
            // Changes first: an event that says a table is complete comes behind them.
            let mut changes = Vec::new();
            speaker.drain_loc_rib(64, &mut changes);
            let output = speaker.poll();
            let idle = changes.is_empty() && output.is_none();
            for change in changes {
                self.log.say(self.now, format_args!("r{router} loc-rib {} {:?}", change.net, change.paths));
                self.record.changed(&self.nodes, router, &change, self.now);
                self.nodes[router].apply(change);
            }
            if let Some(output) = output {
                self.obey(router, output);
            }
            if !self.pump(router) && idle {
                break;
            }
        }
        self.set_alarm(router);
    }

    fn obey(&mut self, router: usize, output: Output) {
        match output {
            Output::Connect(to) => self.connect(router, &to),
            Output::Close { conn, how } => self.close(router, conn, how),
            Output::SetKeys(keys) => self.nodes[router].keys = keys,
            // Nobody is farther away than one hop here.
            Output::SetTtl { .. } => {}
            Output::PauseRead(conn) => self.set_paused(router, conn, true),
            Output::ResumeRead(conn) => self.set_paused(router, conn, false),
            Output::Writable(conn) => {
                if let Some(end) = self.end(router, conn) {
                    end.pull = true;
                }
            }
            Output::Event(event) => {
                self.log.say(self.now, format_args!("r{router} event {event:?}"));
                if let Event::EndOfRib { peer, .. } = event
                    && let Some(link) = self.plan.link_to(router, peer.address)
                {
                    self.record.table_complete(&self.plan, &self.nodes, &self.wires, (router, link));
                }
            }
        }
    }

    fn end(&mut self, router: usize, conn: ConnId) -> Option<&mut End> {
        let (wire, end) = *self.nodes[router].conns.get(&conn)?;
        self.wires.get_mut(&wire).map(|w| &mut w.ends[end])
    }

    fn set_paused(&mut self, router: usize, conn: ConnId, paused: bool) {
        let Some(end) = self.end(router, conn) else { return };
        end.paused = paused;
        if let Some((wire, end)) = self.nodes[router].conns.get(&conn).copied() {
            self.expect(wire, end);
        }
    }

    fn connect(&mut self, router: usize, to: &Connect) {
        let conn = to.conn;
        let wait = self.delay();
        let open = |link: &usize| self.refused.get(link).is_none_or(|until| *until <= self.now);
        let link = self.plan.link_to(router, to.peer.address).filter(open);
        let Some(link) = link else { return self.refuse(router, conn) };
        let other = self.plan.other(link, router);
        if self.nodes[other].speaker.is_none() {
            return self.refuse(router, conn);
        }
        let from = self.plan.routers[router].addr(self.plan.links[link].v6);
        if self.nodes[other].key_for(from) != to.password.as_ref() {
            // The SYN is dropped: no answer ever.
            return self.log.say(self.now, format_args!("r{router} to r{other}: keys differ"));
        }
        let accepted = self.nodes[other].accepted_id();
        let end = |router, conn| End {
            router,
            conn,
            stage: Stage::Coming,
            paused: false,
            pull: false,
            rest: [].into(),
            due: None,
        };
        self.entries += 1;
        let wire = usize::try_from(self.entries).unwrap_or(usize::MAX);
        let ends = [end(router, conn), end(other, accepted)];
        self.wires.insert(wire, Wire { link, ends, pipes: [Pipe::default(), Pipe::default()] });
        self.nodes[router].conns.insert(conn, (wire, 0));
        let back = self.delay();
        self.after(wait, Happening::Accepted { wire });
        self.after(wait + back, Happening::Connected { wire });
    }

    fn refuse(&mut self, router: usize, conn: ConnId) {
        let (wait, run) = (self.delay(), self.nodes[router].run);
        self.after(wait, Happening::Refused { router, run, conn });
    }

    fn delay(&mut self) -> std::time::Duration {
        let jitter = self.rng.below(usize::try_from(self.weather.jitter.as_micros()).unwrap_or(0) + 1);
        self.weather.delay + std::time::Duration::from_micros(jitter as u64)
    }

    fn close(&mut self, router: usize, conn: ConnId, how: Close) {
        let Some((wire, end)) = self.nodes[router].conns.get(&conn).copied() else { return };
        self.log.say(self.now, format_args!("r{router} w{wire}: closes ({how:?})"));
        if how == Close::Flush
            && let Some(speaker) = &mut self.nodes[router].speaker
            && let Some(w) = self.wires.get_mut(&wire)
        {
            let mut last: Vec<Bytes> = w.ends[end].rest.drain(..).collect();
            loop {
                let before = last.len();
                speaker.transmit(conn, usize::MAX, &mut last);
                if last.len() == before {
                    break;
                }
            }
            for bytes in last {
                w.pipes[end].write(bytes, self.now, self.weather, &mut self.rng);
            }
        }
        // An abort may tear off what is under way, as a RST does.
        let torn = how == Close::Abort && self.rng.chance(30);
        self.hang_up(wire, end, torn);
    }

    /// End `end` lets go of a connection; `torn`: what it wrote last is lost.
    pub(super) fn hang_up(&mut self, wire: usize, end: usize, torn: bool) {
        let Some(w) = self.wires.get_mut(&wire) else { return };
        if w.ends[end].stage == Stage::Gone {
            return;
        }
        w.ends[end].stage = Stage::Gone;
        let (router, conn, link) = (w.ends[end].router, w.ends[end].conn, w.link);
        if torn {
            w.pipes[end].tear();
        }
        w.pipes[end].end(self.now, self.weather, &mut self.rng);
        let established = w.established();
        let gone = w.is_gone();
        self.nodes[router].conns.remove(&conn);
        self.record.ended(link, established);
        if gone {
            self.wires.remove(&wire);
        } else {
            self.expect(wire, 1 - end);
        }
    }

    /// A connection breaks under both.
    pub(super) fn cut(&mut self, wire: usize) {
        let Some(w) = self.wires.get_mut(&wire) else { return };
        self.log.say(self.now, format_args!("w{wire} is cut"));
        for pipe in &mut w.pipes {
            pipe.tear();
            pipe.end(self.now, self.weather, &mut self.rng);
        }
        self.expect(wire, 0);
        self.expect(wire, 1);
    }

    /// Moves what a router's speaker has to say into its pipes, as far as there is room. Returns whether something
    /// moved.
    fn pump(&mut self, router: usize) -> bool {
        let conns: Vec<(usize, usize)> = self.nodes[router].conns.values().copied().collect();
        let mut moved = false;
        for (wire, end) in conns {
            moved |= self.pump_end(router, wire, end);
        }
        moved
    }

    fn pump_end(&mut self, router: usize, wire: usize, end: usize) -> bool {
        let Some(w) = self.wires.get_mut(&wire) else { return false };
        let Some(speaker) = &mut self.nodes[router].speaker else { return false };
        let (writer, pipe) = (&mut w.ends[end], &mut w.pipes[end]);
        if writer.stage != Stage::Open || pipe.room() == 0 {
            return false;
        }
        if writer.rest.is_empty() && writer.pull {
            let mut out = Vec::new();
            speaker.transmit(writer.conn, self.rng.between(1, 16 << 10), &mut out);
            writer.pull = !out.is_empty();
            writer.rest.extend(out);
        }
        let mut sent = 0;
        while let Some(bytes) = writer.rest.front_mut() {
            let n = bytes.len().min(pipe.room());
            if n == 0 && !bytes.is_empty() {
                break;
            }
            pipe.write(bytes.split_to(n), self.now, self.weather, &mut self.rng);
            sent += n;
            if !bytes.has_remaining() {
                writer.rest.pop_front();
            }
        }
        if sent == 0 {
            return false;
        }
        speaker.handle(Input::Sent { conn: writer.conn, bytes: sent }, self.now);
        self.expect(wire, 1 - end);
        self.wake(router);
        true
    }

    /// Bytes are about to be read by end `end`: the tap reads them too.
    pub(super) fn overhear(&mut self, wire: usize, end: usize, bytes: &[u8]) {
        let Some(w) = self.wires.get_mut(&wire) else { return };
        let (to, from, link) = (w.ends[end].router, w.ends[1 - end].router, w.link);
        let mut said = Vec::new();
        if let Err(e) = w.pipes[1 - end].tap.feed(bytes, &mut said) {
            self.record.wrong.push(format!("link {link}: r{from} sent r{to} what is not BGP: {e}"));
        }
        for said in said {
            if said != Said::Keepalive {
                self.log.say(self.now, format_args!("r{to} hears r{from} (w{wire}): {said:?}"));
            }
            self.record.heard(&self.plan, (from, link), &said);
        }
    }

    /// The script changes what a router originates.
    pub(super) fn originate(&mut self, router: usize, pfx: Pfx, own: Option<super::plan::Own>) {
        let net: Net = node::net(pfx);
        match own {
            Some(own) => {
                self.record.originated(router, pfx);
                self.record.released(pfx);
                let route = node::origination(&own);
                self.plan.owns[router].insert(pfx, own);
                self.input(router, Input::Originate { net, route });
            }
            None => {
                self.plan.owns[router].remove(&pfx);
                self.record.released(pfx);
                self.input(router, Input::Withdraw { net });
            }
        }
    }
}
