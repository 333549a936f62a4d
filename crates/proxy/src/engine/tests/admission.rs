//! Users, their rules and limits, on the way of requests.

use super::cases::{connect, request, sent};
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
