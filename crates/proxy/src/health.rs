//! Which servers of a pool are in it: counted and decided once a process, read by every worker.
//!
//! Workers report failures and replies; the first report that fills the limit ejects. A worker notices a change by
//! [`Health::version`], one load of a cache line that is written only when something fails.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::settings::Ejection;

/// The health of all servers of one pool, shared by the workers of a process.
#[derive(Debug)]
pub struct Health {
    ejection: Option<Ejection>,
    servers: Box<[Server]>,
    version: AtomicU64,
    ejections: AtomicU64,
    /// What connections to these servers call themselves.
    client_name: OnceLock<Box<str>>,
}

#[derive(Debug, Default)]
struct Server {
    /// Failures since the last reply.
    failures: AtomicU32,
    /// When the first of them was counted.
    failing_since: AtomicU64,
    /// When the first failure of those was counted that ejected it.
    lost_at: AtomicU64,
    /// How often this process emptied it.
    emptied: AtomicU64,
    /// It answers, and is kept out until a person has looked at it.
    held_back: AtomicBool,
    /// A person said that it may return as it is.
    by_hand: AtomicBool,
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
            client_name: OnceLock::new(),
        }
    }

    /// The same, and connections to the servers call themselves `name`: other proxies see by it who kept using a server.
    pub fn with_client_name(self, name: &str) -> Health {
        // A fresh one has no name yet.
        let _ = self.client_name.set(name.into());
        self
    }

    /// What connections to the servers call themselves (`CLIENT SETNAME`), if they do.
    pub fn client_name(&self) -> Option<&str> {
        self.client_name.get().map(AsRef::as_ref)
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
        if let Some(name) = self.client_name() {
            let _ = next.client_name.set(name.into()); // it has none yet
        }
        for (index, server) in next.servers.iter().enumerate() {
            let Some(old) = known(index).and_then(|old| self.servers.get(old)) else { continue };
            server.ejected_at.store(old.ejected_at.load(Ordering::Acquire), Ordering::Release);
            server.emptied.store(old.emptied.load(Ordering::Relaxed), Ordering::Relaxed);
            server.lost_at.store(old.lost_at.load(Ordering::Acquire), Ordering::Release);
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
        if failures == 1 {
            entry.failing_since.store(now.monotonic, Ordering::Release);
        }
        if failures < ejection.failure_limit {
            return false;
        }
        let until = now.monotonic + micros(ejection.retry_after);
        if entry.out_until.load(Ordering::Acquire) == 0 {
            entry.lost_at.store(entry.failing_since.load(Ordering::Acquire), Ordering::Release);
        }
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
        let entry = &self.servers[server];
        entry.failures.store(0, Ordering::Release);
        entry.held_back.store(false, Ordering::Release);
        entry.by_hand.store(false, Ordering::Release);
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

    /// When this process lost the ejected `server`: the first failure of those that ejected it, on the process's clock.
    pub fn lost_at(&self, server: usize) -> u64 {
        self.servers[server].lost_at.load(Ordering::Acquire)
    }

    /// Counts that this process emptied `server`.
    pub fn note_emptied(&self, server: usize) {
        self.servers[server].emptied.fetch_add(1, Ordering::Relaxed);
    }

    /// How often this process emptied `server`.
    pub fn emptied(&self, server: usize) -> u64 {
        self.servers[server].emptied.load(Ordering::Relaxed)
    }

    /// Notes whether `server` answers and is kept out until a person has looked at it; true if that is new.
    pub fn hold_back(&self, server: usize, held: bool) -> bool {
        self.servers[server].held_back.swap(held, Ordering::AcqRel) != held
    }

    /// Whether `server` answers and is kept out until a person has looked at it.
    pub fn is_held_back(&self, server: usize) -> bool {
        self.servers[server].held_back.load(Ordering::Acquire)
    }

    /// A person says that the ejected `server` may return with the data that it has; it is looked at as soon as may be. False
    /// if it is not out.
    pub fn let_in_by_hand(&self, server: usize) -> bool {
        let entry = &self.servers[server];
        entry.by_hand.store(true, Ordering::Release);
        let soon = entry
            .out_until
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |until| (until != 0).then_some(1));
        if soon.is_err() {
            entry.by_hand.store(false, Ordering::Release);
        }
        soon.is_ok()
    }

    /// Whether a person said that `server` may return as it is.
    pub fn is_let_in_by_hand(&self, server: usize) -> bool {
        self.servers[server].by_hand.load(Ordering::Acquire)
    }

    /// Until when `server` stays out at least, in microseconds of the process's clock; `None` if it is in.
    pub fn out_until(&self, server: usize) -> Option<u64> {
        Some(self.servers[server].out_until.load(Ordering::Acquire)).filter(|&until| until != 0)
    }

    /// Failures of `server` since its last reply.
    pub fn failures(&self, server: usize) -> u32 {
        self.servers[server].failures.load(Ordering::Relaxed)
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
    use crate::settings::EjectedKeys;

    /// The failures of these tests are of connections opened just before them.
    fn fail(health: &Health, server: usize, now: Now) -> bool {
        health.failed(server, now.monotonic, Now { monotonic: now.monotonic, ..now })
    }

    const LIMIT_2: Option<Ejection> =
        Some(Ejection { failure_limit: 2, retry_after: Duration::from_secs(30), keys: EjectedKeys::Fail });

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
