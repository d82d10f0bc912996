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

/// A request to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) owner: u32,
    pub(crate) namespace: NamespaceId,
    pub(crate) request: AttachRequest,
    pub(crate) on_conflict: OnConflict,
}

impl Asked {
    pub(crate) fn new(
        (owner, name, inode): (u32, &str, u64),
        networks: &[&str],
        publish: &[&str],
    ) -> Self {
        let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        let publish: Vec<_> = publish.iter().map(|text| text.parse().unwrap()).collect();
        let name = name.parse().unwrap();
        let request = AttachRequest::new(name, None, networks, &publish, Vec::new()).unwrap();
        let namespace = NamespaceId { device: 4, inode };
        Self { owner, namespace, request, on_conflict: OnConflict::Refuse }
    }

    /// The same, in the place of whatever is attached under the name.
    pub(crate) fn replacing(self) -> Self {
        Self { on_conflict: OnConflict::Replace, ..self }
    }

    pub(crate) fn holder(&self) -> Holder {
        Holder { owner: self.owner, name: self.request.name.clone() }
    }
}

/// The networks and the secret.
pub(crate) struct Site {
    pub(crate) catalogue: Catalogue,
    pub(crate) key: AddressKey,
}

impl Site {
    /// The default network and those of `definitions`.
    pub(crate) fn new(definitions: &[&str]) -> Rc<Self> {
        let key = AddressKey::from_bytes([7; 32]);
        let mut catalogue = Catalogue::default();
        catalogue.insert(default_network(&key, &[]).unwrap()).unwrap();
        for text in definitions {
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
        let Asked { owner, namespace, request, on_conflict } = asked;
        let query = planner::attach_query(self.world(ledger), *owner, request)?;
        let root = Caller { uid: 0, user_name: None, groups: Vec::new() };
        let (policy, usage) = (Policy::default(), Usage::default());
        let consent = Consent::NotAsked;
        let decision = authorize(&policy, &root, *owner, usage, request.clone(), consent);
        let Ok(Decision::Allowed(authorized)) = decision else { panic!("root needs no grant") };
        let observed = host.observe(&query, Some(*namespace));
        planner::attach(self.world(ledger), &observed, *namespace, &authorized, *on_conflict)
    }

    pub(crate) fn plan_detach(
        &self,
        host: &SimulatedHost,
        ledger: &Ledger,
        attachment: &Attachment,
    ) -> Change {
        let observed = host.observe(&planner::detach_query(), None);
        planner::detach(self.world(ledger), &observed, attachment)
    }

    pub(crate) fn plan_reconcile(
        &self,
        host: &SimulatedHost,
        ledger: &Ledger,
        scope: Scope,
    ) -> Change {
        let query = planner::reconcile_query(self.world(ledger), scope);
        planner::reconcile(self.world(ledger), &host.observe(&query, None), scope)
    }
}

/// Why nothing came of a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAttached {
    /// The planner refuses it.
    #[error(transparent)]
    Decided(PlanError),
    /// The host refuses a step.
    #[error("the host refuses: {0:?}")]
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
    /// What could not be done of the steps that nobody waits for or that do not depend on each other.
    pub(crate) refused: Vec<Refused>,
}

impl Machine {
    /// A host with the default network, one without a way out, and one with an MTU whose containers are kept from each
    /// other and from all others.
    pub(crate) fn new() -> Self {
        let site = Site::new(&[
            r#"{"name": "closed", "network_interface": "closed0", "internal": true,
                "subnets": [{"subnet": "10.91.0.0/24"}]}"#,
            r#"{"name": "apart", "network_interface": "apart0",
                "subnets": [{"subnet": "10.92.0.0/24"}],
                "options": {"isolate": "strict", "mtu": "1400"}}"#,
        ]);
        Self::empty(site, Leases::default())
    }

    /// A host that has links and tables of others, and does not forward yet.
    pub(crate) fn empty(site: Rc<Site>, leases: Leases) -> Self {
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
        Self { site, host, ledger: Ledger::new(leases), refused: Vec::new() }
    }

    /// A host on which the same is attached and on which nothing else ever happened.
    pub(crate) fn fresh(&self) -> Self {
        let mut fresh = Self::empty(Rc::clone(&self.site), self.ledger.leases().clone());
        for attachment in self.ledger.attachments() {
            let asked = Asked {
                owner: attachment.owner(),
                namespace: attachment.namespace(),
                request: attachment.request().clone(),
                on_conflict: OnConflict::Refuse,
            };
            let made = fresh.attach(&asked).unwrap().expect("nothing is attached yet");
            assert_eq!(made, *attachment);
        }
        assert_eq!(fresh.refused, []);
        fresh
    }

    /// Attaches; answers with what is new. The namespace is there from its first request on.
    pub(crate) fn attach(&mut self, asked: &Asked) -> Result<Option<Attachment>, NotAttached> {
        self.host.namespaces.entry(asked.namespace).or_default();
        let decision = self.site.decide(&self.host, &self.ledger, asked);
        let change = match decision.map_err(NotAttached::Decided)? {
            AttachDecision::Unchanged(_) => return Ok(None),
            AttachDecision::Change(change) => change,
        };
        let carried_out = self.host.carry_out(&change.plan.steps, Some(asked.namespace));
        carried_out.map_err(NotAttached::CarryingOut)?;
        let attachment = change.attached.expect("to attach makes an attachment");
        self.ledger.insert(attachment.clone());
        self.apply_each(&change.plan.afterwards);
        Ok(Some(attachment))
    }

    /// Attaches what nothing stands in the way of.
    pub(crate) fn attach_new(&mut self, asked: &Asked) -> Attachment {
        self.attach(asked).unwrap().expect("it is not attached so already")
    }

    /// Detaches what is attached under the name, if anything is; what the host refuses is left to reconciliation.
    pub(crate) fn detach(&mut self, holder: &Holder) {
        let Some(attachment) = self.ledger.of_holder(holder).cloned() else { return };
        let change = self.site.plan_detach(&self.host, &self.ledger, &attachment);
        let carried_out = self.host.carry_out(&change.plan.steps, None);
        self.ledger.remove(attachment.id());
        match carried_out {
            Ok(()) => self.apply_each(&change.plan.afterwards),
            Err(failed) => self.refused.push(failed.refused),
        }
    }

    pub(crate) fn plan_reconcile(&self, scope: Scope) -> Change {
        self.site.plan_reconcile(&self.host, &self.ledger, scope)
    }

    /// Does what reconciliation plans, whatever fails of it.
    pub(crate) fn reconcile(&mut self, scope: Scope) -> Change {
        let change = self.plan_reconcile(scope);
        self.apply_each(&change.plan.steps);
        for id in &change.released {
            self.ledger.remove(id);
        }
        self.apply_each(&change.plan.afterwards);
        change
    }

    fn apply_each(&mut self, steps: &[Step]) {
        self.refused.extend(steps.iter().filter_map(|step| self.host.apply(step, None).err()));
    }
}
