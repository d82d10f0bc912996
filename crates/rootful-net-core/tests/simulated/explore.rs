//! Looks at every state that a model can get into, nearest first, so that the way to a state that must not be is a
//! shortest one.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Something whose states can be gone through.
pub(crate) trait Model {
    type State;

    fn initial(&self) -> Self::State;

    /// Whatever can happen next, each with what it is called.
    fn next(&self, state: &Self::State) -> Vec<(String, Self::State)>;

    /// What must not be, where the state is such.
    fn violation(&self, state: &Self::State) -> Option<String>;

    /// Whether nothing is under way.
    fn is_quiescent(&self, state: &Self::State) -> bool;

    /// A text that two states share only where they are the same.
    fn describe(&self, state: &Self::State, into: &mut dyn fmt::Write);
}

/// What there was to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    pub(crate) quiescent: usize,
}

/// A state that must not be, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) what: String,
    pub(crate) trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trace.iter().try_for_each(|happening| writeln!(f, "  {happening}"))?;
        write!(f, "{}", self.what)
    }
}

/// Goes through all states of the model.
///
/// # Errors
/// The first state that must not be.
pub(crate) fn explore<M: Model>(model: &M) -> Result<Explored, Violation> {
    let describe = |state: &M::State| {
        let mut description = String::new();
        model.describe(state, &mut description);
        description
    };
    let mut explored = Explored::default();
    // Each state that was reached, with the number of the one before it and what happened in between.
    let mut ways: Vec<(usize, String)> = vec![(0, String::new())];
    let initial = model.initial();
    let mut known = BTreeMap::from([(describe(&initial), 0)]);
    let mut waiting = VecDeque::from([(0, initial)]);
    while let Some((number, state)) = waiting.pop_front() {
        explored.states += 1;
        explored.quiescent += usize::from(model.is_quiescent(&state));
        if let Some(what) = model.violation(&state) {
            return Err(Violation { what, trace: trace(&ways, number) });
        }
        for (happening, next) in model.next(&state) {
            let next_number = ways.len();
            if *known.entry(describe(&next)).or_insert(next_number) == next_number {
                ways.push((number, happening));
                waiting.push_back((next_number, next));
            }
        }
    }
    Ok(explored)
}

fn trace(ways: &[(usize, String)], mut number: usize) -> Vec<String> {
    let mut trace = Vec::new();
    while number != 0 {
        let (before, happening) = &ways[number];
        trace.push(happening.clone());
        number = *before;
    }
    trace.reverse();
    trace
}
