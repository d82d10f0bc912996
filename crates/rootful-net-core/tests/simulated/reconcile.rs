//! Reconciliation: it finds nothing to do where nothing was damaged, repairs every single damage, and leaves alone what
//! is right and what is somebody else's.

use std::collections::BTreeSet;

use expect_test::expect_file;
use rootful_net_core::name::InterfaceName;
use rootful_net_core::observed::{LinkKind, Observed};
use rootful_net_core::plan::Step;
use rootful_net_core::planner::{self, Change, Scope};
use rootful_net_core::ruleset;

use crate::damage::Damage;
use crate::machine::{Asked, Machine};
use crate::picture::{Picture, forwards_like, touched, unguarded};

/// Two containers that share a network of both families, one that is on two others, and one with a network of its own.
fn inhabited() -> Machine {
    let mut machine = Machine::new();
    for asked in [web(), db(), shop(), cache()] {
        machine.attach_new(&asked);
    }
    machine
}

fn web() -> Asked {
    let publish = ["8080:80", "192.0.2.1:5353:53/udp", "[2001:db8::1]:443:443"];
    Asked::new((1000, "web", 100), &["rootful0"], &publish)
}

fn db() -> Asked {
    Asked::new((1001, "db", 101), &["rootful0"], &["0.0.0.0:5432:5432"])
}

fn shop() -> Asked {
    Asked::new((1000, "shop", 102), &["apart", "closed"], &["8443:443"])
}

fn cache() -> Asked {
    Asked::new((1001, "cache", 103), &["closed"], &[])
}

pub(crate) fn assert_nothing_to_do(machine: &Machine, when: &str) {
    for scope in [Scope::Everything, Scope::AllButRules] {
        let change = machine.plan_reconcile(scope);
        assert_eq!(change, Change::default(), "{when}: {scope:?} plans\n{}", change.plan);
    }
    assert_eq!(machine.refused, [], "{when}");
}

/// The host holds what one does on which nothing else ever happened.
pub(crate) fn assert_as_fresh(machine: &Machine, when: &str) {
    let fresh = machine.fresh();
    let differences = Picture::of(&machine.host).differences(&Picture::of(&fresh.host));
    assert!(differences.is_empty(), "{when}:\n{differences}");
    assert!(forwards_like(&machine.host, &fresh.host), "{when}");
}

#[test]
fn what_requests_made_is_adopted_without_touching_it() {
    let mut machine = Machine::new();
    assert_nothing_to_do(&machine, "nothing is attached");
    let elsewhere = Asked::new((1000, "web", 100), &["apart", "rootful0"], &["8080:80"]);
    let restarted = Asked::new((1001, "db", 201), &["rootful0"], &["0.0.0.0:5432:5432"]);
    let moved = Asked::new((1000, "shop", 102), &["apart", "closed"], &["9443:443", "8443:443"]);
    type Happening<'a> = (&'a str, &'a dyn Fn(&mut Machine));
    let steps: [Happening<'_>; 10] = [
        ("the first", &|machine| _ = machine.attach_new(&web())),
        ("a second on the same network", &|machine| _ = machine.attach_new(&db())),
        ("one on two networks", &|machine| _ = machine.attach_new(&shop())),
        ("one on a network without a way out", &|machine| _ = machine.attach_new(&cache())),
        ("other ports", &|machine| _ = machine.attach_new(&moved.clone().replacing())),
        ("another network", &|machine| _ = machine.attach_new(&elsewhere.clone().replacing())),
        ("another namespace", &|machine| _ = machine.attach_new(&restarted.clone().replacing())),
        ("one of several gone", &|machine| machine.detach(&web().holder())),
        ("two more gone", &|machine| {
            machine.detach(&db().holder());
            machine.detach(&shop().holder());
        }),
        ("all gone", &|machine| machine.detach(&cache().holder())),
    ];
    for (when, step) in steps {
        step(&mut machine);
        assert_nothing_to_do(&machine, when);
        assert_as_fresh(&machine, when);
    }
}

#[test]
fn every_single_damage_is_repaired_and_nothing_else_is_touched() {
    let intact = inhabited();
    for damage in Damage::ALL {
        let mut places = 0;
        for place in 0.. {
            let mut machine = intact.clone();
            let Some(concerned) = damage.inflict(&mut machine.host, place) else { break };
            let when = format!("{damage:?} {place}");
            assert!(machine.host != intact.host, "{when}: that is no damage");
            let change = machine.reconcile(Scope::Everything);
            let named: BTreeSet<&str> = steps(&change).filter_map(touched).collect();
            let others = named.iter().find(|link| !concerned.contains(**link));
            assert_eq!(others, None, "{when}: touched without need\n{}", change.plan);
            assert!(change.released.is_empty(), "{when}");
            assert_nothing_to_do(&machine, &when);
            assert_as_fresh(&machine, &when);
            assert_eq!(
                Picture::of_others(&machine.host),
                Picture::of_others(&intact.host),
                "{when}"
            );
            places += 1;
        }
        assert!(places > 0, "{damage:?} is not to be had on this host");
    }
}

#[test]
fn two_damages_at_once_are_repaired_in_one_round() {
    let intact = inhabited();
    for first in Damage::ALL {
        for second in Damage::ALL {
            let mut machine = intact.clone();
            first.inflict(&mut machine.host, 0);
            second.inflict(&mut machine.host, 1);
            let when = format!("{first:?} and {second:?}");
            machine.reconcile(Scope::Everything);
            assert_nothing_to_do(&machine, &when);
            assert_as_fresh(&machine, &when);
        }
    }
}

#[test]
fn without_the_rules_everything_else_is_repaired_all_the_same() {
    let intact = inhabited();
    for damage in Damage::ALL.into_iter().filter(|damage| !damage.is_of_rules()) {
        for place in 0.. {
            let mut machine = intact.clone();
            if damage.inflict(&mut machine.host, place).is_none() {
                break;
            }
            let when = format!("{damage:?} {place}");
            let change = machine.reconcile(Scope::AllButRules);
            assert!(!change_rules(&change), "{when}: changes rules\n{}", change.plan);
            assert_nothing_to_do(&machine, &when);
            assert_as_fresh(&machine, &when);
        }
    }
}

#[test]
fn a_table_that_is_gone_is_made_anew_whatever_is_known_of_the_rules() {
    let intact = inhabited();
    for place in 0..2 {
        for stray in [false, true] {
            let mut machine = intact.clone();
            Damage::TableGone.inflict(&mut machine.host, place);
            if stray {
                Damage::StrayVeth.inflict(&mut machine.host, 0);
            }
            machine.reconcile(Scope::AllButRules);
            let when = format!("table {place}, stray {stray}");
            assert_nothing_to_do(&machine, &when);
            assert_as_fresh(&machine, &when);
        }
    }
}

/// What a detach that broke off leaves: the link, and the element that closes its port.
#[test]
fn a_stray_whose_port_is_closed_already_is_removed_with_its_element() {
    for scope in [Scope::Everything, Scope::AllButRules] {
        let mut machine = inhabited();
        let gone = machine.ledger.of_holder(&web().holder()).unwrap().clone();
        let change = machine.site.plan_detach(&machine.host, &machine.ledger, &gone);
        machine.host.carry_out(&change.plan.steps, None).unwrap();
        machine.ledger.remove(gone.id());
        machine.reconcile(scope);
        assert_eq!(machine.refused, [], "{scope:?}");
        // What is said to be right is not looked at, and so keeps what was wrong about it.
        machine.reconcile(Scope::Everything);
        assert_nothing_to_do(&machine, "removed");
        assert_as_fresh(&machine, "removed");
    }
}

#[test]
fn a_container_whose_links_are_gone_is_released_and_leaves_nothing() {
    let intact = inhabited();
    for asked in [web(), db(), shop(), cache()] {
        let mut machine = intact.clone();
        machine.host.end(asked.namespace);
        let id = machine.ledger.of_holder(&asked.holder()).unwrap().id().clone();
        assert_eq!(machine.reconcile(Scope::Everything).released, [id]);
        assert_nothing_to_do(&machine, asked.request.name.as_str());
        assert_as_fresh(&machine, asked.request.name.as_str());
    }
    let mut machine = intact;
    for asked in [web(), db(), shop(), cache()] {
        machine.host.end(asked.namespace);
    }
    assert_eq!(machine.reconcile(Scope::Everything).released.len(), 4);
    assert_nothing_to_do(&machine, "all at once");
    assert_as_fresh(&machine, "all at once");
}

#[test]
fn one_link_of_two_gone_releases_the_container_and_removes_the_other() {
    let mut machine = inhabited();
    let shop = machine.ledger.of_holder(&shop().holder()).unwrap().clone();
    machine.host.delete_link(shop.interfaces()[0].veth.host_link.as_str());
    assert_eq!(machine.reconcile(Scope::Everything).released, [shop.id().clone()]);
    assert!(!machine.host.links.contains_key(shop.interfaces()[1].veth.host_link.as_str()));
    assert_nothing_to_do(&machine, "released");
    assert_as_fresh(&machine, "released");
}

#[test]
fn a_strangers_link_in_the_place_of_a_bridge_is_left_alone() {
    for kind in [LinkKind::Bridge, LinkKind::Other("dummy".to_owned())] {
        let mut machine = inhabited();
        machine.host.delete_link("rootful0");
        machine.host.add_link("rootful0", kind.clone(), None).up = true;
        let foreign = machine.host.links["rootful0"].clone();
        let sysctls = machine.host.sysctls.clone();
        let change = machine.reconcile(Scope::Everything);
        let named: Vec<&str> = steps(&change).filter_map(touched).collect();
        assert_eq!(named, ["rootful0"], "{}", change.plan);
        let said: Vec<_> = machine.refused.iter().map(|refused| refused.0.as_str()).collect();
        assert_eq!(said, ["a link named rootful0 exists already"]);
        assert_eq!(machine.host.links["rootful0"], foreign);
        assert_eq!(machine.host.sysctls, sysctls);
        assert_eq!(machine.host.addresses.get("rootful0"), None);
        let ports = machine.host.links.values().filter(|link| link.master == Some(foreign.index));
        assert_eq!(ports.count(), 0, "a container's link was plugged into a stranger's bridge");
        // Once it is gone, ours comes back.
        machine.host.delete_link("rootful0");
        machine.refused.clear();
        machine.reconcile(Scope::Everything);
        assert_nothing_to_do(&machine, "back again");
        assert_as_fresh(&machine, "back again");
    }
}

#[test]
fn forwarding_comes_on_again_without_listening_to_containers() {
    let mut machine = inhabited();
    machine.host.add_link("wlan0", LinkKind::Other(String::new()), None);
    Damage::ForwardingOff.inflict(&mut machine.host, 1);
    Damage::AdvertisementsAccepted.inflict(&mut machine.host, 0);
    let change = machine.reconcile(Scope::Everything);
    let set = steps(&change).filter_map(|step| match step {
        Step::SetSysctl { sysctl, value } => Some(format!("{sysctl} = {value}")),
        _ => None,
    });
    let expected = [
        "net/ipv6/conf/rootful0/accept_ra = 0",
        "net/ipv6/conf/wlan0/accept_ra = 2",
        "net/ipv6/conf/all/forwarding = 1",
    ];
    assert_eq!(set.collect::<Vec<_>>(), expected);
}

#[test]
fn a_reservation_that_is_in_the_way_of_another_is_given_back_first() {
    let mut machine = inhabited();
    let wanted = machine.host.reserved.iter().find(|port| port.dual_stack).copied().unwrap();
    machine.host.reserved.remove(&wanted);
    let narrower = rootful_net_core::publish::Reservation {
        address: "192.0.2.7".parse().unwrap(),
        dual_stack: false,
        ..wanted
    };
    machine.host.reserved.insert(narrower);
    machine.reconcile(Scope::Everything);
    assert_nothing_to_do(&machine, "given back");
}

/// At every step of a repair, and whichever step is refused.
#[test]
fn no_port_is_up_without_its_guard_while_a_repair_goes_on() {
    let damaged =
        [Damage::PortDown, Damage::PortUnplugged, Damage::BridgeGone, Damage::StationMissing];
    for damage in damaged {
        let mut machine = inhabited();
        damage.inflict(&mut machine.host, 0);
        let ports = machine.ledger.attachments().flat_map(|attachment| attachment.interfaces());
        let ports: Vec<String> = ports.map(|port| port.veth.host_link.to_string()).collect();
        // The ruleset went while they were down: that costs nobody anything yet.
        ports.iter().for_each(|port| machine.host.take_down(port));
        Damage::RulesetFlushed.inflict(&mut machine.host, 0);
        let change = machine.plan_reconcile(Scope::Everything);
        for step in &change.plan.steps {
            machine.host.apply(step, None).unwrap();
            let open = unguarded(&machine.host);
            assert_eq!(open, None, "{damage:?} behind {step}\n{}", change.plan);
        }
    }
}

#[test]
fn a_link_says_itself_whether_it_is_intact() {
    let intact = inhabited();
    let of_links = [
        Damage::BridgeGone,
        Damage::BridgeDown,
        Damage::BridgeMac,
        Damage::BridgeMtu,
        Damage::PortDown,
        Damage::PortUnplugged,
        Damage::PortElsewhere,
        Damage::PortLearns,
        Damage::PortUnlocked,
        Damage::PortGroups,
        Damage::PortMtu,
    ];
    let damaged_links = |machine: &Machine| -> BTreeSet<String> {
        let links = intact.host.links.keys();
        links.filter(|link| !is_intact(machine, link)).cloned().collect()
    };
    assert_eq!(damaged_links(&intact), BTreeSet::new());
    for damage in of_links {
        for place in 0.. {
            let mut machine = intact.clone();
            let Some(concerned) = damage.inflict(&mut machine.host, place) else { break };
            assert_eq!(damaged_links(&machine), concerned, "{damage:?} {place}");
        }
    }
}

fn is_intact(machine: &Machine, link: &str) -> bool {
    let world = machine.site.world(&machine.ledger);
    let name: InterfaceName = link.parse().unwrap();
    let observed: Observed = machine.host.observe(&planner::link_query(world, &name), None);
    planner::is_link_intact(world, &observed, link)
}

fn steps(change: &Change) -> impl Iterator<Item = &Step> {
    change.plan.steps.iter().chain(&change.plan.afterwards)
}

fn change_rules(change: &Change) -> bool {
    steps(change).any(|step| matches!(step, Step::ChangeRules(_)))
}

fn plan_after(damage: Damage, place: usize) -> String {
    let mut machine = inhabited();
    damage.inflict(&mut machine.host, place).unwrap();
    machine.plan_reconcile(Scope::Everything).plan.to_string()
}

#[test]
fn a_bridge_that_is_gone_is_made_and_its_ports_plugged_in() {
    let plan = plan_after(Damage::BridgeGone, 2);
    expect_file!["../../../../tests/golden/plans/repair-bridge.txt"].assert_eq(&plan);
}

#[test]
fn one_changed_element_is_put_right_alone() {
    let plan = plan_after(Damage::ElementChanged, 0);
    expect_file!["../../../../tests/golden/plans/repair-element.txt"].assert_eq(&plan);
}

#[test]
fn a_port_on_another_bridge_is_plugged_in_where_it_belongs() {
    let plan = plan_after(Damage::PortElsewhere, 0);
    expect_file!["../../../../tests/golden/plans/repair-port.txt"].assert_eq(&plan);
}

#[test]
fn a_stray_is_closed_and_then_removed() {
    let plan = plan_after(Damage::StrayVeth, 2);
    expect_file!["../../../../tests/golden/plans/repair-stray.txt"].assert_eq(&plan);
}

#[test]
fn ports_are_reserved_again_behind_a_restart() {
    let mut machine = inhabited();
    machine.host.reserved.clear();
    let plan = machine.plan_reconcile(Scope::AllButRules).plan.to_string();
    expect_file!["../../../../tests/golden/plans/repair-reservations.txt"].assert_eq(&plan);
}

/// The elements that close strays are told from all others by their comment.
#[test]
fn no_attachment_can_be_called_stray() {
    let element = ruleset::port_element(&"rn0123456789".parse().unwrap(), "stray".to_owned());
    assert!(
        element.comment.unwrap().parse::<rootful_net_core::attachment::AttachmentId>().is_err()
    );
}
