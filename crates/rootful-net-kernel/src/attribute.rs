//! Takes messages apart into attributes. It knows their form, `struct nlattr`, and none of their meanings.

/// Room for an attribute's length and kind.
const HEADER_BYTES: usize = 4;
/// Without the flags that an attribute is nested or in network byte order, `NLA_TYPE_MASK`.
const KIND: u16 = 0x3fff;

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    /// Its kind, of which every message has its own.
    pub(crate) kind: u16,
    /// Its value.
    pub(crate) value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The attributes that the value consists of, as far as they are whole.
    pub(crate) fn nested(self) -> impl Iterator<Item = Self> + use<'a> {
        attributes(self.value)
    }

    /// The value as text to the first NUL; what is not UTF-8 is replaced.
    pub(crate) fn text(self) -> String {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        String::from_utf8_lossy(&self.value[..end]).into_owned()
    }

    /// The value as a number of 32 bits in the byte order of the machine.
    pub(crate) fn number(self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_ne_bytes)
    }

    /// The value as a number of 32 bits in network byte order.
    pub(crate) fn network_number(self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }
}

/// The attributes in `bytes`, as far as they are whole.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    whole_attributes(bytes).map_while(|attribute| attribute)
}

/// The attributes in `bytes`; `None` for one that is not whole, which is the last.
pub(crate) fn whole_attributes(bytes: &[u8]) -> impl Iterator<Item = Option<Attribute<'_>>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let attribute = split_off_first(&mut rest);
        if attribute.is_none() {
            rest = &[];
        }
        Some(attribute)
    })
}

fn split_off_first<'a>(rest: &mut &'a [u8]) -> Option<Attribute<'a>> {
    let &[a, b, c, d, ..] = *rest else { return None };
    let len = usize::from(u16::from_ne_bytes([a, b]));
    let value = rest.get(HEADER_BYTES..len)?;
    // Attributes begin at multiples of 4 bytes; the last need not be filled up.
    *rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some(Attribute { kind: u16::from_ne_bytes([c, d]) & KIND, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_to_the_first_that_is_not_whole() {
        let two = [&[5, 0, 1, 0x80, 7, 0, 0, 0][..], &[4, 0, 2, 0]].concat();
        let expected = [Attribute { kind: 1, value: &[7] }, Attribute { kind: 2, value: &[] }];
        assert_eq!(attributes(&two).collect::<Vec<_>>(), expected);
        let unfilled = attributes(&two[..5]).collect::<Vec<_>>();
        assert_eq!(unfilled, expected[..1]);
        for len in [1, 2, 3, 4] {
            assert_eq!(whole_attributes(&two[..len]).collect::<Vec<_>>(), [None], "{len} bytes");
        }
        for len in [0, 1, 2, 3] {
            let short = [len, 0, 1, 0, 0, 0, 0, 0];
            assert_eq!(whole_attributes(&short).collect::<Vec<_>>(), [None], "length {len}");
        }
    }
}
