//! Which version of a protocol two programs speak.
//!
//! During a rolling upgrade a new plugin meets an old agent and the reverse, so every program speaks its own
//! version N and the one before. Messages only grow: a field that N adds has a default that means what N−1
//! did, and a reader ignores fields it does not know, so both versions share one type. What the number
//! settles is which fields count.

use serde::{Deserialize, Serialize};

/// The version these types describe.
pub const CURRENT: u16 = 1;
/// The oldest version still understood: N−1, but never before the first.
pub const OLDEST: u16 = if CURRENT > 1 { CURRENT - 1 } else { 1 };

/// The versions somebody speaks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spoken {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

impl Spoken {
    /// What this build speaks.
    pub const OURS: Self = Self { oldest: OLDEST, newest: CURRENT };

    /// The newest version both speak.
    ///
    /// # Errors
    /// [`Mismatch`] when the two ranges do not meet.
    pub fn agree(self, other: Self) -> Result<u16, Mismatch> {
        let newest = self.newest.min(other.newest);
        if newest >= self.oldest && newest >= other.oldest {
            Ok(newest)
        } else {
            Err(Mismatch { ours: self, theirs: other })
        }
    }
}

/// Two programs have no version in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no common protocol version: this side speaks {} to {}, the other {} to {}; upgrade the older one",
    ours.oldest, ours.newest, theirs.oldest, theirs.newest
)]
pub struct Mismatch {
    /// What this side speaks.
    pub ours: Spoken,
    /// What the other side speaks.
    pub theirs: Spoken,
}

/// A request as it travels: what the client speaks, and what it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask<T> {
    /// The versions the client speaks.
    pub speaks: Spoken,
    /// The request.
    pub request: T,
}

impl<T> Ask<T> {
    /// `request` from this build.
    pub fn new(request: T) -> Self {
        Self { speaks: Spoken::OURS, request }
    }
}

/// An answer as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply<T> {
    /// The version it is written in: the newest both speak, or the server's own when there is none.
    pub version: u16,
    /// The answer.
    pub answer: T,
}

/// The part of a request that is readable whatever the version: only the range.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Preamble {
    pub(crate) speaks: Spoken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_versions_agree_on_the_older_one_and_others_on_none() {
        let n = Spoken { oldest: 4, newest: 5 };
        let before = Spoken { oldest: 3, newest: 4 };
        let long_before = Spoken { oldest: 2, newest: 3 };
        assert_eq!(n.agree(before), Ok(4));
        assert_eq!(before.agree(n), Ok(4));
        assert_eq!(n.agree(n), Ok(5));
        assert_eq!(n.agree(long_before), Err(Mismatch { ours: n, theirs: long_before }));
        assert!(long_before.agree(n).unwrap_err().to_string().contains("upgrade the older one"));
    }
}
