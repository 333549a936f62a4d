//! What a worker does while a shard is out, and when it returns.

use super::cases::request;
use super::*;
use crate::moved_keys::MOVED_KEYS_MAX;
use crate::returning::gate::Gate;
use shoal_topology::{Route, Router};

const OUT: usize = 1;

struct Bench {
    engine: Engine,
    health: Arc<Health>,
    session: Key,
    /// Keys whose home is the shard that is out.
    moved: Vec<Vec<u8>>,
    /// One whose home is not.
    stays: Vec<u8>,
}

/// A worker of `workers` whose shard [`OUT`] is out.
fn bench(workers: u64) -> Bench {
    let keys = EjectedKeys::Move { empty_on_return: true };
    let ejection = Some(Ejection { failure_limit: 1, retry_after: Duration::from_secs(1), keys });
    let mut settings = PoolSettings {
        ejection,
        server_connections: 1,
        gather: false,
        timeout: None,
        ..settings(Dialect::Shoal)
    };
    settings.pool.hash = "md5".parse().unwrap(); // which spreads few and similar keys
    let health = Arc::new(Health::new(SHARDS, ejection));
    let router = Router::new(&settings.pool, &[true; SHARDS]).unwrap();
    let is_moved = |key: &Vec<u8>| router.route(key, &mut Random::seeded(1)) == Route::Shard(OUT);
    let all = (0..200).map(|number| format!("some key {number}").into_bytes());
    let (moved, others): (Vec<_>, Vec<_>) = all.partition(is_moved);
    let mut engine =
        Engine::new(Parts { pools: pools(settings, health.clone()), seed: 1, first_id: 1, id_step: workers })
            .unwrap();
    engine.begin_round(Time::from_micros(1), 1);
    health.failed(OUT, 1, crate::health::Now { monotonic: 1, unix: 1 });
    engine.begin_round(Time::from_micros(2), 1);
    let session = engine.open_session(0, "model".into());
    Bench { engine, health, session, moved, stays: others[0].clone() }
}

impl Bench {
    fn set(&mut self, key: &[u8]) {
        let mut request = Vec::new();
        encode::command(&mut request, &[b"SET", key, b"1"]);
        self.engine.handle_session_bytes(self.session, &request);
    }

    /// Connects what wants to be, and the upstreams that have something to send.
    fn send(&mut self) -> Vec<Key> {
        self.engine.settle();
        while let Some(action) = self.engine.poll_action() {
            if let Action::Connect(key) = action {
                self.engine.handle_upstream_connected(key);
            }
        }
        let mut sent = Vec::new();
        while let Some(key) = self.engine.poll_upstream() {
            let length = self.engine.upstream_output(key).len();
            self.engine.handle_upstream_sent(key, length);
            sent.push(key);
        }
        sent
    }
}

#[test]
fn what_is_written_elsewhere_is_told_when_what_was_sent_before_is_answered() {
    let mut bench = bench(1);
    let (first, second) = (bench.moved[0].clone(), bench.moved[1].clone());
    bench.set(&first);
    let upstream = bench.send()[0];
    let gate = Arc::new(Gate::default());
    assert!(bench.engine.raise_gate(&bench.health, gate.clone(), None));
    bench.set(&second);
    bench.send();
    assert!(bench.engine.poll_gate().is_none(), "the first write is on its way");
    bench.engine.handle_upstream_bytes(upstream, b"+OK\r\n");
    let (answered, moved) = bench.engine.poll_gate().expect("all is answered that was sent before");
    assert!(Arc::ptr_eq(&answered, &gate));
    // The second may land after an UNLINK that follows this answer.
    let told: Vec<(&[u8], usize)> = moved.iter().map(|(key, shards)| (key, shards.len())).collect();
    assert_eq!(told, [(&first[..], 2)]);
}

#[test]
fn a_closed_gate_holds_what_changes_its_place_and_nothing_else() {
    let mut bench = bench(1);
    let gate = Arc::new(Gate::default());
    assert!(bench.engine.raise_gate(&bench.health, gate.clone(), Some(OUT)));
    let (moved, stays) = (bench.moved[0].clone(), bench.stays.clone());
    bench.set(&stays);
    assert_eq!(bench.send().len(), 1);
    bench.set(&moved);
    assert!(bench.send().is_empty() && !bench.engine.wants_bytes(bench.session));
    assert!(gate.break_off());
    bench.engine.open_gates();
    assert_eq!(bench.send().len(), 1, "it goes where it would have gone");
    assert!(bench.engine.wants_bytes(bench.session));
}

#[test]
fn a_worker_breaks_a_gate_off_that_stays_closed_for_too_long_unless_it_is_committed() {
    for committed in [false, true] {
        let mut bench = bench(1);
        let gate = Arc::new(Gate::default());
        bench.engine.raise_gate(&bench.health, gate.clone(), Some(OUT));
        let moved = bench.moved[0].clone();
        bench.set(&moved);
        assert!(!committed || gate.commit());
        bench.engine.handle_timeout();
        let until = bench.engine.poll_timeout();
        bench.engine.begin_round(Time::from_micros(2_000_000), 1);
        assert!(until < Time::from_micros(2_000_000));
        bench.engine.handle_timeout();
        assert_eq!((gate.is_broken(), bench.send().is_empty()), (!committed, committed));
        if committed {
            bench.health.readmit(OUT);
            bench.engine.begin_round(Time::from_micros(2_000_001), 1);
            assert_eq!(bench.send().len(), 1, "it goes home");
        }
    }
}

#[test]
fn when_no_further_key_can_be_remembered_its_writes_fail_by_name() {
    // So many workers that the share of each is a handful of keys.
    let mut bench = bench(MOVED_KEYS_MAX as u64 / 256);
    for key in bench.moved.clone() {
        bench.set(&key);
    }
    assert!(bench.engine.moved_count() < 5 && bench.moved.len() > 5);
    let (first, session) = (bench.moved[0].clone(), bench.engine.open_session(0, "model".into()));
    bench.session = session;
    let last = bench.moved[bench.moved.len() - 1].clone();
    bench.set(&last);
    let said = drained(&mut bench.engine, session);
    assert!(said.starts_with("-ERR shard s1 of pool alpha is ejected, and so many of its keys"), "{said}");
    bench.set(&first);
    assert_eq!(drained(&mut bench.engine, session), "", "what is remembered may be written on");
}

#[test]
fn a_closed_gate_holds_exec_with_a_watch_and_without() {
    for watches in [true, false] {
        let mut bench = bench(1);
        let stays = bench.stays.clone();
        if watches {
            bench.engine.handle_session_bytes(bench.session, &request(&[b"WATCH", &stays]));
            let upstream = bench.send()[0];
            bench.engine.handle_upstream_bytes(upstream, b"+OK\r\n");
            assert_eq!(drained(&mut bench.engine, bench.session), "+OK\r\n");
        }
        bench.engine.handle_session_bytes(bench.session, &request(&[b"MULTI"]));
        bench.set(&stays);
        let gate = Arc::new(Gate::default());
        assert!(bench.engine.raise_gate(&bench.health, gate.clone(), Some(OUT)));
        bench.engine.handle_session_bytes(bench.session, &request(&[b"EXEC"]));
        assert!(
            bench.send().is_empty(),
            "what it writes may have been read over already; watches: {watches}"
        );
        assert!(gate.break_off());
        bench.engine.open_gates();
        assert_eq!(bench.send().len(), 1);
    }
}
