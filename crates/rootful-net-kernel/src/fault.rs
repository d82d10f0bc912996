//! Places where a debug build can be told to die, to fail or to stall, so that tests can prove what comes of it. It
//! decides nothing; a release build has none of it.
//!
//! A place is named by the scopes that it is in, numbered within each other, and a point: `attach/4 create veth/before`.
//! The variable `ROOTFUL_NET_FAULTS` names a directory. Where there is a file `trace` in it, every place that is passed
//! is appended to it as a line `KIND PLACE`. A file `orders` has a line `COUNT ACTION PLACE` for each fault: `COUNT` is
//! the passing at which it happens, counted since the file was last changed, or `*` for every one, and `ACTION` is
//! `kill`, `fail:ERRNO` or `stall:MILLISECONDS`. A `PLACE` that begins with `*` is any that ends with the rest.

use std::fmt::Display;
use std::io;

/// What can be ordered at a place, besides to die and to stall there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Nothing else.
    Passage,
    /// A step is refused as a whole.
    Step,
    /// The kernel refuses a request.
    Request,
    /// The kernel's answer to a request that it carried out is lost.
    Answer,
    /// The disk refuses.
    File,
    /// Notifications of the kernel are lost.
    Notification,
}

/// A scope that is entered; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "a scope ends when it is dropped"]
pub struct Scope(());

/// Enters a scope within the one that is entered already.
#[inline]
pub fn scope(name: impl Display) -> Scope {
    place::enter(&name);
    Scope(())
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        place::leave();
    }
}

/// Passes a place.
///
/// # Errors
/// Where that was ordered.
#[inline]
pub fn point(kind: Point, name: impl Display) -> io::Result<()> {
    place::pass(kind, &name)
}

/// Passes a place where nothing can fail.
#[inline]
pub fn passage(name: impl Display) {
    // No failure is ordered here: it would have no effect.
    let _ = place::pass(Point::Passage, &name);
}

/// Is about to send a request to the kernel. They are counted within the scope.
///
/// # Errors
/// Where that was ordered; the request is not to be sent then.
#[inline]
pub(crate) fn request() -> io::Result<()> {
    place::request()
}

/// Has sent a request to the kernel, and is about to read the answer.
///
/// # Errors
/// Where that was ordered; the answer is lost then.
#[inline]
pub(crate) fn answer() -> io::Result<()> {
    place::answer()
}

#[cfg(not(debug_assertions))]
mod place {
    use std::fmt::Display;
    use std::io;

    use super::Point;

    #[inline(always)]
    pub(super) fn enter(_: &impl Display) {}

    #[inline(always)]
    pub(super) fn leave() {}

    #[inline(always)]
    pub(super) fn pass(_: Point, _: &impl Display) -> io::Result<()> {
        Ok(())
    }

    #[inline(always)]
    pub(super) fn request() -> io::Result<()> {
        Ok(())
    }

    #[inline(always)]
    pub(super) fn answer() -> io::Result<()> {
        Ok(())
    }
}

#[cfg(debug_assertions)]
mod place {
    use std::fmt::Display;
    use std::fs;
    use std::io::{self, Write as _};
    use std::path::PathBuf;
    use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::Point;

    const VARIABLE: &str = "ROOTFUL_NET_FAULTS";

    static DIRECTORY: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os(VARIABLE).map(PathBuf::from));
    /// All changes are made by one task, so that there is one place at a time, whatever thread it is on.
    static STATE: Mutex<State> =
        Mutex::new(State { scopes: Vec::new(), orders: String::new(), passed: Vec::new() });

    #[derive(Debug)]
    struct State {
        scopes: Vec<Entered>,
        /// What was ordered when it was last looked.
        orders: String,
        /// How often the place of each order was passed since.
        passed: Vec<usize>,
    }

    #[derive(Debug)]
    struct Entered {
        name: String,
        children: usize,
        requests: usize,
    }

    enum Action {
        Die,
        Fail(i32),
        Stall(Duration),
    }

    fn state() -> MutexGuard<'static, State> {
        STATE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(name: &impl Display) {
        if DIRECTORY.is_none() {
            return;
        }
        let mut state = state();
        let name = match state.scopes.last_mut() {
            Some(outer) => {
                outer.children += 1;
                format!("{} {name}", outer.children)
            }
            None => name.to_string(),
        };
        state.scopes.push(Entered { name, children: 0, requests: 0 });
    }

    pub(super) fn leave() {
        if DIRECTORY.is_some() {
            state().scopes.pop();
        }
    }

    pub(super) fn request() -> io::Result<()> {
        let mut number = 0;
        if DIRECTORY.is_some()
            && let Some(scope) = state().scopes.last_mut()
        {
            scope.requests += 1;
            number = scope.requests;
        }
        pass(Point::Request, &format_args!("request {number}"))
    }

    pub(super) fn answer() -> io::Result<()> {
        if DIRECTORY.is_none() {
            return Ok(());
        }
        let number = state().scopes.last().map_or(0, |scope| scope.requests);
        pass(Point::Answer, &format_args!("answer {number}"))
    }

    pub(super) fn pass(point: Point, name: &impl Display) -> io::Result<()> {
        let Some(directory) = &*DIRECTORY else { return Ok(()) };
        let action = {
            let mut state = state();
            let scopes = state.scopes.iter().map(|scope| format!("{}/", scope.name));
            let place = format!("{}{name}", scopes.collect::<String>());
            if let Ok(mut trace) = fs::OpenOptions::new().append(true).open(directory.join("trace"))
            {
                // A trace that cannot be written is missed by who reads it.
                let _ = trace.write_all(format!("{point:?} {place}\n").as_bytes());
            }
            let orders = fs::read_to_string(directory.join("orders")).unwrap_or_default();
            state.ordered(orders, &place)
        };
        match action {
            None => Ok(()),
            Some(Action::Fail(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Action::Stall(time)) => {
                std::thread::sleep(time);
                Ok(())
            }
            Some(Action::Die) => {
                kill_process(getpid(), Signal::KILL)?;
                unreachable!("nobody outlives SIGKILL")
            }
        }
    }

    impl State {
        fn ordered(&mut self, orders: String, place: &str) -> Option<Action> {
            if orders != self.orders {
                self.passed = vec![0; orders.lines().count()];
                self.orders = orders;
            }
            let mut action = None;
            for (line, passed) in self.orders.lines().zip(&mut self.passed) {
                let order: Vec<&str> = line.splitn(3, ' ').collect();
                let &[count, what, at] = order.as_slice() else { continue };
                let is_at = match at.strip_prefix('*') {
                    Some(end) => place.ends_with(end),
                    None => place == at,
                };
                if !is_at {
                    continue;
                }
                *passed += 1;
                if action.is_none() && (count == "*" || count.parse() == Ok(*passed)) {
                    action = parse(what);
                }
            }
            action
        }
    }

    fn parse(text: &str) -> Option<Action> {
        match text.split_once(':') {
            None if text == "kill" => Some(Action::Die),
            Some(("fail", errno)) => errno.parse().ok().map(Action::Fail),
            Some(("stall", time)) => {
                time.parse().ok().map(Duration::from_millis).map(Action::Stall)
            }
            None | Some(_) => None,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_order_is_for_one_passing_of_its_place_or_for_every_one() {
            let mut state = State { scopes: Vec::new(), orders: String::new(), passed: Vec::new() };
            let orders = "2 fail:16 a/1 b/before\n* stall:30 c\n";
            let mut passed = |place| match state.ordered(orders.to_owned(), place) {
                None => "-".to_owned(),
                Some(Action::Die) => "die".to_owned(),
                Some(Action::Fail(errno)) => format!("fail {errno}"),
                Some(Action::Stall(time)) => format!("stall {time:?}"),
            };
            let places = ["a/1 b/before", "c", "a/1 b/after", "a/1 b/before", "a/1 b/before", "c"];
            let outcomes = places.map(&mut passed);
            assert_eq!(outcomes, ["-", "stall 30ms", "-", "fail 16", "-", "stall 30ms"]);
            assert!(state.ordered("1 kill *b/c\n".to_owned(), "a/1 b/c").is_some());
            // What is ordered anew is counted anew.
            let mut anew = |orders: &str| state.ordered(orders.to_owned(), "c").is_some();
            assert!(anew("1 kill c\n") && !anew("1 kill c\n") && anew("1 kill c\n\n"));
        }
    }
}
