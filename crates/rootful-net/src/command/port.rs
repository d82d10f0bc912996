//! `rootful-net port`: the published ports of one attachment, a line for each.

use clap::Args;
use rootful_net_core::name::ContainerName;

use crate::attached;
use crate::error::Error;
use crate::output;
use crate::ports;

/// List the published ports of an attached container
#[derive(Debug, Args)]
pub(crate) struct Port {
    /// The container's name or id
    container: ContainerName,
}

impl Port {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let attachment = attached::lookup(&self.container).await?;
        let lines = ports::lines(&attachment);
        Ok(lines.iter().map(|line| output::printable(line) + "\n").collect())
    }
}
