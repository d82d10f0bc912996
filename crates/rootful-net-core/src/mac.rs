//! Owns the Ethernet address of an interface: always a unicast address, never all zeros.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::quoted;

/// A unicast Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

/// A text or six octets are no address for an interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// The text has another form.
    #[error(
        "MAC address {found} is malformed (accepted: six pairs of hexadecimal digits, \
         as in \"02:00:5e:10:00:01\" or \"02-00-5e-10-00-01\")"
    )]
    Malformed {
        /// The text, quoted.
        found: String,
    },
    /// The address names a group of stations.
    #[error("MAC address \"{found}\" is a multicast address (accepted: an even first octet)")]
    Multicast {
        /// The address in its canonical form.
        found: String,
    },
    /// The address is all zeros.
    #[error(
        "MAC address \"00:00:00:00:00:00\" is no station's address (accepted: any other unicast address)"
    )]
    Zero,
}

impl MacAddress {
    /// The six octets in the order of transmission.
    #[must_use]
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl TryFrom<[u8; 6]> for MacAddress {
    type Error = MacError;

    fn try_from(octets: [u8; 6]) -> Result<Self, MacError> {
        if octets == [0; 6] {
            return Err(MacError::Zero);
        }
        if octets[0] & 1 == 1 {
            return Err(MacError::Multicast { found: Self(octets).to_string() });
        }
        Ok(Self(octets))
    }
}

impl FromStr for MacAddress {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let octets =
            parse_octets(text).ok_or_else(|| MacError::Malformed { found: quoted(text) })?;
        Self::try_from(octets)
    }
}

fn parse_octets(text: &str) -> Option<[u8; 6]> {
    let separator = match text.as_bytes().get(2)? {
        b':' => ':',
        b'-' => '-',
        _ => return None,
    };
    let mut octets = [0; 6];
    let mut pairs = text.split(separator);
    for octet in &mut octets {
        let pair = pairs.next()?;
        // from_str_radix alone would take "+f".
        if pair.len() != 2 || !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *octet = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(octets)
}

impl TryFrom<String> for MacAddress {
    type Error = MacError;

    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_common_forms_are_read_and_one_is_written() {
        for text in ["02:00:5e:10:ab:cd", "02-00-5E-10-AB-CD", "02:00:5E:10:aB:Cd"] {
            let address: MacAddress = text.parse().expect("valid");
            assert_eq!(address.octets(), [2, 0, 0x5e, 0x10, 0xab, 0xcd]);
            assert_eq!(address.to_string(), "02:00:5e:10:ab:cd");
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        let cases = [
            "",
            "02",
            "02:",
            "02:00:5e:10:ab",
            "02:00:5e:10:ab:cd:ef",
            "02:00:5e:10:ab:cd:",
            "02:00:5e-10-ab-cd",
            "02005e10abcd",
            "2:0:5e:10:ab:cd",
            "02:00:5e:10:ab:+d",
            " 02:00:5e:10:ab:cd",
            "02:00:5e:10:ab:cg",
            "02.00.5e.10.ab.cd",
            "é2:00:5e:10:ab:cd",
        ];
        for text in cases {
            let error = text.parse::<MacAddress>().expect_err(text);
            assert!(matches!(error, MacError::Malformed { .. }), "{text}");
        }
    }

    #[test]
    fn addresses_that_no_interface_can_have_are_refused() {
        assert_eq!("00:00:00:00:00:00".parse::<MacAddress>(), Err(MacError::Zero));
        for text in ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01"] {
            let error = text.parse::<MacAddress>().expect_err(text);
            assert_eq!(
                error.to_string(),
                format!(
                    "MAC address \"{text}\" is a multicast address (accepted: an even first octet)"
                )
            );
        }
    }

    #[test]
    fn serde_reads_and_writes_a_validated_string() {
        let address: MacAddress = serde_json::from_str("\"02-00-00-00-00-01\"").expect("valid");
        assert_eq!(serde_json::to_string(&address).expect("serializes"), "\"02:00:00:00:00:01\"");
        assert!(serde_json::from_str::<MacAddress>("\"01:00:00:00:00:01\"").is_err());
    }
}
