//! Brings ejected servers back whose time out is over: each attempt on a thread of its own, so that servers that hang wait
//! for each other as little as anything else does for them. What is done is decided in [`crate::returning`].

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use shoal_resp::encode;

use super::inbox::{Inbox, Message, ReturnOrder};
use super::log;
use super::observed::Current;
use super::return_connection::ReturnConnection;
use crate::health::Health;
use crate::moved_keys::Moved;
use crate::returning::gate::Gate;
use crate::returning::reply::Reply;
use crate::returning::seen::{Verdict, judge_fitness};
use crate::returning::{Context, Outcome, Return, Step};
use crate::settings::{Dialect, PoolSettings};

/// How often servers are looked for whose time out is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a server that may not return yet is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Attempts under way at a time; further servers wait for one of them to end.
const ATTEMPTS_MAX: usize = 32;

/// How long workers may take to answer a gate.
const WORKERS_PATIENCE: Duration = Duration::from_secs(1);

/// Starts looking, as long as the process lives. `epoch` is the beginning of the process's clock.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(current: Arc<Current>, inboxes: Vec<Arc<Inbox>>, epoch: Instant) -> std::io::Result<()> {
    let prober = Arc::new(Prober {
        inboxes,
        epoch,
        attempts: Mutex::default(),
        said: Mutex::default(),
        turns: Mutex::default(),
    });
    thread::Builder::new()
        .name("prober".to_owned())
        .spawn(move || {
            loop {
                prober.look(&current);
                thread::sleep(LOOK_EVERY);
            }
        })
        .map(|_| ())
}

/// A pool and one of its shards, by name.
type Name = (String, String);

struct Prober {
    inboxes: Vec<Arc<Inbox>>,
    epoch: Instant,
    /// Who is being brought back.
    attempts: Mutex<BTreeSet<Name>>,
    /// What was last said of whom, so that it is said once.
    said: Mutex<BTreeMap<Name, String>>,
    /// One return of a pool's shards at a time changes its places.
    turns: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

impl Prober {
    fn look(self: &Arc<Self>, current: &Current) {
        for pool in &current.get().pools {
            // Twemproxy's way is to let them in unseen, which the workers do.
            if pool.settings.dialect == Dialect::Nutcracker {
                continue;
            }
            for server in pool.health.due(self.now()) {
                let name = (pool.settings.pool.name.clone(), pool.settings.pool.shards[server].name.clone());
                let mut attempts = lock(&self.attempts);
                if attempts.len() >= ATTEMPTS_MAX || !attempts.insert(name.clone()) {
                    continue;
                }
                drop(attempts);
                let attempt = Attempt {
                    prober: self.clone(),
                    name: name.clone(),
                    settings: pool.settings.clone(),
                    health: pool.health.clone(),
                    server,
                };
                let started = thread::Builder::new().name("return".to_owned()).spawn(move || attempt.make());
                if let Err(error) = started {
                    log::warning(&format!("no thread to bring shard {} back: {error}", name.1));
                    lock(&self.attempts).remove(&name);
                }
            }
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }
}

/// One attempt to bring a server back.
struct Attempt {
    prober: Arc<Prober>,
    name: Name,
    settings: Arc<PoolSettings>,
    health: Arc<Health>,
    server: usize,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        lock(&self.prober.attempts).remove(&self.name);
    }
}

impl Attempt {
    fn make(self) {
        let outcome = match self.probe() {
            Err(why) => Outcome::NotYet(why),
            Ok(()) if self.settings.empties() => self.bring_back(),
            Ok(()) => {
                self.health.readmit(self.server);
                Outcome::In(Verdict::LetIn)
            }
        };
        self.tell(&outcome);
    }

    /// Whether the server answers, as a primary that has loaded its data.
    fn probe(&self) -> Result<(), String> {
        let mut connection = self.connect(self.server)?;
        let mut requests = Vec::new();
        encode::command(&mut requests, &[b"PING"]);
        encode::command(&mut requests, &[b"INFO"]);
        let replies = connection.ask(&requests, 2)?;
        match (&replies[0], &replies[1]) {
            (Reply::Error(words), _) | (_, Reply::Error(words)) => Err(words.clone()),
            (_, Reply::Text(info)) => judge_fitness(info),
            (_, other) => Err(format!("it answers {other:?} to INFO")),
        }
    }

    fn connect(&self, server: usize) -> Result<ReturnConnection, String> {
        ReturnConnection::open(&self.settings.pool.shards[server].primary, &self.settings)
    }

    fn bring_back(&self) -> Outcome {
        let turn = lock(&self.prober.turns).entry(self.name.0.clone()).or_default().clone();
        let _turn = lock(&turn);
        let version = self.health.version();
        let lost_for = self.prober.now().saturating_sub(self.health.lost_at(self.server));
        let context = Context {
            shard: self.server,
            database: self.settings.database,
            own_name: self.health.client_name().unwrap_or_default().to_owned(),
            live: self.health.live(),
            lost_for: Duration::from_micros(lost_for),
            by_hand: self.health.is_let_in_by_hand(self.server),
        };
        let mut back = match Return::new(&self.settings, context) {
            Ok(back) => back,
            // The pool was validated before it was served.
            Err(error) => return Outcome::NotYet(error.to_string()),
        };
        let mut connections: BTreeMap<usize, ReturnConnection> = BTreeMap::new();
        let mut gate = None;
        loop {
            match back.poll() {
                Step::Ask { shard, requests, replies } => {
                    match self.ask(&mut connections, shard, &requests, replies) {
                        Ok(replies) => back.handle_replies(&replies),
                        Err(why) => back.handle_failed(why),
                    }
                }
                step @ (Step::Seal | Step::Close) => {
                    let closed = Arc::new(Gate::default());
                    let returning = (step == Step::Close).then_some(self.server);
                    let gathered = self.gather(&closed, returning);
                    gate = returning.map(|_| closed);
                    match gathered {
                        Some(moved) => back.handle_moved(moved),
                        None => {
                            back.handle_failed("requests to other shards are still unanswered".to_owned())
                        }
                    }
                }
                Step::Settle(kept) => {
                    for (inbox, kept) in self.prober.inboxes.iter().zip(kept) {
                        inbox
                            .post(Message::Return(ReturnOrder::Settle { health: self.health.clone(), kept }));
                    }
                }
                Step::Admit => {
                    // Whoever was ejected meanwhile changed places under our plan.
                    let same = self.health.version() == version;
                    let admitted = same && gate.as_ref().is_some_and(|gate| gate.commit());
                    if admitted {
                        self.health.readmit(self.server);
                    }
                    back.handle_admitted(admitted);
                }
                Step::End(outcome) => {
                    if let Some(gate) = gate {
                        let _ = gate.break_off(); // a gate that is committed opens as the shard is in
                    }
                    self.wake_workers();
                    return outcome;
                }
            }
        }
    }

    fn ask(
        &self,
        connections: &mut BTreeMap<usize, ReturnConnection>,
        shard: usize,
        requests: &[u8],
        replies: usize,
    ) -> Result<Vec<Reply>, String> {
        let name = || format!("shard {}: ", self.settings.pool.shards[shard].name);
        let of_other = |why: String| if shard == self.server { why } else { name() + &why };
        let connection = match connections.entry(shard) {
            Entry::Occupied(connection) => connection.into_mut(),
            Entry::Vacant(place) => place.insert(self.connect(shard).map_err(of_other)?),
        };
        connection.ask(requests, replies).map_err(of_other)
    }

    /// Raises `gate` at every worker; what each remembers, if all answer in time.
    fn gather(&self, gate: &Arc<Gate>, returning: Option<usize>) -> Option<Vec<Moved>> {
        let deadline = Instant::now() + WORKERS_PATIENCE;
        let raise = |inbox: &Arc<Inbox>| {
            let (answer, answered) = channel();
            let order =
                ReturnOrder::Gate { health: self.health.clone(), gate: gate.clone(), returning, answer };
            inbox.post(Message::Return(order));
            answered
        };
        let answers: Vec<_> = self.prober.inboxes.iter().map(raise).collect();
        let moved: Option<Vec<Moved>> = answers
            .into_iter()
            .map(|answer| answer.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok())
            .collect();
        if moved.is_none() {
            let _ = gate.break_off(); // nobody else commits it
            self.wake_workers();
        }
        moved
    }

    fn wake_workers(&self) {
        for inbox in &self.prober.inboxes {
            inbox.post(Message::Return(ReturnOrder::Look));
        }
    }

    fn tell(&self, outcome: &Outcome) {
        let (pool, shard) = (&self.name.0, &self.name.1);
        if let Outcome::In(verdict) = outcome {
            if *verdict == Verdict::MustBeEmptied {
                self.health.note_emptied(self.server);
            }
            lock(&self.prober.said).remove(&self.name);
            return log::notice(&format!("shard {shard} of pool {pool} is back: {verdict}"));
        }
        let again = self.prober.epoch.elapsed() + AGAIN_AFTER;
        self.health.postpone(self.server, again.as_micros() as u64);
        let (why, advice) = match outcome {
            Outcome::HeldBack(why) => (why, format!("; {}", advice(pool, shard))),
            Outcome::NotYet(why) => (why, String::new()),
            Outcome::In(_) => return,
        };
        self.health.hold_back(self.server, matches!(outcome, Outcome::HeldBack(_)));
        if lock(&self.prober.said).insert(self.name.clone(), why.clone()).as_ref() != Some(why) {
            log::warning(&format!("shard {shard} of pool {pool} stays out: {why}{advice}"));
        }
    }
}

/// What a person can do for a server that does not let us do what must be done.
fn advice(pool: &str, shard: &str) -> String {
    format!(
        "before it serves again it must be rid of what may be stale. Give the proxy's user the right (ACL SETUSER default \
         +info +time +dbsize +client +watch +multi +exec +flushdb +unlink +get +set), or let the shard in as it is by POST \
         /return/{pool}/{shard} on the admin port, or set empty_on_return: false"
    )
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
