//! Numbers with a fraction: the order of policies.

use std::cmp::Ordering;

use serde::{Serialize, Serializer};

use crate::raw::Raw;
use crate::report::Report;
use crate::schema::Schema;
use crate::yaml::{self, Value};

/// A number, whole or not; never infinite and never "not a number", so that any two of them have an order.
#[derive(Clone, Copy, Debug)]
pub struct Number(f64);

impl Number {
    /// `None` for what has no place in an order.
    #[must_use]
    pub fn new(number: f64) -> Option<Self> {
        // Of the two zeros one is kept: equal numbers must be one.
        number.is_finite().then_some(Self(if number == 0.0 { 0.0 } else { number }))
    }
    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self(number.into())
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl Raw for Number {
    fn read(value: &Value, report: &mut Report) -> Option<Self> {
        let number = value.as_f64().and_then(Self::new);
        if number.is_none() {
            report.refuse(yaml::show(value), "a number, as in 100 or 10.5");
        }
        number
    }

    fn schema() -> Schema {
        Schema::of("number")
    }
}
