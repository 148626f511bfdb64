//! A logged packet, as attributes (NFULA_* of include/uapi/linux/netfilter/nfnetlink_log.h).

use std::time::Duration;

use corduroy_kernel::{LogEntry, Packet};

use crate::wire::{Attrs, Message};

/// Octets of struct nfgenmsg.
const NFGENMSG: usize = 4;
const MARK: u16 = 2;
const TIMESTAMP: u16 = 3;
const IFINDEX_INDEV: u16 = 4;
const IFINDEX_OUTDEV: u16 = 5;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;
const SEQ: u16 = 12;

/// An entry and its number.
pub(super) fn read(message: Message<'_>) -> (Option<u32>, LogEntry) {
    let attrs = Attrs::after(message.body, NFGENMSG);
    let headers = attrs.get(PAYLOAD).and_then(Packet::read);
    let entry = LogEntry {
        prefix: attrs.str(PREFIX).unwrap_or_default().to_owned(),
        iif: attrs.be32(IFINDEX_INDEV),
        oif: attrs.be32(IFINDEX_OUTDEV),
        mark: attrs.be32(MARK).unwrap_or_default(),
        time: attrs.get(TIMESTAMP).and_then(time),
        packet: headers.map(|(packet, _)| packet),
        tcp_flags: headers.and_then(|(_, flags)| flags),
    };
    (attrs.be32(SEQ), entry)
}

/// Seconds and microseconds, eight octets each.
fn time(octets: &[u8]) -> Option<Duration> {
    let (seconds, rest) = octets.split_first_chunk()?;
    let micros = rest.first_chunk()?;
    let micros = Duration::from_micros(u64::from_be_bytes(*micros));
    Duration::from_secs(u64::from_be_bytes(*seconds)).checked_add(micros)
}

#[cfg(test)]
mod tests {
    use corduroy_kernel::Transport;
    use proptest::prelude::*;

    use super::super::PACKET;
    use super::*;
    use crate::wire::{Batch, Messages};

    /// An entry as the kernel writes it.
    fn written() -> Vec<u8> {
        let mut batch = Batch::default();
        batch.begin(PACKET, 0, 0);
        batch.raw(&[2, 0, 0, 67]);
        batch.attr(1, &[8, 0, 2, 0]);
        batch.string(PREFIX, "denied ");
        batch.be32(IFINDEX_INDEV, 7);
        batch.be32(IFINDEX_OUTDEV, 8);
        batch.be32(MARK, 0x10);
        let time = [1_700_000_000u64.to_be_bytes(), 250_000u64.to_be_bytes()].concat();
        batch.attr(TIMESTAMP, &time);
        let mut packet = vec![0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0, 0]);
        batch.attr(PAYLOAD, &packet);
        batch.be32(SEQ, 41);
        batch.end();
        batch.as_bytes().to_vec()
    }

    #[test]
    fn an_entry_says_what_its_packet_was() {
        let octets = written();
        let (number, entry) = read(Messages(&octets).next().unwrap());
        assert_eq!(
            (number, entry.prefix.as_str(), entry.iif, entry.oif),
            (Some(41), "denied ", Some(7), Some(8))
        );
        assert_eq!((entry.mark, entry.time), (0x10, Some(Duration::from_micros(1_700_000_000_250_000))));
        assert_eq!(entry.tcp_flags.unwrap().to_string(), "syn");
        let packet = entry.packet.unwrap();
        assert_eq!(packet.transport, Transport::Ports { source: 40_000, destination: 80 });
    }

    proptest! {
        #[test]
        fn damage_is_read_as_something_else_and_never_ends_the_reader(
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut octets = written();
            for (at, value) in damage {
                let at = at.index(octets.len());
                octets[at] = value;
            }
            octets.truncate(cut.index(octets.len() + 1));
            for message in Messages(&octets) {
                let (_, entry) = read(message);
                prop_assert!(entry.prefix.len() <= octets.len());
            }
        }
    }
}
