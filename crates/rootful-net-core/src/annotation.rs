//! Owns the annotations `io.rootful-net.*`, with which a container asks to be attached when it starts. They
//! are parsed into the parts of a request; the container's name and id come from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::mac::{MacAddress, MacError};
use crate::name::{Alias, ContainerName, NameError, quoted};
use crate::publish::{Protocol, Publish, PublishError};
use crate::request::{
    AttachRequest, ContainerId, NetworkRequest, NetworkRequestError, RequestError,
};

/// What the keys of all annotations start with.
pub const PREFIX: &str = "io.rootful-net.";
/// The network of a container whose annotations name none.
pub const DEFAULT_NETWORK: &str = "rootful0";
/// No valid value comes near this: 4,096 ports, each with a long IPv6 address, take half of it.
const MAX_BYTES: usize = 512 * 1024;

/// An annotation, without the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Networks, each as in `podman run --network`, with `;` between them.
    Network,
    /// Ports, each as in `podman run --publish`, with `,` between them.
    Publish,
    /// The name to be attached under.
    Name,
    /// Names on every network, with `,` between them.
    Alias,
    /// DNS servers instead of the networks' own, with `,` between them.
    Dns,
    /// The address, or one of each family with `,` between them, on the only network.
    Ip,
    /// The MAC address on the only network.
    Mac,
}

impl Key {
    /// All of them, in the order in which they are documented.
    pub const ALL: [Self; 7] =
        [Self::Network, Self::Publish, Self::Name, Self::Alias, Self::Dns, Self::Ip, Self::Mac];

    fn suffix(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Publish => "publish",
            Self::Name => "name",
            Self::Alias => "alias",
            Self::Dns => "dns",
            Self::Ip => "ip",
            Self::Mac => "mac",
        }
    }
}

impl fmt::Display for Key {
    /// The whole key, with the prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.suffix())
    }
}

/// Says what is wrong with a container's annotations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// There is no such annotation.
    #[error("annotation {key} is not known; accepted are {}", accepted())]
    Unknown {
        /// The key, quoted.
        key: String,
    },
    /// The value, or a part of it between two separators, is empty.
    #[error("annotation {key} has an empty value, or nothing between two separators")]
    Empty {
        /// The annotation.
        key: Key,
    },
    /// The value is too long to be read.
    #[error("annotation {key} has {bytes} bytes; accepted are up to {MAX_BYTES}")]
    TooLong {
        /// The annotation.
        key: Key,
        /// How many there are.
        bytes: usize,
    },
    /// A network is malformed.
    #[error("annotation {key}: {problem}", key = Key::Network)]
    Network {
        /// What is wrong with it.
        problem: NetworkRequestError,
    },
    /// A port is malformed.
    #[error("annotation {key}: {problem}", key = Key::Publish)]
    Publish {
        /// What is wrong with it.
        problem: PublishError,
    },
    /// A name is malformed.
    #[error("annotation {key}: {problem}")]
    Name {
        /// The annotation.
        key: Key,
        /// What is wrong with it.
        problem: NameError,
    },
    /// The MAC address is malformed.
    #[error("annotation {key}: {problem}", key = Key::Mac)]
    Mac {
        /// What is wrong with it.
        problem: MacError,
    },
    /// What should be an IP address is none.
    #[error("annotation {key}: {value} is not an IP address")]
    Address {
        /// The annotation.
        key: Key,
        /// The value, quoted.
        value: String,
    },
    /// It could be meant for any of several networks.
    #[error(
        "annotation {key} is accepted with one network only, and there are {count}; \
         write it into annotation {network}, as in NAME:{suffix}=…",
        network = Key::Network,
        suffix = key.suffix()
    )]
    SeveralNetworks {
        /// The annotation.
        key: Key,
        /// How many networks there are.
        count: usize,
    },
    /// The annotation repeats what the network's options say.
    #[error(
        "annotation {key} says what annotation {network} says already; leave one of them out",
        network = Key::Network
    )]
    Twice {
        /// The annotation.
        key: Key,
    },
    /// The annotations are well formed each, but not together.
    #[error("annotations {PREFIX}*: {problem}")]
    Request {
        /// What is wrong with them.
        problem: RequestError,
    },
}

fn accepted() -> String {
    Key::ALL.map(|key| key.to_string()).join(", ")
}

/// The annotations of a container that asks to be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotations {
    name: Option<ContainerName>,
    networks: Vec<NetworkRequest>,
    publish: Vec<Publish>,
    dns: Vec<IpAddr>,
}

impl Annotations {
    /// Reads a container's annotations. Those of others are passed over; without any of ours there is
    /// nothing to attach.
    ///
    /// # Errors
    /// Every variant of [`AnnotationError`]; `Request` only for what does not hang on the container's name.
    pub fn parse<'a>(
        annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Self>, AnnotationError> {
        let values = own(annotations)?;
        if values.is_empty() {
            return Ok(None);
        }
        let value = |key: Key| values.get(&key).copied();
        let name = value(Key::Name).map(|text| name(Key::Name, text)).transpose()?;
        let mut networks = match value(Key::Network) {
            None => vec![NetworkRequest::new(DEFAULT_NETWORK.parse().expect("it is a name"))],
            Some(text) => elements(Key::Network, text, ';')?
                .into_iter()
                .map(|text| text.parse().map_err(|problem| AnnotationError::Network { problem }))
                .collect::<Result<_, _>>()?,
        };
        let publish = value(Key::Publish).map_or(Ok(Vec::new()), publish)?;
        let dns = addresses(Key::Dns, value(Key::Dns))?;
        for alias in aliases(value(Key::Alias))? {
            networks.iter_mut().for_each(|network| {
                network.aliases.insert(alias.clone());
            });
        }
        let asked = addresses(Key::Ip, value(Key::Ip))?;
        if !asked.is_empty() {
            let network = only(Key::Ip, &mut networks)?;
            if !network.addresses.is_empty() {
                return Err(AnnotationError::Twice { key: Key::Ip });
            }
            network.addresses = asked;
        }
        if let Some(text) = value(Key::Mac) {
            let mac: MacAddress =
                text.trim().parse().map_err(|problem| AnnotationError::Mac { problem })?;
            if only(Key::Mac, &mut networks)?.mac.replace(mac).is_some() {
                return Err(AnnotationError::Twice { key: Key::Mac });
            }
        }
        let annotations = Self { name, networks, publish, dns };
        // What is wrong here is wrong with any name.
        annotations.request("container".parse().expect("it is a name"), None)?;
        Ok(Some(annotations))
    }

    /// The name to be attached under, where it is not the container's own.
    #[must_use]
    pub fn name(&self) -> Option<&ContainerName> {
        self.name.as_ref()
    }

    /// The networks; there is always one.
    #[must_use]
    pub fn networks(&self) -> &[NetworkRequest] {
        &self.networks
    }

    /// The ports to publish.
    #[must_use]
    pub fn publish(&self) -> &[Publish] {
        &self.publish
    }

    /// DNS servers instead of the networks' own.
    #[must_use]
    pub fn dns(&self) -> &[IpAddr] {
        &self.dns
    }

    /// The request that the annotations of this container make.
    ///
    /// # Errors
    /// [`AnnotationError::Request`].
    pub fn request(
        &self,
        name: ContainerName,
        container_id: Option<ContainerId>,
    ) -> Result<AttachRequest, AnnotationError> {
        let networks = self.networks.clone();
        AttachRequest::new(name, container_id, networks, &self.publish, self.dns.clone())
            .map_err(|problem| AnnotationError::Request { problem })
    }
}

/// The values of the annotations that are ours.
fn own<'a>(
    annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<BTreeMap<Key, &'a str>, AnnotationError> {
    let mut values = BTreeMap::new();
    for (text, value) in annotations {
        let Some(suffix) = text.strip_prefix(PREFIX) else {
            continue;
        };
        let key = Key::ALL.into_iter().find(|key| key.suffix() == suffix);
        let key = key.ok_or_else(|| AnnotationError::Unknown { key: quoted(text) })?;
        let bytes = value.len();
        if bytes > MAX_BYTES {
            return Err(AnnotationError::TooLong { key, bytes });
        }
        values.insert(key, value);
    }
    Ok(values)
}

/// The parts of a value, without blanks around them.
fn elements(key: Key, value: &str, separator: char) -> Result<Vec<&str>, AnnotationError> {
    let elements: Vec<_> = value.split(separator).map(str::trim).collect();
    match elements.iter().any(|element| element.is_empty()) {
        true => Err(AnnotationError::Empty { key }),
        false => Ok(elements),
    }
}

fn name<T: FromStr<Err = NameError>>(key: Key, text: &str) -> Result<T, AnnotationError> {
    text.trim().parse().map_err(|problem| AnnotationError::Name { key, problem })
}

fn aliases(value: Option<&str>) -> Result<BTreeSet<Alias>, AnnotationError> {
    let Some(value) = value else {
        return Ok(BTreeSet::new());
    };
    let aliases = elements(Key::Alias, value, ',')?;
    aliases.into_iter().map(|text| name(Key::Alias, text)).collect()
}

fn addresses(key: Key, value: Option<&str>) -> Result<Vec<IpAddr>, AnnotationError> {
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    let parse = |text: &str| {
        text.parse().map_err(|_| AnnotationError::Address { key, value: quoted(text) })
    };
    elements(key, value, ',')?.into_iter().map(parse).collect()
}

/// A protocol after a `,` belongs to the list of the port before it: no port is written so.
fn publish(value: &str) -> Result<Vec<Publish>, AnnotationError> {
    let mut arguments: Vec<String> = Vec::new();
    for element in elements(Key::Publish, value, ',')? {
        match arguments.last_mut() {
            Some(argument) if argument.contains('/') && element.parse::<Protocol>().is_ok() => {
                argument.push(',');
                argument.push_str(element);
            }
            Some(_) | None => arguments.push(element.to_owned()),
        }
    }
    let parse = |text: String| text.parse().map_err(|problem| AnnotationError::Publish { problem });
    arguments.into_iter().map(parse).collect()
}

fn only(key: Key, networks: &mut [NetworkRequest]) -> Result<&mut NetworkRequest, AnnotationError> {
    match networks {
        [network] => Ok(network),
        networks => Err(AnnotationError::SeveralNetworks { key, count: networks.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses annotations written as `suffix=value`, and prints them as the message has them.
    fn parsed(annotations: &[&str]) -> Result<Option<String>, String> {
        let annotations: Vec<_> = annotations
            .iter()
            .map(|text| text.split_once('=').expect("suffix=value"))
            .map(|(suffix, value)| (format!("{PREFIX}{suffix}"), value))
            .collect();
        let pairs = annotations.iter().map(|(key, value)| (key.as_str(), *value));
        let annotations = Annotations::parse(pairs).map_err(|error| error.to_string())?;
        let list = |items: Vec<String>| items.join(" ");
        Ok(annotations.map(|annotations| {
            [
                annotations.name().map(|name| format!("name {name}")).unwrap_or_default(),
                list(annotations.networks().iter().map(ToString::to_string).collect()),
                list(annotations.publish().iter().map(ToString::to_string).collect()),
                list(annotations.dns().iter().map(ToString::to_string).collect()),
            ]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" | ")
        }))
    }

    #[test]
    fn annotations_become_the_parts_of_a_request() {
        let cases: &[(&[&str], &str)] = &[
            (&["publish=80:80"], "rootful0 | 80:80/tcp"),
            (&["publish=80:80,443:443"], "rootful0 | 80:80/tcp 443:443/tcp"),
            (&["publish=80:80, 443:443"], "rootful0 | 80:80/tcp 443:443/tcp"),
            (&["publish=53:53/udp,tcp"], "rootful0 | 53:53/udp,tcp"),
            (&["publish=53:53/udp,tcp,80:80"], "rootful0 | 53:53/udp,tcp 80:80/tcp"),
            (&["publish=80:80,53:53/tcp,udp,sctp"], "rootful0 | 80:80/tcp 53:53/tcp,udp,sctp"),
            (&["publish=[::1]:8000-8001:80-81"], "rootful0 | [::1]:8000-8001:80-81/tcp"),
            (&["network=lan"], "lan"),
            (
                &["network=lan:ip=10.0.0.9,mac=02:00:00:00:00:01,alias=www ; dmz"],
                "lan:ip=10.0.0.9,mac=02:00:00:00:00:01,alias=www dmz",
            ),
            (&["network=lan:interface_name=lan0;dmz"], "lan:interface_name=lan0 dmz"),
            (&["name=web"], "name web | rootful0"),
            (&["alias=www,Api"], "rootful0:alias=api,alias=www"),
            (&["alias=www", "network=a;b:alias=x"], "a:alias=www b:alias=www,alias=x"),
            (&["dns=10.0.0.1, 2001:db8::1"], "rootful0 | 10.0.0.1 2001:db8::1"),
            (&["ip=10.87.0.9"], "rootful0:ip=10.87.0.9"),
            (&["ip=10.87.0.9,fd00::9", "network=lan"], "lan:ip=10.87.0.9,ip=fd00::9"),
            (&["mac=02-00-5E-10-00-01"], "rootful0:mac=02:00:5e:10:00:01"),
        ];
        for (annotations, expected) in cases {
            assert_eq!(parsed(annotations), Ok(Some((*expected).to_owned())), "{annotations:?}");
        }
    }

    #[test]
    fn mistakes_are_answered_with_the_annotation() {
        let cases: &[(&[&str], &str)] = &[
            (
                &["publsh=80:80"],
                "annotation \"io.rootful-net.publsh\" is not known; accepted are io.",
            ),
            (&["=80:80"], "annotation \"io.rootful-net.\" is not known"),
            (&["Publish=80:80"], "annotation \"io.rootful-net.Publish\" is not known"),
            (&["publish="], "annotation io.rootful-net.publish has an empty value"),
            (&["publish=80:80,"], "annotation io.rootful-net.publish has an empty value"),
            (&["publish=80:80,udp"], "annotation io.rootful-net.publish: \"udp\" is not a port"),
            (&["publish=udp,80:80"], "annotation io.rootful-net.publish: \"udp\" is not a port"),
            (&["publish=70000:80"], "annotation io.rootful-net.publish: \"70000\" is not a port"),
            (
                &["publish=53:53/tcp,tcp"],
                "annotation io.rootful-net.publish: protocol tcp is listed",
            ),
            (&["publish=80:80,80:81"], "annotations io.rootful-net.*: port 80/tcp"),
            (&["network="], "annotation io.rootful-net.network has an empty value"),
            (&["network=a;;b"], "annotation io.rootful-net.network has an empty value"),
            (&["network=a,b"], "annotation io.rootful-net.network: network name \"a,b\" contains"),
            (&["network=a;a"], "annotations io.rootful-net.*: network \"a\" is asked for twice"),
            (&["network=a:vlan=1"], "annotation io.rootful-net.network: network option \"vlan\""),
            (&["name=a/b"], "annotation io.rootful-net.name: container name \"a/b\" contains"),
            (&["alias=a,"], "annotation io.rootful-net.alias has an empty value"),
            (&["alias=a b"], "annotation io.rootful-net.alias: alias \"a b\" contains"),
            (&["dns=none"], "annotation io.rootful-net.dns: \"none\" is not an IP address"),
            (&["ip=10.87.0.300"], "annotation io.rootful-net.ip: \"10.87.0.300\" is not an IP"),
            (
                &["ip=10.0.0.8,10.0.0.9"],
                "annotations io.rootful-net.*: network \"rootful0\": 10.0.0.9",
            ),
            (&["ip=10.0.0.8", "network=a;b"], "annotation io.rootful-net.ip is accepted with one"),
            (&["ip=::1", "network=a:ip=::2"], "annotation io.rootful-net.ip says what annotation"),
            (&["mac=1"], "annotation io.rootful-net.mac: MAC address \"1\" is malformed"),
            (
                &["mac=02:00:00:00:00:01", "network=a:mac=02:00:00:00:00:02"],
                "annotation io.rootful-net.mac says what annotation",
            ),
        ];
        for (annotations, start) in cases {
            let error = parsed(annotations).expect_err(start);
            assert!(error.starts_with(start), "{annotations:?}: {error}");
        }
    }

    #[test]
    fn without_an_annotation_of_ours_there_is_nothing_to_do() {
        let others = [
            ("io.container.manager", "libpod"),
            ("io_rootful-net.publish", "x"),
            ("io.rootful-network.publish", "x"),
            ("xio.rootful-net.publish", "x"),
        ];
        assert_eq!(Annotations::parse(others), Ok(None));
    }

    #[test]
    fn limits_hold() {
        let long = "a".repeat(MAX_BYTES + 1);
        let error = Annotations::parse([("io.rootful-net.name", long.as_str())]);
        assert!(matches!(error, Err(AnnotationError::TooLong { key: Key::Name, .. })));
        let networks = (0..9).map(|number| format!("n{number}")).collect::<Vec<_>>().join(";");
        let error = Annotations::parse([("io.rootful-net.network", networks.as_str())]);
        let problem = RequestError::NetworkCount { count: 9 };
        assert_eq!(error, Err(AnnotationError::Request { problem }));
    }
}
