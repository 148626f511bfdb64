//! What must outlive the process but not the boot: which attachment has which addresses.
//!
//! A text file of lines on a tmpfs. Each line is a check sum (16 hexadecimal digits over the rest), a space
//! and a JSON object; the first is a [`Record::Header`] with the format's version and the boot id. Pods die
//! with the boot, so a journal of another boot is empty, and nothing is ever synced to disk: what a killed
//! process has written is in the page cache and stays readable.
//!
//! A torn last line is what a kill in the middle of a write leaves, and means that nothing after that write
//! was done: it is dropped without a word. A bad line in the middle is damage: it is reported, and the rest
//! is used. What is lost that way is found again in the kernel.

use std::net::IpAddr;

use corduroy_bgp::Time;
use corduroy_ipc::cni::{AttachmentKey, Mac, Pod};
use corduroy_ipc::hash::stable;
use corduroy_kernel::LinkName;
use serde::{Deserialize, Serialize};

/// The version written, and the one before it, which is read too. Version 0 never was.
const VERSION: u16 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Record {
    /// The first line.
    Header {
        /// Of the format.
        version: u16,
        /// `/proc/sys/kernel/random/boot_id`.
        boot: String,
    },
    /// The interface has these addresses and is being wired.
    Wiring(Entry),
    /// It is wired.
    Wired {
        /// The host's end.
        link: String,
    },
    /// It has nothing any more; its addresses rest until then.
    Dropped {
        /// The host's end.
        link: String,
        /// Nanoseconds since the boot.
        until: u64,
    },
    /// A tunnel device has this address.
    Tunnel {
        /// The device.
        device: String,
        /// Its addresses.
        addresses: Vec<IpAddr>,
    },
    /// An address rests until then.
    Resting {
        /// Which.
        address: IpAddr,
        /// Nanoseconds since the boot.
        until: u64,
    },
}

/// An attachment as the journal has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// The host's end.
    pub(super) link: String,
    /// What it is; none for a link found without a record.
    pub(super) key: Option<AttachmentKey>,
    /// Whose.
    #[serde(default)]
    pub(super) owner: Option<Pod>,
    /// The host side's MAC.
    pub(super) host_mac: Mac,
    /// The pod side's MAC.
    pub(super) mac: Mac,
    /// Octets.
    pub(super) mtu: u32,
    /// At most one of a family.
    pub(super) addresses: Vec<IpAddr>,
    /// Is it wired already? Only where the journal is written anew; else a [`Record::Wired`] says so.
    #[serde(default)]
    pub(super) wired: bool,
    /// When the plugin of its ADD began, on the plugins' clock; 0 if unknown.
    #[serde(default)]
    pub(super) started: u64,
}

/// Something about a journal that a person should know. Nothing stops for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The format is of another version.
    #[error(
        "journal of version {0}, this agent reads {VERSION}: ignored, attachments are taken from the kernel"
    )]
    Version(u16),
    /// There is no first line, or it is damaged.
    #[error("journal without a readable header: ignored, attachments are taken from the kernel")]
    NoHeader,
    /// A line in the middle is damaged.
    #[error("journal line {line} is damaged and was skipped; what it said is taken from the kernel")]
    Damaged {
        /// From 1.
        line: usize,
    },
    /// Two attachments in it have one address, which can't be; the first keeps it.
    #[error("journal: {address} is recorded for {link} too, but {holder} has it")]
    Twice {
        /// The address.
        address: IpAddr,
        /// Who is dropped.
        link: LinkName,
        /// Who keeps it.
        holder: LinkName,
    },
}

/// What a journal says in the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Replay {
    /// Attachments in the order of their first record.
    pub(super) entries: Vec<Entry>,
    /// Tunnel devices and their addresses.
    pub(super) tunnels: Vec<(String, Vec<IpAddr>)>,
    /// Resting addresses.
    pub(super) resting: Vec<(IpAddr, Time)>,
    /// What was wrong with it.
    pub(super) problems: Vec<Problem>,
}

/// A record as its line, with the line feed.
pub(super) fn line(record: &Record) -> String {
    // The records are of types that always have a JSON form; an empty line would be skipped when read.
    let json = serde_json::to_string(record).unwrap_or_default();
    format!("{:016x} {json}\n", stable(&[&json]))
}

/// The first line of a journal of this boot.
pub(super) fn header(boot: &str) -> String {
    line(&Record::Header { version: VERSION, boot: boot.to_owned() })
}

/// Reads a journal; one of another boot is empty.
pub(super) fn replay(journal: &[u8], boot: &str) -> Replay {
    let mut replay = Replay::default();
    let lines: Vec<&[u8]> = journal.split(|octet| *octet == b'\n').collect();
    // What follows the last line feed is either nothing or torn.
    let Some((_torn, lines)) = lines.split_last() else { return replay };
    let Some((first, rest)) = lines.split_first() else { return replay };
    match parse(first) {
        Some(Record::Header { version, .. }) if version != VERSION => {
            replay.problems.push(Problem::Version(version));
            return replay;
        }
        Some(Record::Header { boot: of, .. }) if of == boot => {}
        Some(Record::Header { .. }) => return replay,
        _ => {
            replay.problems.push(Problem::NoHeader);
            return replay;
        }
    }
    for (n, text) in rest.iter().enumerate() {
        match parse(text) {
            Some(record) => replay.apply(record),
            None => replay.problems.push(Problem::Damaged { line: n + 2 }),
        }
    }
    replay
}

fn parse(line: &[u8]) -> Option<Record> {
    let line = std::str::from_utf8(line).ok()?;
    let (sum, json) = line.split_once(' ')?;
    let sum = u64::from_str_radix(sum, 16).ok()?;
    if stable(&[json]) != sum {
        return None;
    }
    serde_json::from_str(json).ok()
}

impl Replay {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Header { .. } => {}
            Record::Wiring(entry) => {
                self.entries.retain(|e| e.link != entry.link);
                self.resting.retain(|(address, _)| !entry.addresses.contains(address));
                self.entries.push(entry);
            }
            Record::Wired { link } => {
                self.entries.iter_mut().filter(|e| e.link == link).for_each(|e| e.wired = true);
            }
            Record::Dropped { link, until } => {
                let gone = self.entries.extract_if(.., |e| e.link == link).flat_map(|e| e.addresses);
                self.resting.extend(gone.map(|address| (address, Time(until))));
                let gone = self.tunnels.extract_if(.., |(device, _)| *device == link).flat_map(|(_, a)| a);
                self.resting.extend(gone.map(|address| (address, Time(until))));
            }
            Record::Tunnel { device, addresses } => {
                self.tunnels.retain(|(d, _)| *d != device);
                self.tunnels.push((device, addresses));
            }
            Record::Resting { address, until } => {
                self.resting.retain(|(a, _)| *a != address);
                self.resting.push((address, Time(until)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(n: u8) -> Entry {
        let key = AttachmentKey { network: "n".into(), container_id: format!("c{n}"), ifname: "eth0".into() };
        Entry {
            link: key.host_interface(),
            key: Some(key),
            owner: None,
            host_mac: Mac([2, 0, 0, 0, 0, n]),
            mac: Mac([2, 0, 0, 0, 1, n]),
            mtu: 1500,
            addresses: vec![IpAddr::from([10, 0, 0, n])],
            wired: false,
            started: 0,
        }
    }

    fn journal(records: &[Record]) -> String {
        header("boot") + &records.iter().map(line).collect::<String>()
    }

    #[test]
    fn the_last_word_on_each_attachment_counts() {
        let (a, b) = (entry(1), entry(2));
        let records = [
            Record::Wiring(a.clone()),
            Record::Wiring(b.clone()),
            Record::Wired { link: b.link.clone() },
            Record::Dropped { link: a.link, until: 7 },
            Record::Tunnel { device: "vxlan-cord".into(), addresses: vec![IpAddr::from([10, 0, 0, 9])] },
        ];
        let replay = replay(journal(&records).as_bytes(), "boot");
        assert_eq!(replay.entries, [Entry { wired: true, ..b }]);
        assert_eq!(replay.resting, [(IpAddr::from([10, 0, 0, 1]), Time(7))]);
        assert_eq!(replay.tunnels.len(), 1);
        assert_eq!(replay.problems, []);
    }

    #[test]
    fn a_journal_of_another_boot_is_empty_and_nothing_is_wrong_with_it() {
        let text = journal(&[Record::Wiring(entry(1))]);
        assert_eq!(replay(text.as_bytes(), "another"), Replay::default());
        assert_eq!(replay(b"", "boot"), Replay::default());
    }

    #[test]
    fn a_torn_tail_is_dropped_and_a_damaged_middle_is_reported_with_its_line() {
        let text = journal(&[Record::Wiring(entry(1)), Record::Wiring(entry(2)), Record::Wiring(entry(3))]);
        let torn = replay(&text.as_bytes()[..text.len() - 5], "boot");
        assert_eq!((torn.entries.len(), torn.problems.len()), (2, 0));
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[2] = lines[2].replace("eth0", "eth1");
        let damaged = replay((lines.join("\n") + "\n").as_bytes(), "boot");
        assert_eq!(damaged.entries, [entry(1), entry(3)]);
        assert_eq!(damaged.problems, [Problem::Damaged { line: 3 }]);
    }

    #[test]
    fn a_journal_without_header_or_of_a_later_version_is_reported_and_not_believed() {
        let headless = line(&Record::Wiring(entry(1)));
        assert_eq!(replay(headless.as_bytes(), "boot").problems, [Problem::NoHeader]);
        let later = line(&Record::Header { version: VERSION + 1, boot: "boot".into() });
        let later = replay((later + &headless).as_bytes(), "boot");
        assert_eq!((later.entries.len(), later.problems), (0, vec![Problem::Version(VERSION + 1)]));
    }

    proptest! {
        #[test]
        fn any_damage_costs_at_most_the_lines_it_touches(
            at in 0usize..600,
            octet in any::<u8>(),
            cut in 0usize..600,
        ) {
            let text = journal(&[1, 2, 3].map(|n| Record::Wiring(entry(n))));
            let mut bytes = text.into_bytes();
            let at = at % bytes.len();
            bytes[at] = octet;
            bytes.truncate(bytes.len().saturating_sub(cut));
            let replay = replay(&bytes, "boot");
            for found in &replay.entries {
                prop_assert!((1..=3).any(|n| entry(n) == *found), "{found:?} was never written");
            }
        }
    }
}
