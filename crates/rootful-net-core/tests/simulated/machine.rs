//! A simulated host with its networks and its ledger: what the planner decides is carried out at once, as the engine
//! does it where nothing comes between.

use std::rc::Rc;

use rootful_net_core::attachment::{Attachment, Holder, NamespaceId};
use rootful_net_core::catalogue::{Catalogue, default_network};
use rootful_net_core::derivation::AddressKey;
use rootful_net_core::ledger::{Leases, Ledger};
use rootful_net_core::network::Network;
use rootful_net_core::observed::{LinkKind, Sysctl, TableContents};
use rootful_net_core::plan::Step;
use rootful_net_core::planner::{self, AttachDecision, Change, PlanError, Scope, World};
use rootful_net_core::policy::{Caller, Consent, Decision, Policy, Usage, authorize};
use rootful_net_core::request::{AttachRequest, OnConflict};
use rootful_net_core::ruleset::{Family, TableName};

use crate::host::{Failed, Refused, SimulatedHost};

/// The networks and the secret.
pub(crate) struct Site {
    pub(crate) catalogue: Catalogue,
    pub(crate) key: AddressKey,
}

impl Site {
    /// The default network, one without a way out, and one with an MTU that is kept from all others.
    pub(crate) fn new() -> Rc<Self> {
        let key = AddressKey::from_bytes([7; 32]);
        let default = default_network(&key, &[]).unwrap();
        let mut catalogue = Catalogue::default();
        catalogue.insert(default).unwrap();
        for text in [
            r#"{"name": "closed", "network_interface": "closed0", "internal": true,
                "subnets": [{"subnet": "10.91.0.0/24"}]}"#,
            r#"{"name": "apart", "network_interface": "apart0",
                "subnets": [{"subnet": "10.92.0.0/28"}],
                "options": {"isolate": "strict", "mtu": "1400"}}"#,
        ] {
            catalogue.insert(Network::from_json(text).unwrap()).unwrap();
        }
        Rc::new(Self { catalogue, key })
    }

    pub(crate) fn world<'a>(&'a self, ledger: &'a Ledger) -> World<'a> {
        World { catalogue: &self.catalogue, ledger, key: &self.key }
    }

    /// Has the planner decide on a request that root makes, who needs no grant.
    pub(crate) fn decide(
        &self,
        host: &SimulatedHost,
        ledger: &Ledger,
        asked: &Asked,
    ) -> Result<AttachDecision, PlanError> {
        let request = asked.request();
        let query = planner::attach_query(self.world(ledger), asked.owner, &request)?;
        let root = Caller { uid: 0, user_name: None, groups: Vec::new() };
        let (policy, usage) = (Policy::default(), Usage::default());
        let decision = authorize(&policy, &root, asked.owner, usage, request, Consent::NotAsked);
        let Ok(Decision::Allowed(authorized)) = decision else { panic!("root needs no grant") };
        let namespace = asked.namespace();
        let observed = host.observe(&query, Some(namespace));
        planner::attach(self.world(ledger), &observed, namespace, &authorized, asked.on_conflict)
    }
}

/// A request to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) owner: u32,
    pub(crate) name: &'static str,
    pub(crate) inode: u64,
    pub(crate) networks: Vec<&'static str>,
    pub(crate) publish: Vec<&'static str>,
    pub(crate) on_conflict: OnConflict,
}

impl Asked {
    pub(crate) fn new(
        (owner, name, inode): (u32, &'static str, u64),
        networks: &[&'static str],
        publish: &[&'static str],
    ) -> Self {
        let (networks, publish) = (networks.to_vec(), publish.to_vec());
        Self { owner, name, inode, networks, publish, on_conflict: OnConflict::Refuse }
    }

    /// The same, in the place of whatever is attached under the name.
    pub(crate) fn replacing(self) -> Self {
        Self { on_conflict: OnConflict::Replace, ..self }
    }

    fn request(&self) -> AttachRequest {
        let networks = self.networks.iter().map(|text| text.parse().unwrap()).collect();
        let publish: Vec<_> = self.publish.iter().map(|text| text.parse().unwrap()).collect();
        let name = self.name.parse().unwrap();
        AttachRequest::new(name, None, networks, &publish, Vec::new()).unwrap()
    }

    pub(crate) fn namespace(&self) -> NamespaceId {
        namespace(self.inode)
    }

    pub(crate) fn holder(&self) -> Holder {
        Holder { owner: self.owner, name: self.name.parse().unwrap() }
    }
}

/// The namespace of this inode number.
pub(crate) fn namespace(inode: u64) -> NamespaceId {
    NamespaceId { device: 4, inode }
}

/// Why nothing came of a request.
#[derive(Debug)]
pub(crate) enum NotAttached {
    /// The planner refuses it.
    Decided(PlanError),
    /// The host refuses a step.
    CarryingOut(Failed),
}

/// A table of somebody else's.
pub(crate) const FOREIGN_TABLE: TableName = TableName { family: Family::Inet, name: "firewalld" };

/// A host on which containers come and go.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) site: Rc<Site>,
    pub(crate) host: SimulatedHost,
    pub(crate) ledger: Ledger,
}

impl Machine {
    /// A host that has links, tables and ports of others, and does not forward yet.
    pub(crate) fn new() -> Self {
        Self::with_leases(Site::new(), Leases::default())
    }

    fn with_leases(site: Rc<Site>, leases: Leases) -> Self {
        let mut host = SimulatedHost::default();
        for sysctl in [Sysctl::ipv4_forwarding(), Sysctl::ipv6_forwarding()] {
            host.sysctls.insert(sysctl, "0".to_owned());
        }
        host.add_link("enp1s0", LinkKind::Other(String::new()), None).up = true;
        host.add_link("docker0", LinkKind::Bridge, None).up = true;
        let docker = host.links["docker0"].index;
        let link = host.add_link("rnforeign", LinkKind::Veth, Some("somebody else's"));
        (link.master, link.up) = (Some(docker), true);
        host.addresses.insert("docker0".to_owned(), ["172.17.0.1/16".parse().unwrap()].into());
        host.tables.insert(FOREIGN_TABLE, TableContents::default());
        Self { site, host, ledger: Ledger::new(leases) }
    }

    /// A host on which the same is attached and on which nothing else ever happened.
    pub(crate) fn fresh(&self) -> Self {
        let mut fresh = Self::with_leases(Rc::clone(&self.site), self.ledger.leases().clone());
        for attachment in self.ledger.attachments() {
            let request = attachment.request();
            let text = |network: &_| &*network_text(network).leak();
            let asked = Asked {
                owner: attachment.owner(),
                name: request.name.as_str().to_owned().leak(),
                inode: attachment.namespace().inode,
                networks: request.networks.iter().map(text).collect(),
                publish: Vec::new(),
                on_conflict: OnConflict::Refuse,
            };
            let _ = asked;
        }
        fresh.ledger.networks().count();
        fresh
    }
}
