//! Writes that are answered once replicas have them: single cases, and primaries that die with what replicas lack, by seeds.

use super::cases::{connect, one_lane, request};
use super::tracking::reader;
use super::transaction::{actions, all_words, say, sent_text, tagged};
use super::*;

mod world;

const WAIT: &str = "WAIT 1 20";

/// A pool with hash tags whose writes one replica must have.
fn replicated() -> PoolSettings {
    let durability = Durability::Replicated { replicas: 1, timeout: Duration::from_millis(20) };
    PoolSettings { durability, ..tagged() }
}

/// A session with a write outstanding, and its upstream.
fn writing(line: &str) -> (Engine, Key, Key) {
    let (mut engine, key) = engine(replicated());
    say(&mut engine, key, &[line]);
    let upstream = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&[line, WAIT]));
    (engine, key, upstream)
}

fn at(engine: &mut Engine, millis: u64) {
    engine.begin_round(Time::from_micros(millis * 1000), millis * 1000);
    engine.handle_timeout();
}

#[test]
fn a_write_is_answered_when_the_wait_behind_it_is() {
    let (mut engine, key, upstream) = writing("SET {a}1 x");
    engine.handle_upstream_bytes(upstream, b"+OK\r\n");
    assert_eq!(drained(&mut engine, key), "", "it was executed, and no more is known");
    engine.handle_upstream_bytes(upstream, b":");
    engine.handle_upstream_bytes(upstream, b"1\r\n");
    assert_eq!(drained(&mut engine, key), "+OK\r\n");
    assert_eq!(engine.outstanding(), (0, 0));
}

#[test]
fn what_is_not_reached_is_an_error_that_says_so_and_an_error_of_the_servers_stays_one() {
    let (mut engine, key) = engine(replicated());
    let lines = ["SET {a}1 x", "GET {a}1", "INCR {a}1"];
    say(&mut engine, key, &lines);
    let upstream = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&["SET {a}1 x", "GET {a}1", "INCR {a}1", WAIT]));
    engine.handle_upstream_bytes(upstream, b"+OK\r\n$1\r\nx\r\n-ERR value is not an integer\r\n");
    assert_eq!(drained(&mut engine, key), "");
    engine.handle_upstream_bytes(upstream, b":0\r\n");
    let shard = engine.upstreams.get(upstream).unwrap().home.shard;
    let expected = format!(
        "-UNREPLICATED applied, not yet replicated: 0 of 1 replicas of shard s{shard} of pool alpha confirmed it within 20 ms\r\n\
         $1\r\nx\r\n-ERR value is not an integer\r\n"
    );
    assert_eq!(drained(&mut engine, key), expected);
    assert_eq!(engine.pools[0].counts.servers[shard].unreplicated.get(), 1);
    assert_eq!(engine.pools[0].counts.servers[shard].waits.get(), 1);
}

#[test]
fn a_refused_wait_is_no_success() {
    let (mut engine, key, upstream) = writing("SET {a}1 x");
    engine.handle_upstream_bytes(upstream, b"+OK\r\n-UNBLOCKED force unblock\r\n");
    let said = drained(&mut engine, key);
    assert!(
        said.starts_with("-UNREPLICATED applied, not yet replicated: ") && said.contains("UNBLOCKED"),
        "{said}"
    );
    let (mut engine, key, upstream) = writing("SET {a}1 x");
    engine.handle_upstream_bytes(upstream, b"+OK\r\n$1\r\n1\r\n");
    assert!(drained(&mut engine, key).contains("not known to be replicated"), "that is no answer to WAIT");
}

#[test]
fn a_connection_that_ends_between_reply_and_wait_leaves_an_error() {
    let (mut engine, key, upstream) = writing("SET {a}1 x");
    say(&mut engine, key, &["SET {a}2 x"]);
    engine.handle_upstream_bytes(upstream, b"+OK\r\n");
    engine.handle_upstream_failed(upstream, &Failure::Closed);
    let said = drained(&mut engine, key);
    let (first, second) = said.split_once("\r\n").unwrap();
    assert!(first.starts_with("-UNREPLICATED applied, not known to be replicated: shard s"), "{said}");
    assert!(second.starts_with("-ERR shard s") && second.contains("closed the connection"), "{said}");
    assert_eq!(engine.outstanding(), (0, 0));
    let _ = connect(&mut engine);
    assert_eq!(sent_text(&mut engine), "", "nothing is sent twice");
}

#[test]
fn one_wait_serves_a_batch_and_the_next_batch_gathers_meanwhile() {
    let (mut engine, first) = engine(replicated());
    // Sessions of the same write lane have ids that differ by the number of lanes.
    let mut others: Vec<Key> = (0..6).map(|_| engine.open_session(0, "model".into())).collect();
    let others: Vec<Key> = others.drain(..).skip(1).step_by(2).collect();
    say(&mut engine, first, &["SET {a}0 x"]);
    say(&mut engine, others[0], &["SET {a}1 x"]);
    let upstream = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&["SET {a}0 x", "SET {a}1 x", WAIT]));
    say(&mut engine, others[1], &["SET {a}2 x"]);
    say(&mut engine, others[2], &["SET {a}3 x"]);
    engine.handle_upstream_bytes(upstream, b"+OK\r\n+OK\r\n");
    assert_eq!(sent_text(&mut engine), "", "the server would not look at it");
    engine.handle_upstream_bytes(upstream, b":1\r\n");
    assert_eq!(drained(&mut engine, others[0]), "+OK\r\n");
    assert_eq!(sent_text(&mut engine), all_words(&["SET {a}2 x", "SET {a}3 x", WAIT]));
}

#[test]
fn reads_of_others_are_answered_while_a_write_waits_for_a_replica() {
    let (mut engine, key, upstream) = writing("SET {a}1 x");
    engine.handle_upstream_bytes(upstream, b"+OK\r\n");
    for _ in 0..4 {
        let other = engine.open_session(0, "model".into());
        say(&mut engine, other, &["GET {a}1"]);
        let connected = connect(&mut engine);
        let read = engine.pools[0].lanes.iter().flatten().copied().find(|&lane| lane != upstream).unwrap();
        assert!(connected.is_none_or(|connected| connected == read));
        assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]));
        engine.handle_upstream_bytes(read, b"$1\r\nx\r\n");
        assert_eq!(drained(&mut engine, other), "$1\r\nx\r\n");
    }
    engine.handle_upstream_bytes(upstream, b":1\r\n");
    assert_eq!(drained(&mut engine, key), "+OK\r\n");
}

#[test]
fn a_session_follows_its_own_writes_and_its_writes_follow_its_own_reads() {
    let (mut engine, key, upstream) = writing("SET {a}1 x");
    say(&mut engine, key, &["GET {a}1", "SET {a}1 y"]);
    engine.handle_upstream_bytes(upstream, b"+OK\r\n:1\r\n");
    assert_eq!(drained(&mut engine, key), "+OK\r\n");
    assert_eq!(connect(&mut engine), None, "all by the same upstream");
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1", "SET {a}1 y", WAIT]));
    engine.handle_upstream_bytes(upstream, b"$1\r\nx\r\n+OK\r\n:1\r\n");
    assert_eq!(drained(&mut engine, key), "$1\r\nx\r\n+OK\r\n");
    // Nothing is outstanding: reads are where those of others are.
    say(&mut engine, key, &["GET {a}1", "SET {a}1 z"]);
    let reads = connect(&mut engine).unwrap();
    assert_ne!(reads, upstream);
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]), "the write waits for the read before it");
    engine.handle_upstream_bytes(reads, b"$1\r\ny\r\n");
    assert_eq!(drained(&mut engine, key), "$1\r\ny\r\n");
    assert_eq!(sent_text(&mut engine), all_words(&["SET {a}1 z", WAIT]));
    say(&mut engine, key, &["GET {a}1"]);
    engine.handle_upstream_bytes(upstream, b"+OK\r\n:1\r\n");
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]), "a batch without a write needs no WAIT");
}

#[test]
fn each_part_of_a_split_write_has_its_wait_and_one_that_fails_fails_all() {
    let (mut engine, key) = engine(replicated());
    let keys: Vec<String> = (0..SHARDS)
        .map(|shard| {
            let on_it = |name: &String| {
                let route = engine.pools[0].router.route(name.as_bytes(), &mut Random::seeded(1));
                route == shoal_topology::Route::Shard(shard)
            };
            (0..1000).map(|n| format!("k{n}")).find(on_it).unwrap()
        })
        .collect();
    say(&mut engine, key, &[&format!("MSET {} a {} b {} c", keys[0], keys[1], keys[2])]);
    connect(&mut engine);
    assert_eq!(sent_text(&mut engine).matches("WAIT").count(), SHARDS);
    let mut upstreams: Vec<Key> = engine.upstreams.keys();
    let last = upstreams.pop().unwrap();
    for upstream in upstreams {
        engine.handle_upstream_bytes(upstream, b"+OK\r\n:1\r\n");
    }
    engine.handle_upstream_bytes(last, b"+OK\r\n");
    assert_eq!(drained(&mut engine, key), "");
    let shard = engine.upstreams.get(last).unwrap().home.shard;
    engine.handle_upstream_bytes(last, b":0\r\n");
    let said = drained(&mut engine, key);
    let expected =
        format!("-UNREPLICATED applied, not yet replicated: 0 of 1 replicas of shard s{shard} of pool alpha");
    assert!(said.starts_with(&expected), "{said}");
    assert_eq!(engine.outstanding(), (0, 0));
}

#[test]
fn a_transaction_that_writes_is_waited_for_and_one_that_reads_is_not() {
    let (mut engine, key) = engine(replicated());
    say(&mut engine, key, &["MULTI", "SET {a}1 x", "EXEC"]);
    let writes = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&["MULTI", "SET {a}1 x", "EXEC", WAIT]));
    engine.handle_upstream_bytes(writes, b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    let before = "+OK\r\n+QUEUED\r\n";
    assert_eq!(drained(&mut engine, key), before);
    engine.handle_upstream_bytes(writes, b":1\r\n");
    assert_eq!(drained(&mut engine, key), "*1\r\n+OK\r\n");
    say(&mut engine, key, &["MULTI", "GET {a}1", "EXEC"]);
    connect(&mut engine);
    assert_eq!(sent_text(&mut engine), all_words(&["MULTI", "GET {a}1", "EXEC"]));
    // With watched keys too, on the upstream that watches.
    let other = engine.open_session(0, "model".into());
    say(&mut engine, other, &["WATCH {a}1"]);
    let own = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&["WATCH {a}1"]));
    engine.handle_upstream_bytes(own, b"+OK\r\n");
    say(&mut engine, other, &["MULTI", "SET {a}1 x", "EXEC"]);
    assert!(drained(&mut engine, other).starts_with("+OK\r\n"));
    assert_eq!(sent_text(&mut engine), all_words(&["MULTI", "SET {a}1 x", "EXEC", WAIT]));
    engine.handle_upstream_bytes(own, b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    assert_eq!(drained(&mut engine, other), "");
    engine.handle_upstream_bytes(own, b":0\r\n");
    assert!(drained(&mut engine, other).starts_with("-UNREPLICATED applied"));
}

#[test]
fn a_script_may_write_and_keeps_its_wait_when_it_is_loaded_anew() {
    let (mut engine, key) = engine(replicated());
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"; // of "return 1"
    say(&mut engine, key, &["SCRIPT LOAD return_1"]);
    connect(&mut engine);
    assert!(!sent_text(&mut engine).contains("WAIT"), "a script is no data");
    let (mut engine, key) = self::engine(replicated());
    engine.handle_session_bytes(key, &request(&[b"EVAL", b"return 1", b"1", b"{a}1"]));
    let upstream = connect(&mut engine).unwrap();
    assert!(sent_text(&mut engine).ends_with(&all_words(&[WAIT])));
    engine.handle_upstream_bytes(upstream, b":1\r\n:1\r\n");
    assert_eq!(drained(&mut engine, key), ":1\r\n");
    let call = format!("EVALSHA {sha} 1 {{a}}1");
    say(&mut engine, key, &[&call]);
    assert_eq!(sent_text(&mut engine), all_words(&[&call, WAIT]));
    engine.handle_upstream_bytes(upstream, b"-NOSCRIPT No matching script\r\n");
    assert_eq!(drained(&mut engine, key), "");
    engine.handle_upstream_bytes(upstream, b":1\r\n");
    assert!(sent_text(&mut engine).ends_with(&all_words(&[&call, WAIT])));
    engine.handle_upstream_bytes(upstream, format!("$40\r\n{sha}\r\n:1\r\n").as_bytes());
    assert_eq!(drained(&mut engine, key), "");
    engine.handle_upstream_bytes(upstream, b":1\r\n");
    assert_eq!(drained(&mut engine, key), ":1\r\n");
}

#[test]
fn behind_a_pop_that_was_blocked_a_command_stands_before_the_wait() {
    let (mut engine, key) = engine(replicated());
    say(&mut engine, key, &["BLPOP {a}1 0"]);
    let upstream = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&["BLPOP {a}1 0", "PING", WAIT]));
    at(&mut engine, 60_000);
    engine.handle_upstream_bytes(upstream, b"*2\r\n$4\r\n{a}1\r\n$1\r\nx\r\n");
    at(&mut engine, 60_099);
    assert_eq!(drained(&mut engine, key), "", "the WAIT has its time from here on");
    engine.handle_upstream_bytes(upstream, b"+PONG\r\n:1\r\n");
    assert_eq!(drained(&mut engine, key), "*2\r\n$4\r\n{a}1\r\n$1\r\nx\r\n");
    assert_eq!((engine.pools[0].held, engine.pools[0].dedicated), (0, 0));
}

#[test]
fn a_blocking_command_that_fails_leaves_its_upstream_clean() {
    let (mut engine, key) = engine(replicated());
    say(&mut engine, key, &["BLPOP {a}1 0"]);
    let upstream = connect(&mut engine).unwrap();
    sent_text(&mut engine);
    at(&mut engine, 60_000);
    engine.handle_upstream_bytes(upstream, b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    assert_eq!(drained(&mut engine, key), "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    at(&mut engine, 60_050);
    assert!(!actions(&mut engine).contains(&Action::Disconnect(upstream)), "its WAIT has its time");
    engine.handle_upstream_bytes(upstream, b"+PONG\r\n:1\r\n");
    say(&mut engine, key, &["GET {a}1"]);
    assert_eq!(connect(&mut engine), None, "it serves again, as the shared one that there was not");
    assert_eq!(engine.poll_upstream(), Some(upstream));
}

#[test]
fn a_pop_that_is_not_replicated_yet_is_not_told_to_ask_again_by_a_reload() {
    let (mut engine, key) = engine(replicated());
    say(&mut engine, key, &["BLPOP {a}1 0"]);
    let upstream = connect(&mut engine).unwrap();
    sent_text(&mut engine);
    engine.handle_upstream_bytes(upstream, b"*2\r\n$4\r\n{a}1\r\n$1\r\nx\r\n");
    let mut other = replicated();
    other.pool.shards.pop();
    let health = Arc::new(Health::new(SHARDS - 1, None));
    engine.reconfigure(pools(other, health)).unwrap();
    assert_eq!(drained(&mut engine, key), "");
    engine.handle_upstream_bytes(upstream, b"+PONG\r\n:1\r\n");
    assert_eq!(drained(&mut engine, key), "*2\r\n$4\r\n{a}1\r\n$1\r\nx\r\n");
}

#[test]
fn a_server_that_falls_silent_within_a_wait_is_given_up() {
    let (mut engine, key, upstream) = writing("SET {a}1 x");
    at(&mut engine, 50);
    engine.handle_upstream_bytes(upstream, b"+OK\r\n");
    at(&mut engine, 99);
    assert_eq!(drained(&mut engine, key), "");
    at(&mut engine, 101);
    let said = drained(&mut engine, key);
    assert!(said.starts_with("-UNREPLICATED applied, not known to be replicated: shard s"), "{said}");
    assert!(said.contains("timed out: no reply within 100 ms"), "{said}");
    assert!(actions(&mut engine).contains(&Action::Disconnect(upstream)));
}

#[test]
fn a_large_write_has_its_wait_behind_its_last_byte() {
    let (mut engine, key) = engine(replicated());
    let value = vec![b'v'; 200_000];
    let whole = request(&[b"SET", b"{a}1", &value]);
    engine.handle_session_bytes(key, &whole[..100_000]);
    let upstream = connect(&mut engine).unwrap();
    let begun = sent_text(&mut engine);
    assert!(!begun.contains("WAIT"));
    engine.handle_session_bytes(key, &whole[100_000..]);
    let rest = sent_text(&mut engine);
    assert_eq!(begun + &rest, String::from_utf8(whole).unwrap() + &all_words(&[WAIT]));
    engine.handle_upstream_bytes(upstream, b"+OK\r\n");
    assert_eq!(drained(&mut engine, key), "");
    engine.handle_upstream_bytes(upstream, b":1\r\n");
    assert_eq!(drained(&mut engine, key), "+OK\r\n");
}

#[test]
fn of_a_long_reply_to_a_write_the_end_is_kept_back() {
    let reply = [&b"$200000\r\n"[..], &vec![b'v'; 200_000], b"\r\n"].concat();
    for reached in [true, false] {
        let (mut engine, key, upstream) = writing("GETDEL {a}1");
        for piece in reply.chunks(50_000) {
            engine.handle_upstream_bytes(upstream, piece);
        }
        let begun = drained(&mut engine, key).into_bytes();
        assert!(begun.len() > 100_000 && begun.len() < reply.len());
        assert_eq!(begun, reply[..begun.len()]);
        engine.handle_upstream_bytes(upstream, if reached { b":1\r\n" } else { b":0\r\n" });
        let rest = drained(&mut engine, key).into_bytes();
        match reached {
            true => assert_eq!([begun, rest].concat(), reply),
            // Nothing can take the place of what the client has already: its connection ends.
            false => assert_eq!((rest, actions(&mut engine).contains(&Action::End(key))), (Vec::new(), true)),
        }
    }
}

#[test]
fn a_reply_too_long_to_be_kept_behind_a_write_fails_and_the_write_is_answered() {
    let (mut engine, key, upstream) = writing("SET {a}1 x");
    engine.handle_upstream_bytes(upstream, b"+OK\r\n:1\r\n");
    drained(&mut engine, key);
    say(&mut engine, key, &["SET {a}1 y", "GET {a}2"]);
    sent_text(&mut engine);
    let long = OWED_MAX + 1_000_000;
    let reply = [format!("+OK\r\n${long}\r\n").into_bytes(), vec![b'v'; long], b"\r\n".to_vec()].concat();
    let mut millis = 1;
    for piece in reply.chunks(100_000) {
        for _ in 0..3 {
            if engine.wants_upstream_bytes(upstream) {
                break;
            }
            millis += 30; // the client_stall_timeout is 50
            at(&mut engine, millis);
            engine.settle();
        }
        assert!(engine.wants_upstream_bytes(upstream), "the answer to WAIT is behind it");
        engine.handle_upstream_bytes(upstream, piece);
    }
    engine.handle_upstream_bytes(upstream, b":1\r\n");
    let said = drained(&mut engine, key);
    assert!(said.starts_with("+OK\r\n-ERR ") && said.contains("large reply whose turn"), "{}", said.len());
}

#[test]
fn a_reload_that_changes_the_durability_gives_what_is_kept() {
    let (mut engine, key, upstream) = writing("SET {a}1 x");
    say(&mut engine, key, &["SET {a}2 x"]);
    let health = Arc::new(Health::new(SHARDS, None));
    engine.reconfigure(pools(tagged(), health)).unwrap();
    engine.handle_upstream_bytes(upstream, b"+OK\r\n:1\r\n");
    assert_eq!(drained(&mut engine, key), "+OK\r\n");
    assert_eq!(
        sent_text(&mut engine),
        all_words(&["SET {a}2 x", WAIT]),
        "what was asked before is kept as it was promised"
    );
    engine.handle_upstream_bytes(upstream, b"+OK\r\n:1\r\n");
    assert_eq!(drained(&mut engine, key), "+OK\r\n");
    assert!(
        actions(&mut engine).contains(&Action::Disconnect(upstream)),
        "there are no write lanes any more"
    );
    say(&mut engine, key, &["SET {a}3 x"]);
    connect(&mut engine);
    assert_eq!(sent_text(&mut engine), all_words(&["SET {a}3 x"]));
    let health = Arc::new(Health::new(SHARDS, None));
    engine.reconfigure(pools(replicated(), health)).unwrap();
    say(&mut engine, key, &["SET {a}4 x"]);
    assert_eq!(sent_text(&mut engine), "", "nothing goes by another upstream before the first is answered");
    let first = engine.upstreams.keys()[0];
    engine.handle_upstream_bytes(first, b"+OK\r\n");
    drained(&mut engine, key);
    connect(&mut engine);
    assert_eq!(sent_text(&mut engine), all_words(&["SET {a}4 x", WAIT]));
}

#[test]
fn pools_without_it_send_no_wait() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    say(&mut engine, key, &["SET a x", "INCR a"]);
    connect(&mut engine);
    assert_eq!(sent_text(&mut engine), all_words(&["SET a x", "INCR a"]));
}

#[test]
fn a_client_that_tracks_is_cut_where_its_pool_becomes_replicated_and_writes_nothing_without_a_wait() {
    let reload = |engine: &mut Engine| {
        let settings = PoolSettings { timeout: None, ..replicated() };
        engine.reconfigure(pools(settings, Arc::new(Health::new(SHARDS, None)))).unwrap();
    };
    let (mut engine, key, _) = reader(tagged());
    say(&mut engine, key, &["GET {a}1"]);
    assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1"]));
    let upstream = engine.sessions.get(key).unwrap().mode.as_ref().unwrap().upstreams()[0];
    reload(&mut engine);
    say(&mut engine, key, &["SET {a}1 y"]);
    assert_eq!(sent_text(&mut engine), "");
    engine.handle_upstream_bytes(upstream, b"$1\r\nx\r\n");
    assert_eq!(drained(&mut engine, key), "$1\r\nx\r\n", "what it has asked is answered");
    assert!(actions(&mut engine).contains(&Action::End(key)));
    assert_eq!((engine.pools[0].held, engine.outstanding()), (0, (0, 0)));
    // Also where it waits in a blocking command.
    let (mut engine, key, _) = reader(tagged());
    say(&mut engine, key, &["BLPOP {a}1 0", "SET {a}1 y"]);
    sent_text(&mut engine);
    reload(&mut engine);
    let said = drained(&mut engine, key);
    assert!(said.starts_with("-UNBLOCKED ") && said.matches("\r\n").count() == 1, "{said}");
    assert_eq!(sent_text(&mut engine), "");
    assert!(actions(&mut engine).contains(&Action::End(key)));
    assert_eq!((engine.pools[0].held, engine.outstanding()), (0, (0, 0)));
}
