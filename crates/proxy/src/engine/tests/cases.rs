//! Single cases: what was wrong once, and what a reload must keep.

use super::*;
use crate::access::{Access, PasswordHash};

pub(super) fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::command(&mut out, words);
    out
}

/// Lets every connection that is asked for stand; the last of them.
pub(super) fn connect(engine: &mut Engine) -> Option<Key> {
    let mut connected = None;
    while let Some(action) = engine.poll_action() {
        if let Action::Connect(upstream) = action {
            engine.handle_upstream_connected(upstream);
            connected = Some(upstream);
        }
    }
    connected
}

/// Everything that goes to servers now.
pub(super) fn sent(engine: &mut Engine) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(upstream) = engine.poll_upstream() {
        let output = engine.upstream_output(upstream).to_vec();
        engine.handle_upstream_sent(upstream, output.len());
        all.extend(output);
    }
    all
}

pub(super) fn one_lane(dialect: Dialect) -> PoolSettings {
    PoolSettings { server_connections: 1, gather: false, ..settings(dialect) }
}

#[test]
fn a_reply_that_has_begun_times_out_too() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    engine.begin_round(Time::from_micros(1_000), 1);
    for _ in 0..2 {
        engine.handle_session_bytes(key, &request(&[b"GET", b"a"]));
    }
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.begin_round(Time::from_micros(60_000), 1);
    engine.handle_upstream_bytes(upstream, b"$100\r\nabc");
    let mut now = 61_000;
    while now < 1_000_000 {
        now = engine.poll_timeout().as_micros().max(now + 1);
        engine.begin_round(Time::from_micros(now), 1);
        engine.handle_timeout();
    }
    assert_eq!(drained(&mut engine, key).matches("timed out").count(), 2);
}

#[test]
fn nothing_that_blocks_or_reads_other_shards_goes_out() {
    for (dialect, multi_key, words) in [
        (
            Dialect::Nutcracker,
            MultiKey::AsNutcracker,
            &[&b"XREAD"[..], b"BLOCK", b"0", b"STREAMS", b"s", b"$"][..],
        ),
        (
            Dialect::Nutcracker,
            MultiKey::Refuse,
            &[b"XREADGROUP", b"GROUP", b"streams", b"c", b"BLOCK", b"0", b"STREAMS", b"s", b">"],
        ),
        (Dialect::Nutcracker, MultiKey::Refuse, &[b"BLPOP", b"a", b"0"]),
        (Dialect::Nutcracker, MultiKey::Refuse, &[b"SUBSCRIBE", b"a"]),
        (Dialect::Shoal, MultiKey::Refuse, &[b"SORT_RO", b"l", b"BY", b"w_*"]),
        (Dialect::Shoal, MultiKey::Refuse, &[b"COPY", b"{a}1", b"{a}1", b"DB", b"3"]),
    ] {
        let (mut engine, key) = engine(PoolSettings { multi_key, ..one_lane(dialect) });
        engine.handle_session_bytes(key, &request(words));
        connect(&mut engine);
        assert_eq!(
            String::from_utf8_lossy(&sent(&mut engine)),
            "",
            "{:?}",
            String::from_utf8_lossy(words[0])
        );
        assert!(drained(&mut engine, key).starts_with('-'));
    }
}

#[test]
fn as_nutcracker_routes_by_keys_where_the_first_word_is_none() {
    let router = shoal_topology::Router::new(&settings(Dialect::Shoal).pool, &[true; SHARDS]).unwrap();
    for number in 0..20 {
        let name = format!("k{number}").into_bytes();
        let home = router.route(&name, &mut Random::seeded(1));
        for words in [vec![&b"LMPOP"[..], b"1", &name, b"LEFT"], vec![b"XREAD", b"STREAMS", &name, b"0"]] {
            let pool = PoolSettings { multi_key: MultiKey::AsNutcracker, ..one_lane(Dialect::Nutcracker) };
            let (mut engine, key) = engine(pool);
            engine.handle_session_bytes(key, &request(&words));
            let upstream = connect(&mut engine).unwrap();
            let at = engine.upstream_endpoint(upstream).unwrap().to_string();
            let shoal_topology::Route::Shard(shard) = home else { panic!() };
            assert_eq!(at, format!("127.0.0.1:{}", 7000 + shard));
        }
    }
}

#[test]
fn a_client_without_the_password_is_not_collected_from() {
    let access = Access::of_passwords(&[PasswordHash::of(b"secret")]);
    let (mut engine, key) = engine(PoolSettings { access, ..one_lane(Dialect::Shoal) });
    engine.handle_session_bytes(key, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\n");
    assert!(drained(&mut engine, key).contains("Protocol error"));
    assert!(!engine.wants_bytes(key));
}

#[test]
fn a_reload_answers_what_was_asked_under_the_old_pools_before_it_asks_under_the_new() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    engine.handle_session_bytes(key, &request(&[b"SET", b"a", b"1"]));
    let old = connect(&mut engine).unwrap();
    sent(&mut engine);
    let mut moved = one_lane(Dialect::Shoal);
    for (index, shard) in moved.pool.shards.iter_mut().enumerate() {
        shard.primary = format!("127.0.0.1:{}", 8000 + index).parse().unwrap();
    }
    let health = Arc::new(Health::new(SHARDS, None));
    engine.reconfigure(pools(moved, health)).unwrap();
    engine.handle_session_bytes(key, &request(&[b"GET", b"a"]));
    assert_eq!(connect(&mut engine), None, "the pipeline would overtake itself");
    engine.handle_upstream_bytes(old, b"+OK\r\n");
    assert_eq!(drained(&mut engine, key), "+OK\r\n");
    let mut disconnected = Vec::new();
    let mut new = None;
    while let Some(action) = engine.poll_action() {
        match action {
            Action::Disconnect(upstream) => disconnected.push(upstream),
            Action::Connect(upstream) => new = Some(upstream),
            Action::End(_)
            | Action::Part(_)
            | Action::Read(_)
            | Action::ReadUpstream(_)
            | Action::Doubt(_) => {}
        }
    }
    assert_eq!(disconnected, [old], "it owes nothing any more");
    let new = new.unwrap();
    assert!(engine.upstream_endpoint(new).unwrap().to_string().starts_with("127.0.0.1:80"));
}

#[test]
fn a_reload_of_the_same_pools_keeps_connections_and_counters() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    engine.handle_session_bytes(key, &request(&[b"GET", b"a"]));
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    let mut slower = one_lane(Dialect::Shoal);
    slower.timeout = Some(Duration::from_secs(9));
    engine.reconfigure(pools(slower, Arc::new(Health::new(SHARDS, None)))).unwrap();
    engine.handle_upstream_bytes(upstream, b"$-1\r\n");
    assert_eq!(drained(&mut engine, key), "$-1\r\n");
    engine.handle_session_bytes(key, &request(&[b"GET", b"a"]));
    assert_eq!(connect(&mut engine), None);
    assert_eq!(sent(&mut engine), request(&[b"GET", b"a"]));
}

#[test]
fn a_reload_without_a_pool_ends_its_sessions_when_they_have_their_replies() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    engine.handle_session_bytes(key, &request(&[b"GET", b"a"]));
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    let mut other = one_lane(Dialect::Shoal);
    other.pool.name = "beta".into();
    engine.reconfigure(pools(other, Arc::new(Health::new(SHARDS, None)))).unwrap();
    engine.handle_session_bytes(key, &request(&[b"GET", b"a"]));
    engine.handle_upstream_bytes(upstream, b"$-1\r\n");
    assert_eq!(drained(&mut engine, key), "$-1\r\n");
    assert_eq!((engine.session_count(), engine.outstanding()), (0, (0, 0)));
}

#[test]
fn a_reply_too_many_is_given_to_nobody() {
    let (mut engine, first) = engine(PoolSettings { gather: true, ..one_lane(Dialect::Shoal) });
    let second = engine.open_session(0, "model".into());
    engine.handle_session_bytes(first, &request(&[b"GET", b"a"]));
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_session_bytes(second, &request(&[b"GET", b"a"]));
    assert_eq!(sent(&mut engine), b"", "the second waits for the answer to the first");
    engine.handle_upstream_bytes(upstream, b"$1\r\n1\r\n$5\r\nwrong\r\n");
    let mut said = BTreeMap::new();
    while let Some(session) = engine.poll_session() {
        let output = engine.session_output(session).to_vec();
        engine.handle_session_sent(session, output.len());
        said.insert(session, String::from_utf8(output).unwrap());
    }
    assert_eq!(said[&first], "$1\r\n1\r\n");
    assert!(said[&second].contains("was not sent yet"), "{said:?}");
}

#[test]
fn info_tells_the_sections_that_are_asked_for() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    let mut ask = |words: &[&[u8]]| {
        engine.handle_session_bytes(key, &request(words));
        drained(&mut engine, key)
    };
    let all = ask(&[b"INFO"]);
    assert!(all.contains("# Server\r\nredis_version:") && all.contains("\r\n\r\n# Clients\r\n"), "{all}");
    assert_eq!(ask(&[b"INFO", b"everything"]), all);
    assert_eq!(ask(&[b"INFO", b"PERSISTENCE"]), "$26\r\n# Persistence\r\nloading:0\r\n\r\n");
    assert_eq!(ask(&[b"INFO", b"keyspace"]), "$0\r\n\r\n");
    let two = ask(&[b"INFO", b"replication", b"cluster"]);
    assert!(
        two.ends_with("# Replication\r\nrole:master\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n"),
        "{two}"
    );
}

#[test]
fn a_reload_without_a_pool_does_not_wait_for_the_rest_of_a_large_request() {
    for hears in [true, false] {
        let (mut engine, key) = engine(one_lane(Dialect::Shoal));
        engine.handle_session_bytes(key, &request(&[b"SET", b"a", &vec![b'v'; 1_000_000]])[..100_000]);
        connect(&mut engine).unwrap();
        sent(&mut engine);
        if !hears {
            // Half of it waits in the proxy for its server.
            engine.handle_session_bytes(key, &vec![b'v'; 500_000]);
        }
        let mut other = one_lane(Dialect::Shoal);
        other.pool.name = "beta".into();
        engine.reconfigure(pools(other, Arc::new(Health::new(SHARDS, None)))).unwrap();
        assert_eq!(drained(&mut engine, key), "");
        assert_eq!((engine.session_count(), engine.outstanding()), (0, (0, 0)));
    }
}

#[test]
fn whoever_has_asked_is_not_waited_for_however_it_asked() {
    let line = |line: &str| transaction::words(line);
    let script = "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 a";
    let large = request(&[b"SET", b"a", &vec![b'v'; 200_000]])[..100_000].to_vec();
    for asked in ["GET a", "MGET a b c d", "DBSIZE", "SCAN 0", script, "WATCH a", "BLPOP a 0", "SUBSCRIBE a"]
        .map(line)
        .into_iter()
        .chain([[line("MULTI"), line("GET a"), line("EXEC")].concat(), large])
    {
        let (mut engine, key) = engine(one_lane(Dialect::Shoal));
        engine.pools[0].scripts.show(b"return 1");
        engine.handle_session_bytes(key, &line("GET a"));
        let upstream = connect(&mut engine).unwrap();
        sent(&mut engine);
        engine.handle_upstream_bytes(upstream, b"$-1\r\n");
        assert!(engine.pools[0].crowd.is_any());
        engine.handle_session_bytes(key, &asked);
        let outstanding = engine.sessions.get(key).unwrap().outstanding();
        assert_eq!(outstanding, 1);
        assert!(
            !engine.pools[0].crowd.is_any(),
            "{}",
            String::from_utf8_lossy(&asked[..20.min(asked.len())])
        );
    }
}
