//! What somebody else does to what is rootful-net's.

use std::fs;

use anyhow::Result;
use rootful_net_tests::namespace::run;

use super::seen::Seen;
use crate::random::operation::Damage;

/// Does the damage, where there is something to damage.
pub(super) fn inflict(damage: Damage, seen: &Seen) -> Result<()> {
    let links = &seen.links;
    let port = links.keys().find(|link| link.starts_with("rn"));
    let bridge = links.keys().find(|link| link.starts_with("rootful"));
    let (Some(port), Some(bridge)) = (port, bridge) else { return Ok(()) };
    let command = match damage {
        Damage::FlushRuleset => "nft flush ruleset".to_owned(),
        Damage::DeleteTable => "nft delete table inet rootful_net".to_owned(),
        Damage::DeleteGuard => "nft delete table bridge rootful_net".to_owned(),
        Damage::FlushChain => "nft flush chain inet rootful_net forward".to_owned(),
        Damage::FlushMap => "nft flush map inet rootful_net publish4".to_owned(),
        Damage::DeleteGuardElements => "nft flush set bridge rootful_net ipv4_sources".to_owned(),
        Damage::AddElement => {
            let element = "{ 10.87.0.99 . \"rootful0\" }";
            format!("nft add element inet rootful_net members4 {element}")
        }
        Damage::DeleteBridge => format!("ip link delete {bridge}"),
        Damage::BridgeDown => format!("ip link set {bridge} down"),
        Damage::FlushAddresses => format!("ip address flush dev {bridge}"),
        Damage::ForwardingOff => {
            fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;
            return Ok(());
        }
        Damage::PortDown => format!("ip link set {port} down"),
        Damage::Unplug => format!("ip link set {port} nomaster"),
    };
    run(&command).map(|_| ())
}
