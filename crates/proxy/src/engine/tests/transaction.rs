//! Transactions and watched keys.

use super::cases::{connect, one_lane, request, sent};
use super::*;
use crate::mode::TRANSACTION_COMMANDS_MAX;

/// A pool with hash tags.
pub(super) fn tagged() -> PoolSettings {
    let mut settings = one_lane(Dialect::Shoal);
    settings.pool.hash_tag = Some("{}".parse().unwrap());
    settings
}

/// Hands `commands`, split by blanks, to the engine in one piece.
pub(super) fn say(engine: &mut Engine, key: Key, commands: &[&str]) {
    let all: Vec<u8> = commands.iter().flat_map(|line| words(line)).collect();
    engine.handle_session_bytes(key, &all);
}

pub(super) fn words(line: &str) -> Vec<u8> {
    request(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

pub(super) fn all_words(lines: &[&str]) -> String {
    String::from_utf8(lines.iter().flat_map(|line| words(line)).collect()).unwrap()
}

pub(super) fn sent_text(engine: &mut Engine) -> String {
    String::from_utf8(sent(engine)).unwrap()
}

#[test]
fn a_transaction_goes_out_as_one_block_at_exec_and_exec_alone_is_answered_by_the_server() {
    let (mut engine, key) = engine(tagged());
    let other = engine.open_session(0, "model".into());
    say(&mut engine, key, &["MULTI", "SET {a}1 x", "PING", "GET {a}2"]);
    assert_eq!(drained(&mut engine, key), "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
    assert_eq!(connect(&mut engine), None, "nothing is asked of a server before EXEC");
    say(&mut engine, key, &["EXEC", "GET {a}1"]);
    say(&mut engine, other, &["GET {a}3"]);
    let upstream = connect(&mut engine).unwrap();
    let block = ["MULTI", "SET {a}1 x", "PING", "GET {a}2", "EXEC", "GET {a}1", "GET {a}3"];
    assert_eq!(sent_text(&mut engine), all_words(&block));
    engine.handle_upstream_bytes(
        upstream,
        b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n+PONG\r\n$-1\r\n$1\r\nx\r\n$1\r\n3\r\n",
    );
    assert_eq!(drained(&mut engine, key), "*3\r\n+OK\r\n+PONG\r\n$-1\r\n$1\r\nx\r\n");
    say(&mut engine, other, &["PING"]);
    assert_eq!(drained(&mut engine, other), "+PONG\r\n");
    assert_eq!(engine.outstanding(), (0, 0));
}

#[test]
fn what_is_refused_while_queueing_ends_in_execabort_and_reaches_no_server() {
    for (refused, error) in [
        ("NOSUCH a", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n"),
        ("GET", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("SELECT 7", "-ERR DB index is out of range\r\n"),
        (
            "INFO",
            "-ERR 'info' is answered by the proxy, and cannot be part of a transaction, which a server answers\r\n",
        ),
    ] {
        let (mut engine, key) = engine(tagged());
        say(&mut engine, key, &["MULTI", "SET {a}1 x", refused, "GET {a}1", "EXEC", "PING"]);
        let expected = format!(
            "+OK\r\n+QUEUED\r\n{error}+QUEUED\r\n-EXECABORT Transaction discarded because of previous errors.\r\n+PONG\r\n"
        );
        assert_eq!(drained(&mut engine, key), expected);
        assert_eq!(connect(&mut engine), None);
    }
}

#[test]
fn misplaced_steps_are_refused_in_the_words_of_redis_and_harm_nothing() {
    let (mut engine, key) = engine(tagged());
    say(
        &mut engine,
        key,
        &["EXEC", "DISCARD", "UNWATCH", "MULTI", "MULTI", "WATCH a", "EXEC", "MULTI", "DISCARD"],
    );
    assert_eq!(
        drained(&mut engine, key),
        "-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n+OK\r\n+OK\r\n-ERR MULTI calls can not be nested\r\n\
         -ERR WATCH inside MULTI is not allowed\r\n*0\r\n+OK\r\n+OK\r\n"
    );
    assert!(engine.sessions.get(key).unwrap().mode.is_none(), "nothing is left of it");
}

/// A key on another shard than `{a}`.
pub(super) fn stranger(engine: &mut Engine) -> String {
    let home = engine.pools[0].router.route(b"{a}", &mut engine.random);
    let mut others = (0..).map(|number| format!("k{number}"));
    others.find(|key| engine.pools[0].router.route(key.as_bytes(), &mut engine.random) != home).unwrap()
}

#[test]
fn keys_on_several_shards_are_refused_by_name() {
    let (mut engine, key) = engine(tagged());
    let far = stranger(&mut engine);
    say(
        &mut engine,
        key,
        &["MULTI", "GET {a}1", &format!("GET {far}"), &format!("MSET {{a}}1 x {far} y"), "EXEC"],
    );
    let said = drained(&mut engine, key);
    assert!(
        said.contains("-CROSSSLOT 'get' has its key on another shard of pool alpha than this transaction"),
        "{said}"
    );
    assert!(said.contains("-CROSSSLOT keys of 'mset' lie on several shards of pool alpha"), "{said}");
    assert!(said.ends_with("-EXECABORT Transaction discarded because of previous errors.\r\n"), "{said}");
    assert_eq!(connect(&mut engine), None);
}

#[test]
fn a_transaction_has_bounds() {
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &["MULTI"]);
    let get = words("GET {a}1").repeat(1000);
    for _ in 0..TRANSACTION_COMMANDS_MAX / 1000 + 1 {
        engine.handle_session_bytes(key, &get);
        drained(&mut engine, key);
    }
    say(&mut engine, key, &["EXEC"]);
    assert!(drained(&mut engine, key).contains("-EXECABORT"));
    let large = "x".repeat(1024 * 1024);
    let set = words(&format!("SET {{a}}1 {large}"));
    say(&mut engine, key, &["MULTI"]);
    for _ in 0..16 {
        engine.handle_session_bytes(key, &set);
    }
    let said = drained(&mut engine, key);
    assert!(
        said.contains("-ERR this transaction is too long: the proxy keeps at most 16384 commands"),
        "{said}"
    );
}

#[test]
fn a_shard_that_dies_at_exec_says_whether_it_may_have_been_executed() {
    for (taken, fate) in [(usize::MAX, "is not known"), (52, "the transaction was not executed")] {
        let (mut engine, key) = engine(tagged());
        say(&mut engine, key, &["MULTI", "INCR {a}1", "EXEC"]);
        let upstream = connect(&mut engine).unwrap();
        assert_eq!(engine.poll_upstream(), Some(upstream));
        let offered = engine.upstream_output(upstream).len();
        engine.handle_upstream_sent(upstream, taken.min(offered));
        engine.handle_upstream_failed(upstream, &Failure::Reset);
        let said = drained(&mut engine, key);
        assert!(said.contains("reset the connection before it answered") && said.contains(fate), "{said}");
        assert_eq!(connect(&mut engine), None, "nothing is sent again");
        // While the shard is backing off it is known at once.
        say(&mut engine, key, &["MULTI", "INCR {a}1", "EXEC"]);
        let said = drained(&mut engine, key);
        assert!(
            said.ends_with("is down; it is tried again in a moment; the transaction was not executed\r\n"),
            "{said}"
        );
    }
}

#[test]
fn a_transaction_that_times_out_may_have_been_executed() {
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &["MULTI", "INCR {a}1", "EXEC"]);
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.begin_round(Time::from_micros(1) + TIMEOUT / 2, 1);
    engine.handle_upstream_bytes(upstream, b"+OK\r\n");
    engine.begin_round(Time::from_micros(1) + TIMEOUT, 1);
    engine.handle_timeout();
    let said = drained(&mut engine, key);
    assert!(
        said.contains("timed out") && said.ends_with("whether the transaction was executed is not known\r\n"),
        "{said}"
    );
    engine.handle_upstream_bytes(upstream, b"+QUEUED\r\n*1\r\n:1\r\n");
    say(&mut engine, key, &["PING"]);
    assert_eq!(drained(&mut engine, key), "+PONG\r\n", "what comes late is nobody's");
}

#[test]
fn a_watch_is_in_place_before_anything_else_is_asked_and_exec_goes_where_it_is() {
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &["SET {a}1 x", "WATCH {a}1 {a}2", "GET {a}1"]);
    let shared = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&["SET {a}1 x"]), "it waits for what the session is owed");
    engine.handle_upstream_bytes(shared, b"+OK\r\n");
    drained(&mut engine, key);
    let own = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&["WATCH {a}1 {a}2"]));
    engine.handle_upstream_bytes(own, b"+OK\r\n");
    assert_eq!(drained(&mut engine, key), "+OK\r\n");
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]), "and what follows waits for it");
    say(&mut engine, key, &["MULTI", "SET {a}1 y", "EXEC", "GET {a}1"]);
    assert_eq!(sent_text(&mut engine), "");
    engine.handle_upstream_bytes(shared, b"$1\r\nx\r\n");
    assert_eq!(drained(&mut engine, key), "$1\r\nx\r\n+OK\r\n+QUEUED\r\n");
    assert_eq!(engine.poll_upstream(), Some(own));
    let output = engine.upstream_output(own).to_vec();
    assert_eq!(String::from_utf8(output.clone()).unwrap(), all_words(&["MULTI", "SET {a}1 y", "EXEC"]));
    engine.handle_upstream_sent(own, output.len());
    engine.handle_upstream_bytes(own, b"+OK\r\n+QUEUED\r\n*-1\r\n");
    assert_eq!(drained(&mut engine, key), "*-1\r\n");
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]));
    assert_eq!((engine.pools[0].held, engine.pools[0].dedicated), (0, 0));
    engine.handle_upstream_bytes(shared, b"$1\r\nz\r\n");
    // What is clean serves the next one.
    say(&mut engine, key, &["WATCH {a}1"]);
    assert_eq!(connect(&mut engine), None);
    assert_eq!(engine.poll_upstream(), Some(own));
}

/// A session that watches `{a}1`, and the upstream on which it does.
fn watching() -> (Engine, Key, Key) {
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &["WATCH {a}1"]);
    let own = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(own, b"+OK\r\n");
    assert_eq!(drained(&mut engine, key), "+OK\r\n");
    (engine, key, own)
}

pub(super) fn actions(engine: &mut Engine) -> Vec<Action> {
    std::iter::from_fn(|| engine.poll_action()).filter(|action| !matches!(action, Action::Read(_))).collect()
}

#[test]
fn a_watch_that_is_not_needed_any_more_is_closed() {
    for (words, reply) in [("UNWATCH", "+OK\r\n"), ("RESET", "+RESET\r\n"), ("QUIT", "+OK\r\n")] {
        let (mut engine, key, own) = watching();
        say(&mut engine, key, &[words]);
        assert_eq!(drained(&mut engine, key), reply);
        assert_eq!(actions(&mut engine)[0], Action::Disconnect(own), "{words}");
        assert_eq!(engine.pools[0].held, 0);
    }
    let (mut engine, key, own) = watching();
    say(&mut engine, key, &["MULTI", "DISCARD"]);
    assert_eq!(drained(&mut engine, key), "+OK\r\n+OK\r\n");
    assert_eq!(actions(&mut engine), [Action::Disconnect(own)]);
    for end in [SessionEnd::Eof, SessionEnd::Error] {
        let (mut engine, key, own) = watching();
        engine.handle_session_end(key, end);
        assert_eq!(actions(&mut engine), [Action::Disconnect(own), Action::End(key)]);
        assert_eq!(engine.pools[0].held, 0);
    }
}

#[test]
fn a_watch_that_is_lost_aborts_exec_by_name() {
    let (mut engine, key, own) = watching();
    engine.handle_upstream_failed(own, &Failure::Closed);
    assert_eq!(engine.pools[0].held, 0);
    say(&mut engine, key, &["WATCH {a}2", "MULTI", "SET {a}1 x", "EXEC", "MULTI", "EXEC"]);
    let said = drained(&mut engine, key);
    assert!(
        said.contains("-EXECABORT the connection that watched is gone") && said.ends_with("+OK\r\n*0\r\n"),
        "{said}"
    );
    let (mut engine, key, own) = watching();
    say(&mut engine, key, &["HELLO 3", "MULTI", "EXEC"]);
    assert!(drained(&mut engine, key).contains("-EXECABORT the connection that watched is gone"));
    assert_eq!(actions(&mut engine), [Action::Disconnect(own)]);
}

#[test]
fn a_reload_that_moves_keys_aborts_and_one_that_does_not_changes_nothing() {
    let reload = |engine: &mut Engine, settings: PoolSettings| {
        let shards = settings.pool.shards.len();
        engine.reconfigure(pools(settings, Arc::new(Health::new(shards, None)))).unwrap();
    };
    let (mut engine, key, own) = watching();
    say(&mut engine, key, &["MULTI", "GET {a}1"]);
    reload(&mut engine, PoolSettings { timeout: None, ..tagged() });
    assert_eq!(engine.pools[0].held, 1);
    say(&mut engine, key, &["EXEC"]);
    assert_eq!(engine.poll_upstream(), Some(own), "{}", drained(&mut engine, key));
    let (mut engine, key, own) = watching();
    say(&mut engine, key, &["MULTI", "GET {a}1"]);
    let mut moved = tagged();
    moved.pool.shards.truncate(2);
    reload(&mut engine, moved);
    assert_eq!(actions(&mut engine), [Action::Disconnect(own)]);
    say(&mut engine, key, &["EXEC"]);
    assert!(
        drained(&mut engine, key).contains("-EXECABORT the shards of pool alpha have changed since MULTI")
    );
    assert_eq!((engine.pools[0].held, engine.pools[0].dedicated), (0, 0));
}

#[test]
fn a_watch_that_is_under_way_when_shards_change_is_answered_by_an_error() {
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &["WATCH {a}1", "PING"]);
    let own = connect(&mut engine).unwrap();
    let mut moved = tagged();
    moved.pool.shards.truncate(2);
    engine.reconfigure(pools(moved, Arc::new(Health::new(2, None)))).unwrap();
    assert_eq!(
        drained(&mut engine, key),
        "-ERR the shards of the pool have changed: UNWATCH, and WATCH again\r\n+PONG\r\n"
    );
    assert_eq!(actions(&mut engine), [Action::Disconnect(own)]);
}

#[test]
fn a_transaction_is_void_when_a_shard_is_ejected_meanwhile() {
    let ejection = Ejection {
        failure_limit: 1,
        retry_after: Duration::from_millis(50),
        keys: EjectedKeys::Move { empty_on_return: false },
    };
    let (mut engine, key) = engine(PoolSettings { ejection: Some(ejection), ..tagged() });
    say(&mut engine, key, &["MULTI", "INCR {a}1"]);
    let now = crate::health::Now { monotonic: 1, unix: 1 };
    engine.pools[0].health.failed(0, 0, now);
    engine.begin_round(Time::from_micros(2), 2);
    say(&mut engine, key, &["EXEC"]);
    assert!(
        drained(&mut engine, key).contains("-EXECABORT the shards of pool alpha have changed since MULTI")
    );
}

#[test]
fn a_long_transaction_takes_an_upstream_of_its_own() {
    let (mut engine, key) = engine(tagged());
    let large = "x".repeat(100_000);
    say(&mut engine, key, &["GET {a}1", "MULTI", &format!("SET {{a}}1 {large}"), "EXEC", "GET {a}1"]);
    let shared = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]));
    engine.handle_upstream_bytes(shared, b"$-1\r\n");
    assert_eq!(drained(&mut engine, key), "$-1\r\n+OK\r\n+QUEUED\r\n");
    let own = connect(&mut engine).unwrap();
    assert!(own != shared && sent(&mut engine).len() > 100_000);
    engine.handle_upstream_bytes(own, b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    assert_eq!(drained(&mut engine, key), "*1\r\n+OK\r\n");
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]));
}

#[test]
fn under_the_dialect_of_nutcracker_all_of_it_is_refused() {
    for line in ["MULTI", "EXEC", "DISCARD", "WATCH a", "UNWATCH"] {
        let (mut engine, key) = engine(one_lane(Dialect::Nutcracker));
        say(&mut engine, key, &[line]);
        let name = line.split(' ').next().unwrap();
        let said = drained(&mut engine, key);
        assert!(said.starts_with(&format!("-ERR unknown command '{name}'")), "{said}");
    }
}

#[test]
fn a_transaction_that_is_alone_does_not_gather() {
    let (mut engine, key) = engine(PoolSettings { gather: true, ..tagged() });
    let other = engine.open_session(0, "model".into());
    let block = ["MULTI", "INCR {a}1", "EXEC"];
    let mut upstream = None;
    for _ in 0..2 {
        say(&mut engine, key, &block);
        upstream = connect(&mut engine).or(upstream);
        assert_eq!(sent_text(&mut engine), all_words(&block), "no answer is owed that it could wait for");
        say(&mut engine, other, &["GET {a}1"]);
        assert_eq!(sent_text(&mut engine), "", "who comes now waits for it");
        engine.handle_upstream_bytes(upstream.unwrap(), b"+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
        assert_eq!(drained(&mut engine, key), "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
        assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]));
        engine.handle_upstream_bytes(upstream.unwrap(), b"$1\r\n1\r\n");
    }
}

#[test]
fn a_script_is_loaded_once_for_a_transaction_and_known_to_be_there_afterwards() {
    let (mut engine, key) = engine(tagged());
    engine.pools[0].scripts.show(b"return(1)");
    let name = "930269f31393d0be681588b6ab08dccee7d6bb67";
    let call = &*format!("EVALSHA {name} 1 {{a}}1");
    say(&mut engine, key, &["MULTI", call, "DISCARD", "MULTI", call, call, "EXEC"]);
    let upstream = connect(&mut engine).unwrap();
    let block = ["MULTI", call, call, "EXEC"];
    assert_eq!(sent_text(&mut engine), all_words(&["SCRIPT LOAD return(1)"]) + &all_words(&block));
    let answers = format!("$40\r\n{name}\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:1\r\n");
    engine.handle_upstream_bytes(upstream, answers.as_bytes());
    assert!(drained(&mut engine, key).ends_with("+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:1\r\n"));
    say(&mut engine, key, &block);
    assert_eq!(sent_text(&mut engine), all_words(&block));
    assert_eq!(engine.upstreams.get(upstream).unwrap().queue.len(), 4);
}

#[test]
fn scripts_count_towards_the_length_of_a_transaction() {
    let (mut engine, key) = engine(tagged());
    let body = format!("return(1)--{}", "x".repeat(100_000));
    let name = engine.pools[0].scripts.show(body.as_bytes()).unwrap();
    let call = &*format!("EVALSHA {} 1 {{a}}1", std::str::from_utf8(&name).unwrap());
    say(&mut engine, key, &["MULTI", call, "EXEC"]);
    assert!(connect(&mut engine).is_some());
    assert_eq!(engine.pools[0].dedicated, 1, "others do not wait behind it");
    assert!(sent(&mut engine).len() > 100_000);
}
