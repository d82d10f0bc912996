//! What can happen, as values that proptest makes and as lines of text, in which a failing sequence is printed and
//! read again.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rootful_net_tests::user::User;

use crate::daemon::{ALICE, BOB, MALLORY};

/// How many names, and containers, each user has.
pub(super) const NAMES: usize = 8;
pub(super) const SLOTS: usize = 4;
/// The networks, and the bridge of each.
pub(super) const NETWORKS: [(&str, &str); 2] = [("rootful0", "rootful0"), ("second", "rootful9")];
/// The first is below every grant.
const PORTS: [u16; 11] = [80, 8000, 8001, 8002, 8003, 8004, 8005, 8006, 8007, 8008, 8009];
const USERS: [(&str, User); 3] = [("alice", ALICE), ("bob", BOB), ("mallory", MALLORY)];

/// One of a user's containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) owner: usize,
    pub(super) number: usize,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) slot: Slot,
    pub(super) name: usize,
    pub(super) networks: Vec<&'static str>,
    pub(super) ports: Vec<u16>,
    pub(super) replace: bool,
}

/// A policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Members of the group, both networks, ports from 1024.
    Usual,
    /// Members of the group, the first network, ports 8000 to 8004.
    Narrow,
    /// As [`Self::Usual`], for everybody.
    Open,
}

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name { $($variant,)* }

        impl $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// What somebody else does to what is rootful-net's.
    Damage {
        FlushRuleset = "flush-ruleset",
        DeleteTable = "delete-table",
        DeleteGuard = "delete-guard",
        FlushChain = "flush-chain",
        FlushMap = "flush-map",
        DeleteGuardElements = "flush-set",
        AddElement = "add-element",
        DeleteBridge = "delete-bridge",
        BridgeDown = "bridge-down",
        FlushAddresses = "flush-addresses",
        ForwardingOff = "forwarding-off",
        PortDown = "port-down",
        Unplug = "unplug",
    }
}

words! {
    /// What somebody else does to what is their own.
    Foreign {
        AddTable = "add-table",
        DeleteTable = "delete-table",
        AddRule = "add-rule",
        AddBridge = "add-bridge",
        DeleteBridge = "delete-bridge",
        AddRoute = "add-route",
        DeleteRoute = "delete-route",
    }
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Attach(Wish),
    Plan(Wish),
    Detach {
        owner: usize,
        name: usize,
    },
    DetachNamespace(Slot),
    DetachAll {
        owner: usize,
    },
    KillContainer(Slot),
    KillDaemon,
    RestartDaemon,
    /// With or without waiting for the repair before the next operation.
    Damage(Damage, bool),
    Foreign(Foreign),
    Policy(Policy),
}

pub(super) fn user(index: usize) -> User {
    USERS[index].1
}

pub(super) fn name(index: usize) -> String {
    format!("web{index}")
}

fn slot() -> impl Strategy<Value = Slot> {
    (0..USERS.len(), 0..SLOTS).prop_map(|(owner, number)| Slot { owner, number })
}

fn wish() -> impl Strategy<Value = Wish> {
    let networks = select(vec![
        vec![NETWORKS[0].0],
        vec![NETWORKS[1].0],
        vec![NETWORKS[0].0, NETWORKS[1].0],
        vec![NETWORKS[1].0, NETWORKS[0].0],
    ]);
    // Seldom, a port that nobody may have.
    let ports = prop_oneof![
        15 => subsequence(PORTS[1..].to_vec(), 0..3),
        1 => Just(PORTS[..1].to_vec()),
    ];
    (slot(), 0..NAMES, networks, ports, any::<bool>()).prop_map(
        |(slot, name, networks, ports, replace)| Wish { slot, name, networks, ports, replace },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    let owner = || 0..USERS.len();
    let damage = (select(Damage::ALL), prop::bool::weighted(0.7));
    prop_oneof![
        50 => wish().prop_map(Operation::Attach),
        10 => wish().prop_map(Operation::Plan),
        12 => (owner(), 0..NAMES).prop_map(|(owner, name)| Operation::Detach { owner, name }),
        6 => slot().prop_map(Operation::DetachNamespace),
        1 => owner().prop_map(|owner| Operation::DetachAll { owner }),
        4 => slot().prop_map(Operation::KillContainer),
        1 => Just(Operation::KillDaemon),
        1 => Just(Operation::RestartDaemon),
        9 => damage.prop_map(|(damage, wait)| Operation::Damage(damage, wait)),
        3 => select(Foreign::ALL).prop_map(Operation::Foreign),
        3 => select(vec![Policy::Usual, Policy::Narrow, Policy::Open]).prop_map(Operation::Policy),
    ]
}

/// Sequences of about 120; what shrinks comes down to one.
pub(super) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(), 1..240)
}

impl Display for Slot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", USERS[self.owner].0, self.number)
    }
}

impl Display for Wish {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { slot, name, networks, ports, replace } = self;
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let replace = if *replace { " replace" } else { "" };
        write!(f, "{slot} {name} {} {}{replace}", networks.join(","), ports.join(","))
    }
}

impl Display for Policy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usual => "usual",
            Self::Narrow => "narrow",
            Self::Open => "open",
        })
    }
}

impl Display for Operation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach(wish) => write!(f, "attach {wish}"),
            Self::Plan(wish) => write!(f, "plan {wish}"),
            Self::Detach { owner, name } => write!(f, "detach {} {name}", USERS[*owner].0),
            Self::DetachNamespace(slot) => write!(f, "detach-namespace {slot}"),
            Self::DetachAll { owner } => write!(f, "detach-all {}", USERS[*owner].0),
            Self::KillContainer(slot) => write!(f, "kill-container {slot}"),
            Self::KillDaemon => f.write_str("kill-daemon"),
            Self::RestartDaemon => f.write_str("restart-daemon"),
            Self::Damage(damage, true) => write!(f, "damage {}", damage.word()),
            Self::Damage(damage, false) => write!(f, "damage {} and-go-on", damage.word()),
            Self::Foreign(foreign) => write!(f, "foreign {}", foreign.word()),
            Self::Policy(policy) => write!(f, "policy {policy}"),
        }
    }
}

/// The words of a line, split at single spaces: a list may be empty.
struct Words<'a>(std::str::Split<'a, char>);

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<&'a str> {
        self.0.next().context("the line is too short")
    }

    fn owner(&mut self) -> Result<usize> {
        let word = self.next()?;
        let known = USERS.iter().position(|(name, _)| *name == word);
        known.with_context(|| format!("there is no user {word}"))
    }

    fn number(&mut self, end: usize) -> Result<usize> {
        let number = self.next()?.parse()?;
        anyhow::ensure!(number < end, "{number} is too large");
        Ok(number)
    }

    fn slot(&mut self) -> Result<Slot> {
        Ok(Slot { owner: self.owner()?, number: self.number(SLOTS)? })
    }

    fn wish(&mut self) -> Result<Wish> {
        let (slot, name) = (self.slot()?, self.number(NAMES)?);
        let network = |word| {
            let known = NETWORKS.iter().map(|(name, _)| *name).find(|name| *name == word);
            known.with_context(|| format!("there is no network {word}"))
        };
        let networks = self.next()?.split(',').map(network).collect::<Result<_>>()?;
        let ports = self.next()?.split(',').filter(|word| !word.is_empty());
        let ports = ports.map(|word| Ok(word.parse()?)).collect::<Result<_>>()?;
        let replace = self.0.next() == Some("replace");
        Ok(Wish { slot, name, networks, ports, replace })
    }

    fn one_of<T: Copy>(&mut self, all: &[T], word_of: fn(T) -> &'static str) -> Result<T> {
        let word = self.next()?;
        let known = all.iter().find(|one| word_of(**one) == word);
        known.copied().with_context(|| format!("{word} is not known"))
    }
}

impl FromStr for Operation {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = Words(line.split(' '));
        Ok(match words.next()? {
            "attach" => Self::Attach(words.wish()?),
            "plan" => Self::Plan(words.wish()?),
            "detach" => Self::Detach { owner: words.owner()?, name: words.number(NAMES)? },
            "detach-namespace" => Self::DetachNamespace(words.slot()?),
            "detach-all" => Self::DetachAll { owner: words.owner()? },
            "kill-container" => Self::KillContainer(words.slot()?),
            "kill-daemon" => Self::KillDaemon,
            "restart-daemon" => Self::RestartDaemon,
            "damage" => {
                let damage = words.one_of(Damage::ALL, Damage::word)?;
                Self::Damage(damage, words.0.next() != Some("and-go-on"))
            }
            "foreign" => Self::Foreign(words.one_of(Foreign::ALL, Foreign::word)?),
            "policy" => Self::Policy(match words.next()? {
                "usual" => Policy::Usual,
                "narrow" => Policy::Narrow,
                "open" => Policy::Open,
                word => bail!("there is no policy {word}"),
            }),
            word => bail!("{word} is no operation"),
        })
    }
}
