//! Names of network interfaces, and which of them are ours.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

use thiserror::Error;

/// The longest interface name in octets: IFNAMSIZ less the NUL.
const MAX: usize = 15;
/// How many hexadecimal digits follow `cord` in the name of a pod's interface.
const POD_DIGITS: usize = 11;
const POD_PREFIX: &str = "cord";

/// The name of a network interface: 1 to 15 octets, printable ASCII, no `/`, `:` or white space.
#[derive(Clone, Copy)]
pub struct LinkName {
    octets: [u8; MAX],
    len: u8,
}

/// Why a text can't name an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LinkNameError {
    /// It is empty, `.` or `..`.
    #[error("an interface name can't be empty, \".\" or \"..\"")]
    Empty,
    /// It is longer than 15 octets.
    #[error("an interface name has at most 15 octets, this one {0}")]
    TooLong(usize),
    /// A character the kernel or the file system under /proc/sys would not take.
    #[error("an interface name is printable ASCII without '/', ':' or white space")]
    BadCharacter,
}

impl LinkName {
    /// The one IPIP tunnel device.
    pub const IPIP: Self = Self::known("ipip-cord");
    /// The one VXLAN tunnel device.
    pub const VXLAN: Self = Self::known("vxlan-cord");
    /// What the names of pods' interfaces begin with.
    pub const PODS: Self = Self::known(POD_PREFIX);
    /// Loopback.
    pub const LO: Self = Self::known("lo");

    const fn known(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut octets = [0; MAX];
        let mut i = 0;
        while i < bytes.len() && i < MAX {
            octets[i] = bytes[i];
            i += 1;
        }
        #[allow(clippy::cast_possible_truncation, reason = "i is at most 15")]
        Self { octets, len: i as u8 }
    }

    /// A name from text.
    ///
    /// # Errors
    /// [`LinkNameError`] when Linux would not accept the name.
    pub fn new(text: &str) -> Result<Self, LinkNameError> {
        if matches!(text, "" | "." | "..") {
            return Err(LinkNameError::Empty);
        }
        if text.len() > MAX {
            return Err(LinkNameError::TooLong(text.len()));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':') {
            return Err(LinkNameError::BadCharacter);
        }
        Ok(Self::known(text))
    }
    /// The host side of a pod: `cord` and the low 44 bits of a hash of (network, container id, interface name
    /// in the pod) as 11 hexadecimal digits.
    #[must_use]
    pub fn pod(hash: u64) -> Self {
        let mut name = Self::known(POD_PREFIX);
        for digit in (0..POD_DIGITS).rev() {
            let nibble = (hash >> (4 * digit)) & 0xf;
            name.octets[usize::from(name.len)] = b"0123456789abcdef"[nibble as usize];
            name.len += 1;
        }
        name
    }
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
    /// The name as octets, without a NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }
    /// Is it the name of a pod's interface: `cord` and 11 lower-case hexadecimal digits?
    #[must_use]
    pub fn is_pod(&self) -> bool {
        self.as_str().strip_prefix(POD_PREFIX).is_some_and(|digits| {
            digits.len() == POD_DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
    }
    /// Is it the name of a pod's interface or of a tunnel device of ours?
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.is_pod() || *self == Self::IPIP || *self == Self::VXLAN
    }
}

impl PartialEq for LinkName {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for LinkName {}

impl PartialOrd for LinkName {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LinkName {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for LinkName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LinkName {
    type Err = LinkNameError;
    fn from_str(text: &str) -> Result<Self, LinkNameError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_interface_is_cord_and_eleven_hex_digits() {
        let name = LinkName::pod(0xfff0_1234_5678_9abc);
        assert_eq!(name.as_str(), "cord23456789abc");
        assert!(name.is_pod() && name.is_ours());
        for not in ["cord", "cord0123456789g", "cord0123456789A", "cord0123456789", "eth0", "ipip-cord"] {
            assert!(!LinkName::new(not).unwrap().is_pod(), "{not}");
        }
        assert!(LinkName::VXLAN.is_ours() && !LinkName::LO.is_ours());
    }

    #[test]
    fn a_name_linux_refuses_is_refused() {
        assert_eq!(LinkName::new(""), Err(LinkNameError::Empty));
        assert_eq!(LinkName::new("a234567890123456"), Err(LinkNameError::TooLong(16)));
        for bad in ["a b", "a/b", "a:b", "a\n"] {
            assert_eq!(LinkName::new(bad), Err(LinkNameError::BadCharacter), "{bad:?}");
        }
    }
}
