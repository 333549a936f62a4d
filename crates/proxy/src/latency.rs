//! How long requests took, by the family of their command.
//!
//! The families are Redis's own, those of its documentation and of `COMMAND DOCS` (string, hash, sorted-set, scripting, …):
//! they stand in the command table already, so a request costs one byte, and an operator knows the words. A family's
//! histogram exists from its first request on, since few pools use more than a handful: 3.1 KiB each, for each worker.

use std::sync::OnceLock;

use shoal_resp::command::Group;
use shoal_telemetry::{Histogram, Snapshot};

/// The histograms of one worker for one pool. The worker alone may [`record`](Self::record), any thread may read.
#[derive(Debug, Default)]
pub struct Latencies([OnceLock<Box<Histogram>>; Group::ALL.len()]);

impl Latencies {
    /// Counts a request of `group` that took `micros` microseconds.
    #[inline]
    pub fn record(&self, group: Group, micros: u64) {
        self.0[group as usize].get_or_init(Box::default).record_micros(micros);
    }

    /// What was recorded for `group`; `None` if nothing ever was.
    pub fn of(&self, group: Group) -> Option<Snapshot> {
        self.0[group as usize].get().map(|histogram| histogram.snapshot())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_nobody_used_has_no_histogram() {
        let latencies = Latencies::default();
        latencies.record(Group::SortedSet, 70);
        latencies.record(Group::SortedSet, 90);
        let known: Vec<Group> =
            Group::ALL.into_iter().filter(|&group| latencies.of(group).is_some()).collect();
        assert_eq!(known, [Group::SortedSet]);
        assert_eq!(latencies.of(Group::SortedSet).map(|snapshot| snapshot.count()), Some(2));
    }

    #[test]
    fn what_lies_unused_is_small() {
        assert!(size_of::<Latencies>() <= 17 * 16, "{}", size_of::<Latencies>());
    }
}
