//! A gate: while it is closed, every worker holds the requests whose keys are about to change their place.

use std::sync::atomic::{AtomicU8, Ordering};

const CLOSED: u8 = 0;
const COMMITTED: u8 = 1;
const BROKEN: u8 = 2;

/// One closing of a pool's keys, known to the return that asked for it and to each worker.
///
/// Whoever is first decides for all: the return commits when every worker has answered, a worker breaks the gate off when it
/// has held its clients long enough. After a commit nobody goes back to the old places.
#[derive(Debug, Default)]
pub struct Gate(AtomicU8);

impl Gate {
    /// All workers have answered: the shard is let in. False if somebody has broken the gate off, and all goes on as before.
    pub fn commit(&self) -> bool {
        self.settle(COMMITTED) == COMMITTED
    }

    /// Nobody holds requests any longer. False if the return was committed before: the shard is in at any moment.
    pub fn break_off(&self) -> bool {
        self.settle(BROKEN) == BROKEN
    }

    /// Whether requests are held no longer since the gate was broken off.
    pub fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire) == BROKEN
    }

    fn settle(&self, state: u8) -> u8 {
        match self.0.compare_exchange(CLOSED, state, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => state,
            Err(settled) => settled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_decide_decides() {
        let gate = Gate::default();
        assert!(gate.commit() && gate.commit() && !gate.break_off() && !gate.is_broken());
        let gate = Gate::default();
        assert!(gate.break_off() && gate.is_broken() && !gate.commit());
    }
}
