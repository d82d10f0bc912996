//! A replacement that broke off at any of its steps: from the record of it and the container's namespace, what was
//! there before is whole again.

use rootful_net_core::attachment::Attachment;
use rootful_net_core::plan::Step;
use rootful_net_core::planner::{self, AttachDecision, Scope};

use crate::machine::{Asked, Machine};
use crate::picture::unguarded;
use crate::reconcile::{assert_as_fresh, assert_nothing_to_do};

/// A replacement that was begun.
struct Replacement {
    /// The host before it.
    machine: Machine,
    previous: Attachment,
    new: Attachment,
    steps: Vec<Step>,
}

/// Every way in which what a container has can be replaced by something else in the same namespace.
fn replacements() -> Vec<(&'static str, Replacement)> {
    let cases: [(&str, &[&str], &[&str]); 9] = [
        ("other ports", &["rootful0"], &["rootful0"]),
        ("another network", &["rootful0"], &["apart"]),
        ("another MAC address", &["rootful0"], &["rootful0:mac=02:00:00:00:00:77"]),
        ("another address", &["rootful0"], &["rootful0:ip=10.87.0.9"]),
        ("another name of the interface", &["rootful0"], &["rootful0:interface_name=lan0"]),
        ("a further network", &["rootful0"], &["rootful0", "apart"]),
        ("a network less", &["closed", "rootful0"], &["rootful0"]),
        ("the other order", &["rootful0", "apart"], &["apart", "rootful0"]),
        ("one of two changed", &["rootful0", "closed"], &["rootful0", "apart"]),
    ];
    let begin = |(name, old, new): (&'static str, &[&str], &[&str])| {
        let mut machine = Machine::new();
        machine.attach_new(&Asked::new((1001, "db", 101), &["rootful0"], &["5432:5432"]));
        let web = (1000, "web", 100);
        let previous = machine.attach_new(&Asked::new(web, old, &["8080:80", "5353:53/udp"]));
        let asked = Asked::new(web, new, &["8080:80", "9090:90"]).replacing();
        let decision = machine.site.decide(&machine.host, &machine.ledger, &asked).unwrap();
        let AttachDecision::Change(change) = decision else { panic!("it is something else") };
        let new = change.attached.expect("to attach makes an attachment");
        (name, Replacement { machine, previous, new, steps: change.plan.steps })
    };
    cases.into_iter().map(begin).collect()
}

impl Replacement {
    /// The host where the service was killed behind the first `done` steps, and is started again.
    fn broken_off(&self, done: usize) -> Machine {
        let mut machine = self.machine.clone();
        for step in &self.steps[..done] {
            machine.host.apply(step, Some(self.new.namespace())).unwrap();
        }
        machine.host.reserved.clear();
        machine
    }
}

#[test]
fn a_replacement_that_breaks_off_anywhere_is_taken_back_whole() {
    for (name, replacement) in replacements() {
        for done in 0..=replacement.steps.len() {
            let mut machine = replacement.broken_off(done);
            for step in planner::restore(&replacement.new, &replacement.previous) {
                machine.host.apply(&step, Some(replacement.previous.namespace())).unwrap();
                let open = unguarded(&machine.host);
                assert_eq!(open, None, "{name}: {done} steps done, and {step}");
            }
            let change = machine.reconcile(Scope::Everything);
            let when = format!("{name}: {done} steps done");
            assert!(change.released.is_empty(), "{when}");
            assert_nothing_to_do(&machine, &when);
            assert_as_fresh(&machine, &when);
        }
    }
}

#[test]
fn taking_back_can_itself_break_off_anywhere() {
    for (name, replacement) in replacements() {
        let restore = planner::restore(&replacement.new, &replacement.previous);
        for done in 0..=replacement.steps.len() {
            for restored in 0..restore.len() {
                let mut machine = replacement.broken_off(done);
                for step in restore[..restored].iter().chain(&restore) {
                    machine.host.apply(step, Some(replacement.previous.namespace())).unwrap();
                }
                machine.reconcile(Scope::Everything);
                let when = format!("{name}: {done} steps done, {restored} taken back");
                assert_nothing_to_do(&machine, &when);
                assert_as_fresh(&machine, &when);
            }
        }
    }
}

/// Without that a container would lose its network where nobody kept its namespace.
#[test]
fn what_had_not_begun_with_the_links_is_told_from_what_had() {
    let mut recognized = Vec::new();
    for (name, replacement) in replacements() {
        let (new, previous) = (&replacement.new, &replacement.previous);
        let query = planner::restore_query(new, previous);
        let is_untouched = |machine: &Machine| {
            planner::is_untouched(new, previous, &machine.host.observe(&query, None))
        };
        if is_untouched(&replacement.machine) {
            recognized.push(name);
        }
        let restore = planner::restore(new, previous);
        for done in 0..=replacement.steps.len() {
            for restored in 0..=restore.len() {
                let mut machine = replacement.broken_off(done);
                for step in &restore[..restored] {
                    machine.host.apply(step, Some(previous.namespace())).unwrap();
                }
                let is_whole = machine.host.namespaces == replacement.machine.host.namespaces;
                let when = format!("{name}: {done} steps done, {restored} taken back");
                assert!(is_whole || !is_untouched(&machine), "{when}");
            }
        }
    }
    // In the others old and new links have the same names.
    let expected = ["other ports", "another network", "a further network", "one of two changed"];
    assert_eq!(recognized, expected);
}

#[test]
fn links_that_stay_are_not_touched() {
    for (name, replacement) in replacements() {
        let restore = planner::restore(&replacement.new, &replacement.previous);
        for kept in replacement.previous.interfaces() {
            let mut interfaces = replacement.new.interfaces().iter();
            if !interfaces.any(|interface| interface.is_same_link(kept)) {
                continue;
            }
            let named =
                restore.iter().find(|step| step.to_string().contains(kept.veth.host_link.as_str()));
            assert_eq!(named, None, "{name}");
        }
    }
}

#[test]
fn only_other_ports_need_no_namespace_to_be_taken_back() {
    let without = replacements().into_iter().filter(|(_, replacement)| {
        planner::restore(&replacement.new, &replacement.previous).is_empty()
    });
    let without: Vec<_> = without.map(|(name, _)| name).collect();
    assert_eq!(without, ["other ports"]);
}

/// Without the namespace nothing can be made in it: what is left goes.
#[test]
fn a_replacement_that_cannot_be_taken_back_leaves_nothing() {
    for (name, replacement) in replacements() {
        for done in 0..=replacement.steps.len() {
            let mut machine = replacement.broken_off(done);
            machine.ledger.remove(replacement.previous.id());
            machine.reconcile(Scope::Everything);
            let when = format!("{name}: {done} steps done");
            assert_nothing_to_do(&machine, &when);
            assert_as_fresh(&machine, &when);
        }
    }
}

#[test]
fn a_replacement_of_which_a_step_fails_takes_itself_back() {
    for (name, replacement) in replacements() {
        for failing in 0..replacement.steps.len() {
            let mut machine = replacement.machine.clone();
            let namespace = Some(replacement.new.namespace());
            let steps = &replacement.steps;
            let failed = machine.host.carry_out_refusing(steps, namespace, Some(failing));
            let when = format!("{name}: refused is {}", steps[failing]);
            assert_eq!(failed.unwrap_err().undo_failures, [], "{when}");
            // A bridge that was repaired or parameters that were set stay so.
            machine.reconcile(Scope::Everything);
            assert_nothing_to_do(&machine, &when);
            assert_as_fresh(&machine, &when);
        }
    }
}

#[test]
fn an_attachment_of_which_a_step_fails_leaves_nothing() {
    let asked = Asked::new((1000, "web", 100), &["apart", "rootful0"], &["8080:80"]);
    let mut machine = Machine::new();
    machine.attach_new(&Asked::new((1001, "db", 101), &["rootful0"], &["5432:5432"]));
    machine.host.namespaces.entry(asked.namespace).or_default();
    let decision = machine.site.decide(&machine.host, &machine.ledger, &asked).unwrap();
    let AttachDecision::Change(change) = decision else { panic!("it is new") };
    for failing in 0..change.plan.steps.len() {
        let mut machine = machine.clone();
        let steps = &change.plan.steps;
        let failed = machine.host.carry_out_refusing(steps, Some(asked.namespace), Some(failing));
        let when = format!("refused is {}", steps[failing]);
        assert_eq!(failed.unwrap_err().undo_failures, [], "{when}");
        assert_nothing_to_do(&machine, &when);
        assert_as_fresh(&machine, &when);
    }
}
