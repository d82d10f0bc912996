//! The order of things in the engine: in every state that requests, deaths, events, crashes and refusals can lead to,
//! nothing is lost that was promised and nothing stays that is dead. That is gone through in full, about 155,000 states
//! in all; `cargo test -p rootful-net-core --test simulated ordering -- --nocapture` says how many each time.
//!
//! Always: no port of ours is up without its guard; no two attachments have one address or port; nothing is released
//! because of an event while all its links are there. When the engine is idle: the records say what the ledger says.
//! When nothing is under way: the host holds what the ledger asks for and no more, and whatever was answered is so.

use std::collections::BTreeSet;
use std::rc::Rc;

use rootful_net_core::attachment::NamespaceId;

use crate::engine::{Call, Engine, Memory, Mistake};
use crate::explore::{Explored, Violation, explore};
use crate::machine::{Asked, Site};
use crate::state::Mishaps;

const NONE: Mishaps =
    Mishaps { crashes: 0, given_up: 0, duplicates: 0, losses: 0, refusals: 0, looks: 0 };

fn site() -> Rc<Site> {
    // Of one family and without names, which add nothing to the order of things.
    Site::new(&[
        r#"{"name": "one", "network_interface": "one0", "dns_enabled": false,
            "subnets": [{"subnet": "10.91.0.0/29"}]}"#,
        r#"{"name": "two", "network_interface": "two0", "dns_enabled": false,
            "subnets": [{"subnet": "10.92.0.0/29"}]}"#,
    ])
}

fn web(inode: u64, network: &str, publish: &[&str]) -> Asked {
    Asked::new((1000, "web", inode), &[network], publish)
}

fn namespaces(inodes: &[u64]) -> BTreeSet<NamespaceId> {
    inodes.iter().map(|&inode| NamespaceId { device: 4, inode }).collect()
}

fn detach_web() -> Call {
    Call::Detach(web(1, "one", &[]).holder())
}

/// A container that ends and is started again under its name, with a detachment that comes whenever it likes.
fn restart() -> Engine {
    Engine {
        site: site(),
        clients: vec![
            vec![Call::Attach(web(1, "one", &["8080:80"]))],
            vec![Call::Attach(web(2, "one", &["8080:80"]).replacing())],
            vec![detach_web()],
        ],
        mortal: namespaces(&[1, 2]),
        mishaps: NONE,
        is_managed: true,
        mistake: None,
        memory: Memory::default(),
    }
}

/// A container that is put on another network, and back with another MAC address.
fn replacement() -> Engine {
    let elsewhere = web(1, "two", &["8080:80"]).replacing();
    let back = web(1, "one:mac=02:00:00:00:00:77", &["9090:90"]).replacing();
    let first = web(1, "one", &["8080:80"]);
    Engine {
        clients: vec![vec![Call::Attach(first), Call::Attach(elsewhere), Call::Attach(back)]],
        mortal: namespaces(&[1]),
        ..restart()
    }
}

/// Two users' containers that want one port.
fn rivals() -> Engine {
    let db = Asked::new((1001, "db", 3), &["one"], &["8080:80"]);
    Engine {
        clients: vec![
            vec![Call::Attach(web(1, "one", &["8080:80"])), detach_web()],
            vec![Call::Attach(db.clone()), Call::Attach(db)],
        ],
        mortal: namespaces(&[1, 3]),
        ..restart()
    }
}

fn with(engine: Engine, mishaps: Mishaps) -> Engine {
    Engine { mishaps, ..engine }
}

/// Goes through all states, of which there are thousands: fewer would mean that little of this happens.
fn holds(name: &str, engine: &Engine) {
    match explore(engine) {
        Ok(Explored { states, quiescent }) => {
            println!("{name}: {states} states, nothing is under way in {quiescent} of them");
            assert!(states > 1000 && quiescent > 10, "{name}: {states} states, {quiescent}");
        }
        Err(violation) => panic!("{name}:\n{violation}"),
    }
}

#[test]
fn a_container_that_is_started_again_is_not_taken_for_its_dead_predecessor() {
    holds("in order", &restart());
    holds("twice and late", &with(restart(), Mishaps { duplicates: 2, ..NONE }));
    holds("lost", &with(restart(), Mishaps { losses: 1, looks: 1, ..NONE }));
}

#[test]
fn a_service_that_is_killed_anywhere_goes_on_where_it_was() {
    holds("restart", &with(restart(), Mishaps { crashes: 1, ..NONE }));
    holds("rivals", &with(rivals(), Mishaps { crashes: 1, ..NONE }));
}

#[test]
fn a_replacement_gives_the_new_or_leaves_the_old() {
    let mishaps = Mishaps { crashes: 2, given_up: 1, ..NONE };
    holds("killed", &with(replacement(), mishaps));
    let engine = Engine { is_managed: false, ..replacement() };
    holds("nobody keeps namespaces", &with(engine, Mishaps { crashes: 2, ..NONE }));
}

#[test]
fn a_step_that_the_kernel_refuses_is_taken_back_or_tried_again() {
    holds("replacement", &with(replacement(), Mishaps { refusals: 1, ..NONE }));
    holds("replacement, killed", &with(replacement(), Mishaps { refusals: 1, crashes: 1, ..NONE }));
    holds("restart", &with(restart(), Mishaps { refusals: 1, ..NONE }));
}

fn mistake(engine: Engine, mistake: Mistake) -> Violation {
    explore(&Engine { mistake: Some(mistake), ..engine }).unwrap_err()
}

/// What the checker is worth: it finds mistakes that are known to be some.
#[test]
fn mistakes_are_found() {
    let found = mistake(restart(), Mistake::TrustsEvents);
    assert_eq!(found.what, "web is released although it is whole", "{found}");
    let killed = |engine| with(engine, Mishaps { crashes: 1, given_up: 1, ..NONE });
    let found = mistake(killed(replacement()), Mistake::ForgetsReplacements);
    assert_eq!(found.what, "\"web\" of user 1000 was attached and lost that, and runs", "{found}");
    let found = mistake(killed(replacement()), Mistake::KeepsTooShort);
    assert_eq!(found.what, "\"web\" of user 1000 was attached and lost that, and runs", "{found}");
    let refused = with(restart(), Mishaps { refusals: 1, ..NONE });
    let found = mistake(refused, Mistake::FinishesRegardless);
    assert_eq!(found.what, "rn25fd31f338 is up and not guarded", "{found}");
    let found = mistake(killed(restart()), Mistake::RecordsNoEnd);
    assert_eq!(found.what, "\"web\" of user 1000 was detached and is attached", "{found}");
}
