//! Requests that cannot be right or are not granted: each has its error and leaves nothing.

use std::os::fd::AsFd as _;

use anyhow::{Result, ensure};
use rootful_net_dbus::{DetachOptions, Dictionary};
use rootful_net_tests::Test;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::{User, message};
use zbus::{OwnedVariant, Variant};

use crate::daemon::{
    ALICE, BOB, MALLORY, ROOT, System, container_of, ensure_nothing_is_left, ensure_refused, fd,
};

pub(crate) const TESTS: &[Test] = &[
    ("requests::malformed_arguments_are_invalid", malformed_arguments),
    ("requests::unknown_options_and_wrong_types_are_invalid", wrong_options),
    ("requests::unusable_addresses_are_invalid", unusable_addresses),
    ("requests::unknown_network_is_not_found", unknown_network),
    ("requests::nothing_is_granted_without_a_grant", nothing_without_grant),
    ("requests::ports_outside_the_grant_are_denied", ports_outside_the_grant),
    ("requests::host_address_outside_the_grant_is_denied", host_address_outside_the_grant),
    ("requests::root_needs_no_grant", root_needs_no_grant),
    ("requests::container_with_ipv6_switched_off_has_ipv4", ipv6_switched_off),
    ("requests::quota_is_kept", quota_is_kept),
    ("requests::full_subnet_is_exhausted", full_subnet),
    ("requests::detaching_others_containers_is_denied", detaching_others),
    ("requests::exit_codes_are_those_of_the_errors", exit_codes),
];

/// As with `podman run --sysctl net.ipv6.conf.all.disable_ipv6=1`.
fn ipv6_switched_off(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    container.run(|| {
        run("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
    })?;
    let attachment = ALICE.set_up(&container, "web", "-p 8080:80")?;
    let addresses = &attachment.interfaces[0].addresses;
    ensure!(addresses.len() == 1 && addresses[0].starts_with("10.87."), "{addresses:?}");
    ALICE.tear_down("web")?;
    ensure_nothing_is_left()?;
    ensure_refused("InvalidArgument", &["IPv6 is switched off", "disable_ipv6=1"], || {
        let network = "rootful0:ip=fd00::7";
        ALICE.attach(fd(&container)?.as_fd(), &message("web", &[network], &[]))
    })
}

fn malformed_arguments(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let long = "a".repeat(300);
    let names = ["", "a/b", "-a", "a b", "..", "a\nb", &long];
    let networks: &[&[&str]] = &[
        &[],
        &["../etc"],
        &["rootful0", "rootful0"],
        &["rootful0:colour=red"],
        &["rootful0:ip=10.87.0.300"],
        &["rootful0:ip=10.87.0.3,ip=10.87.0.4"],
        &["rootful0:mac=zz:00:00:00:00:01"],
        &["rootful0:mac=01:00:00:00:00:01"],
        &["rootful0:interface_name=a/b"],
        &["rootful0:interface_name=averyveryverylongname"],
        &["rootful0:alias=a..b"],
        &["1", "2", "3", "4", "5", "6", "7", "8", "9"],
    ];
    let publish: &[&[&str]] = &[
        &[""],
        &["0"],
        &["70000:80"],
        &["8080:0"],
        &["-1:80"],
        &["8080:80-80"],
        &["8010-8000:80-90"],
        &["8000-8010:80-85"],
        &["8080:80/icmp"],
        &["8080:80/tcp,tcp"],
        &["300.1.1.1:8080:80"],
        &["[::1:8080:80"],
        &["8080:80", "8080:81"],
        &["0.0.0.0:8080:80", "8080:81"],
        &["1024-65535:1024-65535/tcp"],
    ];
    let bad_names = names.iter().map(|name| message(name, &["rootful0"], &[]));
    let bad_networks = networks.iter().map(|networks| message("web", networks, &[]));
    let bad_publish = publish.iter().map(|publish| message("web", &["rootful0"], publish));
    for message in bad_names.chain(bad_networks).chain(bad_publish) {
        let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message);
        ensure_refused("InvalidArgument", &[], attempt)
            .map_err(|error| error.context(format!("{message:?}")))?;
    }
    ensure_nothing_is_left()
}

fn wrong_options(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let cases: [(&str, Variant<'_>, &[&str]); 7] = [
        ("colour", Variant::from("red"), &["colour", "replace"]),
        ("replace", Variant::from("yes"), &["replace", "\"b\""]),
        ("dns", Variant::from("9.9.9.9"), &["dns", "\"as\""]),
        ("dns", Variant::from(vec!["localhost"]), &["localhost"]),
        ("aliases", Variant::from(vec!["a..b"]), &["a..b"]),
        ("container-id", Variant::from("abc"), &["64"]),
        ("owner", Variant::from(0_u32), &["owner"]),
    ];
    for (key, value, words) in cases {
        let value = OwnedVariant::try_from(value)?;
        let options: Dictionary = [(key.to_owned(), value)].into();
        let message = message("web", &["rootful0"], &[]);
        let attempt = || ALICE.attach_with(fd(&container)?.as_fd(), &message, &options);
        ensure_refused("InvalidArgument", words, attempt)?;
    }
    ensure_nothing_is_left()
}

fn unusable_addresses(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    // Elsewhere, the network address, the gateway, the broadcast address, another family's subnet.
    for address in ["10.86.0.9", "10.87.0.0", "10.87.0.1", "10.87.255.255", "fd99::1", "127.0.0.1"]
    {
        let message = message("web", &[&format!("rootful0:ip={address}")], &[]);
        let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message);
        ensure_refused("InvalidArgument", &[address, "10.87.0.0/16"], attempt)?;
    }
    ensure_nothing_is_left()
}

fn unknown_network(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    for networks in [&["nosuch"][..], &["rootful0", "nosuch"][..]] {
        let message = message("web", networks, &[]);
        let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message);
        ensure_refused("NotFound", &["nosuch", "rootful-net network ls"], attempt)?;
    }
    ensure_nothing_is_left()
}

fn nothing_without_grant(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(MALLORY)?;
    let message = message("web", &["rootful0"], &[]);
    let attempt = || MALLORY.attach(fd(&container)?.as_fd(), &message);
    ensure_refused("NotAuthorized", &["mallory", "rootful0", "policy.d"], attempt)?;
    ensure_nothing_is_left()
}

fn ports_outside_the_grant(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let cases = [("80:80", "80/tcp"), ("1023:80/udp", "1023/udp"), ("1020-1030:20-30", "1020/tcp")];
    for (publish, port) in cases {
        let message = message("web", &["rootful0"], &[publish]);
        let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message);
        ensure_refused("NotAuthorized", &["alice", port, "1024"], attempt)?;
    }
    ensure_nothing_is_left()
}

fn host_address_outside_the_grant(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |installation| {
        installation.add_policy(
            // In the place of what is shipped.
            "50-default.toml",
            r#"
            [[grant]]
            users = ["alice"]
            networks = ["rootful0"]
            host_addresses = ["192.0.2.1"]
            ports = { tcp = ["8080"] }
            "#,
        )
    })?;
    let container = container_of(ALICE)?;
    for (publish, words) in [
        ("8080:80", &["alice"][..]),
        ("127.0.0.1:8080:80", &["alice", "127.0.0.1"][..]),
        ("192.0.2.1:8081:80", &["alice", "8081/tcp"][..]),
        ("192.0.2.1:8080:80/udp", &["alice", "8080/udp"][..]),
    ] {
        let message = message("web", &["rootful0"], &[publish]);
        let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message);
        ensure_refused("NotAuthorized", words, attempt)?;
    }
    let chosen = message("web", &["rootful0:ip=10.87.0.9"], &[]);
    let attempt = || ALICE.attach(fd(&container)?.as_fd(), &chosen);
    ensure_refused("NotAuthorized", &["alice", "address"], attempt)?;
    let others = container_of(BOB)?;
    let attempt = || BOB.attach(fd(&others)?.as_fd(), &message("web", &["rootful0"], &[]));
    ensure_refused("NotAuthorized", &["bob"], attempt)?;
    ensure_nothing_is_left()?;
    ALICE.set_up(&container, "web", "-p 192.0.2.1:8080:80").map(|_| ())
}

fn root_needs_no_grant(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(MALLORY)?;
    let attachment = ROOT.set_up(&container, "web", "--network rootful0:ip=10.87.0.9 -p 80:80")?;
    // It is hers nevertheless.
    ensure!(attachment.owner == MALLORY.uid(), "{attachment:?}");
    MALLORY.tear_down("web")?;
    ensure_nothing_is_left()
}

fn quota_is_kept(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |installation| {
        installation.add_policy(
            "50-default.toml",
            r#"
            [[grant]]
            groups = ["rootful-net"]
            networks = ["rootful0"]
            quota = { attachments = 1 }
            "#,
        )
    })?;
    let (first, second) = (container_of(ALICE)?, container_of(ALICE)?);
    ALICE.set_up(&first, "web", "")?;
    let attempt = || ALICE.attach(fd(&second)?.as_fd(), &message("other", &["rootful0"], &[]));
    ensure_refused("QuotaExceeded", &["alice", "1", "teardown"], attempt)?;
    // It is each user's own, and what is there does not count against itself.
    let bobs = container_of(BOB)?;
    BOB.set_up(&bobs, "web", "")?;
    ALICE.set_up(&first, "web", "--dns 9.9.9.9 --replace")?;
    ALICE.tear_down("web")?;
    ALICE.set_up(&second, "other", "").map(|_| ())
}

fn full_subnet(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |installation| {
        installation.add_network(
            r#"{"name": "tiny", "driver": "bridge", "network_interface": "rootful1",
                "subnets": [{"subnet": "10.99.0.0/30"}]}"#,
        )
    })?;
    let (first, second) = (container_of(ALICE)?, container_of(ALICE)?);
    let attachment = ROOT.set_up(&first, "web", "--network tiny")?;
    ensure!(attachment.interfaces[0].addresses == ["10.99.0.2/30"], "{attachment:?}");
    let attempt = || ROOT.attach(fd(&second)?.as_fd(), &message("other", &["tiny"], &[]));
    ensure_refused("AddressExhausted", &["10.99.0.0/30", "tiny"], attempt)?;
    // A lease that nobody uses is given away where there is no other address.
    ALICE.tear_down("web")?;
    let attachment = ROOT.set_up(&second, "other", "--network tiny")?;
    ensure!(attachment.interfaces[0].addresses == ["10.99.0.2/30"], "{attachment:?}");
    Ok(())
}

fn detaching_others(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let attachment = ALICE.set_up(&container, "web", "")?;
    let alices = DetachOptions { owner: Some(ALICE.uid()), ..DetachOptions::default() };
    for user in [BOB, MALLORY] {
        let attempt = || user.detach("web", &alices);
        ensure_refused("NotAuthorized", &["10001", "root"], attempt)?;
        let path = format!("/io/rootful_net1/attachment/_{}", attachment.id);
        ensure_refused("NotAuthorized", &["10001"], || user.detach_path(&path))?;
        let namespace = fd(&container)?;
        let attempt = || user.detach_namespace(namespace.as_fd());
        ensure_refused("NamespaceRefused", &["10001"], attempt)?;
        // By name it is only ever one's own.
        ensure!(user.detach("web", &DetachOptions::default())? == Ok(false));
    }
    ensure!(ROOT.detach("web", &DetachOptions::default())? == Ok(false));
    ensure!(ROOT.detach("web", &alices)? == Ok(true));
    ensure_nothing_is_left()
}

fn exit_codes(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let (alices, mallorys) = (container_of(ALICE)?, container_of(MALLORY)?);
    let (alices_pid, mallorys_pid) = (alices.pid().to_string(), mallorys.pid().to_string());
    ALICE.set_up(&alices, "web", "-p 8080:80")?;
    let set_up = |user: User, pid: &str, arguments: &str| {
        let mut all = vec!["setup", "--pid", pid];
        all.extend(arguments.split_whitespace());
        user.run(&all)
    };
    let cases = [
        (2, set_up(ALICE, &alices_pid, "--name web -p 70000:80")?, "70000"),
        (
            2,
            set_up(ALICE, &alices_pid, "--name web --replace --network rootful0:ip=10.87.0.1")?,
            "10.87.0.1",
        ),
        (3, set_up(MALLORY, &mallorys_pid, "--name web")?, "mallory"),
        (3, set_up(MALLORY, &alices_pid, "--name web")?, "another user"),
        (4, set_up(ALICE, &alices_pid, "--name web --network nosuch")?, "nosuch"),
        (4, ALICE.run(&["inspect", "nosuch"])?, "nosuch"),
        (5, set_up(ALICE, &alices_pid, "--name web -p 8081:80")?, "--replace"),
        (7, set_up(ALICE, "4194303", "--name web")?, "4194303"),
    ];
    for (code, answer, word) in cases {
        ensure!(answer.code == Some(code), "{code}: {answer:?}");
        ensure!(answer.output.is_empty(), "{answer:?}");
        ensure!(answer.error.contains(word), "{word}: {answer:?}");
    }
    Ok(())
}
