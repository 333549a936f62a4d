//! The handshakes that are under way on one worker: how long each may take, and how many there may be.
//!
//! Whoever connects and never says anything, or says it byte by byte, is closed when its time is over; and when there are too
//! many of them, the oldest goes. A handshake that means it takes some milliseconds, so that it is never the oldest of so many.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::Time;

/// Handshakes that one worker has under way with clients; each takes some kilobytes.
pub const HANDSHAKES_MAX: usize = 512;

/// The handshakes under way, by the worker's own number for a connection.
#[derive(Debug)]
pub struct Handshakes {
    most: usize,
    by_number: BTreeMap<u64, Entry>,
    /// When each must be over.
    deadlines: BTreeSet<(Time, u64)>,
    /// By the order in which they began.
    order: BTreeMap<u64, u64>,
    begun: u64,
}

#[derive(Debug)]
struct Entry {
    deadline: Time,
    turn: u64,
}

impl Handshakes {
    /// None yet, and `most` at a time.
    pub fn bounded(most: usize) -> Handshakes {
        Handshakes {
            most,
            by_number: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            order: BTreeMap::new(),
            begun: 0,
        }
    }

    /// `number` begins at `now`, and has `patience`; the oldest, which must go, if it is one too many.
    pub fn begin(&mut self, number: u64, now: Time, patience: Duration) -> Option<u64> {
        self.end(number);
        let crowded_out = match self.by_number.len() >= self.most {
            true => self.order.first_key_value().map(|(_, number)| *number),
            false => None,
        };
        if let Some(oldest) = crowded_out {
            self.end(oldest);
        }
        let entry = Entry { deadline: now + patience, turn: self.begun };
        self.begun += 1;
        self.deadlines.insert((entry.deadline, number));
        self.order.insert(entry.turn, number);
        self.by_number.insert(number, entry);
        crowded_out
    }

    /// `number` is through, or gone; whether it was under way.
    pub fn end(&mut self, number: u64) -> bool {
        let Some(entry) = self.by_number.remove(&number) else { return false };
        self.deadlines.remove(&(entry.deadline, number));
        self.order.remove(&entry.turn);
        true
    }

    /// When the next one is late.
    #[inline]
    pub fn poll_timeout(&self) -> Time {
        self.deadlines.first().map_or(Time::NEVER, |(deadline, _)| *deadline)
    }

    /// The next one whose time is over at `now`; it is not under way any more.
    pub fn poll_late(&mut self, now: Time) -> Option<u64> {
        let (deadline, number) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.end(number);
        Some(number)
    }

    /// How many there are.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.by_number.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_has_its_own_time() {
        let mut handshakes = Handshakes::bounded(10);
        let start = Time::from_micros(5);
        assert_eq!(handshakes.poll_timeout(), Time::NEVER);
        for (number, patience) in [(1, 3 * SECOND), (2, SECOND), (3, 2 * SECOND)] {
            assert_eq!(handshakes.begin(number, start, patience), None);
        }
        assert!(handshakes.end(3));
        assert!(!handshakes.end(3));
        assert_eq!(handshakes.poll_timeout(), start + SECOND);
        assert_eq!(handshakes.poll_late(start), None);
        assert_eq!(handshakes.poll_late(start + 5 * SECOND), Some(2));
        assert_eq!(handshakes.poll_late(start + 5 * SECOND), Some(1));
        assert_eq!(handshakes.poll_late(start + 5 * SECOND), None);
        assert_eq!((handshakes.count(), handshakes.poll_timeout()), (0, Time::NEVER));
    }

    #[test]
    fn one_too_many_sends_the_oldest_away_whatever_time_it_has() {
        let mut handshakes = Handshakes::bounded(3);
        let start = Time::from_micros(5);
        for number in 1..=3 {
            assert_eq!(handshakes.begin(number, start, SECOND * 9), None);
        }
        assert!(handshakes.end(1));
        assert_eq!(handshakes.begin(4, start, SECOND), None);
        assert_eq!(handshakes.begin(5, start, SECOND), Some(2));
        assert_eq!(handshakes.begin(6, start, SECOND), Some(3));
        assert_eq!(handshakes.count(), 3);
    }
}
