//! Whose call is served next: each user has a line of their own, the lines take turns, and whoever keeps the
//! service busy with reading, or with requests that are refused, is served less often. It knows no clock and answers nobody.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rootful_net_dbus::name::{ATTACHMENT_INTERFACE, MANAGER_INTERFACE};
use zbus::Message;

use crate::fair_queue::{FairQueue, Line};
use crate::rate::{Bucket, Rate};

/// The most calls of one line that wait.
pub(super) const MAX_WAITING: usize = 64;
/// How long a call can hold its place; longer than the slowest answer, see polkit.rs.
const STALE: Duration = Duration::from_secs(300);
/// For how long, in seconds, the service reads for one line. Reading all of a thousand objects takes it some
/// milliseconds, a property much less than one.
const READING: Rate = Rate { at_once: 0.05, per_second: 0.05 };

/// How many calls of one line may end with an error, in calls. Whoever does what is asked of them comes nowhere near.
const REFUSALS: Rate = Rate { at_once: 100.0, per_second: 200.0 };

/// What kinds of calls there are to take turns in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// Calls of the service's own methods, which wait for the engine or polkit most of the time.
    Work,
    /// Reading of objects and properties, which takes processor time and never waits.
    Reading,
}

impl Lane {
    const ALL: [Self; 2] = [Self::Work, Self::Reading];

    /// The most calls of one line that are served at a time.
    fn for_each(self) -> usize {
        match self {
            Self::Work => 4,
            Self::Reading => 1,
        }
    }

    /// The most calls that are served at a time. One worker is always left to those that change something.
    fn in_all(self) -> usize {
        match self {
            Self::Work => 64,
            Self::Reading => 1,
        }
    }

    fn of(message: &Message) -> Self {
        let header = message.header();
        match header.interface().map(|interface| interface.as_str()) {
            Some(MANAGER_INTERFACE | ATTACHMENT_INTERFACE) => Self::Work,
            Some(_) | None => Self::Reading,
        }
    }
}

/// What there is to do now.
#[derive(Debug)]
pub(super) enum Turn {
    /// This call is to be served.
    Now(Message),
    /// Nothing before this time is over, unless a call comes or is answered.
    In(Duration),
    /// Nothing, until a call comes or is answered.
    Nobody,
}

#[derive(Debug)]
struct Served {
    line: Line,
    lane: Lane,
    since: Instant,
}

/// The calls that wait, and those that are being served.
#[derive(Debug)]
pub(super) struct Turns {
    work: FairQueue<Message>,
    reading: FairQueue<Message>,
    /// By the caller's unique name and the call's serial number, which callers choose and may choose twice.
    served: HashMap<(String, u32), Vec<Served>>,
    /// For how long those may go on reading who read lately.
    reading_pace: Pace,
    /// How often those may go on being refused who were lately.
    refusal_pace: Pace,
}

/// How much of something those have left who had some of it lately.
#[derive(Debug)]
struct Pace {
    rate: Rate,
    buckets: HashMap<Line, Bucket>,
    is_lifted: bool,
}

impl Pace {
    fn of(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::new(), is_lifted: false }
    }

    /// How long this line waits before it may have more.
    fn wait(&self, line: Line, now: Instant) -> Duration {
        match self.buckets.get(&line) {
            Some(bucket) if !self.is_lifted => bucket.wait(now),
            Some(_) | None => Duration::ZERO,
        }
    }

    fn spend(&mut self, line: Line, amount: f64, now: Instant) {
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
        let bucket = self.buckets.entry(line).or_insert_with(|| Bucket::full(self.rate, now));
        bucket.spend(amount, now);
    }

    /// The least that one of these lines waits.
    fn least_wait(&self, lines: impl Iterator<Item = Line>, now: Instant) -> Option<Duration> {
        lines.map(|line| self.wait(line, now)).min()
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            work: FairQueue::default(),
            reading: FairQueue::default(),
            served: HashMap::new(),
            reading_pace: Pace::of(READING),
            refusal_pace: Pace::of(REFUSALS),
        }
    }
}

impl Turns {
    /// How many calls wait.
    pub(super) fn waiting(&self) -> usize {
        self.work.len() + self.reading.len()
    }

    /// How many calls are being served.
    pub(super) fn served(&self) -> usize {
        self.served.values().map(Vec::len).sum()
    }

    /// Has a call wait in a line.
    ///
    /// # Errors
    /// [`MAX_WAITING`] calls wait there already.
    pub(super) fn push(&mut self, line: Line, message: Message) -> Result<(), Message> {
        let queue = match Lane::of(&message) {
            Lane::Work => &mut self.work,
            Lane::Reading => &mut self.reading,
        };
        if queue.line(line).count() >= MAX_WAITING {
            return Err(message);
        }
        queue.push(line, message);
        Ok(())
    }

    /// Takes the next call that may be served now.
    pub(super) fn next(&mut self, now: Instant) -> Turn {
        let mut least_wait = None::<Duration>;
        for lane in Lane::ALL {
            let mut served = HashMap::<Line, usize>::new();
            for one in self.served.values().flatten().filter(|one| one.lane == lane) {
                *served.entry(one.line).or_default() += 1;
            }
            if served.values().sum::<usize>() >= lane.in_all() {
                continue;
            }
            let (queue, pace) = match lane {
                Lane::Work => (&mut self.work, &self.refusal_pace),
                Lane::Reading => (&mut self.reading, &self.reading_pace),
            };
            let wait = pace.least_wait(queue.lines(), now).filter(|wait| !wait.is_zero());
            least_wait = least_wait.into_iter().chain(wait).min();
            let is_free =
                |line: Line| served.get(&line).is_none_or(|&count| count < lane.for_each());
            let next = queue.pop(|line| is_free(line) && pace.wait(line, now).is_zero());
            if let Some((line, message)) = next {
                if let Some(key) = key_of(&message) {
                    self.served.entry(key).or_default().push(Served { line, lane, since: now });
                }
                return Turn::Now(message);
            }
        }
        least_wait.map_or(Turn::Nobody, Turn::In)
    }

    /// Notices an answer to this caller and call, which gives the place of the call back.
    pub(super) fn answered(&mut self, caller: &str, serial: u32, is_refusal: bool, now: Instant) {
        let key = (caller.to_owned(), serial);
        let Some(served) = self.served.get_mut(&key) else { return };
        let answered = served.pop();
        if served.is_empty() {
            self.served.remove(&key);
        }
        match answered {
            Some(Served { line, lane: Lane::Reading, since }) => {
                self.reading_pace.spend(line, now.duration_since(since).as_secs_f64(), now);
            }
            Some(Served { line, lane: Lane::Work, .. }) if is_refusal => {
                self.refusal_pace.spend(line, 1.0, now);
            }
            Some(Served { lane: Lane::Work, .. }) | None => {}
        }
    }

    /// Gives the places of calls back that were never answered.
    pub(super) fn forget_stale(&mut self, now: Instant) {
        self.served.retain(|_, served| {
            served.retain(|one| now.duration_since(one.since) < STALE);
            !served.is_empty()
        });
    }

    /// From now on, nobody waits for what they had before.
    pub(super) fn hurry(&mut self) {
        self.reading_pace.is_lifted = true;
        self.refusal_pace.is_lifted = true;
    }
}

fn key_of(message: &Message) -> Option<(String, u32)> {
    let sender = message.header().sender()?.to_string();
    Some((sender, message.primary_header().serial_num().get()))
}

#[cfg(test)]
mod tests {
    use zbus::names::{InterfaceName, UniqueName};

    use super::*;

    const ALICE: Line = Line::User(1);
    const BOB: Line = Line::User(2);
    const MS: Duration = Duration::from_millis(1);

    fn call(line: Line, interface: &str) -> Message {
        let sender = match line {
            Line::User(uid) => format!(":1.{uid}"),
            Line::Nameless => ":1.0".to_owned(),
        };
        let sender = UniqueName::try_from(sender).expect("a name");
        let interface = InterfaceName::try_from(interface).expect("a name");
        let call = Message::method_call("/", "Call").interface(interface).sender(sender);
        call.build(&()).expect("a call")
    }

    fn read(line: Line) -> Message {
        call(line, "org.freedesktop.DBus.Properties")
    }

    fn work(line: Line) -> Message {
        call(line, MANAGER_INTERFACE)
    }

    /// Serves the next call, which takes this long; answers with its caller.
    fn serve(turns: &mut Turns, now: &mut Instant, elapsed: Duration) -> Option<String> {
        serve_as(turns, now, elapsed, false)
    }

    fn serve_as(
        turns: &mut Turns,
        now: &mut Instant,
        elapsed: Duration,
        is_refusal: bool,
    ) -> Option<String> {
        let Turn::Now(message) = turns.next(*now) else { return None };
        let (caller, serial) = key_of(&message).expect("a caller");
        *now += elapsed;
        turns.answered(&caller, serial, is_refusal, *now);
        Some(caller)
    }

    #[test]
    fn whoever_is_refused_over_and_over_is_served_less_often() {
        let mut turns = Turns::default();
        let mut now = Instant::now();
        let mut ask = |line, is_refusal| {
            turns.push(line, work(line)).expect("there is room");
            serve_as(&mut turns, &mut now, Duration::ZERO, is_refusal)
        };
        assert!((0..1000).all(|_| ask(BOB, false).is_some()));
        // 100 at once, and the one that finds nothing missing.
        let refused = (0..150).take_while(|_| ask(ALICE, true).is_some()).count();
        assert_eq!(refused, 101);
        assert!(ask(BOB, true).is_some());
        let Turn::In(wait) = turns.next(now) else { panic!("alice is served on") };
        assert_eq!(wait, 5 * MS);
        assert!(serve_as(&mut turns, &mut (now + wait), MS, true).is_some());
    }

    #[test]
    fn whoever_keeps_the_service_reading_waits_and_nobody_else_does() {
        // Of what a line has at once, the first two leave a tenth.
        let long = Duration::from_secs_f64(READING.at_once * 0.45);
        let mut turns = Turns::default();
        let mut now = Instant::now();
        (0..10).for_each(|_| turns.push(ALICE, read(ALICE)).expect("there is room"));
        let reads = std::iter::from_fn(|| serve(&mut turns, &mut now, long)).count();
        assert_eq!(reads, 3);
        turns.push(ALICE, work(ALICE)).expect("there is room");
        turns.push(BOB, read(BOB)).expect("there is room");
        assert_eq!(serve(&mut turns, &mut now, MS).as_deref(), Some(":1.1"));
        assert_eq!(serve(&mut turns, &mut now, MS).as_deref(), Some(":1.2"));
        let Turn::In(wait) = turns.next(now) else { panic!("alice reads on") };
        // Of the 35 % that were too many, what came back in the meantime is gone.
        let too_many = Duration::from_secs_f64(READING.at_once * 0.35 / READING.per_second);
        assert!((too_many - 3 * long - 2 * MS..too_many).contains(&wait), "{wait:?}");
        now += wait;
        assert_eq!(serve(&mut turns, &mut now, long).as_deref(), Some(":1.1"));
        assert_eq!(serve(&mut turns, &mut now, MS), None);
        turns.hurry();
        let reads = std::iter::from_fn(|| serve(&mut turns, &mut now, long)).count();
        assert_eq!((reads, turns.waiting(), turns.served()), (6, 0, 0));
    }

    #[test]
    fn a_line_is_served_a_few_calls_at_a_time_and_holds_no_more_than_its_share() {
        let mut turns = Turns::default();
        let now = Instant::now();
        for number in 0..MAX_WAITING {
            turns.push(ALICE, work(ALICE)).unwrap_or_else(|_| panic!("call {number} has no room"));
        }
        turns.push(ALICE, work(ALICE)).expect_err("there is no room");
        turns.push(BOB, work(BOB)).expect("there is room");
        let mut served = Vec::new();
        while let Turn::Now(message) = turns.next(now) {
            served.push(key_of(&message).expect("a caller").0);
        }
        assert_eq!(served, [":1.1", ":1.2", ":1.1", ":1.1", ":1.1"]);
        assert!(matches!(turns.next(now), Turn::Nobody));
        turns.forget_stale(now + STALE);
        assert_eq!(turns.served(), 0);
        assert!(matches!(turns.next(now + STALE), Turn::Now(_)));
    }
}
