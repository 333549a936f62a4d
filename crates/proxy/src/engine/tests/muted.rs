//! CLIENT REPLY among other commands: clients that switch replies off and on and skip some, while requests are on their way in
//! pieces and connections break. Each client is given the replies that it wants, in its order, and no other byte.

use super::transaction::tagged;
use super::*;

/// What a client must be told next.
#[derive(Debug)]
enum Owed {
    /// This.
    Exactly(Vec<u8>),
    /// This, or an error if a connection broke.
    Unless(Vec<u8>),
}

/// What a client has said of its replies, as Redis understands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    All,
    None,
    /// All but the next.
    NotNext,
}

struct Client {
    key: Key,
    to_proxy: VecDeque<u8>,
    heard: Vec<u8>,
    wants: Wants,
    owed: VecDeque<Owed>,
}

/// A connection to a server that answers GET with the key itself.
#[derive(Default)]
struct Wire {
    to_server: Vec<u8>,
    to_proxy: VecDeque<u8>,
    /// The replies of a transaction that is being queued.
    queued: Option<Vec<Vec<u8>>>,
}

struct World {
    engine: Engine,
    clients: Vec<Client>,
    wires: BTreeMap<Key, Wire>,
    chance: Random,
    now: u64,
    asked: usize,
    muted: usize,
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut request = Vec::new();
    encode::command(&mut request, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    request
}

fn bulk(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode::bulk(&mut out, text.as_bytes());
    out
}

fn array(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::array_len(&mut out, elements.len());
    elements.iter().for_each(|element| out.extend_from_slice(element));
    out
}

impl Client {
    fn ask(&mut self, words: &[&str]) {
        self.to_proxy.extend(command(words));
    }

    /// A reply to what was asked, if it wants it; whether it does.
    fn is_owed(&mut self, owed: Owed) -> bool {
        match self.wants {
            Wants::All => self.owed.push_back(owed),
            Wants::None => return false,
            Wants::NotNext => {
                self.wants = Wants::All;
                return false;
            }
        }
        true
    }
}

impl World {
    fn new(seed: u32) -> World {
        let settings = PoolSettings { timeout: None, ..tagged() };
        let parts = Parts {
            pools: pools(settings, Arc::new(Health::new(SHARDS, None))),
            seed,
            first_id: 1,
            id_step: 1,
        };
        let mut engine = Engine::new(parts).unwrap();
        engine.begin_round(Time::from_micros(1), 1);
        let clients = (0..3).map(|_| Client {
            key: engine.open_session(0, "model".into()),
            to_proxy: VecDeque::new(),
            heard: Vec::new(),
            wants: Wants::All,
            owed: VecDeque::new(),
        });
        let clients = clients.collect();
        let chance = Random::seeded(seed.wrapping_add(17));
        World { engine, clients, wires: BTreeMap::new(), chance, now: 1, asked: 0, muted: 0 }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.chance.next() as usize % below.max(1)
    }

    /// A key that nobody has asked for.
    fn key(&mut self) -> String {
        self.asked += 1;
        format!("{{{}}}{}", self.asked % 7, self.asked)
    }

    /// A client asks something.
    fn ask(&mut self) {
        let (number, kind, count) = (self.pick(3), self.pick(20), self.pick(4) + 1);
        let keys: Vec<String> = (0..count).map(|_| self.key()).collect();
        let client = &mut self.clients[number];
        let exactly = |text: &str| Owed::Exactly(text.as_bytes().to_vec());
        let owed = match kind {
            0..=4 => {
                client.ask(&["GET", &keys[0]]);
                Owed::Unless(bulk(&keys[0]))
            }
            5..=7 => {
                let mut words = vec!["MGET"];
                words.extend(keys.iter().map(String::as_str));
                client.ask(&words);
                Owed::Unless(array(&keys.iter().map(|key| bulk(key)).collect::<Vec<_>>()))
            }
            8 => {
                client.ask(&["SET", &keys[0], "v"]);
                Owed::Unless(b"+OK\r\n".to_vec())
            }
            9 => {
                client.ask(&["PING", &keys[0]]);
                Owed::Exactly(bulk(&keys[0]))
            }
            10 => {
                client.ask(&["NOSUCH"]);
                exactly("-ERR unknown command 'NOSUCH', with args beginning with: \r\n")
            }
            11 => {
                client.ask(&["CLIENT", "REPLY", "MAYBE"]);
                exactly("-ERR syntax error\r\n")
            }
            12 | 13 => {
                client.ask(&["CLIENT", "REPLY", "OFF"]);
                return client.wants = Wants::None;
            }
            14 | 15 => {
                client.ask(&["CLIENT", "REPLY", "SKIP"]);
                if client.wants != Wants::None {
                    client.wants = Wants::NotNext;
                }
                return;
            }
            16 | 17 => {
                client.ask(&["client", "reply", "on"]);
                client.wants = Wants::All;
                exactly("+OK\r\n")
            }
            _ => {
                client.ask(&["MULTI"]);
                client.is_owed(exactly("+OK\r\n"));
                client.ask(&["GET", &keys[0]]);
                client.is_owed(exactly("+QUEUED\r\n"));
                client.ask(&["EXEC"]);
                Owed::Unless(array(&[bulk(&keys[0])]))
            }
        };
        if !client.is_owed(owed) {
            self.muted += 1;
        }
    }

    fn step(&mut self, disturbs: bool) {
        self.now += 100;
        self.engine.begin_round(Time::from_micros(self.now), self.now);
        if disturbs {
            self.ask();
            let broken = self.pick(60);
            if let Some(&wire) = self.wires.keys().nth(broken) {
                self.wires.remove(&wire);
                self.engine.handle_upstream_failed(wire, &Failure::Closed);
            }
        }
        for number in 0..self.clients.len() {
            let count = self.pick(self.clients[number].to_proxy.len() + 1);
            let client = &mut self.clients[number];
            if count > 0 && self.engine.wants_bytes(client.key) {
                let bytes: Vec<u8> = client.to_proxy.drain(..count).collect();
                self.engine.handle_session_bytes(client.key, &bytes);
            }
        }
        for key in self.wires.keys().copied().collect::<Vec<_>>() {
            let serves = self.pick(2) == 0;
            let wire = self.wires.get_mut(&key).unwrap();
            if serves {
                wire.serve();
            }
            let ready = wire.to_proxy.len();
            let count = self.pick(ready + 1);
            let bytes: Vec<u8> = self.wires.get_mut(&key).unwrap().to_proxy.drain(..count).collect();
            self.engine.handle_upstream_bytes(key, &bytes);
        }
        self.engine.handle_timeout();
        self.flush();
        self.clients.iter_mut().for_each(Client::read);
    }

    fn flush(&mut self) {
        loop {
            self.engine.settle();
            while let Some(upstream) = self.engine.poll_upstream() {
                let output = self.engine.upstream_output(upstream).to_vec();
                if let Some(wire) = self.wires.get_mut(&upstream) {
                    wire.to_server.extend_from_slice(&output);
                }
                self.engine.handle_upstream_sent(upstream, output.len());
            }
            while let Some(key) = self.engine.poll_session() {
                let output = self.engine.session_output(key).to_vec();
                let client = self.clients.iter_mut().find(|client| client.key == key).unwrap();
                client.heard.extend_from_slice(&output);
                self.engine.handle_session_sent(key, output.len());
            }
            while let Some(action) = self.engine.poll_action() {
                match action {
                    Action::Connect(upstream) => {
                        self.wires.insert(upstream, Wire::default());
                        self.engine.handle_upstream_connected(upstream);
                    }
                    Action::Disconnect(upstream) => drop(self.wires.remove(&upstream)),
                    Action::End(_) => panic!("nobody is cut"),
                    _ => {}
                }
            }
            if !self.engine.has_work() {
                return;
            }
        }
    }

    /// Lets everything come that is on its way, and nothing else may.
    fn settle(&mut self) {
        for _ in 0..20_000 {
            self.step(false);
            let moves =
                self.wires.values().any(|wire| !wire.to_server.is_empty() || !wire.to_proxy.is_empty());
            let is_owed = |client: &Client| !client.owed.is_empty() || !client.to_proxy.is_empty();
            if !moves && !self.clients.iter().any(is_owed) && self.engine.outstanding() == (0, 0) {
                assert!(self.clients.iter().all(|client| client.heard.is_empty()), "more than was wanted");
                return;
            }
        }
        let owed: Vec<_> = self.clients.iter().map(|client| &client.owed).collect();
        panic!("not all replies come: {owed:?}, {:?} outstanding", self.engine.outstanding());
    }
}

impl Client {
    fn read(&mut self) {
        while let Some(frame) = take_reply(&mut self.heard) {
            let owed = self.owed.pop_front();
            let is_right = match &owed {
                Some(Owed::Exactly(wanted)) => frame == *wanted,
                Some(Owed::Unless(wanted)) => frame == *wanted || frame.starts_with(b"-ERR shard s"),
                None => false,
            };
            assert!(is_right, "{:?} where {owed:?} is wanted", String::from_utf8_lossy(&frame));
        }
    }
}

impl Wire {
    fn serve(&mut self) {
        while let Some(words) = take_request(&mut self.to_server) {
            let words: Vec<&str> = words.iter().map(|word| std::str::from_utf8(word).unwrap()).collect();
            let reply = match words[..] {
                ["MULTI"] => {
                    self.queued = Some(Vec::new());
                    b"+OK\r\n".to_vec()
                }
                ["EXEC"] => array(&self.queued.take().expect("a transaction")),
                ["GET", key] => bulk(key),
                ["mget" | "MGET", ref keys @ ..] => {
                    array(&keys.iter().map(|key| bulk(key)).collect::<Vec<_>>())
                }
                ["SET", _, _] => b"+OK\r\n".to_vec(),
                ref other => panic!("the proxy sent what nobody asked for: {other:?}"),
            };
            match &mut self.queued {
                Some(queued) if words[0] != "MULTI" => {
                    queued.push(reply);
                    self.to_proxy.extend(b"+QUEUED\r\n");
                }
                _ => self.to_proxy.extend(reply),
            }
        }
    }
}

#[test]
fn each_client_is_given_the_replies_that_it_wants_and_no_other_byte() {
    let (mut asked, mut muted) = (0, 0);
    for seed in seeds(200) {
        let mut world = World::new(seed);
        for _ in 0..4 {
            for _ in 0..80 {
                world.step(true);
            }
            world.settle();
        }
        for client in &mut world.clients {
            client.ask(&["CLIENT", "REPLY", "ON"]);
            client.ask(&["PING"]);
            client.wants = Wants::All;
            client.owed.push_back(Owed::Exactly(b"+OK\r\n".to_vec()));
            client.owed.push_back(Owed::Exactly(b"+PONG\r\n".to_vec()));
        }
        world.settle();
        (asked, muted) = (asked + world.asked, muted + world.muted);
    }
    assert!(muted * 10 > asked, "{muted} of {asked} were not wanted");
}
