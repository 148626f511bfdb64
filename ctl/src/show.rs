//! Answers as text.

mod explanation;
mod ipam;
mod peers;
mod routes;
mod status;

pub(crate) use explanation::explanation;
pub(crate) use ipam::ipam;
pub(crate) use peers::peers;
pub(crate) use routes::routes;
pub(crate) use status::status;

use serde::Serialize;

use crate::client::NoAnswer;

/// JSON as it came, indented.
pub(crate) fn json<T: Serialize>(answer: &T) -> Result<String, NoAnswer> {
    Ok(serde_json::to_string_pretty(answer)? + "\n")
}
