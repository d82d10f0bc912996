//! A client on the LAN: a namespace joined to the test's own by a veth pair.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::namespace::{NetworkNamespace, run};
use crate::sandbox::Sandbox;

/// A LAN with two stations: the host, which is the test's own namespace, and a client that has the host for
/// its default router.
#[derive(Debug)]
pub struct Lan {
    client: NetworkNamespace,
}

impl Lan {
    /// The host's link to the LAN.
    pub const HOST_LINK: &'static str = "lan0";
    /// The host's addresses; the prefixes are /24 and /64.
    pub const HOST_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    /// See [`Self::HOST_IPV4`].
    pub const HOST_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
    /// The client's addresses.
    pub const CLIENT_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
    /// See [`Self::CLIENT_IPV4`].
    pub const CLIENT_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100);

    /// Joins a new client to the sandbox.
    ///
    /// # Errors
    /// Where links or addresses are refused.
    pub fn join(_: &Sandbox) -> anyhow::Result<Self> {
        let client = NetworkNamespace::new()?;
        let link = Self::HOST_LINK;
        let peer = client.path();
        run(&format!("ip link add {link} type veth peer name eth0 netns {}", peer.display()))?;
        set_up(link, Self::HOST_IPV4, Self::HOST_IPV6)?;
        client.run(|| {
            run("ip link set lo up")?;
            set_up("eth0", Self::CLIENT_IPV4, Self::CLIENT_IPV6)?;
            run(&format!("ip route add default via {}", Self::HOST_IPV4))?;
            run(&format!("ip route add default via {}", Self::HOST_IPV6))
        })?;
        Ok(Self { client })
    }

    /// The client's namespace.
    pub fn client(&self) -> &NetworkNamespace {
        &self.client
    }

    /// Does `work` as the client, see [`NetworkNamespace::run`].
    ///
    /// # Errors
    /// Where its namespace cannot be entered, and what `work` returns.
    pub fn run<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        self.client.run(work)
    }
}

/// Usable at once: no duplicate detection, and no link-local address that goes through it, but one with a
/// fixed identifier.
fn set_up(link: &str, ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> anyhow::Result<()> {
    run(&format!("ip link set {link} addrgenmode none"))?;
    run(&format!("ip address add {ipv4}/24 dev {link}"))?;
    run(&format!("ip address add {ipv6}/64 dev {link} nodad"))?;
    let [.., identifier] = ipv6.segments();
    run(&format!("ip address add fe80::{identifier:x}/64 dev {link} nodad"))?;
    run(&format!("ip link set {link} up"))?;
    Ok(())
}
