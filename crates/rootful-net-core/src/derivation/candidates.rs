//! Owns the orders in which addresses and ports are tried. Each visits everything once, in constant time a
//! step, and knows nothing of what is taken.

use std::net::IpAddr;

use crate::mac::MacAddress;
use crate::network::Leasable;
use crate::publish::Port;

/// The step of podman-rootful-network.
const SEVEN: u128 = 7;

/// `count` numbers from 0, from a start on, by a step that shares no factor with `count`.
#[derive(Clone, Debug)]
struct Walk {
    count: u128,
    position: u128,
    step: u128,
    remaining: u128,
}

impl Walk {
    /// The step is `step` or the next number above it, modulo `count`, that is coprime to `count`.
    /// `count` is at most 2^80, so that no sum here overflows.
    fn new(count: u128, start: u128, step: u128) -> Self {
        if count == 0 {
            return Self { count, position: 0, step: 0, remaining: 0 };
        }
        let mut step = step % count;
        while greatest_common_divisor(step, count) != 1 {
            step = (step + 1) % count;
        }
        Self { count, position: start % count, step, remaining: count }
    }
}

impl Iterator for Walk {
    type Item = u128;

    fn next(&mut self) -> Option<u128> {
        self.remaining = self.remaining.checked_sub(1)?;
        let position = self.position;
        self.position = (position + self.step) % self.count;
        Some(position)
    }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The addresses of a subnet in the order in which they are to be tried.
#[derive(Clone, Debug)]
pub struct Candidates {
    leasable: Leasable,
    order: Order,
}

#[derive(Clone, Debug)]
enum Order {
    Stepping(Walk),
    Sevens(Sevens),
}

impl Candidates {
    pub(super) fn stepping(leasable: Leasable, start: u128, step: u128) -> Self {
        let order = Order::Stepping(Walk::new(leasable.count(), start, step));
        Self { leasable, order }
    }

    pub(super) fn sevens(leasable: Leasable, start: u128) -> Self {
        let position = start & host_mask(leasable);
        let order = Order::Sevens(Sevens { position, remaining: leasable.count() });
        Self { leasable, order }
    }
}

impl Iterator for Candidates {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        match &mut self.order {
            Order::Stepping(walk) => walk.next().map(|index| self.leasable.nth(index)),
            Order::Sevens(sevens) => {
                sevens.next(self.leasable).map(|host| self.leasable.address(host))
            }
        }
    }
}

fn host_mask(leasable: Leasable) -> u128 {
    (1 << leasable.host_bits()) - 1
}

/// Host parts in steps of seven modulo a power of two, which visits all of them.
#[derive(Clone, Debug)]
struct Sevens {
    position: u128,
    remaining: u128,
}

impl Sevens {
    fn next(&mut self, leasable: Leasable) -> Option<u128> {
        self.remaining = self.remaining.checked_sub(1)?;
        // In IPv6 the tool passes over the address of all ones, which is as good as any other. It comes last.
        let mask = host_mask(leasable);
        let last_resort = (leasable.contains(mask)).then_some(mask);
        if self.remaining == 0 && last_resort.is_some() {
            return last_resort;
        }
        loop {
            let host = self.position;
            self.position = following(host, leasable) & mask;
            if leasable.contains(host) && Some(host) != last_resort {
                return Some(host);
            }
        }
    }
}

/// The next position after `host` in steps of seven, not yet reduced to the host bits. What lies outside the
/// lease range is jumped over, so that a small range in a large subnet is met after at most seven rounds.
fn following(host: u128, leasable: Leasable) -> u128 {
    let all = host_mask(leasable) + 1;
    let target = if host < leasable.first() {
        leasable.first()
    } else if host > leasable.last() {
        all
    } else {
        host + 1
    };
    host + (target - host).div_ceil(SEVEN) * SEVEN
}

/// MAC addresses in the order in which they are to be tried: all that are unicast and locally administered.
#[derive(Clone, Debug)]
pub struct MacCandidates(Walk);

impl MacCandidates {
    pub(super) fn new(start: u128, step: u128) -> Self {
        Self(Walk::new(1 << 46, start, step))
    }
}

impl Iterator for MacCandidates {
    type Item = MacAddress;

    fn next(&mut self) -> Option<MacAddress> {
        let [.., a, b, c, d, e, f] = self.0.next()?.to_be_bytes();
        // The 46 bits go around the two lowest of the first octet, which say "local" and "one station".
        let octets = [a << 2 | 0b10, b, c, d, e, f];
        Some(MacAddress::try_from(octets).expect("a local unicast address is valid"))
    }
}

/// Host ports in the order in which they are to be tried: 49152 to 65535, each once.
#[derive(Clone, Debug)]
pub struct PortCandidates(Walk);

impl PortCandidates {
    const FIRST: u16 = 49152;

    pub(super) fn new(start: u128, step: u128) -> Self {
        Self(Walk::new(1 << 14, start, step))
    }
}

impl Iterator for PortCandidates {
    type Item = Port;

    fn next(&mut self) -> Option<Port> {
        let offset = u16::try_from(self.0.next()?).expect("below 2^14");
        Port::new(Self::FIRST + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_visits_everything_once_whatever_start_and_step() {
        for count in 0..=60 {
            for start in [0, 1, 59, u128::MAX] {
                for step in (0..=60).chain([u128::MAX - 1, u128::MAX]) {
                    let mut visited: Vec<_> = Walk::new(count, start, step).collect();
                    visited.sort_unstable();
                    assert!(visited.into_iter().eq(0..count), "{count} {start} {step}");
                }
            }
        }
    }

    #[test]
    fn the_largest_walk_does_not_overflow() {
        let count = (1 << 80) - 2;
        let walk = Walk::new(count, u128::MAX, u128::MAX);
        assert!(walk.take(100_000).all(|position| position < count));
    }

    #[test]
    fn mac_candidates_are_local_unicast_and_distinct() {
        let macs: std::collections::BTreeSet<_> =
            MacCandidates::new(u128::MAX, u128::MAX).take(10_000).collect();
        assert_eq!(macs.len(), 10_000);
        assert!(macs.iter().all(|mac| mac.octets()[0] & 0b11 == 0b10));
    }

    #[test]
    fn port_candidates_are_all_dynamic_ports() {
        let mut ports: Vec<_> = PortCandidates::new(u128::MAX, 4).map(Port::get).collect();
        ports.sort_unstable();
        assert!(ports.into_iter().eq(49152..=65535));
    }
}
