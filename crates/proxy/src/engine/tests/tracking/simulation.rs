//! A client that keeps copies, model servers that tell it of writes, others who write, pieces of any size, connections that
//! break, and pools that lose and get back a shard. When everything on its way has come, no copy may be another than what is
//! there.

use std::collections::BTreeSet;

use shoal_topology::Route;

use super::*;

const KEYS: usize = 8;

struct World {
    engine: Engine,
    key: Key,
    /// What is there. Keys that change their shard take their values with them.
    data: BTreeMap<Vec<u8>, u64>,
    wires: BTreeMap<Key, Link>,
    /// Sent by the client and not taken by the proxy; sent to the client and not read.
    to_proxy: VecDeque<u8>,
    to_client: Vec<u8>,
    /// The keys whose values the replies to come hold; none for a write.
    asked: VecDeque<Vec<Vec<u8>>>,
    copies: BTreeMap<Vec<u8>, Vec<u8>>,
    chance: Random,
    written: u64,
    invalidated: u64,
    now: u64,
    shards: usize,
}

/// A key. The number comes first: names that differ in their ends alone lie on one shard.
fn name(number: usize) -> Vec<u8> {
    format!("{number} of the model").into_bytes()
}

/// A connection to a server, and the keys that the server will tell it of.
#[derive(Default)]
struct Link {
    shard: usize,
    to_server: Vec<u8>,
    to_proxy: VecDeque<u8>,
    tracks: bool,
    remembers: BTreeSet<Vec<u8>>,
}

impl World {
    fn new(seed: u32) -> World {
        let settings = PoolSettings { timeout: None, ..tagged() };
        let health = Arc::new(Health::new(SHARDS, None));
        let mut engine =
            Engine::new(Parts { pools: pools(settings, health), seed, first_id: 1, id_step: 1 }).unwrap();
        engine.begin_round(Time::from_micros(1), 1);
        let key = engine.open_session(0, "model".into());
        say(&mut engine, key, &["HELLO 3", "CLIENT TRACKING ON"]);
        drained(&mut engine, key);
        World {
            engine,
            key,
            data: BTreeMap::new(),
            wires: BTreeMap::new(),
            to_proxy: VecDeque::new(),
            to_client: Vec::new(),
            asked: VecDeque::new(),
            copies: BTreeMap::new(),
            chance: Random::seeded(seed.wrapping_add(99)),
            written: 0,
            invalidated: 0,
            now: 1,
            shards: SHARDS,
        }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.chance.next() as usize % below.max(1)
    }

    fn key(&mut self) -> Vec<u8> {
        name(self.pick(KEYS))
    }

    fn step(&mut self, faults: bool) {
        self.now += 100;
        self.engine.begin_round(Time::from_micros(self.now), self.now);
        if faults {
            self.disturb();
        }
        let count = self.pick(self.to_proxy.len() + 1);
        if self.engine.wants_bytes(self.key) {
            let bytes: Vec<u8> = self.to_proxy.drain(..count).collect();
            self.engine.handle_session_bytes(self.key, &bytes);
        }
        for wire in self.wires.keys().copied().collect::<Vec<_>>() {
            if self.pick(2) == 0 {
                self.serve(wire);
            }
            let Some(count) = self.wires.get(&wire).map(|link| link.to_proxy.len()) else { continue };
            let count = self.pick(count + 1);
            let link = self.wires.get_mut(&wire).unwrap();
            let bytes: Vec<u8> = link.to_proxy.drain(..count).collect();
            self.engine.handle_upstream_bytes(wire, &bytes);
        }
        self.engine.handle_timeout();
        self.flush();
        self.read();
    }

    /// The client asks, somebody writes, a connection breaks, or the pool becomes another.
    fn disturb(&mut self) {
        let number = self.pick(4) + 1;
        let keys: Vec<Vec<u8>> = (0..number).map(|_| self.key()).collect();
        let words: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut request = Vec::new();
        match self.pick(40) {
            0..=9 => {
                encode::command(&mut request, &[b"GET", &keys[0]]);
                self.asked.push_back(vec![keys[0].clone()]);
            }
            10..=15 => {
                encode::command(&mut request, &[&[&b"MGET"[..]], &words[..]].concat());
                self.asked.push_back(keys);
            }
            16..=19 => {
                encode::command(&mut request, &[b"SET", &keys[0], b"own"]);
                self.asked.push_back(Vec::new());
            }
            20..=33 => {
                self.write(&keys[0]);
            }
            34 => {
                let broken = self.pick(self.wires.len());
                if let Some(wire) = self.wires.keys().nth(broken).copied() {
                    self.wires.remove(&wire);
                    self.engine.handle_upstream_failed(wire, &Failure::Closed);
                }
            }
            35 => {
                self.shards = if self.shards == SHARDS { SHARDS - 1 } else { SHARDS };
                let mut settings = PoolSettings { timeout: None, ..tagged() };
                settings.pool.shards.truncate(self.shards);
                let health = Arc::new(Health::new(self.shards, None));
                self.engine.reconfigure(pools(settings, health)).unwrap();
            }
            _ => {}
        }
        self.to_proxy.extend(request);
    }

    /// Somebody writes `key`, where it lives now: that server tells who has read it there.
    fn write(&mut self, key: &[u8]) {
        let Route::Shard(shard) = self.engine.pools[0].router.route(key, &mut self.engine.random) else {
            panic!("all shards are in")
        };
        self.written += 1;
        self.data.insert(key.to_vec(), self.written);
        for link in self.wires.values_mut().filter(|link| link.shard == shard) {
            if link.remembers.remove(key) {
                link.to_proxy.extend(invalidation(std::str::from_utf8(key).unwrap()).into_bytes());
            }
        }
    }

    fn serve(&mut self, wire: Key) {
        loop {
            let Some(link) = self.wires.get_mut(&wire) else { return };
            let Some(words) = take_request(&mut link.to_server) else { return };
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let mut reply = Vec::new();
            match words[..] {
                [b"HELLO", b"3"] => reply.extend(b"%0\r\n"),
                [b"CLIENT", b"TRACKING", b"ON"] => {
                    link.tracks = true;
                    encode::simple(&mut reply, "OK");
                }
                [b"GET", key] => self.get(wire, key, &mut reply),
                [b"mget" | b"MGET", ref keys @ ..] => {
                    encode::array_len(&mut reply, keys.len());
                    keys.iter().for_each(|key| self.get(wire, key, &mut reply));
                }
                [b"SET", key, _] => {
                    // The reply comes before what the writer hears of its own write.
                    encode::simple(&mut reply, "OK");
                    link.to_proxy.extend(std::mem::take(&mut reply));
                    self.write(key);
                }
                ref other => panic!("the proxy sent what nobody asked for: {other:?}"),
            }
            if let Some(link) = self.wires.get_mut(&wire) {
                link.to_proxy.extend(reply);
            }
        }
    }

    fn get(&mut self, wire: Key, key: &[u8], reply: &mut Vec<u8>) {
        match self.data.get(key) {
            Some(value) => encode::bulk(reply, value.to_string().as_bytes()),
            None => encode::null(reply),
        }
        let link = self.wires.get_mut(&wire).unwrap();
        assert!(link.tracks, "a session that tracks reads where it is tracked");
        link.remembers.insert(key.to_vec());
    }

    fn flush(&mut self) {
        loop {
            self.engine.settle();
            while let Some(upstream) = self.engine.poll_upstream() {
                let output = self.engine.upstream_output(upstream).to_vec();
                if let Some(link) = self.wires.get_mut(&upstream) {
                    link.to_server.extend_from_slice(&output);
                }
                self.engine.handle_upstream_sent(upstream, output.len());
            }
            while let Some(key) = self.engine.poll_session() {
                let output = self.engine.session_output(key).to_vec();
                self.to_client.extend_from_slice(&output);
                self.engine.handle_session_sent(key, output.len());
            }
            while let Some(action) = self.engine.poll_action() {
                match action {
                    Action::Connect(upstream) => {
                        let shard = shard_at(self.engine.upstream_endpoint(upstream).unwrap());
                        self.wires.insert(upstream, Link { shard, ..Link::default() });
                        self.engine.handle_upstream_connected(upstream);
                    }
                    Action::Disconnect(upstream) => drop(self.wires.remove(&upstream)),
                    Action::End(_) => panic!("a client that reads is not cut"),
                    _ => {}
                }
            }
            if !self.engine.has_work() {
                return;
            }
        }
    }

    /// The client reads: it keeps what it is given, and forgets what it is told to forget.
    fn read(&mut self) {
        while let Some(frame) = take_reply(&mut self.to_client) {
            if frame == INVALIDATE_ALL {
                self.copies.clear();
                self.invalidated += 1;
            } else if frame[0] == b'>' {
                let text = String::from_utf8(frame).unwrap();
                self.copies.remove(text.lines().next_back().unwrap().as_bytes());
                self.invalidated += 1;
            } else {
                let keys = self.asked.pop_front().expect("no reply without a request");
                self.keep(&keys, &frame);
            }
        }
    }

    fn keep(&mut self, keys: &[Vec<u8>], frame: &[u8]) {
        let values: Vec<&[u8]> = match frame[0] {
            b'-' => return,
            b'*' => shoal_resp::elements::elements(frame).unwrap().map(Result::unwrap).collect(),
            _ => vec![frame],
        };
        for (key, value) in keys.iter().zip(values) {
            self.copies.insert(key.clone(), value.to_vec());
        }
    }

    /// Lets everything come that is on its way; how many copies there are then, all of them good.
    fn settle(&mut self) -> usize {
        for _ in 0..10_000 {
            let moves =
                self.wires.values().any(|link| !link.to_server.is_empty() || !link.to_proxy.is_empty());
            if self.asked.is_empty() && self.to_proxy.is_empty() && !moves {
                for (key, copy) in &self.copies {
                    let mut there = Vec::new();
                    match self.data.get(key) {
                        Some(value) => encode::bulk(&mut there, value.to_string().as_bytes()),
                        None => encode::null(&mut there),
                    }
                    assert_eq!(copy, &there, "the copy of {}", String::from_utf8_lossy(key));
                }
                return self.copies.len();
            }
            self.step(false);
        }
        panic!("not all replies come: {} are owed", self.asked.len());
    }
}

#[test]
fn no_copy_is_stale_once_all_that_was_sent_has_come() {
    let pool = &mut World::new(1).engine.pools[0];
    let homes = (0..KEYS).map(|number| pool.router.route(&name(number), &mut Random::seeded(1)));
    let homes: Vec<Route> = homes.collect();
    assert!((0..SHARDS).all(|shard| homes.contains(&Route::Shard(shard))), "{homes:?}");
    let (mut copies, mut invalidated) = (0, 0);
    let seeds = seeds(150);
    for &seed in &seeds {
        let mut world = World::new(seed);
        for _ in 0..8 {
            for _ in 0..60 {
                world.step(true);
            }
            copies += world.settle();
        }
        invalidated += world.invalidated;
        let held = world.engine.pools[0].held;
        assert!(held <= SHARDS && world.engine.outstanding() == (0, 0), "seed {seed}: {held} held");
    }
    let runs = seeds.len() as u64 * 8;
    assert!(copies as u64 > runs && invalidated > runs, "{copies} copies, {invalidated} invalidations");
}
