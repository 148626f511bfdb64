//! The pools of a cluster in which nobody has made any.
//!
//! Pods need addresses that nothing else uses, and the one who knows them is whoever set the cluster up. So only two
//! sources count: our own configuration, and what kubeadm was told (`networking.podSubnet`), which is also what the
//! controller manager cuts podCIDRs from. The podCIDRs of Nodes are no source: they are parts of a whole that they do
//! not tell, and a pool never changes its CIDR. Nor are ServiceCIDRs, which are not for pods.
//!
//! This happens once in the life of a cluster: the Lease is marked as soon as there has been any pool, so that an
//! operator who deletes all of them does not get one back.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::{Checked, IpPool, IpPoolSpec, Metadata, Report};
use corduroy_bgp::Time;
use ipnetwork::IpNetwork;

/// Those who make a cluster and its pools in one go should not find ours among them.
const GRACE: Duration = Duration::from_secs(10);
/// Says on a pool where its CIDR is from.
const ORIGIN: &str = "corduroy.dev/derived-from";

/// What a missing pool calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing, for now or at all.
    Nothing,
    /// There is a pool: the Lease is to say so.
    Mark,
    /// Pools are to be derived.
    Derive,
}

/// Whether pools are to be derived.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultPools {
    missed: Option<Time>,
}

impl DefaultPools {
    /// Given whether there is any pool (`None`: not known), and whether the Lease says that there has been one.
    pub fn settle(&mut self, has_pools: Option<bool>, marked: bool, now: Time) -> Wish {
        match has_pools {
            Some(true) if !marked => Wish::Mark,
            Some(false) if !marked => {
                let missed = *self.missed.get_or_insert(now);
                if now.since(missed) < GRACE { Wish::Nothing } else { Wish::Derive }
            }
            None | Some(_) => {
                self.missed = None;
                Wish::Nothing
            }
        }
    }

    /// When [`DefaultPools::settle`] may wish for something else.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.missed.map(|missed| missed + GRACE)
    }
}

/// Where a CIDR is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The agents' configuration.
    Configuration,
    /// What kubeadm keeps of its own.
    Kubeadm,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configuration => "datastore.kubernetes.defaultPools of the agent's configuration",
            Self::Kubeadm => "networking.podSubnet in ConfigMap kube-system/kubeadm-config",
        })
    }
}

/// Why no pool is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPool {
    /// By configuration.
    #[error("there is no IPPool, and defaultPools of the agent's configuration wants none: create one")]
    Unwanted,
    /// Nobody says which addresses pods are to have.
    #[error(
        "there is no IPPool, and the cluster does not say which addresses its pods are to have (no \
         networking.podSubnet in ConfigMap kube-system/kubeadm-config): create an IPPool, or set \
         datastore.kubernetes.defaultPools in the agent's configuration"
    )]
    Unknown,
    /// What is said is no pool.
    #[error("there is no IPPool, and none can be made of {text:?} ({source_}): {why}")]
    Unusable {
        /// Where it is from.
        source_: Source,
        /// What it says.
        text: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The pools of a new cluster: by the configuration if that says anything, else by kubeadm's `podSubnet`.
///
/// # Errors
/// [`NoPool`].
pub fn derive(
    configured: Option<&[IpNetwork]>,
    kubeadm: Option<&str>,
) -> Result<Vec<(Arc<IpPool>, Source)>, NoPool> {
    let (texts, source): (Vec<String>, _) = match (configured, kubeadm) {
        (Some([]), _) => return Err(NoPool::Unwanted),
        (Some(cidrs), _) => (cidrs.iter().map(ToString::to_string).collect(), Source::Configuration),
        (None, Some(subnets)) if !subnets.trim().is_empty() => {
            (subnets.split(',').map(|text| text.trim().to_owned()).collect(), Source::Kubeadm)
        }
        (None, _) => return Err(NoPool::Unknown),
    };
    let mut pools: Vec<(Arc<IpPool>, Source)> = Vec::new();
    for text in texts {
        let unusable = |why: String| NoPool::Unusable { source_: source, text: text.clone(), why };
        let pool = pool(&text, source).map_err(unusable)?;
        if pools.iter().any(|(other, _)| other.metadata.name == pool.metadata.name) {
            return Err(unusable("a second CIDR of its family; one of each is allowed".to_owned()));
        }
        pools.push((Arc::new(pool), source));
    }
    Ok(pools)
}

fn pool(text: &str, source: Source) -> Result<IpPool, String> {
    let cidr: IpNetwork = text.parse().map_err(|_| "it is no CIDR, as 10.244.0.0/16 is".to_owned())?;
    let family = if cidr.is_ipv4() { "ipv4" } else { "ipv6" };
    let mut metadata = Metadata::named(format!("default-{family}-ippool"));
    metadata.annotations.insert(ORIGIN.to_owned(), source.to_string());
    // Addresses that the outside can't answer are masqueraded on the way there.
    let private = match cidr.network() {
        IpAddr::V4(address) => {
            address.is_private() || (address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64)
        }
        IpAddr::V6(address) => address.is_unique_local(),
    };
    let spec =
        IpPoolSpec { cidr: Some(text.to_owned()), nat_outgoing: Some(private), ..IpPoolSpec::default() };
    let mut report = Report::default();
    let pool = IpPool::check(metadata, &spec, &mut report);
    report.finish(pool).map_err(|violations| violations.to_string())
}

#[cfg(test)]
mod tests;
