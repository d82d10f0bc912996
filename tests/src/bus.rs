//! A system bus of the test's own, at the address where everybody looks for one.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::process::Process;

/// What Debian's system bus is configured with, without what needs systemd or a user of its own.
const CONFIGURATION: &str = r#"<busconfig>
  <type>system</type>
  <auth>EXTERNAL</auth>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus"
           send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
  </policy>
  <policy user="root">
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
  </policy>
  <include>POLICY</include>
</busconfig>
"#;

/// How long a message is waited for.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running bus; it ends when this is dropped.
#[derive(Debug)]
pub struct Bus {
    _process: Process,
}

impl Bus {
    /// Starts one that has the given policy file besides its own. When it returns, the bus takes connections.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(policy_path: &Path) -> anyhow::Result<Self> {
        let configuration = CONFIGURATION.replace("POLICY", &policy_path.display().to_string());
        std::fs::create_dir("/run/dbus")?;
        std::fs::write("/run/dbus/bus.conf", configuration)?;
        let log = File::create("/run/dbus/bus.log")?;
        let mut process = Process::start("dbus-daemon", |command| {
            command
                .args(["--config-file=/run/dbus/bus.conf", "--nofork", "--nopidfile"])
                .args(["--nosyslog", "--print-address"])
                .stdout(Stdio::piped())
                .stderr(log);
        })?;
        // It prints its address when it listens there.
        let mut address = String::new();
        BufReader::new(process.take_stdout()?).read_line(&mut address)?;
        anyhow::ensure!(!address.is_empty(), "the bus does not start");
        Ok(Self { _process: process })
    }
}

/// Sees what is sent over the bus, each message once the bus has passed it on.
#[derive(Debug)]
pub struct Monitor {
    _process: Process,
    lines: Receiver<String>,
}

impl Monitor {
    /// Begins to watch for calls of the service and for errors.
    ///
    /// # Errors
    /// Where there is no bus.
    pub fn start() -> anyhow::Result<Self> {
        let mut process = Process::start("dbus-monitor", |command| {
            let rules = ["type=method_call,interface=io.rootful_net1.Manager", "type=error"];
            command.arg("--system").args(rules).stdout(Stdio::piped());
        })?;
        let output = BufReader::new(process.take_stdout()?);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let monitor = Self { _process: process, lines };
        // From then on it is no connection like others.
        monitor.wait_for("member=NameLost")?;
        Ok(monitor)
    }

    /// Waits for a message in whose description `text` is.
    ///
    /// # Errors
    /// Where there is none within 20 s.
    pub fn wait_for(&self, text: &str) -> anyhow::Result<()> {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            if line.with_context(|| format!("no message with {text}"))?.contains(text) {
                return Ok(());
            }
        }
    }
}
