//! What the datastore did not take of us, for people: it is tried again, but who may not write never will.

use std::collections::BTreeMap;
use std::time::Duration;

use corduroy_api::{Key, Version, WriteError};
use corduroy_bgp::Time;

/// How long it counts without another try: longer than the longest pause between two. What is not tried again is not
/// wanted any more.
const FRESH: Duration = Duration::from_secs(90);

/// Writes that failed, each with the reason and the time of the last try.
#[derive(Debug, Default)]
pub(super) struct Unwritten(BTreeMap<Key, (String, Time)>);

impl Unwritten {
    /// What became of a write. Returns what is worth a line in the log: trouble, if it is not the trouble of before.
    pub(super) fn finished(
        &mut self,
        key: &Key,
        result: &Result<Version, WriteError>,
        now: Time,
    ) -> Option<WriteError> {
        self.0.retain(|_, (_, last)| now.since(*last) < FRESH);
        let error = match result {
            Err(error @ (WriteError::Refused { .. } | WriteError::Unavailable { .. })) => error,
            // Somebody was faster, which is every day's business.
            Ok(_) | Err(_) => {
                self.0.remove(key);
                return None;
            }
        };
        let before = self.0.insert(key.clone(), (error.to_string(), now));
        let is_news = before.is_none_or(|(why, _)| why != error.to_string());
        is_news.then(|| error.clone())
    }

    /// The datastore says something of it.
    pub(super) fn seen(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// All of it, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &str)> {
        self.0.iter().map(|(key, (why, _))| (key, why.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use corduroy_api::Kind;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time(0) + Duration::from_secs(1000 + seconds)
    }

    #[test]
    fn what_the_datastore_does_not_take_is_said_once_and_stands_until_it_does_or_nobody_asks_again() {
        let (block, other) = (Key::new(Kind::IpamBlock, "a"), Key::new(Kind::IpamBlock, "b"));
        let denied = |key: &Key| Err(WriteError::Unavailable { key: key.clone(), why: "no right".into() });
        let mut unwritten = Unwritten::default();
        let conflict = Err(WriteError::Conflict { key: block.clone() });
        assert_eq!(unwritten.finished(&block, &conflict, at(0)), None);
        assert!(unwritten.finished(&block, &denied(&block), at(0)).is_some());
        assert!(unwritten.finished(&block, &denied(&block), at(30)).is_none(), "the same again");
        assert!(unwritten.finished(&other, &denied(&other), at(100)).is_some());
        assert_eq!(unwritten.iter().count(), 2);
        assert!(unwritten.finished(&other, &Ok(Version("7".into())), at(121)).is_none());
        assert_eq!(unwritten.iter().count(), 0, "one is written, the other was not tried for long");
        let _ = unwritten.finished(&block, &denied(&block), at(122));
        unwritten.seen(&block);
        assert_eq!(unwritten.iter().count(), 0);
    }
}
