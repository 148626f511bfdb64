//! What our speaker and another maker's do together: rows and columns of docs/interop.md.
//!
//! The table is never written by hand. Each live test that passes [`note`]s what it has shown, in the file that
//! `CORDUROY_INTEROP_NOTES` names; [`table`] makes the page out of such notes. `make live` compares that with the page
//! in the repository, `make interop` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;

use crate::daemons::Daemon;

/// One thing that two speakers do together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is explained by its label, which the page shows")]
pub enum Feature {
    Established,
    FourOctetAs,
    Routes,
    Internal,
    External,
    Reflected,
    Reflecting,
    RefreshByUs,
    RefreshByIt,
    Extended,
    Md5,
    TtlSecurity,
    ItsShutdown,
    OurShutdown,
    OurRestart,
    ItsRestart,
}

impl Feature {
    /// Every row, in the page's order.
    pub const ALL: [Self; 16] = [
        Self::Established,
        Self::FourOctetAs,
        Self::Routes,
        Self::External,
        Self::Internal,
        Self::Reflected,
        Self::Reflecting,
        Self::RefreshByUs,
        Self::RefreshByIt,
        Self::Extended,
        Self::Md5,
        Self::TtlSecurity,
        Self::ItsShutdown,
        Self::OurShutdown,
        Self::OurRestart,
        Self::ItsRestart,
    ];

    /// What it is, as the page says it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Established => "Established over IPv4 and over IPv6",
            Self::FourOctetAs => "AS numbers of 4 octets (RFC 6793)",
            Self::Routes => "IPv4 and IPv6 routes both ways, announced, withdrawn (RFC 4271, 4760)",
            Self::External => "eBGP: MED, communities, large communities both ways (RFC 1997, 8092)",
            Self::Internal => "iBGP: the same and LOCAL_PREF",
            Self::Reflected => "it is a client of our reflector (RFC 4456)",
            Self::Reflecting => "we are a client of its reflector",
            Self::RefreshByUs => "we ask for its routes again (RFC 2918)",
            Self::RefreshByIt => "it asks for ours",
            Self::Extended => "messages over 4,096 octets (RFC 8654)",
            Self::Md5 => "TCP MD5 (RFC 2385)",
            Self::TtlSecurity => "TTL security (RFC 5082)",
            Self::ItsShutdown => "the text of its shutdown is shown here (RFC 9003)",
            Self::OurShutdown => "the text of ours is shown there",
            Self::OurRestart => "it keeps our routes while we restart (RFC 4724)",
            Self::ItsRestart => "we keep its routes while it restarts",
        }
    }
}

/// A feature that a daemon of another maker does not have, and where that is written.
struct Lacks {
    package: &'static str,
    feature: Feature,
    why: &'static str,
}

const fn lacks(package: &'static str, feature: Feature, why: &'static str) -> Lacks {
    Lacks { package, feature, why }
}

const LACKING: &[Lacks] = &[
    lacks(
        "exabgp",
        Feature::Reflecting,
        "it announces what its configuration and its helper programs say, never what it learned (exabgp.conf(5))",
    ),
    lacks(
        "openbgpd",
        Feature::RefreshByUs,
        "this version ignores a ROUTE-REFRESH for a family that was negotiated: openbgpd-portable issue 46, corrected \
         in revision 1.586 of its rde.c",
    ),
    lacks(
        "gobgpd",
        Feature::RefreshByIt,
        "it keeps all that peers sent; `softresetin` applies its policy to that, and it has no other command for it \
         (docs/sources/cli-command-syntax.md)",
    ),
    lacks(
        "gobgpd",
        Feature::Extended,
        "docs/sources/configuration.md has no such setting, its OPEN no such capability",
    ),
    lacks(
        "openbgpd",
        Feature::Extended,
        "bgpd(8) does not list RFC 8654, bgpd.conf(5) has no `announce` for it",
    ),
    lacks(
        "exabgp",
        Feature::ItsShutdown,
        "its `teardown` command takes a subcode and no text; what it sends is the subcode's name",
    ),
    lacks(
        "exabgp",
        Feature::OurShutdown,
        "its bgp/message/notification.py puts a str into bytes, which Python 3 refuses, and it logs nothing",
    ),
    lacks("exabgp", Feature::OurRestart, "it has no table to keep them in"),
    lacks(
        "openbgpd",
        Feature::ItsRestart,
        "bgpd.conf(5), `announce restart`: only the End-of-RIB marker is supported and announced",
    ),
];

/// The daemons: package and the maker's name for it, in the page's order.
const COLUMNS: [(&str, &str); 5] =
    [("bird2", "BIRD"), ("frr", "FRR"), ("gobgpd", "GoBGP"), ("openbgpd", "OpenBGPD"), ("exabgp", "ExaBGP")];

/// The line of the page that is not compared.
pub const DATED: &str = "Written by `make interop` on ";

/// Notes that our speaker and `D` have just shown `feature`.
#[track_caller]
pub fn note<D: Daemon>(feature: Feature) {
    let Some(path) = std::env::var_os("CORDUROY_INTEROP_NOTES") else { return };
    let file = File::options().create(true).append(true).open(&path);
    let line = format!("{}\t{}\t{feature:?}\n", D::PACKAGE, D::version());
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// The page, out of everything that was noted; `dated` ends the line that begins with [`DATED`].
///
/// # Errors
/// What was neither noted nor is known to be impossible, and what is both.
pub fn table(notes: &str, dated: &str) -> Result<String, String> {
    let mut versions = BTreeMap::new();
    let mut shown = BTreeSet::new();
    for line in notes.lines() {
        if let [package, version, feature] = line.split('\t').collect::<Vec<_>>()[..] {
            versions.insert(package, version);
            shown.insert((package, feature.to_owned()));
        }
    }
    let mut problems = Vec::new();
    let mut page = format!("{HEAD}\n{DATED}{dated}\n\n| |");
    for (package, name) in COLUMNS {
        // Without Debian's revision: a security update changes nothing of what is compared here.
        let version = versions.get(package).and_then(|version| version.split('-').next());
        let _ = write!(page, " {name} {} |", version.unwrap_or("?"));
    }
    page.push_str("\n|---|");
    page.push_str(&"---|".repeat(COLUMNS.len()));
    let mut remarks = String::new();
    let mut number = 0;
    for feature in Feature::ALL {
        let _ = write!(page, "\n| {} |", feature.label());
        for (package, name) in COLUMNS {
            let lacking = LACKING.iter().find(|lack| lack.package == package && lack.feature == feature);
            match (shown.contains(&(package, format!("{feature:?}"))), lacking) {
                (true, None) => page.push_str(" yes |"),
                (false, Some(lack)) => {
                    number += 1;
                    let _ = write!(page, " no ({number}) |");
                    let _ = writeln!(remarks, "{number}. {name}: {}.", lack.why);
                }
                (true, Some(_)) => {
                    problems.push(format!("{name}: {feature:?} works, though said to be lacking"));
                }
                (false, None) => problems.push(format!("{name}: {feature:?} was not shown")),
            }
        }
    }
    let _ = writeln!(page, "\n\n{remarks}");
    if problems.is_empty() { Ok(page.trim_end().to_owned() + "\n") } else { Err(problems.join("\n")) }
}

const HEAD: &str = "\
# With other makers' speakers

Our speaker and each of these, as Debian 12 ships them, in two or three network namespaces. A row says yes when the
test of that name in `tests/live/interop` passed in the run that wrote this page; `make live` fails when it finds
something else. A no has its reason beneath.
";
