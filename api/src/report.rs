//! What is wrong with a resource, said so that its author can mend it: the field, the value, what is allowed. A check
//! never stops at the first violation: it notes each one in a [`Report`] and goes on.

use std::fmt;

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Invalid {
    /// Where, as in `spec.filters[0].cidr`.
    pub field: FieldPath,
    /// What stands there, as YAML on one line; `None` when nothing does and something must.
    pub value: Option<String>,
    /// What may stand there.
    pub allowed: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}: {value} is not allowed: {}", self.field, self.allowed),
            None => write!(f, "{}: missing: {}", self.field, self.allowed),
        }
    }
}

/// Everything that is wrong with a resource; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Violations(pub Vec<Invalid>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, invalid) in self.0.iter().enumerate() {
            write!(f, "{}{invalid}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// The way from the root of a resource to a field.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(pub Vec<Step>);

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a sequence, from 0.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if key.contains(['.', '/', ' ']) => write!(f, "[{key:?}]")?,
                Step::Key(key) => write!(f, "{}{key}", if i == 0 { "" } else { "." })?,
            }
        }
        if self.0.is_empty() { f.write_str("document") } else { Ok(()) }
    }
}

/// Collects violations while a resource is read. It knows where the reader stands, so that a check names only its own
/// field.
#[derive(Debug, Default)]
pub struct Report {
    at: FieldPath,
    problems: Vec<Invalid>,
}

impl Report {
    /// Checks what lies below `step`.
    pub fn within<T>(&mut self, step: impl Into<Step>, check: impl FnOnce(&mut Self) -> T) -> T {
        self.at.0.push(step.into());
        let out = check(self);
        self.at.0.pop();
        out
    }

    /// Notes that `value` may not stand where the reader stands.
    pub fn refuse(&mut self, value: impl fmt::Display, allowed: impl Into<String>) {
        let value = Some(short(&value.to_string()));
        self.problems.push(Invalid { field: self.at.clone(), value, allowed: allowed.into() });
    }

    /// Notes that `value` may not stand in the field `name`.
    pub fn refuse_field(&mut self, name: &str, value: impl fmt::Display, allowed: impl Into<String>) {
        self.within(name, |r| r.refuse(value, allowed));
    }

    /// Notes that nothing stands in the field `name`, and what must. A field that was refused already (its type was
    /// wrong) is not missing.
    pub fn missing(&mut self, name: &str, allowed: impl Into<String>) {
        self.within(name, |r| {
            if r.problems.iter().any(|p| p.field == r.at) {
                return;
            }
            r.problems.push(Invalid { field: r.at.clone(), value: None, allowed: allowed.into() });
        });
    }

    /// Notes what another report found, whose paths begin where this one stands.
    pub fn adopt(&mut self, violations: Violations) {
        for Invalid { field, value, allowed } in violations.0 {
            let field = FieldPath(self.at.0.iter().cloned().chain(field.0).collect());
            self.problems.push(Invalid { field, value, allowed });
        }
    }

    /// How many violations were noted so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// `value`, if it is there and nothing was noted.
    ///
    /// # Errors
    /// Everything that was noted.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Violations> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(Violations(self.problems)),
        }
    }

    /// What is in the field `name`, parsed. `allowed` says what the parser takes. `None` when the field is absent or
    /// was refused.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        raw: Option<&String>,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let raw = raw?;
        let parsed = parse(raw);
        if parsed.is_none() {
            self.refuse_field(name, quoted(raw), allowed);
        }
        parsed
    }

    /// As [`Report::parsed`], with what is allowed coming from the parser's error.
    pub fn tried<T, E: fmt::Display>(
        &mut self,
        name: &str,
        raw: Option<&String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let raw = raw?;
        parse(raw).map_err(|e| self.refuse_field(name, quoted(raw), e.to_string())).ok()
    }

    /// One of a few words, or the first of them when the field is absent.
    pub fn choice<T: Copy>(&mut self, name: &str, raw: Option<&String>, words: &[(&str, T)]) -> Option<T> {
        let Some(raw) = raw else { return words.first().map(|(_, value)| *value) };
        let found = words.iter().find(|(word, _)| word == raw).map(|(_, value)| *value);
        if found.is_none() {
            let list = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            self.refuse_field(name, quoted(raw), format!("one of {list}"));
        }
        found
    }

    /// A whole number within bounds.
    pub fn ranged<T: TryFrom<u64>>(
        &mut self,
        name: &str,
        raw: Option<u64>,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<T> {
        let raw = raw?;
        let fits = range.contains(&raw).then(|| T::try_from(raw).ok()).flatten();
        if fits.is_none() {
            self.refuse_field(name, raw, format!("a whole number from {} to {}", range.start(), range.end()));
        }
        fits
    }
}

/// How a text value is shown in a message.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn short(text: &str) -> String {
    const MOST: usize = 100;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain(std::iter::once('…')).collect()
}
