//! What `CheckPolicy` and `ShowPolicy` are asked and answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zbus::{OwnedVariant, Type, Variant};

use crate::error::{Error, Result};
use crate::options::{Dictionary, Options};

/// What the policy says of one thing that a request needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct FindingProperties {
    /// What is needed, in words.
    pub subject: String,
    /// `granted`, `polkit` where that is asked, or `denied`.
    pub outcome: String,
    /// The file and number of the grant that decides; empty where there is none.
    pub grant: String,
    /// Why, in words; may be empty.
    pub reason: String,
}

/// One grant that is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct GrantProperties {
    /// The file and the number in it.
    pub source: String,
    /// Names and uids.
    pub users: Vec<String>,
    /// Names and gids.
    pub groups: Vec<String>,
    /// Names and patterns.
    pub networks: Vec<String>,
    /// Addresses and prefixes; `*` for all.
    pub host_addresses: Vec<String>,
    /// Ports and ranges, with the protocol.
    pub ports: Vec<String>,
    /// Whether addresses and MAC addresses may be chosen.
    pub static_addresses: bool,
    /// Whether containers may have further names.
    pub aliases: bool,
    /// Whether polkit is asked.
    pub polkit: bool,
    /// How much a user may have; what is missing has no limit.
    pub quota: BTreeMap<String, u32>,
}

/// The user that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyUser {
    /// By uid.
    Uid(u32),
    /// By name.
    Name(String),
}

impl PolicyUser {
    /// A user as a person writes it: digits are a uid.
    pub fn from_text(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Uid)
    }
}

/// The options of `CheckPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Of whom; the caller without it. Only root may ask about another.
    pub user: Option<PolicyUser>,
    /// Names on every network besides the container's own.
    pub aliases: Vec<String>,
}

/// The options of `ShowPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusOptions {
    /// Of whom; the caller without it. Only root may ask about another.
    pub user: Option<PolicyUser>,
}

impl CheckOptions {
    /// The dictionary that says the same.
    pub fn to_dictionary(&self) -> Dictionary {
        let mut dictionary = user_entry(self.user.as_ref());
        if !self.aliases.is_empty() {
            let aliases = owned(Variant::from(self.aliases.clone()));
            dictionary.insert("aliases".to_owned(), aliases);
        }
        dictionary
    }

    /// Reads the dictionary.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an unknown option or one of the wrong type.
    pub fn from_wire(options: Dictionary) -> Result<Self> {
        let mut options = Options::new(options);
        let user = take_user(&mut options)?;
        let aliases = options.take("aliases", "as")?.unwrap_or_default();
        options.finish()?;
        Ok(Self { user, aliases })
    }
}

impl StatusOptions {
    /// The dictionary that says the same.
    pub fn to_dictionary(&self) -> Dictionary {
        user_entry(self.user.as_ref())
    }

    /// Reads the dictionary.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an unknown option or one of the wrong type.
    pub fn from_wire(options: Dictionary) -> Result<Self> {
        let mut options = Options::new(options);
        let user = take_user(&mut options)?;
        options.finish()?;
        Ok(Self { user })
    }
}

fn user_entry(user: Option<&PolicyUser>) -> Dictionary {
    let entry = user.map(|user| match user {
        PolicyUser::Uid(uid) => ("uid".to_owned(), OwnedVariant::from(*uid)),
        PolicyUser::Name(name) => ("user".to_owned(), owned(Variant::from(name.as_str()))),
    });
    entry.into_iter().collect()
}

fn owned(value: Variant<'_>) -> OwnedVariant {
    OwnedVariant::try_from(value).expect("no file descriptor is copied")
}

fn take_user(options: &mut Options) -> Result<Option<PolicyUser>> {
    let uid: Option<u32> = options.take("uid", "u")?;
    let name: Option<String> = options.take("user", "s")?;
    match (uid, name) {
        (Some(_), Some(_)) => Err(Error::InvalidArgument(
            "options \"uid\" and \"user\" exclude each other".to_owned(),
        )),
        (Some(uid), None) => Ok(Some(PolicyUser::Uid(uid))),
        (None, name) => Ok(name.map(PolicyUser::Name)),
    }
}
