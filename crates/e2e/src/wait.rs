//! Waiting for a condition, with a bound, instead of sleeping.

use std::time::{Duration, Instant};

/// How long anything may take to come true before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Time between two looks at a condition that cannot wake us.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Asks `probe` until it gives a value, for at most [`DEADLINE`].
///
/// # Panics
/// When the deadline passes, with `what` in the message.
#[track_caller]
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    match at_most(DEADLINE, probe) {
        Some(value) => value,
        None => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Asks `probe` until it gives a value; `None` when `bound` has passed.
pub fn at_most<T>(bound: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + bound;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}
