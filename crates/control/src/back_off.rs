//! When something that ended may be started again: sooner the first times, later if it goes on ending.

use std::time::{Duration, SystemTime};

use crate::runtime::Exit;

/// Who has run for so long has run: what ends it then is a new trouble.
pub const STEADY: Duration = Duration::from_secs(600);

/// The first pause.
pub const FIRST: Duration = Duration::from_millis(500);

/// The longest pause.
pub const LONGEST: Duration = Duration::from_secs(60);

/// The pause before a start, after so many unasked ends in a row: none after none, then [`FIRST`], doubled each time up to
/// [`LONGEST`].
#[must_use]
pub fn pause(unasked_in_a_row: u32) -> Duration {
    match unasked_in_a_row {
        0 => Duration::ZERO,
        n => FIRST.saturating_mul(1_u32.checked_shl(n - 1).unwrap_or(u32::MAX)).min(LONGEST),
    }
}

/// When it may be started again. An end that was asked for has no pause.
#[must_use]
pub fn not_before(exit: &Exit) -> SystemTime {
    if exit.asked { exit.at } else { exit.at + pause(exit.unasked_in_a_row) }
}

/// The count for [`Exit::unasked_in_a_row`] at a further unasked end, of a life that lasted so long.
#[must_use]
pub fn count(before: u32, lasted: Duration) -> u32 {
    if lasted >= STEADY { 1 } else { before.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<u128> = (0..9).map(|n| pause(n).as_millis()).collect();
        assert_eq!(pauses, [0, 500, 1000, 2000, 4000, 8000, 16000, 32000, 60000]);
        assert_eq!(pause(33), LONGEST);
        assert_eq!(pause(u32::MAX), LONGEST);
    }

    #[test]
    fn who_ran_steadily_starts_counting_anew() {
        assert_eq!(count(7, Duration::from_secs(599)), 8);
        assert_eq!(count(7, STEADY), 1);
        assert_eq!(count(u32::MAX, Duration::ZERO), u32::MAX);
    }

    #[test]
    fn an_end_that_was_asked_for_has_no_pause() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let exit = |asked| Exit { at, asked, reason: String::new(), unasked_in_a_row: 2 };
        assert_eq!(not_before(&exit(true)), at);
        assert_eq!(not_before(&exit(false)), at + Duration::from_secs(1));
    }
}
