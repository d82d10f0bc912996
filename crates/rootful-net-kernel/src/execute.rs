//! Carries out steps, in order, and takes back what was done when one fails. It decides nothing: a step says
//! all there is to say.

use std::error::Error;
use std::fmt;

use rootful_net_core::plan::Step;

use crate::error::KernelError;
use crate::namespace::Namespace;
use crate::{Kernel, conntrack, fault, interface, links, sysctl};
use fault::Point;

/// How many characters of a step stand in a message; one can have thousands of ports.
const MAX_HEADLINE: usize = 160;

/// A step failed; those before it were taken back, as far as `undo_failures` do not say otherwise.
#[derive(Debug)]
pub struct ExecuteError {
    /// The step that failed, as a plan prints it.
    pub step: String,
    /// Why it failed.
    pub source: Box<KernelError>,
    /// Steps that could not be taken back: what they did is still there.
    pub undo_failures: Vec<UndoFailure>,
}

/// A step that takes something back failed.
#[derive(Debug)]
pub struct UndoFailure {
    /// The step, as a plan prints it.
    pub step: String,
    /// Why it failed.
    pub source: KernelError,
}

impl fmt::Display for ExecuteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", headline(&self.step))?;
        for UndoFailure { step, source } in &self.undo_failures {
            write!(f, "; what was done is still there, since undoing it failed: ")?;
            write!(f, "cannot {}: {source}", headline(step))?;
            let mut cause = source.source();
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

impl Error for ExecuteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// The first line of a step, to stand behind "cannot", without its end where it is long; the lines of a transaction are
/// left to the log.
fn headline(step: &str) -> String {
    match step.lines().next() {
        Some("nft:") | None => "change the ruleset".to_owned(),
        Some(line) => match line.char_indices().nth(MAX_HEADLINE) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line.to_owned(),
        },
    }
}

impl Kernel {
    /// Carries out `steps` in order. Steps inside a container's namespace happen in `namespace`.
    ///
    /// # Errors
    /// When a step fails, the ones before it are taken back in reverse order, past those that cannot be; the
    /// error says which step failed, why, and what could not be taken back.
    pub fn carry_out(
        &mut self,
        steps: &[Step],
        namespace: Option<&Namespace>,
    ) -> Result<(), ExecuteError> {
        for (done, step) in steps.iter().enumerate() {
            if let Err(source) = self.apply(step, namespace) {
                let undo_failures = self.take_back(&steps[..done], namespace);
                return Err(ExecuteError {
                    step: step.to_string(),
                    source: Box::new(source),
                    undo_failures,
                });
            }
        }
        Ok(())
    }

    fn take_back(&mut self, done: &[Step], namespace: Option<&Namespace>) -> Vec<UndoFailure> {
        let _scope = fault::scope("undo");
        let mut failures: Vec<UndoFailure> = Vec::new();
        let mut rules_differ = false;
        for step in done.iter().rev().flat_map(Step::undo) {
            if rules_differ && step.opens_a_port() {
                continue;
            }
            if let Err(source) = self.apply(&step, namespace) {
                rules_differ |= matches!(step, Step::ChangeRules(_));
                failures.push(UndoFailure { step: step.to_string(), source });
            }
        }
        failures
    }

    /// Carries out one step. One that fails leaves nothing of itself behind.
    ///
    /// # Errors
    /// Says what the kernel refused.
    pub fn apply(&mut self, step: &Step, namespace: Option<&Namespace>) -> Result<(), KernelError> {
        let _scope = fault::scope(kind(step));
        let refused = fault::point(Point::Step, "before");
        refused.map_err(|source| KernelError::Exchange { source })?;
        self.make(step, namespace)?;
        fault::passage("after");
        Ok(())
    }

    fn make(&mut self, step: &Step, namespace: Option<&Namespace>) -> Result<(), KernelError> {
        let inside = || namespace.ok_or(KernelError::NoNamespace);
        match step {
            Step::SetSysctl { sysctl, value } => sysctl::write(sysctl, value),
            Step::CreateBridge(bridge) => links::create_bridge(&mut self.route, bridge),
            Step::RepairBridge(bridge) => links::repair_bridge(&mut self.route, bridge),
            Step::CreateVeth(veth) => links::create_veth(&mut self.route, veth, inside()?),
            Step::DeleteLink(link) => links::delete(&mut self.route, link),
            Step::Unplug { veth, setup: _ } => links::delete(&mut self.route, &veth.host_link),
            Step::SetUpInterface(setup) => interface::set_up(setup, inside()?),
            Step::BringUp(link) => links::bring_up(&mut self.route, link),
            Step::PlugIn(veth) => links::plug_in(&mut self.route, veth),
            Step::ClaimPorts(ports) => self.reservations.claim(ports),
            Step::ReservePorts(ports) => self.reservations.reserve(ports),
            Step::ReleasePorts(ports) => {
                self.reservations.release(ports);
                Ok(())
            }
            Step::ChangeRules(transaction) => Ok(self.rules.apply(transaction)?),
            Step::ForgetNeighbours { bridge, addresses } => {
                links::forget_neighbours(&mut self.route, bridge, addresses)
            }
            Step::ForgetFlows(flows) => match conntrack::forget(flows) {
                Ok(_) => Ok(()),
                Err(source) => Err(KernelError::ForgetFlows { source }),
            },
        }
    }
}

/// What a step does, without the objects.
fn kind(step: &Step) -> &'static str {
    match step {
        Step::SetSysctl { .. } => "set sysctl",
        Step::CreateBridge(_) => "create bridge",
        Step::RepairBridge(_) => "repair bridge",
        Step::CreateVeth(_) => "create veth",
        Step::DeleteLink(_) => "delete link",
        Step::Unplug { .. } => "unplug",
        Step::SetUpInterface(_) => "set up interface",
        Step::BringUp(_) => "bring up",
        Step::PlugIn(_) => "plug in",
        Step::ClaimPorts(_) => "claim ports",
        Step::ReservePorts(_) => "reserve ports",
        Step::ReleasePorts(_) => "release ports",
        Step::ChangeRules(_) => "change rules",
        Step::ForgetFlows(_) => "forget flows",
        Step::ForgetNeighbours { .. } => "forget neighbours",
    }
}
