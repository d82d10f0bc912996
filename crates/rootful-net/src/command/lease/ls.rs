//! `rootful-net lease ls`: the leases.

use clap::Args;
use rootful_net_core::name::NetworkName;
use rootful_net_dbus::{LeaseOptions, LeaseProperties};

use crate::cli::Format;
use crate::error::Error;
use crate::output;
use crate::service::Service;

/// List leases
///
/// Every name that was attached once keeps its address. Lists the caller's leases, for root everybody's.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only those of this network
    #[arg(long, value_name = "NETWORK")]
    network: Option<NetworkName>,

    /// How to print the list
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Ls {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let mut leases = all().await?;
        if let Some(network) = self.network {
            leases.retain(|lease| lease.network == network.as_str());
        }
        Ok(match self.format {
            Format::Json => output::json(&leases),
            Format::Table => table(&leases),
        })
    }
}

/// All leases that the caller can see, by network and address.
pub(super) async fn all() -> Result<Vec<LeaseProperties>, Error> {
    let service = Service::connect().await?;
    let manager = service.manager().await?;
    let options = LeaseOptions::default().to_dictionary();
    Ok(service.call(async || manager.list_leases(&options).await).await?)
}

fn table(leases: &[LeaseProperties]) -> String {
    let rows: Vec<_> = leases
        .iter()
        .map(|lease| {
            [
                lease.network.clone(),
                lease.address.clone(),
                lease.owner.to_string(),
                lease.name.clone(),
                lease.origin.clone(),
                if lease.in_use { "in use" } else { "idle" }.to_owned(),
            ]
        })
        .collect();
    output::table(["NETWORK", "ADDRESS", "USER", "NAME", "ORIGIN", "STATE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, origin: &str, in_use: bool) -> LeaseProperties {
        LeaseProperties {
            network: "rootful0".to_owned(),
            address: "10.87.3.4".to_owned(),
            owner: 1000,
            name: name.to_owned(),
            origin: origin.to_owned(),
            used: 7,
            in_use,
        }
    }

    #[test]
    fn a_line_says_who_has_the_address_and_whether_it_is_in_use() {
        let leases = [lease("web", "derived", true), lease("db", "requested", false)];
        let expected = "\
NETWORK   ADDRESS    USER  NAME  ORIGIN     STATE
rootful0  10.87.3.4  1000  web   derived    in use
rootful0  10.87.3.4  1000  db    requested  idle
";
        assert_eq!(table(&leases), expected);
    }

    #[test]
    fn the_documented_json_is_what_is_printed() {
        let documented = include_str!("../../../../../docs/cli.md");
        let printed = output::json(&[lease("web", "derived", true)]);
        assert!(documented.contains(&format!("```json\n{printed}```\n")), "{printed}");
    }
}
