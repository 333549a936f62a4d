//! Follows Sentinel for the shards that are given by their sentinels: one thread, which waits for all its connections at once.
//! What is asked, believed and done is decided in [`crate::following`].
//!
//! ```text
//!   Following ──Ask──▶ links ──▶ sentinels, instances        messages ──▶ a hint to look
//!       │                                                    Doubts of workers ──▶ a hint to look
//!       └──Change──▶ main thread ──▶ each worker ──▶ Done: all have done it
//! ```

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{EventfdFlags, eventfd};

use super::log;
use super::observed::{Current, Observed};
use super::orders::{Orders, Switch};
use crate::following::shard::{Primary, Sentinels, Status};
use crate::following::{Change, Following, Led, Step, Told, Whom};
use crate::server_auth::ServerAuth;
use crate::settings::PoolSettings;
use crate::time::Time;
use links::{Answered, Links, Target};

mod links;
mod look_ups;
pub mod status;

/// How long the thread sleeps at most.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Doubts that may wait; further ones tell nothing new.
const DOUBTS_MAX: usize = 1024;

/// Where workers say that somebody should look at a primary.
#[derive(Clone, Debug)]
pub struct Doubts(Arc<Raised>);

#[derive(Debug)]
struct Raised {
    named: Mutex<Vec<(String, String)>>,
    bell: Arc<OwnedFd>,
}

impl Doubts {
    /// None yet.
    pub fn new() -> rustix::io::Result<Doubts> {
        let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        Ok(Doubts(Arc::new(Raised { named: Mutex::default(), bell })))
    }

    /// Doubts the primary of this shard, named by its pool's name and its own.
    pub fn raise(&self, named: (String, String)) {
        let mut all = self.0.named.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < DOUBTS_MAX {
            all.push(named);
        }
        drop(all);
        ring(&self.0.bell);
    }

    /// Has the follower look at what is observed, which is new.
    pub fn wake(&self) {
        ring(&self.0.bell);
    }

    fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.0.named.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Says that all have done something: when the last one who has it drops it.
#[derive(Debug)]
pub struct Done {
    is_done: Arc<AtomicBool>,
    bell: Arc<OwnedFd>,
}

impl Done {
    /// To be dropped by all who have it; what is set then, when `bell` is rung.
    pub fn awaited(bell: Arc<OwnedFd>) -> (Arc<Done>, Arc<AtomicBool>) {
        let is_done = Arc::new(AtomicBool::new(false));
        (Arc::new(Done { is_done: is_done.clone(), bell }), is_done)
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Release);
        ring(&self.bell);
    }
}

fn ring(bell: &OwnedFd) {
    // A bell that is full rings already.
    let _ = rustix::io::write(bell.as_fd(), &1u64.to_ne_bytes());
}

/// Starts following, as long as the process lives. `epoch` is the beginning of the process's clock.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(current: Arc<Current>, orders: Orders, doubts: Doubts, epoch: Instant) -> std::io::Result<()> {
    let mut follower = Follower::new(orders, doubts, epoch);
    thread::Builder::new()
        .name("follower".to_owned())
        .spawn(move || {
            loop {
                follower.follow_settings(&current);
                follower.turn();
            }
        })
        .map(|_| ())
}

struct Follower {
    orders: Orders,
    doubts: Doubts,
    epoch: Instant,
    links: Links,
    /// By a number that is never used again: an answer that comes late is nobody's.
    shards: BTreeMap<u64, Shard>,
    next_shard: u64,
    bell: Arc<OwnedFd>,
    /// What the shards were last taken from.
    seen: Option<Arc<Observed>>,
}

struct Shard {
    pool: String,
    name: String,
    sentinels: Arc<Sentinels>,
    settings: Arc<PoolSettings>,
    status: Arc<Status>,
    following: Following,
    /// Set when all workers have done what they were last told.
    under_way: Option<Arc<AtomicBool>>,
}

impl Follower {
    fn new(orders: Orders, doubts: Doubts, epoch: Instant) -> Follower {
        let bell = doubts.0.bell.clone();
        let links = Links::new(bell.clone());
        let shards = BTreeMap::new();
        Follower { orders, doubts, epoch, links, shards, next_shard: 0, bell, seen: None }
    }

    fn now(&self) -> Time {
        Time::from_micros(self.epoch.elapsed().as_micros() as u64)
    }

    /// Takes the shards to follow from what is observed, if that is another than before.
    fn follow_settings(&mut self, current: &Current) {
        let observed = current.get();
        if self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &observed)) {
            return;
        }
        let now = self.now();
        let mut left = std::mem::take(&mut self.shards);
        for pool in &observed.pools {
            for (index, followed) in pool.settings.followed.iter().enumerate() {
                let Some(followed) = followed else { continue };
                let (pool_name, name) = (&pool.settings.pool.name, &pool.settings.pool.shards[index].name);
                // One that was removed and put back is another one, whose primary no worker was told.
                let known = left.iter().find(|(_, shard)| Arc::ptr_eq(&shard.status, &followed.status));
                let known = known.map(|(number, _)| *number).and_then(|number| left.remove_entry(&number));
                let names = followed.sentinels.endpoints.iter().map(ToString::to_string).collect();
                let (number, shard) = match known {
                    Some((number, mut shard)) if shard.sentinels == followed.sentinels => {
                        shard.settings = pool.settings.clone();
                        (number, shard)
                    }
                    Some((_, mut shard)) => {
                        shard.following.replace_sentinels(names);
                        shard.settings = pool.settings.clone();
                        shard.sentinels = followed.sentinels.clone();
                        (self.number(), shard)
                    }
                    None => {
                        let mut following = Following::new(&followed.sentinels.watched_as, names);
                        if followed.primary == Primary::Switching {
                            following.hold(now);
                        }
                        let shard = Shard {
                            pool: pool_name.clone(),
                            name: name.clone(),
                            sentinels: followed.sentinels.clone(),
                            settings: pool.settings.clone(),
                            status: followed.status.clone(),
                            following,
                            under_way: None,
                        };
                        (self.number(), shard)
                    }
                };
                self.shards.insert(number, shard);
            }
        }
        let sentinels = self.shards.values().flat_map(|shard| shard.sentinel_targets());
        self.links.listen_to(sentinels.collect());
        self.seen = Some(observed);
    }

    fn number(&mut self) -> u64 {
        self.next_shard += 1;
        self.next_shard
    }

    /// Does what is due, then waits for what comes next.
    fn turn(&mut self) {
        let now = self.now();
        for named in self.doubts.take() {
            let shard =
                self.shards.values_mut().find(|shard| (&shard.pool, &shard.name) == (&named.0, &named.1));
            if let Some(shard) = shard {
                shard.following.handle_hint(now);
            }
        }
        let mut until = now + LOOK_EVERY;
        for (number, shard) in &mut self.shards {
            if shard.under_way.as_ref().is_some_and(|done| done.load(Ordering::Acquire)) {
                shard.under_way = None;
                shard.following.handle_changed(now);
            }
            while let Some(step) = shard.following.poll(now) {
                shard.take_step(*number, step, &mut self.links, &self.orders, &self.bell, now);
            }
            shard.show();
            until = until.min(shard.following.poll_timeout());
        }
        let patience = until.since(self.now());
        if let Err(error) = self.links.wait(patience) {
            log::seldom(&format!("cannot wait for sentinels: {error}"));
            // It would fail again at once. To wait for the bell alone the kernel needs no memory, and whatever rings ends it.
            if let Err(error) = self.links.wait_for_bell(LOOK_EVERY) {
                log::seldom(&format!("cannot wait for news of workers: {error}"));
            }
        }
        let now = self.now();
        while let Some(Answered { asker, whom, answer }) = self.links.poll_answer() {
            // A shard may be gone by a reload.
            if let Some(shard) = self.shards.get_mut(&asker) {
                let answer = answer.as_ref().map(Vec::as_slice).map_err(Clone::clone);
                shard.following.handle_answer(&whom, answer, now);
            }
        }
        while let Some((target, message)) = self.links.poll_message() {
            for shard in self.shards.values_mut() {
                let concerned = message
                    .as_ref()
                    .is_none_or(|text| text.split(' ').any(|word| word == shard.sentinels.watched_as));
                if concerned && shard.sentinel_targets().any(|own| own == target) {
                    shard.following.handle_hint(now);
                }
            }
        }
    }
}

impl Shard {
    fn sentinel_targets(&self) -> impl Iterator<Item = Target> + '_ {
        self.sentinels.endpoints.iter().map(|endpoint| Target {
            endpoint: endpoint.clone(),
            auth: self
                .sentinels
                .password
                .clone()
                .map(|password| ServerAuth { user: self.sentinels.user.clone(), passwords: vec![password] }),
            tls: self.settings.sentinel_tls.clone(),
        })
    }

    fn take_step(
        &mut self,
        number: u64,
        step: Step,
        links: &mut Links,
        orders: &Orders,
        bell: &Arc<OwnedFd>,
        now: Time,
    ) {
        match step {
            Step::Ask { whom, requests, replies } => {
                let target = match &whom {
                    Whom::Sentinel(index) => self.sentinel_targets().nth(*index),
                    Whom::Instance(endpoint) => Some(Target {
                        endpoint: endpoint.clone(),
                        auth: self.settings.server_auth.clone(),
                        tls: self.settings.server_tls.clone(),
                    }),
                };
                match target {
                    Some(target) => links.ask(target, number, whom, &requests, replies),
                    None => self.following.handle_answer(&whom, Err("there is none".to_owned()), now),
                }
            }
            Step::Change(change) => {
                match change {
                    Change::To(_) => {}
                    Change::Stop | Change::Unknown => self.status.set_since(0),
                }
                let (done, is_done) = Done::awaited(bell.clone());
                self.under_way = Some(is_done);
                let (pool, shard, status) = (self.pool.clone(), self.name.clone(), self.status.clone());
                orders.switch(Switch { pool, shard, status, change, done });
            }
            Step::Tell(told) => self.tell(&told),
        }
    }

    fn tell(&self, told: &Told) {
        let (pool, shard) = (&self.pool, &self.name);
        match told {
            Told::Led(Led { from, to, epoch, by, stopped_after, led_after }) => {
                self.status.set_remark("");
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                self.status.set_since(unix.as_micros() as u64);
                let text = match from {
                    Some(from) => {
                        self.status.switches.fetch_add(1, Ordering::Relaxed);
                        format!(
                            "shard {shard} of pool {pool} has another primary: {to}, not {from} any more (config epoch {epoch}, \
                             by {by}); {} ms after that was known nothing more went to the old one, {} ms after it \
                             requests went to the new one",
                            milliseconds(*stopped_after),
                            milliseconds(*led_after)
                        )
                    }
                    None => format!(
                        "shard {shard} of pool {pool} has its primary at {to} (config epoch {epoch}, by {by})"
                    ),
                };
                log::notice(&text);
            }
            Told::Warning(what) => {
                self.status.set_remark(what);
                log::warning(&format!("shard {shard} of pool {pool}: {what}"));
            }
            Told::AllWell => {
                self.status.set_remark("");
                log::notice(&format!("shard {shard} of pool {pool}: its sentinels answer again"));
            }
        }
    }

    fn show(&self) {
        let (following, status) = (&self.following, &self.status);
        status.looks.store(following.looks(), Ordering::Relaxed);
        status.reachable.store(following.reachable() as u32, Ordering::Relaxed);
        status.config_epoch.store(following.epoch(), Ordering::Relaxed);
        status.set_silent(following.silent().collect());
    }
}

fn milliseconds(span: Duration) -> String {
    format!("{:.1}", span.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests;
