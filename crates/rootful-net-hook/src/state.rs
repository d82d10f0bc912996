//! What the runtime says about a container on the hook's stdin.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::State as OciState;
use rootful_net_core::request::{ContainerId, RequestError};

use crate::deadline::Deadline;
use crate::input::{self, InputError};

/// A state has a few hundred bytes and the container's annotations.
const MAX_BYTES: usize = 1024 * 1024;

/// A container's state, as far as the hook uses it.
#[derive(Debug)]
pub struct State {
    /// The container.
    pub id: ContainerId,
    /// Its first process; none once it has stopped.
    pub pid: Option<u32>,
    /// The directory of its configuration.
    pub bundle: PathBuf,
    annotations: HashMap<String, String>,
}

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is nothing to read it from.
    #[error(transparent)]
    Input(#[from] InputError),
    /// It is something else.
    #[error("what is on stdin is not the state of a container")]
    Format(#[source] serde_json::Error),
    /// The container's id is none.
    #[error(transparent)]
    Id(#[from] RequestError),
}

impl State {
    /// Reads the state from stdin.
    pub(crate) fn read(deadline: Deadline) -> Result<Self, StateError> {
        Self::parse(&input::stdin("the container's state", MAX_BYTES, deadline)?)
    }

    /// Reads the state from its text.
    ///
    /// # Errors
    /// It is no JSON, or not that of a container's state.
    pub fn parse(json: &[u8]) -> Result<Self, StateError> {
        let state: OciState = serde_json::from_slice(json).map_err(StateError::Format)?;
        Ok(Self {
            id: state.id().parse()?,
            pid: state.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0),
            bundle: state.bundle().clone(),
            annotations: state.annotations().clone().unwrap_or_default(),
        })
    }

    /// Its annotations.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "28d26f56a01b99347aa859a4e1507805f78669756d3d8380c21b28e324e3b1aa";

    #[test]
    fn states_of_both_ends_of_a_life_are_read() {
        // As crun and podman say it.
        let cases = [
            (r#""pid":186,"root":"/r","status":"created","annotations":{"a":"b"}"#, Some(186), 1),
            (r#""status":"stopped""#, None, 0),
            (r#""status":"stopped","pid":0,"annotations":null"#, None, 0),
            (r#""status":"created","pid":-1"#, None, 0),
        ];
        for (fields, pid, annotations) in cases {
            let json = format!(r#"{{"ociVersion":"1.0","id":"{ID}","bundle":"/b",{fields}}}"#);
            let state = State::parse(json.as_bytes()).expect(fields);
            assert_eq!((state.id.as_str(), state.pid), (ID, pid), "{fields}");
            assert_eq!(state.annotations().count(), annotations);
        }
    }

    #[test]
    fn what_is_no_state_is_an_error() {
        for json in ["", "{", "[]", "{}", r#"{"id":"web"}"#, r#"{"id":7}"#, "\u{0}"] {
            assert!(State::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
