//! Who owns a network namespace, and who may attach it. It owns the decision; finding out what the kernel
//! says of a namespace is the kernel crate's business.

/// What the kernel says of the owner of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It is the host's own network.
    Host,
    /// Its owner is the initial user namespace: root made it, for itself or for a container of its own.
    InitialUserNamespace,
    /// It belongs to a user namespace that this uid made, or to one nested in it.
    User(u32),
}

/// The uid that owns a namespace which may be attached; made by [`may_attach`] alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(u32);

impl Owner {
    /// The uid; 0 for a namespace of the initial user namespace.
    pub fn uid(self) -> u32 {
        self.0
    }
}

/// Says why a namespace is not attached for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceRefused {
    /// The namespace is the host's.
    #[error(
        "the network namespace is the host's own (accepted: the network namespace of a container; \
         create the container with --network=none)"
    )]
    Host,
    /// The namespace is root's, and the caller is not root.
    #[error(
        "the network namespace belongs to root (accepted: those of containers that you run yourself; \
         root can attach this one)"
    )]
    Root,
    /// The namespace is another user's.
    #[error(
        "the network namespace belongs to the user with uid {owner} (accepted: those of containers that you \
         run yourself, as uid {caller}; that user or root can attach this one)"
    )]
    OtherUser {
        /// The uid that owns it.
        owner: u32,
        /// The uid that asked.
        caller: u32,
    },
}

/// Decides whether `caller` may attach a namespace of this ownership: root any but the host's, everybody
/// else their own.
///
/// # Errors
/// Says whose namespace it is where the caller may not.
pub fn may_attach(caller: u32, ownership: Ownership) -> Result<Owner, NamespaceRefused> {
    match ownership {
        Ownership::Host => Err(NamespaceRefused::Host),
        Ownership::InitialUserNamespace if caller == 0 => Ok(Owner(0)),
        Ownership::InitialUserNamespace => Err(NamespaceRefused::Root),
        Ownership::User(owner) if caller == 0 || caller == owner => Ok(Owner(owner)),
        Ownership::User(owner) => Err(NamespaceRefused::OtherUser { owner, caller }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_attaches_any_namespace_but_the_hosts_and_others_their_own() {
        use NamespaceRefused as Refused;
        let cases = [
            (0, Ownership::Host, Err(Refused::Host)),
            (1000, Ownership::Host, Err(Refused::Host)),
            (0, Ownership::InitialUserNamespace, Ok(0)),
            (1000, Ownership::InitialUserNamespace, Err(Refused::Root)),
            (0, Ownership::User(1000), Ok(1000)),
            (1000, Ownership::User(1000), Ok(1000)),
            (1000, Ownership::User(0), Err(Refused::OtherUser { owner: 0, caller: 1000 })),
            (1000, Ownership::User(1001), Err(Refused::OtherUser { owner: 1001, caller: 1000 })),
        ];
        for (caller, ownership, expected) in cases {
            assert_eq!(
                may_attach(caller, ownership).map(Owner::uid),
                expected,
                "{caller} {ownership:?}"
            );
        }
    }

    #[test]
    fn a_refusal_says_whose_namespace_it_is() {
        let refused = may_attach(1000, Ownership::User(1001)).expect_err("refused").to_string();
        assert!(refused.contains("uid 1001") && refused.contains("uid 1000"), "{refused}");
    }
}
