//! Takes out what looks like a secret: the values of fields with telling names, keys and certificates' private halves,
//! tokens wherever they stand. Rather too much than too little; what is taken out leaves a mark.

use serde_json::Value;

const MARK: &str = "[taken out]";
/// What a secret's field has in its name, in small letters.
const TELLING: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "token",
    "secret",
    "credential",
    "apikey",
    "privatekey",
    "authorization",
];
/// Names that only tell where a secret is, or whose it is.
const HARMLESS: [&str; 8] = [
    "secretkeyref",
    "secretname",
    "secretref",
    "secrets",
    "imagepullsecrets",
    "automountserviceaccounttoken",
    "serviceaccounttoken",
    "tokenexpirationseconds",
];
/// An annotation in which whole objects stand as text.
const COPY: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Is the value of a field of this name to be taken out?
fn tells(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    TELLING.iter().any(|word| name.contains(word)) && !HARMLESS.contains(&name.as_str())
}

/// An object without secrets.
pub(super) fn without_in(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            // An environment variable has its name beside its value.
            let is_named = map.get("name").and_then(Value::as_str).is_some_and(tells);
            let is_secret = map.get("kind").is_some_and(|kind| kind == "Secret");
            let each = map.into_iter().map(|(key, value)| {
                let bare = value.is_string() || value.is_number();
                let out = match key.as_str() {
                    COPY | "managedFields" => MARK.into(),
                    "data" | "stringData" if is_secret => MARK.into(),
                    "value" if is_named && bare => MARK.into(),
                    _ if bare && tells(&key) => MARK.into(),
                    _ => without_in(value),
                };
                (key, out)
            });
            Value::Object(each.collect())
        }
        Value::Array(all) => Value::Array(all.into_iter().map(without_in).collect()),
        Value::String(text) => Value::String(without(&text)),
        other => other,
    }
}

/// A text without secrets.
pub(super) fn without(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        if line.contains("-----BEGIN") && line.contains("PRIVATE KEY") {
            in_key = true;
            out += MARK;
            out.push('\n');
        }
        let ends = line.contains("-----END") && line.contains("PRIVATE KEY");
        if !in_key {
            out += &line_without(line);
        }
        in_key &= !ends;
    }
    out
}

fn line_without(line: &str) -> String {
    let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
    let body = after_assignments(body);
    let words = body.split(' ').scan(false, |is_next, word| {
        let taken = std::mem::replace(is_next, is_scheme(word)) && !word.is_empty();
        Some(if taken || is_token(word) { MARK.to_owned() } else { word.to_owned() })
    });
    words.collect::<Vec<_>>().join(" ") + end
}

/// What stands behind `password:`, `token=` and the like goes, up to the end of the word, or of the quotes.
fn after_assignments(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, behind) = rest.split_at(at + 1);
        out += before;
        rest = behind;
        let name = before.get(..at).unwrap_or_default().trim_end_matches(['"', '\'', '\\', ' ']);
        let from =
            name.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').map_or(0, |i| i + 1);
        if !tells(name.get(from..).unwrap_or_default()) {
            continue;
        }
        let value = rest.trim_start_matches([' ', '"', '\'', '\\']);
        let is_quoted = rest.len() > value.len() && rest.trim_start().starts_with(['"', '\'', '\\']);
        let ends: &[char] = if is_quoted { &['"', '\'', '\\'] } else { &[' ', ',', '}', ']', '&', ';'] };
        // What comes behind `Authorization:` is a scheme and then the secret.
        let is_two_words = !is_quoted && value.split(' ').next().is_some_and(is_scheme);
        let length = if is_two_words { value.len() } else { value.find(ends).unwrap_or(value.len()) };
        // A mapping or list begins here; its own fields tell.
        if length == 0 || value.starts_with(['{', '[']) {
            continue;
        }
        out += rest.get(..rest.len() - value.len()).unwrap_or_default();
        out += MARK;
        rest = value.get(length..).unwrap_or_default();
    }
    out + rest
}

fn is_scheme(word: &str) -> bool {
    matches!(
        word.trim_matches('"').to_ascii_lowercase().as_str(),
        "bearer" | "basic" | "digest" | "negotiate"
    )
}

/// Is this a JSON web token, as service accounts have them?
fn is_token(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    word.starts_with("eyJ") && word.len() > 40 && word.matches('.').count() == 2
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECRET: &str = "hunter2hunter2";

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        for text in [
            format!("password: {SECRET}"),
            format!("  nodeMeshPassword: \"{SECRET}\""),
            format!("{{\"password\":\"{SECRET}\",\"x\":1}}"),
            format!("{{\\\"password\\\": \\\"{SECRET}\\\"}}"),
            format!("ran with --token={SECRET} --v=2"),
            format!("API_TOKEN={SECRET}"),
            format!("authorization: Bearer {SECRET}"),
            format!("sent Bearer {SECRET} there"),
            format!("time=12:00 level=info client_secret={SECRET}"),
            format!("x\n-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----\ny"),
            format!("it was eyJhbGciOiJSUzI1NiIsImtpZCI6IjEyMzQ1Njc4OTAifQ.eyJ{SECRET}.sig, said one"),
        ] {
            let left = without(&text);
            assert!(!left.contains(SECRET) && left.contains(MARK), "{left}");
        }
        let value = json!({
            "kind": "Secret", "data": { "x": SECRET }, "password": SECRET, "list": [{ "bgpPassword": SECRET }],
            "env": [{ "name": "DB_PASSWORD", "value": SECRET }],
            "metadata": { "annotations": { COPY: format!("{{\"a\":\"{SECRET}\"}}") } },
            "message": format!("token: {SECRET}"),
        });
        let left = without_in(value).to_string();
        assert!(!left.contains(SECRET), "{left}");
    }

    #[test]
    fn what_is_no_secret_stays() {
        let text = "10.244.0.0/26 dev eth0 proto 67\nready: true\nat 12:00:01 peer 10.0.0.1: hold timer\n";
        assert_eq!(without(text), text);
        let reference =
            json!({ "password": { "secretKeyRef": { "name": "bgp", "key": "tor" } }, "secretName": "x" });
        assert_eq!(without_in(reference.clone()), reference);
    }

    #[test]
    fn text_behind_a_key_stays() {
        let text = "a\n-----BEGIN PRIVATE KEY-----\nk\n-----END PRIVATE KEY-----\nb\n";
        assert_eq!(without(text), format!("a\n{MARK}\nb\n"));
    }
}
