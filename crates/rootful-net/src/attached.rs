//! Finds an attachment among those that the service lists: by the container's name or by its id.

use rootful_net_core::name::{ContainerName, quoted};
use rootful_net_dbus::AttachmentProperties;
use zbus::OwnedObjectPath;

use crate::error::{Error, Exit};
use crate::service::Service;

/// An attachment and its object path.
pub(crate) type Attached = (OwnedObjectPath, AttachmentProperties);

/// As many digits of an id as podman prints. Fewer could be a container's name as well.
const MIN_ID_DIGITS: usize = 12;

/// Why no attachment, or no single one, was found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("container {container} is not attached; see 'rootful-net ps'")]
    NotAttached { container: String },
    #[error(
        "{count} attachments are meant by {container}; give the whole id, see 'rootful-net inspect'"
    )]
    Ambiguous { container: String, count: usize },
}

impl LookupError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NotAttached { .. } => Exit::NotFound,
            Self::Ambiguous { .. } => Exit::Conflict,
        }
    }
}

/// The uid that the service knows the caller by.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Leaves the attachments that are the caller's own; root has everyone's.
pub(crate) fn visible(mut attachments: Vec<Attached>, uid: u32) -> Vec<Attached> {
    attachments.retain(|(_, attachment)| uid == 0 || attachment.owner == uid);
    attachments
}

/// Asks the service for the attachment of a container that the caller can see.
pub(crate) async fn lookup(container: &ContainerName) -> Result<AttachmentProperties, Error> {
    let uid = own_uid();
    let attachments = Service::connect().await?.attachments().await?;
    let (_, attachment) = find(visible(attachments, uid), container, uid)?;
    Ok(attachment)
}

/// Finds the attachment of a container. An own one goes before another user's, a name before an id.
fn find(
    attachments: Vec<Attached>,
    container: &ContainerName,
    uid: u32,
) -> Result<Attached, LookupError> {
    let by_name = attachments.iter().filter(|(_, found)| found.name == container.as_str());
    let candidates: Vec<_> = match by_name.clone().find(|(_, found)| found.owner == uid) {
        Some(own) => vec![own.clone()],
        None => by_name.cloned().collect(),
    };
    let mut candidates = match candidates.is_empty() {
        true => with_id(attachments, container.as_str()),
        false => candidates,
    };
    match (candidates.pop(), candidates.len()) {
        (Some(found), 0) => Ok(found),
        (Some(_), others) => {
            Err(LookupError::Ambiguous { container: quoted(container.as_str()), count: others + 1 })
        }
        (None, _) => Err(LookupError::NotAttached { container: quoted(container.as_str()) }),
    }
}

/// The attachments of containers whose id starts with `digits`.
pub(crate) fn with_id(mut attachments: Vec<Attached>, digits: &str) -> Vec<Attached> {
    let is_id = is_id(digits);
    attachments.retain(|(_, found)| is_id && found.container_id.starts_with(digits));
    attachments
}

/// Whether a text is an id or enough of its beginning.
pub(crate) fn is_id(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() >= MIN_ID_DIGITS && text.bytes().all(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attached(owner: u32, name: &str, digit: char) -> Attached {
        let path = format!("/io/rootful_net1/attachment/_{owner}");
        let properties = AttachmentProperties {
            owner,
            name: name.to_owned(),
            container_id: digit.to_string().repeat(64),
            ..AttachmentProperties::default()
        };
        (OwnedObjectPath::try_from(path).expect("a path"), properties)
    }

    fn all() -> Vec<Attached> {
        vec![
            attached(1000, "web", 'a'),
            attached(1001, "web", 'b'),
            attached(1001, "aaaaaaaaaaaa", 'c'),
            attached(1002, "db", 'c'),
        ]
    }

    #[test]
    fn attachments_are_found_by_name_and_by_id() {
        let cases: &[(u32, &str, Result<u32, u8>)] = &[
            (1000, "web", Ok(1000)),
            (1000, "db", Err(4)),
            (1000, "aaaaaaaaaaaa", Ok(1000)),
            (1000, "aaaaaaaaaaa", Err(4)),
            (1000, "aaaaaaaaaaaab", Err(4)),
            (1000, "bbbbbbbbbbbb", Err(4)),
            (1001, "web", Ok(1001)),
            // The name goes before the id of another container.
            (1001, "aaaaaaaaaaaa", Ok(1001)),
            (0, "db", Ok(1002)),
            (0, "web", Err(5)),
            (0, "bbbbbbbbbbbb", Ok(1001)),
            (0, "cccccccccccc", Err(5)),
            (0, "none", Err(4)),
        ];
        for (uid, container, expected) in cases {
            let container = container.parse().expect("a name");
            let found = find(visible(all(), *uid), &container, *uid);
            let found = found.map(|(_, found)| found.owner).map_err(|error| error.exit().code());
            assert_eq!(found, *expected, "{uid} {container}");
        }
    }

    #[test]
    fn users_see_their_own_and_root_everything() {
        for (uid, count) in [(1000, 1), (1001, 2), (1003, 0), (0, 4)] {
            assert_eq!(visible(all(), uid).len(), count, "{uid}");
        }
    }
}
