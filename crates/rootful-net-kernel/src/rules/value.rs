//! Values of keys and data in the kernel's form, in both directions: one alone takes its own width, several
//! begin at whole registers of 32 bits each.

use std::net::{Ipv4Addr, Ipv6Addr};

use rootful_net_core::mac::MacAddress;
use rootful_net_core::name::InterfaceName;
use rootful_net_core::publish::{Port, Protocol};
use rootful_net_core::ruleset::{Field, NeighbourOption, Value};

/// A key or data as the kernel has it.
pub(super) fn bytes(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    for value in values {
        match value {
            Value::Ipv4(address) => bytes.extend(address.octets()),
            Value::Ipv6(address) => bytes.extend(address.octets()),
            Value::Ether(address) => bytes.extend(address.octets()),
            Value::Protocol(protocol) => bytes.push(protocol.number()),
            Value::Port(port) => bytes.extend(port.get().to_be_bytes()),
            Value::Interface(name) => {
                let padding = Field::InterfaceName.width().saturating_sub(name.as_str().len());
                bytes.extend(name.as_str().bytes());
                bytes.extend(std::iter::repeat_n(0, padding));
            }
            Value::NeighbourTarget(address) => bytes.extend(address.octets()),
            Value::NeighbourOption(option, mac) => bytes.extend(option.octets(*mac)),
            Value::ConnectionLimit(limit) => bytes.extend(limit.to_ne_bytes()),
        }
        if values.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

/// The values of which [`bytes`] makes exactly these bytes; `None` where there are none with these fields.
pub(super) fn values(fields: &[Field], bytes: &[u8]) -> Option<Vec<Value>> {
    let mut rest = bytes;
    let mut values = Vec::with_capacity(fields.len());
    for field in fields {
        let width = field.width();
        let padded = if fields.len() > 1 { field.padded_width() } else { width };
        let (place, behind) = rest.split_at_checked(padded)?;
        let (own, padding) = place.split_at(width);
        if padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        values.push(value(*field, own)?);
        rest = behind;
    }
    rest.is_empty().then_some(values)
}

/// Reads one value; `bytes` has the width of the field.
fn value(field: Field, bytes: &[u8]) -> Option<Value> {
    Some(match field {
        Field::Ipv4Address => Value::Ipv4(Ipv4Addr::from(array::<4>(bytes)?)),
        Field::Ipv6Address => Value::Ipv6(Ipv6Addr::from(array::<16>(bytes)?)),
        Field::EtherAddress => Value::Ether(MacAddress::try_from(array(bytes)?).ok()?),
        Field::InetProtocol => {
            let [number] = array(bytes)?;
            let mut all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter();
            Value::Protocol(all.find(|protocol| protocol.number() == number)?)
        }
        Field::InetService => Value::Port(Port::new(u16::from_be_bytes(array(bytes)?))?),
        Field::InterfaceName => {
            let end = bytes.iter().position(|byte| *byte == 0)?;
            let (name, padding) = bytes.split_at(end);
            if padding.iter().any(|byte| *byte != 0) {
                return None;
            }
            Value::Interface(str::from_utf8(name).ok()?.parse::<InterfaceName>().ok()?)
        }
        Field::NeighbourTarget => Value::NeighbourTarget(Ipv6Addr::from(array::<16>(bytes)?)),
        Field::NeighbourOption => {
            let address = array(bytes.get(2..)?)?;
            let address = MacAddress::try_from(address).ok()?;
            let both = [NeighbourOption::SourceAddress, NeighbourOption::TargetAddress];
            let option = both.into_iter().find(|option| option.octets(address) == *bytes)?;
            Value::NeighbourOption(option, address)
        }
        Field::ConnectionLimit => Value::ConnectionLimit(u32::from_ne_bytes(array(bytes)?)),
    })
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Value {
        Value::Interface(text.parse().expect("an interface name"))
    }

    fn samples() -> Vec<Vec<Value>> {
        let mac: MacAddress = "02:00:00:00:00:02".parse().expect("a MAC address");
        let port = |number| Value::Port(Port::new(number).expect("a port"));
        let ipv4 = Value::Ipv4(Ipv4Addr::new(10, 87, 0, 2));
        let ipv6: Ipv6Addr = "fd87::2".parse().expect("an address");
        vec![
            vec![],
            vec![name("fifteen_bytes_x")],
            vec![Value::ConnectionLimit(4096)],
            vec![port(80)],
            vec![Value::Protocol(Protocol::Sctp), port(65535)],
            vec![ipv4.clone(), Value::Protocol(Protocol::Udp), port(1)],
            vec![Value::Ipv6(ipv6), Value::Protocol(Protocol::Tcp), port(256)],
            vec![name("rn0"), Value::Ether(mac), Value::Ether(mac), ipv4.clone(), ipv4],
            vec![name("rn0"), Value::Ether(mac), Value::NeighbourTarget(ipv6)],
            vec![
                name("rn0"),
                Value::Ether(mac),
                Value::NeighbourOption(NeighbourOption::SourceAddress, mac),
            ],
            vec![
                name("rn0"),
                Value::Ether(mac),
                Value::NeighbourOption(NeighbourOption::TargetAddress, mac),
            ],
        ]
    }

    #[test]
    fn values_are_read_as_they_were_written() {
        for sample in samples() {
            let fields: Vec<_> = sample.iter().map(Value::field).collect();
            assert_eq!(values(&fields, &bytes(&sample)).as_ref(), Some(&sample));
        }
    }

    #[test]
    fn what_would_be_written_otherwise_is_not_read() {
        let pair = [Field::InetProtocol, Field::InetService];
        let whole = [6, 0, 0, 0, 0, 80, 0, 0];
        assert!(values(&pair, &whole).is_some());
        for place in [1, 2, 3, 6, 7] {
            let mut padded = whole;
            padded[place] = 1;
            assert_eq!(values(&pair, &padded), None, "byte {place}");
        }
        let mut unknown_protocol = whole;
        unknown_protocol[0] = 1;
        assert_eq!(values(&pair, &unknown_protocol), None);
        assert_eq!(values(&pair, &[6, 0, 0, 0, 0, 0, 0, 0]), None, "there is no port 0");
        assert_eq!(values(&pair, &[&whole[..], &[0]].concat()), None);
        assert_eq!(values(&[Field::InterfaceName], b"rootful0\0\0\0\0\0\0\0x"), None);
        assert_eq!(values(&[Field::InterfaceName], &[0; 16]), None);
        assert_eq!(values(&[Field::InterfaceName], &[b'a'; 16]), None);
        assert_eq!(values(&[Field::EtherAddress], &[1, 0, 0, 0, 0, 1]), None, "a group");
        assert_eq!(values(&[Field::NeighbourOption], &[3, 1, 2, 0, 0, 0, 0, 2]), None);
    }

    #[test]
    fn cut_and_damaged_values_are_read_without_a_panic() {
        for sample in samples() {
            let fields: Vec<_> = sample.iter().map(Value::field).collect();
            let whole = bytes(&sample);
            for place in 0..whole.len() {
                assert_eq!(values(&fields, &whole[..place]), None);
                for byte in [0, 1, 0x7f, 0xff] {
                    let mut damaged = whole.clone();
                    damaged[place] = byte;
                    let read = values(&fields, &damaged);
                    assert!(read.is_none_or(|values| bytes(&values) == damaged));
                }
            }
        }
    }
}
