//! ROUTE-REFRESH (RFC 2918).

use bytes::Bytes;

use super::notification::{ErrorCode, RefreshError};
use super::{Cursor, MessageType, NotificationMessage};
use crate::Family;

/// The family a peer wants again; `None` when it is one we don't speak or a subtype we did not offer (RFC 7313): both
/// are to be ignored.
///
/// # Errors
/// ROUTE-REFRESH Message Error/Invalid Message Length when the body is not 4 octets long.
pub fn decode(body: &[u8]) -> Result<Option<Family>, NotificationMessage> {
    let mut c = Cursor::new(body);
    match (c.u16(), c.u8(), c.u8(), c.is_empty()) {
        (Some(afi), Some(0), Some(safi), true) => Ok(Family::from_afi_safi(afi, safi)),
        (Some(_), Some(_), Some(_), true) => Ok(None),
        _ => {
            let error = ErrorCode::Refresh(RefreshError::InvalidLength);
            let whole = super::message(MessageType::RouteRefresh, |out| out.extend_from_slice(body));
            Err(NotificationMessage { error, data: whole })
        }
    }
}

/// A whole ROUTE-REFRESH.
#[must_use]
pub fn encode(family: Family) -> Bytes {
    let (afi, safi) = family.afi_safi();
    super::message(MessageType::RouteRefresh, |out| {
        out.extend_from_slice(&afi.to_be_bytes());
        out.extend_from_slice(&[0, safi]);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_names_its_family_and_only_the_plain_subtype_counts() {
        for family in Family::ALL {
            assert_eq!(decode(&encode(family)[19..]), Ok(Some(family)));
        }
        assert_eq!(decode(&[0, 1, 1, 1]), Ok(None), "BoRR was not offered");
        assert_eq!(decode(&[0, 25, 0, 70]), Ok(None), "L2VPN was not offered");
    }

    #[test]
    fn a_refresh_of_the_wrong_length_is_answered_with_the_whole_message() {
        let error = decode(&[0, 1, 0]).unwrap_err();
        assert_eq!(error.error, ErrorCode::Refresh(RefreshError::InvalidLength));
        assert_eq!(error.data.len(), 22);
    }
}
