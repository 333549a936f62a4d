//! A reload without a pool whose clients are at work: each has its replies, and then its end.

use super::cases::connect;
use super::transaction::{actions, say, sent_text, stranger, tagged};
use super::*;
use crate::snapshot::{SessionFilter, SessionOrder, SessionQuery};

/// These pools, in this order, counted from zero.
pub(super) fn several(settings: Vec<PoolSettings>) -> Pools {
    let settings: Vec<Arc<PoolSettings>> = settings.into_iter().map(Arc::new).collect();
    let stats = Arc::new(WorkerStats::new(&settings));
    let health = settings.iter().map(|it| Arc::new(Health::new(it.pool.shards.len(), it.ejection))).collect();
    Pools { settings, health, stats }
}

pub(super) fn named(name: &str, mut settings: PoolSettings) -> PoolSettings {
    settings.pool.name = name.into();
    settings
}

/// A worker with these pools, and a session of the pool at `own`.
pub(super) fn worker(settings: Vec<PoolSettings>, own: usize) -> (Engine, Key) {
    let pools = several(settings);
    let mut engine = Engine::new(Parts { pools, seed: 1, first_id: 1, id_step: 1 }).unwrap();
    engine.begin_round(Time::from_micros(1), 1);
    let key = engine.open_session(own, "model".into());
    (engine, key)
}

fn connect_all(engine: &mut Engine) -> Vec<Key> {
    let mut connected = Vec::new();
    while let Some(action) = engine.poll_action() {
        if let Action::Connect(upstream) = action {
            engine.handle_upstream_connected(upstream);
            connected.push(upstream);
        }
    }
    connected
}

/// What a client is sent whose `lines` are with servers when its pool goes, and each of its servers answers `reply`.
fn removed_while(settings: PoolSettings, lines: &[&str], reply: &[u8]) -> String {
    let beta = named("beta", PoolSettings { timeout: None, ..settings });
    let (mut engine, key) = worker(vec![tagged(), beta], 1);
    say(&mut engine, key, lines);
    let upstreams = connect_all(&mut engine);
    sent_text(&mut engine);
    let greeting: &[u8] = if lines.iter().any(|line| line.contains("TRACKING")) {
        b"%0\r\n+OK\r\n"
    } else if lines[0] == "HELLO 3" {
        b"%0\r\n"
    } else {
        b""
    };
    upstreams.iter().for_each(|&upstream| engine.handle_upstream_bytes(upstream, greeting));
    sent_text(&mut engine);
    engine.reconfigure(several(vec![tagged()])).unwrap();
    for upstream in upstreams {
        engine.handle_upstream_bytes(upstream, reply);
    }
    let said = drained(&mut engine, key);
    assert!(actions(&mut engine).contains(&Action::End(key)), "{lines:?}: {said}");
    assert_eq!((engine.session_count(), engine.outstanding()), (0, (0, 0)), "{lines:?}");
    assert!(!engine.pools[0].crowd.is_any(), "{lines:?}: nobody of the pool that stays was answered");
    said
}

#[test]
fn whatever_is_outstanding_is_answered_when_its_pool_goes() {
    let (mut engine, _) = engine(tagged());
    let far = stranger(&mut engine);
    let mget = format!("MGET {{a}}1 {far}");
    let durability = Durability::Replicated { replicas: 1, timeout: Duration::from_millis(20) };
    let replicated = || PoolSettings { durability, ..tagged() };
    let large = format!("SET {{a}}1 {}", "v".repeat(200_000));
    for (settings, lines, reply, said) in [
        (tagged(), &["GET {a}1"][..], &b"$1\r\nx\r\n"[..], "$1\r\nx\r\n"),
        (tagged(), &[&mget], b"*1\r\n$1\r\nx\r\n", "*2\r\n$1\r\nx\r\n$1\r\nx\r\n"),
        (replicated(), &["SET {a}1 x"], b"+OK\r\n:1\r\n", "+OK\r\n"),
        (
            tagged(),
            &["MULTI", "SET {a}1 x", "EXEC"],
            b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n",
            "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n",
        ),
        (tagged(), &[&large], b"+OK\r\n", "+OK\r\n"),
    ] {
        assert_eq!(removed_while(settings, lines, reply), said, "{}", &lines[0][..8.min(lines[0].len())]);
    }
    let said = removed_while(tagged(), &["SCAN 0"], b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nx\r\n");
    assert!(said.starts_with("*2\r\n$") && said.ends_with("\r\n*1\r\n$1\r\nx\r\n"), "{said}");
    let said = removed_while(tagged(), &["BLPOP {a}1 0"], b"");
    assert!(said.starts_with("-UNBLOCKED "), "{said}");
    let said = removed_while(tagged(), &["SUBSCRIBE {a}1"], b"");
    assert!(said.starts_with("-ERR a shard that subscriptions are on is gone"), "{said}");
    let tracked = ["HELLO 3", "CLIENT TRACKING ON", "GET {a}1"];
    let said = removed_while(tagged(), &tracked, b"$1\r\nx\r\n");
    assert!(said.contains("+OK\r\n$1\r\nx\r\n"), "{said}");
}

#[test]
fn a_session_of_a_pool_that_is_gone_is_nobody_else_s() {
    let beta = || named("beta", tagged());
    let (mut engine, key) = worker(vec![tagged(), beta()], 0);
    say(&mut engine, key, &["GET {a}1"]);
    let upstream = connect(&mut engine).unwrap();
    sent_text(&mut engine);
    engine.reconfigure(several(vec![beta()])).unwrap();
    let query =
        SessionQuery { filter: SessionFilter::default(), order: SessionOrder::Id, after: 0, limit: 9 };
    let rows = engine.list_sessions(&query).sessions;
    let pools: Vec<&str> = rows.iter().map(|(_, row)| row.pool.as_str()).collect();
    assert_eq!(pools, [""]);
    engine.handle_upstream_bytes(upstream, b"$-1\r\n");
    assert!(!engine.pools[0].crowd.is_any(), "it was never one of beta's");
    assert_eq!(drained(&mut engine, key), "$-1\r\n");
    assert_eq!(engine.session_count(), 0);
}
