//! What stands in for the service, and writes down how it was called.

use rootful_net_dbus::name::MANAGER_PATH;
use rootful_net_dbus::{
    DetachOptions, Dictionary, Error, InterfaceProperties, NetworkOptions, PortProperties, Result,
};
use rootful_net_stand_in::{ATTACHMENT_PATH, Bus, Calls, namespace_name};
use zbus::{OwnedFd, OwnedObjectPath, interface};

use crate::podman::ID;

/// A bus with the stand-in.
pub(crate) fn bus() -> Bus {
    Bus::with_service(|builder, calls| {
        builder.serve_at(MANAGER_PATH, Manager { calls }).serve_at(ATTACHMENT_PATH, Attachment)
    })
}

struct Manager {
    calls: Calls,
}

fn call(
    method: &str,
    namespace: &OwnedFd,
    name: &str,
    networks: &[String],
    publish: &[String],
    options: Dictionary,
) -> String {
    let message = rootful_net_dbus::AttachMessage::from_wire(
        name.to_owned(),
        networks.to_vec(),
        publish.to_vec(),
        options,
    );
    let message = message.expect("known options");
    let mut options = Vec::new();
    if !message.aliases.is_empty() {
        options.push(format!("aliases [{}]", message.aliases.join(" ")));
    }
    if !message.container_id.is_empty() {
        options.push(format!("container-id {}", message.container_id));
    }
    if message.replace {
        options.push("replace true".to_owned());
    }
    format!(
        "{method} {} {name} [{}] [{}] {}",
        namespace_name(namespace),
        networks.join(" "),
        publish.join(" "),
        options.join(", ")
    )
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
        self.calls.record(call("attach", &namespace, &name, &networks, &publish, options));
        Ok((OwnedObjectPath::try_from(ATTACHMENT_PATH).expect("a path"), true))
    }

    async fn plan(
        &self,
        namespace: OwnedFd,
        name: String,
        networks: Vec<String>,
        publish: Vec<String>,
        options: Dictionary,
    ) -> Result<String> {
        self.calls.record(call("plan", &namespace, &name, &networks, &publish, options));
        Ok("add link\n".to_owned())
    }

    async fn detach(&self, name: String, _options: Dictionary) -> Result<bool> {
        self.calls.record(format!("detach {name}"));
        Ok(name == "web")
    }

    async fn detach_namespace(&self, namespace: OwnedFd) -> Result<bool> {
        self.calls.record(format!("detach {}", namespace_name(&namespace)));
        Ok(true)
    }

    async fn detach_all(&self, options: Dictionary) -> Result<Vec<String>> {
        let DetachOptions { container_id, .. } = DetachOptions::from_wire(options)?;
        let container_id = container_id.map(|id| format!(" container-id {id}")).unwrap_or_default();
        self.calls.record(format!("detach all{container_id}"));
        Ok(vec!["db".to_owned(), "web".to_owned()])
    }

    async fn create_network(&self, definition: String, options: Dictionary) -> Result<String> {
        let NetworkOptions { ignore } = NetworkOptions::from_wire(options)?;
        self.calls.record(format!("create {definition} ignore {ignore}"));
        Ok(definition)
    }

    async fn remove_network(&self, name: String, options: Dictionary) -> Result<()> {
        let NetworkOptions { ignore } = NetworkOptions::from_wire(options)?;
        if name == "busy" {
            return Err(Error::Conflict("network \"busy\" is in use".to_owned()));
        }
        self.calls.record(format!("remove {name} ignore {ignore}"));
        Ok(())
    }
}

struct Attachment;

#[interface(name = "io.rootful_net1.Attachment")]
impl Attachment {
    #[zbus(property)]
    async fn id(&self) -> String {
        "0123456789".to_owned()
    }

    /// Printed by the tests, so it is one that root sees and everybody else who runs them.
    #[zbus(property)]
    async fn owner(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[zbus(property)]
    async fn name(&self) -> String {
        "web".to_owned()
    }

    #[zbus(property)]
    async fn container_id(&self) -> String {
        ID.to_owned()
    }

    #[zbus(property)]
    async fn interfaces(&self) -> Vec<InterfaceProperties> {
        vec![InterfaceProperties {
            network: "rootful0".to_owned(),
            name: "eth0".to_owned(),
            host_link: "rn0123456789".to_owned(),
            mac: "02:00:00:00:03:04".to_owned(),
            addresses: vec!["10.87.3.4/16".to_owned(), "fd00::304/64".to_owned()],
            aliases: vec!["www".to_owned()],
            names: vec!["e516d4c90fe7".to_owned(), "web".to_owned(), "www".to_owned()],
        }]
    }

    #[zbus(property)]
    async fn ports(&self) -> Vec<PortProperties> {
        vec![PortProperties {
            protocol: "tcp".to_owned(),
            host_address: String::new(),
            host_port: 8080,
            container_port: 80,
        }]
    }

    #[zbus(property)]
    async fn dns(&self) -> Vec<String> {
        Vec::new()
    }
}
