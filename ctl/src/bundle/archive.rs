//! A tar archive (POSIX.1-1988 ustar) of texts, compressed by gzip.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

const BLOCK: usize = 512;

/// The texts as files in a folder.
pub(super) fn tar_gz(folder: &str, files: &[(String, String)]) -> io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    for (name, text) in files {
        let path = format!("{folder}/{name}");
        out.write_all(&header(&path, text.len())?)?;
        out.write_all(text.as_bytes())?;
        out.write_all(&[0; BLOCK][..(BLOCK - text.len() % BLOCK) % BLOCK])?;
    }
    // Two empty blocks are the end.
    out.write_all(&[0; 2 * BLOCK])?;
    out.finish()
}

/// The header of a file.
fn header(path: &str, size: usize) -> io::Result<[u8; BLOCK]> {
    // Longer paths would have to be split at a slash; none of ours is.
    let long = || io::Error::new(io::ErrorKind::InvalidInput, format!("{path}: longer than 100 characters"));
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = header.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    if path.len() > 100 {
        return Err(long());
    }
    put(0, path.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    // The sum is made as if it were blank itself.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    if let Some(place) = header.get_mut(148..156) {
        place.copy_from_slice(sum.as_bytes());
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_reads_it() {
        let files = [("a/one.txt".to_owned(), "x".repeat(700)), ("two.txt".to_owned(), "y".repeat(512))];
        let bytes = tar_gz("top", &files).unwrap();
        let mut tar = Command::new("tar");
        let mut tar = tar.args(["-xzO"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        tar.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "x".repeat(700) + &"y".repeat(512));
    }

    #[test]
    fn a_path_that_does_not_fit_is_an_error() {
        assert!(tar_gz("top", &[("n".repeat(100), String::new())]).is_err());
    }
}
