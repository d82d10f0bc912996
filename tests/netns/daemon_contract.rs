//! The live objects against the contract in `dbus/`, and what the bus is told of changes.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use rootful_net_dbus::name::{BUS_NAME, MANAGER_PATH};
use rootful_net_dbus::{ManagerProxy, objects};
use rootful_net_tests::Test;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::installation::source_dir;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::message;
use roxmltree::{Document, Node, ParsingOptions};
use zbus::fdo::IntrospectableProxy;
use zbus::{Connection, Fd, MatchRule, MessageStream, message::Type};

use crate::daemon::{ALICE, BOB, DEADLINE, MALLORY, ROOT, System, container_of, fd};

pub(crate) const TESTS: &[Test] = &[
    ("contract::live_objects_are_what_the_files_say", live_objects),
    ("contract::object_manager_lists_attachments_and_networks", object_manager),
    ("contract::changes_are_signalled", changes_are_signalled),
    ("contract::attach_time_is_measured", attach_time),
];

fn live_objects(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    ALICE.set_up(&container, "web", "")?;
    // Everybody may look.
    MALLORY.on_bus(async |connection| {
        let attachments = objects::attachments(&connection).await?;
        let (attachment_path, _) = attachments.first().context("no attachment")?;
        let live = [
            ("Manager", MANAGER_PATH),
            ("Attachment", attachment_path.as_str()),
            ("Network", "/io/rootful_net1/network/rootful0"),
        ];
        for (name, path) in live {
            let interface = format!("io.rootful_net1.{name}");
            let file = source_dir().join(format!("dbus/{interface}.xml"));
            let proxy = IntrospectableProxy::builder(&connection)
                .destination(BUS_NAME)
                .path(path)
                .build()
                .await?;
            let live = outline(&proxy.introspect().await?, &interface)?;
            let file = outline(&fs::read_to_string(file)?, &interface)?;
            let missing: Vec<_> = file.difference(&live).collect();
            let undocumented: Vec<_> = live.difference(&file).collect();
            ensure!(
                missing.is_empty() && undocumented.is_empty(),
                "{path}: not there: {missing:#?}; not in the file: {undocumented:#?}"
            );
            ensure!(file.len() > 1, "{interface} has nothing in it");
        }
        Ok(())
    })
}

/// Every element below the interface as a line: its ancestors' names and its attributes. The order of
/// arguments counts, that of anything else does not.
fn outline(xml: &str, interface: &str) -> Result<BTreeSet<String>> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(xml, options)?;
    let interfaces = document.root_element().children().filter(Node::is_element);
    let mut lines = BTreeSet::new();
    for node in interfaces.filter(|node| node.attribute("name") == Some(interface)) {
        add_lines(node, "", &mut lines);
    }
    Ok(lines)
}

fn add_lines(node: Node<'_, '_>, path: &str, lines: &mut BTreeSet<String>) {
    let mut attributes: Vec<_> = node
        .attributes()
        .map(|attribute| format!("{}={}", attribute.name(), attribute.value()))
        .collect();
    attributes.sort_unstable();
    let path = format!("{path}/{} {}", node.tag_name().name(), attributes.join(" "));
    for (position, child) in node.children().filter(Node::is_element).enumerate() {
        let is_argument = child.tag_name().name() == "arg";
        let prefix = if is_argument { format!("{path}#{position}") } else { path.clone() };
        add_lines(child, &prefix, lines);
    }
    lines.insert(path);
}

fn object_manager(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let containers = (container_of(ALICE)?, container_of(BOB)?);
    let alices = ALICE.set_up(&containers.0, "web", "-p 8080:80 --dns 9.9.9.9")?;
    let bobs = BOB.set_up(&containers.1, "web", "--network-alias www")?;
    let (mut attachments, networks) = MALLORY.on_bus(async |connection| {
        let attachments = objects::attachments(&connection).await?;
        Ok((attachments, objects::networks(&connection).await?))
    })?;
    attachments.sort_by_key(|(_, attachment)| attachment.owner);
    let (paths, attachments): (Vec<_>, Vec<_>) = attachments.into_iter().unzip();
    ensure!(attachments == [alices, bobs], "{attachments:#?}");
    for (path, attachment) in paths.iter().zip(&attachments) {
        ensure!(path.as_str().ends_with(&attachment.id), "{path} is {}", attachment.id);
    }
    ensure!(attachments[0].dns == ["9.9.9.9"], "{:?}", attachments[0]);
    ensure!(attachments[1].interfaces[0].aliases == ["www"], "{:?}", attachments[1]);
    let names: Vec<_> = networks.iter().map(|network| network.name.as_str()).collect();
    ensure!(names == ["rootful0"], "{names:?}");
    ensure!(networks[0].subnets[0].subnet == "10.87.0.0/16", "{networks:?}");
    Ok(())
}

fn changes_are_signalled(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let namespace = fd(&container)?;
    ALICE.on_bus(async |connection| {
        let mut signals = Signals::listen(&connection).await?;
        let manager = ManagerProxy::new(&connection).await?;
        let attach = async |publish: &str, replace| {
            let mut message = message("web", &["rootful0"], &[publish]);
            message.replace = replace;
            let fd = Fd::from(&namespace);
            let options = message.options();
            let (networks, publish) = (&message.networks, &message.publish);
            manager.attach(fd, &message.name, networks, publish, &options).await
        };
        let (path, changed) = attach("8080:80", false).await?;
        ensure!(changed);
        signals.expect("InterfacesAdded", MANAGER_PATH, path.as_str()).await?;

        let (same, changed) = attach("8080:80", false).await?;
        ensure!(same == path && !changed);

        let (same, changed) = attach("8081:80", true).await?;
        ensure!(same == path && changed);
        // That nothing came in between says that the one without a change was silent.
        signals.expect("PropertiesChanged", path.as_str(), "\"Ports\"").await?;

        ensure!(manager.detach("web", &Default::default()).await?);
        signals.expect("InterfacesRemoved", MANAGER_PATH, path.as_str()).await
    })
}

/// The signals of the service.
struct Signals {
    stream: MessageStream,
}

impl Signals {
    async fn listen(connection: &Connection) -> Result<Self> {
        let rule = MatchRule::builder().msg_type(Type::Signal).sender(BUS_NAME).build()?;
        let stream = MessageStream::for_match_rule(rule, connection, None).await?;
        Ok(Self { stream })
    }

    /// Takes the next one, which must be this, from this object, about `subject`.
    async fn expect(&mut self, member: &str, path: &str, subject: &str) -> Result<()> {
        let next = tokio::time::timeout(DEADLINE, self.stream.next()).await;
        let signal = next.context("no signal")?.context("no connection")??;
        let header = signal.header();
        let found = (header.member().map(|name| name.as_str()), header.path().map(|p| p.as_str()));
        ensure!(found == (Some(member), Some(path)), "{signal:?} instead of {member}");
        let body = signal.body();
        let body: zbus::Structure<'_> = body.deserialize()?;
        let body = format!("{body}");
        ensure!(body.contains(subject), "{member} is not about {subject}: {body}");
        Ok(())
    }
}

/// A number to look at: what it may be depends on the machine.
fn attach_time(sandbox: &Sandbox) -> Result<()> {
    const ROUNDS: usize = 20;
    let _system = System::start(sandbox)?;
    let containers = (0..=ROUNDS).map(|_| container_of(ALICE)).collect::<Result<Vec<_>>>()?;
    let namespaces = containers.iter().map(fd).collect::<Result<Vec<_>>>()?;
    let mut seen = ROOT.on_bus(async |connection| {
        let manager = ManagerProxy::new(&connection).await?;
        let (networks, publish) = (["rootful0".to_owned()], [":80".to_owned()]);
        let mut seen = Vec::new();
        for (number, namespace) in namespaces.iter().enumerate() {
            let name = format!("c{number}");
            let started = std::time::Instant::now();
            let fd = Fd::from(namespace);
            manager.attach(fd, &name, &networks, &publish, &Default::default()).await?;
            seen.push(started.elapsed().as_micros());
        }
        Ok(seen)
    })?;
    let log = Daemon::log()?;
    let own = log.lines().filter_map(|line| line.split_once("microseconds=")?.1.parse().ok());
    let mut own: Vec<u128> = own.collect();
    ensure!(own.len() == seen.len(), "{log}");
    // The first makes the bridge and the table.
    let first = (seen.remove(0), own.remove(0));
    seen.sort_unstable();
    own.sort_unstable();
    println!(
        "attach: {} µs for the client, {} µs in the daemon (median of {ROUNDS}; the first on the network: {} and {})",
        seen[ROUNDS / 2],
        own[ROUNDS / 2],
        first.0,
        first.1
    );
    Ok(())
}
