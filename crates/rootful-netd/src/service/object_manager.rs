//! `org.freedesktop.DBus.ObjectManager`, answered from copies of the objects' properties. zbus's own reads every object
//! while nothing can be added or removed: with a thousand attachments, whoever reads them all would hold up whoever
//! attaches. The signals are zbus's, which looks for the interface by its name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rootful_net_core::name::NetworkName;
use rootful_net_core::network::Network;
use rootful_net_dbus::name::network_path;
use zbus::names::InterfaceName;
use zbus::object_server::{Interface, SignalEmitter};
use zbus::{Connection, ObjectPath, OwnedObjectPath, OwnedVariant, Variant, interface};

use super::attachment::AttachmentObject;
use super::network::NetworkObject;

type Properties = HashMap<String, OwnedVariant>;
/// By interface. Shared with the answers that are being written.
type Object = Arc<HashMap<String, Properties>>;

/// What is shown: of attachments the properties as they were when they were shown or changed last, and the networks.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    attachments: Arc<Mutex<HashMap<OwnedObjectPath, Object>>>,
    networks: Arc<Mutex<Vec<Network>>>,
}

impl Shown {
    /// Shows an attachment as it is now.
    pub(super) async fn show(
        &self,
        connection: &Connection,
        path: &OwnedObjectPath,
        attachment: &AttachmentObject,
    ) -> zbus::Result<()> {
        let object = properties_of(connection, path, attachment).await?;
        locked(&self.attachments).insert(path.clone(), object);
        Ok(())
    }

    /// Shows an attachment no more.
    pub(super) fn withdraw(&self, path: &OwnedObjectPath) {
        locked(&self.attachments).remove(path);
    }

    /// Shows a network, as it is whenever somebody asks: it has no names while there is no name server.
    pub(super) fn show_network(&self, network: &Network) {
        locked(&self.networks).push(network.clone());
    }

    /// Shows a network no more.
    pub(super) fn withdraw_network(&self, name: &NetworkName) {
        locked(&self.networks).retain(|network| network.name() != name);
    }
}

async fn properties_of<I: Interface>(
    connection: &Connection,
    path: &OwnedObjectPath,
    object: &I,
) -> zbus::Result<Object> {
    let emitter = SignalEmitter::new(connection, path)?;
    let server = connection.object_server();
    let properties = object.get_all(server, connection, None, &emitter).await?;
    Ok(Object::new(HashMap::from([(I::name().to_string(), properties)])))
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The object manager.
#[derive(Debug)]
pub(super) struct ObjectManager {
    shown: Shown,
}

impl ObjectManager {
    pub(super) fn new(shown: Shown) -> Self {
        Self { shown }
    }
}

#[interface(name = "org.freedesktop.DBus.ObjectManager", introspection_docs = false)]
impl ObjectManager {
    async fn get_managed_objects(
        &self,
        #[zbus(connection)] connection: &Connection,
    ) -> zbus::fdo::Result<HashMap<OwnedObjectPath, Object>> {
        let mut objects = locked(&self.shown.attachments).clone();
        let networks = locked(&self.shown.networks).clone();
        for network in networks {
            let path = network_path(network.name());
            let object = properties_of(connection, &path, &NetworkObject::new(&network)).await?;
            objects.insert(path, object);
        }
        Ok(objects)
    }

    #[zbus(signal)]
    async fn interfaces_added(
        emitter: &SignalEmitter<'_>,
        object_path: ObjectPath<'_>,
        interfaces_and_properties: HashMap<InterfaceName<'_>, HashMap<&str, Variant<'_>>>,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn interfaces_removed(
        emitter: &SignalEmitter<'_>,
        object_path: ObjectPath<'_>,
        interfaces: Vec<InterfaceName<'_>>,
    ) -> zbus::Result<()>;
}
