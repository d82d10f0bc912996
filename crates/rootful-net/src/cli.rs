//! The definition of the command line, from which help, manual pages and completions come. Each
//! subcommand's arguments are in its own file.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use clap::{CommandFactory as _, Parser, ValueEnum};

use rootful_net_core::name::quoted;

use crate::command::Command;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage or an invalid argument
  3  denied
  4  not found
  5  conflict
  6  the service is unavailable
  7  the container is not initialized";

/// Real networks for rootless podman containers
///
/// Attaches rootless podman containers to bridges of the host: with an address, published ports and names,
/// at the kernel's speed and without sudo. A privileged service does it, within what the administrator's
/// policy grants.
#[derive(Debug, Parser)]
#[command(name = "rootful-net", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    #[default]
    Table,
    /// JSON for programs
    Json,
}

/// The definition of the command line.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// A value parser that checks with `T` and keeps the text: the service parses it again.
pub(crate) fn text_of<T>(text: &str) -> Result<String, T::Err>
where
    T: FromStr<Err: Display>,
{
    text.parse::<T>().map(|_| text.to_owned())
}

/// A value parser for the address of a DNS server.
pub(crate) fn dns_server(text: &str) -> Result<String, String> {
    text_of::<IpAddr>(text).map_err(|_| format!("{} is not an IPv4 or IPv6 address", quoted(text)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn the_help_names_every_exit_code() {
        for code in 0..=7 {
            assert!(EXIT_CODES.contains(&format!("\n  {code}  ")), "{code}");
        }
    }

    /// `UPDATE_EXPECT=1 cargo test -p rootful-net help_texts` writes the files.
    #[test]
    fn help_texts_are_the_golden_ones() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/help");
        let mut texts = Vec::new();
        help_texts(command().term_width(80), "rootful-net", &mut texts);
        for (name, text) in &texts {
            expect_test::expect_file![dir.join(format!("{name}.txt"))].assert_eq(text);
        }
        let files = fs::read_dir(&dir).expect("the directory exists").count();
        assert_eq!(files, texts.len(), "{} has a file of no command", dir.display());
    }

    fn help_texts(mut command: clap::Command, name: &str, texts: &mut Vec<(String, String)>) {
        command =
            command.bin_name(name.replace('-', " ").replacen("rootful net", "rootful-net", 1));
        let mut text = command.render_long_help().to_string();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        texts.push((name.to_owned(), text));
        let subcommands: Vec<_> = command.get_subcommands().cloned().collect();
        for subcommand in subcommands.into_iter().filter(|command| command.get_name() != "help") {
            let name = format!("{name}-{}", subcommand.get_name());
            help_texts(subcommand.term_width(80), &name, texts);
        }
    }

    #[track_caller]
    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn accepted_command_lines() {
        let lines = [
            "rootful-net setup web",
            "rootful-net setup web --network rootful0:ip=10.87.0.9,alias=www --network other",
            "rootful-net setup web -p 8080:80 --publish [::1]:53:53/udp --replace --dry-run",
            "rootful-net setup web --network-alias www --dns 9.9.9.9 --dns ::1 --format json",
            "rootful-net setup --cidfile web.cid",
            "rootful-net setup --pid 7 --name web",
            "rootful-net setup --netns /run/netns/web --name web",
            "rootful-net teardown web",
            "rootful-net teardown --cidfile web.cid",
            "rootful-net teardown --pid 7",
            "rootful-net teardown --netns /run/netns/web",
            "rootful-net teardown --name web",
            "rootful-net teardown --all",
            "rootful-net ps",
            "rootful-net ps --all --format json",
            "rootful-net inspect web",
            "rootful-net port web",
            "rootful-net network ls --format json",
            "rootful-net network inspect rootful0 other",
            "rootful-net network create lab",
            "rootful-net network create lab --subnet 10.9.0.0/24 --gateway 10.9.0.1 --ip-range 10.9.0.16/28 --ignore",
            "rootful-net network create lab --ipv6 --internal --interface-name lab0 -o mtu=1400 --opt isolate=true",
            "rootful-net network rm lab other --ignore",
            "rootful-net lease ls --network rootful0 --format json",
            "rootful-net lease export",
            "rootful-net lease import leases.json",
            "rootful-net lease import -",
            "rootful-net policy check",
            "rootful-net policy check --user bob --network rootful0:ip=10.87.0.9 -p 80:80 -p 81:81/udp",
            "rootful-net policy show --user 1000 --format json",
            "rootful-net completion bash",
        ];
        for line in lines {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn refused_command_lines_say_why() {
        let cases = [
            ("rootful-net", "Usage:"),
            ("rootful-net setup", "<CONTAINER|--cidfile <FILE>|--pid <PID>|--netns <PATH>>"),
            ("rootful-net setup web --pid 7 --name x", "cannot be used with"),
            ("rootful-net setup --pid 7", "--name <NAME>"),
            ("rootful-net setup --netns /proc/7/ns/net", "--name <NAME>"),
            ("rootful-net setup --pid 0 --name web", "0 is not in 1.."),
            ("rootful-net setup we/b", "contains \"/\""),
            ("rootful-net setup -- --all", "starts with \"-\""),
            ("rootful-net setup web -p 80-80", "'--publish <PUBLISH>': the range of ports"),
            ("rootful-net setup web --network rootful0:vlan=7", "\"vlan\" is not supported"),
            ("rootful-net setup web --network-alias a..b", "has an empty label"),
            (
                "rootful-net setup web --dns localhost",
                "\"localhost\" is not an IPv4 or IPv6 address",
            ),
            ("rootful-net setup web --name -x", "unexpected argument '-x'"),
            ("rootful-net teardown", "required"),
            ("rootful-net teardown web --all", "cannot be used with"),
            ("rootful-net network inspect", "<NAME>"),
            ("rootful-net network create", "<NAME>"),
            ("rootful-net network create ../x", "contains \"/\""),
            ("rootful-net network create lab --gateway 10.9.0.1", "--subnet <SUBNET>"),
            (
                "rootful-net network create lab --subnet 10.9.0.0/24 --ip-range 10.9.0.7",
                "is malformed",
            ),
            ("rootful-net network create lab --opt mtu", "\"mtu\" is not NAME=VALUE"),
            ("rootful-net network create lab --interface-name a/b", "contains \"/\""),
            ("rootful-net network rm", "<NAME>"),
            ("rootful-net ps --format yaml", "table, json"),
            ("rootful-net lease ls --network a/b", "contains \"/\""),
            ("rootful-net lease import", "<FILE>"),
            ("rootful-net policy", "Usage:"),
            ("rootful-net policy check -p 0:80", "not a port"),
            ("rootful-net policy check --network a/b", "contains \"/\""),
        ];
        for (line, expected) in cases {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(expected), "{line}: {error}");
        }
    }
}
