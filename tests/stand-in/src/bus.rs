//! The bus, and the thread on which the service stands in.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use rootful_net_dbus::name::{BUS_NAME, MANAGER_PATH};
use tempfile::TempDir;
use zbus::connection::Builder;
use zbus::fdo::ObjectManager;

use crate::network::{NETWORK_PATH, Network};

/// The path of the one attachment that there is.
pub const ATTACHMENT_PATH: &str = "/io/rootful_net1/attachment/_0123456789";

/// How the service was called.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    calls: Arc<Mutex<Vec<String>>>,
}

impl Calls {
    /// Writes a call down.
    ///
    /// # Panics
    /// Another thread panicked while it wrote.
    pub fn record(&self, call: String) {
        self.calls.lock().expect("no test panics with it").push(call);
    }
}

/// The bus ends with the value.
#[derive(Debug)]
pub struct Bus {
    daemon: Child,
    address: String,
    calls: Calls,
    _dir: TempDir,
    stop: Option<Sender<()>>,
}

impl Bus {
    /// A bus without the service.
    ///
    /// # Panics
    /// `dbus-daemon` is not installed.
    pub fn without_service() -> Self {
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

    /// A bus with the stand-in: the network, and what `serve` adds, which is the manager and what it manages.
    ///
    /// # Panics
    /// `dbus-daemon` is not installed, or the service does not start.
    pub fn with_service(
        serve: impl FnOnce(Builder<'static>, Calls) -> Builder<'static> + Send + 'static,
    ) -> Self {
        let mut bus = Self::without_service();
        let (ready, is_ready) = channel();
        let (stop, stopped) = channel::<()>();
        let (address, calls) = (bus.address.clone(), bus.calls.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let builder = Builder::address(address.as_str())
                    .serve_at(MANAGER_PATH, ObjectManager)
                    .serve_at(NETWORK_PATH, Network);
                let service = serve(builder, calls).name(BUS_NAME).build().await;
                let service = service.expect("the service starts");
                ready.send(()).expect("the test waits for it");
                let _ = tokio::task::spawn_blocking(move || stopped.recv()).await;
                drop(service);
            });
        });
        is_ready.recv().expect("the service starts");
        bus.stop = Some(stop);
        bus
    }

    /// Where clients find it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The calls of the service so far.
    ///
    /// # Panics
    /// The service panicked while it wrote one down.
    pub fn calls(&self) -> Vec<String> {
        self.calls.calls.lock().expect("no test panics with it").clone()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
