//! Requests and answers of etcd's JSON: bytes are base64, 64-bit numbers are text, what is zero is left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// A token for a user.
#[derive(Deserialize)]
pub(crate) struct Granted {
    pub(crate) token: String,
}

/// What every answer begins with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Header {
    #[serde(deserialize_with = "number")]
    pub(crate) revision: i64,
}

/// A key and what stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Pair {
    #[serde(deserialize_with = "text")]
    pub(crate) key: String,
    #[serde(deserialize_with = "text")]
    pub(crate) value: String,
    #[serde(deserialize_with = "number")]
    pub(crate) mod_revision: i64,
}

/// A page of keys.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Page {
    pub(crate) header: Header,
    pub(crate) kvs: Vec<Pair>,
    pub(crate) more: bool,
}

/// What became of a transaction.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Done {
    pub(crate) header: Header,
    pub(crate) succeeded: bool,
    pub(crate) responses: Vec<Response>,
}

/// A part of a transaction's answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Response {
    pub(crate) response_range: Page,
}

/// A line of a watch's answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    pub(crate) result: News,
    pub(crate) error: Option<Trouble>,
}

/// What a watch says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct News {
    pub(crate) header: Header,
    pub(crate) created: bool,
    pub(crate) canceled: bool,
    pub(crate) cancel_reason: String,
    #[serde(deserialize_with = "number")]
    pub(crate) compact_revision: i64,
    pub(crate) events: Vec<Happened>,
}

/// A change.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Happened {
    /// `DELETE`, or nothing for a put.
    pub(crate) r#type: String,
    pub(crate) kv: Pair,
}

/// Why a stream ended.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Trouble {
    #[serde(alias = "grpc_code")]
    pub(crate) code: u16,
    pub(crate) message: String,
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Text(String),
        Number(i64),
    }
    match Number::deserialize(from)? {
        Number::Text(text) => text.parse().map_err(serde::de::Error::custom),
        Number::Number(number) => Ok(number),
    }
}

/// What is not text can't be a resource; it is shown as far as it is.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let bytes = BASE64.decode(text).map_err(serde::de::Error::custom)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(crate) fn bytes(text: &str) -> String {
    BASE64.encode(text)
}

/// The key behind all that begin with `prefix`, which ends with `/`.
fn behind(prefix: &str) -> String {
    format!("{}0", prefix.trim_end_matches('/'))
}

/// A page of what begins with `prefix`, from the key behind `after`, as of `revision` (0: now).
pub(crate) fn page(prefix: &str, after: Option<&str>, revision: i64) -> Value {
    // The least key behind another is that one with a zero byte.
    let from = after.map_or_else(|| prefix.to_owned(), |after| format!("{after}\0"));
    let (key, end) = (bytes(&from), bytes(&behind(prefix)));
    json!({ "key": key, "range_end": end, "limit": "500", "revision": revision.to_string() })
}

/// How many there are that begin with `prefix`, as of `revision`.
pub(crate) fn count(prefix: &str, revision: i64) -> Value {
    let (key, end) = (bytes(prefix), bytes(&behind(prefix)));
    json!({ "key": key, "range_end": end, "count_only": true, "revision": revision.to_string() })
}

/// Everything that happens to what begins with `prefix`, from `revision` on.
pub(crate) fn watch(prefix: &str, revision: i64) -> Value {
    json!({ "create_request": {
        "key": bytes(prefix), "range_end": bytes(&behind(prefix)), "start_revision": revision.to_string(),
        "progress_notify": true,
    } })
}

/// One key.
pub(crate) fn one(key: &str) -> Value {
    json!({ "key": bytes(key) })
}

/// Puts `value` at a key, or deletes it, if it was last changed by `revision` (0: is not there). Else says what stands.
pub(crate) fn swap(key: &str, revision: i64, value: Option<&str>) -> Value {
    let then = match value {
        Some(value) => json!({ "request_put": { "key": bytes(key), "value": bytes(value) } }),
        None => json!({ "request_delete_range": { "key": bytes(key) } }),
    };
    json!({
        "compare": [{ "key": bytes(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision.to_string() }],
        "success": [then],
        "failure": [{ "request_range": { "key": bytes(key) } }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_etcd_writes_them() {
        let text = r#"{"result":{"header":{"cluster_id":"1","revision":"12"},"created":true}}"#;
        let line: Line = serde_json::from_str(text).unwrap();
        assert!(line.result.created && line.result.header.revision == 12 && line.error.is_none());
        let text = r#"{"result":{"header":{"revision":"13"},"events":[
            {"kv":{"key":"L2E=","value":"Yg==","mod_revision":"13","version":"1"}},
            {"type":"DELETE","kv":{"key":"L2E=","mod_revision":"14"}}]}}"#;
        let line: Line = serde_json::from_str(text).unwrap();
        let said: Vec<_> =
            line.result.events.iter().map(|e| (e.r#type.as_str(), e.kv.value.as_str())).collect();
        assert_eq!(said, [("", "b"), ("DELETE", "")]);
        assert_eq!(
            line.result.events[1].kv,
            Pair { key: "/a".into(), value: String::new(), mod_revision: 14 }
        );
        let text = r#"{"error":{"grpc_code":7,"http_code":403,"message":"permission denied"}}"#;
        let line: Line = serde_json::from_str(text).unwrap();
        assert_eq!(line.error.unwrap().code, 7);
    }

    #[test]
    fn what_is_no_answer_of_etcd_is_an_error_and_not_a_panic() {
        for text in [
            "",
            "null",
            "<html>",
            r#"{"result": 7}"#,
            r#"{"result": {"header": {"revision": "many"}}}"#,
            r#"{"result": {"header": {"revision": "99999999999999999999"}}}"#,
            r#"{"result": {"events": [{"kv": {"key": "***"}}]}}"#,
        ] {
            assert!(serde_json::from_str::<Line>(text).is_err(), "{text}");
        }
        let odd: Page = serde_json::from_str(r#"{"kvs": [{"key": "/w==", "value": "gA=="}]}"#).unwrap();
        assert_eq!(odd.kvs[0].value, "\u{fffd}");
    }

    #[test]
    fn a_prefix_ends_where_the_next_begins() {
        assert_eq!(behind("/corduroy/ippools/"), "/corduroy/ippools0");
        assert!("/corduroy/ippools/zzz" < behind("/corduroy/ippools/").as_str());
    }
}
