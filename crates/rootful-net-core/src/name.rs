//! Owns the names that strangers choose: of networks, containers, interfaces and DNS aliases. A value of
//! these types is valid; what is not is refused here, and echoed only escaped and shortened.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much of a hostile input an error message repeats, in characters.
const QUOTED_CHARS: usize = 64;

/// Text from outside made safe for a message: in double quotes, with quotes, backslashes and everything
/// unprintable escaped, and cut off with "…" after 64 characters.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", cut(text, QUOTED_CHARS, &['\'']))
}

/// Text from outside made safe for a log: everything escaped that could end a line or steer a terminal, and cut off
/// with "…" after so many characters. Quotes stay as they are.
#[must_use]
pub fn escaped(text: &str, max_chars: usize) -> String {
    cut(text, max_chars, &['"', '\''])
}

/// Escapes everything but the `plain` characters as Rust does, and cuts off behind so many characters.
fn cut(text: &str, max_chars: usize, plain: &[char]) -> String {
    let mut out = String::new();
    let mut room = max_chars;
    for character in text.chars() {
        let escaped = match character {
            plain_one if plain.contains(&plain_one) => character.to_string(),
            other => other.escape_debug().to_string(),
        };
        match room.checked_sub(escaped.chars().count()) {
            Some(left) => room = left,
            None => {
                out.push('…');
                break;
            }
        }
        out.push_str(&escaped);
    }
    out
}

/// Which kind of name was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// The name of a network.
    Network,
    /// The name of a container.
    Container,
    /// The name of a network interface.
    Interface,
    /// A name that the network's DNS answers to.
    Alias,
}

impl NameKind {
    fn max_bytes(self) -> usize {
        match self {
            Self::Network => 63,
            Self::Container => 128,
            // IFNAMSIZ less the terminating NUL, netdevice(7).
            Self::Interface => 15,
            Self::Alias => 253,
        }
    }

    fn accepted(self) -> &'static str {
        match self {
            Self::Network => {
                "1 to 63 letters, digits, '_', '.' and '-', of which the first is a letter or a digit"
            }
            Self::Container => {
                "1 to 128 letters, digits, '_', '.' and '-', of which the first is a letter or a digit"
            }
            Self::Interface => {
                "1 to 15 letters, digits, '_', '.' and '-', not starting with '-'; \
                 not \".\", \"..\", \"lo\", \"all\" or \"default\""
            }
            Self::Alias => {
                "labels of 1 to 63 letters, digits, '_' and '-', with dots between them, \
                 253 characters in all"
            }
        }
    }

    /// The normal form of `text` where it is a name of this kind.
    fn normalize(self, text: String) -> Result<String, NameError> {
        let problem = if text.is_empty() {
            Err(NameProblem::Empty)
        } else if text.len() > self.max_bytes() {
            Err(NameProblem::TooLong)
        } else {
            match self {
                Self::Network | Self::Container => check_podman(&text),
                Self::Interface => check_interface(&text),
                Self::Alias => check_alias(&text),
            }
        };
        match (problem, self) {
            (Err(problem), kind) => Err(NameError { kind, name: quoted(&text), problem }),
            (Ok(()), Self::Alias) => Ok(text.to_ascii_lowercase()),
            (Ok(()), Self::Network | Self::Container | Self::Interface) => Ok(text),
        }
    }
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "network name",
            Self::Container => "container name",
            Self::Interface => "interface name",
            Self::Alias => "alias",
        })
    }
}

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameProblem {
    /// There is nothing in it.
    Empty,
    /// It has more bytes than this kind of name may have.
    TooLong,
    /// This character may not be its first.
    Start(char),
    /// This character may not be in it.
    Character(char),
    /// A label between two dots is empty.
    EmptyLabel,
    /// A label has more than 63 characters.
    LongLabel,
    /// The kernel gives it a meaning of its own.
    Reserved,
}

impl fmt::Display for NameProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let character = |c: &char| quoted(c.encode_utf8(&mut [0; 4]));
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong => f.write_str("is too long"),
            Self::Start(first) => write!(f, "starts with {}", character(first)),
            Self::Character(inside) => write!(f, "contains {}", character(inside)),
            Self::EmptyLabel => f.write_str("has an empty label"),
            Self::LongLabel => f.write_str("has a label of more than 63 characters"),
            Self::Reserved => f.write_str("is reserved"),
        }
    }
}

/// A text is not the name it was meant to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name} {problem} (accepted: {})", kind.accepted())]
pub struct NameError {
    kind: NameKind,
    name: String,
    problem: NameProblem,
}

impl NameError {
    /// The kind of name that was asked for.
    #[must_use]
    pub fn kind(&self) -> NameKind {
        self.kind
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> NameProblem {
        self.problem
    }
}

fn check_characters(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), NameProblem> {
    match text.chars().find(|c| !allowed(*c)) {
        Some(character) => Err(NameProblem::Character(character)),
        None => Ok(()),
    }
}

fn in_podman_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-')
}

fn check_podman(text: &str) -> Result<(), NameProblem> {
    check_characters(text, in_podman_name)?;
    match text.chars().next() {
        Some(first) if !first.is_ascii_alphanumeric() => Err(NameProblem::Start(first)),
        Some(_) | None => Ok(()),
    }
}

/// Stricter than the kernel's `dev_valid_name` (net/core/dev.c), which also lets through quotes, control
/// characters and the names of directories under /proc/sys/net.
fn check_interface(text: &str) -> Result<(), NameProblem> {
    check_characters(text, in_podman_name)?;
    if text.starts_with('-') {
        return Err(NameProblem::Start('-'));
    }
    match text {
        "." | ".." | "lo" | "all" | "default" => Err(NameProblem::Reserved),
        _ => Ok(()),
    }
}

fn check_alias(text: &str) -> Result<(), NameProblem> {
    check_characters(text, in_podman_name)?;
    for label in text.split('.') {
        if label.is_empty() {
            return Err(NameProblem::EmptyLabel);
        }
        if label.len() > 63 {
            return Err(NameProblem::LongLabel);
        }
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                $kind.normalize(text).map(Self)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type! {
    /// The name of a network, in podman's grammar.
    NetworkName, NameKind::Network
}
name_type! {
    /// The name of a container, in podman's grammar.
    ContainerName, NameKind::Container
}
name_type! {
    /// The name of a network interface: one that every tool and every sysctl path can hold.
    InterfaceName, NameKind::Interface
}
name_type! {
    /// A DNS name of a container, in lower case.
    Alias, NameKind::Alias
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses as each of the four kinds, in the order of [`NameKind`].
    fn accepted(text: &str) -> [bool; 4] {
        [
            NetworkName::from_str(text).is_ok(),
            ContainerName::from_str(text).is_ok(),
            InterfaceName::from_str(text).is_ok(),
            Alias::from_str(text).is_ok(),
        ]
    }

    #[test]
    fn each_kind_accepts_its_own_grammar() {
        let cases: &[(&str, [bool; 4])] = &[
            ("web", [true, true, true, true]),
            ("Web_1.x-y", [true, true, true, true]),
            ("0", [true, true, true, true]),
            ("web-", [true, true, true, true]),
            ("", [false, false, false, false]),
            ("-web", [false, false, false, true]),
            ("_web", [false, false, true, true]),
            (".web", [false, false, true, false]),
            ("web.", [true, true, true, false]),
            ("a..b", [true, true, true, false]),
            (".", [false, false, false, false]),
            ("..", [false, false, false, false]),
            ("lo", [true, true, false, true]),
            ("all", [true, true, false, true]),
            ("default", [true, true, false, true]),
            ("with space", [false, false, false, false]),
            ("a/b", [false, false, false, false]),
            ("a:b", [false, false, false, false]),
            ("a\0b", [false, false, false, false]),
            ("a\n", [false, false, false, false]),
            ("straße", [false, false, false, false]),
            ("１", [false, false, false, false]),
            ("*", [false, false, false, false]),
        ];
        for (text, expected) in cases {
            assert_eq!(accepted(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn lengths_are_exact() {
        let cases: &[(usize, [bool; 4])] = &[
            (15, [true, true, true, true]),
            (16, [true, true, false, true]),
            (63, [true, true, false, true]),
            (64, [false, true, false, false]),
            (128, [false, true, false, false]),
            (129, [false, false, false, false]),
        ];
        for (length, expected) in cases {
            assert_eq!(accepted(&"a".repeat(*length)), *expected, "{length}");
        }
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), 253);
        assert!(longest.parse::<Alias>().is_ok());
        assert!(format!("{longest}a").parse::<Alias>().is_err());
    }

    #[test]
    fn an_alias_is_lower_case_and_other_names_keep_theirs() {
        assert_eq!("WWW.Example".parse::<Alias>().expect("valid").as_str(), "www.example");
        assert_eq!("Web".parse::<ContainerName>().expect("valid").to_string(), "Web");
    }

    #[test]
    fn serde_reads_and_writes_a_validated_string() {
        let name: NetworkName = serde_json::from_str("\"rootful0\"").expect("valid");
        assert_eq!(serde_json::to_string(&name).expect("serializes"), "\"rootful0\"");
        let error = serde_json::from_str::<NetworkName>("\"a b\"").expect_err("invalid");
        assert!(error.to_string().contains("network name \"a b\" contains \" \""), "{error}");
        assert!(serde_json::from_str::<Alias>("7").is_err());
    }

    #[test]
    fn errors_say_what_is_wrong_and_what_is_accepted() {
        let cases = [
            (
                NetworkName::from_str("").map(String::from),
                "network name \"\" is empty (accepted: 1 to 63 ",
            ),
            (
                ContainerName::from_str("_a").map(String::from),
                "container name \"_a\" starts with \"_\" (",
            ),
            (
                InterfaceName::from_str("lo").map(String::from),
                "interface name \"lo\" is reserved (accepted: 1 to 15 ",
            ),
            (
                InterfaceName::from_str("e\u{1b}[31m").map(String::from),
                "interface name \"e\\u{1b}[31m\" contains \"\\u{1b}\" (",
            ),
            (
                Alias::from_str("a..b").map(String::from),
                "alias \"a..b\" has an empty label (accepted: labels ",
            ),
        ];
        for (result, start) in cases {
            let message = result.expect_err("invalid").to_string();
            assert!(message.starts_with(start), "{message}");
        }
        let long = NetworkName::from_str(&"x".repeat(100_000)).expect_err("too long").to_string();
        assert!(long.contains("…\" is too long") && long.len() < 250, "{long}");
    }

    #[test]
    fn quoted_text_is_harmless_and_short() {
        let cases = [
            ("plain", "\"plain\""),
            ("it's", "\"it's\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("\u{7}\n\u{9b}\u{202e}\u{2028}", "\"\\u{7}\\n\\u{9b}\\u{202e}\\u{2028}\""),
            ("größe", "\"größe\""),
        ];
        for (text, expected) in cases {
            assert_eq!(quoted(text), expected);
        }
        assert_eq!(quoted(&"é".repeat(64)), format!("\"{}\"", "é".repeat(64)));
        assert_eq!(quoted(&"é".repeat(65)), format!("\"{}…\"", "é".repeat(64)));
        // An escape is never cut in two, and never makes the result longer.
        assert_eq!(quoted(&"\u{1b}".repeat(100)), format!("\"{}…\"", "\\u{1b}".repeat(10)));
    }
}
