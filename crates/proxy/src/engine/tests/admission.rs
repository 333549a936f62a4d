//! Users, their rules and limits, on the way of requests.

use super::cases::{connect, request, sent};
use super::removed::{named, several, worker};
use super::*;
use crate::access::{Access, DEFAULT_USER, Limits, Rules, User};
use crate::session::Hold;

/// What the client of `key` is sent.
fn heard(engine: &mut Engine, key: Key) -> String {
    engine.settle();
    let mut all = Vec::new();
    while let Some(session) = engine.poll_session() {
        let output = engine.session_output(session).to_vec();
        engine.handle_session_sent(session, output.len());
        if session == key {
            all.extend(output);
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn user(name: &str, rules: &str, requests: Option<u64>) -> User {
    let limits = Limits { requests_per_second: requests, ..Limits::default() };
    User::new(name, Rules::parse(rules).unwrap(), limits)
}

fn guarded(others: Vec<User>, default: User) -> PoolSettings {
    let access = Access::of_users(default, others, Limits::default());
    PoolSettings { access, server_connections: 1, gather: false, timeout: None, ..settings(Dialect::Shoal) }
}

fn begin(settings: PoolSettings) -> (Engine, Key) {
    let health = Arc::new(Health::new(SHARDS, settings.ejection));
    let pools = pools(settings, health);
    let mut engine = Engine::new(Parts { pools, seed: 1, first_id: 1, id_step: 1 }).unwrap();
    engine.begin_round(Time::from_micros(1), 1);
    let key = engine.open_session(0, "test".into());
    (engine, key)
}

#[test]
fn a_request_that_has_to_wait_is_charged_once() {
    let (mut engine, key) = begin(guarded(Vec::new(), user(DEFAULT_USER, "on nopass ~* &* +@all", Some(2))));
    let pipeline =
        [request(&[b"GET", b"a"]), request(&[b"SUBSCRIBE", b"b"]), request(&[b"GET", b"c"])].concat();
    engine.handle_session_bytes(key, &pipeline);
    let upstream = connect(&mut engine).unwrap();
    assert_eq!(engine.sessions.get(key).unwrap().hold, Some(Hold::Barrier));
    sent(&mut engine);
    // However often it is looked at again: it was let in.
    for _ in 0..3 {
        engine.resumable.push_back(key);
        engine.settle();
    }
    engine.handle_upstream_bytes(upstream, b"$-1\r\n");
    assert_eq!(heard(&mut engine, key), "$-1\r\n");
    let subscribed = connect(&mut engine).expect("an upstream for the subscription");
    assert_eq!(sent(&mut engine), request(&[b"subscribe", b"b"]));
    engine.handle_upstream_bytes(subscribed, b"*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:1\r\n");
    let said = heard(&mut engine, key);
    assert!(said.starts_with("*3\r\n$9\r\nsubscribe"), "{said}");
    assert!(
        said.contains("-ERR limit reached: requests_per_second of user default of pool alpha is 2"),
        "{said}"
    );
}

#[test]
fn time_alone_decides_how_many_are_let_in() {
    let (mut engine, key) = begin(guarded(Vec::new(), user(DEFAULT_USER, "on nopass ~* &* +@all", Some(10))));
    let mut let_in = 0;
    for step in 0..100u64 {
        engine.begin_round(Time::from_micros(1 + step * 50_000), 1);
        engine.handle_session_bytes(key, &request(&[b"PING"]).repeat(5));
        let said = heard(&mut engine, key);
        assert_eq!(said.matches("+PONG").count() + said.matches("-ERR limit reached").count(), 5);
        let_in += said.matches("+PONG").count();
    }
    // One second's worth, and 4.95 s of ten each.
    assert_eq!(let_in, 10 + 49);
    assert_eq!(engine.pools[0].counts.pool.over_requests_per_second.get(), 500 - 59);
}

#[test]
fn a_large_request_is_refused_by_its_first_words() {
    let default = user(DEFAULT_USER, "on nopass ~app:* +set +mset +rename", None);
    let (mut engine, key) = begin(guarded(Vec::new(), default));
    let value = vec![b'v'; 200_000];
    for words in
        [&[&b"SET"[..], b"other", &value][..], &[b"MSET", b"other", &value], &[b"APPEND", b"app:1", &value]]
    {
        let bytes = request(words);
        bytes.chunks(50_000).for_each(|piece| engine.handle_session_bytes(key, piece));
        let said = heard(&mut engine, key);
        assert!(said.starts_with("-NOPERM") && said.matches('-').count() == 1, "{said}");
    }
    assert!(connect(&mut engine).is_none() && sent(&mut engine).is_empty());
    // A key that comes behind the large word is waited for.
    let bytes = request(&[b"RENAME", &[&b"app:"[..], &value].concat(), b"other"]);
    bytes.chunks(50_000).for_each(|piece| engine.handle_session_bytes(key, piece));
    assert!(heard(&mut engine, key).starts_with("-NOPERM"));
    engine.handle_session_bytes(key, &request(&[b"SET", b"app:1", &value]));
    assert!(connect(&mut engine).is_some());
    assert!(!sent(&mut engine).is_empty());
}

#[test]
fn a_reload_ends_the_session_of_a_user_who_is_gone() {
    let app = || user("app", "on nopass ~* +@all", None);
    let default = || user(DEFAULT_USER, "on nopass ~* &* +@all", None);
    let (mut engine, key) = begin(guarded(vec![app()], default()));
    let stays = engine.open_session(0, "other".into());
    engine.handle_session_bytes(key, &request(&[b"AUTH", b"app", b"x"]));
    assert_eq!(heard(&mut engine, key), "+OK\r\n");
    engine.handle_session_bytes(key, &request(&[b"GET", b"a"]));
    engine.handle_session_bytes(stays, &request(&[b"PING"]));
    let mut next = guarded(Vec::new(), default());
    next.access.follow(&engine.pools[0].settings.access);
    engine.reconfigure(pools(next, engine.pools[0].health.clone())).unwrap();
    let ended = std::iter::from_fn(|| engine.poll_action()).any(|action| action == Action::End(key));
    assert!(ended);
    assert_eq!(heard(&mut engine, stays), "+PONG\r\n");
}

fn bytes_limited(bytes: u64) -> PoolSettings {
    let limits = Limits { bytes_per_second: Some(bytes), ..Limits::default() };
    let access = Access::of_users(user(DEFAULT_USER, "on nopass ~* &* +@all", None), Vec::new(), limits);
    PoolSettings { access, ..guarded(Vec::new(), user(DEFAULT_USER, "on nopass ~* &* +@all", None)) }
}

/// Has the client of `key` say `words`, and the server of the upstream that is opened for it say `greeting`, then `reply`.
fn settled(engine: &mut Engine, key: Key, words: &[&[u8]], greeting: &[u8], reply: &[u8]) -> Key {
    engine.handle_session_bytes(key, &request(words));
    let upstream = connect(engine).unwrap();
    sent(engine);
    engine.handle_upstream_bytes(upstream, greeting);
    sent(engine);
    engine.handle_upstream_bytes(upstream, reply);
    heard(engine, key);
    upstream
}

#[test]
fn what_a_client_is_told_of_itself_is_charged_as_it_comes_and_not_in_one_when_it_asks_or_leaves() {
    let push = |words: &[&[u8]]| {
        let mut frame = request(words);
        frame[0] = b'>';
        frame
    };
    let pushes = [
        push(&[b"message", b"c", &[b'm'; 400]]),
        [&b">2\r\n$10\r\ninvalidate\r\n"[..], &request(&[&[b'k'; 400]])].concat(),
    ];
    for (which, frame) in pushes.iter().enumerate() {
        let (mut engine, key) = begin(bytes_limited(2000));
        engine.handle_session_bytes(key, &request(&[b"HELLO", b"3"]));
        heard(&mut engine, key);
        let upstream = match which {
            0 => {
                let confirmed = b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
                settled(&mut engine, key, &[b"SUBSCRIBE", b"c"], b"%0\r\n", confirmed)
            }
            _ => {
                engine.handle_session_bytes(key, &request(&[b"CLIENT", b"TRACKING", b"ON"]));
                settled(&mut engine, key, &[b"GET", b"c"], b"%0\r\n+OK\r\n", b"_\r\n")
            }
        };
        // A quarter of the limit, for a minute.
        let mut now = 5_000_000;
        for _ in 0..60 {
            now += 1_000_000;
            engine.begin_round(Time::from_micros(now), 1);
            engine.handle_upstream_bytes(upstream, frame);
            assert_eq!(heard(&mut engine, key).len(), frame.len());
        }
        let other = engine.open_session(0, "other".into());
        for asks in [key, other, key, other] {
            engine.handle_session_bytes(asks, &request(&[b"PING"]));
            assert_eq!(heard(&mut engine, asks), "+PONG\r\n");
        }
        // More than the limit at once shuts the pool, the one who hears it and the others alike.
        for _ in 0..10 {
            engine.handle_upstream_bytes(upstream, frame);
        }
        engine.handle_session_bytes(other, &request(&[b"PING"]));
        assert!(heard(&mut engine, other).contains("limit reached: bytes_per_second of pool alpha"));
        // And its end charges nothing anew.
        engine.handle_session_end(key, SessionEnd::Error);
        engine.begin_round(Time::from_micros(now + 2_500_000), 1);
        engine.handle_session_bytes(other, &request(&[b"PING"]));
        assert_eq!(heard(&mut engine, other), "+PONG\r\n");
    }
}

#[test]
fn bytes_are_charged_to_the_pool_and_the_user_who_caused_them_whatever_a_reload_makes_of_these() {
    let limited = || Limits { bytes_per_second: Some(1000), ..Limits::default() };
    let everything = "on nopass ~* &* +@all";
    let users = |names: &[&str]| {
        let limited = |name: &&str| User::new(name, Rules::parse(everything).unwrap(), limited());
        let others = names.iter().map(limited).collect();
        Access::of_users(user(DEFAULT_USER, everything, None), others, Limits::default())
    };
    let pool = |name: &str, access| {
        named(name, PoolSettings { access, ..guarded(Vec::new(), user(DEFAULT_USER, everything, None)) })
    };
    let of_pool = || Access::of_users(user(DEFAULT_USER, everything, None), Vec::new(), limited());
    let ping = |engine: &mut Engine, key| {
        engine.handle_session_bytes(key, &request(&[b"PING"]));
        heard(engine, key)
    };
    let large = request(&[b"ECHO", &[b'x'; 50_000]]);
    // The user is gone, its pool and another have changed places.
    let (mut engine, key) =
        worker(vec![pool("alpha", users(&["gone", "stays"])), pool("beta", of_pool())], 0);
    engine.handle_session_bytes(key, &request(&[b"AUTH", b"gone", b"x"]));
    engine.handle_session_bytes(key, &large);
    heard(&mut engine, key);
    let mut next = [pool("beta", of_pool()), pool("alpha", users(&["stays"]))];
    next[0].access.follow(&engine.pools[1].settings.access);
    next[1].access.follow(&engine.pools[0].settings.access);
    engine.reconfigure(several(next.into())).unwrap();
    assert_eq!(engine.session_count(), 0);
    let beta = engine.open_session(0, "other".into());
    assert_eq!(ping(&mut engine, beta), "+PONG\r\n");
    let stays = engine.open_session(1, "other".into());
    engine.handle_session_bytes(stays, &request(&[b"AUTH", b"stays", b"x"]));
    assert_eq!(heard(&mut engine, stays), "+OK\r\n");
    assert_eq!(ping(&mut engine, stays), "+PONG\r\n");
    // The pool is gone, and another has its place.
    let (mut engine, key) = worker(vec![pool("alpha", of_pool()), pool("beta", of_pool())], 0);
    engine.handle_session_bytes(key, &large);
    heard(&mut engine, key);
    let mut next = pool("beta", of_pool());
    next.access.follow(&engine.pools[1].settings.access);
    engine.reconfigure(several(vec![next])).unwrap();
    assert_eq!(engine.session_count(), 0);
    let beta = engine.open_session(0, "other".into());
    assert_eq!(ping(&mut engine, beta), "+PONG\r\n");
    // A pool that only changes its place goes on charging.
    let (mut engine, key) = worker(vec![pool("alpha", of_pool()), pool("beta", of_pool())], 0);
    engine.handle_session_bytes(key, &large);
    heard(&mut engine, key);
    let mut next = [pool("beta", of_pool()), pool("alpha", of_pool())];
    next[0].access.follow(&engine.pools[1].settings.access);
    next[1].access.follow(&engine.pools[0].settings.access);
    engine.reconfigure(several(next.into())).unwrap();
    engine.handle_session_end(key, SessionEnd::Error);
    let alpha = engine.open_session(1, "other".into());
    assert!(ping(&mut engine, alpha).contains("limit reached: bytes_per_second of pool alpha"));
}

#[test]
fn a_request_whose_reply_is_not_wanted_is_charged_once() {
    let (mut engine, key) = begin(guarded(Vec::new(), user(DEFAULT_USER, "on nopass ~* &* +@all", Some(8))));
    let all = [&[&b"CLIENT"[..], b"REPLY", b"OFF"][..], &[b"PING"], &[b"GET", b"a"], &[b"PING"]];
    all.iter().for_each(|words| engine.handle_session_bytes(key, &request(words)));
    engine.handle_session_bytes(key, &request(&[b"CLIENT", b"REPLY", b"ON"]));
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(upstream, b"$-1\r\n");
    // Five so far.
    engine.handle_session_bytes(key, &request(&[b"PING"]).repeat(4));
    let said = heard(&mut engine, key);
    assert!(said.starts_with("+OK\r\n+PONG\r\n+PONG\r\n+PONG\r\n-ERR limit reached"), "{said}");
}

#[test]
fn a_large_value_that_is_refused_by_a_limit_is_not_charged_and_one_that_is_refused_otherwise_is() {
    let rates =
        Limits { requests_per_second: Some(1), bytes_per_second: Some(1_000_000), ..Limits::default() };
    let rules = Rules::parse("on nopass ~app:* &* +@all").unwrap();
    let settings = || guarded(Vec::new(), User::new(DEFAULT_USER, rules.clone(), rates));
    let large = |key: &[u8]| request(&[b"SET", key, &vec![b'v'; 6_000_000]]);
    for (key_of_it, why, is_charged) in
        [(&b"app:1"[..], "-ERR limit reached: requests_per_second", false), (b"other", "-NOPERM", true)]
    {
        let (mut engine, key) = begin(settings());
        let ping = |engine: &mut Engine, second: u64| {
            engine.begin_round(Time::from_micros(second * 1_000_000), 1);
            engine.handle_session_bytes(key, &request(&[b"PING"]));
            heard(engine, key)
        };
        assert_eq!(ping(&mut engine, 1), "+PONG\r\n");
        large(key_of_it).chunks(50_000).for_each(|piece| engine.handle_session_bytes(key, piece));
        let said = heard(&mut engine, key);
        assert!(said.starts_with(why), "{said}");
        // This one is let in, with what has come before it.
        assert_eq!(ping(&mut engine, 3), "+PONG\r\n");
        assert_eq!(ping(&mut engine, 5).contains("limit reached: bytes_per_second"), is_charged);
    }
}

#[test]
fn a_refused_exec_of_a_client_that_wants_no_reply_is_not_answered() {
    let default = || user(DEFAULT_USER, "on nopass ~* &* +@all -exec", None);
    for (lines, said) in [
        (&["CLIENT REPLY SKIP", "EXEC", "PING"][..], "+PONG\r\n"),
        (&["CLIENT REPLY OFF", "MULTI", "EXEC", "EXEC", "CLIENT REPLY ON", "PING"], "+OK\r\n+PONG\r\n"),
    ] {
        let (mut engine, key) = begin(guarded(Vec::new(), default()));
        transaction::say(&mut engine, key, lines);
        assert_eq!(heard(&mut engine, key), said);
    }
}
