//! Compare-and-swap on the API server.
//!
//! * An update is a JSON patch of labels, annotations and spec that names the version it is meant for. What we do
//!   not read (finalizers, owners, status) stays as it is, which a replacement of the whole would not leave.
//! * A write whose answer was lost may have been carried out: what stands there then says whether it was.
//! * Whoever writes only a status makes a new version of the object, of which no watcher is told, since it says the
//!   same. A writer with the version before it is right about what stands there; his write is made on the new version.

use std::sync::Arc;

use corduroy_api::{Key, Kind, Resource, Version, Write, WriteError, yaml};
use corduroy_datastore::Hub;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::object::{About, Collection, CoreSecret, Custom, Readable, Scope, encoded};
use crate::server::{Call, Failure, Server};

/// How often a write is made anew on a version that differs only in its status.
const TRIES: usize = 4;

/// One write.
pub(crate) struct Writer<'a> {
    server: &'a Server,
    collection: Collection,
    key: Key,
    /// What watchers were told, if there are any.
    told: Option<Arc<Hub>>,
}

/// Any object, of which only the metadata counts.
#[derive(Deserialize)]
struct Written {
    metadata: About,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(server: &'a Server, scope: &Scope, key: Key, told: Option<Arc<Hub>>) -> Self {
        Self { server, collection: Collection::of(key.kind, scope), key, told }
    }

    pub(crate) async fn write(&self, write: Write) -> Result<Version, WriteError> {
        match write {
            Write::Create(resource) => self.create(&resource).await,
            Write::Update(resource) => {
                let given = resource.metadata().resource_version.clone();
                let given = given.ok_or(WriteError::NoVersion { key: self.key.clone() })?;
                self.change(&given, Some(&resource)).await
            }
            Write::Delete { version, .. } => self.change(&version.0, None).await,
        }
    }

    async fn create(&self, resource: &Resource) -> Result<Version, WriteError> {
        let mut body = self.body(resource)?;
        if let Some(metadata) = body.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            metadata.remove("uid");
        }
        let body = Some(("application/json", body));
        let path = self.collection.made_at(&self.key.name);
        let call = Call { method: Method::POST, path: &path, body, accept: None };
        match self.server.call::<Written>(call).await {
            Ok(written) => Ok(Version(written.metadata.resource_version)),
            Err(failure @ Failure::Silence(_)) => self.settle(resource, &failure).await,
            Err(failure) => Err(self.refused(&failure)),
        }
    }

    /// Updates to `wanted`, or deletes, what is in the state `given`.
    async fn change(&self, given: &str, wanted: Option<&Resource>) -> Result<Version, WriteError> {
        let mut version = given.to_owned();
        for _ in 0..TRIES {
            let failure = match self.attempt(&version, wanted).await {
                // The state it was in, as the writer knows it.
                Ok(_) if wanted.is_none() => return Ok(Version(given.to_owned())),
                Ok(after) => return Ok(after),
                Err(failure) => failure,
            };
            let retry = match (&failure, wanted) {
                (Failure::Silence(_), Some(wanted)) => return self.settle(wanted, &failure).await,
                (Failure::Answer { code: 409, .. }, _) => {
                    self.newer_of_the_same(given).await.map_err(|failure| self.refused(&failure))?
                }
                _ => None,
            };
            version = retry.filter(|newer| *newer != version).ok_or_else(|| self.refused(&failure))?;
        }
        Err(WriteError::Conflict { key: self.key.clone() })
    }

    async fn attempt(&self, version: &str, wanted: Option<&Resource>) -> Result<Version, Failure> {
        let path = self.collection.object(&self.key.name);
        let (method, body) = match wanted {
            Some(wanted) => {
                let patch = self.patch(version, wanted).map_err(|e| Failure::Silence(e.to_string()))?;
                (Method::PATCH, ("application/json-patch+json", patch))
            }
            None => {
                let preconditions = json!({ "resourceVersion": version });
                let options = json!({
                    "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions,
                });
                (Method::DELETE, ("application/json", options))
            }
        };
        let call = Call { method, path: &path, body: Some(body), accept: None };
        if wanted.is_none() {
            self.server.call::<serde::de::IgnoredAny>(call).await?;
            return Ok(Version(version.to_owned()));
        }
        Ok(Version(self.server.call::<Written>(call).await?.metadata.resource_version))
    }

    /// The version of what stands there, if it says what watchers were told in the version `given`.
    async fn newer_of_the_same(&self, given: &str) -> Result<Option<String>, Failure> {
        let told = self.told.as_ref().map(|hub| hub.list(self.key.kind)).unwrap_or_default();
        let told = told.into_iter().find(|resource| resource.key() == self.key);
        let is_given = |told: &Resource| told.metadata().resource_version.as_deref() == Some(given);
        let Some(told) = told.filter(is_given) else { return Ok(None) };
        let stands = self.stands().await?.filter(|stands| told.same_words(stands));
        Ok(stands.and_then(|stands| stands.metadata().resource_version.clone()))
    }

    /// After a write whose answer was lost: it was carried out if what stands there is what was written.
    async fn settle(&self, wanted: &Resource, failure: &Failure) -> Result<Version, WriteError> {
        if let Ok(Some(stands)) = self.stands().await
            && self.words(&stands).ok() == self.words(wanted).ok()
            && let Some(version) = &stands.metadata().resource_version
        {
            return Ok(Version(version.clone()));
        }
        Err(self.refused(failure))
    }

    /// What the server has now. What it has in an unusable form is nothing.
    async fn stands(&self) -> Result<Option<Resource>, Failure> {
        let path = self.collection.object(&self.key.name);
        let kind = self.key.kind;
        Ok(match kind {
            Kind::Secret => self.server.call::<CoreSecret>(Call::get(&path)).await?.read(kind).ok(),
            _ => self.server.call::<Custom>(Call::get(&path)).await?.read(kind).ok(),
        })
    }

    /// What a resource says, without its identity.
    fn words(&self, resource: &Resource) -> Result<Vec<(&'static str, Value)>, WriteError> {
        let mut body = self.body(resource)?;
        let mut take = |path: &str| body.pointer_mut(path).map(Value::take).unwrap_or_default();
        let parts = ["/metadata/labels", "/metadata/annotations", "/spec", "/data"];
        Ok(parts.into_iter().map(|path| (path, take(path))).collect())
    }

    fn patch(&self, version: &str, wanted: &Resource) -> Result<Value, WriteError> {
        // An object made anew under this name has another version, too.
        let mut operations = vec![json!({
            "op": "replace", "path": "/metadata/resourceVersion", "value": version,
        })];
        for (path, value) in self.words(wanted)? {
            // A secret has no spec, and others have no data; no labels are no labels.
            let ours = path.starts_with("/metadata") || !value.is_null();
            let value = if value.is_null() { json!({}) } else { value };
            if ours {
                operations.push(json!({ "op": "add", "path": path, "value": value }));
            }
        }
        Ok(Value::Array(operations))
    }

    /// The resource as the API server wants it.
    fn body(&self, resource: &Resource) -> Result<Value, WriteError> {
        let refused = |why: String| WriteError::Refused { key: self.key.clone(), why };
        if let Resource::Secret(secret) = resource {
            let metadata = json!({ "name": secret.metadata.name });
            let data = encoded(secret);
            return Ok(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data }));
        }
        let text = resource.to_yaml().map_err(|e| refused(e.to_string()))?;
        let documents = yaml::documents(&text);
        let document = documents.first().ok_or_else(|| refused("it says nothing".to_owned()))?;
        let value = document.parse().map_err(|e| refused(e.to_string()))?;
        serde_json::to_value(value).map_err(|e| refused(e.to_string()))
    }

    fn refused(&self, failure: &Failure) -> WriteError {
        let key = self.key.clone();
        match failure {
            Failure::Answer { code: 404, named: true, .. } => WriteError::NotFound { key },
            Failure::Answer { code: 409, reason, .. } if reason == "AlreadyExists" => {
                WriteError::Exists { key }
            }
            Failure::Answer { code: 409, .. } => WriteError::Conflict { key },
            Failure::Answer { code: 400 | 413 | 422, .. } => {
                WriteError::Refused { key, why: failure.words() }
            }
            _ => WriteError::Unavailable { key, why: failure.words() },
        }
    }
}
