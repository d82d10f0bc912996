//! `rootful-net network inspect`: everything about networks, as JSON.

use clap::Args;
use rootful_net_core::name::NetworkName;
use rootful_net_dbus::NetworkProperties;

use crate::error::Error;
use crate::output;
use crate::service::{Refusal, Service, ServiceError};

/// Show everything about networks, as a JSON array
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The networks' names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<NetworkName>,
}

impl Inspect {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let networks = Service::connect().await?.networks().await?;
        Ok(output::json(&select(&networks, &self.names)?))
    }
}

/// The networks of these names, in their order.
fn select<'a>(
    networks: &'a [NetworkProperties],
    names: &[NetworkName],
) -> Result<Vec<&'a NetworkProperties>, ServiceError> {
    let find = |name: &NetworkName| {
        networks.iter().find(|network| network.name == name.as_str()).ok_or_else(|| {
            ServiceError::Refused {
                refusal: Refusal::NotFound,
                message: format!("network \"{name}\" does not exist; see 'rootful-net network ls'"),
            }
        })
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_come_in_the_order_asked_for_and_a_missing_one_is_named() {
        let network = |name: &str| NetworkProperties {
            name: name.to_owned(),
            ..NetworkProperties::default()
        };
        let networks = [network("a"), network("b")];
        let names = |names: &[&str]| -> Vec<NetworkName> {
            names.iter().map(|name| name.parse().expect("a name")).collect()
        };
        let found = select(&networks, &names(&["b", "a"])).expect("both exist");
        assert_eq!(found, [&networks[1], &networks[0]]);
        let error = select(&networks, &names(&["a", "c"])).expect_err("no such network");
        assert_eq!(crate::service::exit(&error).code(), 4);
        assert!(error.to_string().starts_with("network \"c\" does not exist"), "{error}");
    }
}
