//! Connection tracking entries of published ports, forgotten when the port is.

use anyhow::{Result, ensure};
use rootful_net_core::plan::Flows;
use rootful_net_core::ruleset::{Change, Transaction, inet_table};
use rootful_net_kernel::{Rules, forget};
use rootful_net_tests::Test;
use rootful_net_tests::sandbox::Sandbox;

use crate::ruleset::element;
use crate::topology::{BRIDGE, Topology, ask_tcp, ask_udp, serve};

pub(crate) const TESTS: &[Test] = &[
    ("flows_of_a_port_are_forgotten_and_no_others", flows_of_a_port_and_no_others),
    ("flows_none_in_a_fresh_namespace", none_in_a_fresh_namespace),
];

fn flows(texts: &[&str]) -> Result<Vec<Flows>> {
    let parse = |text: &&str| {
        let mut parts = text.split(' ');
        let mut next = || parts.next().unwrap_or_default();
        let (protocol, host_address, host_port) = (next().parse()?, next().parse()?, next().parse()?);
        Ok(Flows { protocol, host_address, host_port })
    };
    texts.iter().map(parse).collect()
}

fn none_in_a_fresh_namespace(_: &Sandbox) -> Result<()> {
    assert_eq!(forget(&flows(&["udp * 53", "tcp * 53", "sctp [::] 53"])?)?, 0);
    assert_eq!(forget(&[])?, 0);
    Ok(())
}

fn flows_of_a_port_and_no_others(_: &Sandbox) -> Result<()> {
    let topology = Topology::build()?;
    topology.container.run(|| {
        serve("10.87.0.2:53")?;
        serve("[fd87::2]:53")
    })??;
    let elements = [
        element("bridges", &[BRIDGE], &[])?,
        element("publish4", &["udp", "5353"], &["10.87.0.2", "53"])?,
        element("publish4", &["udp", "5354"], &["10.87.0.2", "53"])?,
        element("publish4", &["tcp", "5353"], &["10.87.0.2", "53"])?,
        element("publish6", &["udp", "5353"], &["fd87::2", "53"])?,
    ];
    let table = std::iter::once(Change::ReplaceTable(inet_table()));
    let transaction: Transaction =
        table.chain(elements.into_iter().map(Change::AddElement)).collect();
    Rules::open()?.apply(&transaction)?;

    let traffic = || {
        topology.client.run(|| {
            ensure!(ask_udp("192.0.2.1:5353")?.is_some());
            ensure!(ask_udp("192.0.2.1:5353")?.is_some(), "from another port");
            ensure!(ask_udp("192.0.2.1:5354")?.is_some());
            ensure!(ask_udp("[2001:db8::1]:5353")?.is_some());
            ensure!(ask_tcp("192.0.2.1:5353")?.is_some());
            Ok(())
        })?
    };
    traffic()?;
    // The container's own port is no host port, and the reply's source is no destination.
    let cases: &[(&[&str], usize)] = &[
        (&["udp * 53", "udp 192.0.2.9 5353", "udp [2001:db8::9] 5353", "sctp * 5353"], 0),
        (&["udp 192.0.2.1 5353"], 2),
        (&["udp 192.0.2.1 5353"], 0),
        (&["udp [::] 5353", "udp 0.0.0.0 5353"], 1),
        (&["udp * 5353"], 0),
        (&["udp 0.0.0.0 5354"], 1),
        (&["tcp * 5353"], 1),
    ];
    for (texts, expected) in cases {
        assert_eq!(forget(&flows(texts)?)?, *expected, "{texts:?}");
    }
    traffic()?;
    assert_eq!(forget(&flows(&["udp * 5353", "udp * 5354", "tcp * 5353"])?)?, 5);
    Ok(())
}
