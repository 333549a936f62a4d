//! Primaries with a replica each, which lags, stops, and takes over when the primary dies: what it lacks then is lost.
//!
//! Each write has a value of its own, so that the model knows which writes replicas have, which were lost, and whether one was
//! executed twice. What must hold is checked whenever a client gets a reply.

use super::*;

/// A shard: what its primary has executed, in order, and how much of it its replica has.
#[derive(Default)]
struct Primary {
    log: Vec<(Vec<u8>, Vec<u8>)>,
    replica: usize,
    lags: bool,
    /// Answers nothing.
    hangs: bool,
    /// Writes that died with a primary.
    lost: usize,
}

impl Primary {
    fn get(&self, key: &[u8]) -> Option<&Vec<u8>> {
        self.log.iter().rev().find(|(own, _)| own == key).map(|(_, value)| value)
    }

    fn execute(&mut self, words: &[&[u8]], out: &mut Vec<u8>) {
        match words {
            [b"GET" | b"get", key] => bulk_or_null(out, self.get(key)),
            [b"mget" | b"MGET", keys @ ..] => {
                encode::array_len(out, keys.len());
                keys.iter().for_each(|key| bulk_or_null(out, self.get(key)));
            }
            [b"SET" | b"mset" | b"MSET", pairs @ ..] => {
                self.log.extend(pairs.chunks(2).map(|pair| (pair[0].to_vec(), pair[1].to_vec())));
                encode::simple(out, "OK");
            }
            // Gives back what it wrote, which may be long.
            [b"GETSET", key, value] => {
                self.log.push((key.to_vec(), value.to_vec()));
                encode::bulk(out, value);
            }
            // One that the server refuses.
            [b"INCR", _] => encode::error(out, "ERR value is not an integer or out of range"),
            other => panic!("the proxy sent what nobody asked for: {other:?}"),
        }
    }
}

/// One connection of the engine to a primary.
#[derive(Default)]
struct Wire {
    shard: usize,
    to_server: Vec<u8>,
    to_proxy: VecDeque<u8>,
    queued: Option<Vec<Vec<Vec<u8>>>>,
    /// How much the primary had executed when it last executed a command of this connection.
    offset: usize,
    /// What a WAIT under way waits for, and until when.
    waits: Option<(usize, u64)>,
}

impl Wire {
    /// Executes what has come, until a WAIT stops it.
    fn execute(&mut self, primary: &mut Primary, now: u64) {
        loop {
            if let Some((offset, until)) = self.waits {
                let reached = primary.replica >= offset;
                if !reached && now < until {
                    return;
                }
                self.waits = None;
                self.to_proxy.extend(format!(":{}\r\n", u8::from(reached)).bytes());
            }
            let Some(words) = take_request(&mut self.to_server) else { return };
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let mut out = Vec::new();
            match (&words[..], &mut self.queued) {
                ([b"MULTI"], _) => {
                    self.queued = Some(Vec::new());
                    encode::simple(&mut out, "OK");
                }
                ([b"EXEC"], Some(queued)) => {
                    let queued = std::mem::take(queued);
                    self.queued = None;
                    encode::array_len(&mut out, queued.len());
                    for words in queued {
                        primary.execute(&words.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut out);
                    }
                    self.offset = primary.log.len();
                }
                (words, Some(queued)) => {
                    queued.push(words.iter().map(|word| word.to_vec()).collect());
                    encode::simple(&mut out, "QUEUED");
                }
                ([b"WAIT", b"1", millis], None) => {
                    let millis: u64 = std::str::from_utf8(millis).unwrap().parse().unwrap();
                    self.waits = Some((self.offset, now + millis * 1000));
                }
                (words, None) => {
                    primary.execute(words, &mut out);
                    self.offset = primary.log.len();
                }
            }
            self.to_proxy.extend(out);
        }
    }
}

/// What a client asked, and how the reply must be if it is no error.
struct Asked {
    /// The values that it writes.
    writes: Vec<(Vec<u8>, Vec<u8>)>,
    reply: Vec<u8>,
    /// The reply may be another one too, since what was written before may be lost.
    reads: bool,
}

struct Client {
    key: Key,
    own: usize,
    to_send: VecDeque<u8>,
    received: Vec<u8>,
    asked: VecDeque<Asked>,
    model: BTreeMap<Vec<u8>, Vec<u8>>,
    closed: bool,
}

/// What a run has seen, so that a run that shows nothing is noticed.
#[derive(Debug, Default)]
pub struct Seen {
    acknowledged: usize,
    unreplicated: usize,
    lost: usize,
}

struct World {
    engine: Engine,
    primaries: Vec<Primary>,
    wires: BTreeMap<Key, Wire>,
    clients: Vec<Client>,
    chance: Random,
    now: u64,
    faults: bool,
    written: u64,
    /// Keys of one shard, for transactions.
    acknowledged: Vec<(Vec<u8>, Vec<u8>)>,
    seen: Seen,
}

impl World {
    fn new(seed: u32, faults: bool) -> World {
        let settings = PoolSettings {
            timeout: faults.then_some(TIMEOUT),
            gather: !seed.is_multiple_of(3),
            server_connections: 1 + (seed % 2) as u16,
            ..replicated()
        };
        let pools = pools(settings, Arc::new(Health::new(SHARDS, None)));
        let mut engine = Engine::new(Parts { pools, seed, first_id: 1, id_step: 1 }).unwrap();
        engine.begin_round(Time::from_micros(1), 1);
        let client = |own| Client {
            key: engine.open_session(0, "model".into()),
            own,
            to_send: VecDeque::new(),
            received: Vec::new(),
            asked: VecDeque::new(),
            model: BTreeMap::new(),
            closed: false,
        };
        World {
            clients: (0..5).map(client).collect(),
            engine,
            primaries: (0..SHARDS).map(|_| Primary::default()).collect(),
            wires: BTreeMap::new(),
            chance: Random::seeded(seed.wrapping_add(7)),
            now: 1,
            faults,
            written: 0,
            acknowledged: Vec::new(),
            seen: Seen::default(),
        }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.chance.next() as usize % below.max(1)
    }

    fn ask(&mut self, index: usize) {
        let kind = self.pick(9);
        let numbers: Vec<usize> = (0..4).map(|_| self.pick(8)).collect();
        let size = match self.pick(40) {
            0 => 200_000,
            1 => 70_000,
            _ => 0,
        };
        let client = &mut self.clients[index];
        let keys: Vec<Vec<u8>> =
            numbers.iter().map(|number| format!("k{}-{number}", client.own).into_bytes()).collect();
        let mut value = |long: bool| {
            self.written += 1;
            let padding = if long { size } else { 0 };
            [format!("w{}.", self.written).into_bytes(), vec![b'v'; padding]].concat()
        };
        let (mut bytes, mut reply, mut writes) = (Vec::new(), Vec::new(), Vec::new());
        match kind {
            0..=2 => {
                writes.push((keys[0].clone(), value(true)));
                encode::command(&mut bytes, &[b"SET", &writes[0].0, &writes[0].1]);
                encode::simple(&mut reply, "OK");
            }
            3 => {
                writes.push((keys[0].clone(), value(true)));
                encode::command(&mut bytes, &[b"GETSET", &writes[0].0, &writes[0].1]);
                encode::bulk(&mut reply, &writes[0].1);
            }
            4 => {
                writes.extend(keys.iter().map(|key| (key.clone(), value(false))));
                let pairs = writes.iter().flat_map(|(key, value)| [&key[..], &value[..]]);
                let words: Vec<&[u8]> = std::iter::once(&b"MSET"[..]).chain(pairs).collect();
                encode::command(&mut bytes, &words);
                encode::simple(&mut reply, "OK");
            }
            5 => {
                encode::command(&mut bytes, &[b"GET", &keys[0]]);
                bulk_or_null(&mut reply, client.model.get(&keys[0]));
            }
            6 => {
                let words: Vec<&[u8]> =
                    std::iter::once(&b"MGET"[..]).chain(keys.iter().map(Vec::as_slice)).collect();
                encode::command(&mut bytes, &words);
                encode::array_len(&mut reply, keys.len());
                keys.iter().for_each(|key| bulk_or_null(&mut reply, client.model.get(key)));
            }
            7 => encode::command(&mut bytes, &[b"INCR", &keys[0]]),
            _ => {
                writes.push((keys[0].clone(), value(false)));
                let all: [&[&[u8]]; 3] = [&[b"MULTI"], &[b"SET", &writes[0].0, &writes[0].1], &[b"EXEC"]];
                for words in all {
                    encode::command(&mut bytes, words);
                }
                for said in ["OK", "QUEUED"] {
                    let mut reply = Vec::new();
                    encode::simple(&mut reply, said);
                    client.asked.push_back(Asked { writes: Vec::new(), reply, reads: false });
                }
                reply.extend_from_slice(b"*1\r\n+OK\r\n");
            }
        }
        client.model.extend(writes.iter().cloned());
        client.to_send.extend(bytes);
        client.asked.push_back(Asked { writes, reply, reads: matches!(kind, 5 | 6) });
    }

    fn step(&mut self) {
        self.now += self.pick(600) as u64;
        self.engine.begin_round(Time::from_micros(self.now), self.now);
        for index in 0..self.clients.len() {
            let key = self.clients[index].key;
            if self.pick(3) != 0 && !self.clients[index].to_send.is_empty() && self.engine.wants_bytes(key) {
                let most = if self.pick(4) == 0 { 40 } else { 70_000 };
                let count = (self.pick(most) + 1).min(self.clients[index].to_send.len());
                let bytes: Vec<u8> = self.clients[index].to_send.drain(..count).collect();
                self.engine.handle_session_bytes(key, &bytes);
            }
        }
        for shard in 0..SHARDS {
            self.live(shard);
        }
        for key in self.wires.keys().copied().collect::<Vec<_>>() {
            self.serve(key);
        }
        self.engine.handle_timeout();
        self.flush();
        self.check();
    }

    /// Replicas catch up or lag, primaries hang or die.
    fn live(&mut self, shard: usize) {
        let (lag, die, hang, some) = (self.pick(40), self.pick(250), self.pick(400), self.pick(4));
        let primary = &mut self.primaries[shard];
        if self.faults && lag == 0 {
            primary.lags = !primary.lags;
        }
        if self.faults && hang == 0 {
            primary.hangs = !primary.hangs;
        }
        if !primary.lags {
            primary.replica = (primary.replica + some).min(primary.log.len());
        }
        if self.faults && die == 0 {
            // The replica takes over with what it has, and finds a replica of its own.
            primary.lost += primary.log.len() - primary.replica;
            primary.log.truncate(primary.replica);
            (primary.lags, primary.hangs) = (false, false);
            let its: Vec<Key> =
                self.wires.iter().filter(|(_, wire)| wire.shard == shard).map(|(key, _)| *key).collect();
            for key in its {
                self.wires.remove(&key);
                self.engine.handle_upstream_failed(key, &Failure::Closed);
            }
        }
    }

    fn serve(&mut self, key: Key) {
        if self.faults && self.pick(400) == 0 {
            self.wires.remove(&key);
            self.engine.handle_upstream_failed(key, &Failure::Reset);
            return;
        }
        let eager = self.pick(3) != 0;
        let Some(wire) = self.wires.get_mut(&key) else { return };
        let primary = &mut self.primaries[wire.shard];
        if eager && !primary.hangs {
            wire.execute(primary, self.now);
        }
        let waiting = wire.to_proxy.len();
        let count = (self.pick(70_000) + 1).min(waiting);
        if count > 0 && self.engine.wants_upstream_bytes(key) {
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
                    self.engine.handle_upstream_writable(key);
                    break;
                }
            }
            while let Some(key) = self.engine.poll_session() {
                let output = self.engine.session_output(key).to_vec();
                if let Some(client) = self.clients.iter_mut().find(|client| client.key == key) {
                    client.received.extend_from_slice(&output);
                }
                self.engine.handle_session_sent(key, output.len());
            }
            while let Some(action) = self.engine.poll_action() {
                match action {
                    Action::Connect(key) => self.connect(key),
                    Action::Disconnect(key) => drop(self.wires.remove(&key)),
                    Action::End(key) => {
                        for client in self.clients.iter_mut().filter(|client| client.key == key) {
                            client.closed = true;
                        }
                    }
                    Action::Part(_) | Action::Read(_) | Action::ReadUpstream(_) | Action::Doubt(_) => {}
                }
            }
            if !self.engine.has_work() {
                return;
            }
        }
    }

    fn connect(&mut self, key: Key) {
        let shard = shard_at(self.engine.upstream_endpoint(key).unwrap());
        if self.faults && self.pick(6) == 0 {
            return self.engine.handle_upstream_failed(key, &Failure::Refused);
        }
        self.wires.insert(key, Wire { shard, ..Wire::default() });
        self.engine.handle_upstream_connected(key);
    }

    /// Whether the replica of some shard has this write; a key has one shard.
    fn is_replicated(&self, write: &(Vec<u8>, Vec<u8>)) -> bool {
        self.primaries.iter().any(|primary| primary.log[..primary.replica].contains(write))
    }

    fn check(&mut self) {
        for index in 0..self.clients.len() {
            while let Some(reply) = take_reply(&mut self.clients[index].received) {
                let asked = self.clients[index].asked.pop_front().expect("no reply without a request");
                self.judge(index, &reply, asked);
            }
        }
    }

    fn judge(&mut self, index: usize, reply: &[u8], asked: Asked) {
        let client = self.clients[index].own;
        let said = String::from_utf8_lossy(&reply[..reply.len().min(120)]).into_owned();
        if reply[0] == b'-' {
            assert!(self.faults || asked.reply.is_empty(), "client {client}: {said}");
            if said.starts_with("-UNREPLICATED applied") {
                assert!(!asked.writes.is_empty(), "client {client}: nothing was written: {said}");
                self.seen.unreplicated += 1;
            }
            return;
        }
        if !asked.reads || !self.faults {
            assert!(reply == asked.reply, "client {client}: {said} is the reply to something else");
        }
        for write in asked.writes {
            assert!(self.is_replicated(&write), "client {client}: {said} for what no replica has");
            self.seen.acknowledged += 1;
            self.acknowledged.push(write);
        }
    }

    fn run_dry(&mut self) {
        // Faults go on: replies to what was asked under them may be errors anyhow.
        let owed =
            |world: &World| world.clients.iter().any(|client| !client.closed && !client.asked.is_empty());
        for _ in 0..20_000 {
            if !owed(self) {
                return;
            }
            self.step();
        }
        let owed: Vec<usize> = self.clients.iter().map(|client| client.asked.len()).collect();
        panic!("replies are still owed: {owed:?}, {:?}", self.engine.outstanding());
    }

    /// What must be true at the end: what was acknowledged is there, and nothing was executed twice.
    fn close(mut self, seed: u32) -> Seen {
        for write in &self.acknowledged {
            assert!(self.is_replicated(write), "seed {seed}: {write:?} was acknowledged and is lost");
        }
        let mut all: Vec<&Vec<u8>> =
            self.primaries.iter().flat_map(|primary| primary.log.iter().map(|(_, value)| value)).collect();
        all.sort();
        assert!(all.windows(2).all(|two| two[0] != two[1]), "seed {seed}: a write was executed twice");
        self.seen.lost = self.primaries.iter().map(|primary| primary.lost).sum();
        self.seen
    }
}

fn run(seed: u32, faults: bool) -> Seen {
    let mut world = World::new(seed, faults);
    for round in 0..400 {
        if round < 200 {
            let client = world.pick(5);
            for _ in 0..world.pick(5) {
                world.ask(client);
            }
        }
        world.step();
    }
    if faults {
        world.run_dry();
    } else {
        for _ in 0..20_000 {
            if world.clients.iter().all(|client| client.asked.is_empty()) {
                break;
            }
            world.step();
        }
        assert!(world.clients.iter().all(|client| client.asked.is_empty()), "seed {seed}: replies are owed");
        assert_eq!(world.engine.outstanding(), (0, 0), "seed {seed}");
    }
    world.close(seed)
}

#[test]
fn every_reply_is_right_and_in_order_where_replicas_follow() {
    for seed in seeds(100) {
        let seen = run(seed, false);
        assert_eq!(seen.unreplicated, 0, "seed {seed}");
    }
}

#[test]
fn no_write_that_was_acknowledged_is_lost_while_primaries_die_and_replicas_lag() {
    let mut all = Seen::default();
    for seed in seeds(200) {
        let seen = run(seed, true);
        all.acknowledged += seen.acknowledged;
        all.unreplicated += seen.unreplicated;
        all.lost += seen.lost;
    }
    // One seed alone may show little.
    if seeds(200).len() > 1 {
        assert!(all.acknowledged > 5_000 && all.unreplicated > 500 && all.lost > 500, "{all:?}");
    }
}
