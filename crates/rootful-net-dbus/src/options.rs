//! Dictionaries of options (`a{sv}`): each key is taken once with its type, and what is left is refused by
//! name.

use std::collections::HashMap;

use zbus::OwnedVariant;

use rootful_net_core::name::quoted;

use crate::error::{Error, Result};

/// A dictionary as it travels.
pub type Dictionary = HashMap<String, OwnedVariant>;

/// Takes one property out of the service's answer.
pub(crate) fn property<T>(properties: &mut Dictionary, name: &'static str) -> Result<T>
where
    T: TryFrom<OwnedVariant>,
{
    let value = properties.remove(name).and_then(|value| T::try_from(value).ok());
    value.ok_or_else(|| {
        Error::Internal(format!("the service's property \"{name}\" is not what it should be"))
    })
}

/// Reads a dictionary of options.
#[derive(Debug)]
pub struct Options {
    dictionary: Dictionary,
    accepted: Vec<&'static str>,
}

impl Options {
    /// Starts to read `dictionary`.
    pub fn new(dictionary: Dictionary) -> Self {
        Self { dictionary, accepted: Vec::new() }
    }

    /// Takes the option `key`, if it was given.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where its value has another type than `signature` says.
    pub fn take<T>(&mut self, key: &'static str, signature: &str) -> Result<Option<T>>
    where
        T: TryFrom<OwnedVariant>,
    {
        self.accepted.push(key);
        let Some(value) = self.dictionary.remove(key) else { return Ok(None) };
        T::try_from(value).map(Some).map_err(|_| {
            Error::InvalidArgument(format!("option \"{key}\" must have the type \"{signature}\""))
        })
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where there is an option that nobody took.
    pub fn finish(self) -> Result<()> {
        let Some(key) = self.dictionary.keys().min() else { return Ok(()) };
        let accepted = match self.accepted.as_slice() {
            [] => "none".to_owned(),
            accepted => accepted.join(", "),
        };
        Err(Error::InvalidArgument(format!(
            "option {} is not supported; accepted are: {accepted}",
            quoted(key)
        )))
    }
}
