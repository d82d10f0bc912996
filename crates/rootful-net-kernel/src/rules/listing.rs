//! Reads the kernel's listings of tables, chains, rules, sets and elements. It knows the messages of
//! nftables, and not what should be in them.

use std::ffi::CStr;
use std::io;

use rootful_net_core::ruleset::{Element, Family, Set, TableName, Value};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::{user_data, value};
use crate::attribute::{Attribute, attributes, whole_attributes};
use crate::netlink::{Exchange, RawMessage};

/// `NFNL_SUBSYS_NFTABLES`, in the upper half of a message's type.
pub(crate) const NFTABLES: u16 = 10 << 8;
/// `struct nfgenmsg`: family, version and the lower half of the generation.
pub(crate) const HEADER_BYTES: usize = 4;
/// `NFTA_…_TABLE`: the table that something is in, by the same number for chains, rules, sets and elements.
pub(crate) const TABLE: u16 = 1;

/// Of `enum nf_tables_msg_types` in linux/netfilter/nf_tables.h, as are the attributes below.
const GET_TABLE: u16 = 1;
const GET_CHAIN: u16 = 4;
const GET_RULE: u16 = 7;
const GET_SET: u16 = 10;
const GET_SET_ELEMENTS: u16 = 13;
const GET_GENERATION: u16 = 16;

const GENERATION_ID: u16 = 1;
const SET_NAME: u16 = 2;
const ELEMENT_LIST_SET: u16 = 2;
const ELEMENT_LIST_ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_USER_DATA: u16 = 6;
const ELEMENT_EXPRESSION: u16 = 7;
const ELEMENT_PADDING: u16 = 8;
const DATA_VALUE: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const CONNECTION_LIMIT_COUNT: u16 = 1;
const CONNECTION_LIMIT_FLAGS: u16 = 2;
const CONNECTION_LIMIT_INVERTED: u32 = 1;

/// What of a table, a chain, a rule and a set stays as it was made: neither handles and positions, which the
/// kernel counts, nor how often something is used.
const FIXED_OF_TABLE: &[u16] = &[1, 2, 6, 7];
const FIXED_OF_CHAIN: &[u16] = &[1, 3, 4, 5, 7, 9, 10, 12];
const FIXED_OF_RULE: &[u16] = &[1, 2, 4, 5, 7];
const FIXED_OF_SET: &[u16] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 17, 18];

/// How often a listing is read that changed while it was read. Any change of any table counts.
const ATTEMPTS: usize = 32;

/// The fixed part of a table, as the kernel lists it.
pub(super) struct FixedPart {
    /// SHA-256 of the listing.
    pub(super) digest: String,
    /// The names of its sets.
    pub(super) sets: Vec<Vec<u8>>,
}

/// The number of the last change to any table of the network namespace.
pub(super) fn generation(exchange: &mut Exchange) -> io::Result<u32> {
    let question = RawMessage { kind: NFTABLES | GET_GENERATION, payload: header(0).to_vec() };
    let answer = exchange.look_up(question)?.ok_or(Errno::NODATA)?;
    let id = attribute(&answer, GENERATION_ID);
    id.and_then(Attribute::network_number).ok_or_else(|| Errno::BADMSG.into())
}

/// Reads everything of a table but its elements; `None` where there is no such table.
pub(super) fn fixed_part(
    exchange: &mut Exchange,
    table: TableName,
) -> io::Result<Option<FixedPart>> {
    let name = text(table.name);
    let mut digest = Sha256::new();
    let family = family(table.family);
    let question = |kind, given: &[(u16, &[u8])]| message(kind, family, given);
    match exchange.look_up(question(GET_TABLE, &[(TABLE, &name)])) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => add(&mut digest, &found?.ok_or(Errno::NODATA)?, FIXED_OF_TABLE),
    }
    let mut sets = Vec::new();
    for (kind, fixed) in
        [(GET_SET, FIXED_OF_SET), (GET_CHAIN, FIXED_OF_CHAIN), (GET_RULE, FIXED_OF_RULE)]
    {
        let is_of_table =
            |entry: &RawMessage| attribute(entry, TABLE).is_some_and(|table| table.value == name);
        let entries = list(exchange, &question(kind, &[(TABLE, &name)]))?;
        for entry in entries.into_iter().filter(is_of_table) {
            add(&mut digest, &entry, fixed);
            if kind == GET_SET
                && let Some(name) = attribute(&entry, SET_NAME)
            {
                sets.push(name.value.to_vec());
            }
        }
    }
    Ok(Some(FixedPart { digest: hexadecimal(&digest.finalize()), sets }))
}

/// Reads the elements of a set that is there; `None` stands for one that is not ours to read.
pub(super) fn elements(
    exchange: &mut Exchange,
    table: TableName,
    set: &Set,
) -> io::Result<Vec<Option<Element>>> {
    let (table_name, set_name) = (text(table.name), text(set.name));
    let given: &[(u16, &[u8])] = &[(TABLE, &table_name), (ELEMENT_LIST_SET, &set_name)];
    let question = message(GET_SET_ELEMENTS, family(table.family), given);
    let mut elements = Vec::new();
    repeated(|| {
        elements.clear();
        // Read to the end before anything is decoded: the less time goes by, the less changes.
        for answer in list_once(exchange, &question)? {
            decode_elements(table, set, &answer.payload, &mut elements);
        }
        // A hash table that grows or shrinks while it is listed shows some elements twice, and others not at
        // all.
        let mut seen: Vec<_> = elements.iter().flatten().collect();
        seen.sort_unstable();
        let is_twice = seen.windows(2).any(|pair| pair[0] == pair[1]);
        if is_twice { Err(Errno::INTR.into()) } else { Ok(()) }
    })?;
    Ok(elements)
}

/// Reads a message with elements of a set.
fn decode_elements(
    table: TableName,
    set: &Set,
    payload: &[u8],
    elements: &mut Vec<Option<Element>>,
) {
    let lists = parts(payload).filter(|part| part.kind == ELEMENT_LIST_ELEMENTS);
    for list in lists {
        elements.extend(list.nested().map(|element| decode_element(table, set, element)));
    }
}

/// Reads an element as it is written; `None` where it has anything that those of the set have not.
fn decode_element(table: TableName, set: &Set, element: Attribute<'_>) -> Option<Element> {
    let (mut key, mut data, mut comment) = (None, Vec::new(), None);
    for attribute in whole_attributes(element.value) {
        let attribute = attribute?;
        match attribute.kind {
            ELEMENT_KEY => key = Some(value::values(set.key, only_value(attribute)?)?),
            ELEMENT_DATA if set.is_map() => {
                data = value::values(set.data, only_value(attribute)?)?;
            }
            ELEMENT_EXPRESSION if set.counts_connections() => {
                data = vec![Value::ConnectionLimit(connection_limit(attribute)?)];
            }
            ELEMENT_USER_DATA => {
                comment = Some(user_data::read_comment(attribute.value)?.to_owned());
            }
            ELEMENT_PADDING => {}
            _ => return None,
        }
    }
    let is_complete = set.data.is_empty() || !data.is_empty();
    is_complete.then_some(Element { table, set: set.name, key: key?, data, comment })
}

/// The one value that a key or data has; a verdict is none.
fn only_value(attribute: Attribute<'_>) -> Option<&[u8]> {
    let mut parts = attribute.nested();
    let value = parts.next().filter(|part| part.kind == DATA_VALUE)?;
    parts.next().is_none().then_some(value.value)
}

/// The limit of a `ct count over …`.
fn connection_limit(expression: Attribute<'_>) -> Option<u32> {
    let part = |kind| expression.nested().find(|part| part.kind == kind);
    let name = CStr::from_bytes_until_nul(part(EXPRESSION_NAME)?.value).ok()?;
    if name != c"connlimit" {
        return None;
    }
    let data = part(EXPRESSION_DATA)?;
    let number = |kind| data.nested().find(|part| part.kind == kind)?.network_number();
    let is_inverted = number(CONNECTION_LIMIT_FLAGS)? == CONNECTION_LIMIT_INVERTED;
    number(CONNECTION_LIMIT_COUNT).filter(|_| is_inverted)
}

/// Reads a whole list, again where it changed meanwhile.
fn list(exchange: &mut Exchange, question: &RawMessage) -> io::Result<Vec<RawMessage>> {
    repeated(|| list_once(exchange, question))
}

fn list_once(exchange: &mut Exchange, question: &RawMessage) -> io::Result<Vec<RawMessage>> {
    let mut entries = Vec::new();
    exchange.dump(question.clone(), |entry| entries.push(entry))?;
    Ok(entries)
}

fn repeated<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut outcome = read();
    for _ in 1..ATTEMPTS {
        match &outcome {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => outcome = read(),
            Ok(_) | Err(_) => break,
        }
    }
    outcome
}

/// Adds the kinds and values of what is `fixed`, so that no two listings come to the same bytes.
fn add(digest: &mut Sha256, entry: &RawMessage, fixed: &[u16]) {
    for part in parts(&entry.payload).filter(|part| fixed.contains(&part.kind)) {
        digest.update(part.kind.to_be_bytes());
        digest.update(u64::try_from(part.value.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part.value);
    }
    // No attribute has this number.
    digest.update([0, 0]);
    digest.update(entry.kind.to_be_bytes());
}

/// Digits of a digest, in lower case.
pub(super) fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The number of a family in messages, `NFPROTO_…`.
pub(crate) const fn family(family: Family) -> u8 {
    match family {
        Family::Inet => 1,
        Family::Bridge => 7,
    }
}

fn header(family: u8) -> [u8; HEADER_BYTES] {
    [family, 0, 0, 0]
}

fn message(kind: u16, family: u8, given: &[(u16, &[u8])]) -> RawMessage {
    let mut payload = header(family).to_vec();
    for (kind, value) in given {
        let len = u16::try_from(4 + value.len()).expect("a name");
        payload.extend(len.to_ne_bytes());
        payload.extend(kind.to_ne_bytes());
        payload.extend(*value);
        payload.resize(payload.len().next_multiple_of(4), 0);
    }
    RawMessage { kind: NFTABLES | kind, payload }
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn attribute(message: &RawMessage, kind: u16) -> Option<Attribute<'_>> {
    parts(&message.payload).find(|attribute| attribute.kind == kind)
}

/// The attributes behind the header of an nftables message.
pub(crate) fn parts(payload: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    attributes(payload.get(HEADER_BYTES..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rootful_net_core::publish::{Port, Protocol};
    use rootful_net_core::ruleset::{
        Change, Field, NeighbourOption, Table, Transaction, guard_table, inet_table,
    };

    use super::super::batch::TransactionBatch;
    use super::*;
    use crate::route_socket::next_message;

    /// A value of the field, another for another `seed`.
    fn value(field: Field, seed: u8) -> Value {
        let mac = || [2, 0, 0, 0, 0, seed].try_into().expect("a MAC address");
        match field {
            Field::Ipv4Address => Value::Ipv4([10, 87, 0, seed].into()),
            Field::Ipv6Address => Value::Ipv6([0xfd87, 0, 0, 0, 0, 0, 0, seed.into()].into()),
            Field::EtherAddress => Value::Ether(mac()),
            Field::InetProtocol => Value::Protocol(Protocol::Udp),
            Field::InetService => Value::Port(Port::new(u16::from(seed) + 1).expect("a port")),
            Field::InterfaceName => Value::Interface(format!("rn{seed}").parse().expect("a name")),
            Field::NeighbourTarget => {
                Value::NeighbourTarget([0xfe80, 0, 0, 0, 0, 0, 0, seed.into()].into())
            }
            Field::NeighbourOption => Value::NeighbourOption(NeighbourOption::TargetAddress, mac()),
            Field::ConnectionLimit => Value::ConnectionLimit(seed.into()),
        }
    }

    /// An element of every set, with and without a comment, and its message to the kernel, which the kernel
    /// answers in the same form.
    fn samples() -> Vec<(Table, Set, Element, Vec<u8>)> {
        let mut samples = Vec::new();
        for table in [inet_table(), guard_table()] {
            for (seed, set) in (0..).zip(&table.sets) {
                for comment in [None, Some(format!("number {seed}"))] {
                    let values = |fields: &[Field]| -> Vec<_> {
                        fields.iter().map(|field| value(*field, seed)).collect()
                    };
                    let (key, data) = (values(set.key), values(set.data));
                    let element = Element { table: table.name, set: set.name, key, data, comment };
                    let change = Change::AddElement(element.clone());
                    let payload = payload(&Transaction::new(vec![change]));
                    samples.push((table.clone(), set.clone(), element, payload));
                }
            }
        }
        samples
    }

    /// The payload of the one message in the transaction.
    fn payload(transaction: &Transaction) -> Vec<u8> {
        let batch = TransactionBatch::new(transaction).expect("an element of ours");
        let bytes = batch.pages().concat();
        let (_begin, rest) = next_message(&bytes).expect("the begin of a batch");
        let (message, _) = next_message(rest).expect("the message");
        message.payload().to_vec()
    }

    fn decode(table: &Table, set: &Set, payload: &[u8]) -> Vec<Option<Element>> {
        let mut elements = Vec::new();
        decode_elements(table.name, set, payload, &mut elements);
        elements
    }

    #[test]
    fn elements_of_every_set_are_read_as_they_are_written() {
        for (table, set, element, payload) in samples() {
            assert_eq!(decode(&table, &set, &payload), [Some(element)]);
        }
    }

    #[test]
    fn cut_and_damaged_messages_are_read_without_a_panic() {
        for (table, set, element, payload) in samples() {
            for place in 0..payload.len() {
                // What is cut is not read as something else. Only the padding at the end says nothing.
                let cut = decode(&table, &set, &payload[..place]);
                let is_whole = |read: &Option<Element>| read.as_ref() == Some(&element);
                assert!(cut.iter().all(|read| read.is_none() || is_whole(read)), "{cut:?}");
                for byte in [0, 1, 0x7f, 0xff] {
                    let mut damaged = payload.clone();
                    damaged[place] = byte;
                    decode(&table, &set, &damaged);
                }
            }
        }
    }

    #[test]
    fn what_elements_of_ours_do_not_have_is_noticed() {
        const TIMEOUT: u16 = 4;
        let (table, set, _, payload) = samples().swap_remove(0);
        let mut with_timeout = payload.clone();
        let added = [12, 0, TIMEOUT.to_ne_bytes()[0], TIMEOUT.to_ne_bytes()[1]];
        with_timeout.extend(added.into_iter().chain([0; 8]));
        // The list and the element in it go to the end of the message, and are now longer by that.
        let list = parts(&payload).find(|part| part.kind == ELEMENT_LIST_ELEMENTS).expect("a list");
        let list_start = payload.len() - list.value.len() - 4;
        for start in [list_start, list_start + 4] {
            let len = u16::from_ne_bytes([payload[start], payload[start + 1]]) + 12;
            with_timeout[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        }
        assert_eq!(decode(&table, &set, &with_timeout), [None]);
    }

    #[test]
    fn listings_differ_by_what_is_fixed_and_by_nothing_else() {
        const HANDLE: u16 = 2;
        const NAME: u16 = 3;
        const POLICY: u16 = 5;
        const USES: u16 = 6;
        let digest = |given: &[(u16, &[u8])]| {
            let mut digest = Sha256::new();
            add(&mut digest, &message(GET_CHAIN, 1, given), FIXED_OF_CHAIN);
            hexadecimal(&digest.finalize())
        };
        let one = digest(&[(HANDLE, &[1]), (NAME, b"a"), (POLICY, &[1]), (USES, &[1])]);
        assert_eq!(digest(&[(HANDLE, &[2]), (NAME, b"a"), (POLICY, &[1]), (USES, &[9])]), one);
        assert_ne!(digest(&[(NAME, b"b"), (POLICY, &[1])]), one);
        assert_ne!(digest(&[(NAME, b"a"), (POLICY, &[0])]), one);
        assert_ne!(digest(&[(NAME, b"a")]), one);
    }
}
