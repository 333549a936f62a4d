//! A token bucket: so much a second, with one second's worth at once.
//!
//! ```text
//!        now ──────────── BURST ────────────▶ over the limit
//!         ├───────used──────┤ ◀── each charge moves this on by amount / rate, time moves `now` after it
//! ```
//!
//! What is kept is one moment: when all that was charged will have been paid by time. A charge is let in while there is room
//! for one more (a request, a byte) within [`BURST`], and may go beyond, so that one large value is possible under a small
//! limit and is paid for afterwards. What nobody asked to be let in (a message, the last reply to who leaves) is charged as it
//! comes, up to [`DEBT_MAX`]. Workers share a bucket by one atomic number, so that a limit is the process's, to the request; it is
//! touched only where a limit is set.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::Time;

/// What may be used at once after a pause: the rate's worth of this time.
pub const BURST: Duration = Duration::from_secs(1);

/// The most time that it takes to pay for what was used already ([`Bucket::charge`]): nobody is shut out for hours by what
/// came all at once.
pub const DEBT_MAX: Duration = Duration::from_secs(60 * BURST.as_secs());

/// The unit of time here, a sixteenth of a nanosecond: fine enough for 10 GB/s, and it lasts 36 years.
const PER_MICROSECOND: u64 = 16_000;

/// What has been used of one rate.
#[derive(Debug, Default)]
pub struct Bucket {
    /// When it is paid.
    paid_at: AtomicU64,
}

impl Bucket {
    /// Charges `amount` where `rate` a second are allowed.
    ///
    /// # Errors
    /// Over the limit: nothing was charged. How long until it is not any more.
    pub fn take(&self, now: Time, rate: u64, amount: u64) -> Result<(), Duration> {
        let now = units(now);
        let burst = BURST.as_micros() as u64 * PER_MICROSECOND;
        let (least, charge) = (cost(rate, 1), cost(rate, amount));
        let paid = |paid_at: u64| {
            let from = paid_at.max(now);
            (from - now + least <= burst).then(|| from.saturating_add(charge))
        };
        match self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid) {
            Ok(_) => Ok(()),
            Err(paid_at) => {
                let ahead = paid_at.max(now) - now;
                Err(Duration::from_micros((ahead.saturating_add(least) - burst).div_ceil(PER_MICROSECOND)))
            }
        }
    }

    /// Charges `amount` whatever the limit says: it is used already. What is owed becomes no more than [`DEBT_MAX`] by it.
    pub fn charge(&self, now: Time, rate: u64, amount: u64) {
        let (now, charge) = (units(now), cost(rate, amount));
        let most = now.saturating_add(DEBT_MAX.as_micros() as u64 * PER_MICROSECOND);
        let paid = |paid_at: u64| {
            let from = paid_at.max(now);
            Some(from.saturating_add(charge).min(most.max(from)))
        };
        // It always has a next value.
        let _ = self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid);
    }

    /// Undoes a charge: another limit has refused what it was for.
    pub fn give_back(&self, rate: u64, amount: u64) {
        let charge = cost(rate, amount);
        let back = |paid_at: u64| Some(paid_at.saturating_sub(charge));
        let _ = self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
    }
}

fn units(time: Time) -> u64 {
    time.as_micros().saturating_mul(PER_MICROSECOND)
}

fn cost(rate: u64, amount: u64) -> u64 {
    let second = u128::from(PER_MICROSECOND) * 1_000_000;
    u64::try_from(u128::from(amount) * second / u128::from(rate.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    #[test]
    fn a_seconds_worth_goes_at_once_and_then_the_rate() {
        let bucket = Bucket::default();
        let (now, rate) = (1_000_000, 10);
        assert_eq!((0..50).filter(|_| bucket.take(at(now), rate, 1).is_ok()).count(), 10);
        let wait = bucket.take(at(now), rate, 1).unwrap_err();
        assert_eq!(wait.as_micros(), 100_000);
        assert!(bucket.take(at(now + 99_999), rate, 1).is_err());
        assert!(bucket.take(at(now + 100_000), rate, 1).is_ok());
        // A pause gives back one burst and no more.
        assert_eq!((0..50).filter(|_| bucket.take(at(now + 60_000_000), rate, 1).is_ok()).count(), 10);
    }

    #[test]
    fn one_large_charge_is_let_in_and_paid_for() {
        let bucket = Bucket::default();
        assert!(bucket.take(at(0), 1000, 5000).is_ok());
        let wait = bucket.take(at(0), 1000, 1).unwrap_err();
        assert_eq!(wait.as_millis(), 4001);
        assert!(bucket.take(at(4_000_000), 1000, 1).is_err());
        assert!(bucket.take(at(4_001_000), 1000, 1).is_ok());
    }

    #[test]
    fn what_is_given_back_can_be_taken() {
        let bucket = Bucket::default();
        assert!(bucket.take(at(5), 1, 1).is_ok());
        assert!(bucket.take(at(5), 1, 1).is_err());
        bucket.give_back(1, 1);
        assert!(bucket.take(at(5), 1, 1).is_ok());
    }

    proptest! {
        /// In any stretch of time no more is let in than its worth and one burst.
        #[test]
        fn never_more_than_the_rate_and_a_burst(
            rate in 1u64..2_000_000,
            steps in prop::collection::vec((0u64..400_000, 1u64..50), 1..200),
        ) {
            let bucket = Bucket::default();
            let (mut now, mut taken) = (7, 0u64);
            for (pause, tries) in steps {
                now += pause;
                taken += (0..tries).filter(|_| bucket.take(at(now), rate, 1).is_ok()).count() as u64;
                let worth = u128::from(rate) * u128::from(now - 7 + 1_000_000) / 1_000_000 + 1;
                prop_assert!(u128::from(taken) <= worth);
            }
        }

        #[test]
        fn who_keeps_to_the_rate_is_let_in(rate in 1u64..1000, count in 1u64..2000) {
            let bucket = Bucket::default();
            for nth in 0..count {
                prop_assert!(bucket.take(at(3 + nth * 1_000_000 / rate + nth), rate, 1).is_ok());
            }
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what threads do at once is what is tried")]
    fn workers_share_it_to_the_request() {
        let bucket = Bucket::default();
        let taken: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..5000).filter(|_| bucket.take(at(9), 10_000, 1).is_ok()).count()))
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(taken, 10_000);
    }

    #[test]
    fn what_was_used_already_shuts_a_minute_at_most() {
        let bucket = Bucket::default();
        bucket.charge(at(0), 1000, 10_000_000);
        let wait = bucket.take(at(0), 1000, 1).unwrap_err();
        assert!(wait < DEBT_MAX && wait + BURST > DEBT_MAX, "{wait:?}");
        bucket.charge(at(0), 1000, 10_000_000);
        assert_eq!(bucket.take(at(0), 1000, 1), Err(wait));
        // What was let in is owed in full, and a charge takes nothing off it.
        let bucket = Bucket::default();
        assert!(bucket.take(at(0), 1000, 1_000_000).is_ok());
        let wait = bucket.take(at(0), 1000, 1).unwrap_err();
        bucket.charge(at(0), 1000, 1);
        assert_eq!(bucket.take(at(0), 1000, 1), Err(wait));
        assert!(wait > DEBT_MAX);
    }
}
