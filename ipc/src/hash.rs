//! One hash that every program computes alike, today and after an upgrade: interface names and journal check
//! sums depend on it, so it may never change. FNV-1a over 64 bits, and a finaliser that spreads it over the
//! low bits.

/// The hash of `parts`, each closed by an octet that no UTF-8 text holds, so that ("ab", "c") is not ("a",
/// "bc").
#[must_use]
pub fn stable(parts: &[&str]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for octet in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_what_it_was_when_the_first_interface_was_named() {
        assert_eq!(stable(&["corduroy", "0123456789abcdef", "eth0"]), 1_517_387_058_759_334_155);
        assert_ne!(stable(&["ab", "c"]), stable(&["a", "bc"]));
        assert_ne!(stable(&["ab"]), stable(&["ab", ""]));
    }
}
