//! Compare-and-swap: a transaction that compares the revision at which its key was last changed.

use corduroy_api::{Key, Resource, Version, Write, WriteError};
use serde_json::Value;

use crate::client::{Client, Failure};
use crate::document;
use crate::wire::{self, Done, Page, Pair};

pub(crate) async fn write(client: &Client, folder: &str, write: Write) -> Result<Version, WriteError> {
    let key = write.key();
    let writer = Writer { client, folder, path: format!("{folder}{}", key.name), key };
    match write {
        Write::Create(resource) => {
            let value = writer.value(&resource)?;
            let done = writer.swap(&wire::swap(&writer.path, 0, Some(&value))).await;
            let done = writer.settled(done, Some(&resource)).await?;
            done.map_err(|_| WriteError::Exists { key: writer.key.clone() })
        }
        Write::Update(resource) => {
            let given = resource.metadata().resource_version.clone();
            let given = given.ok_or(WriteError::NoVersion { key: writer.key.clone() })?;
            let value = writer.value(&resource)?;
            // What stands there already is not written again: nobody needs to hear of it.
            if let Ok(Some(stands)) = writer.stands().await
                && stands.metadata().resource_version.as_ref() == Some(&given)
                && stands.same_words(&resource)
            {
                return Ok(Version(given));
            }
            let revision = writer.revision(&given)?;
            let done = writer.swap(&wire::swap(&writer.path, revision, Some(&value))).await;
            writer.settled(done, Some(&resource)).await?.map_err(|stands| writer.overtaken(stands.as_ref()))
        }
        Write::Delete { version, .. } => {
            let revision = writer.revision(&version.0)?;
            let done = writer.swap(&wire::swap(&writer.path, revision, None)).await;
            let done = writer.settled(done, None).await?;
            // The state it was in, as the writer knows it.
            done.map(|_| version).map_err(|stands| writer.overtaken(stands.as_ref()))
        }
    }
}

struct Writer<'a> {
    client: &'a Client,
    folder: &'a str,
    /// The key in etcd.
    path: String,
    key: Key,
}

/// Done, or what stood there instead.
type Outcome = Result<Version, Option<Pair>>;

impl Writer<'_> {
    fn value(&self, resource: &Resource) -> Result<String, WriteError> {
        document::written(resource).map_err(|why| WriteError::Refused { key: self.key.clone(), why })
    }

    /// What is no revision is of another datastore, and surely not of this state.
    fn revision(&self, version: &str) -> Result<i64, WriteError> {
        let revision = version.parse().ok().filter(|revision| *revision > 0);
        revision.ok_or(WriteError::Conflict { key: self.key.clone() })
    }

    async fn swap(&self, body: &Value) -> Result<Outcome, Failure> {
        let done: Done = self.client.call("/v3/kv/txn", body).await?;
        if done.succeeded {
            return Ok(Ok(Version(done.header.revision.to_string())));
        }
        let stood = done.responses.into_iter().flat_map(|response| response.response_range.kvs).next();
        Ok(Err(stood))
    }

    /// A write whose answer was lost was carried out if what stands there is what was written.
    async fn settled(
        &self,
        done: Result<Outcome, Failure>,
        wanted: Option<&Resource>,
    ) -> Result<Outcome, WriteError> {
        let failure = match done {
            Ok(outcome) => return Ok(outcome),
            Err(failure) => failure,
        };
        if let (Failure::Silence(_), Some(wanted)) = (&failure, wanted)
            && let Ok(Some(stands)) = self.stands().await
            && stands.same_words(wanted)
            && let Some(version) = &stands.metadata().resource_version
        {
            return Ok(Ok(Version(version.clone())));
        }
        let (key, why) = (self.key.clone(), failure.words());
        Err(match failure {
            // INVALID_ARGUMENT: a value too big, for one.
            Failure::Answer { code: 3 | 400, .. } => WriteError::Refused { key, why },
            _ => WriteError::Unavailable { key, why },
        })
    }

    /// What stands there now. What can't be used is nothing.
    async fn stands(&self) -> Result<Option<Resource>, Failure> {
        let page: Page = self.client.call("/v3/kv/range", &wire::one(&self.path)).await?;
        let pair = page.kvs.first();
        Ok(pair.and_then(|pair| document::read(self.key.kind, self.folder, pair).ok()))
    }

    fn overtaken(&self, stood: Option<&Pair>) -> WriteError {
        let key = self.key.clone();
        if stood.is_some() { WriteError::Conflict { key } } else { WriteError::NotFound { key } }
    }
}
