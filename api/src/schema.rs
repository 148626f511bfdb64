//! OpenAPI v3 structural schemas, as CustomResourceDefinitions carry them: what an API server refuses at admission.
//!
//! ```text
//! raw! { field: Type = "name" => .cidr().immutable(), }      each field once: type, words about it, what it may be
//!          └─ Raw::schema() ─► Schema (nested as the types are) ─► crd::definition(kind) ─► manifests/base/crds
//! ```
//! A schema says what can be said without knowing other resources, in the words of OpenAPI (types, words, ranges) and,
//! where these don't reach, in CEL. Every text and list has a bound, because the API server refuses rules whose cost it
//! can't bound; but for those bounds, and for odd spellings (`10.0.0.0/255.0.0.0`), a schema refuses nothing that the
//! kind's own check takes. The check has the last word, since a resource may come from a file. A selector's grammar is
//! beyond CEL: a bad one is let in here and refused there.

pub mod crd;
mod policy;

use serde_yaml::{Mapping, Value};

/// The most characters of a CIDR: an IPv6 address with an IPv4 tail, and its length.
const CIDR: u64 = 49;
/// The most characters of an address with a port.
const PLACE: u64 = 60;
/// The most characters of a name or key.
const NAME: u64 = 253;
/// A span of time, as far as its form goes.
const SPAN: &str = "^([0-9]{1,10}(ms|s|m|h)){1,4}$";
const DOMAIN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// What is said of a keepalive time that comes too late.
pub(crate) const KEEPALIVE: &str = "less than the hold time";

/// A keepalive must come before the peer's patience ends. Fields that are no spans are refused by themselves.
pub(crate) fn keepalive_fits(keepalive: &str, hold: &str) -> String {
    let patience = format!("(has(self.{hold}) ? self.{hold} : '90s')");
    format!(
        "!has(self.{keepalive}) || !self.{keepalive}.matches('{SPAN}') || !{patience}.matches('{SPAN}') || \
         duration({patience}) == duration('0s') || duration(self.{keepalive}) < duration({patience})"
    )
}

/// What a field may hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    form: Mapping,
    required: bool,
}

/// What may stand in a text field is told by these; each takes the schema and hands back a narrower one.
impl Schema {
    /// One of the plain types of OpenAPI.
    #[must_use]
    pub fn of(kind: &str) -> Self {
        Self::default().with("type", kind)
    }

    /// Text.
    #[must_use]
    pub fn text() -> Self {
        Self::of("string")
    }

    /// A whole number, zero or more.
    #[must_use]
    pub fn whole() -> Self {
        Self::of("integer").with("format", "int64").with("minimum", 0)
    }

    /// A list of such items.
    #[must_use]
    pub fn list(item: Self) -> Self {
        Self::of("array").with("items", Value::Mapping(item.form))
    }

    /// A mapping of text to text.
    #[must_use]
    pub fn labels() -> Self {
        Self::of("object").with("additionalProperties", Value::Mapping(Self::text().form))
    }

    /// A whole number or text.
    #[must_use]
    pub fn number_or_text() -> Self {
        Self::default().with("x-kubernetes-int-or-string", true)
    }

    /// Anything at all.
    #[must_use]
    pub fn anything() -> Self {
        Self::default().with("x-kubernetes-preserve-unknown-fields", true)
    }

    /// A mapping with these fields: name, the words about it, what it may hold.
    #[must_use]
    pub fn object(fields: Vec<(&str, String, Self)>) -> Self {
        let required: Vec<Value> =
            fields.iter().filter(|(_, _, schema)| schema.required).map(|(name, ..)| (*name).into()).collect();
        let properties = fields
            .into_iter()
            .map(|(name, words, schema)| (Value::from(name), Value::Mapping(schema.described(&words).form)));
        let out = Self::of("object").with("properties", Value::Mapping(properties.collect()));
        if required.is_empty() { out } else { out.with("required", Value::Sequence(required)) }
    }

    /// These words about it. They come from a doc comment: each line begins with the space behind the slashes.
    #[must_use]
    pub fn described(self, words: &str) -> Self {
        let words = words.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        if words.is_empty() {
            return self;
        }
        // A reader should meet the words first.
        let mut out = Self { required: self.required, ..Self::default() }.with("description", words.trim());
        out.form.extend(self.form);
        out
    }

    /// As OpenAPI writes it.
    #[must_use]
    pub fn into_value(self) -> Value {
        Value::Mapping(self.form)
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.form.insert(key.into(), value.into());
        self
    }

    /// It must be there.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// At least so many characters or items.
    #[must_use]
    pub fn least(self, count: u64) -> Self {
        let key = if self.is_list() { "minItems" } else { "minLength" };
        self.with(key, count)
    }

    /// At most so many characters or items.
    #[must_use]
    pub fn most(self, count: u64) -> Self {
        let key = if self.is_list() { "maxItems" } else { "maxLength" };
        self.with(key, count)
    }

    fn is_list(&self) -> bool {
        self.form.get("type").is_some_and(|kind| kind == "array")
    }

    /// What each item of the list may be.
    #[must_use]
    pub fn each(mut self, narrow: impl FnOnce(Self) -> Self) -> Self {
        let item = match self.form.remove("items") {
            Some(Value::Mapping(form)) => Self { form, required: false },
            _ => Self::default(),
        };
        self.with("items", Value::Mapping(narrow(item).form))
    }

    /// The items are told apart by this field of theirs: none stands twice.
    #[must_use]
    pub fn keyed(self, field: &str) -> Self {
        let keys = Value::Sequence(vec![field.into()]);
        self.with("x-kubernetes-list-type", "map").with("x-kubernetes-list-map-keys", keys)
    }

    /// No item stands twice.
    #[must_use]
    pub fn distinct(self) -> Self {
        self.with("x-kubernetes-list-type", "set")
    }

    /// One of a few words.
    #[must_use]
    pub fn words(self, words: &[&str]) -> Self {
        let words = words.iter().map(|word| Value::from(*word)).collect();
        self.with("enum", Value::Sequence(words))
    }

    /// A whole number within bounds, both included.
    #[must_use]
    pub fn range(self, least: u64, most: u64) -> Self {
        self.with("minimum", least).with("maximum", most)
    }

    /// A whole number not below this one.
    #[must_use]
    pub fn from(self, least: u64) -> Self {
        self.with("minimum", least)
    }

    /// A CEL expression over `self` that must hold, and what it must be, for whom it does not.
    #[must_use]
    pub fn rule(self, rule: &str, allowed: &str) -> Self {
        self.push(rule, allowed, None)
    }

    /// As [`Schema::rule`], about a field of this mapping, which is named to the author.
    #[must_use]
    pub fn rule_at(self, field: &str, rule: &str, allowed: &str) -> Self {
        self.push(rule, allowed, Some(field))
    }

    fn push(mut self, rule: &str, allowed: &str, field: Option<&str>) -> Self {
        let mut entry = Mapping::new();
        entry.insert("rule".into(), rule.into());
        entry.insert("message".into(), format!("must be {allowed}").into());
        if let Some(field) = field {
            entry.insert("fieldPath".into(), format!(".{field}").into());
        }
        let rules =
            self.form.entry("x-kubernetes-validations".into()).or_insert_with(|| Value::Sequence(Vec::new()));
        if let Value::Sequence(rules) = rules {
            rules.push(entry.into());
        }
        self
    }

    /// It never changes.
    #[must_use]
    pub fn immutable(self) -> Self {
        self.rule("self == oldSelf", "as it was: delete the resource and make another")
    }

    /// A field of this mapping that never changes, comes or goes.
    #[must_use]
    pub fn constant(self, field: &str) -> Self {
        let rule = format!("has(self.{field}) == has(oldSelf.{field})");
        self.rule_at(field, &rule, "as it was: it can be neither added nor taken away")
    }

    /// A prefix without host bits.
    #[must_use]
    pub fn cidr(self) -> Self {
        self.most(CIDR).rule(
            "isCIDR(self) && cidr(self) == cidr(self).masked()",
            "a CIDR with no bits behind its length, as in 10.244.0.0/16 or fd00:10:244::/48",
        )
    }

    /// Prefixes of a block's length.
    #[must_use]
    pub fn block(self) -> Self {
        self.cidr().rule(
            "!isCIDR(self) || (cidr(self).ip().family() == 4 ? cidr(self).prefixLength() >= 20 : \
             cidr(self).prefixLength() >= 116)",
            "a block of /20 to /32, or of /116 to /128",
        )
    }

    /// A host's address and the length of its subnet.
    #[must_use]
    pub fn host_cidr(self) -> Self {
        self.most(CIDR).rule(
            "isCIDR(self) && !cidr(self).ip().isUnspecified() && !cidr(self).ip().isLoopback()",
            "an address with the length of its subnet, as in 192.0.2.11/24 or 2001:db8::11/64",
        )
    }

    /// An address of this family, 4 or 6, that a host may have.
    #[must_use]
    pub fn address(self, family: u8) -> Self {
        let rule = format!("isIP(self) && ip(self).family() == {family} && !ip(self).isUnspecified()");
        self.most(CIDR).rule(&rule, &format!("an IPv{family} address, without a length"))
    }

    /// An address, with a port or without.
    #[must_use]
    pub fn place(self) -> Self {
        self.most(PLACE).rule(
            "isIP(self) ? !ip(self).isUnspecified() : \
             self.matches('^([0-9.]+|\\\\[[0-9a-fA-F:.]+\\\\]):[0-9]{1,5}$') && \
             isIP(self.substring(0, self.lastIndexOf(':')).replace('[', '').replace(']', '')) && \
             int(self.substring(self.lastIndexOf(':') + 1)) >= 1 && \
             int(self.substring(self.lastIndexOf(':') + 1)) <= 65535",
            "an address, with a port or without: 192.0.2.1, 192.0.2.1:1790, 2001:db8::1, [2001:db8::1]:1790",
        )
    }

    /// A unicast MAC.
    #[must_use]
    pub fn mac(self) -> Self {
        self.most(17).rule(
            "self.matches('^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$') && self != '00:00:00:00:00:00'",
            "a unicast MAC, as in 66:12:34:56:78:9a",
        )
    }

    /// An AS number, plain or dotted.
    #[must_use]
    pub fn as_number(self) -> Self {
        self.most(11).rule(
            "type(self) == int ? self >= 1 && self <= 4294967294 && !(self in [23456, 65535]) : \
             self.matches('^[0-9]{1,10}$') ? int(self) >= 1 && int(self) <= 4294967294 && \
             !(int(self) in [23456, 65535]) : self.matches('^[0-9]{1,5}[.][0-9]{1,5}$') && \
             self.split('.').all(n, int(n) <= 65535) && \
             !(self in ['0.0', '0.23456', '0.65535', '65535.65535'])",
            "an AS number from 1 to 4294967294, plain or dotted, other than 23456 and 65535",
        )
    }

    /// A community of either form.
    #[must_use]
    pub fn community(self) -> Self {
        self.most(32).rule(
            "self.matches('^[0-9]{1,10}(:[0-9]{1,10}){1,2}$') && (self.split(':').size() == 2 ? \
             self.split(':').all(n, int(n) <= 65535) : self.split(':').all(n, int(n) <= 4294967295))",
            "a community: aa:nn with numbers up to 65535, or aa:nn:mm with numbers up to 4294967295",
        )
    }

    /// A span of whole seconds within bounds; `or_zero` lets 0 in as well.
    #[must_use]
    pub fn seconds(self, least: u64, most: u64, or_zero: bool) -> Self {
        let zero = if or_zero { "duration(self) == duration('0s') || " } else { "" };
        let rule = format!(
            "self.matches('{SPAN}') && duration(self).getMilliseconds() % 1000 == 0 && \
             ({zero}duration(self) >= duration('{least}s') && duration(self) <= duration('{most}s'))"
        );
        let zero = if or_zero { "0s, or " } else { "" };
        let allowed = format!("{zero}whole seconds from {least}s to {most}s, as in 90s or 2m30s");
        self.most(24).rule(&rule, &allowed)
    }

    /// The name of a resource.
    #[must_use]
    pub fn name(self) -> Self {
        let allowed = "a name of lower-case letters, digits, '-' and '.'";
        self.most(NAME).rule(&format!("self.matches('{DOMAIN}')"), allowed)
    }

    /// A point in time (RFC 3339).
    #[must_use]
    pub fn date_time(self) -> Self {
        self.with("format", "date-time")
    }

    /// The key of a Secret.
    #[must_use]
    pub fn secret_key(self) -> Self {
        let allowed = "letters, digits, '-', '_' and '.', not beginning with '.'";
        self.most(NAME).rule("self.matches('^[-_a-zA-Z0-9][-._a-zA-Z0-9]*$')", allowed)
    }

    /// The rules of a filter for routes of this family, 4 or 6.
    #[must_use]
    pub fn filter_rules(self, family: u8) -> Self {
        let (longest, other) = if family == 4 { (32, 6) } else { (128, 4) };
        let lengths = format!(
            "self.all(r, !has(r.prefixLength) || (r.prefixLength.?min.orValue(0) <= {longest} && \
             r.prefixLength.?max.orValue(0) <= {longest}))"
        );
        let family_rule =
            format!("self.all(r, !has(r.cidr) || !isCIDR(r.cidr) || cidr(r.cidr).ip().family() != {other})");
        self.most(128)
            .rule(&family_rule, &format!("rules with IPv{family} CIDRs only"))
            .rule(&lengths, &format!("rules with prefix lengths from 0 to {longest}"))
    }

    /// A selector.
    #[must_use]
    pub fn selector(self) -> Self {
        self.least(1).most(1024)
    }
}

#[cfg(test)]
mod tests;
