//! Reads BGP off the wire, for the checkers: a decoder of its own, so that what one side encodes wrongly and the other
//! decodes wrongly does not look right. It knows what these speakers may send (4-octet AS numbers, both families) and
//! calls everything else an error.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::oracle::Path;
use super::plan::Pfx;

/// What a message said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// OPEN, with the restarting bit of its graceful restart capability.
    Open {
        /// R bit (RFC 4724 §3).
        restarting: bool,
    },
    /// KEEPALIVE.
    Keepalive,
    /// NOTIFICATION: code and subcode.
    Notification(u8, u8),
    /// ROUTE-REFRESH.
    Refresh,
    /// A prefix announced.
    Announce(Pfx, Path),
    /// A prefix withdrawn.
    Withdraw(Pfx),
    /// End-of-RIB of IPv6 (or IPv4).
    EndOfRib {
        /// IPv6.
        v6: bool,
    },
}

/// One direction of one connection.
#[derive(Debug, Default)]
pub struct Tap {
    bytes: Vec<u8>,
    /// What stands announced.
    pub table: BTreeMap<Pfx, Path>,
    /// An OPEN was seen.
    pub open: bool,
    /// A KEEPALIVE was seen: the sender took the OPEN of the other.
    pub confirmed: bool,
    /// What stood announced when End-of-RIB came.
    pub initial: BTreeSet<Pfx>,
    /// Families (is it IPv6?) whose End-of-RIB was seen.
    pub complete: BTreeSet<bool>,
}

/// The bytes are no BGP that these speakers may send.
pub type Wrong = String;

type Parsed<T> = Result<T, Wrong>;

impl Tap {
    /// More bytes; what they complete is appended to `out`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Said>) -> Result<(), Wrong> {
        self.bytes.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(header) = self.bytes.get(at..at + 19) {
            if header[..16] != [0xff; 16] {
                return Err(format!("a marker that is not all ones: {:02x?}", &header[..16]));
            }
            let len = usize::from(u16::from_be_bytes([header[16], header[17]]));
            let kind = header[18];
            if len < 19 {
                return Err(format!("a message of {len} bytes"));
            }
            let Some(body) = self.bytes.get(at + 19..at + len) else { break };
            let from = out.len();
            message(kind, body, out)?;
            at += len;
            for said in &out[from..] {
                match said {
                    Said::Open { .. } => self.open = true,
                    Said::Keepalive => self.confirmed = true,
                    Said::Announce(pfx, path) => drop(self.table.insert(*pfx, path.clone())),
                    Said::Withdraw(pfx) => drop(self.table.remove(pfx)),
                    Said::EndOfRib { v6 } => {
                        self.complete.insert(*v6);
                        self.initial = self.table.keys().copied().collect();
                    }
                    Said::Notification(..) | Said::Refresh => {}
                }
            }
        }
        self.bytes.drain(..at);
        Ok(())
    }
}

fn message(kind: u8, body: &[u8], out: &mut Vec<Said>) -> Parsed<()> {
    match (kind, body) {
        (1, body) => out.push(Said::Open { restarting: restarting(body)? }),
        (2, body) => update(body, out)?,
        (3, [code, subcode, ..]) => out.push(Said::Notification(*code, *subcode)),
        (4, []) => out.push(Said::Keepalive),
        (5, [_, _, _, _]) => out.push(Said::Refresh),
        (kind, body) => return Err(format!("a message of type {kind} with {} bytes", body.len())),
    }
    Ok(())
}

/// The R bit in an OPEN's graceful restart capability (code 64).
fn restarting(body: &[u8]) -> Parsed<bool> {
    let mut parameters = Cut(body);
    parameters.take(9)?;
    let len = usize::from(parameters.byte()?);
    let mut parameters = Cut(parameters.take(len)?);
    while !parameters.0.is_empty() {
        let (kind, len) = (parameters.byte()?, parameters.byte()?);
        let mut capabilities = Cut(parameters.take(usize::from(len))?);
        while kind == 2 && !capabilities.0.is_empty() {
            let (code, len) = (capabilities.byte()?, capabilities.byte()?);
            let value = capabilities.take(usize::from(len))?;
            if code == 64 && value.first().is_some_and(|b| b & 0x80 != 0) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn update(body: &[u8], out: &mut Vec<Said>) -> Parsed<()> {
    let mut cut = Cut(body);
    let len = usize::from(cut.word()?);
    let withdrawn = prefixes(cut.take(len)?, false)?;
    let len = usize::from(cut.word()?);
    let attributes = attributes(cut.take(len)?)?;
    let announced = prefixes(cut.0, false)?;
    if body == [0, 0, 0, 0] {
        out.push(Said::EndOfRib { v6: false });
    }
    if attributes.only_empty_unreach {
        out.push(Said::EndOfRib { v6: true });
    }
    out.extend(withdrawn.into_iter().chain(attributes.unreach).map(Said::Withdraw));
    for pfx in announced {
        out.push(Said::Announce(pfx, attributes.path.clone()));
    }
    for pfx in attributes.reach {
        let path = Path { next_hop: attributes.reach_hop, ..attributes.path.clone() };
        out.push(Said::Announce(pfx, path));
    }
    Ok(())
}

/// What an UPDATE's attributes say.
#[derive(Debug)]
struct Attributes {
    path: Path,
    reach: Vec<Pfx>,
    reach_hop: Option<IpAddr>,
    unreach: Vec<Pfx>,
    only_empty_unreach: bool,
}

fn attributes(bytes: &[u8]) -> Parsed<Attributes> {
    let empty = Path {
        as_path: Vec::new(),
        origin: 0,
        next_hop: None,
        local_pref: None,
        med: None,
        communities: Vec::new(),
        originator: None,
        clusters: Vec::new(),
    };
    let mut all = Attributes {
        path: empty,
        reach: Vec::new(),
        reach_hop: None,
        unreach: Vec::new(),
        only_empty_unreach: false,
    };
    let mut seen = BTreeSet::new();
    let mut cut = Cut(bytes);
    while !cut.0.is_empty() {
        let (flags, code) = (cut.byte()?, cut.byte()?);
        let long = flags & 0x10 != 0;
        let len = if long { cut.word()? } else { u16::from(cut.byte()?) };
        let value = cut.take(usize::from(len))?;
        if !seen.insert(code) {
            return Err(format!("attribute {code} twice"));
        }
        all.attribute(code, value).map_err(|e| format!("attribute {code}: {e}"))?;
        all.only_empty_unreach = code == 15 && value.len() == 3 && bytes.len() == if long { 7 } else { 6 };
    }
    Ok(all)
}

impl Attributes {
    fn attribute(&mut self, code: u8, value: &[u8]) -> Parsed<()> {
        let path = &mut self.path;
        let mut cut = Cut(value);
        match code {
            1 => path.origin = cut.byte()?,
            2 => {
                while !cut.0.is_empty() {
                    let (kind, count) = (cut.byte()?, cut.byte()?);
                    if kind != 2 {
                        return Err(format!("a segment of type {kind}, only AS_SEQUENCE was sent"));
                    }
                    path.as_path.extend(cut.longs(usize::from(count))?);
                }
            }
            3 => path.next_hop = Some(Ipv4Addr::from(cut.long()?).into()),
            4 => path.med = Some(cut.long()?),
            5 => path.local_pref = Some(cut.long()?),
            8 => path.communities = cut.longs(value.len() / 4)?,
            9 => path.originator = Some(cut.long()?),
            10 => path.clusters = cut.longs(value.len() / 4)?,
            14 => {
                ipv6_unicast(&mut cut)?;
                let len = usize::from(cut.byte()?);
                let hop: [u8; 16] =
                    cut.take(len)?.get(..16).and_then(|h| h.try_into().ok()).ok_or("a short next hop")?;
                self.reach_hop = Some(Ipv6Addr::from(hop).into());
                cut.byte()?;
                self.reach = prefixes(cut.0, true)?;
                return Ok(());
            }
            15 => {
                ipv6_unicast(&mut cut)?;
                self.unreach = prefixes(cut.0, true)?;
                return Ok(());
            }
            code => return Err(format!("nobody sends attribute {code}")),
        }
        if cut.0.is_empty() { Ok(()) } else { Err(format!("{} bytes too long", cut.0.len())) }
    }
}

fn ipv6_unicast(cut: &mut Cut<'_>) -> Parsed<()> {
    match (cut.word()?, cut.byte()?) {
        (2, 1) => Ok(()),
        (afi, safi) => Err(format!("AFI {afi}, SAFI {safi}")),
    }
}

fn prefixes(bytes: &[u8], v6: bool) -> Parsed<Vec<Pfx>> {
    let mut cut = Cut(bytes);
    let mut out = Vec::new();
    while !cut.0.is_empty() {
        let len = cut.byte()?;
        let octets = cut.take(usize::from(len).div_ceil(8))?;
        let mut full = [0; 16];
        full.get_mut(..octets.len()).ok_or("a prefix that is too long")?.copy_from_slice(octets);
        let addr = if v6 {
            Ipv6Addr::from(full).into()
        } else {
            Ipv4Addr::new(full[0], full[1], full[2], full[3]).into()
        };
        out.push(Pfx { addr, len });
    }
    Ok(out)
}

struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn take(&mut self, n: usize) -> Parsed<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or("it ends too soon")?;
        self.0 = tail;
        Ok(head)
    }
    fn byte(&mut self) -> Parsed<u8> {
        Ok(self.take(1)?[0])
    }
    fn word(&mut self) -> Parsed<u16> {
        let b = self.take(2)?;
        Ok(u16::from_be_bytes([b[0], b[1]]))
    }
    fn long(&mut self) -> Parsed<u32> {
        let b = self.take(4)?;
        Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }
    fn longs(&mut self, n: usize) -> Parsed<Vec<u32>> {
        (0..n).map(|_| self.long()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(19 + body.len()).unwrap().to_be_bytes();
        [&[0xff; 16], &len[..], &[kind], body].concat()
    }

    #[test]
    fn an_update_in_any_cut_gives_the_same_table() {
        // RFC 4271 §4.3: 10.0.0.0/8 withdrawn; ORIGIN, AS_PATH 64512 64513, NEXT_HOP; 192.0.2.0/24 announced.
        let attributes: &[u8] =
            &[0x40, 1, 1, 0, 0x40, 2, 10, 2, 2, 0, 0, 0xfc, 0, 0, 0, 0xfc, 1, 0x40, 3, 4, 10, 0, 0, 1];
        let body = [&[0, 2, 8, 10, 0, 24][..], attributes, &[24, 192, 0, 2]].concat();
        let bytes = [message(2, &body), message(2, &[0, 0, 0, 0])].concat();
        for cut in 0..bytes.len() {
            let (mut tap, mut said) = (Tap::default(), Vec::new());
            tap.feed(&bytes[..cut], &mut said).unwrap();
            tap.feed(&bytes[cut..], &mut said).unwrap();
            assert_eq!(said.len(), 3, "{said:?}");
            let pfx = Pfx { addr: Ipv4Addr::new(192, 0, 2, 0).into(), len: 24 };
            assert_eq!(tap.table[&pfx].as_path, [64512, 64513]);
            assert_eq!(tap.table[&pfx].next_hop, Some(Ipv4Addr::new(10, 0, 0, 1).into()));
            assert!(tap.complete.contains(&false) && tap.initial.contains(&pfx));
        }
    }

    #[test]
    fn ipv6_routes_come_in_attributes_and_their_end_is_an_empty_unreach() {
        let (mut tap, mut said) = (Tap::default(), Vec::new());
        let hop = [0xfd; 16];
        let reach = [&[0, 2, 1, 16][..], &hop, &[0, 32, 0x20, 1, 0xd, 0xb8]].concat();
        let len = u8::try_from(reach.len()).unwrap();
        let attributes = [&[0x40, 1, 1, 0, 0x40, 2, 0, 0x80, 14, len][..], &reach].concat();
        let body = [&[0, 0, 0, u8::try_from(attributes.len()).unwrap()][..], &attributes].concat();
        tap.feed(&message(2, &body), &mut said).unwrap();
        tap.feed(&message(2, &[0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1]), &mut said).unwrap();
        let pfx = Pfx { addr: "2001:db8::".parse().unwrap(), len: 32 };
        assert_eq!(tap.table[&pfx].next_hop, Some(Ipv6Addr::from(hop).into()));
        assert!(tap.complete.contains(&true));
    }

    #[test]
    fn what_no_speaker_may_send_is_an_error() {
        let mut tap = Tap::default();
        assert!(tap.feed(&[0; 19], &mut Vec::new()).unwrap_err().contains("marker"));
        let mut tap = Tap::default();
        let unknown = message(2, &[0, 0, 0, 4, 0xc0, 99, 1, 0]);
        assert!(tap.feed(&unknown, &mut Vec::new()).unwrap_err().contains("attribute 99"));
    }
}
