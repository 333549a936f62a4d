//! Clients that keep copies of what they read.

use super::cases::{connect, sent};
use super::transaction::{actions, all_words, say, sent_text, stranger, tagged, words};
use super::*;
use crate::engine::held::HELD_MAX;
use crate::engine::pubsub::{SLOW_MAX, SLOW_MIN, UNSENT_MAX};
use crate::following::shard::{Followed, Primary, Sentinels};
use crate::tracking::INVALIDATE_ALL;
use shoal_topology::{Route, Router};

mod simulation;

const GREETING: &[u8] = b"%0\r\n+OK\r\n";

fn invalidation(key: &str) -> String {
    format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len())
}

fn all_gone() -> &'static str {
    std::str::from_utf8(INVALIDATE_ALL).unwrap()
}

fn tracker(settings: PoolSettings, tracking: &str) -> (Engine, Key) {
    let (mut engine, key) = engine(PoolSettings { timeout: None, ..settings });
    say(&mut engine, key, &["HELLO 3", tracking]);
    assert!(drained(&mut engine, key).ends_with("+OK\r\n"), "{tracking}");
    assert_eq!(connect(&mut engine), None, "a shard is asked for when it is read");
    (engine, key)
}

/// Has the session ask `line`, on an upstream that is opened for it.
fn asked(engine: &mut Engine, key: Key, tracking: &str, line: &str) -> Key {
    say(engine, key, &[line]);
    let upstream = connect(engine).expect("an upstream of its own");
    assert_eq!(sent_text(engine), all_words(&["HELLO 3", tracking]));
    engine.handle_upstream_bytes(upstream, GREETING);
    assert_eq!(sent_text(engine), all_words(&[line]));
    upstream
}

/// A session that has read `{a}1`, and its upstream.
pub(super) fn reader(settings: PoolSettings) -> (Engine, Key, Key) {
    let (mut engine, key) = tracker(settings, "CLIENT TRACKING ON");
    let upstream = asked(&mut engine, key, "CLIENT TRACKING ON", "GET {a}1");
    engine.handle_upstream_bytes(upstream, b"$1\r\nx\r\n");
    assert_eq!(drained(&mut engine, key), "$1\r\nx\r\n");
    (engine, key, upstream)
}

#[test]
fn invalidations_keep_their_place_among_the_replies_of_a_shard_whatever_the_pieces() {
    let (mut engine, key, upstream) = reader(tagged());
    let other = engine.open_session(0, "model".into());
    say(&mut engine, other, &["HELLO 3", "GET {a}1"]);
    assert_ne!(connect(&mut engine), None, "it shares none with others");
    say(&mut engine, key, &["GET {a}1", "SET {a}2 y", "GET {a}3"]);
    sent(&mut engine);
    let (first, own) = (invalidation("{a}1"), invalidation("{a}2"));
    let all = format!("{first}$1\r\ny\r\n+OK\r\n{own}$1\r\nz\r\n");
    for byte in all.bytes() {
        engine.handle_upstream_bytes(upstream, &[byte]);
    }
    assert_eq!(drained(&mut engine, key), all);
    engine.handle_upstream_bytes(upstream, b">2\r\n$10\r\nunheard-of\r\n_\r\n");
    assert_eq!(drained(&mut engine, key), "");
}

#[test]
fn an_invalidation_stands_behind_the_reply_that_it_takes_back_and_never_within_one() {
    let (mut engine, key, near) = reader(tagged());
    let far = stranger(&mut engine);
    let slow = asked(&mut engine, key, "CLIENT TRACKING ON", &format!("GET {far}"));
    say(&mut engine, key, &["GET {a}1"]);
    sent(&mut engine);
    let gone = invalidation("{a}1");
    engine.handle_upstream_bytes(near, format!("{gone}$1\r\nx\r\n{gone}").as_bytes());
    assert_eq!(drained(&mut engine, key), gone, "what no reply waits before comes at once");
    engine.handle_upstream_bytes(slow, b"$1\r\nf\r\n");
    assert_eq!(drained(&mut engine, key), format!("$1\r\nf\r\n$1\r\nx\r\n{gone}"));
    // Not before the reply that is joined of it and of what comes later.
    say(&mut engine, key, &[&format!("MGET {{a}}1 {far}")]);
    sent(&mut engine);
    engine.handle_upstream_bytes(near, format!("*1\r\n$1\r\ny\r\n{gone}").as_bytes());
    assert_eq!(drained(&mut engine, key), "");
    engine.handle_upstream_bytes(slow, b"*1\r\n$1\r\nf\r\n");
    assert_eq!(drained(&mut engine, key), format!("*2\r\n$1\r\ny\r\n$1\r\nf\r\n{gone}"));
    // Not within a large one of another shard.
    say(&mut engine, key, &[&format!("GET {far}")]);
    sent(&mut engine);
    let large = "v".repeat(100_000);
    engine.handle_upstream_bytes(slow, format!("$200000\r\n{large}").as_bytes());
    assert!(drained(&mut engine, key).len() >= 100_000);
    engine.handle_upstream_bytes(near, gone.as_bytes());
    assert_eq!(drained(&mut engine, key), "");
    engine.handle_upstream_bytes(slow, format!("{large}\r\n").as_bytes());
    assert_eq!(drained(&mut engine, key), format!("{large}\r\n{gone}"));
}

#[test]
fn a_lost_upstream_takes_all_copies_with_it_and_the_next_request_opens_another() {
    let (mut engine, key, upstream) = reader(tagged());
    say(&mut engine, key, &["GET {a}1"]);
    sent(&mut engine);
    engine.handle_upstream_failed(upstream, &Failure::Closed);
    let said = drained(&mut engine, key);
    assert!(said.starts_with("-ERR shard") && said.ends_with(all_gone()), "{said}");
    assert_eq!((engine.pools[0].held, engine.outstanding()), (0, (0, 0)));
    actions(&mut engine);
    asked(&mut engine, key, "CLIENT TRACKING ON", "GET {a}1");
    // Where prefixes are told of, the client may read elsewhere: it is cut.
    let (mut engine, key) = broadcasting();
    let upstream = engine.sessions.get(key).unwrap().mode.as_ref().unwrap().upstreams()[0];
    engine.handle_upstream_failed(upstream, &Failure::Closed);
    assert_eq!(drained(&mut engine, key), "");
    assert!(actions(&mut engine).contains(&Action::End(key)));
    assert_eq!((engine.pools[0].held, engine.outstanding()), (0, (0, 0)));
}

fn broadcasting() -> (Engine, Key) {
    broadcasting_in(tagged())
}

fn broadcasting_in(settings: PoolSettings) -> (Engine, Key) {
    let (mut engine, key) = engine(PoolSettings { timeout: None, ..settings });
    say(&mut engine, key, &["HELLO 3"]);
    drained(&mut engine, key);
    say(&mut engine, key, &["CLIENT TRACKING ON BCAST PREFIX a"]);
    let mut opened = Vec::new();
    while let Some(action) = engine.poll_action() {
        if let Action::Connect(upstream) = action {
            engine.handle_upstream_connected(upstream);
            opened.push(upstream);
        }
    }
    assert_eq!((opened.len(), engine.pools[0].held), (SHARDS, SHARDS));
    sent(&mut engine);
    opened.iter().for_each(|&upstream| engine.handle_upstream_bytes(upstream, GREETING));
    assert_eq!(sent_text(&mut engine), all_words(&["UNWATCH"; SHARDS]));
    for &upstream in &opened {
        assert_eq!(drained(&mut engine, key), "", "not before all shards tell of their keys");
        engine.handle_upstream_bytes(upstream, b"+OK\r\n");
    }
    assert_eq!(drained(&mut engine, key), "+OK\r\n");
    engine.handle_upstream_bytes(opened[1], invalidation("abc").as_bytes());
    assert_eq!(drained(&mut engine, key), invalidation("abc"));
    (engine, key)
}

#[test]
fn a_shard_that_is_down_refuses_to_broadcast_and_leaves_nothing_behind() {
    let (mut engine, key) = engine(PoolSettings { timeout: None, ..tagged() });
    say(&mut engine, key, &["HELLO 3", "CLIENT TRACKING ON BCAST"]);
    drained(&mut engine, key);
    let Some(Action::Connect(first)) = engine.poll_action() else { panic!("a connection is asked for") };
    engine.handle_upstream_failed(first, &Failure::Refused);
    while let Some(action) = engine.poll_action() {
        if let Action::Connect(upstream) = action {
            engine.handle_upstream_failed(upstream, &Failure::Refused);
        }
    }
    assert!(drained(&mut engine, key).starts_with("-ERR shard s0 of pool alpha refused the connection"));
    assert!(actions(&mut engine).contains(&Action::End(key)));
    assert_eq!((engine.pools[0].held, engine.outstanding(), engine.session_count()), (0, (0, 0), 0));
}

/// The same pool, but for a shard less.
fn fewer() -> PoolSettings {
    let mut settings = PoolSettings { timeout: None, ..tagged() };
    settings.pool.shards.truncate(SHARDS - 1);
    settings
}

#[test]
fn where_keys_move_all_copies_go_behind_the_last_reply_of_the_time_before() {
    let (mut engine, key, upstream) = reader(tagged());
    say(&mut engine, key, &["GET {a}1"]);
    sent(&mut engine);
    engine.reconfigure(pools(fewer(), Arc::new(Health::new(SHARDS - 1, None)))).unwrap();
    say(&mut engine, key, &["GET {a}1"]);
    engine.settle();
    assert_eq!((drained(&mut engine, key), connect(&mut engine)), (String::new(), None), "it waits");
    engine.handle_upstream_bytes(upstream, b"$1\r\nx\r\n");
    engine.settle();
    assert_eq!(drained(&mut engine, key), format!("$1\r\nx\r\n{}", all_gone()));
    assert!(connect(&mut engine).is_some());
    assert_eq!(sent_text(&mut engine), all_words(&["HELLO 3", "CLIENT TRACKING ON"]));
    assert_eq!(engine.pools[0].held, 1);
    // A reload that moves none changes nothing.
    let (mut engine, key, upstream) = reader(tagged());
    let same = PoolSettings { timeout: None, client_stall_timeout: Duration::from_secs(3), ..tagged() };
    engine.reconfigure(pools(same, Arc::new(Health::new(SHARDS, None)))).unwrap();
    engine.handle_upstream_bytes(upstream, invalidation("{a}1").as_bytes());
    assert_eq!(drained(&mut engine, key), invalidation("{a}1"));
    assert_eq!(engine.pools[0].held, 1);
}

/// The same pool, whose first shard follows Sentinel.
fn watched() -> PoolSettings {
    let endpoints = vec!["10.0.0.9:26379".parse().unwrap()];
    let sentinels = Sentinels { endpoints, watched_as: "m".into(), user: None, password: None };
    let mut settings = PoolSettings { timeout: None, ..tagged() };
    settings.followed = vec![None; SHARDS];
    let shard = home_of_a(&settings);
    settings.followed[shard] = Some(Followed::new(sentinels));
    let at = settings.pool.shards[shard].primary.clone();
    settings.with_primary(shard, Primary::Known, Some(&at))
}

/// The shard of the keys tagged `{a}`.
fn home_of_a(settings: &PoolSettings) -> usize {
    let router = Router::new(&settings.pool, &[true; SHARDS]).unwrap();
    match router.route(b"a", &mut Random::seeded(1)) {
        Route::Shard(shard) => shard,
        other => panic!("{other:?}"),
    }
}

fn switch(engine: &mut Engine, primary: Primary, at: Option<&str>) {
    let settings = engine.pools[0].settings.clone();
    let (shard, at) = (home_of_a(&settings), at.map(|at| at.parse().unwrap()));
    engine.switch(&Arc::new(settings.with_primary(shard, primary, at.as_ref())), shard);
}

#[test]
fn a_switch_takes_all_copies_at_once_and_what_is_asked_meanwhile_waits_for_the_new_primary() {
    let (mut engine, key, upstream) = reader(watched());
    switch(&mut engine, Primary::Switching, None);
    engine.settle();
    assert_eq!(drained(&mut engine, key), all_gone(), "before there is another primary");
    assert!(actions(&mut engine).contains(&Action::Disconnect(upstream)));
    say(&mut engine, key, &["GET {a}1"]);
    engine.settle();
    let Some(waiting) = engine.poll_action() else { panic!("a connection is asked for") };
    let Action::Connect(waiting) = waiting else { panic!("{waiting:?}") };
    assert_eq!(engine.upstream_endpoint(waiting), None, "there is nowhere to connect to yet");
    switch(&mut engine, Primary::Known, Some("10.0.0.2:2"));
    engine.settle();
    assert_eq!(drained(&mut engine, key), "", "it waits, and is not told of a primary that it never asked");
    assert_eq!(connect(&mut engine), Some(waiting));
    assert_eq!(engine.upstream_endpoint(waiting), "10.0.0.2:2".parse().ok().as_ref());
    assert_eq!(sent_text(&mut engine), all_words(&["HELLO 3", "CLIENT TRACKING ON"]));
    engine.handle_upstream_bytes(waiting, GREETING);
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]));
    engine.handle_upstream_bytes(waiting, format!("$1\r\ny\r\n{}", invalidation("{a}1")).as_bytes());
    assert_eq!(drained(&mut engine, key), format!("$1\r\ny\r\n{}", invalidation("{a}1")));
    assert_eq!((engine.pools[0].held, engine.outstanding()), (1, (0, 0)));
    // Other shards' switches concern other clients.
    let (mut engine, key, _) = reader(watched());
    let far = stranger(&mut engine);
    say(&mut engine, key, &["CLIENT TRACKING OFF", "CLIENT TRACKING ON"]);
    drained(&mut engine, key);
    actions(&mut engine);
    let slow = asked(&mut engine, key, "CLIENT TRACKING ON", &format!("GET {far}"));
    engine.handle_upstream_bytes(slow, b"_\r\n");
    drained(&mut engine, key);
    switch(&mut engine, Primary::Switching, None);
    switch(&mut engine, Primary::Known, Some("10.0.0.2:2"));
    engine.settle();
    assert_eq!(drained(&mut engine, key), "");
    // Where prefixes are told of, the client is cut.
    let (mut engine, key) = broadcasting_in(watched());
    switch(&mut engine, Primary::Switching, None);
    assert_eq!(drained(&mut engine, key), "");
    assert!(actions(&mut engine).contains(&Action::End(key)));
}

#[test]
fn who_waits_in_a_blocking_command_is_told_meanwhile_and_to_ask_again_where_keys_move() {
    let (mut engine, key, upstream) = reader(tagged());
    say(&mut engine, key, &["XREAD BLOCK 0 STREAMS {a}s $", "PING"]);
    assert_eq!(sent_text(&mut engine), all_words(&["XREAD BLOCK 0 STREAMS {a}s $"]));
    engine.handle_upstream_bytes(upstream, invalidation("{a}1").as_bytes());
    assert_eq!(drained(&mut engine, key), invalidation("{a}1"));
    engine.reconfigure(pools(fewer(), Arc::new(Health::new(SHARDS - 1, None)))).unwrap();
    engine.settle();
    let said = drained(&mut engine, key);
    assert!(
        said.starts_with("-UNBLOCKED ") && said.ends_with("+PONG\r\n") && said.contains(all_gone()),
        "{said}"
    );
    assert_eq!(engine.pools[0].held, 0);
}

#[test]
fn a_watch_and_what_it_guards_go_the_same_way() {
    let (mut engine, key, upstream) = reader(tagged());
    say(&mut engine, key, &["WATCH {a}1"]);
    assert_eq!(sent_text(&mut engine), all_words(&["WATCH {a}1"]));
    engine.handle_upstream_bytes(upstream, b"+OK\r\n");
    engine.settle();
    say(&mut engine, key, &["UNWATCH", "WATCH {a}1"]);
    assert_eq!(sent_text(&mut engine), all_words(&["UNWATCH", "WATCH {a}1"]));
    engine.handle_upstream_bytes(upstream, b"+OK\r\n+OK\r\n");
    engine.settle();
    assert_eq!(drained(&mut engine, key), "+OK\r\n+OK\r\n+OK\r\n");
    say(&mut engine, key, &["MULTI", "GET {a}1", "EXEC"]);
    assert_eq!(sent_text(&mut engine), all_words(&["MULTI", "GET {a}1", "EXEC"]));
    engine.handle_upstream_bytes(upstream, b"+OK\r\n+QUEUED\r\n*1\r\n$1\r\nx\r\n");
    engine.settle();
    assert_eq!(drained(&mut engine, key), "+OK\r\n+QUEUED\r\n*1\r\n$1\r\nx\r\n");
    assert_eq!((engine.pools[0].held, engine.outstanding()), (1, (0, 0)));
    // Lost with its upstream, which EXEC says.
    say(&mut engine, key, &["WATCH {a}1"]);
    sent(&mut engine);
    engine.handle_upstream_bytes(upstream, b"+OK\r\n");
    engine.settle();
    engine.handle_upstream_failed(upstream, &Failure::Closed);
    say(&mut engine, key, &["MULTI", "GET {a}1", "EXEC"]);
    assert!(drained(&mut engine, key).contains("-EXECABORT the connection that watched is gone"));
}

#[test]
fn client_caching_stands_right_before_what_it_speaks_of() {
    let on = "CLIENT TRACKING ON OPTIN";
    let (mut engine, key) = tracker(tagged(), on);
    let upstream = asked(&mut engine, key, on, "GET {a}1");
    engine.handle_upstream_bytes(upstream, b"_\r\n");
    say(&mut engine, key, &["CLIENT CACHING YES", "GET {a}1", "GET {a}2"]);
    assert_eq!(sent_text(&mut engine), all_words(&["CLIENT CACHING YES", "GET {a}1", "GET {a}2"]));
    engine.handle_upstream_bytes(upstream, b"+OK\r\n$1\r\n1\r\n$1\r\n2\r\n");
    assert_eq!(drained(&mut engine, key), "_\r\n+OK\r\n$1\r\n1\r\n$1\r\n2\r\n");
    // A script that goes before a transaction does not use it up.
    engine.pools[0].scripts.show(b"return 1");
    let call = "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 {a}1";
    say(&mut engine, key, &["CLIENT CACHING YES", "MULTI", call, "EXEC"]);
    let all = sent_text(&mut engine);
    assert!(all.contains("$4\r\nLOAD\r\n"), "{all}");
    assert!(all.ends_with(&all_words(&["CLIENT CACHING YES", "MULTI", call, "EXEC"])), "{all}");
    engine.handle_upstream_bytes(upstream, b"+OK\r\n$3\r\nsha\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
    assert_eq!(drained(&mut engine, key), "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
    // Nor does it outlive a command that is refused.
    let (mut engine, key) = tracker(tagged(), on);
    let upstream = asked(&mut engine, key, on, "GET {a}1");
    engine.handle_upstream_bytes(upstream, b"_\r\n");
    say(&mut engine, key, &["CLIENT CACHING YES", "GET", "GET {a}1"]);
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]));
}

#[test]
fn a_server_that_lets_nobody_track_is_not_a_server_that_fails() {
    let (retry_after, keys) = (Duration::from_secs(60), EjectedKeys::Fail);
    let ejection = Some(Ejection { failure_limit: 1, retry_after, keys });
    let (mut engine, key) = tracker(PoolSettings { ejection, ..tagged() }, "CLIENT TRACKING ON");
    say(&mut engine, key, &["GET {a}1"]);
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(upstream, b"%0\r\n-NOPERM no permissions to run 'client|tracking'\r\n");
    let said = drained(&mut engine, key);
    assert!(said.contains("refused the proxy: NOPERM"), "{said}");
    assert!(engine.pools[0].health.live().iter().all(|is_in| *is_in));
}

#[test]
fn what_ends_it_leaves_nothing_behind() {
    for line in ["RESET", "HELLO 2", "CLIENT TRACKING OFF"] {
        let (mut engine, key, upstream) = reader(tagged());
        say(&mut engine, key, &[line]);
        drained(&mut engine, key);
        assert!(actions(&mut engine).contains(&Action::Disconnect(upstream)), "{line}");
        assert!(engine.sessions.get(key).unwrap().mode.is_none() && engine.pools[0].held == 0, "{line}");
    }
    let (mut engine, key, upstream) = reader(tagged());
    engine.handle_session_end(key, SessionEnd::Eof);
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream), Action::End(key)]);
    assert_eq!(engine.pools[0].held, 0);
}

#[test]
fn a_client_that_does_not_read_is_cut_at_the_bounds_of_a_subscriber() {
    let many = |count: usize| invalidation(&"k".repeat(1024 * 1024)).repeat(count).into_bytes();
    let megabytes = UNSENT_MAX / (1024 * 1024);
    let (mut engine, key, upstream) = reader(tagged());
    engine.handle_upstream_bytes(upstream, &many(megabytes - 1));
    assert_eq!(engine.session_count(), 1);
    engine.handle_upstream_bytes(upstream, &many(1));
    assert_eq!((engine.session_count(), engine.pools[0].held), (0, 0));
    assert!(actions(&mut engine).contains(&Action::End(key)));
    // A little less, for too long.
    let (mut engine, _, upstream) = reader(tagged());
    engine.handle_upstream_bytes(upstream, &many(SLOW_MIN / (1024 * 1024) + 1));
    engine.begin_round(Time::from_micros(1) + SLOW_MAX, 1);
    engine.handle_upstream_bytes(upstream, invalidation("k").as_bytes());
    assert_eq!(engine.session_count(), 0);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &["CLIENT TRACKING ON"]);
    assert!(drained(&mut engine, key).starts_with("-ERR CLIENT TRACKING is not supported in RESP2"));
    let durability = Durability::Replicated { replicas: 1, timeout: Duration::from_secs(1) };
    let (mut engine, key) = super::engine(PoolSettings { durability, ..tagged() });
    say(&mut engine, key, &["HELLO 3", "CLIENT TRACKING ON"]);
    assert!(drained(&mut engine, key).contains("its durability is replicated"));
    // No upstream is left.
    let (mut engine, _, _) = reader(tagged());
    let mut last = None;
    for _ in 0..HELD_MAX {
        let key = engine.open_session(0, "model".into());
        engine.handle_session_bytes(key, &[words("HELLO 3"), words("CLIENT TRACKING ON")].concat());
        drained(&mut engine, key);
        say(&mut engine, key, &["GET {a}1"]);
        last = Some(key);
    }
    let said = drained(&mut engine, last.unwrap());
    assert!(said.contains("1024 upstreams are held by clients of this worker"), "{said}");
    assert_eq!(engine.pools[0].held, HELD_MAX);
}

#[test]
fn an_invalidation_that_is_too_long_ends_its_upstream_and_who_waits_on_it_is_told() {
    let (retry_after, keys) = (Duration::from_secs(60), EjectedKeys::Fail);
    let ejection = Some(Ejection { failure_limit: 1, retry_after, keys });
    let (mut engine, key, upstream) = reader(PoolSettings { ejection, ..tagged() });
    say(&mut engine, key, &["GET {a}1"]);
    sent(&mut engine);
    engine.handle_upstream_bytes(upstream, b">2\r\n$10\r\ninvalidate\r\n*1\r\n$40000000\r\n");
    let piece = vec![b'k'; 1024 * 1024];
    for _ in 0..UNSENT_MAX / piece.len() {
        engine.handle_upstream_bytes(upstream, &piece);
    }
    let said = drained(&mut engine, key);
    assert!(
        said.starts_with("-ERR shard s") && said.contains("an invalidation of more than 32 MiB"),
        "{said}"
    );
    assert!(said.ends_with(all_gone()), "{said}");
    assert_eq!((engine.pools[0].held, engine.outstanding()), (0, (0, 0)));
    assert!(engine.pools[0].health.live().iter().all(|is_in| *is_in));
}

#[test]
fn a_blocking_command_that_is_being_answered_when_keys_move_is_answered_to_its_end() {
    for size in [1, 200_000] {
        let (mut engine, key, upstream) = reader(tagged());
        say(&mut engine, key, &["BLPOP {a}1 0"]);
        sent(&mut engine);
        let reply = format!("*2\r\n$4\r\n{{a}}1\r\n${size}\r\n{}\r\n", "v".repeat(size));
        let (begin, rest) = reply.split_at(reply.len() / 2);
        engine.handle_upstream_bytes(upstream, begin.as_bytes());
        let mut said = drained(&mut engine, key);
        engine.reconfigure(pools(fewer(), Arc::new(Health::new(SHARDS - 1, None)))).unwrap();
        said += &drained(&mut engine, key);
        engine.handle_upstream_bytes(upstream, rest.as_bytes());
        said += &drained(&mut engine, key);
        assert!(said == format!("{reply}{}", all_gone()), "{}", &said[..said.len().min(300)]);
        assert_eq!((engine.pools[0].held, engine.outstanding()), (0, (0, 0)));
    }
    // An invalidation that is coming in is no answer.
    let (mut engine, key, upstream) = reader(tagged());
    say(&mut engine, key, &["BLPOP {a}1 0"]);
    sent(&mut engine);
    engine.handle_upstream_bytes(upstream, b">2\r\n$10\r\ninval");
    engine.reconfigure(pools(fewer(), Arc::new(Health::new(SHARDS - 1, None)))).unwrap();
    let said = drained(&mut engine, key);
    assert!(said.starts_with("-UNBLOCKED "), "{said}");
}

#[test]
fn a_watch_from_before_is_lost_and_exec_says_so() {
    for tracking in ["CLIENT TRACKING ON", "CLIENT TRACKING ON BCAST"] {
        let (mut engine, key) = engine(PoolSettings { timeout: None, ..tagged() });
        say(&mut engine, key, &["HELLO 3", "WATCH {a}1"]);
        let watching = connect(&mut engine).unwrap();
        sent(&mut engine);
        engine.handle_upstream_bytes(watching, b"%0\r\n");
        sent(&mut engine);
        engine.handle_upstream_bytes(watching, b"+OK\r\n");
        drained(&mut engine, key);
        say(&mut engine, key, &[tracking]);
        let mut opened = Vec::new();
        let mut gone = Vec::new();
        while let Some(action) = engine.poll_action() {
            match action {
                Action::Connect(upstream) => {
                    engine.handle_upstream_connected(upstream);
                    opened.push(upstream);
                }
                Action::Disconnect(upstream) => gone.push(upstream),
                _ => {}
            }
        }
        assert_eq!(gone, [watching], "{tracking}: what is read there is not tracked");
        sent(&mut engine);
        let greeted = [GREETING, b"+OK\r\n"].concat();
        for upstream in opened {
            engine.handle_upstream_bytes(upstream, &greeted[..GREETING.len()]);
            sent(&mut engine);
            engine.handle_upstream_bytes(upstream, &greeted[GREETING.len()..]);
        }
        say(&mut engine, key, &["MULTI", "GET {a}1", "EXEC", "MULTI", "GET {a}1", "EXEC"]);
        let said = drained(&mut engine, key);
        assert!(said.contains("-EXECABORT the connection that watched is gone"), "{said}");
        let upstream = connect(&mut engine);
        let mut all = sent_text(&mut engine);
        if let Some(upstream) = upstream {
            engine.handle_upstream_bytes(upstream, GREETING);
            all += &sent_text(&mut engine);
        }
        assert!(all.ends_with(&all_words(&["MULTI", "GET {a}1", "EXEC"])), "{all}");
    }
}

#[test]
fn what_is_told_in_resp3_stands_before_the_answer_to_hello_2() {
    let (mut engine, key, near) = reader(tagged());
    let far = stranger(&mut engine);
    let slow = asked(&mut engine, key, "CLIENT TRACKING ON", &format!("GET {far}"));
    say(&mut engine, key, &["GET {a}1", "HELLO 2", "PING"]);
    sent(&mut engine);
    let gone = invalidation("{a}1");
    engine.handle_upstream_bytes(near, format!("$1\r\nx\r\n{gone}").as_bytes());
    assert_eq!(drained(&mut engine, key), "");
    engine.handle_upstream_bytes(slow, b"$1\r\nf\r\n");
    let said = drained(&mut engine, key);
    assert!(said.starts_with(&format!("$1\r\nf\r\n$1\r\nx\r\n{gone}*14\r\n")), "{said}");
    assert!(said.ends_with("+PONG\r\n") && said.matches('>').count() == 1, "{said}");
}

#[test]
fn a_watch_that_fails_is_no_transaction() {
    for late in [false, true] {
        let (mut engine, key) = engine(tagged());
        say(&mut engine, key, &["HELLO 3", "CLIENT TRACKING ON"]);
        drained(&mut engine, key);
        let upstream = asked(&mut engine, key, "CLIENT TRACKING ON", "WATCH {a}1");
        match late {
            true => {
                engine.begin_round(Time::from_micros(1) + TIMEOUT / 2, 1);
                engine.handle_upstream_bytes(upstream, invalidation("{a}1").as_bytes());
                engine.begin_round(Time::from_micros(1) + TIMEOUT, 1);
                engine.handle_timeout();
            }
            false => engine.handle_upstream_failed(upstream, &Failure::Closed),
        }
        let said = drained(&mut engine, key);
        assert!(said.contains("-ERR shard ") && !said.contains("transaction"), "{said}");
    }
}
