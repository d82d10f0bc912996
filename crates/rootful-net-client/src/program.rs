//! Finds the programs of the host that have a port which was asked for, as far as the kernel lets the caller look
//! into their processes: a user into those of their own, root into all.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use nix::unistd::{Uid, User};
use rootful_net_core::name::quoted;
use rootful_net_core::observed::Listener;
use rootful_net_core::publish::{HostAddress, Port, Protocol, RequestedForward};

use crate::user::outer_uid;

/// More would be a list that nobody reads.
const MAX_SHOWN: usize = 3;

/// The tables of sockets below `/proc/PID/net`, and the state of those in them that wait for whoever comes:
/// TCP's is LISTEN, that of a UDP socket without a peer is CLOSE, net/ipv4/udp.c.
const TABLES: [(&str, Protocol, u8); 4] = [
    ("tcp", Protocol::Tcp, 10),
    ("tcp6", Protocol::Tcp, 10),
    ("udp", Protocol::Udp, 7),
    ("udp6", Protocol::Udp, 7),
];

/// Programs that have ports which were asked for; at least one. In text they are what follows a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    programs: Vec<Program>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Program {
    port: Port,
    protocol: Protocol,
    pid: u32,
    /// What the program calls itself, which may be anything.
    name: String,
    user: Option<String>,
}

/// A socket that takes what comes in, and the number that names it in `/proc/PID/fd`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Socket {
    inode: u64,
    listener: Listener,
}

impl Programs {
    /// Looks for programs in the way of the forwards, in the caller's network namespace, which is the host's.
    /// The sockets of the process `service` are not in the way, whoever else holds them.
    pub(crate) fn in_the_way(forwards: &[RequestedForward], service: Option<u32>) -> Option<Self> {
        Self::found_in(Path::new("/proc"), forwards, service, user_name)
    }

    fn found_in(
        proc_path: &Path,
        forwards: &[RequestedForward],
        service: Option<u32>,
        user_name: impl Fn(u32) -> Option<String>,
    ) -> Option<Self> {
        let mut sockets = sockets(proc_path, forwards);
        let of_service = service.map(|pid| sockets_of(&proc_path.join(pid.to_string())));
        for inode in of_service.iter().flatten() {
            sockets.remove(inode);
        }
        let mut programs = Vec::new();
        for pid in processes(proc_path) {
            if sockets.is_empty() {
                break;
            }
            let process_path = proc_path.join(pid.to_string());
            for inode in sockets_of(&process_path) {
                // Others may have inherited it; the oldest is the one to stop.
                let Some(Listener { port, protocol, uid, .. }) = sockets.remove(&inode) else {
                    continue;
                };
                let name = fs::read(process_path.join("comm")).unwrap_or_default();
                let name = String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned();
                programs.push(Program { port, protocol, pid, name, user: user_name(uid) });
            }
        }
        programs.sort();
        // A program may listen on several addresses.
        programs.dedup();
        (!programs.is_empty()).then_some(Self { programs })
    }
}

impl Display for Programs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (position, program) in self.programs.iter().take(MAX_SHOWN).enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            program.fmt(f)?;
        }
        match self.programs.len().saturating_sub(MAX_SHOWN) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { port, protocol, pid, name, user } = self;
        write!(f, "port {port}/{protocol} is in use by {} (pid {pid})", quoted(name))?;
        match user {
            Some(user) => write!(f, " of user {user}"),
            None => Ok(()),
        }
    }
}

/// The sockets that take what would be sent to a forward.
fn sockets(proc_path: &Path, forwards: &[RequestedForward]) -> BTreeMap<u64, Listener> {
    let mut asked: BTreeMap<(Protocol, Port), Vec<IpAddr>> = BTreeMap::new();
    for forward in forwards {
        if let Some(port) = forward.host_port {
            let addresses = asked.entry((forward.protocol, port)).or_default();
            addresses.extend(addresses_of(forward.host_address));
        }
    }
    let mut found = BTreeMap::new();
    for (table, protocol, state) in TABLES {
        let Ok(file) = File::open(proc_path.join("self/net").join(table)) else {
            continue;
        };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        let sockets = lines.filter_map(|line| socket(&line, protocol, state));
        let in_the_way = sockets.filter(|Socket { listener, .. }| {
            let asked = asked.get(&(protocol, listener.port)).into_iter().flatten();
            asked.into_iter().any(|&address| listener.takes(address))
        });
        found.extend(in_the_way.map(|Socket { inode, listener }| (inode, listener)));
    }
    found
}

/// Addresses that a forward is at; the unspecified one stands for all of its family.
fn addresses_of(host_address: HostAddress) -> Vec<IpAddr> {
    let (any4, any6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    match host_address {
        HostAddress::Any => vec![any4, any6],
        HostAddress::AnyIpv4 => vec![any4],
        HostAddress::AnyIpv6 => vec![any6],
        HostAddress::Ipv4(address) => vec![address.into()],
        HostAddress::Ipv6(address) => vec![address.into()],
    }
}

/// Reads a line of a table, proc_net(5): its number, local and remote address, state, queues, timer,
/// retransmissions, uid, probes, inode and more. Nothing for the header and for sockets in another state.
fn socket(line: &str, protocol: Protocol, state: u8) -> Option<Socket> {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    let [_, local, _, found, _, _, _, uid, _, inode] = fields.as_slice() else {
        return None;
    };
    if u8::from_str_radix(found, 16) != Ok(state) {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let address = address_of(address)?;
    let listener = Listener {
        protocol,
        // An IPv6 socket can be bound to an IPv4 address, ipv6(7).
        address: address.to_canonical(),
        // The tables do not say whether it is for IPv6 alone.
        dual_stack: address == IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        port: Port::new(u16::from_str_radix(port, 16).ok()?)?,
        uid: uid.parse().ok()?,
    };
    Some(Socket { inode: inode.parse().ok()?, listener })
}

/// An address as the kernel writes it: words of 32 bits in its own byte order, in hexadecimal digits.
fn address_of(digits: &str) -> Option<IpAddr> {
    if !digits.len().is_multiple_of(8) {
        return None;
    }
    let words = digits.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    match (<[u8; 4]>::try_from(bytes.as_slice()), <[u8; 16]>::try_from(bytes.as_slice())) {
        (Ok(bytes), _) => Some(bytes.into()),
        (_, Ok(bytes)) => Some(bytes.into()),
        (Err(_), Err(_)) => None,
    }
}

/// The ids of all processes, ascending.
fn processes(proc_path: &Path) -> Vec<u32> {
    let entries = fs::read_dir(proc_path).into_iter().flatten().flatten();
    let mut ids: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    ids
}

/// The inodes of a process's sockets; none of a process that the caller may not look into.
fn sockets_of(process_path: &Path) -> Vec<u64> {
    let descriptors = fs::read_dir(process_path.join("fd")).into_iter().flatten().flatten();
    let inodes = descriptors.filter_map(|descriptor| {
        let target = fs::read_link(descriptor.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    });
    inodes.collect()
}

/// The name of a user, or else the number, as it is outside of the caller's user namespace.
fn user_name(uid: u32) -> Option<String> {
    let uid = outer_uid(uid)?;
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    Some(user.map_or_else(|| uid.to_string(), |user| user.name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use rootful_net_core::publish::Publish;

    use super::*;

    const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                          uid  timeout inode\n";

    /// A directory that stands for `/proc`.
    struct Proc {
        dir: tempfile::TempDir,
    }

    impl Proc {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a temporary directory");
            fs::create_dir_all(dir.path().join("self/net")).expect("a directory");
            Self { dir }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().to_owned()
        }

        /// Sockets of one table: local address as the kernel writes it, state, uid and inode.
        fn table(&self, name: &str, sockets: &[(&str, &str, u32, u64)]) {
            let lines = sockets.iter().enumerate().map(|(number, (local, state, uid, inode))| {
                let queues = "00000000:00000000 00:00000000 00000000";
                format!(
                    "{number:4}: {local} 00000000:0000 {state} {queues} {uid:5} 0 {inode} 1 0\n"
                )
            });
            let text = HEADER.to_owned() + &lines.collect::<String>();
            fs::write(self.path().join("self/net").join(name), text).expect("it can be written");
        }

        fn process(&self, pid: u32, name: &[u8], sockets: &[u64]) {
            let fd_path = self.path().join(format!("{pid}/fd"));
            fs::create_dir_all(&fd_path).expect("a directory");
            fs::write(self.path().join(format!("{pid}/comm")), name).expect("it can be written");
            symlink("/dev/null", fd_path.join("0")).expect("a link");
            for (number, inode) in sockets.iter().enumerate() {
                let target = format!("socket:[{inode}]");
                symlink(target, fd_path.join((number + 3).to_string())).expect("a link");
            }
        }

        fn found(&self, publish: &str, service: Option<u32>) -> String {
            let forwards = publish.split(' ').flat_map(|text| {
                let publish: Publish = text.parse().expect(text);
                publish.forwards().collect::<Vec<_>>()
            });
            let forwards: Vec<_> = forwards.collect();
            let name = |uid| (uid != 65534).then(|| format!("u{uid}"));
            let found = Programs::found_in(&self.path(), &forwards, service, name);
            found.map(|programs| programs.to_string()).unwrap_or_default()
        }
    }

    /// The kernel's text for this word of an address, on this machine.
    fn word(bytes: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(bytes))
    }

    #[test]
    fn addresses_are_read_in_the_machines_byte_order() {
        let loopback = word([127, 0, 0, 1]);
        assert_eq!(address_of(&loopback), Some(Ipv4Addr::LOCALHOST.into()));
        let words = [word([0x20, 1, 0xd, 0xb8]), word([0; 4]), word([0; 4]), word([0, 0, 0, 9])];
        assert_eq!(address_of(&words.concat()), Some("2001:db8::9".parse().expect("one")));
        for text in ["", "0100007", "0100007F0", "0100007G", "0100007F0100007F"] {
            assert_eq!(address_of(text), None, "{text}");
        }
    }

    #[test]
    fn only_programs_in_the_way_are_named() {
        let proc = Proc::new();
        let any = word([0; 4]);
        let any6 = any.repeat(4);
        let loopback = word([127, 0, 0, 1]);
        proc.table(
            "tcp",
            &[
                (&format!("{any}:1F90"), "0A", 1000, 1),
                (&format!("{loopback}:1F91"), "0A", 1000, 2),
                // A connection.
                (&format!("{any}:1F92"), "01", 1000, 3),
                (&format!("{any}:1F93"), "0A", 0, 4),
            ],
        );
        proc.table("tcp6", &[(&format!("{any6}:1F94"), "0A", 65534, 5)]);
        proc.table("udp", &[(&format!("{any}:1F90"), "07", 1000, 6)]);
        proc.process(300, b"python3\n", &[1, 2, 3]);
        proc.process(301, b"python3\n", &[1]);
        proc.process(302, b"a\"\x1b[31m\xff\n", &[5, 6]);
        proc.process(1, b"systemd\n", &[4]);
        proc.process(200, b"rootful-netd\n", &[4]);
        let python = "port 8080/tcp is in use by \"python3\" (pid 300) of user u1000";
        let hostile = "is in use by \"a\\\"\\u{1b}[31m\u{fffd}\" (pid 302)";
        let cases = [
            ("8080:80", None, python.to_owned()),
            ("192.0.2.1:8080:80", None, python.to_owned()),
            ("[::]:8080:80", None, String::new()),
            ("192.0.2.1:8081:80", None, String::new()),
            ("8082:80", None, String::new()),
            ("80", None, String::new()),
            ("8083:80", Some(200), String::new()),
            (
                "8083:80",
                None,
                "port 8083/tcp is in use by \"systemd\" (pid 1) of user u0".to_owned(),
            ),
            ("0.0.0.0:8084:80", None, format!("port 8084/tcp {hostile}")),
            ("8080:80/udp", None, format!("port 8080/udp {hostile} of user u1000")),
            ("8080:80 8084:81", None, format!("{python}, port 8084/tcp {hostile}")),
        ];
        for (publish, service, expected) in cases {
            assert_eq!(proc.found(publish, service), expected, "{publish}");
        }
    }

    #[test]
    fn a_program_with_several_sockets_is_named_once_and_many_are_counted() {
        let proc = Proc::new();
        let any = word([0; 4]);
        let ports = ["1F90", "1F91", "1F92", "1F93", "1F94"];
        let locals = ports.map(|port| format!("{any}:{port}"));
        let sockets: Vec<_> =
            locals.iter().zip(1..).map(|(local, inode)| (local.as_str(), "0A", 7, inode)).collect();
        proc.table("tcp", &sockets);
        proc.table("tcp6", &[(&format!("{}:1F90", any.repeat(4)), "0A", 7, 9)]);
        proc.process(8, b"s\n", &[1, 2, 3, 4, 5, 9]);
        let one = "port 8080/tcp is in use by \"s\" (pid 8) of user u7";
        assert_eq!(proc.found("8080:80", None), one);
        assert!(proc.found("8080-8084:80-84", None).ends_with("u7, and 2 more"));
        // Nothing that can be looked into.
        fs::remove_dir_all(proc.path().join("8/fd")).expect("it is there");
        assert_eq!(proc.found("8080:80", None), "");
    }
}
