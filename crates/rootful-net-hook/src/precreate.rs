//! Gives a container what it needs to resolve names: podman makes no resolver configuration for one that it
//! gives no network. Reads the container's configuration and writes it again, changed.

use std::io::{self, Write as _};
use std::net::IpAddr;

use rootful_net_core::annotation::Annotations;
use rootful_net_core::dns;
use rootful_net_dbus::objects;

use crate::config::{Config, HOSTS, RESOLV_CONF};
use crate::deadline::Deadline;
use crate::error::HookError;
use crate::report::{self, Report};
use crate::{resolver, service};

pub(crate) fn run(deadline: Deadline, report: &mut Report) -> Result<(), HookError> {
    let mut config = Config::read(deadline)?;
    if let Some(container) = config.container_id() {
        report.about(&container);
    }
    if let Some(annotations) = Annotations::parse(config.annotations())? {
        if !config.has_mount(RESOLV_CONF)
            && let Some(text) = resolv_conf(&annotations, deadline)?
        {
            let path = resolver::write(&config, resolver::RESOLV_CONF_FILE, &text)?;
            config.bind(&path, RESOLV_CONF);
        }
        if !config.has_mount(HOSTS) {
            let path = resolver::write(
                &config,
                resolver::HOSTS_FILE,
                &resolver::hosts(config.hostname()),
            )?;
            config.bind(&path, HOSTS);
        }
        if let Some(podman) = report::parent() {
            config.have_reported_to(podman);
        }
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&config.to_json()).and_then(|()| stdout.flush()).map_err(HookError::Output)
}

/// The text of the container's resolver configuration; none where there is nobody to ask.
fn resolv_conf(annotations: &Annotations, deadline: Deadline) -> Result<Option<String>, HookError> {
    if !annotations.dns().is_empty() {
        return Ok(Some(dns::foreign_resolv_conf(annotations.dns())));
    }
    let networks = service::with_bus(deadline, async |connection| {
        let mut networks = Vec::new();
        for asked in annotations.networks() {
            networks.push(objects::network(&connection, &asked.network).await?);
        }
        Ok(networks)
    })?;
    let servers = networks.iter().flat_map(|network| &network.name_servers);
    // What is no address is of no use to a resolver either.
    let servers: Vec<IpAddr> = servers.filter_map(|server| server.parse().ok()).collect();
    if !servers.is_empty() {
        return Ok(Some(dns::resolv_conf(&servers)));
    }
    let leads_out = networks.iter().any(|network| !network.internal);
    let servers = resolver::servers_of_host();
    Ok((leads_out && !servers.is_empty()).then(|| dns::foreign_resolv_conf(&servers)))
}
