//! Networks that are made and removed on request.

use rootful_net_core::catalogue::{self, RemoveError};
use rootful_net_core::name::NetworkName;
use rootful_net_core::network::Draft;
use rootful_net_dbus::{Error, Result};

use super::{Command, Engine, EngineHandle};
use crate::error::{chain, create_error, remove_error};
use crate::fair_queue::Line;
use crate::networks::{self, FileError};

impl EngineHandle {
    /// Makes a network; answers with its definition.
    pub(crate) async fn create_network(
        &self,
        line: Line,
        draft: Box<Draft>,
        ignore: bool,
    ) -> Result<String> {
        self.ask(line, |reply| Command::CreateNetwork(draft, ignore, reply)).await
    }

    /// Removes a network.
    pub(crate) async fn remove_network(
        &self,
        line: Line,
        name: NetworkName,
        ignore: bool,
    ) -> Result<()> {
        self.ask(line, |reply| Command::RemoveNetwork(name, ignore, reply)).await
    }
}

impl Engine {
    /// Makes a network: on disk first, so that what is used is there after a crash as well. With `ignore`, one of the
    /// name that is there already is the answer.
    pub(super) fn create_network(&mut self, draft: Draft, ignore: bool) -> Result<String> {
        if ignore && let Some(present) = self.catalogue.get(draft.name()) {
            return Ok(present.to_json());
        }
        let query = catalogue::create_query(&self.catalogue, &draft);
        let observed = self.observe(&query, None)?;
        let network = catalogue::create(&self.catalogue, &self.key, draft, &observed)
            .map_err(|error| create_error(&error))?;
        networks::keep(&network).map_err(|error| file_error(&error, "made"))?;
        let subnets: Vec<_> =
            network.subnets().iter().map(|subnet| subnet.subnet().to_string()).collect();
        let (name, interface) = (network.name().as_str(), network.interface().as_str());
        tracing::info!(network = name, interface, subnets = subnets.join(" "), "network made");
        self.catalogue.insert(network.clone()).map_err(|error| Error::Internal(chain(&error)))?;
        // Of a network of the name that was there before; where it was removed, they may have stayed on disk.
        self.give_up_leases(network.name());
        self.objects.publish_network(&network);
        Ok(network.to_json())
    }

    /// Removes a network and the leases on it. With `ignore`, there may be none.
    pub(super) fn remove_network(&mut self, name: &NetworkName, ignore: bool) -> Result<()> {
        match catalogue::check_removal(&self.catalogue, &self.ledger, name) {
            Err(RemoveError::Unknown { .. }) if ignore => return Ok(()),
            checked => checked.map_err(|error| remove_error(&error))?,
        }
        networks::remove(name).map_err(|error| file_error(&error, "removed"))?;
        self.catalogue.remove(name);
        let leases = self.give_up_leases(name);
        self.objects.withdraw_network(name);
        tracing::info!(network = name.as_str(), leases, "network removed");
        Ok(())
    }

    fn give_up_leases(&mut self, network: &NetworkName) -> usize {
        let count = self.ledger.give_up_leases(network);
        if count > 0 {
            self.keep_leases();
        }
        count
    }
}

/// What a file has to do with it that the network is not `done` with.
fn file_error(error: &FileError, done: &'static str) -> Error {
    let message = chain(error);
    match error {
        FileError::Configured { .. } | FileError::Unused { .. } => Error::Conflict(message),
        FileError::Disk { .. } => {
            tracing::error!(error = message, "network not {done}");
            Error::Unavailable(format!(
                "the network is not {done}: {message}; try again when an administrator has seen to it"
            ))
        }
    }
}
