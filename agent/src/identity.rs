//! Which machine this is: a number drawn at the first start and kept in the state directory. A machine that takes the
//! name of another one is told from it by this, and so inherits neither its blocks nor its addresses.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::whole_file;

/// The identity in `state_dir`, drawn now if there is none.
///
/// # Errors
/// As the system says, with the path; also when the file holds something else.
pub fn identity(state_dir: &Path) -> io::Result<String> {
    let path = state_dir.join("identity");
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    std::fs::create_dir_all(state_dir).map_err(named)?;
    match std::fs::read_to_string(&path) {
        Ok(text) if is_one(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => {
            let why = "not an identity (32 hexadecimal digits): restore it, or remove it together with this node's \
                       FabricNode and IPAMBlocks";
            return Err(named(io::Error::other(why)));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(named(error)),
    }
    let drawn = draw().map_err(named)?;
    // Half an identity would keep the agent from starting.
    whole_file::put(&path, format!("{drawn}\n").as_bytes(), 0o644).map_err(io::Error::other)?;
    Ok(drawn)
}

fn is_one(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn draw() -> io::Result<String> {
    Ok(format!("{:032x}", u128::from_le_bytes(random()?)))
}

/// Octets nobody can guess.
///
/// # Errors
/// The system has no `/dev/urandom`.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_drawn_once_and_kept_and_a_damaged_one_is_refused() {
        let dir = std::env::temp_dir().join(format!("corduroy-identity-{}", std::process::id()));
        let first = identity(&dir).unwrap();
        assert!(is_one(&first), "{first}");
        assert_eq!(identity(&dir).unwrap(), first);
        std::fs::write(dir.join("identity"), "12").unwrap();
        let refused = identity(&dir).unwrap_err().to_string();
        assert!(refused.contains("not an identity"), "{refused}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
