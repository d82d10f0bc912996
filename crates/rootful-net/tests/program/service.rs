//! A bus of its own, and a stand-in for the service on it that writes down how it was called.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rootful_net_dbus::name::{BUS_NAME, MANAGER_PATH};
use rootful_net_dbus::{
    DetachOptions, Dictionary, Error, InterfaceProperties, PortProperties, Result, SubnetProperties,
};
use tempfile::TempDir;
use zbus::fdo::ObjectManager;
use zbus::{OwnedFd, OwnedObjectPath, interface};

use crate::podman::ID;

const ATTACHMENT_PATH: &str = "/io/rootful_net1/attachment/_0123456789";
const NETWORK_PATH: &str = "/io/rootful_net1/network/rootful0";

type Calls = Arc<Mutex<Vec<String>>>;

/// The bus ends with the value.
pub(crate) struct Bus {
    daemon: Child,
    address: String,
    calls: Calls,
    _dir: TempDir,
    stop: Option<std::sync::mpsc::Sender<()>>,
}

impl Bus {
    /// A bus without the service.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = dir.path().join("bus.conf");
        let text = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
            "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
            <busconfig>
              <listen>unix:path={}/bus</listen>
              <policy context="default">
                <allow send_destination="*" eavesdrop="true"/>
                <allow receive_sender="*"/>
                <allow own="*"/>
              </policy>
            </busconfig>"#,
            dir.path().display()
        );
        fs::write(&config, text).expect("the file can be written");
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            // Without privileges it complains about a limit that it cannot raise.
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed");
        let mut address = String::new();
        let stdout = daemon.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut address).expect("it prints its address");
        let address = address.trim().to_owned();
        assert!(!address.is_empty(), "dbus-daemon does not start");
        Self { daemon, address, calls: Calls::default(), _dir: dir, stop: None }
    }

    /// A bus with the stand-in.
    pub(crate) fn with_service() -> Self {
        let mut bus = Self::start();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (address, calls) = (bus.address.clone(), Arc::clone(&bus.calls));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let connection = serve(&address, calls).await.expect("the service starts");
                ready.send(()).expect("the test waits for it");
                let _ = tokio::task::spawn_blocking(move || stopped.recv()).await;
                drop(connection);
            });
        });
        is_ready.recv().expect("the service starts");
        bus.stop = Some(stop);
        bus
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The calls of the service so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("no test panics with it").clone()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

async fn serve(address: &str, calls: Calls) -> zbus::Result<zbus::Connection> {
    zbus::connection::Builder::address(address)
        .serve_at(MANAGER_PATH, ObjectManager)
        .serve_at(MANAGER_PATH, Manager { calls })
        .serve_at(ATTACHMENT_PATH, Attachment)
        .serve_at(NETWORK_PATH, Network)
        .name(BUS_NAME)
        .build()
        .await
}

struct Manager {
    calls: Calls,
}

impl Manager {
    fn record(&self, call: String) {
        self.calls.lock().expect("no test panics with it").push(call);
    }
}

/// Whether the client passed the namespace of this process.
fn namespace_name(namespace: &OwnedFd) -> &'static str {
    let inode = |fd| rustix::fs::fstat(fd).expect("an open file").st_ino;
    let own = fs::File::open("/proc/self/ns/net").expect("the own namespace");
    match inode(namespace.as_fd()) == inode(own.as_fd()) {
        true => "own-namespace",
        false => "other-namespace",
    }
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
        self.record(call("attach", &namespace, &name, &networks, &publish, options));
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
        self.record(call("plan", &namespace, &name, &networks, &publish, options));
        Ok("add link\n".to_owned())
    }

    async fn detach(&self, name: String, _options: Dictionary) -> Result<bool> {
        self.record(format!("detach {name}"));
        Ok(name == "web")
    }

    async fn detach_namespace(&self, namespace: OwnedFd) -> Result<bool> {
        self.record(format!("detach {}", namespace_name(&namespace)));
        Ok(true)
    }

    async fn detach_all(&self, options: Dictionary) -> Result<Vec<String>> {
        let DetachOptions { container_id, .. } = DetachOptions::from_wire(options)?;
        let container_id = container_id.map(|id| format!(" container-id {id}")).unwrap_or_default();
        self.record(format!("detach all{container_id}"));
        Ok(vec!["db".to_owned(), "web".to_owned()])
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

struct Network;

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
