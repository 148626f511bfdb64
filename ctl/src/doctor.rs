//! `cordctl doctor`: what is wrong with this machine as a node, and what to do about each.
//!
//! ```text
//! facts (kernel, files, the agent) ─► judge (pure: one or more checks a matter) ─► table, or JSON; exit code
//! ```
//! It needs no agent that works: it is for when none does. It looks at the network namespace it runs in, and for files
//! at `--root`, which in a pod that debugs a node is where the node's are mounted.

mod facts;
mod files;
mod judge;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub(crate) use facts::gather;
pub(crate) use judge::judge;

use crate::table::table;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What.
    pub(crate) about: String,
    /// How it is.
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

/// How something is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Verdict {
    /// It does not work like this.
    Error,
    /// It may not work like this, or not everything.
    Warning,
    /// It could not be found out.
    Unknown,
    /// It is as it should be.
    Ok,
}

/// Does something have to be done?
pub(crate) fn has_errors(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.verdict == Verdict::Error)
}

/// As text: all in a table, then what to do.
pub(crate) fn show(checks: &[Check]) -> String {
    let row = |check: &Check| {
        let mark = match check.verdict {
            Verdict::Error => "ERROR",
            Verdict::Warning => "warning",
            Verdict::Unknown => "unknown",
            Verdict::Ok => "ok",
        };
        [mark.to_owned(), check.about.clone(), check.found.clone()]
    };
    let mut text = table(["", "CHECK", "FOUND"], checks.iter().map(row).collect());
    for check in checks {
        if let Some(advice) = &check.advice {
            text += &format!("\n{}: {}\n", check.about, advice);
        }
    }
    text
}
