//! The exit codes for namespaces that cannot be opened.

pub(crate) use rootful_net_client::namespace::{NamespaceError, at_path, of_process};

use crate::error::Exit;

/// The exit code for it.
pub(crate) fn exit(error: &NamespaceError) -> Exit {
    match error {
        NamespaceError::NoProcess { .. } => Exit::NotInitialized,
        NamespaceError::OtherUser { .. } | NamespaceError::Permission { .. } => Exit::Denied,
        NamespaceError::NoFile { .. } => Exit::NotFound,
        NamespaceError::Open { .. } => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_cannot_be_opened_has_its_exit_code() {
        // Above the kernel's limit for process ids, PID_MAX_LIMIT in proc_pid_max(5).
        let error = of_process(u32::MAX).expect_err("no such process");
        assert_eq!(exit(&error).code(), 7);
        let cases = [("/nonexistent/namespace", 4), ("/proc/self/ns/net/x", 1)];
        for (path, code) in cases {
            let error = at_path(Path::new(path)).expect_err("no namespace");
            assert_eq!(exit(&error).code(), code, "{path}");
        }
    }
}
