//! What the cluster says of this node's pods and of namespaces, as far as addresses go.
//!
//! An ADD asks nobody: everything is here already, out of watches, or it comes in a moment. kubelet may be ahead of the
//! watch: then the ADD waits, for as long as any request does. While the API server can't be had, what was known
//! before counts, and a pod that was not known gets addresses as if it had no annotations, which is told. But not where
//! there are policies: nobody can say which of them are about a pod without its labels, so it is not let in before they
//! are known.
//!
//! The wishes of a pod, the first that is there:
//!
//! | | pools, for each family | addresses, for each family |
//! |---|---|---|
//! | 1 | the pod's annotation | the pod's annotation |
//! | 2 | the namespace's annotation | the runtime's (`CNI_ARGS`, capability `ips`) |
//! | 3 | the network configuration (`ipam.pools`) | any |
//! | 4 | the automatic pools whose namespaceSelector has the namespace, or that have none | |

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use corduroy_api::{Addressing, BadAnnotation, Metadata, Namespace, Pod, addressing};
use corduroy_ipc::cni::Add;

use crate::ipam::{Choice, Purpose, Request};

/// How well pods and namespaces are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Knowledge {
    /// There is no cluster, and there are no such things.
    #[default]
    NoCluster,
    /// All of them, a moment after they change.
    Live,
    /// As they were before.
    Stale {
        /// Why.
        why: String,
        /// Is there any policy, which may be about a pod that is not known?
        policies: bool,
    },
}

/// Pods and namespaces.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) knowledge: Knowledge,
    pub(super) pods: BTreeMap<String, Arc<Pod>>,
    pub(super) namespaces: BTreeMap<String, Arc<Namespace>>,
}

/// What is wished for a pod.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    pub(super) request: Request,
    /// The annotations that say so, for people.
    pub(super) said: Vec<String>,
    /// What is not known of the pod, and why.
    pub(super) unknown: Option<String>,
}

/// Why it is not known what is wished.
#[derive(Clone, Debug)]
pub(super) enum Unmet {
    /// It comes in a moment.
    Later(String),
    /// An annotation is wrong; of which object.
    Bad(String, BadAnnotation),
}

impl Directory {
    /// What an ADD wishes for.
    pub(super) fn wishes(&self, add: &Add) -> Result<Wishes, Unmet> {
        let pools =
            || if add.pools.is_empty() { Choice::Automatic } else { Choice::Among(add.pools.clone()) };
        let mut wishes = Wishes {
            request: Request {
                wanted: add.ips.clone(),
                pools: [pools(), pools()],
                ..Request::any(Purpose::Pod)
            },
            said: Vec::new(),
            unknown: None,
        };
        let Some(owner) = &add.pod else { return Ok(wishes) };
        let name = Pod::key_name(&owner.namespace, &owner.name);
        let is_it = |pod: &&Arc<Pod>| owner.uid.is_empty() || pod.is(&owner.uid);
        let pod = self.pods.get(&name).filter(is_it);
        let namespace = self.namespaces.get(&owner.namespace);
        let missing = match (pod, namespace) {
            (Some(_), Some(_)) => None,
            (None, _) => Some(format!("Pod {name}")),
            (_, None) => Some(format!("Namespace {}", owner.namespace)),
        };
        match (missing, &self.knowledge) {
            (_, Knowledge::NoCluster) => return Ok(wishes),
            (None, _) => {}
            (Some(what), Knowledge::Live) => {
                return Err(Unmet::Later(format!("the API server has not shown {what} yet")));
            }
            (Some(what), Knowledge::Stale { why, policies: true }) => {
                let unjudged = "which policies are about it can't be told";
                return Err(Unmet::Later(format!("{what} is not known and {unjudged}: {why}")));
            }
            (Some(what), Knowledge::Stale { why, policies: false }) => {
                wishes.unknown = Some(format!("{what} is not known and its annotations do not count: {why}"));
            }
        }
        wishes.request.namespace = namespace.cloned();
        if let Some(namespace) = namespace {
            wishes.take(&format!("Namespace {}", owner.namespace), &namespace.metadata)?;
        }
        if let Some(pod) = pod {
            wishes.take(&format!("Pod {name}"), &pod.metadata)?;
        }
        Ok(wishes)
    }
}

impl Wishes {
    /// The annotations of an object go before what was there.
    fn take(&mut self, of: &str, metadata: &Metadata) -> Result<(), Unmet> {
        let read = Addressing::read(&metadata.annotations).map_err(|bad| Unmet::Bad(of.to_owned(), bad))?;
        for (choice, pools) in self.request.pools.iter_mut().zip([read.pools_v4, read.pools_v6]) {
            if !pools.is_empty() {
                *choice = Choice::Only(pools);
            }
        }
        let other = |ip: &IpAddr| !read.addresses.iter().any(|fixed| fixed.is_ipv4() == ip.is_ipv4());
        self.request.wanted.retain(other);
        self.request.wanted.extend(read.addresses);
        let known = metadata.annotations.iter().filter(|(key, _)| addressing::ALL.contains(&key.as_str()));
        self.said.extend(known.map(|(key, value)| format!("annotation {key} of {of} says {value}")));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use corduroy_ipc::cni::{self, AttachmentKey};

    use super::*;

    fn add(uid: &str) -> Add {
        let key = AttachmentKey { network: "n".into(), container_id: "c".into(), ifname: "eth0".into() };
        let pod = cni::Pod { namespace: "web".into(), name: "front".into(), uid: uid.into() };
        let ips = vec!["10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap()];
        Add { key, pod: Some(pod), ips, mac: None, pools: vec!["config".into()], mtu: None, started: 0 }
    }

    fn metadata(name: &str, uid: &str, annotations: &[(&str, &str)]) -> Metadata {
        let annotations = annotations.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Metadata { uid: Some(uid.into()), annotations, ..Metadata::named(name) }
    }

    fn directory(pod: &[(&str, &str)], namespace: &[(&str, &str)]) -> Directory {
        let pod = Pod::new("web", metadata("front", "u", pod));
        let namespace = Namespace::new(metadata("web", "v", namespace));
        Directory {
            knowledge: Knowledge::Live,
            pods: [(pod.metadata.name.clone(), Arc::new(pod))].into(),
            namespaces: [("web".to_owned(), Arc::new(namespace))].into(),
        }
    }

    fn only(name: &str) -> Choice {
        Choice::Only(vec![name.into()])
    }

    #[test]
    fn a_pods_word_goes_before_its_namespaces_and_that_before_the_configurations() {
        let known = directory(
            &[("corduroy.dev/ipv4pools", "[pod]"), ("corduroy.dev/ipAddrs", "[10.0.0.5]")],
            &[("corduroy.dev/ipv4pools", "[ns4]"), ("cni.projectcalico.org/ipv6pools", "[ns6]")],
        );
        let wishes = known.wishes(&add("u")).unwrap();
        assert_eq!(wishes.request.pools, [only("pod"), only("ns6")]);
        let wanted: Vec<String> = wishes.request.wanted.iter().map(ToString::to_string).collect();
        assert_eq!(wanted, ["fd00::9", "10.0.0.5"]);
        assert!(wishes.said.iter().any(|said| said.contains("ipv6pools of Namespace web says [ns6]")));
        let plain = directory(&[], &[]).wishes(&add("u")).unwrap();
        assert_eq!(plain.request.pools[0], Choice::Among(vec!["config".into()]));
        assert_eq!(plain.request.namespace.unwrap().metadata.labels["projectcalico.org/name"], "web");
    }

    #[test]
    fn a_pod_that_was_not_shown_is_waited_for_unless_it_can_not_be_had() {
        let mut known = directory(&[("corduroy.dev/ipAddrs", "[10.0.0.5]")], &[]);
        // Its predecessor of the same name.
        let later = known.wishes(&add("another")).unwrap_err();
        assert!(
            matches!(&later, Unmet::Later(why) if why.contains("has not shown Pod web/front")),
            "{later:?}"
        );
        assert!(known.wishes(&add("")).is_ok(), "a runtime that names no uid");
        let stale = |policies| Knowledge::Stale { why: "no right".into(), policies };
        known.knowledge = stale(true);
        let unjudged = known.wishes(&add("another")).unwrap_err();
        assert!(
            matches!(&unjudged, Unmet::Later(why) if why.contains("policies") && why.ends_with("no right"))
        );
        assert!(known.wishes(&add("u")).is_ok(), "what was known before counts");
        known.knowledge = stale(false);
        let without = known.wishes(&add("another")).unwrap();
        assert!(without.unknown.unwrap().contains("Pod web/front is not known"));
        assert!(known.wishes(&add("u")).unwrap().unknown.is_none(), "what was known before counts");
        known.namespaces.clear();
        known.knowledge = Knowledge::Live;
        assert!(matches!(known.wishes(&add("u")), Err(Unmet::Later(_))));
        known.knowledge = Knowledge::NoCluster;
        assert_eq!(known.wishes(&add("u")).unwrap().request.wanted.len(), 2);
    }

    #[test]
    fn a_static_pod_is_known_by_the_uid_that_kubelet_gave_it() {
        let known = directory(&[("kubernetes.io/config.mirror", "hash")], &[]);
        assert!(known.wishes(&add("hash")).is_ok());
    }

    #[test]
    fn a_bad_annotation_is_told_with_whose_it_is() {
        let known = directory(&[], &[("corduroy.dev/ipv4pools", "red")]);
        let Err(Unmet::Bad(of, bad)) = known.wishes(&add("u")) else { panic!("it was taken") };
        assert_eq!(of, "Namespace web");
        assert!(bad.to_string().contains("corduroy.dev/ipv4pools"), "{bad}");
    }
}
