//! The system's user database: names and groups of a uid. It may be a directory service far away, so what
//! asks it is bounded: one question a uid at a time, a few at once, and each only for so long.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use nix::unistd::{Gid, Group as DatabaseGroup, Uid, User, getgrouplist};
use rootful_net_core::policy::{Caller, Group};
use rootful_net_dbus::{Error, Result};
use tokio::sync::Semaphore;

/// How long whoever asks waits.
const DEADLINE: Duration = Duration::from_secs(5);
/// How many questions are asked at a time. One that is never answered keeps its thread.
const QUESTIONS: usize = 16;

type Answer = Shared<BoxFuture<'static, Option<Caller>>>;

static PENDING: LazyLock<Mutex<HashMap<u32, Answer>>> = LazyLock::new(Mutex::default);
static PERMITS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(QUESTIONS)));

/// The caller with this uid, with the groups that the user database says it has: those count that it would
/// get if it logged in now, wherever it calls from.
///
/// # Errors
/// [`Error::Unavailable`] where the database does not answer in time.
pub(crate) async fn caller(uid: u32) -> Result<Caller> {
    if uid == 0 {
        return Ok(Caller { uid, user_name: Some("root".to_owned()), groups: Vec::new() });
    }
    let answer = tokio::time::timeout(DEADLINE, answer(uid)).await.ok().flatten();
    answer.ok_or_else(|| {
        Error::Unavailable(format!("the user database does not answer for uid {uid}"))
    })
}

/// Whether a user has this uid; not, where the database does not say so in time.
pub(crate) async fn is_named(uid: u32) -> bool {
    caller(uid).await.is_ok_and(|caller| caller.user_name.is_some())
}

/// The caller with this user name.
///
/// # Errors
/// [`Error::NotFound`] where there is none, [`Error::Unavailable`] where the database does not answer.
pub(crate) async fn caller_named(name: &str) -> Result<Caller> {
    let owned = name.to_owned();
    let looked_up = tokio::task::spawn_blocking(move || User::from_name(&owned));
    let user = match tokio::time::timeout(DEADLINE, looked_up).await {
        Ok(Ok(Ok(user))) => user,
        Ok(_) | Err(_) => {
            return Err(Error::Unavailable("the user database does not answer".to_owned()));
        }
    };
    let name = rootful_net_core::name::quoted(name);
    let user = user.ok_or_else(|| Error::NotFound(format!("there is no user {name}")))?;
    caller(user.uid.as_raw()).await
}

fn answer(uid: u32) -> Answer {
    let mut pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(answer) = pending.get(&uid) {
        return answer.clone();
    }
    let task = tokio::spawn(async move {
        let permit = PERMITS.clone().acquire_owned().await.ok()?;
        let looked_up = tokio::task::spawn_blocking(move || {
            let looked_up = look_up(uid);
            drop(permit);
            looked_up
        });
        let looked_up = looked_up.await;
        PENDING.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        match looked_up {
            Ok(Ok(caller)) => Some(caller),
            Ok(Err(error)) => {
                tracing::error!(uid, %error, "the user database fails");
                None
            }
            Err(_) => None,
        }
    });
    let answer = task.map(|outcome| outcome.ok().flatten()).boxed().shared();
    pending.insert(uid, answer.clone());
    answer
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
