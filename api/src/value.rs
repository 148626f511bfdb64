//! The small values that several kinds share: AS numbers, durations, communities, CIDRs, cluster ids.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use nom::Parser;
use nom::bytes::complete::tag;
use nom::character::complete::u32 as number;
use nom::combinator::all_consuming;
use nom::multi::separated_list1;

use crate::raw::NumberOrText;
use crate::report::{Report, Step, quoted};

/// An autonomous system number that a speaker may have: not 0 (RFC 7607), not AS_TRANS (RFC 6793), not the last of
/// either width (RFC 7300). Read plain (`64512`) or dotted (`1.10`), shown plain (RFC 5396).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsNumber(u32);

impl AsNumber {
    /// What the fabric uses where nobody says otherwise: the first private AS number.
    pub const DEFAULT: Self = Self(64512);

    /// `None` for the reserved numbers 0, 23456, 65535 and 4294967295.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (!matches!(number, 0 | 23456 | 65535 | u32::MAX)).then_some(Self(number))
    }
    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
    pub(crate) fn raw(self) -> NumberOrText {
        NumberOrText(self.0.to_string())
    }
}

impl fmt::Display for AsNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that is no AS number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an AS number from 1 to 4294967294, plain or dotted (\"1.10\"), other than the reserved 23456 and 65535"
)]
pub struct NotAnAsNumber;

impl FromStr for AsNumber {
    type Err = NotAnAsNumber;
    fn from_str(text: &str) -> Result<Self, NotAnAsNumber> {
        if !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(NotAnAsNumber);
        }
        let number = match text.split_once('.') {
            None => text.parse::<u32>().ok(),
            Some((high, low)) => match (high.parse::<u16>(), low.parse::<u16>()) {
                (Ok(high), Ok(low)) => Some(u32::from(high) << 16 | u32::from(low)),
                _ => None,
            },
        };
        number.and_then(Self::new).ok_or(NotAnAsNumber)
    }
}

/// A community a route may be tagged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// `aa:nn` (RFC 1997), 16 bits each.
    Standard(u32),
    /// `aa:nn:mm` (RFC 8092), 32 bits each.
    Large([u32; 3]),
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(c) => write!(f, "{}:{}", c >> 16, c & 0xffff),
            Self::Large([a, b, c]) => write!(f, "{a}:{b}:{c}"),
        }
    }
}

/// Text that is no community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a community: aa:nn with numbers up to 65535, or aa:nn:mm (large) with numbers up to 4294967295")]
pub struct NotACommunity;

impl FromStr for Community {
    type Err = NotACommunity;
    fn from_str(text: &str) -> Result<Self, NotACommunity> {
        let mut grammar = all_consuming(separated_list1(tag(":"), number::<&str, nom::error::Error<&str>>));
        let (_, numbers) = grammar.parse(text).map_err(|_| NotACommunity)?;
        match numbers[..] {
            [a, b] if a <= 0xffff && b <= 0xffff => Ok(Self::Standard(a << 16 | b)),
            [a, b, c] => Ok(Self::Large([a, b, c])),
            _ => Err(NotACommunity),
        }
    }
}

/// A span of time as Go and Kubernetes write it: `90s`, `2m30s`, `500ms`, `1h`. A unit is needed.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (count, tail) = rest.split_at_checked(digits)?;
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at_checked(letters)?;
        let count: u64 = count.parse().ok()?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(count.checked_mul(millis)?))?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// A span of time as [`duration`] reads it.
pub(crate) fn show_duration(span: Duration) -> String {
    match (span.as_secs(), span.subsec_millis()) {
        (secs, 0) => format!("{secs}s"),
        (0, ms) => format!("{ms}ms"),
        (secs, ms) => format!("{secs}s{ms}ms"),
    }
}

impl Report {
    /// A duration within bounds, in whole seconds.
    pub fn seconds(
        &mut self,
        name: &str,
        raw: Option<&String>,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<Duration> {
        let (least, most) = (*range.start(), *range.end());
        let allowed = format!("a duration of whole seconds from {least}s to {most}s, as in 90s or 2m30s");
        self.parsed(name, raw, &allowed, |text| {
            duration(text).filter(|d| d.subsec_nanos() == 0 && (least..=most).contains(&d.as_secs()))
        })
    }

    /// An AS number.
    pub fn as_number(&mut self, name: &str, raw: Option<&NumberOrText>) -> Option<AsNumber> {
        self.tried(name, raw.map(|n| &n.0), str::parse)
    }

    /// A prefix: an address with all bits behind the length zero.
    pub fn prefix(&mut self, field: impl Into<Step>, raw: Option<&String>) -> Option<IpNetwork> {
        let raw = raw?;
        self.within(field, |r| r.prefix_here(raw))
    }

    fn prefix_here(&mut self, raw: &str) -> Option<IpNetwork> {
        match raw.parse::<IpNetwork>() {
            Ok(net) if !raw.contains('/') => {
                self.refuse(quoted(raw), format!("a CIDR with its length, as in {net}"));
                None
            }
            Ok(net) if net.ip() != net.network() => {
                let whole = format!(
                    "bits behind the length must be zero; did you mean {}/{}?",
                    net.network(),
                    net.prefix()
                );
                self.refuse(quoted(raw), whole);
                None
            }
            Ok(net) => Some(net),
            Err(_) => {
                self.refuse(quoted(raw), "a CIDR, as in 10.244.0.0/16 or fd00:10:244::/48");
                None
            }
        }
    }
}

/// A cluster id (RFC 4456 §7): 32 bits written like an IPv4 address, not 0.0.0.0.
#[must_use]
pub fn cluster_id(text: &str) -> Option<Ipv4Addr> {
    text.parse::<Ipv4Addr>().ok().filter(|id| !id.is_unspecified())
}

/// An address that a host may have and a session may go to.
#[must_use]
pub fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_numbers_are_read_plain_and_dotted_and_reserved_ones_are_not() {
        let read = |text: &str| text.parse::<AsNumber>().map(AsNumber::get);
        assert_eq!(read("64512"), Ok(64512));
        assert_eq!(read("1.10"), Ok(65546));
        assert_eq!(read("65535.65534"), Ok(4_294_967_294));
        for wrong in
            ["0", "23456", "65535", "4294967295", "0.0", "1.65536", "1.2.3", "-1", "+1.+1", "as1", ""]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_need_units_and_read_back_as_shown() {
        assert_eq!(duration("2m30s"), Some(Duration::from_secs(150)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        for wrong in ["", "90", "s", "1d", "-1s", "1.5s", "99999999999999999999s", "1s 2s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        for millis in [0, 1, 999, 1000, 1500, 90_000] {
            let span = Duration::from_millis(millis);
            assert_eq!(duration(&show_duration(span)), Some(span));
        }
    }

    #[test]
    fn communities_come_in_two_forms_and_read_back_as_shown() {
        for text in ["64512:100", "65535:65281", "4294967295:0:7"] {
            assert_eq!(text.parse::<Community>().unwrap().to_string(), text);
        }
        for wrong in ["", "1", "65536:1", "1:65536", "1:2:3:4", "1:2:4294967296", "a:b", "1:2 "] {
            assert_eq!(wrong.parse::<Community>(), Err(NotACommunity), "{wrong}");
        }
    }
}
