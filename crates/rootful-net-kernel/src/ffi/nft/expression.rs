//! Expressions that load packet fields, look them up and translate addresses, with a choice of register.

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::{ProtoFamily, Rule};
use nftnl_sys as sys;
use nftnl_sys::libc::{
    NFT_LOOKUP_F_INV, NFT_NAT_DNAT, NFT_REG_1, NFT_REG32_00, NFT_REJECT_ICMPX_ADMIN_PROHIBITED,
    NFT_REJECT_ICMPX_UNREACH,
};

use super::{check_memory, code, out_of_memory};

/// `NFT_FIB_RESULT_ADDRTYPE` of linux/netfilter/nf_tables.h, which `libc` does not have.
const FIB_RESULT_ADDRESS_TYPE: u32 = 3;
/// `NFTA_FIB_F_DADDR` of the same.
const FIB_DESTINATION: u32 = 1 << 1;
/// `NFT_CONNLIMIT_F_INV` of the same: beyond the limit rather than within.
const CONNECTION_LIMIT_INVERTED: u32 = 1;

/// A place in the 16 registers of 32 bits that a rule computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Register(u32);

impl Register {
    /// The first register, where nftnl's own expressions read and write.
    pub(crate) const FIRST: Self = Self(0);

    /// The register behind a value of `len` bytes that begins in this one.
    pub(crate) fn after(self, len: usize) -> Self {
        let words = u32::try_from(len.div_ceil(4)).expect("a value of a few bytes");
        Self(self.0 + words)
    }

    /// The kernel's number. Where 128 bits begin there are two; `nft` uses the shorter one.
    fn number(self) -> u32 {
        if self.0.is_multiple_of(4) {
            constant(NFT_REG_1) + self.0 / 4
        } else {
            constant(NFT_REG32_00) + self.0
        }
    }
}

/// An expression that `nftnl` does not have, or only for the first register.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RawExpression<'a> {
    /// Loads what the kernel knows about the packet. `key` is one of `NFT_META_…`.
    Meta { key: c_int, to: Register },
    /// Loads bytes of a header. `base` is one of `NFT_PAYLOAD_…_HEADER`.
    Payload { base: c_int, offset: u32, len: usize, to: Register },
    /// Loads the type of the destination address, one of `RTN_…`, into the first register.
    DestinationType,
    /// Goes on where the value is in the set; where it is not, if `inverted`.
    Lookup { set: &'a CStr, value: Register, inverted: bool },
    /// Loads what the map has for the value; leaves the rule where it has nothing.
    MapLookup { map: &'a CStr, value: Register, to: Register },
    /// Sends the connection to an address and port.
    DestinationNat { family: ProtoFamily, address: Register, port: Register },
    /// Drops the packet and tells its sender that it is administratively prohibited.
    RejectProhibited,
    /// Goes on where more connections than these have come by here. It counts, so it belongs to an element.
    ConnectionsOver { limit: u32 },
}

impl RawExpression<'_> {
    fn kind(self) -> &'static CStr {
        match self {
            Self::Meta { .. } => c"meta",
            Self::Payload { .. } => c"payload",
            Self::DestinationType => c"fib",
            Self::Lookup { .. } | Self::MapLookup { .. } => c"lookup",
            Self::DestinationNat { .. } => c"nat",
            Self::RejectProhibited => c"reject",
            Self::ConnectionsOver { .. } => c"connlimit",
        }
    }

    /// The attributes that are numbers of 32 bits in libnftnl.
    fn numbers(self) -> Vec<(u32, u32)> {
        match self {
            Self::Meta { key, to } => vec![
                (sys::NFTNL_EXPR_META_KEY, constant(key)),
                (sys::NFTNL_EXPR_META_DREG, to.number()),
            ],
            Self::Payload { base, offset, len, to } => vec![
                (sys::NFTNL_EXPR_PAYLOAD_DREG, to.number()),
                (sys::NFTNL_EXPR_PAYLOAD_BASE, constant(base)),
                (sys::NFTNL_EXPR_PAYLOAD_OFFSET, offset),
                (sys::NFTNL_EXPR_PAYLOAD_LEN, u32::try_from(len).expect("a field of a header")),
            ],
            Self::DestinationType => vec![
                (sys::NFTNL_EXPR_FIB_DREG, Register::FIRST.number()),
                (sys::NFTNL_EXPR_FIB_RESULT, FIB_RESULT_ADDRESS_TYPE),
                (sys::NFTNL_EXPR_FIB_FLAGS, FIB_DESTINATION),
            ],
            Self::Lookup { value, inverted: false, .. } => {
                vec![(sys::NFTNL_EXPR_LOOKUP_SREG, value.number())]
            }
            Self::Lookup { value, inverted: true, .. } => vec![
                (sys::NFTNL_EXPR_LOOKUP_SREG, value.number()),
                (sys::NFTNL_EXPR_LOOKUP_FLAGS, constant(NFT_LOOKUP_F_INV)),
            ],
            Self::MapLookup { value, to, .. } => vec![
                (sys::NFTNL_EXPR_LOOKUP_SREG, value.number()),
                (sys::NFTNL_EXPR_LOOKUP_DREG, to.number()),
            ],
            Self::DestinationNat { family, address, port } => vec![
                (sys::NFTNL_EXPR_NAT_TYPE, constant(NFT_NAT_DNAT)),
                (sys::NFTNL_EXPR_NAT_FAMILY, u32::from(family as u16)),
                (sys::NFTNL_EXPR_NAT_REG_ADDR_MIN, address.number()),
                (sys::NFTNL_EXPR_NAT_REG_PROTO_MIN, port.number()),
            ],
            Self::RejectProhibited => {
                vec![(sys::NFTNL_EXPR_REJECT_TYPE, constant(NFT_REJECT_ICMPX_UNREACH))]
            }
            Self::ConnectionsOver { limit } => vec![
                (sys::NFTNL_EXPR_CONNLIMIT_COUNT, limit),
                (sys::NFTNL_EXPR_CONNLIMIT_FLAGS, CONNECTION_LIMIT_INVERTED),
            ],
        }
    }

    /// The attribute that is a number of 8 bits.
    fn small_number(self) -> Option<(u32, u8)> {
        let reason = u8::try_from(NFT_REJECT_ICMPX_ADMIN_PROHIBITED).expect("one of four reasons");
        (self == Self::RejectProhibited).then_some((sys::NFTNL_EXPR_REJECT_CODE, reason))
    }

    /// The set that is looked up.
    fn set(&self) -> Option<&CStr> {
        match self {
            Self::Lookup { set, .. } | Self::MapLookup { map: set, .. } => Some(set),
            Self::Meta { .. }
            | Self::Payload { .. }
            | Self::DestinationType
            | Self::DestinationNat { .. }
            | Self::RejectProhibited
            | Self::ConnectionsOver { .. } => None,
        }
    }
}

impl Expression for RawExpression<'_> {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        self.build()
    }
}

impl RawExpression<'_> {
    /// Makes the expression, which belongs to the caller.
    pub(super) fn build(self) -> NonNull<sys::nftnl_expr> {
        // SAFETY: the kind ends with NUL.
        let raw = unsafe { sys::nftnl_expr_alloc(self.kind().as_ptr()) };
        // An unknown kind gives null as well, but all of these are older than libnftnl 1.0.7.
        let raw = NonNull::new(raw).unwrap_or_else(|| out_of_memory());
        for (attribute, value) in self.numbers() {
            // SAFETY: the expression is ours and alive, and `numbers` gives attributes of its kind that are
            // 32 bits wide.
            unsafe { sys::nftnl_expr_set_u32(raw.as_ptr(), code(attribute), value) };
        }
        if let Some((attribute, value)) = self.small_number() {
            // SAFETY: as above, with the one attribute that is 8 bits wide.
            unsafe { sys::nftnl_expr_set_u8(raw.as_ptr(), code(attribute), value) };
        }
        if let Some(set) = self.set() {
            let attribute = code(sys::NFTNL_EXPR_LOOKUP_SET);
            // SAFETY: the expression is ours and alive and a lookup; the name ends with NUL and is copied.
            let result = unsafe { sys::nftnl_expr_set_str(raw.as_ptr(), attribute, set.as_ptr()) };
            check_memory(result);
        }
        raw
    }
}

/// A constant of the kernel's interface, which `libc` has as a signed number.
fn constant(number: c_int) -> u32 {
    number.cast_unsigned()
}
