//! When a batch for a server is sent at once, and when it waits for company.
//!
//! ```text
//!   a batch is unanswered    ──▶ wait for the answer: what it could gain by going is the way, not the server's time
//!   none is, company is near ──▶ wait for it, in proportion to what an answer takes anyway, and WAIT_MAX at most
//!   none is, no company      ──▶ go
//! ```
//!
//! Fewer and larger batches are what makes the server cheaper: each costs it a wake-up, a read and a write. How near company
//! is, is told by what came before: requests arrive every `gap` on average, and are answered after `latency`, waits for
//! company not counted. It is near if more than one comes within that. A session alone never waits then, since its next
//! request comes after its answer; nor do sessions that ask together wait for others that are not there. While company comes
//! as expected, waits grow up to [`PATIENCE_MAX`]; a wait in vain halves them.

use std::time::Duration;

use crate::time::Time;

/// A batch of this many bytes is sent whatever else may come.
const BYTES_MAX: usize = 16 * 1024;

/// How long a request waits at most for the answer to the batch before its own.
const ANSWER_WAIT_MAX: Duration = Duration::from_millis(1);

/// How long a request waits at most for company while the server has nothing in hand, in microseconds.
const WAIT_MAX: u64 = 500;

/// Requests that must be expected within the first, shortest wait, in sixteenths.
const COMPANY_MIN: u64 = 17;

/// Averages are kept in 1/16 microseconds.
const SHIFT: u32 = 4;

/// The pace is counted over the time of so many answers: sessions that are answered together ask together, and a shorter look
/// would see their burst, or the pause after it, for the pace.
const ANSWERS_COUNTED: u64 = 8;

/// Waits are so many eighths of what an answer takes: at first, and at most.
const PATIENCE_AT_FIRST: u64 = 8;
/// See [`PATIENCE_AT_FIRST`].
const PATIENCE_MAX: u64 = 40;

/// What one upstream knows of the pace of its requests, and of the batch that is being gathered.
#[derive(Clone, Copy, Debug)]
pub struct Gather {
    /// Average time between requests as last counted, in 1/16 microseconds.
    gap: u64,
    /// Average time from a request to its answer, less the time that it waited for company, in 1/16 microseconds.
    latency: u64,
    /// Since when requests are counted, and how many there were.
    counted_since: Time,
    counted: u64,
    /// How long to wait for company, in eighths of `latency`.
    patience: u64,
    /// How long the last batch waited for company, in microseconds.
    waited: u64,
    /// Since when the present batch waits; `NEVER` if it does not.
    since: Time,
    /// Requests in the present batch.
    requests: u32,
    /// How many there were when it began to wait for company, and how many were expected; 0 if it does not.
    hoped: (u32, u32),
}

/// The average gap of an upstream that has had no requests: far too long for company.
const GAP_AT_FIRST: u64 = 1_000_000 << SHIFT;

impl Default for Gather {
    fn default() -> Self {
        Gather {
            gap: GAP_AT_FIRST,
            latency: 0,
            counted_since: Time::default(),
            counted: 0,
            patience: PATIENCE_AT_FIRST,
            waited: 0,
            since: Time::NEVER,
            requests: 0,
            hoped: (0, 0),
        }
    }
}

impl Gather {
    /// A request was added to the batch.
    #[inline]
    pub fn arrived(&mut self, now: Time) {
        let counting = now.since(self.counted_since).as_micros() as u64;
        if counting << SHIFT >= self.latency * ANSWERS_COUNTED && counting > 0 {
            self.gap = (counting << SHIFT) / self.counted.max(1);
            self.counted_since = now;
            self.counted = 0;
        }
        self.counted += 1;
        self.requests += 1;
    }

    /// A request is answered, `micros` microseconds after it was queued.
    #[inline]
    pub fn answered(&mut self, micros: u64) {
        let latency = micros.saturating_sub(self.waited).min(1_000_000) << SHIFT;
        self.latency = self.latency - (self.latency >> SHIFT) + (latency >> SHIFT);
    }

    /// The batch was sent.
    #[inline]
    pub fn sent(&mut self, now: Time) {
        self.waited = 0;
        if self.hoped.1 > 0 {
            self.waited = now.since(self.since).as_micros() as u64;
            self.learn();
        }
        self.since = Time::NEVER;
        self.requests = 0;
    }

    /// The wait is over: has the company come that was hoped for?
    fn learn(&mut self) {
        let (had, expected) = std::mem::take(&mut self.hoped);
        let came = self.requests - had.min(self.requests);
        if came * 2 >= expected - had.min(expected) {
            self.patience = (self.patience + 1).min(PATIENCE_MAX);
        } else {
            self.patience = (self.patience / 2).max(PATIENCE_AT_FIRST);
        }
    }

    /// Whether the batch of `bytes` should be sent now, or waits until when at most. `in_flight` says that the one before it is
    /// unanswered.
    ///
    /// # Errors
    /// Until when it waits.
    #[inline]
    pub fn decide(&mut self, now: Time, in_flight: bool, bytes: usize) -> Result<(), Time> {
        if bytes >= BYTES_MAX {
            return Ok(());
        }
        let wait = if in_flight {
            ANSWER_WAIT_MAX
        } else {
            let shortest = ((self.latency * PATIENCE_AT_FIRST / 8) << SHIFT) / self.gap.max(1);
            if shortest < COMPANY_MIN {
                return Ok(());
            }
            let wait = ((self.latency * self.patience / 8) >> SHIFT).min(WAIT_MAX);
            let expected = (wait << SHIFT) / self.gap.max(1);
            if u64::from(self.requests) > expected {
                return Ok(());
            }
            if self.hoped.1 == 0 {
                self.hoped = (self.requests, expected as u32 + 1);
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
