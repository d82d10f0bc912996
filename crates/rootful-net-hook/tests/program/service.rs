//! What stands in for the service, and writes down how it was called.

use rootful_net_dbus::name::MANAGER_PATH;
use rootful_net_dbus::{AttachMessage, DetachOptions, Dictionary, Error, Result};
use rootful_net_stand_in::{ATTACHMENT_PATH, Bus, Calls, namespace_name};
use zbus::{OwnedFd, OwnedObjectPath, interface};

/// A bus with the stand-in.
pub(crate) fn bus() -> Bus {
    Bus::with_service(|builder, calls| builder.serve_at(MANAGER_PATH, Manager { calls }))
}

struct Manager {
    calls: Calls,
}

#[interface(name = "io.rootful_net1.Manager")]
impl Manager {
    async fn attach(
        &self,
        namespace: OwnedFd,
        name: String,
        networks: Vec<String>,
        publish: Vec<String>,
        options: Dictionary,
    ) -> Result<(OwnedObjectPath, bool)> {
        if name == "taken" {
            return Err(Error::Conflict("name taken\u{1b} is taken".to_owned()));
        }
        let message = AttachMessage::from_wire(name, networks, publish, options)?;
        message.parse()?;
        let AttachMessage { name, networks, publish, container_id, aliases, dns, replace } =
            message;
        assert!(aliases.is_empty() && !replace, "the hook asks for neither");
        self.calls.record(format!(
            "attach {} {name} [{}] [{}] container-id {container_id} dns [{}]",
            namespace_name(&namespace),
            networks.join(" "),
            publish.join(" "),
            dns.join(" ")
        ));
        Ok((OwnedObjectPath::try_from(ATTACHMENT_PATH).expect("a path"), true))
    }

    async fn detach_all(&self, options: Dictionary) -> Result<Vec<String>> {
        let DetachOptions { owner, container_id } = DetachOptions::from_wire(options)?;
        assert_eq!(owner, None, "the hook acts for its user");
        let container_id = container_id.map(|id| format!(" container-id {id}")).unwrap_or_default();
        self.calls.record(format!("detach all{container_id}"));
        Ok(Vec::new())
    }
}
