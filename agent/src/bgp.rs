//! The speaker behind its driver, made when the agent says for the first time what it is to be.
//!
//! Where it can't listen (another daemon has the port) the node serves pods all the same, and it is tried again.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use corduroy_agent_core::agent::Input;
use corduroy_bgp::config::Config;
use corduroy_bgp::io::{Origination, Start, Stop};
use corduroy_bgp::speaker::Speaker;
use corduroy_bgp::{Family, FamilySet, Net, Time};
use corduroy_bgp_net::{
    Announcement, Driver, Handle, LocRib, Notice, OpenError, Report, Severity, Stopped, now,
};
use corduroy_ipc::status::{self, Condition};
use corduroy_kernel::{State, nft};
use tokio::sync::mpsc;

/// The pause before it is tried again to listen.
const PAUSE: Duration = Duration::from_secs(5);

/// The speaker, perhaps not there yet.
#[derive(Debug)]
pub struct Bgp {
    listen: Vec<IpAddr>,
    seed: u64,
    start: Start,
    wanted: Option<(Config, u16)>,
    /// Said before there was anybody to say it to.
    originated: BTreeMap<Net, Origination>,
    complete: bool,
    running: Option<Running>,
    failed: Option<(OpenError, Time)>,
}

#[derive(Debug)]
struct Running {
    handle: Handle,
    reports: mpsc::Receiver<Report>,
    port: u16,
}

impl Bgp {
    /// Nothing yet. It will listen at these addresses; the seed spreads its timers.
    #[must_use]
    pub fn new(listen: Vec<IpAddr>, seed: u64) -> Self {
        Self {
            listen,
            seed,
            start: Start::First,
            wanted: None,
            originated: BTreeMap::new(),
            complete: false,
            running: None,
            failed: None,
        }
    }

    /// The kernel is so as this process comes up.
    pub fn started(&mut self, state: &State) {
        self.start = start(state);
    }

    /// Whom to ask about peers and routes, once there is somebody.
    #[must_use]
    pub fn handle(&self) -> Option<&Handle> {
        self.running.as_ref().map(|running| &running.handle)
    }

    /// The speaker is to be this, and to listen at this port.
    ///
    /// # Errors
    /// It has ended, which it never should.
    pub async fn configure(&mut self, config: Config, port: u16) -> Result<(), Stopped> {
        match &self.running {
            Some(running) => {
                if running.port != port {
                    tracing::warn!("listenPort {port} takes effect when the agent is started anew");
                }
                let told = running.handle.configure(config.clone()).await;
                self.wanted = Some((config, port));
                told
            }
            None => {
                self.wanted = Some((config, port));
                self.try_start().await
            }
        }
    }

    /// Announces these prefixes, or no longer.
    ///
    /// # Errors
    /// As [`Self::configure`].
    pub async fn announce(&mut self, all: Vec<Announcement>) -> Result<(), Stopped> {
        if let Some(running) = &self.running {
            return running.handle.announce(all).await;
        }
        for one in all {
            match one {
                Announcement::Originate(net, how) => self.originated.insert(net, how),
                Announcement::Withdraw(net) => self.originated.remove(&net),
            };
        }
        Ok(())
    }

    /// Everything was announced that is after a start.
    ///
    /// # Errors
    /// As [`Self::configure`].
    pub async fn complete(&mut self) -> Result<(), Stopped> {
        self.complete = true;
        match &self.running {
            Some(running) => running.handle.origination_complete().await,
            None => Ok(()),
        }
    }

    /// When [`Self::try_start`] is due again.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.failed.as_ref().map(|(_, again)| *again)
    }

    /// Makes the speaker, if it is wanted, was not made yet and need not wait.
    ///
    /// # Errors
    /// As [`Self::configure`].
    pub async fn try_start(&mut self) -> Result<(), Stopped> {
        let waits = self.next_timeout().is_some_and(|again| now() < again);
        let Some((config, port)) = self.wanted.clone().filter(|_| self.running.is_none() && !waits) else {
            return Ok(());
        };
        let speaker = Speaker::new(config, self.start, self.seed, now());
        let listen: Vec<SocketAddr> = self.listen.iter().map(|at| SocketAddr::new(*at, port)).collect();
        let made = Driver::new(speaker, &listen, LocRib::Report)
            .and_then(|(driver, handle, reports)| driver.spawn().map(|_| (handle, reports)));
        let (handle, reports) = match made {
            Ok(made) => made,
            Err(error) => {
                tracing::error!("BGP: {error}; trying again");
                self.failed = Some((error, now() + PAUSE));
                return Ok(());
            }
        };
        self.failed = None;
        let originated = std::mem::take(&mut self.originated);
        let all = originated.into_iter().map(|(net, how)| Announcement::Originate(net, how));
        handle.announce(all.collect()).await?;
        if self.complete {
            handle.origination_complete().await?;
        }
        self.running = Some(Running { handle, reports, port });
        Ok(())
    }

    /// What the agent is to hear next. Safe to drop and call again.
    ///
    /// # Errors
    /// The speaker has ended, which it never should.
    pub async fn next(&mut self) -> Result<Option<Input>, Stopped> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        match running.reports.recv().await {
            Some(Report::Changes(changes)) => Ok(Some(Input::LocRib(changes))),
            Some(Report::Notice(notice)) => {
                log(&notice);
                Ok(match notice {
                    Notice::Speaker(event) => Some(Input::Bgp(event)),
                    Notice::Connect { .. } | Notice::Lost { .. } | Notice::Listen(_) => None,
                })
            }
            None => Err(Stopped),
        }
    }

    /// What keeps it from running as it should.
    #[must_use]
    pub fn condition(&self) -> Option<Condition> {
        let warning = |severity, message| Condition { severity, about: "bgp".to_owned(), message };
        if let Some((error, _)) = &self.failed {
            return Some(warning(status::Severity::Error, format!("{error}; trying again")));
        }
        let (running, (_, port)) = self.running.as_ref().zip(self.wanted.as_ref())?;
        let late = format!("listenPort {port} takes effect when the agent is started anew");
        (running.port != *port).then(|| warning(status::Severity::Warning, late))
    }

    /// Ends it.
    pub async fn stop(&mut self, how: Stop) {
        if let Some(running) = self.running.take() {
            // Reports are taken no more; the driver does not wait for that.
            drop(running.reports);
            // One that has ended already is what is wanted.
            let _ = running.handle.stop(how).await;
        }
    }
}

fn log(notice: &Notice) {
    match notice.severity() {
        Severity::Debug => tracing::debug!("{notice}"),
        Severity::Info => tracing::info!("{notice}"),
        Severity::Warning => tracing::warn!("{notice}"),
    }
}

/// What the kernel holds says whether this is the first run since the boot, and of which families it still forwards
/// what a former run announced: routes, and the ranges of services, which have no routes of ours (kube-proxy serves
/// them while we are away).
fn start(state: &State) -> Start {
    let has = |v6: bool| {
        let ranges = nft::Name::new(if v6 { "services6" } else { "services4" });
        let ranges = state.nft.as_ref().and_then(|table| table.sets.get(&ranges));
        state.routes.keys().any(|dst| dst.addr().is_ipv6() == v6)
            || ranges.is_some_and(|set| !set.elements.is_empty())
    };
    let forwarding = Family::ALL.into_iter().filter(|family| has(*family == Family::Ipv6Unicast));
    let forwarding = forwarding.fold(FamilySet::EMPTY, FamilySet::with);
    if forwarding.is_empty() { Start::First } else { Start::Again { forwarding } }
}

#[cfg(test)]
mod tests {
    use corduroy_kernel::IpNet;
    use corduroy_kernel::nft::{DataType, Set, Table};

    use super::*;

    #[test]
    fn a_node_that_announced_nothing_but_addresses_of_services_says_that_it_forwards_them_still() {
        let with = |elements: &[&str]| {
            let mut set = Set::interval(DataType::Ipv4);
            set.elements = elements.iter().map(|net| (net.parse::<IpNet>().unwrap().into(), None)).collect();
            let sets = [("services4".into(), set)].into();
            State { nft: Some(Table { sets, ..Table::default() }), ..State::default() }
        };
        assert_eq!(start(&State::default()), Start::First);
        assert_eq!(start(&with(&[])), Start::First);
        let forwarding = FamilySet::EMPTY.with(Family::Ipv4Unicast);
        assert_eq!(start(&with(&["203.0.113.0/24"])), Start::Again { forwarding });
    }
}
