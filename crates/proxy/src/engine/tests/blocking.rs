//! Blocking commands.

use super::cases::{connect, one_lane};
use super::transaction::{actions, all_words, say, sent_text, stranger, tagged};
use super::*;
use crate::engine::blocking::BEHIND_BLOCKING_MAX;
use crate::engine::held::HELD_MAX;

/// A session whose `command` has gone out, and the upstream that it went out on.
fn blocked(command: &str) -> (Engine, Key, Key) {
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &[command]);
    let upstream = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&[command]));
    (engine, key, upstream)
}

#[test]
fn a_blocking_command_has_an_upstream_of_its_own_and_nobody_waits_behind_it() {
    let (mut engine, key) = engine(tagged());
    let other = engine.open_session(0, "model".into());
    say(&mut engine, key, &["GET {a}1", "BLPOP {a}1 {a}2 0", "GET {a}1"]);
    let shared = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]), "it waits for what the session is owed");
    engine.handle_upstream_bytes(shared, b"$-1\r\n");
    drained(&mut engine, key);
    let own = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&["BLPOP {a}1 {a}2 0"]));
    say(&mut engine, other, &["GET {a}3"]);
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}3"]));
    engine.handle_upstream_bytes(shared, b"$1\r\n3\r\n");
    assert_eq!(drained(&mut engine, other), "$1\r\n3\r\n");
    engine.handle_upstream_bytes(own, b"*2\r\n$4\r\n{a}1\r\n$1\r\nx\r\n");
    assert_eq!(drained(&mut engine, key), "*2\r\n$4\r\n{a}1\r\n$1\r\nx\r\n");
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]), "what follows goes out when it is answered");
    assert_eq!((engine.pools[0].held, engine.pools[0].dedicated), (0, 0));
    say(&mut engine, other, &["BRPOP {a}1 0"]);
    assert_eq!(connect(&mut engine), None, "the next one has the same upstream, which is clean");
    assert_eq!(engine.poll_upstream(), Some(own));
}

#[test]
fn only_xread_and_xreadgroup_with_block_block() {
    for line in ["XREAD BLOCK 0 STREAMS {a}1 $", "XREADGROUP GROUP g block BLOCK 5 STREAMS {a}1 >"] {
        let (engine, _, _) = blocked(line);
        assert_eq!(engine.pools[0].held, 1, "{line}");
    }
    for line in ["XREAD STREAMS block 0", "XREADGROUP GROUP g block STREAMS {a}1 >"] {
        let (engine, _, _) = blocked(line);
        assert_eq!(engine.pools[0].held, 0, "{line}");
    }
}

#[test]
fn a_client_that_goes_takes_its_upstream_with_it_at_once() {
    for end in [SessionEnd::Eof, SessionEnd::Error] {
        let (mut engine, key, upstream) = blocked("BLPOP {a}1 0");
        assert!(engine.wants_bytes(key), "its end must be seen");
        engine.handle_session_end(key, end);
        assert_eq!(actions(&mut engine), [Action::Disconnect(upstream), Action::End(key)]);
        assert_eq!((engine.pools[0].held, engine.outstanding()), (0, (0, 0)));
    }
    // Also one that has sent so much that it is not read.
    let (mut engine, key, upstream) = blocked("BLPOP {a}1 0");
    while engine.wants_bytes(key) {
        say(&mut engine, key, &["PING"]);
    }
    assert!(engine.sessions.get(key).unwrap().input.len() <= BEHIND_BLOCKING_MAX + 14);
    assert!(engine.handle_session_hangup(key));
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream), Action::End(key)]);
}

#[test]
fn the_deadline_is_the_commands_own_and_then_the_pools() {
    for (line, own) in [
        ("BLPOP {a}1 2", 2_000),
        ("BLPOP {a}1 0.5", 500),
        ("BLMPOP 1.5 1 {a}1 LEFT", 1_500),
        ("XREAD BLOCK 700 STREAMS {a}1 $", 700),
        ("BLPOP {a}1 nonsense", 0),
    ] {
        let (mut engine, key, upstream) = blocked(line);
        let due = Time::from_micros(1) + Duration::from_millis(own) + TIMEOUT;
        engine.begin_round(due - Duration::from_millis(1), 1);
        engine.handle_timeout();
        assert_eq!(drained(&mut engine, key), "", "{line}");
        engine.begin_round(due, 1);
        engine.handle_timeout();
        assert!(drained(&mut engine, key).contains("timed out"), "{line}");
        assert_eq!(actions(&mut engine), [Action::Disconnect(upstream)]);
        assert!(engine.wants_bytes(key));
    }
    let (mut engine, key, _) = blocked("BLPOP {a}1 0");
    engine.begin_round(Time::from_micros(1) + TIMEOUT * 100_000, 1);
    engine.handle_timeout();
    assert_eq!(drained(&mut engine, key), "", "0 is for ever");
}

#[test]
fn a_connection_that_is_not_made_in_time_fails_the_command_whatever_its_own_timeout() {
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &["BLPOP {a}1 0"]);
    engine.begin_round(Time::from_micros(1) + TIMEOUT, 1);
    engine.handle_timeout();
    assert!(drained(&mut engine, key).contains("timed out"));
    assert_eq!(engine.pools[0].held, 0);
}

#[test]
fn a_shard_that_dies_is_told() {
    let (mut engine, key, upstream) = blocked("BLPOP {a}1 0");
    engine.handle_upstream_failed(upstream, &Failure::Closed);
    assert!(drained(&mut engine, key).contains("closed the connection before it answered"));
    say(&mut engine, key, &["PING"]);
    assert_eq!(drained(&mut engine, key), "+PONG\r\n");
    assert!(engine.sessions.get(key).unwrap().mode.is_none() && engine.pools[0].held == 0);
}

#[test]
fn keys_on_several_shards_are_refused_by_name() {
    let (mut engine, key) = engine(tagged());
    let far = stranger(&mut engine);
    say(&mut engine, key, &[&format!("BLPOP {{a}}1 {far} 0")]);
    assert!(
        drained(&mut engine, key)
            .starts_with("-CROSSSLOT keys of 'blpop' lie on several shards of pool alpha")
    );
}

#[test]
fn when_all_are_held_the_next_is_refused_by_name() {
    let (mut engine, first, _) = blocked("BLPOP {a}1 0");
    for _ in 1..HELD_MAX {
        let key = engine.open_session(0, "model".into());
        say(&mut engine, key, &["BLPOP {a}1 0"]);
    }
    let last = engine.open_session(0, "model".into());
    say(&mut engine, last, &["BLPOP {a}1 0"]);
    let said = drained(&mut engine, last);
    assert!(said.starts_with("-ERR pool alpha has no upstream left for WATCH, blocking commands"), "{said}");
    engine.handle_session_end(first, SessionEnd::Eof);
    say(&mut engine, last, &["BLPOP {a}1 0"]);
    assert_eq!(drained(&mut engine, last), "");
}

#[test]
fn a_reload_that_moves_keys_unblocks_and_one_that_does_not_changes_nothing() {
    let reload = |engine: &mut Engine, settings: PoolSettings| {
        let shards = settings.pool.shards.len();
        engine.reconfigure(pools(settings, Arc::new(Health::new(shards, None)))).unwrap();
    };
    let (mut engine, key, upstream) = blocked("BLPOP {a}1 0");
    reload(&mut engine, PoolSettings { timeout: None, ..tagged() });
    assert_eq!((drained(&mut engine, key).as_str(), engine.pools[0].held), ("", 1));
    engine.handle_session_end(key, SessionEnd::Eof);
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream), Action::End(key)]);
    let (mut engine, key, upstream) = blocked("BLPOP {a}1 0");
    let mut moved = tagged();
    moved.pool.shards.truncate(2);
    reload(&mut engine, moved);
    assert!(drained(&mut engine, key).starts_with("-UNBLOCKED the shards of the pool have changed"));
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream)]);
    assert!(engine.wants_bytes(key));
    assert_eq!((engine.pools[0].held, engine.pools[0].dedicated), (0, 0));
}

#[test]
fn who_blocks_is_closed_at_the_last_call_and_not_before() {
    let (mut engine, key, upstream) = blocked("BLPOP {a}1 0");
    let span = Duration::from_secs(1);
    engine.leave(super::super::drain::Leave { spread: span, grace: span });
    engine.begin_round(Time::from_micros(1) + span, 1);
    engine.handle_timeout();
    assert_eq!(actions(&mut engine), []);
    engine.begin_round(Time::from_micros(1) + span * 3, 1);
    engine.handle_timeout();
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream), Action::End(key)]);
    assert!(engine.has_left());
}

#[test]
fn within_a_transaction_nothing_blocks() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    say(&mut engine, key, &["MULTI", "BLPOP a 0", "XREAD BLOCK 0 STREAMS a $", "EXEC"]);
    connect(&mut engine).unwrap();
    assert_eq!(
        sent_text(&mut engine),
        all_words(&["MULTI", "BLPOP a 0", "XREAD BLOCK 0 STREAMS a $", "EXEC"])
    );
    assert_eq!(engine.pools[0].held, 0);
}

#[test]
fn a_command_that_is_late_on_a_connection_just_made_gives_its_upstream_up() {
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &["BLPOP {a}1 0.01"]);
    // The server has been heard of since the command was queued, so it is not silent, but merely behind.
    engine.begin_round(Time::from_micros(1) + TIMEOUT / 2, 1);
    let upstream = connect(&mut engine).unwrap();
    sent_text(&mut engine);
    engine.begin_round(Time::from_micros(1) + TIMEOUT + Duration::from_millis(10), 1);
    engine.handle_timeout();
    assert!(drained(&mut engine, key).contains("timed out"));
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream)]);
    assert_eq!((engine.pools[0].held, engine.outstanding()), (0, (0, 0)));
    assert!(engine.sessions.get(key).unwrap().mode.is_none());
}

#[test]
fn a_client_that_has_closed_before_its_turn_comes_blocks_nowhere() {
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &["GET {a}1", "BLPOP {a}1 0"]);
    let shared = connect(&mut engine).unwrap();
    sent_text(&mut engine);
    engine.handle_session_end(key, SessionEnd::Eof);
    engine.handle_upstream_bytes(shared, b"$-1\r\n");
    assert_eq!(drained(&mut engine, key), "$-1\r\n", "what it is owed it may still read");
    assert_eq!(actions(&mut engine), [Action::End(key)], "nothing is popped for nobody");
    assert_eq!((engine.pools[0].held, engine.session_count()), (0, 0));
}

#[test]
fn a_reply_that_has_begun_when_keys_move_ends_and_nothing_is_left_of_its_upstream() {
    let (mut engine, key, upstream) = blocked("BLPOP {a}1 0");
    engine.handle_upstream_bytes(upstream, b"*2\r\n$4\r\n{a}1");
    let mut moved = tagged();
    moved.pool.shards.truncate(2);
    engine.reconfigure(pools(moved, Arc::new(Health::new(2, None)))).unwrap();
    assert_eq!((engine.pools[0].held, engine.pools[0].dedicated), (0, 0));
    engine.handle_upstream_bytes(upstream, b"\r\n$1\r\nx\r\n");
    assert_eq!(drained(&mut engine, key), "*2\r\n$4\r\n{a}1\r\n$1\r\nx\r\n");
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream)]);
    assert_eq!((engine.pools[0].held, engine.pools[0].dedicated), (0, 0));
    assert!(engine.sessions.get(key).unwrap().mode.is_none());
}

#[test]
fn a_reload_that_secures_servers_leaves_nobody_on_a_connection_that_is_not() {
    let (mut engine, key, upstream) = blocked("BLPOP {a}1 0");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let server_tls = Some(crate::tls::ServerTls {
        config: Arc::new(config),
        server_name: None,
        handshake_timeout: Duration::from_secs(1),
    });
    let settings = PoolSettings { server_tls, ..tagged() };
    engine.reconfigure(pools(settings, Arc::new(Health::new(SHARDS, None)))).unwrap();
    assert!(drained(&mut engine, key).starts_with("-UNBLOCKED the shards of the pool have changed"));
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream)]);
}
