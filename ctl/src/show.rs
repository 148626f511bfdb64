//! Answers as text.

mod explanation;
mod ipam;
mod peers;
pub(crate) mod policy;
mod routes;
mod status;

pub(crate) use explanation::explanation;
pub(crate) use ipam::ipam;
pub(crate) use peers::peers;
pub(crate) use routes::routes;
pub(crate) use status::status;

use clap::ValueEnum;
use serde::Serialize;

use crate::client::NoAnswer;

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// Everything, for programs.
    Json,
    /// The same in YAML.
    Yaml,
}

impl Output {
    /// The answer whole, or what `text` makes of it; the latter is told whether more columns are wanted.
    pub(crate) fn show<T: Serialize>(
        self,
        answer: &T,
        text: impl FnOnce(&T, bool) -> String,
    ) -> Result<String, NoAnswer> {
        match self {
            Self::Table => Ok(text(answer, false)),
            Self::Wide => Ok(text(answer, true)),
            Self::Json => match serde_json::to_string_pretty(answer) {
                Ok(json) => Ok(json + "\n"),
                Err(error) => Err(NoAnswer::Unshowable(error.to_string())),
            },
            Self::Yaml => {
                corduroy_api::yaml::write(answer).map_err(|error| NoAnswer::Unshowable(error.to_string()))
            }
        }
    }
}
