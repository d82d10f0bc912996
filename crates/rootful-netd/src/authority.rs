//! Who is asking: the uid that the bus vouches for, and what the system's user database says of it.

use std::ffi::CString;

use nix::unistd::{Gid, Group as DatabaseGroup, Uid, User, getgrouplist};
use rootful_net_core::policy::{Caller, Group};
use rootful_net_dbus::{Error, Result};
use zbus::Connection;
use zbus::message::Header;

/// The uid of a message's sender, as the bus says.
///
/// # Errors
/// [`Error::NotAuthorized`] where the bus does not say it: no sender, no rights.
pub(crate) async fn sender_uid(connection: &Connection, header: &Header<'_>) -> Result<u32> {
    let unknown = |reason: &str| {
        Error::NotAuthorized(format!("the bus does not say who is calling: {reason}"))
    };
    let sender = header.sender().ok_or_else(|| unknown("the message has no sender"))?.to_owned();
    let bus = zbus::fdo::DBusProxy::new(connection).await?;
    let credentials = bus
        .get_connection_credentials(sender.into())
        .await
        .map_err(|error| unknown(&error.to_string()))?;
    credentials.unix_user_id().ok_or_else(|| unknown("no uid among its credentials"))
}

/// The caller with this uid, with the groups that the user database says it has: those count that it would
/// get if it logged in now, wherever it calls from.
///
/// # Errors
/// [`Error::Unavailable`] where the database does not answer.
pub(crate) async fn caller(uid: u32) -> Result<Caller> {
    let looked_up = tokio::task::spawn_blocking(move || look_up(uid)).await;
    let looked_up = looked_up.map_err(|error| Error::Internal(error.to_string()))?;
    looked_up.map_err(|error| {
        Error::Unavailable(format!("the user database does not answer for uid {uid}: {error}"))
    })
}

fn look_up(uid: u32) -> nix::Result<Caller> {
    let Some(user) = User::from_uid(Uid::from_raw(uid))? else {
        return Ok(Caller { uid, user_name: None, groups: Vec::new() });
    };
    let name = CString::new(user.name.as_str()).map_err(|_| nix::Error::EINVAL)?;
    let gids = getgrouplist(&name, user.gid)?;
    let groups = gids.into_iter().map(group).collect::<nix::Result<_>>()?;
    Ok(Caller { uid, user_name: Some(user.name), groups })
}

fn group(gid: Gid) -> nix::Result<Group> {
    let name = DatabaseGroup::from_gid(gid)?.map(|group| group.name);
    Ok(Group { gid: gid.as_raw(), name })
}
