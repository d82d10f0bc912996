//! Published ports are kept from the host's own programs.

mod in_use;
mod kept;
mod program;
mod published;

use std::net::SocketAddr;

use anyhow::Result;
use rootful_net_core::observed::{Observed, Query};
use rootful_net_core::publish::{Port, Protocol, Reservation};
use rootful_net_kernel::Kernel;
use rootful_net_tests::Test;
use rootful_net_tests::namespace::run;

/// Those of all parts.
pub(crate) fn tests() -> Vec<Test> {
    [kept::TESTS, in_use::TESTS, published::TESTS].concat()
}

const BOTH: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// `ADDRESS:PORT`, with `*` for any address of both families.
fn reservation(protocol: Protocol, text: &str) -> Reservation {
    let dual_stack = text.starts_with('*');
    let address: SocketAddr = text.replace('*', "[::]").parse().expect("a socket address");
    let port = Port::new(address.port()).expect("not 0");
    Reservation { protocol, address: address.ip(), dual_stack, port }
}

fn both(text: &str) -> Vec<Reservation> {
    BOTH.map(|protocol| reservation(protocol, text)).into()
}

fn observe(kernel: &mut Kernel) -> Result<Observed> {
    Ok(kernel.observe(&Query { listeners: true, ..Query::default() }, None)?)
}

fn give_addresses() -> Result<()> {
    run("ip address add 192.0.2.1/24 dev lo")?;
    run("ip address add 192.0.2.2/24 dev lo")?;
    run("ip address add 2001:db8::1/64 dev lo nodad")?;
    run("ip address add 2001:db8::2/64 dev lo nodad")?;
    Ok(())
}
