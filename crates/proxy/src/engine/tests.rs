//! The engine against model servers and model clients, driven by seeds: bytes are cut anywhere, sockets take what they
//! like, servers are slow, die and hang. What must hold is checked at every step: replies in order, none lost, none invented.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use shoal_hashkit::Random;
use shoal_resp::encode;

use super::{Action, Engine, Parts, Pools, SessionEnd};
use crate::arena::Key;
use crate::failure::Failure;
use crate::fixture::{self, shard_at, take_reply, take_request};
use crate::health::Health;
use crate::seeds::seeds;
use crate::session::OWED_MAX;
use crate::settings::{Dialect, Durability, EjectedKeys, Ejection, MultiKey, PoolSettings, SlowLogSettings};
use crate::stats::WorkerStats;
use crate::time::Time;

mod admission;
mod attributes;
mod blocking;
mod cases;
mod detour;
mod fan_out;
mod inside;
mod large;
mod leaving;
mod muted;
mod pubsub;
mod removed;
mod replicated;
mod switch;
mod tracking;
mod transaction;

const SHARDS: usize = 3;
const TIMEOUT: Duration = Duration::from_millis(100);

fn settings(dialect: Dialect) -> PoolSettings {
    PoolSettings { timeout: Some(TIMEOUT), dialect, ..fixture::settings(SHARDS) }
}

/// One pool, counted from zero.
fn pools(settings: PoolSettings, health: Arc<Health>) -> Pools {
    let settings = vec![Arc::new(settings)];
    let stats = Arc::new(WorkerStats::new(&settings));
    Pools { settings, health: vec![health], stats }
}

/// A Redis that holds strings, knows a handful of commands, and can be slow, dead or silent.
#[derive(Default)]
struct Server {
    data: BTreeMap<Vec<u8>, Vec<u8>>,
    silent: bool,
    /// How often each key was written.
    writes: BTreeMap<Vec<u8>, u64>,
}

impl Server {
    fn execute(&mut self, words: &[&[u8]], out: &mut Vec<u8>) {
        match words {
            [b"GET" | b"get", key] => match self.data.get(*key) {
                Some(value) => encode::bulk(out, value),
                None => encode::null_bulk(out),
            },
            [b"SET", key, value] => {
                *self.writes.entry(key.to_vec()).or_default() += 1;
                self.data.insert(key.to_vec(), value.to_vec());
                encode::simple(out, "OK");
            }
            [b"mget", keys @ ..] => {
                encode::array_len(out, keys.len());
                for key in keys {
                    self.execute(&[b"get", key], out);
                }
            }
            [b"mset", pairs @ ..] => {
                for pair in pairs.chunks(2) {
                    self.data.insert(pair[0].to_vec(), pair[1].to_vec());
                }
                encode::simple(out, "OK");
            }
            [b"del", keys @ ..] | [b"DEL", keys @ ..] => {
                encode::integer(
                    out,
                    keys.iter().filter(|key| self.data.remove(**key).is_some()).count() as i64,
                );
            }
            [b"MGET", key] => self.execute(&[b"mget", key], out),
            other => panic!("the proxy sent what nobody asked for: {other:?}"),
        }
    }
}

/// One connection of the engine to a server, as bytes on their way.
#[derive(Default)]
struct Wire {
    shard: usize,
    to_server: Vec<u8>,
    to_proxy: VecDeque<u8>,
    state: Connection,
}

/// What a server keeps of one connection.
#[derive(Default)]
struct Connection {
    /// Between MULTI and EXEC: the commands.
    queued: Option<Vec<Vec<Vec<u8>>>>,
    /// Watched keys, and how often they had been written.
    watched: Vec<(Vec<u8>, u64)>,
}

impl Connection {
    fn execute(&mut self, server: &mut Server, words: &[&[u8]], out: &mut Vec<u8>) {
        let writes = |server: &Server, key: &[u8]| server.writes.get(key).copied().unwrap_or_default();
        match (words, &mut self.queued) {
            ([b"MULTI"], None) => {
                self.queued = Some(Vec::new());
                encode::simple(out, "OK");
            }
            ([b"WATCH", keys @ ..], None) => {
                self.watched.extend(keys.iter().map(|key| (key.to_vec(), writes(server, key))));
                encode::simple(out, "OK");
            }
            ([b"EXEC"], Some(queued)) => {
                let queued = std::mem::take(queued);
                self.queued = None;
                if self.watched.drain(..).any(|(key, before)| writes(server, &key) != before) {
                    return encode::null_array(out);
                }
                encode::array_len(out, queued.len());
                for words in queued {
                    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                    server.execute(&words, out);
                }
            }
            (words, Some(queued)) => {
                queued.push(words.iter().map(|word| word.to_vec()).collect());
                encode::simple(out, "QUEUED");
            }
            (words, None) => server.execute(words, out),
        }
    }
}

/// One client: what it still sends, and what it expects back in which order.
struct Client {
    key: Key,
    to_send: VecDeque<u8>,
    received: Vec<u8>,
    expected: VecDeque<Expected>,
    model: BTreeMap<Vec<u8>, Vec<u8>>,
    closed: bool,
    /// It reads nothing for the time being.
    idle: bool,
    own: u8,
}

/// A reply that a client waits for.
enum Expected {
    /// Exactly this.
    Exactly(Vec<u8>),
    /// Anything whole, since a server it depends on may have failed.
    Anything,
}

struct World {
    engine: Engine,
    servers: Vec<Server>,
    wires: BTreeMap<Key, Wire>,
    clients: Vec<Client>,
    chance: Random,
    now: u64,
    faults: bool,
    /// Whether clients use transactions.
    holds: bool,
}

impl World {
    fn new(seed: u32, clients: usize, faults: bool, settings: PoolSettings) -> World {
        let dialect = settings.dialect;
        let health = Arc::new(Health::new(SHARDS, settings.ejection));
        let mut engine =
            Engine::new(Parts { pools: pools(settings, health), seed, first_id: 1, id_step: 1 }).unwrap();
        engine.begin_round(Time::from_micros(1), 1);
        let clients = (0..clients)
            .map(|own| Client {
                key: engine.open_session(0, "model".into()),
                to_send: VecDeque::new(),
                received: Vec::new(),
                expected: VecDeque::new(),
                model: BTreeMap::new(),
                closed: false,
                idle: false,
                own: own as u8,
            })
            .collect();
        let servers = (0..SHARDS).map(|_| Server::default()).collect();
        let chance = Random::seeded(seed.wrapping_add(7));
        let holds = dialect == Dialect::Shoal;
        World { engine, servers, wires: BTreeMap::new(), clients, chance, now: 1, faults, holds }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.chance.next() as usize % below.max(1)
    }

    /// Gives client `index` a request to send, and the reply that it must get. Each client has keys of its own, so that a
    /// plain map says what is right.
    fn ask(&mut self, index: usize) {
        let kind = self.pick(if self.holds { 10 } else { 8 });
        let numbers: Vec<usize> = (0..6).map(|_| self.pick(12)).collect();
        let size = match self.pick(60) {
            0 => 700_000,
            1 | 2 => 100_000,
            _ => self.pick(50),
        };
        let faults = self.faults;
        let client = &mut self.clients[index];
        let keys: Vec<Vec<u8>> =
            numbers.iter().map(|number| format!("k{}-{number}", client.own).into_bytes()).collect();
        let mut value = vec![b'v'; size];
        value.extend_from_slice(format!("{}\r\n", numbers[0] * 7 + size).as_bytes());
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        let mut local = false;
        match kind {
            0 | 1 => {
                encode::command(&mut request, &[b"SET", &keys[0], &value]);
                client.model.insert(keys[0].clone(), value);
                encode::simple(&mut reply, "OK");
            }
            2 | 3 => {
                encode::command(&mut request, &[b"GET", &keys[0]]);
                bulk_or_null(&mut reply, client.model.get(&keys[0]));
            }
            4 => {
                let words: Vec<&[u8]> =
                    [&b"MGET"[..]].into_iter().chain(keys.iter().map(Vec::as_slice)).collect();
                encode::command(&mut request, &words);
                encode::array_len(&mut reply, keys.len());
                for key in &keys {
                    bulk_or_null(&mut reply, client.model.get(key));
                }
            }
            5 => {
                let words: Vec<&[u8]> =
                    [&b"MSET"[..]].into_iter().chain(keys.iter().map(Vec::as_slice)).collect();
                encode::command(&mut request, &words);
                for pair in keys.chunks(2) {
                    client.model.insert(pair[0].clone(), pair[1].clone());
                }
                encode::simple(&mut reply, "OK");
            }
            6 => {
                encode::command(&mut request, &[b"DEL", &keys[0], &keys[1]]);
                let gone =
                    [&keys[0], &keys[1]].iter().filter(|key| client.model.remove(**key).is_some()).count();
                encode::integer(&mut reply, gone as i64);
            }
            8 | 9 => {
                // With WATCH or without. Nobody else writes the key, so a watch is never in vain.
                let watch: &[&[u8]] = &[b"WATCH", &keys[0]];
                let words: [&[&[u8]]; 5] =
                    [watch, &[b"MULTI"], &[b"SET", &keys[0], &value], &[b"GET", &keys[0]], &[b"EXEC"]];
                let replies = ["+OK\r\n", "+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n"];
                for (words, reply) in words.iter().zip(replies).skip(kind - 8) {
                    encode::command(&mut request, words);
                    let exact = !faults;
                    let reply = reply.as_bytes().to_vec();
                    client.expected.push_back(if exact {
                        Expected::Exactly(reply)
                    } else {
                        Expected::Anything
                    });
                }
                encode::command(&mut request, words[4]);
                encode::array_len(&mut reply, 2);
                encode::simple(&mut reply, "OK");
                encode::bulk(&mut reply, &value);
                client.model.insert(keys[0].clone(), value);
            }
            _ => {
                local = true;
                request.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
                encode::simple(&mut reply, "PONG");
            }
        }
        client.to_send.extend(request);
        let exact = local || !faults;
        client.expected.push_back(if exact { Expected::Exactly(reply) } else { Expected::Anything });
    }

    /// One round of the worker: some bytes arrive, some are taken, some time passes.
    fn step(&mut self) {
        self.now += self.pick(300) as u64;
        self.engine.begin_round(Time::from_micros(self.now), self.now);
        for index in 0..self.clients.len() {
            let key = self.clients[index].key;
            if self.faults && self.pick(100) == 0 {
                self.clients[index].idle ^= true;
            }
            let some = self.pick(3) != 0;
            if some && !self.clients[index].to_send.is_empty() && self.engine.wants_bytes(key) {
                let most = if self.pick(4) == 0 { 3 } else { 70_000 };
                let count = (self.pick(most) + 1).min(self.clients[index].to_send.len());
                let bytes: Vec<u8> = self.clients[index].to_send.drain(..count).collect();
                self.engine.handle_session_bytes(key, &bytes);
            }
        }
        for key in self.wires.keys().copied().collect::<Vec<_>>() {
            self.serve(key);
        }
        self.engine.handle_timeout();
        self.flush();
        self.check();
        assert!(self.engine.owed_at_most() <= OWED_MAX + 70_000, "what a session is owed has a bound");
    }

    /// Lets the server at the end of a wire work, and some of what it answered arrive.
    fn serve(&mut self, key: Key) {
        if self.faults && self.pick(400) == 0 {
            let shard = self.wires[&key].shard;
            self.servers[shard].silent = !self.servers[shard].silent;
        }
        if self.faults && self.pick(300) == 0 {
            let failures = [Failure::Closed, Failure::Reset];
            let failure = &failures[self.pick(2)];
            self.wires.remove(&key);
            self.engine.handle_upstream_failed(key, failure);
            return;
        }
        let eager = self.pick(3) != 0;
        let Some(wire) = self.wires.get_mut(&key) else { return };
        let server = &mut self.servers[wire.shard];
        if eager && !server.silent {
            while let Some(words) = take_request(&mut wire.to_server) {
                let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                let mut reply = Vec::new();
                wire.state.execute(server, &words, &mut reply);
                wire.to_proxy.extend(reply);
            }
        }
        if !self.engine.wants_upstream_bytes(key) {
            return;
        }
        let Some(wire) = self.wires.get_mut(&key) else { return };
        let waiting = wire.to_proxy.len();
        let count = (self.pick(70_000) + 1).min(waiting);
        if count > 0 {
            let wire = self.wires.get_mut(&key).unwrap();
            let bytes: Vec<u8> = wire.to_proxy.drain(..count).collect();
            self.engine.handle_upstream_bytes(key, &bytes);
        }
    }

    fn flush(&mut self) {
        loop {
            self.engine.settle();
            while let Some(key) = self.engine.poll_upstream() {
                let output = self.engine.upstream_output(key).to_vec();
                let taken = if self.pick(5) == 0 { self.pick(output.len()) } else { output.len() };
                if let Some(wire) = self.wires.get_mut(&key) {
                    wire.to_server.extend_from_slice(&output[..taken]);
                }
                self.engine.handle_upstream_sent(key, taken);
                if taken < output.len() {
                    self.engine.handle_upstream_writable(key); // it takes more in the next round
                    break;
                }
            }
            while let Some(key) = self.engine.poll_session() {
                let output = self.engine.session_output(key).to_vec();
                let idle = self.clients.iter().any(|client| client.key == key && client.idle);
                let taken = match self.pick(5) {
                    _ if idle => 0,
                    0 => self.pick(output.len()),
                    _ => output.len(),
                };
                if let Some(client) = self.clients.iter_mut().find(|client| client.key == key) {
                    client.received.extend_from_slice(&output[..taken]);
                }
                self.engine.handle_session_sent(key, taken);
                if taken < output.len() {
                    self.engine.handle_session_writable(key);
                    break;
                }
            }
            while let Some(action) = self.engine.poll_action() {
                match action {
                    Action::Connect(key) => self.connect(key),
                    Action::Disconnect(key) => {
                        self.wires.remove(&key);
                    }
                    Action::End(key) => {
                        for client in self.clients.iter_mut().filter(|client| client.key == key) {
                            client.closed = true;
                        }
                    }
                    Action::Part(key) => {
                        let unread = |client: &Client| client.key == key && !client.to_send.is_empty();
                        if !self.clients.iter().any(unread) {
                            self.engine.handle_session_end(key, SessionEnd::Parted);
                        }
                    }
                    Action::Read(_) | Action::ReadUpstream(_) | Action::Doubt(_) => {}
                }
            }
            if !self.engine.has_work() || self.pick(2) == 0 {
                return;
            }
        }
    }

    /// Goes over to the same pool with other timings: no reply may be lost or change its place.
    fn reload(&mut self) {
        let gather = self.pick(2) == 0;
        let settings = PoolSettings { timeout: None, gather, ..settings(Dialect::Shoal) };
        self.engine.reconfigure(pools(settings, Arc::new(Health::new(SHARDS, None)))).unwrap();
    }

    fn connect(&mut self, key: Key) {
        // Whom it was for may be gone.
        let Some(shard) = self.engine.upstream_endpoint(key).map(shard_at) else { return };
        if self.faults && self.pick(4) == 0 {
            self.engine.handle_upstream_failed(key, &Failure::Refused);
            return;
        }
        self.wires.insert(key, Wire { shard, ..Wire::default() });
        self.engine.handle_upstream_connected(key);
    }

    /// Takes whole replies off what clients received, and compares them with what they expect.
    fn check(&mut self) {
        for client in &mut self.clients {
            while let Some(reply) = take_reply(&mut client.received) {
                match client.expected.pop_front().expect("no reply without a request") {
                    Expected::Anything => {}
                    Expected::Exactly(expected) => assert_eq!(
                        String::from_utf8_lossy(&reply),
                        String::from_utf8_lossy(&expected),
                        "client {}",
                        client.own
                    ),
                }
            }
        }
    }

    /// Goes on until everybody has what they are owed.
    fn run_dry(&mut self) {
        self.faults = false;
        for server in &mut self.servers {
            server.silent = false;
        }
        for client in &mut self.clients {
            client.idle = false;
        }
        for _ in 0..20_000 {
            if self.clients.iter().all(|client| client.closed || client.expected.is_empty()) {
                return;
            }
            self.step();
        }
        let owed: Vec<usize> = self.clients.iter().map(|client| client.expected.len()).collect();
        panic!("replies are still owed: {owed:?}, {:?}", self.engine.outstanding());
    }
}

fn bulk_or_null(out: &mut Vec<u8>, value: Option<&Vec<u8>>) {
    match value {
        Some(value) => encode::bulk(out, value),
        None => encode::null_bulk(out),
    }
}

#[test]
fn every_reply_is_right_and_in_order_whatever_the_pieces() {
    for seed in seeds(100) {
        let dialect = if seed % 2 == 0 { Dialect::Shoal } else { Dialect::Nutcracker };
        // Slow sockets are no failures here: the timers have a test of their own.
        let settings = PoolSettings { timeout: None, gather: seed % 3 != 0, ..settings(dialect) };
        let mut world = World::new(seed, 4, false, settings);
        for round in 0..120 {
            if seed % 5 == 0 && round % 20 == 10 {
                world.reload();
            }
            if round < 60 {
                let client = world.pick(4);
                for _ in 0..world.pick(6) {
                    world.ask(client);
                }
            }
            world.step();
        }
        world.run_dry();
        assert_eq!(world.engine.outstanding(), (0, 0), "seed {seed}");
    }
}

#[test]
fn every_request_is_answered_once_while_servers_die_and_hang() {
    for seed in seeds(100) {
        let dialect = if seed % 2 == 0 { Dialect::Shoal } else { Dialect::Nutcracker };
        let ejection = (seed % 3 == 0).then_some(Ejection {
            failure_limit: 2,
            retry_after: Duration::from_millis(50),
            keys: EjectedKeys::Move { empty_on_return: false },
        });
        let mut world = World::new(seed, 4, true, PoolSettings { ejection, ..settings(dialect) });
        for round in 0..600 {
            if round < 300 {
                let client = world.pick(4);
                for _ in 0..world.pick(4) {
                    world.ask(client);
                }
            }
            world.step();
        }
        world.run_dry();
        for client in &world.clients {
            assert!(client.closed || client.received.is_empty(), "seed {seed}: bytes that nobody asked for");
        }
    }
}

#[test]
fn sessions_that_vanish_leave_nothing_behind() {
    for seed in seeds(50) {
        let mut world =
            World::new(seed, 6, false, PoolSettings { timeout: None, ..settings(Dialect::Shoal) });
        for round in 0..60 {
            let client = world.pick(6);
            if !world.clients[client].closed {
                world.ask(client);
            }
            world.step();
            if round % 10 == 9 {
                let index = round / 10;
                let end = if index % 2 == 0 { SessionEnd::Error } else { SessionEnd::Eof };
                let key = world.clients[index].key;
                world.engine.handle_session_end(key, end);
                if end == SessionEnd::Error {
                    world.clients[index].closed = true;
                    world.clients[index].expected.clear();
                }
                world.clients[index].to_send.clear();
            }
        }
        // A client that closed its sending side gets what it is owed for whole requests; the rest ends with it.
        for _ in 0..2_000 {
            world.step();
        }
        assert_eq!(world.engine.outstanding(), (0, 0), "seed {seed}");
        assert_eq!(world.engine.session_count(), 0, "seed {seed}");
    }
}

fn drained(engine: &mut Engine, key: Key) -> String {
    engine.settle();
    let mut said = Vec::new();
    while let Some(touched) = engine.poll_session() {
        let output = engine.session_output(touched).to_vec();
        engine.handle_session_sent(touched, output.len());
        if touched == key {
            said.extend_from_slice(&output);
        }
    }
    String::from_utf8(said).unwrap()
}

fn engine(settings: PoolSettings) -> (Engine, Key) {
    let mut world = World::new(1, 1, false, settings);
    let key = world.clients[0].key;
    (
        std::mem::replace(&mut world.engine, World::new(1, 0, false, self::settings(Dialect::Shoal)).engine),
        key,
    )
}

#[test]
fn a_batch_waits_for_the_one_before_it_and_a_lone_session_never_waits() {
    let (mut engine, first) = engine(settings(Dialect::Shoal));
    let second = engine.open_session(0, "model".into());
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    engine.handle_session_bytes(first, get);
    let Some(Action::Connect(upstream)) = engine.poll_action() else { panic!("no connection is asked for") };
    engine.handle_upstream_connected(upstream);
    assert_eq!(engine.poll_upstream(), Some(upstream), "nothing is in flight: it goes at once");
    engine.handle_upstream_sent(upstream, get.len());
    // The same lane needs the session after the next; with two lanes the third session shares the first's.
    let third = engine.open_session(0, "model".into());
    for session in [second, third] {
        engine.handle_session_bytes(session, get);
    }
    let offered: Vec<Key> = std::iter::from_fn(|| engine.poll_upstream()).collect();
    assert!(!offered.contains(&upstream), "it waits while the first is unanswered");
    engine.handle_upstream_bytes(upstream, b"$-1\r\n");
    assert_eq!(engine.poll_upstream(), Some(upstream), "and goes when the answer is in");
}

#[test]
fn a_batch_that_found_no_answer_goes_when_its_wait_is_over() {
    let (mut engine, first) = engine(PoolSettings { server_connections: 1, ..settings(Dialect::Shoal) });
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    engine.handle_session_bytes(first, get);
    let Some(Action::Connect(upstream)) = engine.poll_action() else { panic!("no connection is asked for") };
    engine.handle_upstream_connected(upstream);
    assert_eq!(engine.poll_upstream(), Some(upstream));
    engine.handle_upstream_sent(upstream, get.len());
    engine.handle_session_bytes(first, get);
    assert_eq!(engine.poll_upstream(), None);
    engine.handle_timeout(); // what else is due
    let until = engine.poll_gather();
    engine.begin_round(until, 1);
    engine.handle_timeout();
    assert_eq!(engine.poll_upstream(), Some(upstream));
}

#[test]
fn in_our_dialect_a_late_request_fails_alone_and_its_reply_is_dropped() {
    let (mut engine, first) =
        engine(PoolSettings { server_connections: 1, gather: false, ..settings(Dialect::Shoal) });
    let second = engine.open_session(0, "model".into());
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    engine.handle_session_bytes(first, get);
    let Some(Action::Connect(upstream)) = engine.poll_action() else { panic!("no connection is asked for") };
    engine.handle_upstream_connected(upstream);
    engine.handle_session_bytes(first, get);
    assert_eq!(engine.poll_upstream(), Some(upstream));
    engine.handle_upstream_sent(upstream, get.len() * 2);
    engine.begin_round(Time::from_micros(1) + TIMEOUT / 2, 1);
    engine.handle_upstream_bytes(upstream, b"$1\r\n1\r\n");
    assert_eq!(drained(&mut engine, first), "$1\r\n1\r\n");
    engine.handle_session_bytes(second, get);
    assert_eq!(engine.poll_upstream(), Some(upstream));
    engine.handle_upstream_sent(upstream, get.len());
    engine.begin_round(Time::from_micros(1) + TIMEOUT, 1);
    engine.handle_timeout();
    assert!(drained(&mut engine, first).contains("timed out: no reply within 100 ms"));
    engine.handle_upstream_bytes(upstream, b"$1\r\n2\r\n$1\r\n3\r\n");
    assert_eq!(drained(&mut engine, second), "$1\r\n3\r\n", "the late reply is nobody's");
}

#[test]
fn hello_waits_for_the_replies_before_it_and_then_uses_upstreams_of_its_own() {
    let (mut engine, key) =
        engine(PoolSettings { server_connections: 1, gather: false, ..settings(Dialect::Shoal) });
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    let hello = b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n";
    engine.handle_session_bytes(key, &[&get[..], hello, get].concat());
    let Some(Action::Connect(resp2)) = engine.poll_action() else { panic!("no connection is asked for") };
    engine.handle_upstream_connected(resp2);
    assert_eq!(cases::sent(&mut engine), get);
    assert_eq!(drained(&mut engine, key), "");
    assert!(!engine.wants_bytes(key));
    engine.handle_upstream_bytes(resp2, b"$-1\r\n");
    assert!(drained(&mut engine, key).starts_with("$-1\r\n%7\r\n"));
    let connected: Vec<Action> = std::iter::from_fn(|| engine.poll_action()).collect();
    let [Action::Connect(resp3), Action::Read(_)] = connected[..] else { panic!("{connected:?}") };
    assert_ne!(resp2, resp3);
    engine.handle_upstream_connected(resp3);
    assert_eq!(engine.poll_upstream(), Some(resp3));
    assert_eq!(
        engine.upstream_output(resp3),
        b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n",
        "no request before it is answered"
    );
}

proptest! {
    #[test]
    fn hostile_bytes_of_clients_and_servers_end_their_connection_at_worst(
        client in prop::collection::vec(any::<u8>(), 0..200),
        server in prop::collection::vec(prop::sample::select(b"+-:$*%_,#!=(~>|\r\n0123456789abc".to_vec()), 0..200),
    ) {
        let (mut engine, key) = engine(PoolSettings { server_connections: 1, ..settings(Dialect::Shoal) });
        engine.handle_session_bytes(key, &client);
        let other = engine.open_session(0, "model".into());
        engine.handle_session_bytes(other, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
        while let Some(action) = engine.poll_action() {
            if let Action::Connect(upstream) = action {
                engine.handle_upstream_connected(upstream);
                engine.handle_upstream_bytes(upstream, &server);
            }
        }
        drained(&mut engine, other);
    }
}
