//! The arguments of `Attach` and `Detach`, on both sides of the wire.

use std::collections::BTreeSet;
use std::net::IpAddr;

use zbus::{OwnedVariant, Variant};

use rootful_net_core::name::{Alias, ContainerName, quoted};
use rootful_net_core::publish::Publish;
use rootful_net_core::request::{AttachRequest, ContainerId, NetworkRequest, OnConflict};

use crate::error::{Error, Result};
use crate::options::{Dictionary, Options};

/// The most elements of an array argument.
const MAX_ARRAY: usize = 1024;

/// The arguments of `Attach` and `Plan`, as text in podman's grammar. The service parses them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachMessage {
    /// The container's name.
    pub name: String,
    /// Networks, each `NAME[:ip=…,mac=…,alias=…,interface_name=…]`.
    pub networks: Vec<String>,
    /// Ports, each `[[ip:][hostPort[-end]]:]containerPort[-end][/protocol]`.
    pub publish: Vec<String>,
    /// The container's id; empty where there is none.
    pub container_id: String,
    /// Names on every network, besides the container's own.
    pub aliases: Vec<String>,
    /// DNS servers instead of the networks' own.
    pub dns: Vec<String>,
    /// Whether an attachment of the same name is replaced.
    pub replace: bool,
}

impl AttachMessage {
    /// The options dictionary that goes with the message.
    pub fn options(&self) -> Dictionary {
        let mut options = Dictionary::new();
        let mut set = |key: &str, value: Variant<'_>| {
            let value = OwnedVariant::try_from(value).expect("no file descriptor is copied");
            options.insert(key.to_owned(), value);
        };
        if !self.container_id.is_empty() {
            set("container-id", Variant::from(self.container_id.as_str()));
        }
        if !self.aliases.is_empty() {
            set("aliases", Variant::from(self.aliases.clone()));
        }
        if !self.dns.is_empty() {
            set("dns", Variant::from(self.dns.clone()));
        }
        if self.replace {
            set("replace", Variant::from(true));
        }
        options
    }

    /// Puts the message together again on the service's side.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an unknown option or one of the wrong type.
    pub fn from_wire(
        name: String,
        networks: Vec<String>,
        publish: Vec<String>,
        options: Dictionary,
    ) -> Result<Self> {
        let mut options = Options::new(options);
        let message = Self {
            name,
            networks,
            publish,
            container_id: options.take("container-id", "s")?.unwrap_or_default(),
            aliases: options.take("aliases", "as")?.unwrap_or_default(),
            dns: options.take("dns", "as")?.unwrap_or_default(),
            replace: options.take("replace", "b")?.unwrap_or_default(),
        };
        options.finish()?;
        Ok(message)
    }

    /// Parses the message.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with a sentence that says what is accepted.
    pub fn parse(&self) -> Result<(AttachRequest, OnConflict)> {
        let arrays = [
            ("networks", self.networks.len()),
            ("publish", self.publish.len()),
            ("aliases", self.aliases.len()),
            ("dns", self.dns.len()),
        ];
        for (what, count) in arrays {
            if count > MAX_ARRAY {
                return Err(Error::InvalidArgument(format!(
                    "{what} has {count} elements; accepted are up to {MAX_ARRAY}"
                )));
            }
        }
        let name: ContainerName = self.name.parse().map_err(invalid)?;
        let container_id: Option<ContainerId> = match self.container_id.as_str() {
            "" => None,
            text => Some(text.parse().map_err(invalid)?),
        };
        let aliases: BTreeSet<Alias> = parse_all(&self.aliases)?;
        let mut networks: Vec<NetworkRequest> = parse_all(&self.networks)?;
        for network in &mut networks {
            network.aliases.extend(aliases.iter().cloned());
        }
        let publish: Vec<Publish> = parse_all(&self.publish)?;
        let dns = self.dns.iter().map(|text| dns_server(text)).collect::<Result<_>>()?;
        let request =
            AttachRequest::new(name, container_id, networks, &publish, dns).map_err(invalid)?;
        let on_conflict = if self.replace { OnConflict::Replace } else { OnConflict::Refuse };
        Ok((request, on_conflict))
    }
}

/// The options of `Detach` and `DetachAll`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetachOptions {
    /// Whose attachments; the caller's own where it is missing. Only root may name another.
    pub owner: Option<u32>,
    /// Only what was attached as this container, of those that the call selects.
    pub container_id: Option<ContainerId>,
}

impl DetachOptions {
    /// The dictionary that says the same.
    pub fn to_dictionary(self) -> Dictionary {
        let owner = self.owner.map(|uid| ("owner".to_owned(), OwnedVariant::from(uid)));
        let container_id = self.container_id.map(|id| {
            let id = OwnedVariant::try_from(Variant::from(id.as_str()));
            ("container-id".to_owned(), id.expect("no file descriptor is copied"))
        });
        owner.into_iter().chain(container_id).collect()
    }

    /// Reads the dictionary.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an unknown option or one of the wrong type.
    pub fn from_wire(options: Dictionary) -> Result<Self> {
        let mut options = Options::new(options);
        let owner = options.take("owner", "u")?;
        let container_id: Option<String> = options.take("container-id", "s")?;
        options.finish()?;
        let container_id = container_id.map(|id| id.parse().map_err(invalid)).transpose()?;
        Ok(Self { owner, container_id })
    }
}

fn parse_all<T, C>(texts: &[String]) -> Result<C>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    C: FromIterator<T>,
{
    texts.iter().map(|text| text.parse().map_err(invalid)).collect()
}

fn dns_server(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| {
        Error::InvalidArgument(format!("DNS server {} is not an IP address", quoted(text)))
    })
}

fn invalid(error: impl std::fmt::Display) -> Error {
    Error::InvalidArgument(error.to_string())
}
