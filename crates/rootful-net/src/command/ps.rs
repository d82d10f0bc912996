//! `rootful-net ps`: the attached containers.

use clap::Args;
use rootful_net_dbus::AttachmentProperties;

use crate::attached;
use crate::cli::Format;
use crate::error::Error;
use crate::output;
use crate::ports;
use crate::service::Service;

/// List attached containers
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// List the containers of all users, as it is always done for root
    #[arg(short, long)]
    all: bool,

    /// How to print the list
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Ps {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let uid = attached::own_uid();
        let everyone = self.all || uid == 0;
        let attachments = Service::connect().await?.attachments().await?;
        let attachments: Vec<_> = attachments
            .into_iter()
            .map(|(_, attachment)| attachment)
            .filter(|attachment| everyone || attachment.owner == uid)
            .collect();
        Ok(match (self.format, everyone) {
            (Format::Json, _) => output::json(&attachments),
            (Format::Table, false) => table(&attachments),
            (Format::Table, true) => table_with_owner(&attachments),
        })
    }
}

/// A line for each attachment.
pub(super) fn table(attachments: &[AttachmentProperties]) -> String {
    let rows: Vec<_> = attachments.iter().map(row).collect();
    output::table(["CONTAINER", "NETWORKS", "ADDRESSES", "PORTS"], &rows)
}

fn table_with_owner(attachments: &[AttachmentProperties]) -> String {
    let rows: Vec<_> = attachments
        .iter()
        .map(|attachment| {
            let [container, networks, addresses, ports] = row(attachment);
            [attachment.owner.to_string(), container, networks, addresses, ports]
        })
        .collect();
    output::table(["OWNER", "CONTAINER", "NETWORKS", "ADDRESSES", "PORTS"], &rows)
}

fn row(attachment: &AttachmentProperties) -> [String; 4] {
    let interfaces = &attachment.interfaces;
    let networks: Vec<_> = interfaces.iter().map(|interface| interface.network.as_str()).collect();
    let addresses = interfaces.iter().flat_map(|interface| &interface.addresses);
    // The prefix length is the network's matter; without it the address can be copied.
    let addresses: Vec<_> =
        addresses.map(|address| address.split('/').next().unwrap_or_default()).collect();
    [
        attachment.name.clone(),
        networks.join(", "),
        addresses.join(", "),
        ports::summary(&attachment.ports),
    ]
}

#[cfg(test)]
mod tests {
    use rootful_net_dbus::{InterfaceProperties, PortProperties};

    use super::*;

    fn attachment() -> AttachmentProperties {
        let interface = |network: &str, addresses: &[&str]| InterfaceProperties {
            network: network.to_owned(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            ..InterfaceProperties::default()
        };
        AttachmentProperties {
            owner: 1000,
            name: "web".to_owned(),
            interfaces: vec![
                interface("rootful0", &["10.87.3.4/16", "fd00::2/64"]),
                interface("db", &["10.88.0.2/24"]),
            ],
            ports: vec![PortProperties {
                protocol: "tcp".to_owned(),
                host_address: String::new(),
                host_port: 8080,
                container_port: 80,
            }],
            ..AttachmentProperties::default()
        }
    }

    #[test]
    fn a_line_has_container_networks_addresses_and_ports() {
        let expected = "\
CONTAINER  NETWORKS      ADDRESSES                          PORTS
web        rootful0, db  10.87.3.4, fd00::2, 10.88.0.2      8080->80/tcp
";
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&table(&[attachment()])), squeeze(expected));
    }

    #[test]
    fn the_owner_is_named_where_everyone_is_listed() {
        let text = table_with_owner(&[attachment()]);
        assert!(text.starts_with("OWNER  CONTAINER  "), "{text}");
        assert!(text.contains("\n1000   web        "), "{text}");
    }
}
