//! What is on the host that is not rootful-net's, and must stay as it is.

use std::path::Path;

use anyhow::{Result, ensure};
use rootful_net_tests::namespace::run;

use crate::random::operation::Foreign;

/// All of it, as it is printed.
pub(super) struct ForeignThings {
    things: Vec<String>,
}

impl ForeignThings {
    /// Looks at the host.
    pub(super) fn look() -> Result<Self> {
        let tables = run("nft list tables")?;
        let tables: Vec<_> = tables.lines().filter(|line| !line.ends_with("rootful_net")).collect();
        let mut things = Vec::new();
        for table in tables {
            things.push(run(&format!("nft --handle list {table}"))?);
        }
        // Routes of links that are going have no name for them any more.
        let is_foreign =
            |line: &&str| ["br-foreign", "blackhole"].iter().any(|word| line.contains(word));
        things.extend(run("ip route")?.lines().filter(is_foreign).map(str::to_owned));
        if Path::new("/sys/class/net/br-foreign").exists() {
            things.push(run("ip -4 address show br-foreign")?);
        }
        Ok(Self { things })
    }

    /// Changes something, where it can be changed.
    pub(super) fn change(&mut self, foreign: Foreign) -> Result<()> {
        let commands: &[&str] = match foreign {
            Foreign::AddTable => &[
                "nft add table inet foreign",
                "nft add chain inet foreign input { type filter hook input priority 5 ; }",
                "nft add set inet foreign ports { type inet_service ; }",
                "nft add element inet foreign ports { 22, 80 }",
            ],
            Foreign::DeleteTable => &["nft delete table inet foreign"],
            Foreign::AddRule => &["nft add rule inet foreign input tcp dport @ports accept"],
            Foreign::AddBridge => &[
                "ip link add br-foreign address 02:00:00:00:00:01 type bridge",
                "ip address add 198.51.100.1/24 dev br-foreign",
                "ip link set br-foreign up",
            ],
            Foreign::DeleteBridge => &["ip link delete br-foreign"],
            Foreign::AddRoute => &["ip route add blackhole 203.0.113.0/24"],
            Foreign::DeleteRoute => &["ip route delete blackhole 203.0.113.0/24"],
        };
        for command in commands {
            // It may be there, or not, already.
            let _ = run(command);
        }
        *self = Self::look()?;
        Ok(())
    }

    /// Fails unless everything is as it was.
    pub(super) fn ensure_unchanged(&self) -> Result<()> {
        let now = Self::look()?.things;
        ensure!(now == self.things, "{:#?} became {now:#?}", self.things);
        Ok(())
    }
}
