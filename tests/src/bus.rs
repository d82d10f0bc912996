//! A system bus of the test's own, at the address where everybody looks for one.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

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
  <include>POLICY</include>
</busconfig>
"#;

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
