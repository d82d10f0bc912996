//! How much of something one party may have at once, and how much of it again in time. It knows no clock and
//! decides nothing else.

use std::time::{Duration, Instant};

/// How much there may be at once, and how much a second in the long run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) at_once: f64,
    pub(crate) per_second: f64,
}

/// What one party has left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    /// Less than nothing where something turned out to cost more than was there.
    left: f64,
    filled: Instant,
}

impl Bucket {
    /// A bucket of which nothing was taken yet.
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, left: rate.at_once, filled: now }
    }

    /// Whether nothing is missing.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.left_at(now) >= self.rate.at_once
    }

    /// Takes `amount` if that much is there; answers whether it was.
    pub(crate) fn take(&mut self, amount: f64, now: Instant) -> bool {
        let is_there = self.left_at(now) >= amount;
        if is_there {
            self.spend(amount, now);
        }
        is_there
    }

    /// Takes `amount`, whether it is there or not.
    pub(crate) fn spend(&mut self, amount: f64, now: Instant) {
        self.left = self.left_at(now) - amount;
        self.filled = now;
    }

    /// How long it takes until something is there; zero if something is.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        Duration::from_secs_f64((-self.left_at(now) / self.rate.per_second).max(0.0))
    }

    fn left_at(&self, now: Instant) -> f64 {
        let elapsed = now.duration_since(self.filled).as_secs_f64();
        (self.left + elapsed * self.rate.per_second).min(self.rate.at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { at_once: 3.0, per_second: 2.0 };

    #[test]
    fn what_was_taken_comes_back_in_time_and_never_more() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        let mut taken = |after_ms| {
            let now = start + Duration::from_millis(after_ms);
            (0..100).filter(|_| bucket.take(1.0, now)).count()
        };
        assert_eq!([taken(0), taken(499), taken(501), taken(1001), taken(60_000)], [3, 0, 1, 1, 3]);
        assert!(!bucket.is_full(start + Duration::from_millis(61_000)));
        assert!(bucket.is_full(start + Duration::from_millis(61_500)));
    }

    #[test]
    fn whoever_took_more_than_there_was_waits_until_that_is_made_up_for() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        assert_eq!(bucket.wait(start), Duration::ZERO);
        bucket.spend(13.0, start);
        assert_eq!(bucket.wait(start), Duration::from_secs(5));
        assert!(!bucket.take(1.0, start + Duration::from_secs(5)));
        assert_eq!(bucket.wait(start + Duration::from_secs(6)), Duration::ZERO);
    }
}
