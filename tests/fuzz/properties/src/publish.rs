//! `--publish`: a naive reading of podman's grammar says the same of every text.

use std::net::{Ipv4Addr, Ipv6Addr};

use rootful_net_core::publish::Publish;

use crate::message::{check_message, check_quoted};

/// One forward: protocol, host address, host port, container port.
type Forward = (String, String, Option<u16>, u16);

pub(crate) fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    check_quoted(text);
    let expected = naive(text);
    match text.parse::<Publish>() {
        Ok(publish) => {
            let forwards: Vec<Forward> = publish
                .forwards()
                .map(|forward| {
                    let protocol = forward.protocol.to_string();
                    let address = forward.host_address.to_string();
                    let host_port = forward.host_port.map(|port| port.get());
                    (protocol, address, host_port, forward.container_port.get())
                })
                .collect();
            assert_eq!(Some(forwards), expected, "{text:?}");
            let printed = publish.to_string();
            assert_eq!(printed.parse(), Ok(publish), "{text:?} prints as {printed:?}");
        }
        Err(error) => {
            check_message(&error);
            assert_eq!(expected, None, "{text:?} is refused: {error}");
        }
    }
}

/// Reads `[[ip:][hostPort[-end]]:]containerPort[-end][/protocol,…]` from the back.
fn naive(text: &str) -> Option<Vec<Forward>> {
    if text.len() > 256 {
        return None;
    }
    let mut slashes = text.splitn(2, '/');
    let ends = slashes.next()?;
    let protocols: Vec<String> =
        slashes.next().unwrap_or("tcp").split(',').map(str::to_ascii_lowercase).collect();
    for (index, protocol) in protocols.iter().enumerate() {
        let known = ["tcp", "udp", "sctp"].contains(&protocol.as_str());
        if !known || protocols[..index].contains(protocol) {
            return None;
        }
    }
    let (ends, container) = ends.rsplit_once(':').map_or(("", ends), |(ends, port)| (ends, port));
    let container = ports(container)?;
    let written_host = text.split('/').next()?.contains(':');
    let (address, host) = match ends.rsplit_once(':') {
        Some((address, host)) => (address_of(address)?, host),
        None if written_host => ("*".to_owned(), ends),
        None => ("*".to_owned(), ""),
    };
    let host = if host.is_empty() { None } else { Some(ports(host)?) };
    if host.as_ref().is_some_and(|host| host.len() != container.len()) {
        return None;
    }
    let mut forwards = Vec::new();
    for protocol in protocols {
        for (index, &port) in container.iter().enumerate() {
            let host_port = host.as_ref().map(|host| host[index]);
            forwards.push((protocol.clone(), address.clone(), host_port, port));
        }
    }
    Some(forwards)
}

fn ports(text: &str) -> Option<Vec<u16>> {
    let ends: Option<Vec<u16>> = text.split('-').map(port).collect();
    match *ends?.as_slice() {
        [port] => Some(vec![port]),
        [first, last] if first < last => Some((first..=last).collect()),
        _ => None,
    }
}

fn port(text: &str) -> Option<u16> {
    let mut number = 0_u16;
    for character in text.chars() {
        let digit = u16::try_from(character.is_ascii().then(|| character.to_digit(10))??).ok()?;
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    (number != 0).then_some(number)
}

fn address_of(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        let [first, .., fifth, mapped, _, _] = address.segments();
        let mapped = address.segments()[..4] == [0; 4] && fifth == 0 && mapped == 0xffff;
        return (first >> 8 != 0xff && !mapped).then(|| format!("[{address}]"));
    }
    let address: Ipv4Addr = text.parse().ok()?;
    let multicast = (224..240).contains(&address.octets()[0]);
    (!multicast && address.octets() != [255; 4]).then(|| address.to_string())
}
