//! The nftables objects that the safe part of `nftnl` does not have: named sets and maps with concatenated
//! keys, their elements, and expressions with a choice of register. It knows libnftnl, not our ruleset.

mod expression;
mod set;

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use nftnl::{Batch, MsgType, NlMsg};
use nftnl_sys::libc::{NLM_F_ACK, nlmsghdr};

pub(crate) use expression::{RawExpression, Register};
pub(crate) use set::{ElementMessage, NamedSet, SetType};

/// Whether the kernel is asked to confirm a message that it accepts; one that it refuses it always answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledge {
    /// An answer in either case.
    Always,
    /// An answer only to a refusal.
    Refusal,
}

/// Adds a message to the batch and returns its sequence number, which is what the kernel's answer carries.
pub(crate) fn add<M: NlMsg>(
    batch: &mut Batch,
    message: &M,
    kind: MsgType,
    acknowledge: Acknowledge,
) -> u32 {
    let numbered = Numbered { message, acknowledge, number: Cell::new(0) };
    batch.add(&numbered, kind);
    numbered.number.get()
}

/// A message that remembers its sequence number.
struct Numbered<'a, M> {
    message: &'a M,
    acknowledge: Acknowledge,
    number: Cell<u32>,
}

// SAFETY: what is written is exactly the inner message, which keeps the bound itself.
unsafe impl<M: NlMsg> NlMsg for Numbered<'_, M> {
    unsafe fn write(&self, buf: *mut c_void, seq: u32, kind: MsgType) {
        self.number.set(seq);
        // SAFETY: the caller vouches for the size of the buffer.
        unsafe { self.message.write(buf, seq, kind) };
        if self.acknowledge == Acknowledge::Refusal {
            // SAFETY: the inner message has just written its header there, and a batch keeps its messages
            // aligned to 4 bytes, as the header is.
            let header = unsafe { &mut *buf.cast::<nlmsghdr>() };
            header.nlmsg_flags &= !flags(NLM_F_ACK);
        }
    }
}

/// Netlink message flags at the width that the header has for them.
fn flags(flags: c_int) -> u16 {
    u16::try_from(flags).expect("netlink message flags are 16 bits wide")
}

/// The number of an attribute at the width that libnftnl's functions take.
fn code(attribute: u32) -> u16 {
    u16::try_from(attribute).expect("libnftnl numbers its attributes from 0")
}

/// Checks a setter of libnftnl, which fails where memory is short and, the sizes being right, nowhere else.
fn check_memory(result: c_int) {
    if result < 0 {
        out_of_memory();
    }
}

/// Ends the process, as the standard library does where memory is short.
fn out_of_memory() -> ! {
    std::process::abort()
}
