//! Connection tracking entries of published ports, forgotten when the port is.

use anyhow::Result;
use rootful_net_core::plan::Flows;
use rootful_net_kernel::conntrack::forget;
use rootful_net_tests::Test;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::{ask_tcp, ask_udp};

use crate::bridged::{Asker, Bridged};
use crate::ruleset::element;

pub(crate) const TESTS: &[Test] = &[
    ("conntrack::of_a_port_are_forgotten_and_no_others", flows_of_a_port_and_no_others),
    ("conntrack::none_in_a_fresh_namespace", none_in_a_fresh_namespace),
];

fn flows(texts: &[&str]) -> Result<Vec<Flows>> {
    let parse = |text: &&str| {
        let mut parts = text.split(' ');
        let mut next = || parts.next().unwrap_or_default();
        let (protocol, host_address, host_port) =
            (next().parse()?, next().parse()?, next().parse()?);
        Ok(Flows { protocol, host_address, host_port })
    };
    texts.iter().map(parse).collect()
}

fn none_in_a_fresh_namespace(_: &Sandbox) -> Result<()> {
    assert_eq!(forget(&flows(&["udp * 53", "tcp * 53", "sctp [::] 53"])?)?, 0);
    assert_eq!(forget(&[])?, 0);
    Ok(())
}

fn flows_of_a_port_and_no_others(sandbox: &Sandbox) -> Result<()> {
    let elements = vec![
        element("publish4", &["udp", "5353"], &["10.87.0.2", "80"])?,
        element("publish4", &["udp", "5354"], &["10.87.0.2", "80"])?,
        element("publish4", &["tcp", "5353"], &["10.87.0.2", "80"])?,
        element("publish6", &["udp", "5353"], &["fd87::2", "80"])?,
    ];
    let bridged = Bridged::with(sandbox, elements)?;
    let traffic = || {
        bridged.run(Asker::Client, || {
            ask_udp("192.0.2.1:5353".parse()?)?;
            // From another port, a second flow.
            ask_udp("192.0.2.1:5353".parse()?)?;
            ask_udp("192.0.2.1:5354".parse()?)?;
            ask_udp("[2001:db8:1::1]:5353".parse()?)?;
            ask_tcp("192.0.2.1:5353".parse()?)
        })
    };
    traffic()?;
    // Which flows to forget, and how many those are.
    let cases: &[(&[&str], usize)] = &[
        (&["udp 10.87.0.9 80", "udp 192.0.2.9 5353", "udp [2001:db8::9] 5353", "sctp * 5353"], 0),
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
