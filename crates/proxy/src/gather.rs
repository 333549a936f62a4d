//! When a batch for a server is sent at once, and when it waits for company.
//!
//! ```text
//!   a batch is unanswered    ──▶ wait for the answer: what it could gain by going is the way, not the server's time
//!   none is, company is near ──▶ wait until the batch is worth its while, and WAIT_MAX at most
//!   none is, no company      ──▶ go
//! ```
//!
//! Fewer and larger batches are what makes the server cheaper: each costs it a wake-up, a read and a write. How near company
//! is, is told by two things. By the pace: requests arrive every `gap` on average, and at least [`COMPANY_MIN`] must be
//! expected within the wait, so that a server that has little to do is never waited for. And by the [`Crowd`]: somebody must
//! be about who has nothing outstanding, since whoever waits for an answer cannot ask. A session alone never waits, nor do
//! sessions that have all asked. Waits in which nobody came are followed by batches that do not wait, twice as many each time.

use std::time::Duration;

use crate::time::Time;

mod crowd;

pub use crowd::{AnsweredIn, Crowd};

/// A batch of this many bytes is sent whatever else may come: eight values of 16 KiB, since a server that reads them together
/// wakes up once.
const BYTES_MAX: usize = 128 * 1024;

/// A batch of this many requests is sent whatever else may come: what the server's wake-up costs is shared well enough.
const REQUESTS_MAX: u32 = 16;

/// How long a request waits at most for the answer to the batch before its own.
const ANSWER_WAIT_MAX: Duration = Duration::from_millis(1);

/// How long a request waits at most for company while the server has nothing in hand, in microseconds.
const WAIT_MAX: u64 = 250;

/// Requests that must be expected within a wait.
const COMPANY_MIN: u64 = 2;

/// The pace is counted over so many microseconds: sessions that are answered together ask together, and a shorter look would
/// see their burst, or the pause after it, for the pace.
const COUNTED: u64 = 1_000;

/// After so many waits in vain, one behind the other, the number of batches that do not wait grows no more.
const VAIN_MAX: u32 = 6;

/// The gap is kept in 1/16 microseconds.
const SHIFT: u32 = 4;

/// What one upstream knows of the pace of its requests, and of the batch that is being gathered.
#[derive(Clone, Copy, Debug)]
pub struct Gather {
    /// Average time between requests as last counted, in 1/16 microseconds.
    gap: u64,
    /// Since when requests are counted, and how many there were.
    counted_since: Time,
    counted: u64,
    /// Since when the present batch waits; `NEVER` if it does not.
    since: Time,
    /// Requests in the present batch.
    requests: u32,
    /// How many there were when it began to wait for company; 0 if it does not.
    hoped_with: u32,
    /// How many waits in a row were in vain.
    vain: u32,
    /// How many batches will not wait for company, because of that.
    hurried: u32,
}

/// The average gap of an upstream that has had no requests: far too long for company.
const GAP_AT_FIRST: u64 = 1_000_000 << SHIFT;

impl Default for Gather {
    fn default() -> Self {
        Gather {
            gap: GAP_AT_FIRST,
            counted_since: Time::default(),
            counted: 0,
            since: Time::NEVER,
            requests: 0,
            hoped_with: 0,
            vain: 0,
            hurried: 0,
        }
    }
}

impl Gather {
    /// A request was added to the batch.
    #[inline]
    pub fn arrived(&mut self, now: Time) {
        let counting = now.micros_since(self.counted_since);
        if counting >= COUNTED {
            self.gap = ((counting << SHIFT) / self.counted.max(1)).max(1);
            self.counted_since = now;
            self.counted = 0;
        }
        self.counted += 1;
        self.requests += 1;
    }

    /// The batch was sent.
    #[inline]
    pub fn sent(&mut self) {
        self.hurried = self.hurried.saturating_sub(1);
        if self.hoped_with > 0 {
            self.learn();
        }
        self.since = Time::NEVER;
        self.requests = 0;
    }

    /// The wait is over: has anybody come?
    fn learn(&mut self) {
        if self.requests > self.hoped_with {
            self.vain = 0;
        } else {
            self.vain = (self.vain + 1).min(VAIN_MAX);
            self.hurried = (1 << self.vain) - 1;
        }
        self.hoped_with = 0;
    }

    /// Whether the batch of `bytes` should be sent now, or waits until when at most. `in_flight` says that the one before it is
    /// unanswered; `free`, that somebody is about who could ask.
    ///
    /// # Errors
    /// Until when it waits.
    #[inline]
    pub fn decide(&mut self, now: Time, in_flight: bool, bytes: usize, free: bool) -> Result<(), Time> {
        if bytes >= BYTES_MAX {
            return Ok(());
        }
        let wait = if in_flight {
            ANSWER_WAIT_MAX
        } else {
            let wait = ((self.gap * u64::from(REQUESTS_MAX)) >> SHIFT).min(WAIT_MAX);
            let is_rare = wait << SHIFT < self.gap * COMPANY_MIN;
            if is_rare || !free || self.requests >= REQUESTS_MAX || self.hurried > 0 {
                return Ok(());
            }
            if self.hoped_with == 0 {
                self.hoped_with = self.requests;
            }
            Duration::from_micros(wait)
        };
        if self.since == Time::NEVER {
            self.since = now;
        }
        let until = self.since + wait;
        if now >= until { Ok(()) } else { Err(until) }
    }
}

#[cfg(test)]
mod tests;
