//! Makes a call again where the service went away before it answered: it was killed, or replaced by a newer
//! version. An answer, whatever it says, ends it.

use std::time::Duration;

use rootful_net_dbus::Error as WireError;
use zbus::fdo;

/// How long it is waited before a call is made again: longer each time, and in all longer than the service takes
/// to start.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
    Duration::from_millis(3200),
];

/// What a failure says about the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// It took the call and went away.
    Lost,
    /// It is not there, and nobody starts it.
    Absent,
    /// It, or the bus, has answered.
    Answer,
}

/// Makes a call that does no harm when it is made twice, until there is an answer.
///
/// A service that is not there from the beginning is an answer: a bus that can start it would have. After a call
/// was lost it is on its way back.
///
/// # Errors
/// The last failure, where the service does not come back within the pauses.
pub(crate) async fn until_answered<T>(
    call: impl AsyncFn() -> Result<T, WireError>,
) -> Result<T, WireError> {
    until_answered_with(PAUSES, call).await
}

async fn until_answered_with<T, const N: usize>(
    pauses: [Duration; N],
    call: impl AsyncFn() -> Result<T, WireError>,
) -> Result<T, WireError> {
    let mut pauses = pauses.into_iter();
    let mut was_lost = false;
    loop {
        let error = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match failure(&error) {
            Failure::Lost => was_lost = true,
            Failure::Absent if was_lost => {}
            Failure::Absent | Failure::Answer => return Err(error),
        }
        match pauses.next() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(error),
        }
    }
}

fn failure(error: &WireError) -> Failure {
    match error {
        error if error.is_restart() => Failure::Lost,
        WireError::ZBus(zbus::Error::FDO(error)) => match **error {
            fdo::Error::NoReply(_) | fdo::Error::Disconnected(_) => Failure::Lost,
            fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => Failure::Absent,
            _ => Failure::Answer,
        },
        _ => Failure::Answer,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::io;

    use super::*;

    fn text() -> String {
        "web".to_owned()
    }

    fn lost() -> WireError {
        zbus::Error::from(fdo::Error::NoReply(text())).into()
    }

    fn absent() -> WireError {
        zbus::Error::from(fdo::Error::ServiceUnknown(text())).into()
    }

    /// How often the call is made that fails like this and then succeeds, and whether it succeeds in the end.
    fn outcome(failures: Vec<WireError>) -> (usize, bool) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let calls = Cell::new(0);
        let failures = RefCell::new(failures.into_iter());
        let call = async || {
            calls.set(calls.get() + 1);
            failures.borrow_mut().next().map_or(Ok(()), Err)
        };
        let succeeded = runtime.block_on(until_answered_with([Duration::ZERO; 4], call)).is_ok();
        (calls.get(), succeeded)
    }

    #[test]
    fn a_lost_call_is_made_again_until_the_service_is_back() {
        assert_eq!(outcome(vec![]), (1, true));
        assert_eq!(outcome(vec![lost()]), (2, true));
        assert_eq!(outcome(vec![WireError::stopping(), absent(), absent()]), (4, true));
        assert_eq!(outcome(vec![lost(), WireError::starting()]), (3, true));
        // Once, and after each of the pauses.
        assert_eq!(outcome((0..9).map(|_| lost()).collect()), (5, false));
    }

    #[test]
    fn an_answer_ends_it() {
        let answers = [
            WireError::InvalidArgument(text()),
            WireError::NotAuthorized(text()),
            WireError::NotFound(text()),
            WireError::Conflict(text()),
            WireError::QuotaExceeded(text()),
            WireError::AddressExhausted(text()),
            WireError::NamespaceRefused(text()),
            WireError::NotInitialized(text()),
            WireError::Unavailable(text()),
            WireError::Internal(text()),
            zbus::Error::from(fdo::Error::AccessDenied(text())).into(),
            zbus::Error::from(fdo::Error::TimedOut(text())).into(),
            zbus::Error::from(io::Error::from(io::ErrorKind::TimedOut)).into(),
        ];
        for answer in answers {
            let shown = format!("{answer:?}");
            assert_eq!(outcome(vec![answer]), (1, false), "{shown}");
        }
        assert_eq!(outcome(vec![absent()]), (1, false));
        assert_eq!(outcome(vec![lost(), WireError::Conflict(text())]), (2, false));
    }
}
