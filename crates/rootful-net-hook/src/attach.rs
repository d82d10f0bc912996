//! Attaches the container: its network namespace exists, and its program does not run yet.

use std::net::IpAddr;
use std::os::fd::AsFd as _;

use rootful_net_client::message::chain;
use rootful_net_client::namespace;
use rootful_net_core::annotation::Annotations;
use rootful_net_core::name::ContainerName;
use rootful_net_core::request::ContainerId;
use rootful_net_dbus::{AttachMessage, AttachmentProperties};

use crate::config::{Config, NetworkNamespace};
use crate::deadline::Deadline;
use crate::error::HookError;
use crate::report::Report;
use crate::state::State;
use crate::{pod, resolver, service, storage};

pub(crate) fn run(deadline: Deadline, report: &mut Report) -> Result<(), HookError> {
    let state = State::read(deadline)?;
    report.about(&state.id);
    let Some(annotations) = Annotations::parse(state.annotations())? else {
        return Ok(());
    };
    let config = Config::of_bundle(&state.bundle)?;
    match config.network_namespace() {
        NetworkNamespace::Own => {}
        NetworkNamespace::OfContainer => {
            report.note("the container shares another one's network; there is nothing to attach");
            return Ok(());
        }
        NetworkNamespace::OfHost => {
            report.note("the container uses the host's network; there is nothing to attach");
            return Ok(());
        }
    }
    let name = match annotations.name() {
        Some(name) => name.clone(),
        None => {
            let container = storage::container_name(&state.bundle, &state.id)?;
            pod::attachment_name(container, config.hostname())
        }
    };
    // Another check than the service's own, so that what it refuses is never the hook's mistake.
    annotations.request(name.clone(), Some(state.id.clone()))?;
    let message = message(&annotations, &name, &state.id);
    let namespace = namespace::of_process(state.pid.ok_or(HookError::NoProcess)?)?;
    let attachment = service::with_service(deadline, async |service| {
        let path = service.attach(namespace.as_fd(), &message).await?;
        // The container is attached; what is asked beyond that must not undo it.
        Ok(service.attachment(&path).await.ok())
    })?;
    if let Some(attachment) = attachment {
        let addresses: Vec<IpAddr> = addresses(&attachment).collect();
        if let Err(error) = resolver::name_in_hosts(&config, name.as_str(), &addresses) {
            report.note(&chain(&error));
        }
    }
    Ok(())
}

/// The container's addresses on all its networks.
fn addresses(attachment: &AttachmentProperties) -> impl Iterator<Item = IpAddr> + '_ {
    let addresses = attachment.interfaces.iter().flat_map(|interface| &interface.addresses);
    addresses.filter_map(|text| text.split('/').next()?.parse().ok())
}

fn message(annotations: &Annotations, name: &ContainerName, id: &ContainerId) -> AttachMessage {
    let texts = |dns: &[IpAddr]| dns.iter().map(ToString::to_string).collect();
    AttachMessage {
        name: name.to_string(),
        networks: annotations.networks().iter().map(ToString::to_string).collect(),
        publish: annotations.publish().iter().map(ToString::to_string).collect(),
        container_id: id.to_string(),
        // They stand with the networks.
        aliases: Vec::new(),
        dns: texts(annotations.dns()),
        // With its id, a container takes the place of its predecessor anyway, and of nothing else.
        replace: false,
    }
}
