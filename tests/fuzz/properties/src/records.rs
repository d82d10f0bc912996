//! What is read back from disk: leases and attachments. Whatever is read is written and read the same, and
//! can be entered, planned for and struck out again.

use rootful_net_core::attachment::{Attachment, Holder};
use rootful_net_core::catalogue::Catalogue;
use rootful_net_core::derivation::AddressKey;
use rootful_net_core::ledger::{AddressOrigin, Leases, Ledger};
use rootful_net_core::network::Network;
use rootful_net_core::observed::Observed;
use rootful_net_core::plan::Plan;
use rootful_net_core::planner::{self, Scope, World};
use rootful_net_core::ruleset::TableName;

const NETWORK: &str = r#"{"name": "rootful0", "network_interface": "rootful0", "ipv6_enabled": true,
    "subnets": [{"subnet": "10.87.0.0/16"}, {"subnet": "fd00::/64"}]}"#;

pub(crate) fn check(input: &[u8]) {
    if let Ok(leases) = serde_json::from_slice::<Leases>(input) {
        check_leases(leases);
    }
    if let Ok(attachment) = serde_json::from_slice::<Attachment>(input) {
        check_attachment(&attachment);
    }
}

fn check_leases(mut leases: Leases) {
    let written = serde_json::to_string(&leases).expect("leases have a JSON form");
    let reread: Leases = serde_json::from_str(&written).expect("what was written is read");
    assert!(reread.iter().eq(leases.iter()), "{written}");
    for lease in leases.iter() {
        assert_eq!(leases.get(&lease.network, lease.address), Some(lease));
        assert!(leases.of_holder(&lease.holder).any(|own| own == lease));
    }
    let holder = Holder { owner: 1000, name: "web".parse().expect("a name") };
    let network = "rootful0".parse().expect("a name");
    let address = "10.87.0.9".parse().expect("an address");
    leases.renew(&network, address, holder.clone(), AddressOrigin::Derived);
    let renewed = leases.get(&network, address).expect("it is there");
    assert_eq!(renewed.holder, holder);
    assert!(
        leases.iter().all(|lease| lease.used <= renewed.used),
        "a lease is newer than the last"
    );
}

fn check_attachment(attachment: &Attachment) {
    let written = serde_json::to_string(attachment).expect("attachments have a JSON form");
    let reread: Attachment = serde_json::from_str(&written).expect("what was written is read");
    assert_eq!(reread, *attachment);

    let mut catalogue = Catalogue::default();
    catalogue.insert(Network::from_json(NETWORK).expect("valid")).expect("the only one");
    let key = AddressKey::from_bytes([7; AddressKey::BYTES]);
    let mut ledger = Ledger::default();
    ledger.insert(attachment.clone());
    assert_eq!(ledger.get(attachment.id()), Some(attachment));
    assert_eq!(ledger.of_holder(&attachment.holder()), Some(attachment));
    assert_eq!(ledger.of_namespace(attachment.namespace()), Some(attachment));
    let observed = Observed { tables: [TableName::INET].into(), ..Observed::default() };
    let world = World { catalogue: &catalogue, ledger: &ledger, key: &key };
    check_plan(&planner::detach(world, &observed, attachment).plan);
    let start = planner::reconcile(world, &observed, Scope::Everything);
    check_plan(&start.plan);
    let links = attachment.interfaces().len();
    assert_eq!(start.released.len(), usize::from(links > 0), "links that are not there");
    for interface in attachment.interfaces() {
        let link = interface.veth.host_link.as_str();
        assert!(!planner::is_link_intact(world, &observed, link), "{link} is not there");
    }
    check_plan(&Plan { steps: planner::restore(attachment, attachment), ..Plan::default() });

    assert_eq!(ledger.remove(attachment.id()).as_ref(), Some(attachment));
    assert!(ledger.is_empty());
    assert_eq!(ledger.of_holder(&attachment.holder()), None);
    assert_eq!(ledger.networks().count(), 0);
}

/// A plan prints as lines of printable characters: its texts end up in `nft` syntax.
fn check_plan(plan: &Plan) {
    let text = plan.to_string();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
}
