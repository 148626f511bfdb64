//! A byte stream cut into messages.

use bytes::{Bytes, BytesMut};

use super::notification::{ErrorCode, HeaderError};
use super::{EXTENDED_MESSAGE_MAX, HEADER_LEN, MESSAGE_MAX, MessageType, NotificationMessage};

/// One message: its type and its body. The body is a shared slice of the read buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: MessageType,
    /// What follows the header.
    pub body: Bytes,
}

/// Collects bytes and gives back whole messages. Holds memory only while a message is incomplete.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    extended: bool,
}

impl Framer {
    /// From now on UPDATE, NOTIFICATION and ROUTE-REFRESH may be up to 65,535 octets long (RFC 8654 §4).
    pub fn allow_extended_messages(&mut self) {
        self.extended = true;
    }
    /// Bytes came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }
    /// The next whole message, `None` until more bytes come.
    ///
    /// # Errors
    /// The NOTIFICATION for a bad header (RFC 4271 §6.1); nothing more can be read of this stream.
    pub fn next_message(&mut self) -> Result<Option<Message>, NotificationMessage> {
        let Some(header) = self.buffer.first_chunk::<HEADER_LEN>() else {
            // A wrong marker is told at once, not when the header is complete: whoever sent it may send no more.
            return if self.buffer.iter().take(16).any(|b| *b != 0xff) {
                Err(NotificationMessage::new(ErrorCode::Header(HeaderError::NotSynchronized)))
            } else {
                self.release();
                Ok(None)
            };
        };
        let (kind, len) = self.check(header)?;
        if self.buffer.len() < len {
            self.buffer.reserve(len - self.buffer.len());
            return Ok(None);
        }
        let body = self.buffer.split_to(len).freeze().slice(HEADER_LEN..);
        self.release();
        Ok(Some(Message { kind, body }))
    }
    /// An idle connection holds no buffer: what the messages handed out share lives as long as they do.
    fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
    fn check(&self, header: &[u8; HEADER_LEN]) -> Result<(MessageType, usize), NotificationMessage> {
        let [marker @ .., len_high, len_low, code] = header;
        if marker.iter().any(|b| *b != 0xff) {
            return Err(NotificationMessage::new(ErrorCode::Header(HeaderError::NotSynchronized)));
        }
        let len = u16::from_be_bytes([*len_high, *len_low]);
        let bad_length = || {
            let data = len.to_be_bytes();
            Err(NotificationMessage::with_data(ErrorCode::Header(HeaderError::BadLength), &data))
        };
        if usize::from(len) < HEADER_LEN || (len > MESSAGE_MAX && !self.extended) {
            return bad_length();
        }
        let Some(kind) = MessageType::from_code(*code) else {
            return Err(NotificationMessage::with_data(ErrorCode::Header(HeaderError::BadType), &[*code]));
        };
        let (min, max) = match kind {
            MessageType::Open => (29, MESSAGE_MAX),
            MessageType::Update => (23, EXTENDED_MESSAGE_MAX),
            MessageType::Notification => (21, EXTENDED_MESSAGE_MAX),
            MessageType::Keepalive => (19, 19),
            // Its length has an error code of its own (RFC 7313 §5).
            MessageType::RouteRefresh => (19, EXTENDED_MESSAGE_MAX),
        };
        if (min..=max).contains(&len) { Ok((kind, usize::from(len))) } else { bad_length() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::KEEPALIVE;
    use alloc::vec::Vec;

    fn header(len: u16, code: u8) -> Vec<u8> {
        let mut h = alloc::vec![0xff; 16];
        h.extend_from_slice(&len.to_be_bytes());
        h.push(code);
        h
    }

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let mut stream = KEEPALIVE.to_vec();
        stream.extend(header(23, 2));
        stream.extend([0; 4]);
        stream.extend(KEEPALIVE.iter());
        for step in 1..=stream.len() {
            let mut framer = Framer::default();
            let mut kinds = Vec::new();
            for part in stream.chunks(step) {
                framer.push(part);
                while let Some(message) = framer.next_message().unwrap() {
                    kinds.push((message.kind, message.body.len()));
                }
            }
            use MessageType::{Keepalive, Update};
            assert_eq!(kinds, [(Keepalive, 0), (Update, 4), (Keepalive, 0)], "step {step}");
            assert_eq!(framer.buffer.capacity(), 0, "an idle connection holds no buffer");
        }
    }

    #[test]
    fn every_bad_header_is_answered_as_rfc_4271_section_6_1_says() {
        let cases: [(Vec<u8>, HeaderError, &[u8]); 9] = [
            (alloc::vec![0xff, 0xff, 0], HeaderError::NotSynchronized, &[]),
            (header(18, 4), HeaderError::BadLength, &[0, 18]),
            (header(4097, 2), HeaderError::BadLength, &[16, 1]),
            (header(28, 1), HeaderError::BadLength, &[0, 28]),
            (header(22, 2), HeaderError::BadLength, &[0, 22]),
            (header(20, 3), HeaderError::BadLength, &[0, 20]),
            (header(20, 4), HeaderError::BadLength, &[0, 20]),
            (header(19, 0), HeaderError::BadType, &[0]),
            (header(19, 6), HeaderError::BadType, &[6]),
        ];
        for (bytes, error, data) in cases {
            let mut framer = Framer::default();
            framer.push(&bytes);
            let notification = framer.next_message().unwrap_err();
            assert_eq!(notification, NotificationMessage::with_data(ErrorCode::Header(error), data));
        }
    }

    #[test]
    fn a_long_update_is_let_in_after_extended_messages_were_negotiated_but_no_long_open() {
        let mut framer = Framer::default();
        framer.allow_extended_messages();
        framer.push(&header(5000, 2));
        assert_eq!(framer.next_message(), Ok(None));
        let mut framer = Framer::default();
        framer.allow_extended_messages();
        framer.push(&header(5000, 1));
        assert!(framer.next_message().is_err());
    }
}
