//! `rootful-net inspect`: everything about one attachment, as JSON.

use clap::Args;
use rootful_net_core::name::ContainerName;

use crate::attached;
use crate::error::Error;
use crate::output;

/// Show everything about an attached container, as JSON
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The container's name or id
    container: ContainerName,
}

impl Inspect {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let attachment = attached::lookup(&self.container).await?;
        Ok(output::json(&attachment))
    }
}
