//! Names by content: a number made from a text that says all of it, so that the same content has the same name on every
//! node and after every start.

/// FNV-1a of 64 bits (Fowler, Noll, Vo). It hides nothing and resists nobody: who tries hard can make two texts of one
/// number. So a name that is taken by another text is not used; then the next one is.
pub(super) fn of(prefix: &str, text: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut hash = fnv(text.as_bytes(), 0xcbf2_9ce4_8422_2325);
    loop {
        let name = format!("{prefix}-{hash:016x}");
        if !taken(&name) {
            return name;
        }
        hash = fnv(text.as_bytes(), hash);
    }
}

fn fnv(octets: &[u8], from: u64) -> u64 {
    octets.iter().fold(from, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3))
}

/// A name of the kernel's that people can read: the text, if it fits and has no characters that `nft` can't read back
/// in a name; its number behind a piece of it otherwise.
pub(super) fn readable(text: &str) -> String {
    const MOST: usize = 200;
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/' | '_');
    if text.len() <= MOST && text.chars().all(fine) && text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return text.to_owned();
    }
    let piece: String = text.chars().filter(|c| fine(*c)).take(MOST).collect();
    of(&format!("x-{piece}"), text, |_| false)
}
