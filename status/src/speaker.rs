//! The speaker's part of every answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use corduroy_bgp::config::{Config, PeerKey};
use corduroy_bgp::status::{RouteQuery, Select, Table};
use corduroy_bgp::{Family, Net};
use corduroy_bgp_net::{Counters, Handle, Stopped, now};
use corduroy_fabric::status::{self, Pager, QueryError};
use corduroy_ipc::status as ipc;
use ipnetwork::IpNetwork;

/// Prefixes looked at in one go when the longest match is wanted.
const SCAN: u32 = 4096;

/// The way to a running speaker, and who its peers are: everything it takes to answer for it. A clone costs three
/// pointers.
#[derive(Clone, Debug)]
pub struct SpeakerView {
    handle: Handle,
    config: Arc<Config>,
    origins: Arc<BTreeMap<PeerKey, String>>,
}

/// Why a question about the speaker has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The question is wrong.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The speaker has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl From<Refused> for ipc::StatusAnswer {
    fn from(refused: Refused) -> Self {
        Self::Failed { why: refused.to_string() }
    }
}

impl SpeakerView {
    /// `config` is what the speaker was told last, `origins` where its peers come from
    /// ([`corduroy_fabric::status::origins`]).
    #[must_use]
    pub fn new(handle: Handle, config: Arc<Config>, origins: Arc<BTreeMap<PeerKey, String>>) -> Self {
        Self { handle, config, origins }
    }

    /// Every peer, by address.
    ///
    /// # Errors
    /// The speaker has ended.
    pub async fn peers(&self) -> Result<Vec<ipc::Peer>, Stopped> {
        let peers = self.handle.peers().await?;
        Ok(status::peers(&peers, &self.config, &self.origins, now()))
    }

    /// The speaker in numbers. What it originates is added by who knows.
    ///
    /// # Errors
    /// The speaker has ended.
    pub async fn summary(&self) -> Result<ipc::BgpSummary, Stopped> {
        let peers = self.handle.peers().await?;
        let sizes = self.handle.sizes().await?;
        let counts = Family::ALL.iter().zip(sizes.prefixes);
        let prefixes = counts
            .map(|(family, count)| ipc::FamilyCount { family: family.to_string(), count: count as u64 })
            .collect();
        Ok(ipc::BgpSummary { prefixes, ..status::summary(&self.config, &peers) })
    }

    /// What the driver has done since it started.
    ///
    /// # Errors
    /// The speaker has ended.
    pub async fn counters(&self) -> Result<Counters, Stopped> {
        self.handle.counters().await
    }

    /// A page of routes.
    ///
    /// # Errors
    /// The question is wrong, or the speaker has ended.
    pub async fn routes(&self, query: &ipc::RouteQuery) -> Result<ipc::RoutePage, Refused> {
        let mut pager = Pager::new(query)?;
        while let Some(query) = pager.query() {
            pager.take(&self.handle.routes(query).await?);
        }
        Ok(pager.finish())
    }

    /// Why `asked` is where it is; for an address, why the longest prefix around it is. Who owns it and what the kernel
    /// has is added by who knows.
    ///
    /// # Errors
    /// `asked` has host bits, or the speaker has ended.
    pub async fn explain(&self, asked: IpNetwork) -> Result<ipc::Explanation, Refused> {
        let net = Net::new(asked.ip(), asked.prefix()).map_err(|_| QueryError::NoPrefix(asked))?;
        let is_host = asked.prefix() == if asked.is_ipv6() { 128 } else { 32 };
        let net = if is_host { self.longest(net).await? } else { net };
        Ok(status::explanation(&self.handle.explain(net).await?))
    }

    async fn longest(&self, host: Net) -> Result<Net, Stopped> {
        let mut covering = Vec::new();
        let mut from = Some(0);
        while let Some(start) = from {
            let (table, select) = (Table::LocRib, Select::Covering(host));
            let query = RouteQuery { family: host.family(), table, select, from: start, scan: SCAN };
            let page = self.handle.routes(query).await?;
            covering.extend(page.routes);
            from = page.next;
        }
        Ok(status::longest(host, &covering))
    }
}
