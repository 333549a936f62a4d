//! Which servers of a pool are in it: counted and decided once a process, read by every worker.
//!
//! Workers report failures and replies; the first report that fills the limit ejects. A worker notices a change by
//! [`Health::version`], one load of a cache line that is written only when something fails.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::settings::Ejection;

/// The health of all servers of one pool, shared by the workers of a process.
#[derive(Debug)]
pub struct Health {
    ejection: Option<Ejection>,
    servers: Box<[Server]>,
    version: AtomicU64,
    ejections: AtomicU64,
}

#[derive(Debug, Default)]
struct Server {
    /// Failures since the last reply.
    failures: AtomicU32,
    /// When the last failure was counted; 0 if never.
    failed_at: AtomicU64,
    /// Until when the server stays out, in microseconds of the process's clock; 0 if it is in.
    out_until: AtomicU64,
    /// When it was last ejected, in microseconds since the Unix epoch; 0 if never.
    ejected_at: AtomicU64,
}

/// Now, on both clocks that matter here.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Microseconds on the process's own clock, which never jumps. Not 0.
    pub monotonic: u64,
    /// Microseconds since the Unix epoch.
    pub unix: u64,
}

impl Health {
    /// All of `servers` servers are in.
    pub fn new(servers: usize, ejection: Option<Ejection>) -> Health {
        Health {
            ejection,
            servers: (0..servers).map(|_| Server::default()).collect(),
            version: AtomicU64::new(1),
            ejections: AtomicU64::new(0),
        }
    }

    /// The health of `servers` servers, of which some were known to this one: `known` tells under which index.
    pub fn follow(
        &self,
        servers: usize,
        ejection: Option<Ejection>,
        known: impl Fn(usize) -> Option<usize>,
    ) -> Health {
        let next = Health::new(servers, ejection);
        next.ejections.store(self.ejections(), Ordering::Relaxed);
        for (index, server) in next.servers.iter().enumerate() {
            let Some(old) = known(index).and_then(|old| self.servers.get(old)) else { continue };
            server.ejected_at.store(old.ejected_at.load(Ordering::Acquire), Ordering::Release);
            if ejection.is_some() {
                server.failures.store(old.failures.load(Ordering::Acquire), Ordering::Release);
                server.out_until.store(old.out_until.load(Ordering::Acquire), Ordering::Release);
            }
        }
        next
    }

    /// Grows whenever a server is ejected or returns.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Which servers are in, by index.
    pub fn live(&self) -> Vec<bool> {
        self.servers.iter().map(|server| server.out_until.load(Ordering::Acquire) == 0).collect()
    }

    /// Counts a failure of `server`, on a connection that was opened at `opened_at` of the process's clock; true if it is
    /// ejected by it.
    ///
    /// One event breaks the connections of all workers: a connection that was opened before the last failure tells nothing
    /// new, whatever number of workers there is.
    pub fn failed(&self, server: usize, opened_at: u64, now: Now) -> bool {
        let Some(ejection) = self.ejection else { return false };
        let entry = &self.servers[server];
        let failed_at = entry.failed_at.load(Ordering::Acquire);
        if opened_at < failed_at {
            return false;
        }
        entry.failed_at.store(now.monotonic, Ordering::Release);
        let failures = entry.failures.fetch_add(1, Ordering::AcqRel) + 1;
        if failures < ejection.failure_limit {
            return false;
        }
        let until = now.monotonic + micros(ejection.retry_after);
        if entry.out_until.compare_exchange(0, until, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return false; // another worker's report came first
        }
        entry.failures.store(0, Ordering::Release);
        entry.ejected_at.store(now.unix, Ordering::Release);
        self.ejections.fetch_add(1, Ordering::AcqRel);
        self.version.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// A reply of `server` was passed on: its failures are forgotten.
    #[inline]
    pub fn replied(&self, server: usize) {
        let failures = &self.servers[server].failures;
        if failures.load(Ordering::Relaxed) != 0 {
            failures.store(0, Ordering::Release);
        }
    }

    /// Servers whose time out of the pool is over, and which wait to be let in.
    pub fn due(&self, monotonic: u64) -> Vec<usize> {
        let due = |server: &Server| matches!(server.out_until.load(Ordering::Acquire), until if until != 0 && until <= monotonic);
        (0..self.servers.len()).filter(|&index| due(&self.servers[index])).collect()
    }

    /// The earliest instant at which [`Health::due`] will name a server, or `None` while all are in.
    pub fn next_due(&self) -> Option<u64> {
        self.servers
            .iter()
            .map(|server| server.out_until.load(Ordering::Acquire))
            .filter(|&until| until != 0)
            .min()
    }

    /// Lets `server` in again.
    pub fn readmit(&self, server: usize) {
        self.servers[server].failures.store(0, Ordering::Release);
        if self.servers[server].out_until.swap(0, Ordering::AcqRel) != 0 {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Keeps an ejected `server` out until `monotonic`, since it was looked at and is not fit.
    pub fn postpone(&self, server: usize, monotonic: u64) {
        let keep_out = |until| (until != 0).then_some(monotonic);
        // An error means that somebody let it in meanwhile, which stands.
        let _ = self.servers[server].out_until.fetch_update(Ordering::AcqRel, Ordering::Acquire, keep_out);
    }

    /// How often servers of this pool were ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// When `server` was last ejected, in microseconds since the Unix epoch; 0 if never.
    pub fn ejected_at(&self, server: usize) -> u64 {
        self.servers[server].ejected_at.load(Ordering::Relaxed)
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The failures of these tests are of connections opened just before them.
    fn fail(health: &Health, server: usize, now: Now) -> bool {
        health.failed(server, now.monotonic, Now { monotonic: now.monotonic, ..now })
    }

    const LIMIT_2: Option<Ejection> =
        Some(Ejection { failure_limit: 2, retry_after: Duration::from_secs(30) });

    fn at(seconds: u64) -> Now {
        Now { monotonic: seconds * 1_000_000, unix: 7 }
    }

    #[test]
    fn the_failure_that_fills_the_limit_ejects_once() {
        let health = Health::new(2, LIMIT_2);
        assert!(!fail(&health, 1, at(1)));
        assert!(fail(&health, 1, at(1)));
        assert!(!fail(&health, 1, at(1)), "the ejected server is not ejected again");
        assert_eq!((health.live(), health.ejections(), health.ejected_at(1)), (vec![true, false], 1, 7));
        assert_eq!((health.due(30_999_999), health.due(31_000_000)), (vec![], vec![1]));
        let before = health.version();
        health.readmit(1);
        assert_eq!((health.live(), health.next_due()), (vec![true, true], None));
        assert!(health.version() > before);
    }

    #[test]
    fn a_reply_between_failures_starts_the_count_again() {
        let health = Health::new(1, LIMIT_2);
        for _ in 0..10 {
            assert!(!fail(&health, 0, at(1)));
            health.replied(0);
        }
    }

    #[test]
    fn an_ejected_server_stays_out_when_the_settings_change_around_it() {
        let health = Health::new(2, LIMIT_2);
        fail(&health, 1, at(1));
        fail(&health, 1, at(1));
        let grown = health.follow(3, LIMIT_2, |index| (index == 0).then_some(1));
        assert_eq!((grown.live(), grown.ejections()), (vec![false, true, true], 1));
        let storage = health.follow(2, None, Some);
        assert_eq!(storage.live(), [true, true]);
    }

    #[test]
    fn a_server_found_unfit_waits_on_and_a_pool_without_ejection_keeps_all() {
        let health = Health::new(1, LIMIT_2);
        fail(&health, 0, at(1));
        fail(&health, 0, at(1));
        health.postpone(0, 40_000_000);
        assert_eq!((health.due(39_999_999), health.due(40_000_000)), (vec![], vec![0]));
        let never = Health::new(1, None);
        assert!((0..100).all(|_| !fail(&never, 0, at(1))));
        never.postpone(0, 5);
        assert_eq!(never.live(), [true]);
    }
}
