//! The one network that there is.

use rootful_net_dbus::SubnetProperties;
use zbus::interface;

pub(crate) const NETWORK_PATH: &str = "/io/rootful_net1/network/rootful0";

/// Of both families, with names.
#[derive(Debug)]
pub struct Network;

#[interface(name = "io.rootful_net1.Network")]
impl Network {
    #[zbus(property)]
    async fn name(&self) -> String {
        "rootful0".to_owned()
    }

    #[zbus(property)]
    async fn interface(&self) -> String {
        "rootful0".to_owned()
    }

    #[zbus(property)]
    async fn subnets(&self) -> Vec<SubnetProperties> {
        let subnet = |subnet: &str, gateway: &str| SubnetProperties {
            subnet: subnet.to_owned(),
            gateway: gateway.to_owned(),
        };
        vec![subnet("10.87.0.0/16", "10.87.0.1"), subnet("fd00::/64", "fd00::1")]
    }

    #[zbus(property)]
    async fn internal(&self) -> bool {
        false
    }

    #[zbus(property)]
    async fn isolate(&self) -> String {
        "false".to_owned()
    }

    #[zbus(property)]
    async fn mtu(&self) -> u16 {
        0
    }

    #[zbus(property)]
    async fn name_servers(&self) -> Vec<String> {
        vec!["10.87.0.1".to_owned(), "fd00::1".to_owned()]
    }
}
