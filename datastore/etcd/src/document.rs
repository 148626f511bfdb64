//! A resource as the value of a key.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use corduroy_api::{Key, Kind, Rejection, Resource, Secret, SecretValue, Violations, Why, yaml};
use serde_json::{Map, Value, json};

use crate::wire::Pair;

/// What a Secret looks like. What can't be read of one is not repeated: it may be the password.
const SECRET: &str = "it is not {\"data\": {KEY: VALUE in base64}}";

/// The resource that stands at a key, in the state it has there.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read(kind: Kind, folder: &str, pair: &Pair) -> Result<Resource, Vec<Rejection>> {
    let name = pair.key.strip_prefix(folder).unwrap_or(&pair.key);
    let key = Key::new(kind, name);
    let reject = |why| vec![Rejection { key: Some(key.clone()), line: None, why }];
    let resource = match kind {
        Kind::Secret => {
            secret(name, &pair.value).map_err(|all| all.into_iter().flat_map(reject).collect::<Vec<_>>())?
        }
        _ => {
            let documents = yaml::documents(&pair.value);
            let [document] = &documents[..] else {
                let why = format!("{} documents stand at {}, one is allowed", documents.len(), pair.key);
                return Err(reject(Why::Syntax(why)));
            };
            let value = document.parse().map_err(|error| {
                vec![Rejection {
                    key: Some(key.clone()),
                    line: error.line,
                    why: Why::Syntax(error.to_string()),
                }]
            })?;
            Resource::read(&value).map_err(|refused| {
                let key = refused.key.unwrap_or_else(|| key.clone());
                let one =
                    |invalid| Rejection { key: Some(key.clone()), line: None, why: Why::Invalid(invalid) };
                refused.problems.into_iter().map(one).collect::<Vec<_>>()
            })?
        }
    };
    if resource.key() != key {
        // Two keys must not speak for one resource.
        return Err(reject(Why::Unreadable(format!("{} stands at {}", resource.key(), pair.key))));
    }
    Ok(resource.at_version(pair.mod_revision.to_string()))
}

fn secret(name: &str, value: &str) -> Result<Resource, Vec<Why>> {
    let wrong = || vec![Why::Unreadable(SECRET.to_owned())];
    let whole: Map<String, Value> = match serde_json::from_str(value) {
        Ok(Value::Object(whole)) => whole,
        Ok(_) => return Err(wrong()),
        Err(error) => return Err(vec![Why::Syntax(error.to_string())]),
    };
    let said = whole.get("data").map(|data| data.as_object().ok_or_else(wrong)).transpose()?;
    let mut data = BTreeMap::new();
    for (key, value) in said.into_iter().flatten() {
        let text = value.as_str().ok_or_else(wrong)?;
        let bytes = BASE64.decode(text).map_err(|e| vec![Why::Unreadable(format!("{key}: {e}"))])?;
        data.insert(key.clone(), SecretValue::new(&bytes));
    }
    let secret = Secret::new(name, data);
    let secret = secret.map_err(|Violations(all)| all.into_iter().map(Why::Invalid).collect::<Vec<_>>())?;
    Ok(Resource::Secret(Arc::new(secret)))
}

/// What is to stand at its key.
///
/// # Errors
/// It has no form as text.
pub(crate) fn written(resource: &Resource) -> Result<String, String> {
    if let Resource::Secret(secret) = resource {
        let data: BTreeMap<&String, String> =
            secret.data.iter().map(|(key, value)| (key, BASE64.encode(value.expose()))).collect();
        let metadata = json!({ "name": secret.metadata.name });
        return Ok(
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data }).to_string()
        );
    }
    resource.to_yaml().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(key: &str, value: &str) -> Pair {
        Pair { key: format!("/corduroy/{key}"), value: value.to_owned(), mod_revision: 7 }
    }

    fn words(kind: Kind, folder: &str, pair: &Pair) -> String {
        let rejections = read(kind, &format!("/corduroy/{folder}/"), pair).unwrap_err();
        rejections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    const POOL: &str =
        "apiVersion: corduroy.dev/v1alpha1\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.0.0.0/16}\n";

    #[test]
    fn what_is_written_is_read_again() {
        let pool = read(Kind::IpPool, "/corduroy/ippools/", &at("ippools/p", POOL)).unwrap();
        assert_eq!(pool.metadata().resource_version.as_deref(), Some("7"));
        let again = at("ippools/p", &written(&pool).unwrap());
        assert_eq!(read(Kind::IpPool, "/corduroy/ippools/", &again).unwrap(), pool);
        let data = BTreeMap::from([("mesh".to_owned(), SecretValue::new(b"a\xff\n"))]);
        let secret = Resource::Secret(Arc::new(Secret::new("bgp", data).unwrap()));
        let text = written(&secret).unwrap();
        let again = read(Kind::Secret, "/corduroy/secrets/", &at("secrets/bgp", &text)).unwrap();
        assert!(again.same_words(&secret));
    }

    #[test]
    fn what_is_no_resource_is_named_with_its_key() {
        let pools =
            |name: &str, value: &str| words(Kind::IpPool, "ippools", &at(&format!("ippools/{name}"), value));
        assert!(pools("p", "").contains("IPPool/p: not YAML: 0 documents stand at /corduroy/ippools/p"));
        assert!(pools("p", &format!("{POOL}---\n{POOL}")).contains("2 documents"));
        assert!(pools("p", "{").contains("IPPool/p: not YAML"));
        assert!(pools("p", "\u{fffd}\0").contains("IPPool/p"));
        assert!(pools("q", POOL).contains("IPPool/q: can't be read: IPPool/p stands at /corduroy/ippools/q"));
        assert!(pools("p", "kind: BGPFilter").contains("apiVersion"));
        assert!(pools("p", &POOL.replace("/16", "/99")).contains("IPPool/p: spec.cidr: \"10.0.0.0/99\""));
        let secrets = |value: &str| words(Kind::Secret, "secrets", &at("secrets/s", value));
        assert!(secrets("hunter2").contains("Secret/s: not YAML"));
        for value in ["[]", r#""hunter2""#, r#"{"data": "hunter2"}"#, r#"{"data": {"key": 7}}"#] {
            let why = secrets(value);
            assert!(why.contains("Secret/s: can't be read: it is not") && !why.contains("hunter2"), "{why}");
        }
        assert!(secrets(r#"{"data": {"key": "***"}}"#).contains("Secret/s: can't be read: key: "));
    }
}
