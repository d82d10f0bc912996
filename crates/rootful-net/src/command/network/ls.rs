//! `rootful-net network ls`: the networks.

use clap::Args;
use rootful_net_dbus::NetworkProperties;

use crate::cli::Format;
use crate::error::Error;
use crate::output;
use crate::service::Service;

/// List networks
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// How to print the list
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Ls {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let networks = Service::connect().await?.networks().await?;
        Ok(match self.format {
            Format::Json => output::json(&networks),
            Format::Table => table(&networks),
        })
    }
}

fn table(networks: &[NetworkProperties]) -> String {
    let rows: Vec<_> = networks
        .iter()
        .map(|network| {
            let subnets: Vec<_> = network.subnets.iter().map(|it| it.subnet.as_str()).collect();
            let internal = if network.internal { "yes" } else { "no" };
            [
                network.name.clone(),
                network.interface.clone(),
                subnets.join(", "),
                internal.to_owned(),
            ]
        })
        .collect();
    output::table(["NAME", "INTERFACE", "SUBNETS", "INTERNAL"], &rows)
}

#[cfg(test)]
mod tests {
    use rootful_net_dbus::SubnetProperties;

    use super::*;

    #[test]
    fn a_line_has_name_interface_and_subnets() {
        let subnet =
            |subnet: &str| SubnetProperties { subnet: subnet.to_owned(), gateway: String::new() };
        let network = NetworkProperties {
            name: "rootful0".to_owned(),
            interface: "rootful0".to_owned(),
            subnets: vec![subnet("10.87.0.0/16"), subnet("fd00::/64")],
            ..NetworkProperties::default()
        };
        let expected = "\
NAME      INTERFACE  SUBNETS                  INTERNAL
rootful0  rootful0   10.87.0.0/16, fd00::/64  no
";
        assert_eq!(table(&[network]), expected);
    }
}
