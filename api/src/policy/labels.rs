//! Label selectors as Kubernetes writes them, made into ours.

use std::collections::BTreeMap;

use crate::raw::raw;
use crate::report::{Report, quoted};
use crate::selector::{Requirement, Selector};

raw! {
    /// A label selector of Kubernetes; an empty one selects everything.
    pub struct LabelSelectorSpec {
        /// All these labels.
        match_labels: BTreeMap<String, String> = "matchLabels",
        /// And all of this.
        match_expressions: Vec<ExpressionSpec> = "matchExpressions",
    }
}

raw! {
    /// One demand.
    pub struct ExpressionSpec {
        /// The label's key.
        key: String = "key",
        /// In, NotIn, Exists, DoesNotExist.
        operator: String = "operator",
        /// What In and NotIn compare with.
        values: Vec<String> = "values",
    }
}

/// The selector that means the same.
pub(super) fn selector(spec: &LabelSelectorSpec, report: &mut Report) -> Option<Selector> {
    let labels = spec.match_labels.iter().flatten();
    let mut all: Vec<Requirement> = report.within("matchLabels", |r| {
        let fine = labels.filter(|(key, _)| is_key(key, r));
        fine.map(|(key, value)| Requirement::In(key.clone(), vec![value.clone()])).collect()
    });
    let expressions = spec.match_expressions.as_deref().unwrap_or_default();
    let count = expressions.len();
    report.within("matchExpressions", |r| {
        let read = expressions.iter().enumerate();
        all.extend(read.filter_map(|(i, one)| r.within(i, |r| requirement(one, r))));
    });
    (all.len() == count + spec.match_labels.as_ref().map_or(0, BTreeMap::len))
        .then(|| Selector::requiring(&all))
}

/// What a label may be called, as far as its characters go.
fn is_key(key: &str, report: &mut Report) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    let fine = !key.is_empty() && key.bytes().all(inner);
    if !fine {
        report.refuse(quoted(key), "a label's key of letters, digits, '-', '_', '.' and '/'");
    }
    fine
}

fn requirement(spec: &ExpressionSpec, report: &mut Report) -> Option<Requirement> {
    let Some(key) = spec.key.clone() else {
        report.missing("key", "a label's key");
        return None;
    };
    if !report.within("key", |r| is_key(&key, r)) {
        return None;
    }
    let values = spec.values.clone().unwrap_or_default();
    let operator = spec.operator.as_deref().unwrap_or_default();
    let (made, wants_values) = match operator {
        "In" => (Requirement::In(key, values.clone()), true),
        "NotIn" => (Requirement::NotIn(key, values.clone()), true),
        "Exists" => (Requirement::Has(key), false),
        "DoesNotExist" => (Requirement::HasNot(key), false),
        other => {
            report.refuse_field("operator", quoted(other), "one of In, NotIn, Exists, DoesNotExist");
            return None;
        }
    };
    if wants_values == values.is_empty() {
        let allowed = if wants_values { "at least one value" } else { "none with this operator" };
        report.refuse_field("values", format!("{} of them", values.len()), allowed);
        return None;
    }
    Some(made)
}
