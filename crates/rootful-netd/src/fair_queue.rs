//! A queue in which each user has a line of their own, and the lines take turns: whoever asks for much waits
//! behind themselves, not in front of others. It decides nothing else.

use std::collections::{BTreeMap, VecDeque};

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Line {
    /// That of a user of the system.
    User(u32),
    /// That of all uids together that no user has: whoever has a range of subordinate uids could otherwise
    /// stand in thousands of lines.
    Nameless,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    lines: BTreeMap<Line, VecDeque<T>>,
    /// The lines that are not empty; the first is served next.
    turns: VecDeque<Line>,
    length: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { lines: BTreeMap::new(), turns: VecDeque::new(), length: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Puts an item at the end of a line.
    pub(crate) fn push(&mut self, line: Line, item: T) {
        let items = self.lines.entry(line).or_default();
        if items.is_empty() {
            self.turns.push_back(line);
        }
        items.push_back(item);
        self.length += 1;
    }

    /// Takes the first item of the line whose turn it is; lines that are not `ready` keep their turn.
    pub(crate) fn pop(&mut self, ready: impl Fn(Line) -> bool) -> Option<(Line, T)> {
        let position = self.turns.iter().position(|&line| ready(line))?;
        let line = self.turns.remove(position)?;
        let items = self.lines.get_mut(&line)?;
        let item = items.pop_front()?;
        if items.is_empty() {
            self.lines.remove(&line);
        } else {
            self.turns.push_back(line);
        }
        self.length -= 1;
        Some((line, item))
    }

    /// The items of one line.
    pub(crate) fn line(&self, line: Line) -> impl Iterator<Item = &T> {
        self.lines.get(&line).into_iter().flatten()
    }

    /// The lines that are not empty.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line> {
        self.turns.iter().copied()
    }

    /// How many items there are.
    pub(crate) fn len(&self) -> usize {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Line = Line::User(1);
    const BOB: Line = Line::User(2);

    fn drain(queue: &mut FairQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop(|_| true)).map(|(_, item)| item).collect()
    }

    #[test]
    fn lines_take_turns_and_keep_their_order() {
        let mut queue = FairQueue::default();
        (0..4).for_each(|item| queue.push(ALICE, item));
        queue.push(BOB, 10);
        queue.push(BOB, 11);
        queue.push(Line::Nameless, 20);
        assert_eq!(queue.len(), 7);
        assert_eq!(drain(&mut queue), [0, 10, 20, 1, 11, 2, 3]);
        assert_eq!(queue.len(), 0);
        assert!(queue.lines.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn whoever_comes_late_waits_for_one_item_of_each_other_line() {
        let mut queue = FairQueue::default();
        (0..1000).for_each(|item| queue.push(ALICE, item));
        assert_eq!(queue.pop(|_| true), Some((ALICE, 0)));
        queue.push(BOB, 7);
        assert_eq!(queue.pop(|_| true), Some((ALICE, 1)));
        assert_eq!(queue.pop(|_| true), Some((BOB, 7)));
    }

    #[test]
    fn a_line_that_is_not_ready_holds_up_nobody_and_keeps_its_turn() {
        let mut queue = FairQueue::default();
        queue.push(ALICE, 1);
        queue.push(BOB, 2);
        queue.push(BOB, 3);
        assert_eq!(queue.pop(|line| line != ALICE), Some((BOB, 2)));
        assert_eq!(queue.pop(|_| true), Some((ALICE, 1)));
        assert_eq!(queue.pop(|line| line != BOB), None);
        assert_eq!(queue.line(BOB).count(), 1);
    }
}
