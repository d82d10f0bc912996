//! Gives a container what it needs to resolve names: podman makes no resolver configuration for one that it
//! gives no network. Reads the container's configuration and writes it again, changed.

use std::io::{self, Write as _};

use rootful_net_client::resolver::resolv_conf;
use rootful_net_core::annotation::Annotations;
use rootful_net_dbus::NetworkProperties;

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
            && let Some(text) = resolv_conf(annotations.dns(), &networks(&annotations, deadline)?)
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

/// The container's networks, which decide whom it asks for names unless the annotations do.
fn networks(
    annotations: &Annotations,
    deadline: Deadline,
) -> Result<Vec<NetworkProperties>, HookError> {
    if !annotations.dns().is_empty() {
        return Ok(Vec::new());
    }
    service::with_service(deadline, async |service| {
        let mut networks = Vec::new();
        for asked in annotations.networks() {
            networks.push(service.network(&asked.network).await?);
        }
        Ok(networks)
    })
}
