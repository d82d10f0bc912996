//! `rootful-net network rm`: removes networks.

use std::fmt::{self, Display, Formatter};

use clap::Args;
use rootful_net_core::name::NetworkName;
use rootful_net_dbus::NetworkOptions;

use crate::error::Error;
use crate::service::{Service, ServiceError};

/// Remove networks
///
/// In their order, up to the first that cannot be removed; prints the names of those that are. A network that
/// containers are attached to stays, and so does one that a file in /etc/rootful-net/networks defines. Which names
/// had which addresses on it is forgotten. For root, and whoever polkit lets manage.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The networks' names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<NetworkName>,

    /// Succeed where there is no such network
    #[arg(long)]
    ignore: bool,
}

/// A network was not removed. It says what the service said.
#[derive(Debug)]
pub(crate) struct Stayed {
    pub(crate) answer: ServiceError,
    /// The names of those that were removed before.
    pub(crate) output: String,
}

impl Display for Stayed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.answer.fmt(f)
    }
}

impl std::error::Error for Stayed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.answer.source()
    }
}

impl Rm {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let service = Service::connect().await?;
        let options = NetworkOptions { ignore: self.ignore };
        let mut output = String::new();
        for name in &self.names {
            if let Err(answer) = service.remove_network(name, options).await {
                return Err(Stayed { answer, output }.into());
            }
            output.push_str(&format!("{name}\n"));
        }
        Ok(output)
    }
}
