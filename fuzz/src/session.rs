//! A worker's engine between clients and servers that do what a program of bytes says.
//!
//! ```text
//!   Client: says requests or rubbish, in pieces  ──▶ ┌────────┐ ──▶  Wire: answers, lies, lags, breaks
//!           hears as much as its socket takes    ◀── │ Engine │ ◀──        takes as much as its socket takes
//!                                                    └────────┘
//! ```
//!
//! One step is one round of the worker, with one event in it. When the program is over, all servers are lost, and then
//! everybody must have what they are owed. Whether an answer is the right one is for the engine's own tests to say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shoal_proxy::access::{Access, DEFAULT_USER, Limits, PasswordHash, Rules, User};
use shoal_proxy::arena::Key;
use shoal_proxy::engine::reconfigure::follow_health;
use shoal_proxy::engine::{Action, Engine, Parts, Pools, SessionEnd};
use shoal_proxy::failure::Failure;
use shoal_proxy::health::Health;
use shoal_proxy::server_auth::ServerAuth;
use shoal_proxy::settings::{
    Dialect, Durability, EjectedKeys, Ejection, Listen, MultiKey, PoolSettings, Secret, SlowLogSettings,
};
use shoal_proxy::stats::WorkerStats;
use shoal_proxy::time::Time;
use shoal_resp::{Delimiter, Fed, Parsed, RequestLimits, Span, encode};
use shoal_topology::{Distribution, Mode, Pool, Shard, ShardState};

const POOLS: usize = 2;
const SHARDS: usize = 3;
const CLIENTS_MAX: usize = 8;

/// What one program may make up, in bytes: a run should be over in milliseconds.
const MADE_UP_MAX: usize = 4 * 1024 * 1024;

/// Rounds after which a thing that goes on is taken to go on for ever.
const ROUNDS_MAX: usize = 20_000;

/// What clients say; K is a key.
const REQUESTS: [&str; 36] = [
    "GET K",
    "SET K v",
    "MGET K K K",
    "MSET K v K v",
    "MSET K v K",
    "DEL K K",
    "EXISTS K K",
    "UNLINK K",
    "PING",
    "ECHO K",
    "HELLO 3",
    "HELLO 2",
    "HELLO 3 AUTH default secret SETNAME me",
    "AUTH secret",
    "AUTH wrong",
    "SELECT 0",
    "SELECT 1",
    "QUIT",
    "RESET",
    "CLIENT ID",
    "CLIENT SETNAME me",
    "CONFIG GET *",
    "INFO",
    "TIME",
    "COMMAND",
    "EVAL script 2 K K",
    "XREAD COUNT 1 STREAMS K K 0 0",
    "XREAD BLOCK 0 STREAMS K 0",
    "OBJECT ENCODING K",
    "OBJECT NOTHING K",
    "SORT K BY w* STORE K",
    "RENAME K K",
    "BLPOP K 0",
    "SUBSCRIBE K",
    "GET",
    "NOTHING K",
];

/// What else clients say, to bytes of a program that are as high: so older programs keep their meaning.
const FURTHER: [&str; 7] =
    ["AUTH app x", "AUTH nobody secret", "HELLO 3 AUTH app x", "ACL WHOAMI", "MULTI", "EXEC", "SUBSCRIBE k1"];

/// What servers answer that is RESP, whether it fits or not.
const ANSWERS: [&str; 20] = [
    "+OK\r\n",
    "$5\r\nvalue\r\n",
    "$-1\r\n",
    ":1\r\n",
    ":9223372036854775807\r\n",
    "-ERR no\r\n",
    "*0\r\n",
    "*-1\r\n",
    "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
    "*1\r\n%1\r\n+a\r\n_\r\n",
    "*?\r\n:1\r\n.\r\n",
    "$?\r\n;1\r\na\r\n;0\r\n",
    "%1\r\n+a\r\n#t\r\n",
    "!5\r\nERR x\r\n",
    "=5\r\ntxt:a\r\n",
    "_\r\n",
    ">1\r\n+push\r\n",
    "|1\r\n+a\r\n:1\r\n$1\r\na\r\n",
    "|1\r\n+a\r\n:1\r\n>1\r\n+push\r\n",
    "*1\r\n|1\r\n+a\r\n:1\r\n$1\r\na\r\n",
];

/// Runs `program`; its first byte says how the pools are set up.
pub fn session(program: &[u8]) {
    let mut program = Program(program);
    let mut world = World::new(program.byte().unwrap_or(0));
    while let Some(event) = program.byte() {
        world.begin_round();
        world.step(event, &mut program);
        world.engine.handle_timeout();
        world.flush();
    }
    world.lose_all_servers();
    world.check();
    world.end_all_sessions();
}

/// What is left of the program. Where it is over, all is 0.
struct Program<'p>(&'p [u8]);

impl<'p> Program<'p> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn pick(&mut self, below: usize) -> usize {
        usize::from(self.byte().unwrap_or(0)) % below
    }

    /// What a client says.
    fn request(&mut self) -> &'static str {
        let byte = self.pick(256);
        match byte.checked_sub(256 - FURTHER.len()) {
            Some(further) => FURTHER[further],
            None => REQUESTS[byte % REQUESTS.len()],
        }
    }

    /// As many of the next bytes as the byte before them says.
    fn bytes(&mut self) -> &'p [u8] {
        let (bytes, rest) = self.0.split_at(self.pick(256).min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Few bytes or all.
    fn size(&mut self) -> usize {
        match self.byte() {
            None | Some(0) => usize::MAX,
            Some(few) => few.into(),
        }
    }

    /// A size from 4 KiB to 512 KiB.
    fn large(&mut self) -> usize {
        4096 << self.pick(8)
    }
}

/// One client connection.
struct Client {
    key: Key,
    /// All that it has sent, and how much of it has arrived.
    said: Vec<u8>,
    arrived: usize,
    heard: Vec<u8>,
    /// Whether its socket takes no more for now.
    blocked: bool,
    /// Whether the engine has ended it.
    ended: bool,
}

/// One connection to a server.
#[derive(Default)]
struct Wire {
    connected: bool,
    /// Whether its socket takes no more for now.
    blocked: bool,
    /// Requests that are not answered yet.
    asked: Vec<u8>,
    /// What the server sent while the engine did not want it.
    unread: Vec<u8>,
}

struct World {
    engine: Engine,
    pools: Pools,
    clients: Vec<Client>,
    wires: BTreeMap<Key, Wire>,
    now: u64,
    made_up: usize,
    /// How many bytes arrive at once, and how many the sockets of clients and servers take at once.
    piece: usize,
    client_takes: usize,
    server_takes: usize,
}

impl World {
    fn new(setup: u8) -> World {
        let settings: Vec<_> = (0..POOLS).map(|pool| Arc::new(settings(pool, setup, SHARDS))).collect();
        let health = settings.iter().map(|pool| Arc::new(Health::new(SHARDS, pool.ejection))).collect();
        let stats = Arc::new(WorkerStats::new(&settings));
        let pools = Pools { settings, health, stats };
        let parts = Parts { pools: pools.clone(), seed: 1, first_id: 1, id_step: 1 };
        let engine = Engine::new(parts).expect("the pools can be routed");
        let mut world = World {
            engine,
            pools,
            clients: Vec::new(),
            wires: BTreeMap::new(),
            now: 1,
            made_up: 0,
            piece: usize::MAX,
            client_takes: usize::MAX,
            server_takes: usize::MAX,
        };
        world.begin_round();
        world.engine.preconnect();
        world.flush();
        world
    }

    fn begin_round(&mut self) {
        self.now += 1;
        self.engine.begin_round(Time::from_micros(self.now), self.now);
    }

    /// Lets happen what `event` says, with more from the program.
    fn step(&mut self, event: u8, program: &mut Program<'_>) {
        match event % 17 {
            0 => self.open_session(program.pick(POOLS)),
            1 | 2 => {
                let (client, request) = (program.pick(CLIENTS_MAX), program.request());
                self.say(client, &written(request, program.pick(256)));
            }
            3 => {
                let (client, request) = (program.pick(CLIENTS_MAX), program.request());
                let request = written(request, program.pick(256));
                self.say(client, &request.repeat(8 * (1 + program.pick(256))));
            }
            4 => {
                let client = program.pick(CLIENTS_MAX);
                self.say(client, program.bytes());
            }
            5 => {
                let client = program.pick(CLIENTS_MAX);
                let key = [b'k', program.pick(256) as u8];
                let mut request = Vec::new();
                encode::command(&mut request, &[b"SET", &key, &vec![b'v'; program.large()]]);
                self.say(client, &request);
            }
            6 => {
                let connecting = self.pick_wire(program, false);
                let outcome = program.pick(4);
                match (connecting, outcome) {
                    (None, _) => {}
                    (Some(key), 3) => self.engine.handle_upstream_failed(key, &Failure::Refused),
                    (Some(key), _) => {
                        self.wires.entry(key).or_default().connected = true;
                        self.engine.handle_upstream_connected(key);
                    }
                }
            }
            7 | 8 => {
                let Some(key) = self.pick_wire(program, true) else { return };
                let answer = ANSWERS[program.pick(ANSWERS.len())];
                let count = program.size();
                self.answer(key, answer, event % 17 == 7, count);
            }
            9 => {
                let Some(key) = self.pick_wire(program, true) else { return };
                self.arrive_from_server(key, program.bytes());
            }
            10 => {
                let Some(key) = self.pick_wire(program, true) else { return };
                let mut reply = Vec::new();
                encode::bulk(&mut reply, &vec![b'v'; program.large()]);
                let cut = program.large();
                reply.truncate(reply.len() - cut % reply.len());
                self.arrive_from_server(key, &reply);
            }
            11 => {
                let Some(key) = self.pick_wire(program, true) else { return };
                let failures = [Failure::Closed, Failure::Reset, Failure::Other("No route".to_owned())];
                self.engine.handle_upstream_failed(key, &failures[program.pick(3)]);
            }
            12 => {
                self.now += 1 << program.pick(28);
                self.begin_round();
                // The prober's part: a server that is due and well is let in.
                for health in &self.pools.health {
                    health.due(self.now).into_iter().for_each(|server| health.readmit(server));
                }
            }
            13 => {
                self.piece = program.size();
                self.client_takes = program.size();
                self.server_takes = program.size();
            }
            14 => self.unblock(),
            15 => {
                let client = program.pick(CLIENTS_MAX);
                let end = [SessionEnd::Eof, SessionEnd::Error][program.pick(2)];
                if let Some(client) = self.clients.get_mut(client) {
                    client.said.truncate(client.arrived);
                    self.engine.handle_session_end(client.key, end);
                }
            }
            _ => self.reconfigure(program.byte().unwrap_or(0), program.pick(4)),
        }
    }

    fn open_session(&mut self, pool: usize) {
        if self.clients.len() < CLIENTS_MAX && pool < self.pools.settings.len() {
            let key = self.engine.open_session(pool, "fuzz".into());
            self.clients.push(Client {
                key,
                said: Vec::new(),
                arrived: 0,
                heard: Vec::new(),
                blocked: false,
                ended: false,
            });
        }
    }

    /// Goes over to pools set up as `setup` says; the bits of `fewer` take away a pool and a shard.
    fn reconfigure(&mut self, setup: u8, fewer: usize) {
        let shards = SHARDS - (fewer >> 1);
        let now: Vec<_> =
            (0..POOLS - (fewer & 1)).map(|pool| Arc::new(settings(pool, setup, shards))).collect();
        let before = &self.pools;
        let health = |(index, now): (usize, &Arc<PoolSettings>)| match before.settings.get(index) {
            Some(settings) => follow_health(&before.health[index], settings, now),
            None => Arc::new(Health::new(shards, now.ejection)),
        };
        let health = now.iter().enumerate().map(health).collect();
        let stats = Arc::new(before.stats.follow(&before.settings, &now));
        self.pools = Pools { settings: now, health, stats };
        self.engine.reconfigure(self.pools.clone()).expect("the pools can be routed");
    }

    /// A connection that stands, or one that is being made, if there is any.
    fn pick_wire(&self, program: &mut Program<'_>, connected: bool) -> Option<Key> {
        let wires: Vec<Key> =
            self.wires.iter().filter(|(_, wire)| wire.connected == connected).map(|(key, _)| *key).collect();
        let nth = program.pick(256);
        (!wires.is_empty()).then(|| wires[nth % wires.len()])
    }

    /// Whether `count` bytes more may be made up.
    fn may_make_up(&mut self, count: usize) -> bool {
        self.made_up += count;
        self.made_up <= MADE_UP_MAX
    }

    fn say(&mut self, client: usize, bytes: &[u8]) {
        if client < self.clients.len() && self.may_make_up(bytes.len()) {
            self.clients[client].said.extend_from_slice(bytes);
            self.arrive_from_client(client);
        }
    }

    /// What a client said arrives, as long as the engine wants it.
    fn arrive_from_client(&mut self, client: usize) {
        let client = &mut self.clients[client];
        while client.arrived < client.said.len() && self.engine.wants_bytes(client.key) {
            let end = client.said.len().min(client.arrived.saturating_add(self.piece));
            self.engine.handle_session_bytes(client.key, &client.said[client.arrived..end]);
            client.arrived = end;
        }
    }

    fn arrive_from_server(&mut self, key: Key, bytes: &[u8]) {
        if self.may_make_up(bytes.len()) {
            if let Some(wire) = self.wires.get_mut(&key) {
                wire.unread.extend_from_slice(bytes);
            }
            self.read_on(key);
        }
    }

    /// What a server sent arrives, as long as the engine wants it.
    fn read_on(&mut self, key: Key) {
        while self.engine.wants_upstream_bytes(key)
            && let Some(wire) = self.wires.get_mut(&key)
            && !wire.unread.is_empty()
        {
            let end = wire.unread.len().min(self.piece);
            let piece: Vec<u8> = wire.unread.drain(..end).collect();
            self.engine.handle_upstream_bytes(key, &piece);
        }
    }

    /// Answers up to `count` requests by `answer`; where it must be `fitting`, by what their forms ask for.
    fn answer(&mut self, key: Key, answer: &str, fitting: bool, count: usize) {
        let Some(wire) = self.wires.get_mut(&key) else { return };
        let mut replies = Vec::new();
        let mut args = Vec::new();
        let mut done = 0;
        for _ in 0..count {
            let asked = &wire.asked[done..];
            let Some(len) = whole_request(asked, &mut args) else { break };
            if fitting {
                fit(&mut replies, asked, &args, answer);
            } else {
                replies.extend_from_slice(answer.as_bytes());
            }
            done += len;
        }
        wire.asked.drain(..done);
        self.arrive_from_server(key, &replies);
    }

    /// The worker's way of sending what the engine offers.
    fn flush(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.engine.settle();
            while let Some(key) = self.engine.poll_upstream() {
                self.send_to_server(key);
            }
            while let Some(key) = self.engine.poll_session() {
                self.send_to_client(key);
            }
            while let Some(action) = self.engine.poll_action() {
                self.act(action);
            }
            if !self.engine.has_work() {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    fn send_to_server(&mut self, key: Key) {
        let Some(wire) = self.wires.get_mut(&key).filter(|wire| wire.connected && !wire.blocked) else {
            return;
        };
        let output = self.engine.upstream_output(key);
        assert!(!output.is_empty(), "a batch of nothing");
        let taken = output.len().min(self.server_takes);
        wire.blocked = taken < output.len();
        wire.asked.extend_from_slice(&output[..taken]);
        self.engine.handle_upstream_sent(key, taken);
    }

    fn send_to_client(&mut self, key: Key) {
        let Some(client) = self.clients.iter_mut().find(|client| client.key == key && !client.blocked) else {
            return;
        };
        let output = self.engine.session_output(key);
        let taken = output.len().min(self.client_takes);
        client.blocked = taken < output.len();
        client.heard.extend_from_slice(&output[..taken]);
        self.engine.handle_session_sent(key, taken);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(key) => {
                assert!(self.engine.upstream_endpoint(key).is_some(), "it leads nowhere");
                assert!(self.wires.insert(key, Wire::default()).is_none(), "connected twice");
            }
            Action::Disconnect(key) => assert!(self.wires.remove(&key).is_some(), "disconnected twice"),
            Action::End(key) => {
                let client = self.clients.iter_mut().find(|client| client.key == key);
                let client = client.expect("a session that was opened");
                assert!(!client.ended, "ended twice");
                client.ended = true;
            }
            Action::Part(key) => panic!("{key:?} is to part, and nobody leaves"),
            Action::ReadUpstream(key) => self.read_on(key),
            Action::Doubt(named) => panic!("{named:?} is doubted, and follows no sentinel"),
            Action::Read(key) => {
                if let Some(client) = self.clients.iter().position(|client| client.key == key) {
                    self.arrive_from_client(client);
                }
            }
        }
    }

    fn unblock(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.blocked) {
            client.blocked = false;
            self.engine.handle_session_writable(client.key);
        }
        for (key, wire) in self.wires.iter_mut().filter(|(_, wire)| wire.blocked) {
            wire.blocked = false;
            self.engine.handle_upstream_writable(*key);
        }
    }

    /// Every connection to a server fails, again and again, until nobody asks for one any more.
    fn lose_all_servers(&mut self) {
        (self.piece, self.client_takes, self.server_takes) = (usize::MAX, usize::MAX, usize::MAX);
        for _ in 0..ROUNDS_MAX {
            self.begin_round();
            for key in self.wires.keys().copied().collect::<Vec<_>>() {
                self.engine.handle_upstream_failed(key, &Failure::Closed);
            }
            self.unblock();
            self.engine.handle_timeout();
            self.flush();
            if self.wires.is_empty() && self.engine.outstanding() == (0, 0) {
                return;
            }
        }
        panic!("still outstanding without servers: {:?}", self.engine.outstanding());
    }

    /// Without servers, every client has an answer to each of its requests; one that was ended may lack the last ones.
    fn check(&self) {
        for (index, client) in self.clients.iter().enumerate() {
            let (requests, begun) = requests(&client.said[..client.arrived]);
            let (replies, rest) = replies(&client.heard);
            if client.ended {
                // Before a password is given, a request may be refused by what it announces.
                let most = requests + usize::from(begun);
                assert!(replies <= most, "client {index}: {replies} replies to {requests} requests");
            } else {
                assert_eq!(replies, requests, "client {index}: replies and requests");
                assert_eq!(rest, 0, "client {index}: half a reply");
                assert_eq!(client.arrived, client.said.len(), "client {index}: held for ever");
            }
        }
    }

    fn end_all_sessions(mut self) {
        self.begin_round();
        for (index, client) in self.clients.iter().enumerate() {
            let end = if index % 2 == 0 { SessionEnd::Eof } else { SessionEnd::Error };
            self.engine.handle_session_end(client.key, end);
        }
        self.flush();
        assert!(self.clients.iter().all(|client| client.ended), "a session outlived its client");
        assert_eq!((self.engine.session_count(), self.engine.outstanding()), (0, (0, 0)));
        for pool in &self.pools.stats.pools {
            assert_eq!(pool.pool.sessions.get(), 0, "sessions are counted that are none");
            assert!(pool.servers.iter().all(|server| server.connections.get() == 0), "so are connections");
        }
    }
}

/// A pool for data and one for a cache, in the two dialects. Each bit of `setup` changes one thing.
fn settings(pool: usize, setup: u8, shards: usize) -> PoolSettings {
    let is = |bit: u8| setup & 1 << bit != 0;
    let cache = pool == 1;
    let shard = |shard: usize| Shard {
        name: format!("s{shard}"),
        weight: 1,
        primary: format!("127.0.0.1:{}", 7000 + shard).parse().expect("an address"),
        replicas: Vec::new(),
        state: ShardState::Up,
    };
    let keys = EjectedKeys::Move { empty_on_return: true };
    let ejection = Ejection { failure_limit: 2, retry_after: Duration::from_millis(50), keys };
    let dialect = if cache == is(7) { Dialect::Shoal } else { Dialect::Nutcracker };
    PoolSettings {
        tls: None,
        server_tls: None,
        sentinel_tls: None,
        pool: Pool {
            name: format!("p{pool}"),
            mode: if cache { Mode::Cache } else { Mode::Storage },
            hash: Default::default(),
            char_sign: Default::default(),
            distribution: if cache { Distribution::Ketama } else { Distribution::Modula },
            hash_tag: None,
            shards: (0..shards).map(shard).collect(),
            credentials: None,
        },
        listen: Listen::Tcp { host: "127.0.0.1".to_owned(), port: 1 },
        backlog: 1,
        tcp_keepalive: false,
        timeout: (!is(0)).then_some(Duration::from_millis(100)),
        access: access(is(1), dialect),
        server_auth: is(1).then(|| ServerAuth { user: None, passwords: vec![Secret::new("secret")] }),
        database: u32::from(is(2)),
        preconnect: is(3),
        server_connections: if is(4) { 2 } else { 1 },
        ejection: cache.then_some(ejection),
        client_stall_timeout: Duration::from_millis(50),
        gather: !is(5),
        // Every request is slow, so that all are named.
        slow_log: SlowLogSettings { slower_than: Duration::ZERO, entries: 3 },
        multi_key: if is(6) { MultiKey::AsNutcracker } else { MultiKey::Refuse },
        durability: match is(6) && !cache {
            true => Durability::Replicated { replicas: 1, timeout: Duration::from_millis(40) },
            false => Durability::Async,
        },
        allow_flush: is(3),
        pass_admin_commands: false,
        keyless_scripts: is(5).then_some(0),
        followed: Vec::new(),
        dialect,
    }
}

/// A password for all, and in our own dialect a user who may do less, in limits.
fn access(guarded: bool, dialect: Dialect) -> Access {
    let secret = PasswordHash::of(b"secret");
    match (guarded, dialect) {
        (false, _) => Access::open(),
        (true, Dialect::Nutcracker) => Access::of_passwords(&[secret]),
        (true, Dialect::Shoal) => {
            let mut everything = Rules::everything();
            everything.add_password(secret).expect("room for a password");
            let rules = Rules::parse("on nopass ~k1* &k1* +@all -hello -sort -exec").expect("rules");
            let few = Limits {
                max_connections: Some(3),
                requests_per_second: Some(2000),
                bytes_per_second: Some(100_000),
            };
            let default = User::new(DEFAULT_USER, everything, Limits::default());
            Access::of_users(default, vec![User::new("app", rules, few)], Limits::default())
        }
    }
}

/// A request as bytes, its keys numbered from `key` on.
fn written(request: &str, key: usize) -> Vec<u8> {
    let keyed = |(nth, word)| match word {
        "K" => format!("k{}", (key + nth) % 256),
        other => str::to_owned(other),
    };
    let words: Vec<String> = request.split(' ').enumerate().map(keyed).collect();
    let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
    let mut out = Vec::new();
    encode::command(&mut out, &words);
    out
}

/// The length of the request at the front of what a server was sent, which must be well formed whatever clients said.
fn whole_request(asked: &[u8], args: &mut Vec<Span>) -> Option<usize> {
    match shoal_resp::parse_request(asked, &RequestLimits::default(), args) {
        Ok(Parsed::Request { len, inline: false }) => Some(len),
        Ok(Parsed::Partial { .. }) => None,
        other => panic!("a server was sent {other:?}"),
    }
}

/// Answers a request in the form that Redis would; `other` where that may be any.
fn fit(out: &mut Vec<u8>, asked: &[u8], args: &[Span], other: &str) {
    match args[0].of(asked).to_ascii_uppercase().as_slice() {
        b"MGET" => {
            encode::array_len(out, args.len() - 1);
            args[1..].iter().for_each(|key| encode::bulk(out, key.of(asked)));
        }
        b"DEL" | b"UNLINK" | b"EXISTS" => encode::integer(out, args.len() as i64 - 1),
        b"AUTH" | b"SELECT" | b"MSET" | b"SET" => encode::simple(out, "OK"),
        b"HELLO" => out.extend_from_slice(b"%1\r\n+proto\r\n:3\r\n"),
        _ => out.extend_from_slice(other.as_bytes()),
    }
}

/// How many requests a client's bytes are that deserve an answer; an error of protocol is answered too, and the last.
/// And whether one more has begun.
fn requests(said: &[u8]) -> (usize, bool) {
    let limits = RequestLimits::default();
    let (mut args, mut array) = (Vec::new(), Vec::new());
    let (mut at, mut count) = (0, 0);
    loop {
        match shoal_resp::parse_request(&said[at..], &limits, &mut args) {
            Ok(Parsed::Request { len, inline }) => {
                array.clear();
                if inline && shoal_resp::inline_to_multibulk(&said[at..at + len], &mut array).is_err() {
                    return (count + 1, false);
                }
                count += usize::from(!inline || !array.is_empty());
                at += len;
            }
            Ok(Parsed::Nothing { len }) => at += len,
            Ok(Parsed::Partial { .. }) => return (count, at < said.len()),
            Err(_) => return (count + 1, false),
        }
    }
}

/// How many whole replies a client has heard, and how many bytes of half a one.
fn replies(heard: &[u8]) -> (usize, usize) {
    let (mut rest, mut count) = (heard, 0);
    while !rest.is_empty() {
        match Delimiter::new().feed(rest).expect("a client is sent nothing but RESP") {
            Fed::Frame { len, .. } => rest = &rest[len..],
            Fed::Partial => break,
        }
        count += 1;
    }
    (count, rest.len())
}
