//! One D-Bus message after the other: how long it is, and reading it from memory. What may be in it is not its
//! business.

use std::io;
use std::os::fd::OwnedFd;

use zbus::Message;
use zbus::connection::socket::ReadHalf;
use zbus::export::async_trait::async_trait;

/// The part of a message that says how long it is: D-Bus Specification, Message Format.
pub const START_BYTES: usize = 16;
/// The longest message that there can be.
const MAX_MESSAGE_BYTES: usize = 128 << 20;

/// How long the parts of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// With its padding.
    header: usize,
    body: usize,
}

impl Length {
    /// The lengths of the message that begins like this; `None` where none does, or one longer than the 128 MiB that
    /// there can be.
    pub fn of(start: &[u8; START_BYTES]) -> Option<Self> {
        let little_endian = match start[0] {
            b'l' => true,
            b'B' => false,
            _ => return None,
        };
        let number = |at: usize| {
            let bytes = [start[at], start[at + 1], start[at + 2], start[at + 3]];
            let number = match little_endian {
                true => u32::from_le_bytes(bytes),
                false => u32::from_be_bytes(bytes),
            };
            usize::try_from(number).ok()
        };
        let header = START_BYTES.checked_add(number(12)?)?.checked_next_multiple_of(8)?;
        let length = Self { header, body: number(4)? };
        (length.header.checked_add(length.body)? <= MAX_MESSAGE_BYTES).then_some(length)
    }

    /// The header with its padding, in bytes.
    pub fn header(self) -> usize {
        self.header
    }

    /// The body, in bytes.
    pub fn body(self) -> usize {
        self.body
    }

    /// The whole message, in bytes.
    pub fn total(self) -> usize {
        self.header + self.body
    }

    /// Has the beginning of the message say that it has no body.
    pub fn without_body(start: &mut [u8; START_BYTES]) {
        // Zero is the same in both byte orders.
        start[4..8].fill(0);
    }
}

/// Has the library read a message of this length, with its file descriptors; `sequence` tells which came before which.
///
/// # Errors
/// It is not well formed, or not whole.
pub async fn read(bytes: Vec<u8>, fds: Vec<OwnedFd>, sequence: u64) -> zbus::Result<Message> {
    let mut frame = Frame { bytes, position: 0, fds };
    frame.receive_message(sequence, &mut Vec::new(), &mut Vec::new()).await
}

/// One message in memory.
#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    position: usize,
    fds: Vec<OwnedFd>,
}

#[async_trait]
impl ReadHalf for Frame {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let rest = &self.bytes[self.position..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok((count, std::mem::take(&mut self.fds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(order: u8, body: [u8; 4], fields: [u8; 4]) -> [u8; START_BYTES] {
        let mut start = [0; START_BYTES];
        start[0] = order;
        start[4..8].copy_from_slice(&body);
        start[12..16].copy_from_slice(&fields);
        start
    }

    #[test]
    fn lengths_are_read_in_both_byte_orders() {
        let cases = [
            (start(b'l', [5, 0, 0, 0], [9, 0, 0, 0]), Some((32, 5))),
            (start(b'B', [0, 0, 0, 5], [0, 0, 0, 9]), Some((32, 5))),
            (start(b'l', [0; 4], [0; 4]), Some((16, 0))),
            (start(b'l', [0, 0, 0, 8], [0; 4]), None),
            (start(b'l', [255; 4], [255; 4]), None),
            (start(b'x', [0; 4], [0; 4]), None),
        ];
        for (start, expected) in cases {
            let length = Length::of(&start).map(|length| (length.header, length.body));
            assert_eq!(length, expected, "{start:?}");
        }
    }
}
