//! Proxies with their engines, model servers, the links between them, and what goes wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use shoal_hashkit::Random;
use shoal_resp::encode;
use shoal_topology::{Route, Router};

use super::super::gate::Gate;
use super::super::reply::Reply;
use super::super::seen::client_name;
use super::super::{Context, Outcome, Return, Step};
use super::history::History;
use super::server::{Done, Server};
use crate::arena::Key;
use crate::engine::{Action, Engine, Parts, Pools};
use crate::failure::Failure;
use crate::fixture;
use crate::health::Health;
use crate::moved_keys::Moved;
use crate::settings::{EjectedKeys, Ejection, PoolSettings};
use crate::stats::WorkerStats;
use crate::time::Time;

pub const SHARDS: usize = 3;
pub const WORKERS: usize = 2;
const TIMEOUT: Duration = Duration::from_millis(100);
/// A return waits so long for servers and workers.
const PATIENCE: u64 = 1_000_000;

/// What happened, so that a run that tests nothing is noticed.
#[derive(Default, Debug)]
pub struct Tally {
    pub reads: usize,
    pub verdicts: BTreeMap<String, usize>,
    pub broken: Vec<String>,
}

pub struct World {
    pub proxies: Vec<Proxy>,
    pub servers: Vec<Server>,
    pub keys: Vec<Vec<u8>>,
    homes: Vec<usize>,
    history: History,
    chance: Random,
    pub now: u64,
    pub tally: Tally,
    /// When each server was last emptied, and in which life.
    flushed: Vec<(u64, u64)>,
}

pub struct Proxy {
    pub health: Arc<Health>,
    settings: Arc<PoolSettings>,
    workers: Vec<Worker>,
    /// Whether the link to each server is cut.
    pub cut: Vec<bool>,
    attempt: Option<Attempt>,
    /// When each server was last let in.
    admitted: Vec<u64>,
    /// Since when each server is in.
    in_since: Vec<u64>,
}

struct Worker {
    engine: Engine,
    /// For each connection of the engine: the server, and the server's number for it if it stands.
    wires: BTreeMap<Key, Wire>,
    clients: Vec<Client>,
    orders: VecDeque<Order>,
    answers: Vec<(Arc<Gate>, Moved)>,
}

struct Wire {
    shard: usize,
    conn: Option<u64>,
    unsent: Vec<u8>,
}

enum Order {
    Gate(Arc<Gate>, Option<usize>),
    Settle(Moved),
    Look,
}

struct Client {
    key: Key,
    received: Vec<u8>,
    asked: VecDeque<Asked>,
}

struct Asked {
    key: usize,
    at: u64,
    /// The number of the write; `None` for a read.
    write: Option<usize>,
    versions: u64,
}

struct Attempt {
    back: Return,
    shard: usize,
    version: u64,
    conns: BTreeMap<usize, u64>,
    gate: Option<Arc<Gate>>,
    waiting: Option<(Arc<Gate>, u64)>,
    asked: Option<(usize, usize, u64)>,
}

pub fn settings(keys: EjectedKeys, failure_limit: u32, retry_after: Duration) -> PoolSettings {
    let mut settings = fixture::settings(SHARDS);
    settings.pool.hash = "md5".parse().unwrap();
    PoolSettings {
        timeout: Some(TIMEOUT),
        server_connections: 1,
        ejection: Some(Ejection { failure_limit, retry_after, keys }),
        client_stall_timeout: crate::settings::CLIENT_STALL_TIMEOUT,
        ..settings
    }
}

impl World {
    pub fn new(seed: u32, proxies: usize, settings: &PoolSettings) -> World {
        let keys: Vec<Vec<u8>> = (0..9).map(|number| format!("k{number}").into_bytes()).collect();
        let router = Router::new(&settings.pool, &[true; SHARDS]).unwrap();
        let mut chance = Random::seeded(seed.wrapping_add(7));
        let home = |key: &Vec<u8>| match router.route(key, &mut Random::seeded(1)) {
            Route::Shard(shard) => shard,
            other => panic!("{other:?}"),
        };
        let homes = keys.iter().map(home).collect();
        let proxies = (0..proxies).map(|number| Proxy::new(number, settings, chance.next())).collect();
        World {
            proxies,
            servers: (0..SHARDS).map(|_| Server::new()).collect(),
            keys,
            homes,
            history: History::default(),
            chance,
            now: 10_000_000,
            tally: Tally::default(),
            flushed: vec![(0, 0); SHARDS],
        }
    }

    pub fn pick(&mut self, below: usize) -> usize {
        self.chance.next() as usize % below.max(1)
    }

    /// One step: time passes, clients ask, bytes move, servers work, returns go on.
    pub fn step(&mut self, asking: bool) {
        self.now += 1 + self.pick(30_000) as u64;
        for proxy in 0..self.proxies.len() {
            for worker in 0..WORKERS {
                self.work(proxy, worker, asking);
            }
            self.go_on_returning(proxy);
        }
        for shard in 0..SHARDS {
            self.serve(shard);
        }
    }

    fn versions(&self) -> u64 {
        self.proxies.iter().map(|proxy| proxy.health.version()).sum()
    }

    fn work(&mut self, proxy: usize, worker: usize, asking: bool) {
        let now = Time::from_micros(self.now);
        self.worker(proxy, worker).engine.begin_round(now, 1);
        for client in 0..self.worker(proxy, worker).clients.len() {
            let busy = self.worker(proxy, worker).clients[client].asked.len() >= 2;
            if asking && !busy && self.pick(3) == 0 {
                self.ask(proxy, worker, client);
            }
        }
        while let Some(order) = self.worker(proxy, worker).orders.pop_front() {
            let health = self.proxies[proxy].health.clone();
            let engine = &mut self.worker(proxy, worker).engine;
            match order {
                Order::Gate(gate, returning) => {
                    if !engine.raise_gate(&health, gate.clone(), returning) {
                        let _ = gate.break_off();
                    }
                }
                Order::Settle(kept) => engine.settle_moved(&health, kept),
                Order::Look => engine.open_gates(),
            }
        }
        for key in self.worker(proxy, worker).wires.keys().copied().collect::<Vec<_>>() {
            self.carry(proxy, worker, key);
        }
        self.worker(proxy, worker).engine.handle_timeout();
        self.flush(proxy, worker);
        while let Some(answer) = self.worker(proxy, worker).engine.poll_gate() {
            self.worker(proxy, worker).answers.push(answer);
        }
        for client in 0..self.worker(proxy, worker).clients.len() {
            self.check(proxy, worker, client);
        }
    }

    fn worker(&mut self, proxy: usize, worker: usize) -> &mut Worker {
        &mut self.proxies[proxy].workers[worker]
    }

    fn ask(&mut self, proxy: usize, worker: usize, client: usize) {
        let key = self.pick(self.keys.len());
        let (kind, now, versions) = (self.pick(8), self.now, self.versions());
        let name = self.keys[key].clone();
        let mut request = Vec::new();
        let write = (kind < 4).then(|| self.history.begin(proxy, &name, now));
        match (kind, write) {
            (0, Some(_)) => encode::command(&mut request, &[b"DEL", &name]),
            (_, Some(number)) => {
                encode::command(&mut request, &[b"SET", &name, number.to_string().as_bytes()])
            }
            (_, None) => encode::command(&mut request, &[b"GET", &name]),
        }
        let worker = self.worker(proxy, worker);
        let client = &mut worker.clients[client];
        client.asked.push_back(Asked { key, at: now, write, versions });
        worker.engine.handle_session_bytes(client.key, &request);
    }

    /// Moves bytes between the engine's connection and the server's.
    fn carry(&mut self, proxy: usize, worker: usize, key: Key) {
        let Some(wire) = self.worker(proxy, worker).wires.get(&key) else { return };
        let (shard, conn) = (wire.shard, wire.conn);
        if self.proxies[proxy].cut[shard] {
            return;
        }
        let lives = conn.is_some_and(|conn| self.servers[shard].conns.contains_key(&conn));
        let Some(conn) = conn.filter(|_| lives) else {
            if conn.is_some() {
                self.worker(proxy, worker).wires.remove(&key);
                self.worker(proxy, worker).engine.handle_upstream_failed(key, &Failure::Closed);
            }
            return;
        };
        let Some(wire) = self.proxies[proxy].workers[worker].wires.get_mut(&key) else { return };
        let Some(end) = self.servers[shard].conns.get_mut(&conn) else { return };
        end.unread.append(&mut wire.unsent);
        let replies = std::mem::take(&mut end.replies);
        if !replies.is_empty() {
            self.worker(proxy, worker).engine.handle_upstream_bytes(key, &replies);
        }
    }

    fn flush(&mut self, proxy: usize, worker: usize) {
        loop {
            let now = self.now;
            let Proxy { workers, cut, .. } = &mut self.proxies[proxy];
            let Worker { engine, wires, clients, .. } = &mut workers[worker];
            engine.settle();
            while let Some(key) = engine.poll_upstream() {
                let output = engine.upstream_output(key).to_vec();
                if let Some(wire) = wires.get_mut(&key) {
                    wire.unsent.extend_from_slice(&output);
                }
                engine.handle_upstream_sent(key, output.len());
            }
            while let Some(key) = engine.poll_session() {
                let output = engine.session_output(key).to_vec();
                for client in clients.iter_mut().filter(|client| client.key == key) {
                    client.received.extend_from_slice(&output);
                }
                engine.handle_session_sent(key, output.len());
            }
            while let Some(action) = engine.poll_action() {
                match action {
                    Action::Connect(key) => {
                        let Some(shard) = engine.upstream_endpoint(key).map(fixture::shard_at) else {
                            continue;
                        };
                        let server = &mut self.servers[shard];
                        let mut conn = None;
                        if !cut[shard] && !server.up {
                            engine.handle_upstream_failed(key, &Failure::Refused);
                            continue;
                        } else if !cut[shard] {
                            conn = Some(server.accept((proxy, Some(worker)), now));
                        }
                        wires.insert(key, Wire { shard, conn, unsent: Vec::new() });
                        if conn.is_some() {
                            engine.handle_upstream_connected(key);
                        }
                    }
                    Action::Disconnect(key) => {
                        // What was not delivered is dropped; a cut link loses the RST too.
                        if let Some(Wire { shard, conn: Some(conn), .. }) = wires.remove(&key)
                            && !cut[shard]
                            && let Some(end) = self.servers[shard].conns.get_mut(&conn)
                        {
                            end.closed = true;
                        }
                    }
                    _ => {}
                }
            }
            if !engine.has_work() {
                return;
            }
        }
    }

    fn serve(&mut self, shard: usize) {
        if !self.servers[shard].up || self.servers[shard].hung {
            return;
        }
        for id in self.servers[shard].conns.keys().copied().collect::<Vec<_>>() {
            // What lies unread on a connection that was closed comes whenever it comes.
            // What another did may have ended it.
            let Some(late) = self.servers[shard].conns.get(&id).map(|conn| conn.closed) else { continue };
            let most = if late { usize::from(self.pick(20) == 0) } else { self.pick(4) };
            let done = self.servers[shard].work(id, most, self.now);
            self.judge(shard, done);
        }
    }

    /// Holds what a server did against what it may be asked to do.
    fn judge(&mut self, shard: usize, done: Vec<Done>) {
        for done in done {
            match done {
                Done::Flushed { by: (proxy, _) } => {
                    let lost_at = self.proxies[proxy].health.lost_at(shard);
                    let started_at = self.servers[shard].started_at;
                    // A mark as young as the answer to TIME took is not believed.
                    if self.flushed[shard].1 == started_at && self.flushed[shard].0 > lost_at + PATIENCE {
                        self.broken(format!(
                            "proxy {proxy} empties {shard}, which was emptied since it was lost"
                        ));
                    }
                    self.flushed[shard] = (self.servers[shard].marked_at(), started_at);
                    for other in (0..self.proxies.len()).filter(|&other| other != proxy) {
                        let never_lost = self.proxies[other].in_since[shard] < lost_at
                            && self.proxies[other].health.live()[shard];
                        let used = self.servers[shard].conns.values().any(|conn| {
                            conn.origin.0 == other && conn.opened_at < lost_at && !conn.name.is_empty()
                        });
                        // Redis counts in seconds: one that may have loaded a file since is emptied.
                        let long_before = started_at + 2_000_000 < lost_at || self.servers[shard].loaded == 0;
                        if never_lost && used && started_at < lost_at && long_before {
                            self.broken(format!("proxy {proxy} empties {shard}, which {other} never lost"));
                        }
                    }
                }
                Done::Unlinked { by: (proxy, _), key } => {
                    if !self.history.wrote(proxy, &key) {
                        self.broken(format!("proxy {proxy} unlinks what it never wrote"));
                    }
                }
                Done::Wrote { by: (proxy, _), opened_at } => {
                    if opened_at < self.proxies[proxy].admitted[shard] {
                        self.broken(format!(
                            "a write of proxy {proxy} from before the return of {shard} lands after it"
                        ));
                    }
                }
            }
        }
    }

    fn broken(&mut self, what: String) {
        self.tally.broken.push(format!("at {}: {what}", self.now));
    }

    /// Takes whole replies, and holds values that were read against the history.
    fn check(&mut self, proxy: usize, worker: usize, client: usize) {
        while let Ok(Some((reply, length))) =
            Reply::read(&self.worker(proxy, worker).clients[client].received)
        {
            let (now, versions) = (self.now, self.versions());
            let client = &mut self.worker(proxy, worker).clients[client];
            client.received.drain(..length);
            let asked = client.asked.pop_front().expect("no reply without a request");
            let key = self.keys[asked.key].clone();
            match (asked.write, reply) {
                (_, Reply::Error(_)) | (None, Reply::Null) => {}
                (Some(number), _) => self.history.end(number, now),
                (None, Reply::Text(value)) => {
                    self.tally.reads += 1;
                    let read: usize = value.parse().unwrap();
                    let home = self.homes[asked.key];
                    let in_for = |other: usize| self.proxies[other].health.live()[home];
                    let unchanged = versions == asked.versions;
                    let all: Vec<usize> = (0..self.proxies.len()).collect();
                    let by_self = self.history.writes[read].proxy == proxy;
                    // What others wrote elsewhere binds once all are back; what others wrote is no measure while we are out.
                    let against = if unchanged && all.iter().all(|&other| in_for(other)) {
                        all
                    } else if by_self || unchanged && in_for(proxy) {
                        vec![proxy]
                    } else {
                        continue;
                    };
                    if let Some(write) = self.history.makes_stale(&key, read, asked.at, &against) {
                        let (old, out) = (self.history.writes[read], !in_for(proxy));
                        self.broken(format!(
                            "proxy {proxy} reads {} of home {home} (out: {out}): {read} {old:?} is older than {write:?}",
                            String::from_utf8_lossy(&key)
                        ));
                    }
                }
                (None, other) => panic!("{other:?}"),
            }
        }
    }

    /// A server dies.
    pub fn kill(&mut self, shard: usize) {
        self.servers[shard].die();
    }

    /// A dead server starts again, with what was saved or with nothing.
    pub fn start(&mut self, shard: usize, loads: bool) {
        self.servers[shard].start(self.now, loads);
        // Who has not noticed sees what an old file brings back: no return is between.
        for proxy in 0..self.proxies.len() {
            if loads && self.proxies[proxy].health.live()[shard] {
                // Copies of keys that are at home elsewhere come back as well.
                for key in self.keys.iter().filter(|key| self.servers[shard].disk.contains_key(*key)) {
                    (0..self.proxies.len()).for_each(|other| self.history.forgive(key, other, self.now));
                }
            }
        }
    }

    fn go_on_returning(&mut self, number: usize) {
        let (now, version) = (self.now, self.proxies[number].health.version());
        let proxy = &mut self.proxies[number];
        let Some(mut attempt) = proxy.attempt.take() else {
            let Some(&shard) = proxy.health.due(now).first() else { return };
            if !proxy.settings.empties() {
                if self.servers[shard].up && !proxy.cut[shard] && !self.servers[shard].hung {
                    proxy.admit(shard, now);
                } else {
                    proxy.health.postpone(shard, now + 300_000);
                }
                return;
            }
            let context = Context {
                shard,
                database: 0,
                own_name: proxy.health.client_name().unwrap().to_owned(),
                live: proxy.health.live(),
                lost_for: Duration::from_micros(now - proxy.health.lost_at(shard)),
                by_hand: false,
            };
            let back = Return::new(&proxy.settings, context).unwrap();
            let conns = BTreeMap::new();
            proxy.attempt =
                Some(Attempt { back, shard, version, conns, gate: None, waiting: None, asked: None });
            return;
        };
        if self.advance(number, &mut attempt) {
            self.proxies[number].attempt = Some(attempt);
        }
    }

    /// One step of an attempt; false when it is over.
    fn advance(&mut self, number: usize, attempt: &mut Attempt) -> bool {
        let now = self.now;
        match attempt.back.poll() {
            Step::Ask { shard, requests, replies } => {
                let reachable = !self.proxies[number].cut[shard] && self.servers[shard].up;
                match attempt.asked {
                    None => {
                        let lives = attempt
                            .conns
                            .get(&shard)
                            .map(|conn| self.servers[shard].conns.contains_key(conn));
                        if !reachable || lives == Some(false) {
                            attempt.back.handle_failed("unreachable".into());
                            return true;
                        }
                        let server = &mut self.servers[shard];
                        let conn =
                            *attempt.conns.entry(shard).or_insert_with(|| server.accept((number, None), now));
                        server.conns.get_mut(&conn).unwrap().unread.extend(requests);
                        attempt.asked = Some((shard, replies, now + PATIENCE));
                    }
                    Some((shard, replies, until)) => {
                        let conn = attempt.conns[&shard];
                        let mut read = Vec::new();
                        let lives = reachable && self.servers[shard].conns.contains_key(&conn);
                        if lives {
                            let end = self.servers[shard].conns.get_mut(&conn).unwrap();
                            let mut at = 0;
                            while let Ok(Some((reply, length))) = Reply::read(&end.replies[at..]) {
                                read.push(reply);
                                at += length;
                            }
                            if read.len() == replies {
                                end.replies.clear();
                                attempt.asked = None;
                                attempt.back.handle_replies(&read);
                                return true;
                            }
                        }
                        if !lives && self.servers[shard].up && !self.proxies[number].cut[shard] || now > until
                        {
                            attempt.back.handle_failed("no answer".into());
                        }
                    }
                }
            }
            step @ (Step::Seal | Step::Close) => {
                let returning = (step == Step::Close).then_some(attempt.shard);
                match &attempt.waiting {
                    None => {
                        let gate = Arc::new(Gate::default());
                        for worker in &mut self.proxies[number].workers {
                            worker.orders.push_back(Order::Gate(gate.clone(), returning));
                        }
                        attempt.waiting = Some((gate, now + PATIENCE));
                    }
                    Some((gate, until)) => {
                        let (gate, until) = (gate.clone(), *until);
                        let workers = &mut self.proxies[number].workers;
                        let answer = |worker: &mut Worker| {
                            worker.answers.iter().position(|(known, _)| Arc::ptr_eq(known, &gate))
                        };
                        let places: Option<Vec<usize>> = workers.iter_mut().map(answer).collect();
                        if let Some(places) = places {
                            let taken = workers.iter_mut().zip(places);
                            let moved =
                                taken.map(|(worker, place)| worker.answers.swap_remove(place).1).collect();
                            attempt.waiting = None;
                            attempt.gate = returning.map(|_| gate);
                            attempt.back.handle_moved(moved);
                        } else if now > until || gate.is_broken() {
                            let _ = gate.break_off();
                            attempt.back.handle_failed("unanswered".into());
                        }
                    }
                }
            }
            Step::Settle(kept) => {
                for (worker, kept) in self.proxies[number].workers.iter_mut().zip(kept) {
                    worker.orders.push_back(Order::Settle(kept));
                }
            }
            Step::Admit => {
                let proxy = &mut self.proxies[number];
                let same = proxy.health.version() == attempt.version;
                let admitted = same && attempt.gate.as_ref().is_some_and(|gate| gate.commit());
                if admitted {
                    proxy.admit(attempt.shard, now);
                }
                attempt.back.handle_admitted(admitted);
            }
            Step::End(outcome) => {
                if let Some(gate) = attempt.gate.take().or(attempt.waiting.take().map(|(gate, _)| gate)) {
                    let _ = gate.break_off();
                }
                for (&shard, conn) in &attempt.conns {
                    if let Some(end) = self.servers[shard].conns.get_mut(conn) {
                        end.closed = true;
                    }
                }
                let proxy = &mut self.proxies[number];
                proxy.workers.iter_mut().for_each(|worker| worker.orders.push_back(Order::Look));
                match outcome {
                    Outcome::In(verdict) => {
                        *self.tally.verdicts.entry(format!("{verdict:?}")).or_default() += 1
                    }
                    Outcome::NotYet(_) => proxy.health.postpone(attempt.shard, now + 300_000),
                    Outcome::HeldBack(why) => panic!("{why}"),
                }
                return false;
            }
        }
        true
    }

    /// Whether every shard is in at every proxy.
    pub fn all_in(&self) -> bool {
        self.proxies.iter().all(|proxy| proxy.health.live() == [true; SHARDS])
    }

    /// Nobody is owed anything, and nothing is remembered for nothing.
    pub fn is_quiet(&self) -> bool {
        let workers = self.proxies.iter().flat_map(|proxy| &proxy.workers);
        workers.flat_map(|worker| &worker.clients).all(|client| client.asked.is_empty())
    }

    pub fn remembered(&mut self) -> usize {
        let proxies = self.proxies.iter_mut();
        proxies.flat_map(|proxy| &mut proxy.workers).map(|worker| worker.engine.moved_count()).sum()
    }
}

impl Proxy {
    fn new(number: usize, settings: &PoolSettings, seed: u32) -> Proxy {
        let settings = Arc::new(settings.clone());
        let health =
            Health::new(SHARDS, settings.ejection).with_client_name(&client_name("alpha", number as u64));
        let health = Arc::new(health);
        let worker = |index: usize| {
            let all = vec![settings.clone()];
            let stats = Arc::new(WorkerStats::new(&all));
            let pools = Pools { settings: all, health: vec![health.clone()], stats };
            let parts = Parts {
                pools,
                seed: seed.wrapping_add(index as u32),
                first_id: index as u64 + 1,
                id_step: WORKERS as u64,
            };
            let mut engine = Engine::new(parts).unwrap();
            engine.begin_round(Time::from_micros(10_000_000), 1);
            let clients = (0..2)
                .map(|_| Client {
                    key: engine.open_session(0, "model".into()),
                    received: Vec::new(),
                    asked: VecDeque::new(),
                })
                .collect();
            Worker { engine, wires: BTreeMap::new(), clients, orders: VecDeque::new(), answers: Vec::new() }
        };
        Proxy {
            workers: (0..WORKERS).map(worker).collect(),
            health: health.clone(),
            settings: settings.clone(),
            cut: vec![false; SHARDS],
            attempt: None,
            admitted: vec![0; SHARDS],
            in_since: vec![0; SHARDS],
        }
    }

    fn admit(&mut self, shard: usize, now: u64) {
        self.health.readmit(shard);
        self.admitted[shard] = now;
        self.in_since[shard] = now;
    }
}
