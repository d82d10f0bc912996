//! A bus of its own, and a stand-in for the service on it that writes down how it was called.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use rootful_net_dbus::name::{BUS_NAME, MANAGER_PATH};
use rootful_net_dbus::{AttachMessage, DetachOptions, Dictionary, Error, Result, SubnetProperties};
use tempfile::TempDir;
use zbus::{OwnedFd, OwnedObjectPath, interface};

const ATTACHMENT_PATH: &str = "/io/rootful_net1/attachment/_0123456789";
const NETWORK_PATH: &str = "/io/rootful_net1/network/rootful0";

type Calls = Arc<Mutex<Vec<String>>>;

/// The bus ends with the value.
pub(crate) struct Bus {
    daemon: Child,
    address: String,
    calls: Calls,
    _dir: TempDir,
    stop: Option<Sender<()>>,
}

impl Bus {
    /// A bus without the service.
    pub(crate) fn without_service() -> Self {
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
    pub(crate) fn start() -> Self {
        let mut bus = Self::without_service();
        let (ready, is_ready) = channel();
        let (stop, stopped) = channel::<()>();
        let (address, calls) = (bus.address.clone(), Arc::clone(&bus.calls));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let connection = zbus::connection::Builder::address(address.as_str())
                    .serve_at(MANAGER_PATH, Manager { calls })
                    .serve_at(NETWORK_PATH, Network)
                    .name(BUS_NAME)
                    .build()
                    .await
                    .expect("the service starts");
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

struct Manager {
    calls: Calls,
}

impl Manager {
    fn record(&self, call: String) {
        self.calls.lock().expect("no test panics with it").push(call);
    }
}

/// Whether the hook passed the namespace of this process.
fn namespace_name(namespace: &OwnedFd) -> &'static str {
    let inode = |fd| rustix::fs::fstat(fd).expect("an open file").st_ino;
    let own = fs::File::open("/proc/self/ns/net").expect("the own namespace");
    match inode(namespace.as_fd()) == inode(own.as_fd()) {
        true => "own-namespace",
        false => "other-namespace",
    }
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
        self.record(format!(
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
        self.record(format!("detach all{container_id}"));
        Ok(Vec::new())
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
