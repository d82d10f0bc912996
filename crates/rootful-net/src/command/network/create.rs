//! `rootful-net network create`: a network as podman's command of the same name would define it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::Args;
use rootful_net_core::name::{InterfaceName, NetworkName, quoted};
use rootful_net_core::network::LeaseRange;
use rootful_net_dbus::NetworkOptions;
use serde_json::{Value, json};

use crate::error::Error;
use crate::service::Service;

/// Make a network
///
/// It is kept until it is removed. Without --subnet it gets a free private IPv4 subnet, with --ipv6 and no IPv6
/// subnet also one of those. Prints the network's name. For root, and whoever polkit lets manage.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The network's name
    #[arg(value_name = "NAME")]
    name: NetworkName,

    /// A subnet, ADDRESS/LENGTH; may be repeated. One of IPv6 switches that on
    #[arg(long = "subnet", value_name = "SUBNET")]
    subnets: Vec<String>,

    /// The host's address in the subnet; where there are several, they belong together in their order
    #[arg(long = "gateway", value_name = "IP", requires = "subnets")]
    gateways: Vec<IpAddr>,

    /// Where in the subnet containers get their addresses, START-END or ADDRESS/LENGTH; in order as well
    #[arg(long = "ip-range", value_name = "RANGE", requires = "subnets")]
    ranges: Vec<LeaseRange>,

    /// Have IPv6 as well
    #[arg(long)]
    ipv6: bool,

    /// Keep containers from everything outside, and publish none of their ports
    #[arg(long)]
    internal: bool,

    /// The bridge; the first free of rootful1, rootful2 and so on without it
    #[arg(long = "interface-name", value_name = "LINK")]
    interface: Option<InterfaceName>,

    /// An option: mtu, isolate, isolate_containers, host_access, connection_limit; may be repeated
    #[arg(short, long = "opt", value_name = "OPTION=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,

    /// A label, which means nothing to the service; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,

    /// Serve no names on it
    #[arg(long)]
    disable_dns: bool,

    /// Succeed where a network of this name exists, whatever it is, and change nothing
    #[arg(long)]
    ignore: bool,
}

/// There is no subnet for an argument.
#[derive(Debug, thiserror::Error)]
#[error("{option} is given {count} times, and --subnet {subnets}: each belongs to one subnet")]
pub(crate) struct WithoutSubnet {
    option: &'static str,
    count: usize,
    subnets: usize,
}

impl Create {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let definition = self.definition()?.to_string();
        let options = NetworkOptions { ignore: self.ignore };
        Service::connect().await?.create_network(&definition, options).await?;
        Ok(format!("{}\n", self.name))
    }

    /// The network in podman's format.
    fn definition(&self) -> Result<Value, WithoutSubnet> {
        let subnets = self.subnets.len();
        let given = [("--gateway", self.gateways.len()), ("--ip-range", self.ranges.len())];
        for (option, count) in given {
            if count > subnets {
                return Err(WithoutSubnet { option, count, subnets });
            }
        }
        let subnet = |(position, subnet): (usize, &String)| {
            let mut fields = json!({ "subnet": subnet });
            if let Some(gateway) = self.gateways.get(position) {
                fields["gateway"] = json!(gateway);
            }
            if let Some(range) = self.ranges.get(position) {
                fields["lease_range"] = json!({ "start_ip": range.start(), "end_ip": range.end() });
            }
            fields
        };
        let map = |pairs: &[(String, String)]| -> BTreeMap<String, String> {
            pairs.iter().cloned().collect()
        };
        Ok(json!({
            "name": self.name,
            "driver": "bridge",
            "network_interface": self.interface,
            "subnets": self.subnets.iter().enumerate().map(subnet).collect::<Vec<_>>(),
            "ipv6_enabled": self.ipv6,
            "internal": self.internal,
            "dns_enabled": !self.disable_dns,
            "labels": map(&self.labels),
            "options": map(&self.options),
        }))
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = pair.ok_or_else(|| format!("{} is not NAME=VALUE", quoted(text)))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use rootful_net_core::network::{Draft, HostAccess};

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    fn definition(arguments: &str) -> Result<Value, WithoutSubnet> {
        let words = ["create"].into_iter().chain(arguments.split_whitespace());
        Line::try_parse_from(words).expect(arguments).create.definition()
    }

    #[test]
    fn what_is_left_out_is_left_to_the_service() {
        let draft = Draft::from_json(&definition("lab").unwrap().to_string()).unwrap();
        assert_eq!((draft.name().as_str(), draft.interface()), ("lab", None));
        assert!(draft.lacks_ipv4() && !draft.lacks_ipv6());
        let draft = Draft::from_json(&definition("lab --ipv6").unwrap().to_string()).unwrap();
        assert!(draft.lacks_ipv6());
    }

    #[test]
    fn every_option_reaches_the_definition() {
        let arguments = "lab --subnet 10.9.0.0/24 --subnet fd00:9::/64 --gateway 10.9.0.254 --gateway fd00:9::9 \
             --ip-range 10.9.0.16/28 --ip-range fd00:9::10-fd00:9::20 --internal --interface-name lab0 \
             -o mtu=1400 --opt isolate=strict --opt host_access=none --label app=web=1 --disable-dns";
        let draft = Draft::from_json(&definition(arguments).unwrap().to_string()).unwrap();
        let network = draft.complete("lab0".parse().unwrap(), &[]).unwrap();
        let subnets: Vec<_> = network
            .subnets()
            .iter()
            .map(|subnet| {
                let range = subnet.lease_range().expect("given");
                format!("{} {} {range}", subnet.subnet(), subnet.gateway())
            })
            .collect();
        let expected = [
            "10.9.0.0/24 10.9.0.254 10.9.0.16-10.9.0.31",
            "fd00:9::/64 fd00:9::9 fd00:9::10-fd00:9::20",
        ];
        assert_eq!(subnets, expected);
        assert!(network.ipv6_enabled() && network.internal() && !network.dns_enabled());
        assert_eq!((network.mtu(), network.host_access()), (Some(1400), HostAccess::None));
        assert_eq!(network.labels()["app"], "web=1");
        assert_eq!(network.interface().as_str(), "lab0");
    }

    #[test]
    fn a_gateway_or_range_too_many_is_refused() {
        for arguments in [
            "lab --subnet 10.9.0.0/24 --gateway 10.9.0.1 --gateway 10.9.0.2",
            "lab --subnet 10.9.0.0/24 --ip-range 10.9.0.16/28 --ip-range 10.9.0.32/28",
        ] {
            let error = definition(arguments).unwrap_err().to_string();
            assert!(error.contains("2 times, and --subnet 1"), "{error}");
        }
    }
}
