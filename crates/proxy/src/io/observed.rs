//! What readers of statistics look at: the pools as they are now, and what every worker counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shoal_resp::command::Group;
use shoal_telemetry::Snapshot;

use crate::health::Health;
use crate::settings::PoolSettings;
use crate::stats::{PoolStats, ServerStats, WorkerStats};

/// The [`Observed`] in force; a reload puts another one in its place.
#[derive(Debug)]
pub struct Current(Mutex<Arc<Observed>>);

impl Current {
    /// Begins with `observed`.
    pub fn new(observed: Observed) -> Current {
        Current(Mutex::new(Arc::new(observed)))
    }

    /// What is in force.
    pub fn get(&self) -> Arc<Observed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `observed` in force.
    pub fn set(&self, observed: Observed) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(observed);
    }
}

/// Everything that readers of statistics look at.
#[derive(Debug)]
pub struct Observed {
    /// The pools with their servers' health and, for each, its servers in the order that statistics show.
    pub pools: Vec<ObservedPool>,
    /// What each worker counted.
    pub workers: Vec<Arc<WorkerStats>>,
    /// When the process began.
    pub epoch: Instant,
    /// Requests of clients in the last second, for each pool; written by [`Observed::sample`].
    rates: Mutex<Vec<Rate>>,
}

/// How many requests a pool had when it was last looked at, and how many came in the second before.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    requests: i64,
    per_second: i64,
}

/// One pool as readers of statistics look at it.
#[derive(Debug)]
pub struct ObservedPool {
    /// Its settings.
    pub settings: Arc<PoolSettings>,
    /// Its servers' health.
    pub health: Arc<Health>,
    /// Its servers, by index, in server order.
    pub order: Vec<usize>,
}

impl Observed {
    /// What there is to look at for these pools.
    pub fn new(
        settings: &[Arc<PoolSettings>],
        health: &[Arc<Health>],
        workers: Vec<Arc<WorkerStats>>,
        epoch: Instant,
    ) -> Observed {
        let pools = settings.iter().zip(health).map(|(settings, health)| {
            let names: Vec<&str> = settings.pool.shards.iter().map(|shard| shard.name.as_str()).collect();
            ObservedPool {
                settings: settings.clone(),
                health: health.clone(),
                order: shoal_hashkit::server_order(&names),
            }
        });
        let observed = Observed { pools: pools.collect(), workers, epoch, rates: Mutex::default() };
        observed.sample(Duration::MAX);
        observed
    }

    /// Looks how many requests came since the last call, which was `elapsed` ago.
    pub fn sample(&self, elapsed: Duration) {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.resize(self.pools.len(), Rate::default());
        for (pool, rate) in rates.iter_mut().enumerate() {
            let requests = self.pool(pool, |stats| stats.requests.get() as i64);
            let per_second = (requests - rate.requests) as f64 / elapsed.as_secs_f64().max(1e-3);
            *rate = Rate { requests, per_second: per_second.round() as i64 };
        }
    }

    /// Requests of clients of a pool in the last second.
    pub fn requests_per_second(&self, pool: usize) -> i64 {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).get(pool).map_or(0, |rate| rate.per_second)
    }

    /// How long a pool's requests of each family took, over all workers; families that nobody used are left out.
    pub fn latency(&self, pool: usize) -> Vec<(Group, Snapshot)> {
        let of = |group| {
            let mut snapshots =
                self.workers.iter().filter_map(|worker| worker.pools[pool].pool.latency.of(group));
            let mut sum = snapshots.next()?;
            snapshots.for_each(|snapshot| sum.merge(&snapshot));
            Some((group, sum))
        };
        Group::ALL.into_iter().filter_map(of).collect()
    }

    /// The sum of a pool's number over the workers.
    pub fn pool(&self, pool: usize, number: impl Fn(&PoolStats) -> i64) -> i64 {
        self.workers.iter().map(|worker| number(&worker.pools[pool].pool)).sum()
    }

    /// The sum of a server's number over the workers.
    pub fn server(&self, pool: usize, server: usize, number: impl Fn(&ServerStats) -> i64) -> i64 {
        self.workers.iter().map(|worker| number(&worker.pools[pool].servers[server])).sum()
    }
}
