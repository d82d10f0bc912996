//! `io.rootful_net1.Manager`: who calls, with what, and on to the engine.

use std::collections::HashMap;

use rootful_net_core::attachment::{Attachment, Holder};
use rootful_net_core::name::{ContainerName, NetworkName};
use rootful_net_core::network::Draft;
use rootful_net_core::ownership::{Owner, may_attach};
use rootful_net_core::policy::Caller;
use rootful_net_core::request::ContainerId;
use rootful_net_dbus::name::attachment_path;
use rootful_net_dbus::{
    AttachMessage, CheckOptions, DetachOptions, Dictionary, Error, FindingProperties,
    GrantProperties, LeaseEntry, LeaseOptions, LeaseProperties, NetworkOptions, Options,
    PolicyUser, Result, SkippedLeaseProperties, StatusOptions,
};
use rootful_net_kernel::Namespace;
use zbus::message::Header;
use zbus::{OwnedFd, OwnedObjectPath, interface};

use crate::authority::{Authority, Sender};
use crate::decision_log::{self, Asked};
use crate::engine::{Attach, Attached, EngineHandle, Selection};
use crate::error::{definition_error, namespace_error, namespace_refused};
use crate::user_database::{caller, caller_named};

/// The manager object.
#[derive(Debug)]
pub(crate) struct Manager {
    engine: EngineHandle,
    authority: Authority,
}

impl Manager {
    pub(crate) fn new(engine: EngineHandle, authority: Authority) -> Self {
        Self { engine, authority }
    }

    /// Attaches, and answers with the attachment, whether it is new and the grants that allowed it.
    async fn attached(
        &self,
        sender: &Sender,
        namespace: OwnedFd,
        message: &AttachMessage,
        decided_by: &mut Vec<String>,
    ) -> Result<(OwnedObjectPath, bool)> {
        let attach = Box::new(verified(sender.uid, namespace, message).await?);
        let attached = match self.engine.attach(sender.line, attach).await? {
            Attached::AskPolkit { mut attach, generation, grants } => {
                *decided_by = grants;
                // The engine serves others meanwhile.
                self.authority.may_attach(sender, &details(&attach)).await?;
                attach.consent = Some(generation);
                self.engine.attach(sender.line, attach).await?
            }
            done @ Attached::Done { .. } => done,
        };
        match attached {
            Attached::Done { id, changed, grants } => {
                *decided_by = grants;
                Ok((attachment_path(&id), changed))
            }
            Attached::AskPolkit { grants, .. } => {
                Err(Error::Internal(format!("polkit's consent does not count for {grants:?}")))
            }
        }
    }

    /// The user whose policy is asked about: one's own, and for root anybody's.
    async fn user(&self, sender: &Sender, user: Option<PolicyUser>) -> Result<Caller> {
        let asked = match user {
            None => return caller(sender.uid).await,
            // Nobody but root learns which names there are.
            Some(_) if sender.uid != 0 => {
                let own = caller(sender.uid).await?;
                let is_own = match &user {
                    Some(PolicyUser::Name(name)) => own.user_name.as_ref() == Some(name),
                    Some(PolicyUser::Uid(uid)) => *uid == own.uid,
                    None => true,
                };
                return match is_own {
                    true => Ok(own),
                    false => Err(Error::NotAuthorized(
                        "only root may ask what the policy says of another user".to_owned(),
                    )),
                };
            }
            Some(user) => user,
        };
        match asked {
            PolicyUser::Uid(uid) => caller(uid).await,
            PolicyUser::Name(name) => caller_named(&name).await,
        }
    }
}

#[interface(name = "io.rootful_net1.Manager", introspection_docs = false)]
impl Manager {
    /// Attaches a namespace.
    #[zbus(out_args("attachment", "changed"))]
    async fn attach(
        &self,
        #[zbus(header)] header: Header<'_>,
        namespace: OwnedFd,
        name: String,
        networks: Vec<String>,
        publish: Vec<String>,
        options: Dictionary,
    ) -> Result<(OwnedObjectPath, bool)> {
        let sender = self.authority.sender(&header)?;
        let Sender { line, uid, .. } = sender;
        let asked = Asked::container(&name);
        let message = match AttachMessage::from_wire(name, networks, publish, options) {
            Ok(message) => message,
            Err(error) => return decision_log::recorded(line, uid, "attach", &asked, Err(error)),
        };
        let mut grants = Vec::new();
        let outcome = self.attached(&sender, namespace, &message, &mut grants).await;
        let asked = Asked::of(&message).decided_by(&grants);
        decision_log::recorded(line, uid, "attach", &asked, outcome)
    }

    /// Says what `Attach` would do.
    #[zbus(out_args("plan"))]
    async fn plan(
        &self,
        #[zbus(header)] header: Header<'_>,
        namespace: OwnedFd,
        name: String,
        networks: Vec<String>,
        publish: Vec<String>,
        options: Dictionary,
    ) -> Result<String> {
        let sender = self.authority.sender(&header)?;
        let message = AttachMessage::from_wire(name, networks, publish, options)?;
        let attach = Box::new(verified(sender.uid, namespace, &message).await?);
        self.engine.plan(sender.line, attach).await
    }

    /// Detaches by name.
    #[zbus(out_args("detached"))]
    async fn detach(
        &self,
        #[zbus(header)] header: Header<'_>,
        name: String,
        options: Dictionary,
    ) -> Result<bool> {
        let sender = self.authority.sender(&header)?;
        let (owner, container_id) = owner_and_container(sender.uid, options)?;
        let name: ContainerName =
            name.parse().map_err(|error| Error::InvalidArgument(format!("{error}")))?;
        let selection = match container_id {
            Some(id) => Selection::Container { owner, id, name: Some(name.clone()) },
            None => Selection::Holder(Holder { owner, name: name.clone() }),
        };
        let (authority, engine) = (&self.authority, &self.engine);
        let detached = detach(authority, engine, &sender, owner, name.as_str(), selection).await?;
        Ok(!detached.is_empty())
    }

    /// Detaches what a namespace was attached as.
    #[zbus(out_args("detached"))]
    async fn detach_namespace(
        &self,
        #[zbus(header)] header: Header<'_>,
        namespace: OwnedFd,
    ) -> Result<bool> {
        let sender = self.authority.sender(&header)?;
        let (namespace, _) = verify(sender.uid, namespace)?;
        let selection = Selection::Namespace(namespace.id());
        let (authority, engine) = (&self.authority, &self.engine);
        let detached = detach(authority, engine, &sender, sender.uid, "", selection).await?;
        Ok(!detached.is_empty())
    }

    /// Detaches everything of one owner.
    #[zbus(out_args("names"))]
    async fn detach_all(
        &self,
        #[zbus(header)] header: Header<'_>,
        options: Dictionary,
    ) -> Result<Vec<String>> {
        let sender = self.authority.sender(&header)?;
        let (owner, container_id) = owner_and_container(sender.uid, options)?;
        let selection = match container_id {
            Some(id) => Selection::Container { owner, id, name: None },
            None => Selection::Owner(owner),
        };
        let (authority, engine) = (&self.authority, &self.engine);
        let detached = detach(authority, engine, &sender, owner, "", selection).await?;
        Ok(detached.iter().map(|attachment| attachment.name().to_string()).collect())
    }

    /// Says what the policy says of a request.
    #[zbus(out_args("allowed", "findings"))]
    async fn check_policy(
        &self,
        #[zbus(header)] header: Header<'_>,
        networks: Vec<String>,
        publish: Vec<String>,
        options: Dictionary,
    ) -> Result<(bool, Vec<FindingProperties>)> {
        let sender = self.authority.sender(&header)?;
        let CheckOptions { user, aliases } = CheckOptions::from_wire(options)?;
        let message = AttachMessage {
            name: "check".to_owned(),
            networks,
            publish,
            aliases,
            ..AttachMessage::default()
        };
        let (request, _) = message.parse()?;
        let user = self.user(&sender, user).await?;
        let checked = self.engine.check(sender.line, user, Box::new(request)).await?;
        Ok((checked.allowed, checked.findings))
    }

    /// Says which policy is in force.
    #[zbus(out_args("problem", "grants", "limits"))]
    async fn show_policy(
        &self,
        #[zbus(header)] header: Header<'_>,
        options: Dictionary,
    ) -> Result<(String, Vec<GrantProperties>, Vec<(String, u32, u32)>)> {
        let sender = self.authority.sender(&header)?;
        let StatusOptions { user } = StatusOptions::from_wire(options)?;
        let user = self.user(&sender, user).await?;
        let shown = self.engine.show(sender.line, user).await?;
        Ok((shown.problem, shown.grants, shown.limits))
    }

    /// Reads the policy again.
    async fn reload_policy(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        let sender = self.authority.sender(&header)?;
        let outcome = async {
            self.authority.may_manage(&sender, None, "read the policy again").await?;
            self.engine.reload().await
        };
        let (line, asked) = (sender.line, Asked::default());
        decision_log::recorded(line, sender.uid, "reload policy", &asked, outcome.await)
    }

    /// Looks for damage, and repairs it unless only a look is asked for.
    #[zbus(out_args("steps"))]
    async fn repair(
        &self,
        #[zbus(header)] header: Header<'_>,
        options: Dictionary,
    ) -> Result<Vec<String>> {
        let sender = self.authority.sender(&header)?;
        let mut options = Options::new(options);
        let dry_run = options.take("dry-run", "b")?.unwrap_or(false);
        options.finish()?;
        let outcome = async {
            self.authority.may_manage(&sender, None, "repair what is attached").await?;
            self.engine.repair(dry_run).await
        };
        let (line, asked) = (sender.line, Asked::default());
        decision_log::recorded(line, sender.uid, "repair", &asked, outcome.await)
    }

    /// Lists which name has which address.
    #[zbus(out_args("leases"))]
    async fn list_leases(
        &self,
        #[zbus(header)] header: Header<'_>,
        options: Dictionary,
    ) -> Result<Vec<LeaseProperties>> {
        let sender = self.authority.sender(&header)?;
        let owner = match LeaseOptions::from_wire(options)?.owner {
            None if sender.uid == 0 => None,
            None => Some(sender.uid),
            Some(owner) if sender.uid == 0 || owner == sender.uid => Some(owner),
            Some(_) => {
                return Err(Error::NotAuthorized(
                    "only root may list the leases of another user".to_owned(),
                ));
            }
        };
        self.engine.list_leases(sender.line, owner).await
    }

    /// Takes leases over.
    #[zbus(out_args("skipped"))]
    async fn import_leases(
        &self,
        #[zbus(header)] header: Header<'_>,
        leases: Vec<LeaseEntry>,
        options: Dictionary,
    ) -> Result<Vec<SkippedLeaseProperties>> {
        let sender = self.authority.sender(&header)?;
        let outcome = async {
            Options::new(options).finish()?;
            let leases = LeaseEntry::parse_all(&leases)?;
            self.authority.may_manage(&sender, None, "import leases").await?;
            self.engine.import_leases(sender.line, leases).await
        };
        let (line, asked) = (sender.line, Asked::default());
        decision_log::recorded(line, sender.uid, "import leases", &asked, outcome.await)
    }

    /// Makes a network.
    #[zbus(out_args("network"))]
    async fn create_network(
        &self,
        #[zbus(header)] header: Header<'_>,
        definition: String,
        options: Dictionary,
    ) -> Result<String> {
        let sender = self.authority.sender(&header)?;
        let mut asked = Asked::default();
        let outcome = async {
            let NetworkOptions { ignore } = NetworkOptions::from_wire(options)?;
            let draft = Draft::from_json(&definition).map_err(|error| definition_error(&error))?;
            asked = asked_of_network(draft.name().as_str());
            self.authority.may_manage(&sender, None, "create a network").await?;
            self.engine.create_network(sender.line, Box::new(draft), ignore).await
        };
        let outcome = outcome.await;
        decision_log::recorded(sender.line, sender.uid, "create network", &asked, outcome)
    }

    /// Removes a network.
    async fn remove_network(
        &self,
        #[zbus(header)] header: Header<'_>,
        name: String,
        options: Dictionary,
    ) -> Result<()> {
        let sender = self.authority.sender(&header)?;
        let asked = asked_of_network(&name);
        let outcome = async {
            let NetworkOptions { ignore } = NetworkOptions::from_wire(options)?;
            let name: NetworkName =
                name.parse().map_err(|error| Error::InvalidArgument(format!("{error}")))?;
            self.authority.may_manage(&sender, None, "remove a network").await?;
            self.engine.remove_network(sender.line, name, ignore).await
        };
        let outcome = outcome.await;
        decision_log::recorded(sender.line, sender.uid, "remove network", &asked, outcome)
    }

    /// The version of the service.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }
}

/// Detaches what is selected of what `owner` has, if the sender may.
pub(super) async fn detach(
    authority: &Authority,
    engine: &EngineHandle,
    sender: &Sender,
    owner: u32,
    name: &str,
    selection: Selection,
) -> Result<Vec<Attachment>> {
    let outcome = async {
        authority.may_manage(sender, Some(owner), "detach containers").await?;
        engine.detach(sender.line, selection).await
    };
    let (line, asked) = (sender.line, Asked::container(name));
    decision_log::recorded(line, sender.uid, "detach", &asked, outcome.await)
}

/// What is to be done with a network, for the record.
fn asked_of_network(name: &str) -> Asked {
    Asked::of(&AttachMessage { networks: vec![name.to_owned()], ..AttachMessage::default() })
}

/// Takes the descriptor for a namespace that the caller may attach, or refuses it.
fn verify(uid: u32, namespace: OwnedFd) -> Result<(Namespace, Owner)> {
    let namespace = Namespace::verify(namespace.into()).map_err(|error| namespace_error(&error))?;
    let owner = may_attach(uid, namespace.ownership());
    Ok((namespace, owner.map_err(|refused| namespace_refused(&refused))?))
}

async fn verified(uid: u32, namespace: OwnedFd, message: &AttachMessage) -> Result<Attach> {
    let (request, on_conflict) = message.parse()?;
    let (namespace, owner) = verify(uid, namespace)?;
    let caller = caller(uid).await?;
    Ok(Attach { caller, namespace, owner, request, on_conflict, consent: None })
}

/// The most characters of what polkit is told; a dialogue shows it.
const MAX_DETAIL_CHARS: usize = 256;

/// What polkit's rules can look at, and a dialogue shows.
fn details(attach: &Attach) -> HashMap<&'static str, String> {
    let request = &attach.request;
    let networks = request.networks.iter().map(|asked| asked.network.to_string());
    let ports = request.forwards.iter().map(|forward| {
        let port = forward.host_port.map_or("any".to_owned(), |port| port.to_string());
        format!("{}:{port}/{}", forward.host_address, forward.protocol)
    });
    let joined = |items: Vec<String>| {
        let text = items.join(" ");
        match text.char_indices().nth(MAX_DETAIL_CHARS) {
            Some((end, _)) => format!("{} … ({} in all)", &text[..end], items.len()),
            None => text,
        }
    };
    let id = request.container_id.as_ref().map(ToString::to_string);
    HashMap::from([
        ("container", request.name.to_string()),
        ("container-id", id.unwrap_or_default()),
        ("network", joined(networks.collect())),
        ("ports", joined(ports.collect())),
    ])
}

/// Whose attachments the options mean, and of which container.
fn owner_and_container(uid: u32, options: Dictionary) -> Result<(u32, Option<ContainerId>)> {
    let DetachOptions { owner, container_id } = DetachOptions::from_wire(options)?;
    Ok((owner.unwrap_or(uid), container_id))
}
