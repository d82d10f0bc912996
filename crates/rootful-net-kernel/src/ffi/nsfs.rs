//! Owns the ioctls of namespace files, ioctl_nsfs(2). What they say is judged elsewhere.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::FsWord;
use rustix::io::Result;
use rustix::ioctl::{Getter, Ioctl, IoctlOutput, Opcode, ioctl, opcode};

/// `NSFS_MAGIC` of linux/magic.h, the type of the file system that namespace files are on.
const NSFS_MAGIC: FsWord = 0x6e73_6673;

/// `NSIO` of linux/nsfs.h.
const GROUP: u8 = 0xb7;
const NS_GET_USERNS: Opcode = opcode::none(GROUP, 1);
const NS_GET_PARENT: Opcode = opcode::none(GROUP, 2);
const NS_GET_NSTYPE: Opcode = opcode::none(GROUP, 3);
const NS_GET_OWNER_UID: Opcode = opcode::none(GROUP, 4);

/// A file of the namespace file system: one for which the ioctls mean what they are meant to.
#[derive(Debug)]
pub(crate) struct NamespaceFile(OwnedFd);

impl NamespaceFile {
    /// Takes `fd` where it is a file of the namespace file system.
    pub(crate) fn new(fd: OwnedFd) -> Result<Option<Self>> {
        let file_system = rustix::fs::fstatfs(&fd)?;
        Ok((file_system.f_type == NSFS_MAGIC).then_some(Self(fd)))
    }

    /// The kind of namespace, a `CLONE_NEW…` flag.
    pub(crate) fn kind(&self) -> Result<u32> {
        self.number(NS_GET_NSTYPE).map(IoctlOutput::cast_unsigned)
    }

    /// The user namespace that owns this namespace; EPERM where that is out of the caller's scope.
    pub(crate) fn user_namespace(&self) -> Result<Self> {
        self.file(NS_GET_USERNS)
    }

    /// The parent of this user namespace; EPERM where that is out of the caller's scope.
    pub(crate) fn parent(&self) -> Result<Self> {
        self.file(NS_GET_PARENT)
    }

    /// The uid that made this user namespace, as the caller's user namespace sees it.
    pub(crate) fn owner_uid(&self) -> Result<u32> {
        // SAFETY: NS_GET_OWNER_UID writes one uid_t, a u32, to its argument, or fails with EINVAL on a
        // namespace of another kind.
        unsafe { ioctl(&self.0, Getter::<NS_GET_OWNER_UID, u32>::new()) }
    }

    fn number(&self, opcode: Opcode) -> Result<IoctlOutput> {
        // SAFETY: the file is on nsfs, where the three opcodes that Number is made with take no argument.
        unsafe { ioctl(&self.0, Number(opcode)) }
    }

    fn file(&self, opcode: Opcode) -> Result<Self> {
        let descriptor = self.number(opcode)?;
        // SAFETY: NS_GET_USERNS and NS_GET_PARENT return a new file descriptor that nothing else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }
}

impl AsFd for NamespaceFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An ioctl without an argument that answers with its return value.
struct Number(Opcode);

// SAFETY: the pointer is null and never read, and the output is the return value alone.
unsafe impl Ioctl for Number {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.0
    }

    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(
        output: IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> Result<Self::Output> {
        Ok(output)
    }
}
