//! Named sets and maps, and messages about one of their elements.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;

use nftnl::{MsgType, NlMsg, ProtoFamily, Table};
use nftnl_sys as sys;
use nftnl_sys::libc::{
    NFT_MSG_DELSET, NFT_MSG_DELSETELEM, NFT_MSG_NEWSET, NFT_MSG_NEWSETELEM, NFT_SET_MAP, NLM_F_ACK,
    NLM_F_CREATE, NLM_F_EXCL, nlmsghdr,
};

use super::{RawExpression, check_memory, code, flags, out_of_memory};

/// The longest key or data: the 16 registers of 32 bits, which is also the size of libnftnl's buffers.
const MAX_VALUE_LEN: usize = 64;
/// The longest user data that the kernel takes, `NFT_USERDATA_MAXLEN`.
const MAX_USER_DATA_LEN: usize = 256;

/// The type of a key or of data, as `nft` numbers it, and its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetType {
    pub(crate) number: u32,
    pub(crate) len: u32,
}

/// A named set, or a map when it has data.
pub(crate) struct NamedSet {
    raw: NonNull<sys::nftnl_set>,
    family: ProtoFamily,
}

impl NamedSet {
    /// Describes a set that is to be created. `id` tells it from the others of the same batch; `user_data`
    /// is what the kernel keeps for whoever lists the set, empty for nothing.
    pub(crate) fn new(
        table: &Table,
        name: &CStr,
        id: u32,
        key: SetType,
        data: Option<SetType>,
        user_data: &[u8],
    ) -> Self {
        let set = Self::named(table, name);
        set.put_number(sys::NFTNL_SET_ID, id);
        set.put_number(sys::NFTNL_SET_KEY_TYPE, key.number);
        set.put_number(sys::NFTNL_SET_KEY_LEN, key.len);
        if let Some(data) = data {
            set.put_number(sys::NFTNL_SET_FLAGS, NFT_SET_MAP.cast_unsigned());
            set.put_number(sys::NFTNL_SET_DATA_TYPE, data.number);
            set.put_number(sys::NFTNL_SET_DATA_LEN, data.len);
        }
        if !user_data.is_empty() {
            set.put_user_data(user_data);
        }
        set
    }

    /// Names a set, which is enough to speak of its elements.
    fn named(table: &Table, name: &CStr) -> Self {
        // SAFETY: no conditions.
        let raw = unsafe { sys::nftnl_set_alloc() };
        let raw = NonNull::new(raw).unwrap_or_else(|| out_of_memory());
        let set = Self { raw, family: table.get_family() };
        set.put_text(sys::NFTNL_SET_TABLE, table.get_name());
        set.put_text(sys::NFTNL_SET_NAME, name);
        set.put_number(sys::NFTNL_SET_FAMILY, u32::from(table.get_family() as u16));
        set
    }

    /// Sets an attribute that is a number.
    fn put_number(&self, attribute: u32, value: u32) {
        // SAFETY: the set is ours and alive; libnftnl copies the number.
        unsafe { sys::nftnl_set_set_u32(self.raw.as_ptr(), code(attribute), value) };
    }

    /// Has the set's elements count connections, against this limit where they say no other.
    pub(crate) fn count_connections(&self, limit: u32) {
        let expression = RawExpression::ConnectionsOver { limit }.build();
        // SAFETY: both are ours and alive; from here on the expression belongs to the set.
        unsafe { sys::nftnl_set_add_expr(self.raw.as_ptr(), expression.as_ptr()) };
    }

    fn put_user_data(&self, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).expect("a few bytes");
        let (set, start) = (self.raw.as_ptr(), bytes.as_ptr().cast::<c_void>());
        let attribute = code(sys::NFTNL_SET_USERDATA);
        // SAFETY: the set is ours and alive; the bytes are copied into a buffer that libnftnl allocates.
        let result = unsafe { sys::nftnl_set_set_data(set, attribute, start, len) };
        check_memory(result);
    }

    /// Sets an attribute that is a text.
    fn put_text(&self, attribute: u32, text: &CStr) {
        let set = self.raw.as_ptr();
        // SAFETY: the set is ours and alive; the text ends with NUL and is copied.
        let result = unsafe { sys::nftnl_set_set_str(set, code(attribute), text.as_ptr()) };
        check_memory(result);
    }
}

impl Drop for NamedSet {
    fn drop(&mut self) {
        // SAFETY: the set is ours and nobody has it any more; its elements go with it.
        unsafe { sys::nftnl_set_free(self.raw.as_ptr()) };
    }
}

// SAFETY: a set without elements takes a few hundred bytes, with an expression too.
unsafe impl NlMsg for NamedSet {
    unsafe fn write(&self, buf: *mut c_void, seq: u32, kind: MsgType) {
        let (message, flags) = match kind {
            MsgType::Add => (NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK),
            MsgType::Del => (NFT_MSG_DELSET, NLM_F_ACK),
        };
        // SAFETY: the caller vouches for the size of the buffer.
        let header = unsafe { header(buf, message, self.family, flags, seq) };
        // SAFETY: the header was just made, with room behind it; the set is ours and alive.
        unsafe { sys::nftnl_set_nlmsg_build_payload(header, self.raw.as_ptr()) };
    }
}

/// One element of a set: added, which fails where the key is there already, or removed.
pub(crate) struct ElementMessage {
    /// Names the set and holds the one element.
    set: NamedSet,
    /// The one element.
    element: NonNull<sys::nftnl_set_elem>,
}

impl ElementMessage {
    /// Makes an element of a key, data and user data in the kernel's form; empty means none. `None` where one
    /// of them is longer than nftables allows.
    pub(crate) fn new(
        table: &Table,
        set: &CStr,
        key: &[u8],
        data: &[u8],
        user_data: &[u8],
    ) -> Option<Self> {
        let fits = key.len() <= MAX_VALUE_LEN
            && data.len() <= MAX_VALUE_LEN
            && user_data.len() <= MAX_USER_DATA_LEN;
        if !fits {
            return None;
        }
        let set = NamedSet::named(table, set);
        // SAFETY: no conditions.
        let element = unsafe { sys::nftnl_set_elem_alloc() };
        let element = NonNull::new(element).unwrap_or_else(|| out_of_memory());
        // SAFETY: both are ours and alive; from here on the element belongs to the set.
        unsafe { sys::nftnl_set_elem_add(set.raw.as_ptr(), element.as_ptr()) };
        let parts = [
            (sys::NFTNL_SET_ELEM_KEY, key),
            (sys::NFTNL_SET_ELEM_DATA, data),
            (sys::NFTNL_SET_ELEM_USERDATA, user_data),
        ];
        for (attribute, bytes) in parts.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let len = u32::try_from(bytes.len()).expect("at most 256 bytes");
            let (raw, start) = (element.as_ptr(), bytes.as_ptr().cast::<c_void>());
            // SAFETY: the element lives as long as the set; the bytes are copied, into a buffer that was
            // found to be long enough or one that libnftnl allocates.
            let result = unsafe { sys::nftnl_set_elem_set(raw, code(attribute), start, len) };
            check_memory(result);
        }
        Some(Self { set, element })
    }

    /// Has the element count connections against this limit.
    pub(crate) fn count_connections(&self, limit: u32) {
        let expression = RawExpression::ConnectionsOver { limit }.build();
        // SAFETY: both are ours and alive; from here on the expression belongs to the element.
        unsafe { sys::nftnl_set_elem_add_expr(self.element.as_ptr(), expression.as_ptr()) };
    }
}

// SAFETY: one element has at most twice 64 bytes of values, 256 of user data and one expression.
unsafe impl NlMsg for ElementMessage {
    unsafe fn write(&self, buf: *mut c_void, seq: u32, kind: MsgType) {
        let (message, flags) = match kind {
            MsgType::Add => (NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK),
            MsgType::Del => (NFT_MSG_DELSETELEM, NLM_F_ACK),
        };
        // SAFETY: the caller vouches for the size of the buffer.
        let header = unsafe { header(buf, message, self.set.family, flags, seq) };
        // SAFETY: the header was just made, with room behind it; the set is ours and alive.
        unsafe { sys::nftnl_set_elems_nlmsg_build_payload(header, self.set.raw.as_ptr()) };
    }
}

/// Writes the header of an nftables message.
///
/// # Safety
/// `buf` has room for the largest message, [`nftnl::nft_nlmsg_maxsize`], and is aligned to 4 bytes.
unsafe fn header(
    buf: *mut c_void,
    message: c_int,
    family: ProtoFamily,
    message_flags: c_int,
    seq: u32,
) -> *mut nlmsghdr {
    let kind = u16::try_from(message).expect("a message number of nftables");
    let (buf, flags) = (buf.cast::<c_char>(), flags(message_flags));
    // SAFETY: the caller vouches for the buffer.
    unsafe { sys::nftnl_nlmsg_build_hdr(buf, kind, family as u16, flags, seq) }
}
