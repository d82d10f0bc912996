//! User data, which the kernel keeps for whoever lists a set: comments, byte orders, and how to read a key
//! that has no type. It is written as `nft` writes it: kind, length and value, again and again.

use rootful_net_core::ruleset::{Field, Set};

/// `NFTNL_UDATA_SET_ELEM_COMMENT`: the kind of user data that `nft` shows as a comment.
const ELEMENT_COMMENT: u8 = 0;

/// Of `enum nftnl_udata_set_types`.
const KEY_BYTE_ORDER: u8 = 0;
const DATA_BYTE_ORDER: u8 = 1;
const KEY_SELECTOR: u8 = 3;

/// What the selector of a key is, and its particulars, `NFTNL_UDATA_SET_TYPEOF_…` in the sources of `nft`.
const EXPRESSION: u8 = 0;
const PARTICULARS: u8 = 1;

/// Of `enum expr_types` in the sources of `nft`.
const PAYLOAD: u32 = 7;
const META: u32 = 9;
const CONCATENATION: u32 = 13;

/// A comment, with its NUL. `None` where it has more than 127 bytes, which `nft` would refuse as well.
pub(super) fn comment(comment: &str) -> Option<Vec<u8>> {
    let len = comment.len() + 1;
    (len <= 128).then(|| item(ELEMENT_COMMENT, &[comment.as_bytes(), &[0]].concat()))
}

/// The comment in user data that [`comment`] has made, and nothing else.
pub(super) fn read_comment(user_data: &[u8]) -> Option<&str> {
    let [ELEMENT_COMMENT, len, text @ .., 0] = user_data else { return None };
    let is_whole = usize::from(*len) == text.len() + 1 && text.len() < 128 && !text.contains(&0);
    if is_whole { str::from_utf8(text).ok() } else { None }
}

/// The user data by which `nft` can list the set.
pub(super) fn of_set(set: &Set) -> Vec<u8> {
    if !set.key.iter().all(|field| field.has_type()) {
        return item(KEY_SELECTOR, &selector(CONCATENATION, &concatenation(set.key)));
    }
    let data = if set.is_map() { set.data } else { &[] };
    let mut orders = Vec::new();
    // In a concatenation it goes by the types.
    for (kind, fields) in [(KEY_BYTE_ORDER, set.key), (DATA_BYTE_ORDER, data)] {
        if let [field] = fields {
            orders.extend(number(kind, byte_order(*field)));
        }
    }
    orders
}

/// The byte order of a field, `enum byteorder` in the sources of `nft`.
fn byte_order(field: Field) -> u32 {
    const HOST: u32 = 1;
    const NETWORK: u32 = 2;
    match field {
        Field::Ipv4Address
        | Field::Ipv6Address
        | Field::EtherAddress
        | Field::InetProtocol
        | Field::InetService
        | Field::NeighbourTarget
        | Field::NeighbourOption => NETWORK,
        Field::InterfaceName | Field::ConnectionLimit => HOST,
    }
}

fn concatenation(fields: &[Field]) -> Vec<u8> {
    let numbered = (0..).zip(fields);
    numbered.flat_map(|(place, field)| item(place, &field_selector(*field))).collect()
}

/// A selector of the field's type: which one, is only shown.
fn field_selector(field: Field) -> Vec<u8> {
    /// `NFT_META_…` of linux/netfilter/nf_tables.h.
    const META_IIFNAME: u32 = 6;
    const META_L4PROTO: u32 = 16;
    /// Of `enum proto_desc_id` in the sources of `nft`, with numbers of fields in them.
    const TRANSPORT: u32 = 9;
    const IPV4: u32 = 10;
    const IPV6: u32 = 11;
    const ETHER: u32 = 17;
    let meta = |key| selector(META, &number(0, key));
    let header =
        |protocol, place| selector(PAYLOAD, &[number(0, protocol), number(1, place)].concat());
    match field {
        Field::InterfaceName => meta(META_IIFNAME),
        Field::InetProtocol => meta(META_L4PROTO),
        Field::EtherAddress => header(ETHER, 2),
        Field::Ipv4Address => header(IPV4, 11),
        Field::Ipv6Address => header(IPV6, 7),
        Field::InetService => header(TRANSPORT, 2),
        Field::NeighbourTarget => behind_transport_header(64, 128),
        Field::NeighbourOption => behind_transport_header(192, 64),
        Field::ConnectionLimit => unreachable!("a limit is no part of a key"),
    }
}

/// `@th,OFFSET,LENGTH`, in bits.
fn behind_transport_header(offset: u32, len: u32) -> Vec<u8> {
    const UNKNOWN: u32 = 0;
    /// `PROTO_BASE_TRANSPORT_HDR`.
    const TRANSPORT_HEADER: u32 = 3;
    let numbers = [UNKNOWN, 0, TRANSPORT_HEADER, offset, len];
    let numbered = (0..).zip(numbers);
    let particulars: Vec<u8> = numbered.flat_map(|(kind, value)| number(kind, value)).collect();
    selector(PAYLOAD, &particulars)
}

fn selector(expression: u32, particulars: &[u8]) -> Vec<u8> {
    [number(EXPRESSION, expression), item(PARTICULARS, particulars)].concat()
}

fn number(kind: u8, value: u32) -> Vec<u8> {
    item(kind, &value.to_ne_bytes())
}

fn item(kind: u8, value: &[u8]) -> Vec<u8> {
    let len = u8::try_from(value.len()).expect("user data of at most 255 bytes");
    [&[kind, len], value].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_read_as_it_was_written_and_nothing_else_is() {
        for text in ["", "0cf9890d91", "réseau", &"x".repeat(127)] {
            let written = comment(text).expect("short enough");
            assert_eq!(read_comment(&written), Some(text));
            for len in 0..written.len() {
                assert_eq!(read_comment(&written[..len]), None);
            }
            assert_eq!(read_comment(&[&written[..], &[0]].concat()), None);
        }
        assert_eq!(read_comment(&[1, 3, b'a', b'b', 0]), None, "of another kind");
        assert_eq!(read_comment(&[0, 3, b'a', 0, 0]), None, "it ends before");
        assert_eq!(read_comment(&[0, 2, 0xff, 0]), None, "no text");
        assert_eq!(read_comment(&[&[0, 129][..], &[b'x'; 128], &[0]].concat()), None, "too long");
    }
}
