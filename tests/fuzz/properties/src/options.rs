//! The arguments of D-Bus calls: any body decodes or is refused, and a message that is taken is the same
//! after another way over the wire.

use rootful_net_core::request::{MAX_ALIASES, MAX_FORWARDS, MAX_NETWORKS, NetworkRequest};
use rootful_net_dbus::{AttachMessage, DetachOptions, Dictionary};
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{BE, LE, to_bytes};

use crate::message::check_message;

/// `Attach` without its file descriptor.
type Arguments = (String, Vec<String>, Vec<String>, Dictionary);

pub(crate) fn check(input: &[u8]) {
    // The first byte is the header's, which says the order of bytes.
    let Some((order, body)) = input.split_first() else {
        return;
    };
    let endian = if *order == b'B' { BE } else { LE };
    let data = Data::new(body, Context::new(endian, 0));
    if let Ok((options, _)) = data.deserialize::<Dictionary>() {
        check_detach(options);
    }
    let Ok(((name, networks, publish, options), _)) = data.deserialize::<Arguments>() else {
        return;
    };
    let message = match AttachMessage::from_wire(name, networks, publish, options) {
        Ok(message) => message,
        Err(error) => return check_message(&error),
    };
    assert_eq!(over_the_wire(&message), message);
    let (request, on_conflict) = match message.parse() {
        Ok(parsed) => parsed,
        Err(error) => return check_message(&error),
    };
    assert_eq!(request.name.as_str(), message.name);
    assert!((1..=MAX_NETWORKS).contains(&request.networks.len()));
    assert!(request.forwards.len() <= MAX_FORWARDS);
    assert_eq!(request.dns.len(), message.dns.len());
    for network in &request.networks {
        assert!(network.aliases.len() <= MAX_ALIASES);
        let printed = network.to_string();
        assert_eq!(printed.parse::<NetworkRequest>().as_ref(), Ok(network), "{printed}");
    }
    let again = message.parse().expect("it was taken before");
    assert_eq!(again, (request, on_conflict));
}

fn over_the_wire(message: &AttachMessage) -> AttachMessage {
    let arguments = (&message.name, &message.networks, &message.publish, message.options());
    let bytes = to_bytes(Context::new(LE, 0), &arguments).expect("it came from the wire");
    let ((name, networks, publish, options), _): (Arguments, _) =
        bytes.deserialize().expect("what was written is read");
    AttachMessage::from_wire(name, networks, publish, options).expect("it was taken before")
}

fn check_detach(options: Dictionary) {
    match DetachOptions::from_wire(options) {
        Ok(options) => {
            let reread = DetachOptions::from_wire(options.clone().to_dictionary());
            assert_eq!(reread.expect("what was written is read"), options);
        }
        Err(error) => check_message(&error),
    }
}
