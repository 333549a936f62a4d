//! What the engine shows of itself, and the end of sessions by an operator's word.

use super::cases::{connect, request, sent};
use super::transaction::{say, tagged};
use super::*;
use crate::slow_log::SlowRequest;
use crate::snapshot::{HoldReason, SessionFilter, SessionOrder, SessionQuery};
use crate::upstream;

fn slow_after(millis: u64) -> PoolSettings {
    let slow_log = SlowLogSettings { slower_than: Duration::from_millis(millis), entries: 4 };
    let mut settings = settings(Dialect::Shoal);
    settings.pool.hash_tag = Some("{}".parse().unwrap());
    PoolSettings { slow_log, gather: false, server_connections: 1, ..settings }
}

fn at(engine: &mut Engine, micros: u64) {
    engine.begin_round(Time::from_micros(micros), 1_000_000_000 + micros);
}

fn slow(engine: &Engine) -> Vec<SlowRequest> {
    engine.list_slow(None)
}

fn every(limit: usize) -> SessionQuery {
    SessionQuery { limit, ..SessionQuery::default() }
}

#[test]
fn a_slow_request_is_remembered_with_client_key_shard_and_where_the_time_went() {
    let (mut engine, key) = engine(slow_after(10));
    at(&mut engine, 1_000);
    engine.handle_session_bytes(key, &request(&[b"CLIENT", b"SETNAME", b"billing"]));
    engine.handle_session_bytes(key, &request(&[b"SET", b"user:1", b"secret"]));
    let upstream = connect(&mut engine).unwrap();
    at(&mut engine, 3_000);
    sent(&mut engine);
    at(&mut engine, 14_000);
    engine.handle_upstream_bytes(upstream, b"+O");
    engine.handle_upstream_bytes(upstream, b"K\r\n");
    let [entry] = &slow(&engine)[..] else { panic!("one entry: {:?}", slow(&engine)) };
    assert_eq!(entry.at_unix_us, 1_000_014_000);
    assert_eq!((entry.duration_us, entry.queued_us, entry.server_us), (13_000, Some(2_000), Some(11_000)));
    let client = entry.client.as_ref().unwrap();
    assert_eq!((client.id, client.peer.as_str(), client.name.as_str()), (1, "model", "billing"));
    assert_eq!((entry.command, entry.key.as_deref(), entry.group), (Some("SET"), Some("user:1"), "string"));
    assert_eq!((entry.pool.as_str(), entry.outcome, entry.reply_bytes), ("alpha", "ok", 5));
    assert_eq!(entry.request_bytes, request(&[b"SET", b"user:1", b"secret"]).len() as u64);
    assert!(entry.shard.starts_with('s') && entry.endpoint.starts_with("127.0.0.1:700"));
    assert!(!format!("{entry:?}").contains("secret"));
    assert_eq!(engine.reset_slow(Some("other")), 0);
    assert_eq!((engine.reset_slow(Some("alpha")), slow(&engine).len()), (1, 0));
}

#[test]
fn one_slow_request_among_quick_ones_is_named_and_nothing_is_kept_afterwards() {
    let (mut engine, key) = engine(slow_after(10));
    at(&mut engine, 1_000);
    engine.handle_session_bytes(key, &request(&[b"GET", b"{t}first"]));
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    for (turn, name) in ["{t}second", "{t}third"].into_iter().enumerate() {
        at(&mut engine, 9_000 + turn as u64 * 1_000);
        engine.handle_session_bytes(key, &request(&[b"GET", name.as_bytes()]));
        sent(&mut engine);
    }
    let (pools, _) = engine.census();
    assert!(pools[0].1.upstream_kept > 0);
    at(&mut engine, 12_000);
    engine.handle_upstream_bytes(upstream, b"$-1\r\n$-1\r\n$-1\r\n");
    let keys: Vec<_> = slow(&engine).into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, [Some("{t}first".to_owned())]);
    assert_eq!(engine.census().0[0].1.upstream_kept, 0);
}

#[test]
fn a_request_that_times_out_or_loses_its_connection_is_remembered_once() {
    let (mut engine, key) = engine(slow_after(10));
    at(&mut engine, 1_000);
    engine.handle_session_bytes(key, &request(&[b"GET", b"{t}late"]));
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    at(&mut engine, 60_000);
    engine.handle_session_bytes(key, &request(&[b"GET", b"{t}cut"]));
    sent(&mut engine);
    // The server is heard meanwhile, so the late request fails alone.
    if let Some(entry) = engine.upstreams.get_mut(upstream) {
        entry.heard_at = Time::from_micros(60_000);
    }
    at(&mut engine, 101_000);
    engine.handle_timeout();
    at(&mut engine, 120_000);
    engine.handle_upstream_failed(upstream, &Failure::Reset);
    let told: Vec<_> = slow(&engine)
        .into_iter()
        .map(|entry| (entry.key.unwrap(), entry.outcome, entry.reply_bytes))
        .collect();
    assert_eq!(told, [("{t}late".to_owned(), "timed_out", 0), ("{t}cut".to_owned(), "reset", 0)]);
}

#[test]
fn what_was_never_sent_is_named_too_and_a_pool_without_a_slow_log_keeps_nothing() {
    let (mut engine, key) = engine(slow_after(10));
    at(&mut engine, 1_000);
    engine.handle_session_bytes(key, &request(&[b"GET", b"a"]));
    let Some(Action::Connect(upstream)) = engine.poll_action() else { panic!("a connection is asked for") };
    at(&mut engine, 51_000);
    engine.handle_upstream_failed(upstream, &Failure::Refused);
    let entry = slow(&engine).remove(0);
    assert_eq!((entry.key.as_deref(), entry.queued_us, entry.outcome), (Some("a"), None, "refused"));

    let off = SlowLogSettings { entries: 0, ..SlowLogSettings::default() };
    let (mut engine, key) = super::engine(PoolSettings { slow_log: off, ..slow_after(0) });
    engine.handle_session_bytes(key, &request(&[b"GET", b"a"]));
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    assert_eq!(engine.census().0[0].1.upstream_kept, 0);
    at(&mut engine, 90_000);
    engine.handle_upstream_bytes(upstream, b"$-1\r\n");
    assert_eq!(slow(&engine), []);
}

#[test]
fn a_flood_of_slow_requests_is_counted_and_not_all_remembered() {
    let (mut engine, key) = engine(slow_after(10));
    at(&mut engine, 1_000);
    for number in 0..50 {
        engine.handle_session_bytes(key, &request(&[b"GET", format!("{{t}}{number}").as_bytes()]));
    }
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    at(&mut engine, 50_000);
    engine.handle_upstream_bytes(upstream, &b"$-1\r\n".repeat(50));
    let keys: Vec<_> = slow(&engine).into_iter().filter_map(|entry| entry.key).collect();
    assert_eq!(keys, ["{t}0", "{t}1", "{t}2", "{t}3"], "the first of them: the others waited behind it");
    assert_eq!(engine.pools[0].counts.pool.slow.get(), 50);
}

#[test]
fn the_slow_log_lives_through_a_reload() {
    let (mut engine, key) = engine(slow_after(10));
    at(&mut engine, 1_000);
    engine.handle_session_bytes(key, &request(&[b"GET", b"a"]));
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    at(&mut engine, 30_000);
    engine.handle_upstream_bytes(upstream, b"$-1\r\n");
    engine.reconfigure(pools(slow_after(20), Arc::new(Health::new(SHARDS, None)))).unwrap();
    assert_eq!(slow(&engine).len(), 1);
}

#[test]
fn sessions_are_listed_page_by_page_in_any_order_and_by_what_is_meant() {
    let (mut engine, first) = engine(slow_after(10));
    for nth in 1..10u64 {
        at(&mut engine, nth * 1_000_000);
        engine.open_session(0, format!("10.0.0.{nth}:9").into());
    }
    at(&mut engine, 20_000_000);
    engine.handle_session_bytes(first, &request(&[b"PING"]));
    let mut seen: Vec<u64> = Vec::new();
    let mut query = every(4);
    loop {
        let page = engine.list_sessions(&query);
        let ids: Vec<u64> = page.sessions.iter().map(|(_, row)| row.id).collect();
        assert_eq!(page.matching, 10 - seen.len());
        seen.extend(&ids);
        match ids.last() {
            Some(&last) => query.after = last,
            None => break,
        }
    }
    assert_eq!(seen, (1..=10).collect::<Vec<u64>>());
    let query = SessionQuery { order: SessionOrder::Requests, ..every(1) };
    let row = &engine.list_sessions(&query).sessions[0].1;
    assert_eq!((row.id, row.requests, row.bytes_in, row.idle_us), (1, 1, 14, 0));
    let youngest = SessionQuery { order: SessionOrder::Idle, ..every(2) };
    let ids: Vec<u64> = engine.list_sessions(&youngest).sessions.iter().map(|(_, row)| row.id).collect();
    assert_eq!(ids, [2, 3], "the longest silent stand first");
    for (filter, expected) in [
        (SessionFilter { peer: Some("10.0.0.3".into()), ..SessionFilter::default() }, vec![4]),
        (SessionFilter { idle_us: Some(18_000_000), ..SessionFilter::default() }, vec![2, 3]),
        (SessionFilter { id: Some(7), ..SessionFilter::default() }, vec![7]),
        (SessionFilter { pool: Some("beta".into()), ..SessionFilter::default() }, vec![]),
        (SessionFilter { held: Some(true), ..SessionFilter::default() }, vec![]),
    ] {
        let page = engine.list_sessions(&SessionQuery { filter, ..every(100) });
        assert_eq!(page.sessions.iter().map(|(_, row)| row.id).collect::<Vec<u64>>(), expected);
    }
}

#[test]
fn a_killed_session_is_gone_as_if_its_client_had_closed_and_others_go_on() {
    let (mut engine, victim) = engine(slow_after(1_000));
    let other = engine.open_session(0, "other".into());
    for session in [victim, other] {
        engine.handle_session_bytes(session, &request(&[b"GET", b"a"]));
    }
    engine.handle_session_bytes(victim, &request(&[b"MGET", b"a", b"b", b"c", b"d", b"e"]));
    let upstreams: Vec<Key> = std::iter::from_fn(|| engine.poll_action())
        .filter_map(|action| match action {
            Action::Connect(upstream) => Some(upstream),
            _ => None,
        })
        .collect();
    for &upstream in &upstreams {
        engine.handle_upstream_connected(upstream);
    }
    sent(&mut engine);
    let one = SessionFilter { id: Some(1), ..SessionFilter::default() };
    assert_eq!((engine.kill_sessions(&one), engine.kill_sessions(&one)), (1, 0));
    assert_eq!(engine.poll_action(), Some(Action::End(victim)));
    assert_eq!(engine.session_count(), 1);
    let stats = engine.pools[0].counts.pool.clone();
    assert_eq!((stats.killed.get(), stats.client_err.get(), stats.sessions.get()), (1, 0, 1));
    for &upstream in &upstreams {
        while let Some(pending) = engine.upstreams.get(upstream).unwrap().queue.front() {
            let reply: &[u8] = if pending.session == other { b"$1\r\nx\r\n" } else { b"*0\r\n" };
            engine.handle_upstream_bytes(upstream, reply);
        }
    }
    assert_eq!(drained(&mut engine, other), "$1\r\nx\r\n");
    assert_eq!(engine.outstanding(), (0, 0), "nothing is kept for the one who is gone");
}

#[test]
fn queues_phases_and_held_sessions_show() {
    let (mut engine, key) = engine(slow_after(1_000));
    at(&mut engine, 5_000);
    let large = vec![b'v'; 40_000];
    let set = request(&[b"SET", b"{t}k", &large]);
    let mut sets = 0;
    while engine.wants_bytes(key) {
        engine.handle_session_bytes(key, &set);
        sets += 1;
    }
    let Some(Action::Connect(upstream)) = engine.poll_action() else { panic!("a connection is asked for") };
    at(&mut engine, 9_000);
    let (rows, more) = engine.list_upstreams(Some("alpha"), None, 10);
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(
        (row.phase, row.unsent, row.unanswered, row.lane, more),
        ("connecting", sets - 1, 0, Some(0), false)
    );
    assert!(row.unsent_bytes >= upstream::OUTPUT_MAX && row.oldest_us == Some(4_000) && row.holding == 1);
    let (pools, _) = engine.census();
    let census = &pools[0].1;
    assert_eq!(census.held[HoldReason::Upstream as usize], 1);
    assert_eq!((census.upstream_output, census.session_input), (row.unsent_bytes, set.len()));
    assert_eq!(engine.list_sessions(&every(1)).sessions[0].1.held, Some("upstream"));
    engine.handle_upstream_failed(upstream, &Failure::Refused);
    let row = engine.list_upstreams(None, Some(&row.shard), 10).0.remove(0);
    assert_eq!((row.phase, row.attempts, row.age_us), ("idle", 1, None));
    assert!(row.retry_in_us.is_some());
    assert_eq!(engine.list_upstreams(None, Some("none"), 10), (vec![], false));
    assert_eq!(engine.list_upstreams(None, None, 0), (vec![], true));
}

/// Whatever the pieces and the faults, what is told of a slow request is true: the key is one of its client's own.
#[test]
fn no_slow_request_is_told_of_another_client_key_or_shard() {
    let (mut named, mut runs) = (0, 0);
    for seed in seeds(40) {
        runs += 1;
        let slow_log = SlowLogSettings { slower_than: Duration::ZERO, entries: 1_000 };
        let settings = PoolSettings { slow_log, gather: seed % 3 != 0, ..settings(Dialect::Shoal) };
        let mut world = World::new(seed, 4, seed % 2 == 0, settings);
        for round in 0..100 {
            if round < 60 {
                let client = world.pick(4);
                world.ask(client);
            }
            world.step();
            for entry in world.engine.list_slow(None) {
                let (Some(client), Some(key)) = (&entry.client, &entry.key) else { continue };
                named += 1;
                assert!(key.starts_with(&format!("k{}-", client.id - 1)), "seed {seed}: {entry:?}");
                let home = world.engine.pools[0].router.route(key.as_bytes(), &mut world.engine.random);
                let shard = format!(
                    "s{}",
                    match home {
                        shoal_topology::Route::Shard(shard) => shard,
                        other => panic!("{other:?}"),
                    }
                );
                assert_eq!(entry.shard, shard, "seed {seed}: {entry:?}");
            }
            let (pools, _) = world.engine.census();
            let upstreams = SHARDS * 4 + 4;
            assert!(pools[0].1.upstream_kept <= upstreams * crate::in_flight::KEPT_MAX);
        }
        world.run_dry();
        assert_eq!(world.engine.outstanding().0, 0);
        assert_eq!(world.engine.census().0[0].1.upstream_kept, 0, "seed {seed}: nothing is in flight");
    }
    assert!(named > runs * 250, "{named} in {runs} runs");
}

#[test]
fn a_server_has_as_many_replies_as_requests_whoever_asked_for_them() {
    let counts = |engine: &Engine| {
        let servers = &engine.pools[0].counts.servers;
        let sum =
            |count: fn(&crate::stats::ServerStats) -> u64| servers.iter().map(|it| count(it)).sum::<u64>();
        (sum(|server| server.requests.get()), sum(|server| server.responses.get()))
    };
    // A WAIT behind a write, and a PING before that behind what blocks.
    let durability = Durability::Replicated { replicas: 1, timeout: Duration::from_millis(20) };
    for (line, replies) in
        [("SET {a}1 x", &b"+OK\r\n:1\r\n"[..]), ("BLPOP {a}1 0", b"*-1\r\n+PONG\r\n:1\r\n")]
    {
        let (mut engine, key) = engine(PoolSettings { durability, ..tagged() });
        say(&mut engine, key, &[line]);
        let upstream = connect(&mut engine).unwrap();
        sent(&mut engine);
        engine.handle_upstream_bytes(upstream, replies);
        let asked = replies.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(counts(&engine), (asked, asked), "{line}");
    }
    // Confirmations of one command are one reply.
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &["SUBSCRIBE {a}1 {a}2"]);
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    for confirmed in
        ["*3\r\n$9\r\nsubscribe\r\n$4\r\n{a}1\r\n:1\r\n", "*3\r\n$9\r\nsubscribe\r\n$4\r\n{a}2\r\n:2\r\n"]
    {
        engine.handle_upstream_bytes(upstream, confirmed.as_bytes());
    }
    assert_eq!(counts(&engine), (1, 1));
    // CLIENT CACHING.
    let (mut engine, key) = super::engine(PoolSettings { timeout: None, ..tagged() });
    say(&mut engine, key, &["HELLO 3", "CLIENT TRACKING ON OPTIN", "CLIENT CACHING YES", "GET {a}1"]);
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(upstream, b"%0\r\n+OK\r\n");
    sent(&mut engine);
    engine.handle_upstream_bytes(upstream, b"+OK\r\n_\r\n");
    let (requests, replies) = counts(&engine);
    assert_eq!((requests, replies), (2, 2));
}
