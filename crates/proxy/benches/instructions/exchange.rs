//! A worker's engine between clients that ask and four servers that answer.
//!
//! The first round is watched: which upstream was sent how many requests. The later ones are the same, so the servers'
//! answers are made once and nothing but the engine runs between two counted functions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shoal_proxy::arena::Key;
use shoal_proxy::config::from_proxy_yml;
use shoal_proxy::engine::{Action, Engine, Parts, Pools};
use shoal_proxy::health::Health;
use shoal_proxy::stats::WorkerStats;
use shoal_proxy::time::Time;
use shoal_resp::{Parsed, RequestLimits, Span, encode, parse_request};

pub const CASES: [&str; 8] =
    ["get64", "set64", "get64-p16", "set64-p16", "mget10", "mset10", "get16k", "set16k"];

/// Bytes that a worker reads from a socket at once.
const READ_SIZE: usize = 64 * 1024;

/// What passes between two rounds. Small, so that the engine's clock of a second does not tick in a run.
const ROUND: Duration = Duration::from_micros(1);

/// A pool as `docs/guide` has it for a cache, over four shards whose names put keys on all of them.
const PROXY_YML: &str = "
pools:
  - name: alpha
    mode: cache
    listen: 127.0.0.1:22121
    timeout: 400
    servers:
      - {name: shard0, address: 127.0.0.1:7000}
      - {name: shard1, address: 127.0.0.1:7001}
      - {name: shard2, address: 127.0.0.1:7002}
      - {name: shard3, address: 127.0.0.1:7003}
";

/// What the clients do.
struct Load {
    sessions: usize,
    pipeline: usize,
    keys: usize,
    value_bytes: usize,
    writes: bool,
}

/// Runs a case; how many requests its clients asked, the first round aside.
pub fn run(case: &str, rounds: usize) -> Option<usize> {
    let load = match case {
        "get64" => Load { sessions: 50, pipeline: 1, keys: 1, value_bytes: 64, writes: false },
        "set64" => Load { sessions: 50, pipeline: 1, keys: 1, value_bytes: 64, writes: true },
        "get64-p16" => Load { sessions: 10, pipeline: 16, keys: 1, value_bytes: 64, writes: false },
        "set64-p16" => Load { sessions: 10, pipeline: 16, keys: 1, value_bytes: 64, writes: true },
        "mget10" => Load { sessions: 20, pipeline: 1, keys: 10, value_bytes: 64, writes: false },
        "mset10" => Load { sessions: 20, pipeline: 1, keys: 10, value_bytes: 64, writes: true },
        "get16k" => Load { sessions: 20, pipeline: 1, keys: 1, value_bytes: 16 * 1024, writes: false },
        "set16k" => Load { sessions: 20, pipeline: 1, keys: 1, value_bytes: 16 * 1024, writes: true },
        _ => return None,
    };
    let mut world = World::new(&load);
    world.learn(&load);
    for _ in 0..rounds {
        world.round();
    }
    Some(rounds * load.sessions * load.pipeline)
}

struct World {
    engine: Engine,
    now: Time,
    /// What each client says in a round.
    said: Vec<(Key, Vec<u8>)>,
    /// What each upstream was sent in the first round, in bytes, and what its server says to that.
    answers: BTreeMap<Key, (usize, Vec<u8>)>,
    /// Bytes that the clients hear in a round.
    heard: usize,
    sent: Vec<(Key, usize)>,
}

impl World {
    fn new(load: &Load) -> World {
        let settings =
            from_proxy_yml(Path::new("proxy.yml"), PROXY_YML, 1).expect("a configuration").settings;
        let settings: Vec<_> = settings.pools.into_iter().map(Arc::new).collect();
        let health = Arc::new(Health::new(settings[0].pool.shards.len(), settings[0].ejection));
        let stats = Arc::new(WorkerStats::new(&settings));
        let pools = Pools { settings, health: vec![health], stats };
        let mut engine = Engine::new(Parts { pools, seed: 7, first_id: 1, id_step: 1 }).expect("a pool");
        let said = (0..load.sessions)
            .map(|number| (engine.open_session(0, "127.0.0.1:1".into()), load.requests(number)))
            .collect();
        World { engine, now: Time::default(), said, answers: BTreeMap::new(), heard: 0, sent: Vec::new() }
    }

    /// The first round: connects, and notes what goes where.
    fn learn(&mut self, load: &Load) {
        requests_to_upstreams(&mut self.engine, self.now, &self.said, &mut self.sent);
        assert!(self.sent.is_empty(), "sent before anything was connected");
        while let Some(action) = self.engine.poll_action() {
            let Action::Connect(upstream) = action else { panic!("{action:?} before a reply") };
            self.engine.handle_upstream_connected(upstream);
        }
        while let Some(upstream) = self.engine.poll_upstream() {
            let output = self.engine.upstream_output(upstream).to_vec();
            let (length, answer) = self.answers.entry(upstream).or_default();
            *length += output.len();
            load.answer(&output, answer);
            self.engine.handle_upstream_sent(upstream, output.len());
        }
        assert_eq!(self.answers.len(), 4, "the keys of this case are not on all shards");
        self.heard = replies_to_sessions(&mut self.engine, &self.answers);
        // Every client has its replies: so many requests, each answered in its form.
        let reply = match (load.writes, load.keys) {
            (true, _) => "+OK\r\n".len(),
            (false, keys) => {
                let value = load.value_bytes + format!("${}\r\n\r\n", load.value_bytes).len();
                keys * value + if keys > 1 { format!("*{keys}\r\n").len() } else { 0 }
            }
        };
        assert_eq!(self.heard, reply * load.sessions * load.pipeline);
    }

    fn round(&mut self) {
        self.now = self.now + ROUND;
        self.sent.clear();
        requests_to_upstreams(&mut self.engine, self.now, &self.said, &mut self.sent);
        for (upstream, (length, _)) in &self.answers {
            let sent: usize = self.sent.iter().filter(|(to, _)| to == upstream).map(|(_, sent)| sent).sum();
            assert_eq!(sent, *length, "a round is not as the first was");
        }
        assert_eq!(replies_to_sessions(&mut self.engine, &self.answers), self.heard);
        assert_eq!(self.engine.outstanding(), (0, 0));
    }
}

/// Counted: what the clients say becomes what the servers are sent.
#[inline(never)]
fn requests_to_upstreams(
    engine: &mut Engine,
    now: Time,
    said: &[(Key, Vec<u8>)],
    sent: &mut Vec<(Key, usize)>,
) {
    engine.begin_round(now, 0);
    for (session, bytes) in said {
        engine.handle_session_bytes(*session, bytes);
    }
    engine.handle_timeout();
    engine.settle();
    while let Some(upstream) = engine.poll_upstream() {
        let count = engine.upstream_output(upstream).len();
        sent.push((upstream, count));
        engine.handle_upstream_sent(upstream, count);
    }
}

/// Counted: what the servers say becomes what the clients hear; how many bytes that are.
#[inline(never)]
fn replies_to_sessions(engine: &mut Engine, answers: &BTreeMap<Key, (usize, Vec<u8>)>) -> usize {
    let mut heard = 0;
    for (upstream, (_, answer)) in answers {
        for piece in answer.chunks(READ_SIZE) {
            engine.handle_upstream_bytes(*upstream, piece);
            engine.settle();
            while let Some(session) = engine.poll_session() {
                let count = engine.session_output(session).len();
                heard += count;
                engine.handle_session_sent(session, count);
            }
        }
    }
    heard
}

impl Load {
    /// What client `number` says in a round. Keys look like those of `make bench`.
    fn requests(&self, number: usize) -> Vec<u8> {
        let value = "x".repeat(self.value_bytes);
        let mut out = Vec::new();
        for request in 0..self.pipeline {
            let mut words = vec![match (self.writes, self.keys) {
                (false, 1) => "GET".to_owned(),
                (false, _) => "MGET".to_owned(),
                (true, 1) => "SET".to_owned(),
                (true, _) => "MSET".to_owned(),
            }];
            for key in 0..self.keys {
                let which = (number * self.pipeline + request) * self.keys + key;
                words.push(format!("bench:64:{:012}", which * 7919));
                if self.writes {
                    words.push(value.clone());
                }
            }
            let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
            encode::command(&mut out, &words);
        }
        out
    }

    /// What a server answers to these requests.
    fn answer(&self, mut asked: &[u8], out: &mut Vec<u8>) {
        let value = vec![b'x'; self.value_bytes];
        let mut args: Vec<Span> = Vec::new();
        while !asked.is_empty() {
            let Ok(Parsed::Request { len, inline: false }) =
                parse_request(asked, &RequestLimits::default(), &mut args)
            else {
                panic!("half a request was sent");
            };
            match args[0].of(asked) {
                b"GET" => encode::bulk(out, &value),
                b"MGET" | b"mget" => {
                    encode::array_len(out, args.len() - 1);
                    (1..args.len()).for_each(|_| encode::bulk(out, &value));
                }
                _ => encode::simple(out, "OK"),
            }
            asked = &asked[len..];
        }
    }
}
