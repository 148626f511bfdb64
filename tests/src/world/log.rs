//! The log of a run: a hash always, and lines for people when a failed run is played again.

use std::fmt::{self, Write};

use corduroy_bgp::Time;

/// What happened, in order.
#[derive(Debug)]
pub struct Log {
    hash: u64,
    lines: Option<String>,
}

/// FNV-1a over what is written.
struct Hasher<'a>(&'a mut u64);

impl Write for Hasher<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for byte in s.bytes() {
            *self.0 = (*self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

impl Log {
    /// An empty log; `lines`: keep the text too.
    #[must_use]
    pub fn new(lines: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: lines.then(String::new) }
    }

    /// Something happened.
    pub fn say(&mut self, now: Time, what: fmt::Arguments<'_>) {
        // Writing into memory does not fail.
        let _ = writeln!(Hasher(&mut self.hash), "{} {what}", now.0);
        if let Some(lines) = &mut self.lines {
            let ms = now.0 / 1_000_000;
            let _ = writeln!(lines, "{:>6}.{:03} s  {what}", ms / 1000, ms % 1000);
        }
    }

    /// A number that two runs of one seed share, and hardly any two others.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The text, when it was kept.
    #[must_use]
    pub fn text(&self) -> &str {
        self.lines.as_deref().unwrap_or("")
    }
}
