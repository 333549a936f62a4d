//! A client that keeps copies, model servers that tell it of writes, others who write, pieces of any size, connections that
//! break, and pools that change: by reloads, by switches of Sentinel's, by ejections and returns. When everything on its way
//! has come, no copy may be another than what is there.

use std::collections::BTreeSet;

use super::*;
use crate::health::Now;
use crate::returning::gate::Gate;

const KEYS: usize = 8;

/// What happens to the pool, beside connections that break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changes {
    /// It loses a shard and gets it back, by reloads.
    Reloads,
    /// Primaries of its shards are switched.
    Switches,
    /// Its shards are ejected and return; their keys go elsewhere meanwhile, or fail.
    Ejections(EjectedKeys),
}

/// A primary that is being replaced.
struct Switched {
    shard: usize,
    /// What the old one has: it takes no part in what happens since, and does not know it.
    old: BTreeMap<Vec<u8>, u64>,
    /// Whether the proxy knows.
    is_known: bool,
}

/// A shard that is out.
struct Out {
    shard: usize,
    /// It returns.
    gate: Option<Arc<Gate>>,
}

struct World {
    engine: Engine,
    changes: Changes,
    health: Arc<Health>,
    /// Whether each shard's primary is its second instance.
    second: [bool; SHARDS],
    switched: Option<Switched>,
    out: Option<Out>,
    /// Changes of the pool that were whole.
    changed: u64,
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
    /// It goes to the shard's second instance.
    second: bool,
    to_server: Vec<u8>,
    to_proxy: VecDeque<u8>,
    tracks: bool,
    remembers: BTreeSet<Vec<u8>>,
}

impl World {
    fn new(changes: Changes, seed: u32) -> World {
        let ejection = match changes {
            Changes::Ejections(keys) => {
                Some(Ejection { failure_limit: 1000, retry_after: Duration::from_secs(1), keys })
            }
            Changes::Reloads | Changes::Switches => None,
        };
        let mut settings = PoolSettings { timeout: None, ejection, ..tagged() };
        if changes == Changes::Switches {
            let sentinels = |shard: &shoal_topology::Shard| Sentinels {
                endpoints: vec!["10.0.0.9:26379".parse().unwrap()],
                watched_as: shard.name.clone(),
                user: None,
                password: None,
            };
            let followed = settings.pool.shards.iter().map(|shard| Some(Followed::new(sentinels(shard))));
            settings.followed = followed.collect();
            for shard in 0..SHARDS {
                let at = settings.pool.shards[shard].primary.clone();
                settings = settings.with_primary(shard, Primary::Known, Some(&at));
            }
        }
        let health = Arc::new(Health::new(SHARDS, ejection));
        let parts = Parts { pools: pools(settings, health.clone()), seed, first_id: 1, id_step: 1 };
        let mut engine = Engine::new(parts).unwrap();
        engine.begin_round(Time::from_micros(1), 1);
        let key = engine.open_session(0, "model".into());
        say(&mut engine, key, &["HELLO 3", "CLIENT TRACKING ON"]);
        drained(&mut engine, key);
        World {
            engine,
            changes,
            health,
            second: [false; SHARDS],
            switched: None,
            out: None,
            changed: 0,
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

    /// The client asks, somebody writes, a connection breaks, or the pool changes.
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
            35..=36 => match self.changes {
                Changes::Reloads => self.reload(),
                Changes::Switches => self.go_on_switching(),
                Changes::Ejections(_) => self.go_on_ejecting(),
            },
            _ => {}
        }
        self.to_proxy.extend(request);
    }

    fn reload(&mut self) {
        self.changed += 1;
        self.shards = if self.shards == SHARDS { SHARDS - 1 } else { SHARDS };
        let mut settings = PoolSettings { timeout: None, ..tagged() };
        settings.pool.shards.truncate(self.shards);
        let health = Arc::new(Health::new(self.shards, None));
        self.engine.reconfigure(pools(settings, health)).unwrap();
    }

    fn home(&mut self, key: &[u8]) -> usize {
        match self.engine.pools[0].router.route(key, &mut self.engine.random) {
            Route::Shard(shard) => shard,
            other => panic!("{other:?}"),
        }
    }

    /// What `shard` has just lost, or got from another: somewhat of what it had, of which nobody hears.
    fn lose_some(&mut self, shard: usize) {
        for key in (0..KEYS).map(name) {
            if self.home(&key) == shard && self.pick(2) == 0 {
                self.data.remove(&key);
            }
        }
    }

    /// The next step of a switch: another instance takes writes, and lacks the last ones; the proxy lets go of the old one, or
    /// has requests fail; it goes to the new one.
    fn go_on_switching(&mut self) {
        let settings = self.engine.pools[0].settings.clone();
        match &mut self.switched {
            None => {
                let shard = self.pick(SHARDS);
                self.switched = Some(Switched { shard, old: self.data.clone(), is_known: false });
                self.second[shard] = !self.second[shard];
                self.lose_some(shard);
            }
            Some(switched) if !switched.is_known => {
                switched.is_known = true;
                let shard = switched.shard;
                let stop = settings.with_primary(shard, Primary::Switching, None);
                self.engine.switch(&Arc::new(stop), shard);
                if self.pick(4) == 0 {
                    let unknown = settings.with_primary(shard, Primary::Unknown, None);
                    self.engine.switch(&Arc::new(unknown), shard);
                }
            }
            Some(switched) => {
                let shard = switched.shard;
                self.switched = None;
                self.changed += 1;
                let port = 7000 + shard + if self.second[shard] { 100 } else { 0 };
                let at = format!("127.0.0.1:{port}").parse().unwrap();
                let to = settings.with_primary(shard, Primary::Known, Some(&at));
                self.engine.switch(&Arc::new(to), shard);
            }
        }
    }

    /// The next step of an ejection: a shard is out, and has lost what it had, or not; the worker's gate is closed; it is in
    /// again, and was emptied meanwhile.
    fn go_on_ejecting(&mut self) {
        let now = Now { monotonic: self.now, unix: self.now };
        match &mut self.out {
            None => {
                let shard = self.pick(SHARDS);
                self.lose_some(shard);
                while !self.health.failed(shard, now.monotonic, now) {}
                self.out = Some(Out { shard, gate: None });
            }
            Some(Out { shard, gate: None }) => {
                let (shard, gate) = (*shard, Arc::new(Gate::default()));
                let next = (self.changes == Changes::Ejections(EMPTIED)).then_some(shard);
                self.out = Some(Out { shard, gate: Some(gate.clone()) });
                self.engine.raise_gate(&self.health, gate, next);
            }
            Some(Out { gate: Some(gate), .. }) => {
                if gate.is_broken() {
                    self.out.as_mut().unwrap().gate = None;
                } else if self.engine.poll_gate().is_some() && gate.commit() {
                    let shard = self.out.take().unwrap().shard;
                    self.health.readmit(shard);
                    self.engine.begin_round(Time::from_micros(self.now), self.now);
                    self.lose_some(shard);
                    self.changed += 1;
                }
            }
        }
    }

    /// Somebody writes `key`, where it lives now: that server tells who has read it there.
    fn write(&mut self, key: &[u8]) {
        let shard = self.home(key);
        self.written += 1;
        self.data.insert(key.to_vec(), self.written);
        let second = self.second[shard];
        for link in self.wires.values_mut().filter(|link| (link.shard, link.second) == (shard, second)) {
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
                    if self.second[link.shard] == link.second {
                        self.write(key);
                    } else if let Some(switched) = &mut self.switched {
                        self.written += 1;
                        switched.old.insert(key.to_vec(), self.written);
                    }
                }
                ref other => panic!("the proxy sent what nobody asked for: {other:?}"),
            }
            if let Some(link) = self.wires.get_mut(&wire) {
                link.to_proxy.extend(reply);
            }
        }
    }

    fn get(&mut self, wire: Key, key: &[u8], reply: &mut Vec<u8>) {
        let link = self.wires.get_mut(&wire).unwrap();
        let data = match &self.switched {
            Some(switched) if self.second[link.shard] != link.second => &switched.old,
            _ => &self.data,
        };
        match data.get(key) {
            Some(value) => encode::bulk(reply, value.to_string().as_bytes()),
            None => encode::null(reply),
        }
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
                        let Some(endpoint) = self.engine.upstream_endpoint(upstream) else { continue }; // it waits for a primary
                        let place = shard_at(endpoint);
                        let link = Link { shard: place % 100, second: place >= 100, ..Link::default() };
                        self.wires.insert(upstream, link);
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
            // A switch, and a return, come to their end; a shard that is out may stay so.
            if self.switched.is_some() {
                self.go_on_switching();
                self.step(false);
            } else if self.out.as_ref().is_some_and(|out| out.gate.is_some()) {
                self.go_on_ejecting();
                self.step(false);
            }
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

const EMPTIED: EjectedKeys = EjectedKeys::Move { empty_on_return: true };

#[test]
fn no_copy_is_stale_once_all_that_was_sent_has_come() {
    let pool = &mut World::new(Changes::Reloads, 1).engine.pools[0];
    let homes = (0..KEYS).map(|number| pool.router.route(&name(number), &mut Random::seeded(1)));
    let homes: Vec<Route> = homes.collect();
    assert!((0..SHARDS).all(|shard| homes.contains(&Route::Shard(shard))), "{homes:?}");
    simulate(Changes::Reloads);
}

#[test]
fn no_copy_is_stale_after_a_switch_that_the_client_was_not_told_of_otherwise() {
    simulate(Changes::Switches);
}

#[test]
fn no_copy_is_stale_where_shards_are_ejected_and_return() {
    let kept = EjectedKeys::Move { empty_on_return: false };
    [EMPTIED, kept, EjectedKeys::Fail].into_iter().map(Changes::Ejections).for_each(simulate);
}

fn simulate(changes: Changes) {
    let (mut copies, mut invalidated, mut changed) = (0, 0, 0);
    let seeds = seeds(150);
    for &seed in &seeds {
        let mut world = World::new(changes, seed);
        for _ in 0..8 {
            for _ in 0..60 {
                world.step(true);
            }
            copies += world.settle();
        }
        invalidated += world.invalidated;
        changed += world.changed;
        let held = world.engine.pools[0].held;
        assert!(
            held <= SHARDS && world.engine.outstanding() == (0, 0),
            "{changes:?}, seed {seed}: {held} held"
        );
    }
    let runs = seeds.len() as u64 * 8;
    assert!(
        copies as u64 > runs && invalidated > runs && changed > runs / 4,
        "{changes:?}: {copies} copies, {invalidated} invalidations, {changed} changes"
    );
}
