//! Reads a prefix, `ADDRESS/LENGTH`. Numbers with leading zeros are refused: other programs read them as octal.

use std::net::IpAddr;

use ipnet::IpNet;

/// The prefix that the text says; host bits may be set in it.
pub(crate) fn parse(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let is_plain = length == "0" || !length.starts_with(['0', '+']);
    let length = length.parse().ok().filter(|_| is_plain)?;
    IpNet::new(address.parse::<IpAddr>().ok()?, length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_are_read() {
        for text in ["192.0.2.0/24", "192.0.2.7/32", "0.0.0.0/0", "2001:db8::/32", "::/0"] {
            assert_eq!(parse(text).map(|prefix| prefix.to_string()).as_deref(), Some(text));
        }
        let refused = [
            "096.0.2.0/24",
            "192.0.02.0/24",
            "192.0.2.00/24",
            "192.0.2.0/024",
            "192.0.2.0/00",
            "192.0.2.0/+24",
            "192.0.2.0/33",
            "2001:db8::/129",
            "2001:db8::/032",
            "192.0.2.0/",
            "192.0.2.0",
            "192.0.2.0/24/24",
            " 192.0.2.0/24",
            "/24",
            "",
        ];
        for text in refused {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
