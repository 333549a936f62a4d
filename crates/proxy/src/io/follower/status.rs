//! What the admin port shows of a shard that follows Sentinel. Read and written beside the loops alone.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the admin port shows of a shard that follows Sentinel; written by the thread that follows.
#[derive(Debug, Default)]
pub struct Status {
    /// Changes of the primary, the first finding not counted.
    pub switches: AtomicU64,
    /// Looks at the sentinels.
    pub looks: AtomicU64,
    /// Sentinels that answered when last asked.
    pub reachable: AtomicU32,
    /// The configuration epoch of the last word that was believed.
    pub config_epoch: AtomicU64,
    /// Since when the primary is what it is, in microseconds since the Unix epoch; 0 if there is none.
    pub since_unix_micros: AtomicU64,
    /// Why there is no primary, or what is odd; empty if nothing is.
    remark: Mutex<String>,
    /// The sentinels that did not answer when last asked, each with why.
    silent: Mutex<Vec<String>>,
}

impl Status {
    /// Why there is no primary, or what is odd; empty if nothing is.
    pub fn remark(&self) -> String {
        self.remark.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The sentinels that did not answer when last asked, each with why.
    pub fn silent(&self) -> Vec<String> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes which sentinels did not answer.
    pub fn set_silent(&self, silent: Vec<String>) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = silent;
    }

    /// Notes what there is to say.
    pub fn set_remark(&self, remark: &str) {
        remark.clone_into(&mut self.remark.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes that the primary is another one since `unix_micros`; 0 for none.
    pub fn set_since(&self, unix_micros: u64) {
        self.since_unix_micros.store(unix_micros, Ordering::Relaxed);
    }
}
