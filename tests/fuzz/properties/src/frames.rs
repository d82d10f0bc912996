//! Messages as they come over the bus's socket: how long one is agrees with a naive reading, and what the library makes
//! of it can be looked at without a panic, whatever is in it.

use futures_util::FutureExt as _;
use rootful_net_core::request::MAX_NETWORKS;
use rootful_net_dbus::frame::{self, Length, START_BYTES};
use rootful_net_dbus::{AttachMessage, Dictionary};
use zbus::Message;

use crate::message::check_message;

/// The most that the service reads of one message.
const MAX_BYTES: usize = 64 << 10;

/// `Attach` without its file descriptor, of which there is none here.
type Arguments = (String, Vec<String>, Vec<String>, Dictionary);

pub(crate) fn check(input: &[u8]) {
    let Some(start) = input.first_chunk::<START_BYTES>() else {
        return;
    };
    let length = Length::of(start);
    assert_eq!(length.map(|length| (length.header(), length.body())), naive_length(start));
    let Some(length) = length else { return };
    let mut without_body = *start;
    Length::without_body(&mut without_body);
    let shortened = Length::of(&without_body).expect("the rest is as it was");
    assert_eq!((shortened.header(), shortened.body()), (length.header(), 0));
    if length.total() > input.len().min(MAX_BYTES) {
        return;
    }
    let whole = input[..length.total()].to_vec();
    let read = frame::read(whole, Vec::new(), 1).now_or_never().expect("memory is there at once");
    match read {
        Ok(message) => check_read(&message, length),
        Err(error) => check_said(&error.to_string()),
    }
    let cut = input[..length.total() - 1].to_vec();
    let read = frame::read(cut, Vec::new(), 1).now_or_never().expect("memory is there at once");
    assert!(read.is_err(), "a message without its end is read");
}

/// Looks at everything that the gate looks at, and at the body as the service's methods do.
fn check_read(message: &Message, length: Length) {
    assert_eq!(message.data().len(), length.total());
    let header = message.header();
    let _ = (header.sender(), header.interface(), header.member(), header.destination());
    let _ = (header.path(), header.reply_serial(), header.signature(), header.unix_fds());
    let _ = (message.message_type(), message.primary_header().serial_num());
    let body = message.body();
    let _ = body.deserialize::<String>();
    let _ = body.deserialize::<(String, Dictionary)>();
    let Ok((name, networks, publish, options)) = body.deserialize::<Arguments>() else {
        return;
    };
    let parsed = AttachMessage::from_wire(name, networks, publish, options)
        .and_then(|message| message.parse());
    match parsed {
        Ok((request, _)) => assert!((1..=MAX_NETWORKS).contains(&request.networks.len())),
        Err(error) => check_message(&error),
    }
}

/// It is written to the log, which escapes it; so it need not be printable, only short.
fn check_said(text: &str) {
    assert!(text.len() < 4096, "{} bytes", text.len());
}

fn naive_length(start: &[u8; START_BYTES]) -> Option<(usize, usize)> {
    let is_little_endian = match char::from(start[0]) {
        'l' => true,
        'B' => false,
        _ => return None,
    };
    let number = |at: usize| {
        let digits: Vec<_> = start[at..at + 4].iter().map(|byte| u128::from(*byte)).collect();
        let weights: [u128; 4] = if is_little_endian {
            [1, 1 << 8, 1 << 16, 1 << 24]
        } else {
            [1 << 24, 1 << 16, 1 << 8, 1]
        };
        digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum::<u128>()
    };
    let header = (16 + number(12)).div_ceil(8) * 8;
    let body = number(4);
    let is_possible = header + body <= 128 * 1024 * 1024;
    is_possible.then(|| {
        (usize::try_from(header).expect("it is less"), usize::try_from(body).expect("it is less"))
    })
}
