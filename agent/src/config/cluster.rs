//! `datastore.kubernetes:` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use corduroy_agent_core::caretaker::Settings;
use corduroy_api::raw::raw;
use corduroy_api::{Report, quoted};
use ipnetwork::IpNetwork;

use super::{absolute, prefix};
use crate::caretaker::Duties;

/// The API server of a Kubernetes cluster, and what the cluster as a whole needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStore {
    /// How to get there; `None`: by the service account of the pod this process runs in.
    pub kubeconfig: Option<PathBuf>,
    /// What this agent does when it is the caretaker.
    pub duties: Duties,
}

raw! {
    /// `datastore.kubernetes:`.
    pub struct KubernetesFile {
        /// How to get there; else the service account of the pod.
        kubeconfig: String = "kubeconfig",
        /// What one agent at a time does for all.
        caretaker: CaretakerFile = "caretaker",
        /// The pools of a cluster that has none; else what kubeadm was told.
        default_pools: Vec<String> = "defaultPools",
    }
}

raw! {
    /// `datastore.kubernetes.caretaker:`.
    pub struct CaretakerFile {
        /// May this agent be the caretaker?
        enabled: bool = "enabled",
        /// How long a Lease holds that nobody renews.
        lease: String = "lease",
        /// The pause between two rounds.
        interval: String = "interval",
        /// How long a node must be seen gone.
        patience: String = "patience",
    }
}

pub(super) fn check(file: &KubernetesFile, report: &mut Report) -> ClusterStore {
    let default = Settings::default();
    let caretaker = file.caretaker.clone().unwrap_or_default();
    let settings = report.within("caretaker", |r| {
        let seconds = |field: &str, raw: Option<&String>, range, default: Duration, r: &mut Report| {
            r.seconds(field, raw, range).unwrap_or(default)
        };
        Settings {
            enabled: caretaker.enabled.unwrap_or(default.enabled),
            term: seconds("lease", caretaker.lease.as_ref(), 3..=600, default.term, r),
            interval: seconds("interval", caretaker.interval.as_ref(), 1..=3_600, default.interval, r),
            patience: seconds("patience", caretaker.patience.as_ref(), 1..=86_400, default.patience, r),
        }
    });
    ClusterStore {
        kubeconfig: absolute("kubeconfig", file.kubeconfig.as_ref(), report),
        duties: Duties { settings, default_pools: default_pools(file.default_pools.as_deref(), report) },
    }
}

fn default_pools(raw: Option<&[String]>, report: &mut Report) -> Option<Vec<IpNetwork>> {
    let allowed = "a prefix, as in 10.244.0.0/16, and at most one of each family; [] for no pools";
    report.within("defaultPools", |r| {
        let mut pools: Vec<IpNetwork> = Vec::new();
        for (i, text) in raw?.iter().enumerate() {
            match prefix(text) {
                Some(net) if !pools.iter().any(|other| other.is_ipv4() == net.is_ipv4()) => {
                    pools.push(net);
                }
                _ => r.within(i, |r| r.refuse(quoted(text), allowed)),
            }
        }
        Some(pools)
    })
}
