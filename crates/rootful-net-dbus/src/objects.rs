//! Reads the objects of the service: attachments and networks with their properties. What is not readable
//! in an answer is an error, never left out.

use zbus::fdo::{self, ObjectManagerProxy, PropertiesProxy};
use zbus::names::InterfaceName;
use zbus::proxy::CacheProperties;
use zbus::{Connection, ObjectPath, OwnedObjectPath};

use rootful_net_core::name::NetworkName;

use crate::attachment::AttachmentProperties;
use crate::error::{Error, Result};
use crate::name::{ATTACHMENT_INTERFACE, BUS_NAME, MANAGER_PATH, NETWORK_INTERFACE, network_path};
use crate::network::NetworkProperties;
use crate::options::Dictionary;

/// The attachments of all users, in no particular order.
///
/// # Errors
/// The service does not answer, or answers what is no attachment.
pub async fn attachments(
    connection: &Connection,
) -> Result<Vec<(OwnedObjectPath, AttachmentProperties)>> {
    let mut attachments = Vec::new();
    for (path, properties) in managed(connection, ATTACHMENT_INTERFACE).await? {
        attachments.push((path, AttachmentProperties::from_dictionary(properties)?));
    }
    Ok(attachments)
}

/// All networks, in no particular order.
///
/// # Errors
/// The service does not answer, or answers what is no network.
pub async fn networks(connection: &Connection) -> Result<Vec<NetworkProperties>> {
    let networks = managed(connection, NETWORK_INTERFACE).await?;
    networks
        .into_iter()
        .map(|(_, properties)| NetworkProperties::from_dictionary(properties))
        .collect()
}

/// The network of this name.
///
/// # Errors
/// The service does not answer, or has no such network ([`Error::NotFound`]).
pub async fn network(connection: &Connection, name: &NetworkName) -> Result<NetworkProperties> {
    let proxy = PropertiesProxy::builder(connection)
        .destination(BUS_NAME)
        .path(network_path(name))
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let interface = InterfaceName::from_static_str(NETWORK_INTERFACE)?;
    let properties = proxy.get_all(interface).await.map_err(|error| match error {
        fdo::Error::UnknownObject(_) | fdo::Error::UnknownInterface(_) => {
            Error::NotFound(format!("network \"{name}\" does not exist"))
        }
        error => from_fdo(error),
    })?;
    NetworkProperties::from_dictionary(properties)
}

/// The attachment at `path`.
///
/// # Errors
/// The service does not answer, or has no attachment there.
pub async fn attachment(
    connection: &Connection,
    path: &ObjectPath<'_>,
) -> Result<AttachmentProperties> {
    let proxy = PropertiesProxy::builder(connection)
        .destination(BUS_NAME)
        .path(path)
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let interface = InterfaceName::from_static_str(ATTACHMENT_INTERFACE)?;
    AttachmentProperties::from_dictionary(proxy.get_all(interface).await.map_err(from_fdo)?)
}

async fn managed(
    connection: &Connection,
    interface: &str,
) -> Result<Vec<(OwnedObjectPath, Dictionary)>> {
    let proxy = ObjectManagerProxy::builder(connection)
        .destination(BUS_NAME)
        .path(MANAGER_PATH)
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let objects = proxy.get_managed_objects().await.map_err(from_fdo)?;
    let of_interface = objects.into_iter().filter_map(|(path, mut interfaces)| {
        interfaces.remove(interface).map(|properties| (path, properties))
    });
    Ok(of_interface.collect())
}

fn from_fdo(error: fdo::Error) -> Error {
    Error::from(zbus::Error::from(error))
}
