//! `io.rootful_net1.Network`.

use rootful_net_core::network::Network;
use rootful_net_dbus::{NetworkProperties, SubnetProperties};
use zbus::interface;

use crate::dns::is_installed;

/// One network on the bus.
#[derive(Debug)]
pub(crate) struct NetworkObject {
    properties: NetworkProperties,
}

impl NetworkObject {
    pub(crate) fn new(network: &Network) -> Self {
        Self { properties: network.into() }
    }
}

#[interface(name = "io.rootful_net1.Network", introspection_docs = false)]
impl NetworkObject {
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        &self.properties.name
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn interface(&self) -> &str {
        &self.properties.interface
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn subnets(&self) -> Vec<SubnetProperties> {
        self.properties.subnets.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn internal(&self) -> bool {
        self.properties.internal
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn isolate(&self) -> &str {
        &self.properties.isolate
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn mtu(&self) -> u16 {
        self.properties.mtu
    }

    /// None while the name server is not installed, whatever the network says.
    #[zbus(property(emits_changed_signal = "false"))]
    fn name_servers(&self) -> Vec<String> {
        if is_installed() { self.properties.name_servers.clone() } else { Vec::new() }
    }
}
