//! Namespaces that the service manager keeps while their links are being replaced, so that whoever is started after a
//! crash can give a container back what it had. Nothing is kept longer: a descriptor holds a namespace that nobody
//! needs any more.

use std::os::fd::BorrowedFd;

use rootful_net_core::attachment::AttachmentId;
use rootful_net_kernel::Namespace;
use sd_notify::NotifyState;

/// A namespace that is kept for as long as this is.
#[derive(Debug)]
pub(crate) struct Held {
    name: String,
}

impl Held {
    /// Has the service manager keep the namespace; without one there is nobody to keep it.
    pub(crate) fn new(id: &AttachmentId, namespace: &Namespace) -> Self {
        let held = Self { name: id.to_string() };
        let state = [NotifyState::FdStore, NotifyState::FdName(&held.name)];
        let descriptors: [BorrowedFd<'_>; 1] = [namespace.fd()];
        if let Err(error) = sd_notify::notify_with_fds(&state, &descriptors) {
            tracing::debug!(%error, "the namespace is not kept");
        }
        held
    }

    /// Whether it was kept for this attachment.
    pub(crate) fn is_for(&self, id: &AttachmentId) -> bool {
        self.name == id.as_str()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(&self.name)]);
    }
}

/// What was kept for this process, each with what keeps it.
pub(crate) fn take() -> Vec<(Held, Namespace)> {
    let inherited = rootful_net_kernel::inherited_descriptors().into_iter();
    let kept = inherited.filter_map(|(name, descriptor)| {
        // Dropped where it is nothing that can be used.
        let held = Held { name };
        match Namespace::verify(descriptor) {
            Ok(namespace) => Some((held, namespace)),
            Err(error) => {
                tracing::warn!(name = held.name, %error, "what was kept is not a namespace");
                None
            }
        }
    });
    kept.collect()
}
