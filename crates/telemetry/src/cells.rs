//! Numbers that one thread writes and any may read.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows.
///
/// **Single-writer rule:** at any time one thread alone may call [`add`](Self::add) and
/// [`increment`](Self::increment); any number may call [`get`](Self::get). Two writers lose counts (no
/// more than that). In return a write is a plain load and store, without a locked instruction, and
/// the cache line stays with the writer but for the readers' rare visits. Give each thread counters
/// of its own, in a [`CacheLine`], and sum when reading.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at 0.
    #[must_use]
    pub const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    /// Counts `n` more; wraps around at 2^64. For the one writer alone.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Counts one more. For the one writer alone.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// The count so far, as any thread may see it a moment late.
    #[must_use]
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down, and below zero if its writer lets it.
///
/// The [single-writer rule](Counter) holds.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// A gauge at 0.
    #[must_use]
    pub const fn new() -> Self {
        Gauge(AtomicU64::new(0))
    }

    /// Adds `n`, which may be negative. For the one writer alone.
    #[inline]
    pub fn add(&self, n: i64) {
        self.set(self.get().wrapping_add(n));
    }

    /// One more. For the one writer alone.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// One less. For the one writer alone.
    #[inline]
    pub fn decrement(&self) {
        self.add(-1);
    }

    /// Becomes `value`. Whole by itself, so where nobody adds any thread may set.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value.cast_unsigned(), Relaxed);
    }

    /// The value now, as any thread may see it a moment late.
    #[must_use]
    #[inline]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed).cast_signed()
    }
}

/// Keeps what one thread writes off the cache lines that others write.
///
/// 128 bytes and not 64, since x86-64 processors fetch lines in pairs and some ARM ones have longer
/// lines. Put a thread's whole group of counters into one.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CacheLine<T>(pub T);

impl<T> Deref for CacheLine<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the rule is about threads")]
    fn one_writes_and_others_see_it_grow() {
        const COUNT: u64 = 100_000;
        let counter = CacheLine(Counter::new());
        thread::scope(|scope| {
            scope.spawn(|| (0..COUNT).for_each(|_| counter.increment()));
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut before = 0;
                    while before < COUNT {
                        let now = counter.get();
                        assert!(now >= before);
                        before = now;
                    }
                });
            }
        });
        assert_eq!(counter.get(), COUNT);
    }

    #[test]
    fn a_counter_wraps_and_a_gauge_goes_below_zero() {
        let counter = Counter::new();
        counter.add(u64::MAX);
        counter.add(3);
        assert_eq!(counter.get(), 2);
        let gauge = Gauge::new();
        gauge.decrement();
        gauge.add(-4);
        assert_eq!(gauge.get(), -5);
        gauge.set(7);
        gauge.increment();
        assert_eq!(gauge.get(), 8);
    }

    #[test]
    fn neighbours_share_no_line() {
        let pair = [CacheLine(Counter::new()), CacheLine(Counter::new())];
        let [first, second] = [&raw const pair[0], &raw const pair[1]].map(|at| at.addr());
        assert_eq!((first % 128, second - first), (0, 128));
    }
}
