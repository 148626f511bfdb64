//! How resources stand, and what their status says of them: read by a list, written by a patch of the status alone.
//!
//! Nothing of it is watched, and a watcher of a resource hears nothing of it.

use corduroy_api::raw::Raw as _;
use corduroy_api::yaml::Value as Yaml;
use corduroy_api::{IpPoolStatusSpec, Kind, Rejection, Report, Resource};
use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::commons::{Commons, CommonsError};
use crate::object::{About, Collection, Custom, Page, Readable as _, Scope};
use crate::server::{Call, Failure};

/// A resource as it stands in the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its kind.
    pub kind: Kind,
    /// Its name, `namespace/name` of a kind that has namespaces.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: u64,
    /// How it reads, or what our own check refuses of it: as a watcher hears it.
    pub words: Result<Resource, Vec<Rejection>>,
    /// Its status; what in it is not as we write it is left out. That of an IPPool has all that another kind's has.
    pub status: IpPoolStatusSpec,
    version: String,
}

#[derive(Deserialize)]
struct Raw {
    metadata: About,
    #[serde(default)]
    spec: Yaml,
    #[serde(default)]
    status: Yaml,
}

impl Raw {
    fn read(self, kind: Kind) -> Standing {
        let Self { metadata, spec, status } = self;
        let About { uid, generation, resource_version: version, .. } = metadata.clone();
        let name = metadata.full_name();
        let status = IpPoolStatusSpec::read(&status, &mut Report::default()).unwrap_or_default();
        let words = Custom { metadata, spec }.read(kind);
        Standing { kind, name, uid, generation, words, status, version }
    }
}

impl Commons {
    /// How all resources of a kind stand, a page at a time.
    ///
    /// # Errors
    /// They can't be listed.
    pub async fn standings(&self, kind: Kind) -> Result<Vec<Standing>, CommonsError> {
        let collection = Collection::of(kind, &Scope::default());
        let mut all = Vec::new();
        let mut from: Option<String> = None;
        loop {
            let path = collection.page(from.as_deref());
            let page = self.server.call::<Page<Raw>>(Call::get(&path)).await;
            let page = page.map_err(CommonsError::of(format!("list of {kind}s")))?;
            all.extend(page.items.into_iter().map(|object| object.read(kind)));
            if page.metadata.r#continue.is_empty() {
                return Ok(all);
            }
            from = Some(page.metadata.r#continue);
        }
    }

    /// Writes the status of a resource where that stands as it was read; its spec stays as it is.
    ///
    /// # Errors
    /// It is in another state by now, or can't be written.
    pub async fn set_status(
        &self,
        standing: &Standing,
        status: &IpPoolStatusSpec,
    ) -> Result<(), CommonsError> {
        let Standing { kind, name, version, .. } = standing;
        let path = format!("{}/status", Collection::of(*kind, &Scope::default()).object(name));
        let what = || CommonsError::of(format!("status of {kind}/{name}"));
        let status = serde_json::to_value(status).map_err(|e| what()(Failure::Silence(e.to_string())))?;
        let patch = json!({ "metadata": { "resourceVersion": version }, "status": status });
        let body = Some(("application/merge-patch+json", patch));
        let call = Call { method: Method::PATCH, path: &path, body, accept: None };
        self.server.call::<IgnoredAny>(call).await.map(|_| ()).map_err(what())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(text: &str) -> Standing {
        serde_json::from_str::<Raw>(text).unwrap().read(Kind::BgpPeer)
    }

    #[test]
    fn a_resource_stands_as_a_watcher_would_hear_it_with_its_generation_and_status() {
        let one = standing(
            r#"{"metadata": {"name": "tor", "uid": "u", "generation": 3, "resourceVersion": "7"},
                "spec": {"peerIP": "192.0.2.1", "asNumber": 65001},
                "status": {"conditions": [{"type": "InForce", "status": "True", "odd": 1}], "odd": 2}}"#,
        );
        assert_eq!((one.name.as_str(), one.uid.as_str(), one.generation), ("tor", "u", 3));
        assert_eq!(one.words.as_ref().unwrap().metadata().resource_version.as_deref(), Some("7"));
        assert_eq!(one.status.conditions.unwrap()[0].status.as_deref(), Some("True"));
        let bad =
            standing(r#"{"metadata": {"name": "tor"}, "spec": {"peerIP": "192.0.2.1", "holdTime": "1s"}}"#);
        let why = bad.words.unwrap_err()[0].to_string();
        assert!(why.starts_with("BGPPeer/tor: spec.holdTime"), "{why}");
        assert_eq!(bad.status, IpPoolStatusSpec::default());
    }
}
