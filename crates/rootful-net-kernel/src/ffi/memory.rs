//! Memory that the process has from the system and does not use.

/// Gives it back, as far as whole pages of it are unused, malloc_trim(3). The allocator does so by itself only with what
/// is at the end of a heap, and what is kept for long lies between what is not.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator locks what it looks at, and no memory that is in use is touched.
    unsafe {
        libc::malloc_trim(0);
    }
}
