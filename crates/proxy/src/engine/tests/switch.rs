//! The primary of a shard changes under workers with requests on their way.

use super::cases::{one_lane, request};
use super::*;
use crate::following::shard::{Followed, Primary, Sentinels};

const OLD: &str = "10.0.0.1:1";
const NEW: &str = "10.0.0.2:2";

/// A pool of one shard that follows Sentinel, with this primary.
fn led(primary: Primary, at: &str) -> Arc<PoolSettings> {
    let mut settings = one_lane(Dialect::Shoal);
    settings.timeout = None;
    settings.pool.shards.truncate(1);
    let endpoints = vec!["10.0.0.9:26379".parse().unwrap()];
    let sentinels = Sentinels { endpoints, watched_as: "m".into(), user: None, password: None };
    settings.followed = vec![Some(Followed::new(sentinels))];
    Arc::new(settings.with_primary(0, primary, at.parse().ok().as_ref()))
}

fn engine_of(settings: &Arc<PoolSettings>) -> Engine {
    let settings = vec![settings.clone()];
    let stats = Arc::new(WorkerStats::new(&settings));
    let pools = Pools { settings, health: vec![Arc::new(Health::new(1, None))], stats };
    let mut engine = Engine::new(Parts { pools, seed: 1, first_id: 1, id_step: 1 }).unwrap();
    engine.begin_round(Time::from_micros(1_000_000), 1);
    engine
}

fn actions(engine: &mut Engine) -> Vec<Action> {
    std::iter::from_fn(|| engine.poll_action()).collect()
}

fn open(engine: &mut Engine, key: Key) {
    assert!(actions(engine).contains(&Action::Connect(key)));
    engine.handle_upstream_connected(key);
}

fn send(engine: &mut Engine, count: usize) -> (Key, Vec<u8>) {
    let key = engine.poll_upstream().expect("something to send");
    let output = engine.upstream_output(key);
    let bytes = output[..count.min(output.len())].to_vec();
    engine.handle_upstream_sent(key, bytes.len());
    (key, bytes)
}

fn first_connect(engine: &mut Engine) -> Key {
    let connect = actions(engine).into_iter().find_map(|action| match action {
        Action::Connect(key) => Some(key),
        _ => None,
    });
    connect.expect("a connection is asked for")
}

#[test]
fn what_was_sent_fails_with_its_fate_and_what_was_not_goes_to_the_new_primary_once() {
    let mut engine = engine_of(&led(Primary::Known, OLD));
    let sessions: Vec<Key> = (0..3).map(|_| engine.open_session(0, "model".into())).collect();
    let requests: Vec<Vec<u8>> =
        (0..3).map(|number| request(&[b"GET", format!("k{number}").as_bytes()])).collect();
    engine.handle_session_bytes(sessions[0], &requests[0]);
    let key = first_connect(&mut engine);
    engine.handle_upstream_connected(key);
    send(&mut engine, usize::MAX);
    // Half of the second is sent, nothing of the third.
    engine.handle_session_bytes(sessions[1], &requests[1]);
    engine.handle_session_bytes(sessions[2], &requests[2]);
    send(&mut engine, requests[1].len() / 2);
    engine.switch(&led(Primary::Switching, NEW), 0);
    let said: Vec<String> = {
        let mut said = vec![String::new(); 3];
        while let Some(touched) = engine.poll_session() {
            let output = engine.session_output(touched).to_vec();
            engine.handle_session_sent(touched, output.len());
            let place = sessions.iter().position(|session| *session == touched).unwrap();
            said[place] = String::from_utf8(output).unwrap();
        }
        said
    };
    let why = "-ERR shard s0 of pool alpha has another primary now, and the old one had not answered; ";
    assert_eq!(said[0], format!("{why}whether the request was executed is not known\r\n"));
    assert_eq!(said[1], format!("{why}the request was not executed\r\n"));
    assert_eq!(said[2], "");
    assert_eq!(actions(&mut engine), [Action::Disconnect(key), Action::Connect(key)]);
    assert_eq!(engine.upstream_endpoint(key), None, "there is nowhere to connect to yet");
    let late = engine.open_session(0, "model".into());
    engine.handle_session_bytes(late, &requests[0]);
    assert_eq!(engine.poll_upstream(), None);
    engine.switch(&led(Primary::Known, NEW), 0);
    open(&mut engine, key);
    assert_eq!(engine.upstream_endpoint(key), NEW.parse().ok().as_ref());
    assert_eq!(send(&mut engine, usize::MAX), (key, [requests[2].clone(), requests[0].clone()].concat()));
    engine.handle_upstream_bytes(key, b"$1\r\nc\r\n$1\r\na\r\n");
    assert_eq!(drained(&mut engine, sessions[2]), "$1\r\nc\r\n");
}

#[test]
fn a_transaction_goes_whole_or_not_at_all() {
    for sent_bytes in [0, 5, usize::MAX] {
        let mut engine = engine_of(&led(Primary::Known, OLD));
        let session = engine.open_session(0, "model".into());
        engine.handle_session_bytes(session, &request(&[b"GET", b"k"]));
        let key = first_connect(&mut engine);
        engine.handle_upstream_connected(key);
        send(&mut engine, usize::MAX);
        engine.handle_upstream_bytes(key, b"$-1\r\n");
        for words in [&[&b"MULTI"[..]][..], &[b"SET", b"k", b"v"], &[b"EXEC"]] {
            engine.handle_session_bytes(session, &request(words));
        }
        if sent_bytes > 0 {
            send(&mut engine, sent_bytes);
        }
        engine.switch(&led(Primary::Switching, NEW), 0);
        let said = drained(&mut engine, session);
        engine.switch(&led(Primary::Known, NEW), 0);
        match sent_bytes {
            0 => {
                open(&mut engine, key);
                let (_, bytes) = send(&mut engine, usize::MAX);
                assert!(bytes.starts_with(b"*1\r\n$5\r\nMULTI") && bytes.ends_with(b"EXEC\r\n"));
                engine.handle_upstream_bytes(key, b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
                assert!(drained(&mut engine, session).ends_with("*1\r\n+OK\r\n"));
            }
            5 => assert!(said.ends_with("; the transaction was not executed\r\n"), "{said}"),
            _ => assert!(said.ends_with("; whether the transaction was executed is not known\r\n"), "{said}"),
        }
        assert_eq!(engine.outstanding(), (0, 0));
    }
}

#[test]
fn without_a_primary_requests_fail_by_name_and_nothing_is_connected_to() {
    let mut engine = engine_of(&led(Primary::Unknown, OLD));
    let session = engine.open_session(0, "model".into());
    for words in [&[&b"GET"[..], b"k"][..], &[b"BLPOP", b"k", b"0"], &[b"WATCH", b"k"], &[b"SUBSCRIBE", b"c"]]
    {
        engine.handle_session_bytes(session, &request(words));
        let said = drained(&mut engine, session);
        assert!(
            said.starts_with("-ERR shard s0 of pool alpha has no primary at the moment"),
            "{words:?}: {said}"
        );
    }
    assert_eq!(actions(&mut engine), []);
    engine.switch(&led(Primary::Known, NEW), 0);
    engine.handle_session_bytes(session, &request(&[b"GET", b"k"]));
    let key = first_connect(&mut engine);
    assert_eq!(engine.upstream_endpoint(key), NEW.parse().ok().as_ref());
    // What waits on a connection that is being made fails when there is no primary any more.
    engine.switch(&led(Primary::Switching, NEW), 0);
    engine.switch(&led(Primary::Unknown, NEW), 0);
    assert!(drained(&mut engine, session).ends_with("; the request was not executed\r\n"));
    assert_eq!(engine.outstanding(), (0, 0));
}

#[test]
fn who_waits_for_a_primary_is_told_when_a_reload_takes_the_shard_away() {
    let mut engine = engine_of(&led(Primary::Known, OLD));
    let session = engine.open_session(0, "model".into());
    engine.switch(&led(Primary::Switching, NEW), 0);
    engine.handle_session_bytes(session, &request(&[b"GET", b"k"]));
    assert_eq!((drained(&mut engine, session).as_str(), engine.outstanding().0), ("", 1));
    let other = PoolSettings { followed: Vec::new(), ..one_lane(Dialect::Shoal) };
    engine.reconfigure(pools(other, Arc::new(Health::new(SHARDS, None)))).unwrap();
    assert!(drained(&mut engine, session).ends_with("; the request was not executed\r\n"));
    assert_eq!(engine.outstanding(), (0, 0));
}

#[test]
fn what_sessions_hold_on_the_old_primary_is_closed_and_they_are_told() {
    let mut engine = engine_of(&led(Primary::Known, OLD));
    let [blocked, watching, subscribed] = [0; 3].map(|_| engine.open_session(0, "model".into()));
    engine.handle_session_bytes(blocked, &request(&[b"BLPOP", b"k", b"0"]));
    engine.handle_session_bytes(watching, &request(&[b"WATCH", b"k"]));
    engine.handle_session_bytes(subscribed, &request(&[b"SUBSCRIBE", b"c"]));
    for action in actions(&mut engine) {
        if let Action::Connect(key) = action {
            engine.handle_upstream_connected(key);
        }
    }
    while engine.poll_upstream().is_some_and(|key| {
        let count = engine.upstream_output(key).len();
        engine.handle_upstream_sent(key, count);
        true
    }) {}
    engine.switch(&led(Primary::Switching, NEW), 0);
    let closed = actions(&mut engine).iter().filter(|action| matches!(action, Action::Disconnect(_))).count();
    assert_eq!(closed, 3);
    assert!(drained(&mut engine, blocked).contains("whether the request was executed is not known"));
    engine.switch(&led(Primary::Known, NEW), 0);
    assert_eq!(engine.outstanding(), (0, 0));
}

#[test]
fn a_server_that_was_made_a_replica_is_doubted_once_in_a_while() {
    let mut engine = engine_of(&led(Primary::Known, OLD));
    let session = engine.open_session(0, "model".into());
    (0..3).for_each(|_| engine.handle_session_bytes(session, &request(&[b"SET", b"k", b"v"])));
    let key = first_connect(&mut engine);
    engine.handle_upstream_connected(key);
    send(&mut engine, usize::MAX);
    let refusal = "-READONLY You can't write against a read only replica.\r\n";
    engine.handle_upstream_bytes(key, refusal.repeat(3).as_bytes());
    let doubt = Action::Doubt(Box::new(("alpha".to_owned(), "s0".to_owned())));
    assert_eq!(actions(&mut engine).iter().filter(|action| **action == doubt).count(), 1);
    assert_eq!(drained(&mut engine, session), refusal.repeat(3));
}

/// One connection of a worker, as the instance behind it sees it.
struct Connection {
    to: String,
    received: Vec<u8>,
    /// Numbers of requests that were executed and whose replies were not handed in yet.
    replies: VecDeque<u64>,
}

struct Worker {
    engine: Engine,
    sessions: Vec<Key>,
    /// What each session waits for.
    expected: Vec<VecDeque<u64>>,
    received: Vec<Vec<u8>>,
    connections: BTreeMap<Key, Connection>,
}

struct World {
    random: Random,
    now: u64,
    workers: Vec<Worker>,
    /// How often each request was executed, and where.
    executed: BTreeMap<u64, Vec<String>>,
    unexecuted: Vec<u64>,
    answered: usize,
    unknown: usize,
    asked: u64,
}

const WORKERS: usize = 2;

impl World {
    fn new(seed: u32) -> World {
        let settings = led(Primary::Known, OLD);
        let worker = |_| {
            let mut engine = engine_of(&settings);
            let sessions: Vec<Key> = (0..3).map(|_| engine.open_session(0, "model".into())).collect();
            let (expected, received) = (vec![VecDeque::new(); 3], vec![Vec::new(); 3]);
            Worker { engine, sessions, expected, received, connections: BTreeMap::new() }
        };
        World {
            random: Random::seeded(seed),
            now: 1_000_000,
            workers: (0..WORKERS).map(worker).collect(),
            executed: BTreeMap::new(),
            unexecuted: Vec::new(),
            answered: 0,
            unknown: 0,
            asked: 0,
        }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.random.next() as usize % below
    }

    fn ask(&mut self) {
        let (worker, session) = (self.pick(WORKERS), self.pick(3));
        self.asked += 1;
        let worker = &mut self.workers[worker];
        worker.expected[session].push_back(self.asked);
        let bytes = request(&[b"SET", format!("k{}", self.asked).as_bytes(), b"value"]);
        worker.engine.handle_session_bytes(worker.sessions[session], &bytes);
    }

    fn step(&mut self, number: usize) {
        self.now += 500;
        let now = Time::from_micros(self.now);
        let half = self.pick(2) == 0;
        let quiet = self.pick(4) == 0;
        let some = 1 + self.pick(60);
        let Worker { engine, connections, .. } = &mut self.workers[number];
        engine.begin_round(now, self.now);
        engine.handle_timeout();
        engine.settle();
        for action in actions(engine) {
            match action {
                Action::Connect(key) => {
                    if let Some(endpoint) = engine.upstream_endpoint(key) {
                        let to = endpoint.to_string();
                        connections
                            .insert(key, Connection { to, received: Vec::new(), replies: VecDeque::new() });
                        engine.handle_upstream_connected(key);
                    }
                }
                // Closed, with all that it had not executed.
                Action::Disconnect(key) => drop(connections.remove(&key)),
                _ => {}
            }
        }
        while let Some(key) = engine.poll_upstream() {
            let output = engine.upstream_output(key);
            let count = if half { output.len().min(some) } else { output.len() };
            connections.get_mut(&key).expect("connected").received.extend_from_slice(&output[..count]);
            engine.handle_upstream_sent(key, count);
            if half {
                engine.handle_upstream_writable(key);
                break;
            }
        }
        for (&key, connection) in connections.iter_mut() {
            while let Some(words) = take_request(&mut connection.received) {
                let id = std::str::from_utf8(&words[1][1..]).unwrap().parse().unwrap();
                self.executed.entry(id).or_default().push(connection.to.clone());
                connection.replies.push_back(id);
            }
            if !quiet && let Some(id) = connection.replies.pop_front() {
                let mut reply = Vec::new();
                encode::bulk(&mut reply, format!("k{id}").as_bytes());
                engine.handle_upstream_bytes(key, &reply);
            }
        }
        self.read(number);
    }

    fn read(&mut self, number: usize) {
        let Worker { engine, sessions, expected, received, .. } = &mut self.workers[number];
        while let Some(touched) = engine.poll_session() {
            let output = engine.session_output(touched).to_vec();
            engine.handle_session_sent(touched, output.len());
            let session = sessions.iter().position(|own| *own == touched).unwrap();
            received[session].extend(output);
            while let Some(reply) = take_reply(&mut received[session]) {
                let reply = String::from_utf8(reply).unwrap();
                let id = expected[session].pop_front().expect("somebody asked");
                if reply.starts_with('$') {
                    assert_eq!(reply.split("\r\n").nth(1), Some(&*format!("k{id}")), "another's reply");
                    self.answered += 1;
                } else if reply.ends_with("whether the request was executed is not known\r\n") {
                    self.unknown += 1;
                } else {
                    assert!(reply.ends_with("the request was not executed\r\n"), "{reply}");
                    self.unexecuted.push(id);
                }
            }
        }
    }

    /// Whom worker `number` sends to.
    fn spoken_to(&self, number: usize) -> Vec<&str> {
        self.workers[number].connections.values().map(|connection| connection.to.as_str()).collect()
    }
}

#[test]
fn no_request_is_executed_twice_and_none_at_the_old_primary_once_all_have_stopped() {
    let (mut unknown, mut carried) = (0, 0);
    for seed in seeds(200) {
        let mut world = World::new(seed);
        let mut at = [OLD, NEW];
        for _ in 0..6 {
            for _ in 0..world.pick(60) + 5 {
                (0..world.pick(4)).for_each(|_| world.ask());
                let number = world.pick(WORKERS);
                world.step(number);
            }
            for number in 0..WORKERS {
                let stop = led(Primary::Switching, "");
                world.workers[number].engine.switch(&stop, 0);
                world.step(number);
                assert!(world.spoken_to(number).is_empty(), "seed {seed}: {:?}", world.spoken_to(number));
                (0..world.pick(4)).for_each(|_| world.ask());
            }
            let at_old = world.executed.values().flatten().filter(|to| *to == at[0]).count();
            for number in 0..WORKERS {
                world.workers[number].engine.switch(&led(Primary::Known, at[1]), 0);
                carried += world.workers[number].engine.outstanding().0;
                world.step(number);
            }
            for step in 0..40 {
                world.step(step % WORKERS);
            }
            let now = world.executed.values().flatten().filter(|to| *to == at[0]).count();
            assert_eq!(now, at_old, "seed {seed}: {} was written to after all had stopped", at[0]);
            at.swap(0, 1);
            // The next switch counts from here.
            world.executed.values_mut().for_each(|places| places.iter_mut().for_each(|to| to.insert(0, '-')));
        }
        for step in 0..4_000 {
            world.step(step % WORKERS);
        }
        for (id, places) in &world.executed {
            assert_eq!(places.len(), 1, "seed {seed}: request {id} was executed at {places:?}");
        }
        for id in &world.unexecuted {
            assert!(
                !world.executed.contains_key(id),
                "seed {seed}: {id} was executed, and was said not to be"
            );
        }
        assert_eq!(
            world.answered + world.unknown + world.unexecuted.len(),
            world.asked as usize,
            "seed {seed}: each is answered once"
        );
        unknown += world.unknown;
    }
    assert!(unknown > 0 && carried > 0, "{unknown} of unknown fate, {carried} carried over");
}
