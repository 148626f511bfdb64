//! Messages as bytes: four octets of length in network order, then that many octets of JSON.
//!
//! The length is checked against a bound before anything is allocated for it, so neither side can be made to
//! hold more than the bound by four octets from the other.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::version::{Ask, Mismatch, Preamble, Reply, Spoken};

/// The octets in front of a message that give its length.
pub const HEADER: usize = 4;
/// The most octets of JSON in a CNI request or answer: a GC list of 10,000 attachments takes about 1 MB.
pub const CNI_LIMIT: usize = 4 << 20;
/// The most octets of JSON in a status request or answer; long lists come in pages well below it.
pub const STATUS_LIMIT: usize = 16 << 20;

/// Why bytes are not a message, or a message can't be bytes.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than the protocol allows.
    #[error("message of {len} octets, at most {limit} are allowed")]
    TooLong {
        /// What the header says, or what encoding gave.
        len: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Not JSON, or not JSON of the shape this message has.
    #[error("not a message of this protocol: {0}")]
    Malformed(#[from] serde_json::Error),
    /// JSON of a version that this build does not speak.
    #[error(transparent)]
    Version(#[from] Mismatch),
}

/// A message with its header.
///
/// # Errors
/// [`FrameError::TooLong`] over `limit`; [`FrameError::Malformed`] if the value has no JSON form.
pub fn encode<T: Serialize>(message: &T, limit: usize) -> Result<Vec<u8>, FrameError> {
    let json = serde_json::to_vec(message)?;
    let len = json.len();
    let header =
        u32::try_from(len).ok().filter(|_| len <= limit).ok_or(FrameError::TooLong { len, limit })?;
    let mut out = Vec::with_capacity(HEADER + len);
    out.extend_from_slice(&header.to_be_bytes());
    out.extend_from_slice(&json);
    Ok(out)
}

/// The JSON of the first message in `buffer`; `None` while it is not all there. The message takes [`HEADER`]
/// octets more than the slice has.
///
/// # Errors
/// [`FrameError::TooLong`] as soon as the header is there and says more than `limit`.
pub fn body(buffer: &[u8], limit: usize) -> Result<Option<&[u8]>, FrameError> {
    let Some((header, rest)) = buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
    let len = u32::from_be_bytes(*header) as usize;
    if len > limit {
        return Err(FrameError::TooLong { len, limit });
    }
    Ok(rest.get(..len))
}

/// Reads a request, and the version to answer it in.
///
/// The range of versions is read first: a client that is too new or too old learns that, not that its JSON is
/// odd.
///
/// # Errors
/// [`FrameError::Version`] without a common version, [`FrameError::Malformed`] otherwise.
pub fn read_ask<T: DeserializeOwned>(json: &[u8]) -> Result<(u16, T), FrameError> {
    let preamble: Preamble = serde_json::from_slice(json)?;
    let version = Spoken::OURS.agree(preamble.speaks)?;
    let ask: Ask<T> = serde_json::from_slice(json)?;
    Ok((version, ask.request))
}

/// Reads an answer.
///
/// # Errors
/// [`FrameError::Malformed`].
pub fn read_reply<T: DeserializeOwned>(json: &[u8]) -> Result<T, FrameError> {
    let reply: Reply<T> = serde_json::from_slice(json)?;
    Ok(reply.answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::StatusRequest;
    use proptest::prelude::*;

    #[test]
    fn a_message_is_complete_with_its_last_octet_and_not_before() {
        let bytes = encode(&Ask::new(StatusRequest::Status), STATUS_LIMIT).unwrap();
        for cut in 0..bytes.len() {
            assert!(body(&bytes[..cut], STATUS_LIMIT).unwrap().is_none(), "cut at {cut}");
        }
        let json = body(&bytes, STATUS_LIMIT).unwrap().unwrap();
        let (version, request): (u16, StatusRequest) = read_ask(json).unwrap();
        assert_eq!((version, request), (crate::version::CURRENT, StatusRequest::Status));
    }

    #[test]
    fn a_length_over_the_bound_is_refused_from_the_header_alone() {
        let error = body(&[0xff, 0xff, 0xff, 0xff], CNI_LIMIT).unwrap_err();
        assert!(matches!(error, FrameError::TooLong { len: 0xffff_ffff, limit: CNI_LIMIT }), "{error}");
        let error = encode(&"x".repeat(20), 10).unwrap_err();
        assert!(matches!(error, FrameError::TooLong { len: 22, limit: 10 }), "{error}");
    }

    #[test]
    fn a_client_from_the_far_future_is_told_about_versions_not_about_json() {
        let json = br#"{"speaks":{"oldest":900,"newest":901},"request":{"brandNew":true}}"#;
        let error = read_ask::<StatusRequest>(json).unwrap_err();
        assert!(matches!(error, FrameError::Version(_)), "{error}");
    }

    #[test]
    fn a_newer_client_that_still_speaks_ours_is_understood_unknown_fields_and_all() {
        let request = r#"{"ask":"explain","net":"10.0.0.0/8","x":2}"#;
        let json = format!(r#"{{"speaks":{{"oldest":1,"newest":2}},"hint":1,"request":{request}}}"#);
        let (version, request): (u16, StatusRequest) = read_ask(json.as_bytes()).unwrap();
        assert_eq!(version, 1);
        assert_eq!(request, StatusRequest::Explain { net: "10.0.0.0/8".parse().unwrap() });
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_or_incomplete_but_never_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(Some(json)) = body(&bytes, 100) {
                prop_assert!(json.len() <= 100);
                prop_assert!(read_ask::<StatusRequest>(json).is_err());
            }
        }
    }
}
