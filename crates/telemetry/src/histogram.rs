//! Durations in buckets whose width grows with them.
//!
//! ```text
//!  microseconds  0 1 2 … 15 │ 16 … 31 │ 32 34 … 62 │ 64 68 … 124 │ …   bucket starts
//!  bucket width      1      │    1    │     2      │      4      │ …   16 to each power of two
//! ```
//!
//! Log-linear as HdrHistogram's (hdrhistogram.org). Read by the middle of a bucket, a duration is at
//! most 1/32 = 3.125 % off. Does not read a clock.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Buckets to each power of two, and as many of one microsecond below the first of them.
const PER_OCTAVE: usize = 16;
const PER_OCTAVE_BITS: u32 = PER_OCTAVE.ilog2();
/// Durations from 2^27 us (134 s) on are counted in the last bucket.
const OCTAVE_BITS_MAX: u32 = 27;
const BUCKETS: usize = PER_OCTAVE + (OCTAVE_BITS_MAX - PER_OCTAVE_BITS) as usize * PER_OCTAVE;

/// A histogram of durations from 1 us to 134 s, shorter ones as 0 and longer ones as the longest.
///
/// 3.1 KiB, whatever is recorded. One thread alone may [`record`](Self::record), any may
/// [`snapshot`](Self::snapshot): the rule of [`Counter`](crate::Counter).
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
    max_us: AtomicU64,
}

impl Histogram {
    /// An empty histogram.
    #[must_use]
    pub const fn new() -> Self {
        Histogram {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_us: AtomicU64::new(0),
            max_us: AtomicU64::new(0),
        }
    }

    /// Counts one duration. For the one writer alone.
    #[inline]
    pub fn record(&self, duration: Duration) {
        self.record_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts one duration of `us` microseconds. For the one writer alone.
    #[inline]
    pub fn record_micros(&self, us: u64) {
        let add = |to: &AtomicU64, n: u64| to.store(to.load(Relaxed).wrapping_add(n), Relaxed);
        add(&self.buckets[bucket(us)], 1);
        add(&self.sum_us, us);
        if us > self.max_us.load(Relaxed) {
            self.max_us.store(us, Relaxed);
        }
    }

    /// What was recorded so far. Durations that are recorded meanwhile may be in it half, counted but
    /// not in the sum or the other way.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            buckets: array::from_fn(|i| self.buckets[i].load(Relaxed)),
            sum_us: self.sum_us.load(Relaxed),
            max_us: self.max_us.load(Relaxed),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// A histogram at one moment, or several summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    buckets: [u64; BUCKETS],
    sum_us: u64,
    max_us: u64,
}

impl Snapshot {
    /// The quantiles that are shown where none are asked for: p50, p90, p99, p999, p9999.
    pub const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];

    /// A snapshot of nothing, to merge others into.
    #[must_use]
    pub const fn empty() -> Self {
        Snapshot { buckets: [0; BUCKETS], sum_us: 0, max_us: 0 }
    }

    /// Adds what `other` counted, exactly as if one histogram had recorded both.
    pub fn merge(&mut self, other: &Snapshot) {
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket = bucket.wrapping_add(*more);
        }
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, bucket| sum.wrapping_add(*bucket))
    }

    /// All durations added up, exact to the microsecond that each was rounded down to.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// The longest duration, as exact as the sum.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max_us)
    }

    /// The duration that the share `q` of all did not exceed, at most 3.2 % off; `q` of 0.999 is p999.
    /// None when nothing was recorded; `q` is cut to 0 and 1.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        // The nearest-rank definition: the smallest value that at least q of all do not exceed.
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen: u64 = 0;
        for (i, bucket) in self.buckets.iter().enumerate() {
            seen = seen.wrapping_add(*bucket);
            if seen >= rank {
                // The last bucket has no end, so what is known of it is the longest duration.
                let us = if i == BUCKETS - 1 { self.max_us } else { middle(i).min(self.max_us) };
                return Some(Duration::from_micros(us));
            }
        }
        None
    }

    /// How many durations were at most `bound`, to the precision of a bucket: those that share a
    /// bucket with the bound but do not fill it are left out.
    #[must_use]
    pub fn count_at_most(&self, bound: Duration) -> u64 {
        let us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        let whole = if us == u64::MAX { BUCKETS } else { bucket(us + 1) };
        self.buckets[..whole].iter().fold(0, |sum, bucket| sum.wrapping_add(*bucket))
    }
}

/// The bucket of a number of microseconds.
#[inline]
fn bucket(us: u64) -> usize {
    if us < PER_OCTAVE as u64 {
        return us as usize;
    }
    let octave = us.ilog2();
    if octave >= OCTAVE_BITS_MAX {
        return BUCKETS - 1;
    }
    let shift = octave - PER_OCTAVE_BITS;
    // The highest bit and the four after it, of which the highest is the next octave's first bucket.
    shift as usize * PER_OCTAVE + (us >> shift) as usize
}

/// The middle of a bucket, in microseconds; of a bucket of one value, that value.
fn middle(bucket: usize) -> u64 {
    if bucket < 2 * PER_OCTAVE {
        return bucket as u64;
    }
    let shift = bucket / PER_OCTAVE - 1;
    let start = ((bucket % PER_OCTAVE + PER_OCTAVE) as u64) << shift;
    start + (1 << (shift - 1))
}
