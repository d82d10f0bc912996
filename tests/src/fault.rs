//! Orders to a debug build of the daemon: where to die, to fail or to stall (`rootful_net_kernel::fault`).

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;

use crate::installation::Installation;

const VARIABLE: &str = "ROOTFUL_NET_FAULTS";
const DIRECTORY: &str = "/run/faults";
const TRACE_PATH: &str = "/run/faults/trace";
const ORDERS_PATH: &str = "/run/faults/orders";

/// Where orders for the daemons of one test are written.
#[derive(Clone, Copy, Debug)]
pub struct Faults(());

/// A place that the daemon passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What can be ordered there, as the daemon calls it.
    pub kind: String,
    /// Its name: scopes and a point, with slashes between.
    pub name: String,
}

/// What happens at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The daemon is killed.
    Kill,
    /// An operation fails with this error number.
    Fail(i32),
    /// Nothing goes on for so many milliseconds.
    Stall(u64),
}

impl Faults {
    /// From now on daemons that are started obey.
    ///
    /// # Errors
    /// Where there are orders already.
    pub fn new(_: &Installation) -> anyhow::Result<Self> {
        fs::create_dir(DIRECTORY)?;
        Ok(Self(()))
    }

    /// Orders `action` the first time that the daemon passes the place from now on, in the place of what was ordered
    /// before.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn order(&self, action: Action, place: &str) -> anyhow::Result<()> {
        self.order_all(&[("1", action, place)])
    }

    /// Orders several actions, each at a number of passings, or `*` for all.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn order_all(&self, orders: &[(&str, Action, &str)]) -> anyhow::Result<()> {
        let line = |&(passing, action, place): &(&str, Action, &str)| match action {
            Action::Kill => format!("{passing} kill {place}\n"),
            Action::Fail(errno) => format!("{passing} fail:{errno} {place}\n"),
            Action::Stall(milliseconds) => format!("{passing} stall:{milliseconds} {place}\n"),
        };
        let text: String = orders.iter().map(line).collect();
        // The daemon never sees a part of it.
        let temporary = format!("{ORDERS_PATH}.new");
        fs::write(&temporary, text)?;
        Ok(fs::rename(temporary, ORDERS_PATH)?)
    }

    /// Has nothing happen any more.
    ///
    /// # Errors
    /// Where the orders cannot be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        match fs::remove_file(ORDERS_PATH) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            Err(_) | Ok(()) => Ok(()),
        }
    }

    /// Does `work` and says which places the daemon passed meanwhile.
    ///
    /// # Errors
    /// What `work` gives.
    pub fn trace(self, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Vec<Place>> {
        fs::write(TRACE_PATH, "")?;
        work()?;
        let text = fs::read_to_string(TRACE_PATH)?;
        fs::remove_file(TRACE_PATH)?;
        let place = |line: &str| {
            let (kind, name) = line.split_once(' ').context("not a line of a trace")?;
            Ok(Place { kind: kind.to_owned(), name: name.to_owned() })
        };
        // The daemon goes on writing: the last line may not be whole yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(place).collect()
    }
}

/// What a daemon has in its environment so that it obeys; nothing where there are no orders.
pub(crate) fn environment() -> Option<(&'static str, &'static str)> {
    Path::new(DIRECTORY).exists().then_some((VARIABLE, DIRECTORY))
}
