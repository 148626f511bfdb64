//! Events (`events.k8s.io/v1`): what `kubectl describe` and `kubectl events` show of an object.
//!
//! The name of an Event is made of what it says, so that one that is there already is not made again, even by the next
//! run: it becomes a series, with a count and the time it was last seen. It is kept in the namespace of its object;
//! those of objects without one are kept in `default`.

use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::server::{Call, Failure, Server};

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regarding {
    /// As in `v1` or `corduroy.dev/v1alpha1`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name, with its namespace if it has one: `namespace/name`.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// An Event to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// What it is about.
    pub regarding: Regarding,
    /// Who says so: the program, as in `corduroy.dev/agent`, and its node.
    pub reporter: (String, String),
    /// Should somebody look? Otherwise it is good news.
    pub is_warning: bool,
    /// Why, in one CamelCase word.
    pub reason: String,
    /// What happened, in at most 1,024 characters.
    pub note: String,
    /// The how manieth time it is said.
    pub count: u32,
}

impl Regarding {
    /// Its namespace, if it is in one, and its bare name.
    fn place(&self) -> (Option<&str>, &str) {
        self.name
            .split_once('/')
            .map_or((None, self.name.as_str()), |(namespace, name)| (Some(namespace), name))
    }

    /// Where Events about it are kept.
    fn keeper(&self) -> &str {
        self.place().0.unwrap_or("default")
    }
}

impl Announcement {
    /// The same for the same words about the same thing by the same speaker.
    fn name(&self) -> String {
        let Regarding { kind, uid, .. } = &self.regarding;
        let (_, name) = self.regarding.place();
        let words = [kind, uid, &self.reason, &self.note, &self.reporter.0, &self.reporter.1];
        let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
        // FNV-1a
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // The whole is a name of at most 253 characters.
        format!(
            "{}.{hash:016x}",
            name.get(..name.len().min(236)).unwrap_or("event").trim_end_matches(['.', '-'])
        )
    }

    fn body(&self, now: &str) -> Value {
        let Regarding { api_version, kind, uid, .. } = &self.regarding;
        let (namespace, name) = self.regarding.place();
        let mut regarding = json!({ "apiVersion": api_version, "kind": kind, "name": name, "uid": uid });
        if let (Some(namespace), Some(fields)) = (namespace, regarding.as_object_mut()) {
            fields.insert("namespace".to_owned(), namespace.into());
        }
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "name": self.name(), "namespace": self.regarding.keeper() },
            "eventTime": now,
            "reportingController": self.reporter.0,
            "reportingInstance": self.reporter.1.chars().take(128).collect::<String>(),
            "action": "Report",
            "reason": self.reason,
            "regarding": regarding,
            "note": self.note,
            "type": if self.is_warning { "Warning" } else { "Normal" },
        })
    }
}

/// Makes the Event, or lengthens its series.
pub(crate) async fn announce(server: &Server, event: &Announcement) -> Result<(), Failure> {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let body = Some(("application/json", event.body(&now)));
    let events = format!("/apis/events.k8s.io/v1/namespaces/{}/events", event.regarding.keeper());
    match server.call::<IgnoredAny>(Call { method: Method::POST, path: &events, body, accept: None }).await {
        Err(Failure::Answer { code: 409, .. }) => {}
        result => return result.map(|_| ()),
    }
    let path = format!("{events}/{}", event.name());
    let series = json!({ "series": { "count": event.count.max(2), "lastObservedTime": now } });
    let body = Some(("application/merge-patch+json", series));
    server
        .call::<IgnoredAny>(Call { method: Method::PATCH, path: &path, body, accept: None })
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, note: &str) -> Announcement {
        let regarding =
            Regarding { api_version: "v1".into(), kind: "Node".into(), name: name.into(), uid: "u".into() };
        Announcement {
            regarding,
            reporter: ("corduroy.dev/agent".into(), "n1".into()),
            is_warning: true,
            reason: "NotServing".into(),
            note: note.into(),
            count: 1,
        }
    }

    #[test]
    fn an_event_is_kept_where_its_object_is() {
        let body = event("shop/p", "a").body("now");
        assert_eq!(
            (&body["metadata"]["namespace"], &body["regarding"]["namespace"]),
            (&json!("shop"), &json!("shop"))
        );
        assert_eq!(body["regarding"]["name"], "p");
        assert!(body["metadata"]["name"].as_str().unwrap().starts_with("p."), "{body}");
        let body = event("n1", "a").body("now");
        assert_eq!(
            (&body["metadata"]["namespace"], &body["regarding"]["namespace"]),
            (&json!("default"), &Value::Null)
        );
    }

    #[test]
    fn the_same_words_have_the_same_name_and_others_another() {
        assert_eq!(event("n1", "a").name(), event("n1", "a").name());
        assert_ne!(event("n1", "a").name(), event("n1", "b").name());
        let long = event(&"n".repeat(253), "a").name();
        assert!(long.len() <= 253, "{long}");
    }
}
