//! Raw forms: resources as they stand in YAML, every field optional, nothing checked but the type.
//!
//! A raw struct is written with the macro `raw!`. It serialises by serde; it is read by [`Raw::read`] from a
//! parsed value and not by a derived `Deserialize`, because that stops at the first field of a wrong type and we want
//! to tell the author all of them, and of a misspelt field which one was probably meant.

use std::collections::BTreeMap;

use serde_yaml::{Mapping, Value};

use crate::report::Report;
use crate::schema::Schema;
use crate::yaml;

/// Something that can be read from YAML with every violation noted.
pub trait Raw: Sized {
    /// `None` when `value` is of a wrong type, which was then noted.
    fn read(value: &Value, report: &mut Report) -> Option<Self>;

    /// What it reads, for those who want to know beforehand.
    fn schema() -> Schema;
}

#[doc(hidden)]
pub use serde;

/// Defines a raw struct: `field: Type = "yamlName",`. Programs read their own configuration files with it too, so that
/// those are judged as strictly as resources are.
///
/// Behind a field, and behind the struct, may stand how its [`Schema`] is narrowed: `field: String = "name" =>
/// .required().cidr(),`. That is for admission by an API server and changes nothing about how it is read here.
#[macro_export]
macro_rules! raw {
    ($(#[doc = $doc:literal])* pub struct $name:ident {
        $($(#[doc = $words:literal])* $field:ident: $ty:ty = $yaml:literal
            $(=> $(.$narrow:ident($($with:expr),* $(,)?))+)?,)*
    } $(=> $(.$whole:ident($($along:expr),* $(,)?))+)?) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, PartialEq, $crate::raw::serde::Serialize)]
        #[serde(crate = "corduroy_api::raw::serde")]
        pub struct $name {
            $($(#[doc = $words])*
            #[serde(rename = $yaml, skip_serializing_if = "Option::is_none")]
            pub $field: Option<$ty>,)*
        }

        impl $crate::raw::Raw for $name {
            fn read(value: &$crate::yaml::Value, report: &mut $crate::Report) -> Option<Self> {
                let fields = $crate::raw::Fields::of(value, &[$($yaml),*], report)?;
                Some(Self { $($field: fields.read($yaml, report),)* })
            }

            fn schema() -> $crate::schema::Schema {
                $crate::schema::Schema::object(vec![$((
                    $yaml,
                    [$($words),*].join("\n"),
                    <$ty as $crate::raw::Raw>::schema()$($(.$narrow($($with),*))+)?,
                )),*])$($(.$whole($($along),*))+)?
            }
        }
    };
}
pub use raw;

/// The fields of a mapping, unknown ones already noted.
pub struct Fields<'a>(&'a Mapping);

impl<'a> Fields<'a> {
    /// Notes every key that is not in `known`; `None` when `value` is no mapping at all. Nothing (`spec:` with all its
    /// fields left out) is an empty mapping.
    pub fn of(value: &'a Value, known: &[&str], report: &mut Report) -> Option<Self> {
        let Value::Mapping(map) = value else {
            report.refuse(yaml::show(value), "a mapping (`field: value` lines)");
            return None;
        };
        for (key, value) in map {
            match key.as_str() {
                Some(key) if known.contains(&key) => {}
                Some(key) => report.refuse_field(key, yaml::show(value), unknown(key, known)),
                None => report.refuse(yaml::show(key), "field names that are text"),
            }
        }
        Some(Self(map))
    }

    /// The field `name`; `null` counts as absent, as in Kubernetes.
    pub fn read<T: Raw>(&self, name: &str, report: &mut Report) -> Option<T> {
        let value = self.0.get(name).filter(|v| !v.is_null())?;
        report.within(name, |r| T::read(value, r))
    }
}

fn unknown(key: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|k| (distance(&key.to_lowercase(), &k.to_lowercase()), *k))
        .filter(|(distance, k)| *distance <= 2.max(k.len() / 3))
        .min();
    match near {
        Some((_, k)) => format!("no such field; did you mean {k}?"),
        None => format!("no such field; known here: {}", known.join(", ")),
    }
}

/// Edit distance (Levenshtein) over characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut last = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (cb, above) in b.iter().zip(row.iter().skip(1)) {
            left = (last + usize::from(ca != *cb)).min(above + 1).min(left + 1);
            last = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

impl Raw for String {
    fn read(value: &Value, report: &mut Report) -> Option<Self> {
        match value {
            Value::String(text) => Some(text.clone()),
            other => {
                report.refuse(yaml::show(other), "text (put it in quotes)");
                None
            }
        }
    }

    fn schema() -> Schema {
        Schema::text()
    }
}

impl Raw for u64 {
    fn read(value: &Value, report: &mut Report) -> Option<Self> {
        let number = value.as_u64();
        if number.is_none() {
            report.refuse(yaml::show(value), "a whole number, zero or more");
        }
        number
    }

    fn schema() -> Schema {
        Schema::whole()
    }
}

impl Raw for bool {
    fn read(value: &Value, report: &mut Report) -> Option<Self> {
        let truth = value.as_bool();
        if truth.is_none() {
            report.refuse(yaml::show(value), "true or false");
        }
        truth
    }

    fn schema() -> Schema {
        Schema::of("boolean")
    }
}

impl<T: Raw> Raw for Vec<T> {
    fn read(value: &Value, report: &mut Report) -> Option<Self> {
        let Value::Sequence(items) = value else {
            report.refuse(yaml::show(value), "a list (`- item` lines)");
            return None;
        };
        // Every item is read even when one before it was refused: all violations are wanted.
        let read: Vec<Option<T>> =
            items.iter().enumerate().map(|(i, item)| report.within(i, |r| T::read(item, r))).collect();
        read.into_iter().collect()
    }

    fn schema() -> Schema {
        Schema::list(T::schema())
    }
}

impl Raw for BTreeMap<String, String> {
    fn read(value: &Value, report: &mut Report) -> Option<Self> {
        let Value::Mapping(map) = value else {
            report.refuse(yaml::show(value), "a mapping (`key: value` lines)");
            return None;
        };
        let mut out = Self::new();
        for (key, value) in map {
            let Some(key) = key.as_str() else {
                report.refuse(yaml::show(key), "keys that are text (put them in quotes)");
                continue;
            };
            if let Some(value) = report.within(key, |r| String::read(value, r)) {
                out.insert(key.to_owned(), value);
            }
        }
        Some(out)
    }

    fn schema() -> Schema {
        Schema::labels()
    }
}

/// Text or a whole number, as text: AS numbers come both ways (`64512`, `"1.10"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberOrText(pub String);

impl serde::Serialize for NumberOrText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.parse::<u64>() {
            Ok(number) => serializer.serialize_u64(number),
            Err(_) => serializer.serialize_str(&self.0),
        }
    }
}

impl Raw for NumberOrText {
    fn read(value: &Value, report: &mut Report) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self(text.clone())),
            Value::Number(n) if n.is_u64() => Some(Self(n.to_string())),
            other => {
                let hint = "a whole number, or text; a dotted number needs quotes, as in \"1.10\"";
                report.refuse(yaml::show(other), hint);
                None
            }
        }
    }

    fn schema() -> Schema {
        Schema::number_or_text()
    }
}
