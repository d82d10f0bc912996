//! The names of the service, its objects and interfaces.

use zbus::OwnedObjectPath;

use rootful_net_core::attachment::AttachmentId;
use rootful_net_core::name::NetworkName;

/// The well-known bus name.
pub const BUS_NAME: &str = "io.rootful_net1";
/// The object that has [`MANAGER_INTERFACE`] and is the object manager of all others.
pub const MANAGER_PATH: &str = "/io/rootful_net1";
/// Attach, detach, plan.
pub const MANAGER_INTERFACE: &str = "io.rootful_net1.Manager";
/// One attachment.
pub const ATTACHMENT_INTERFACE: &str = "io.rootful_net1.Attachment";
/// One network.
pub const NETWORK_INTERFACE: &str = "io.rootful_net1.Network";

/// The object path of an attachment.
pub fn attachment_path(id: &AttachmentId) -> OwnedObjectPath {
    OwnedObjectPath::try_from(format!("{MANAGER_PATH}/attachment/_{id}"))
        .expect("hexadecimal digits are an object path element")
}

/// The object path of a network: its name, every byte but letters and digits as `_` and two hexadecimal
/// digits, as systemd does it.
pub fn network_path(name: &NetworkName) -> OwnedObjectPath {
    let mut path = format!("{MANAGER_PATH}/network/");
    for (position, byte) in name.as_str().bytes().enumerate() {
        let plain = byte.is_ascii_alphabetic() || (position > 0 && byte.is_ascii_digit());
        if plain {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    OwnedObjectPath::try_from(path).expect("letters, digits and _ are an object path element")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_paths_escape_like_systemd() {
        for (name, element) in
            [("rootful0", "rootful0"), ("9-a.b", "_39_2da_2eb"), ("a_b", "a_5fb")]
        {
            let name: NetworkName = name.parse().unwrap();
            assert_eq!(network_path(&name).as_str(), format!("/io/rootful_net1/network/{element}"));
        }
    }
}
