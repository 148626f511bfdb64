//! The only module that touches the YAML library.
//!
//! A file is first cut into its documents by text: a line that starts with `---` ends a document wherever it stands
//! (YAML 1.2 §9.1), even in a block scalar. So a document that does not parse costs none of its neighbours, and every
//! line number can be given in terms of the file.

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
pub use serde_yaml::Value;

use crate::report::{FieldPath, Step};

/// One document of a YAML stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its text without the `---` line.
    pub text: &'a str,
    /// The line of the file on which `text` starts, from 1.
    pub line: usize,
    /// Where `text` starts in the file, in bytes.
    pub offset: usize,
}

/// Text that is not YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not YAML: {what}")]
pub struct SyntaxError {
    /// What the parser said.
    pub what: String,
    /// The line of the file, from 1, when it is known.
    pub line: Option<usize>,
}

/// Cuts a stream into its documents. Those with nothing but space and comments are left out.
#[must_use]
pub fn documents(stream: &str) -> Vec<Document<'_>> {
    let mut out = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let mut offset = 0;
    for (i, line) in stream.split_inclusive('\n').enumerate() {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.trim_start().len() < rest.len() || rest.is_empty());
        if marker {
            push(&mut out, stream, start..offset, start_line);
            // What follows the marker on its line (`--- # pools`, `--- {kind: …}`) belongs to the document.
            (start, start_line) = (offset + 3, i + 1);
        }
        offset += line.len();
    }
    push(&mut out, stream, start..offset, start_line);
    out
}

fn push<'a>(out: &mut Vec<Document<'a>>, stream: &'a str, range: std::ops::Range<usize>, line: usize) {
    let offset = range.start;
    let Some(text) = stream.get(range) else { return };
    let blank = |l: &str| l.trim().is_empty() || l.trim_start().starts_with(['#', '%']) || l.trim() == "...";
    if !text.lines().all(blank) {
        out.push(Document { text, line, offset });
    }
}

impl Document<'_> {
    /// The document as a value.
    ///
    /// # Errors
    /// It is not YAML, a mapping has a key twice, or aliases blow it up.
    pub fn parse(&self) -> Result<Value, SyntaxError> {
        serde_yaml::from_str(self.text).map_err(|e| {
            let line = e.location().map(|l| self.line + l.line().saturating_sub(1));
            // The library ends with "at line L column C", counted from the document's start: ours is the file's.
            let text = e.to_string();
            let what = text.split(" at line ").next().unwrap_or(&text).to_owned();
            SyntaxError { what, line }
        })
    }

    /// The line of the file on which the document says something for the first time.
    #[must_use]
    pub fn first_line(&self) -> usize {
        let blank = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
        self.line + self.text.lines().take_while(blank).count()
    }

    /// The line of the file on which the field at `path` has its value; for one that is missing, where the nearest
    /// mapping around it starts.
    #[must_use]
    pub fn line_of(&self, path: &FieldPath) -> usize {
        (0..=path.0.len())
            .rev()
            .find_map(|n| self.locate(path.0.get(..n)?))
            .map_or(self.line, |line| self.line + line.saturating_sub(1))
    }

    /// The library keeps no positions in a [`Value`] but adds one to every error, so this walks to the field and
    /// fails there on purpose.
    fn locate(&self, path: &[Step]) -> Option<usize> {
        let error = Walk(path).deserialize(serde_yaml::Deserializer::from_str(self.text)).err()?;
        (error.to_string().contains(FOUND)).then(|| error.location().map(|l| l.line())).flatten()
    }
}

const FOUND: &str = "the field stands here";

/// Follows a path through a document and fails at its end.
struct Walk<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(FOUND)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom(FOUND));
        };
        while let Some(key) = map.next_key::<Value>()? {
            if key.as_str() == Some(wanted) {
                map.next_value_seed(Walk(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Step::Index(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom(FOUND));
        };
        for _ in 0..*wanted {
            seq.next_element::<IgnoredAny>()?;
        }
        seq.next_element_seed(Walk(rest))?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        Err(E::custom(FOUND))
    }
    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        Err(E::custom(FOUND))
    }
    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        Err(E::custom(FOUND))
    }
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Err(E::custom(FOUND))
    }
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        Err(E::custom(FOUND))
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(E::custom(FOUND))
    }
}

/// A value on one line, for messages.
#[must_use]
pub fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => format!("{s:?}"),
        Value::Sequence(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Mapping(map) => {
            let pairs = map.iter().map(|(k, v)| format!("{}: {}", k.as_str().unwrap_or("?"), show(v)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        Value::Tagged(tagged) => format!("{} {}", tagged.tag, show(&tagged.value)),
    }
}

/// Anything as a YAML document, without the `---`.
///
/// # Errors
/// It has a form that YAML does not know; our own types have none.
pub fn write<T: Serialize>(value: &T) -> Result<String, SyntaxError> {
    serde_yaml::to_string(value).map_err(|e| SyntaxError { what: e.to_string(), line: None })
}
