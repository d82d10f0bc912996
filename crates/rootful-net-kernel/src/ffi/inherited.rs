//! Descriptors that the service manager kept for the process across its restart.

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::Once;

/// Takes over the descriptors that systemd hands to the process, each with the name it was kept under
/// (sd_listen_fds_with_names(3)); none when called again.
pub(crate) fn take() -> Vec<(String, OwnedFd)> {
    static TAKEN: Once = Once::new();
    let mut taken = Vec::new();
    TAKEN.call_once(|| {
        let Ok(descriptors) = sd_notify::listen_fds_with_names() else { return };
        let own = descriptors.map(|(fd, name)| {
            // SAFETY: LISTEN_PID says that they are for this process, nothing else here looks for them, and this
            // runs once.
            (name, unsafe { OwnedFd::from_raw_fd(fd) })
        });
        taken.extend(own);
    });
    taken
}
