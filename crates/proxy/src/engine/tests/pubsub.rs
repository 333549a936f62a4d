//! Subscriptions and their messages.

use super::cases::{connect, one_lane, request, sent};
use super::transaction::{actions, all_words, say, sent_text, stranger, tagged};
use super::*;
use crate::engine::pubsub::{SLOW_MAX, SLOW_MIN, UNSENT_MAX};

/// What a server confirms or sends, in RESP2.
fn frame(words: &[&str]) -> String {
    let last = words.last().unwrap();
    let mut out = format!("*{}\r\n", words.len());
    for word in &words[..words.len() - 1] {
        out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    match last.parse::<i64>() {
        Ok(number) => out.push_str(&format!(":{number}\r\n")),
        Err(_) => out.push_str(&format!("${}\r\n{last}\r\n", last.len())),
    }
    out
}

fn as_push(frame: &str) -> String {
    frame.replacen('*', ">", 1)
}

/// A session that is subscribed to `{a}1`, and the upstream that brings its messages.
fn subscribed() -> (Engine, Key, Key) {
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &["SUBSCRIBE {a}1"]);
    let upstream = connect(&mut engine).unwrap();
    assert_eq!(sent_text(&mut engine), all_words(&["subscribe {a}1"]));
    assert_eq!(drained(&mut engine, key), "", "not before the server has confirmed");
    let confirmed = frame(&["subscribe", "{a}1", "1"]);
    engine.handle_upstream_bytes(upstream, confirmed.as_bytes());
    assert_eq!(drained(&mut engine, key), confirmed);
    (engine, key, upstream)
}

#[test]
fn messages_come_to_who_subscribed_and_only_some_commands_are_taken_meanwhile() {
    let (mut engine, key, upstream) = subscribed();
    let message = frame(&["message", "{a}1", "hello"]);
    for byte in message.bytes() {
        engine.handle_upstream_bytes(upstream, &[byte]);
    }
    assert_eq!(drained(&mut engine, key), message);
    say(&mut engine, key, &["GET {a}1", "PING", "PING x"]);
    assert_eq!(
        drained(&mut engine, key),
        "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
         context\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n*2\r\n$4\r\npong\r\n$1\r\nx\r\n"
    );
    say(&mut engine, key, &["UNSUBSCRIBE"]);
    assert_eq!(sent_text(&mut engine), all_words(&["unsubscribe {a}1"]));
    let last = frame(&["message", "{a}1", "last"]);
    let end = frame(&["unsubscribe", "{a}1", "0"]);
    engine.handle_upstream_bytes(upstream, format!("{last}{end}").as_bytes());
    assert_eq!(drained(&mut engine, key), format!("{last}{end}"));
    assert!(engine.sessions.get(key).unwrap().mode.is_none());
    assert_eq!((engine.pools[0].held, engine.pools[0].dedicated), (0, 0));
    say(&mut engine, key, &["GET {a}1"]);
    assert_eq!(engine.poll_upstream(), Some(upstream), "what is clean serves others");
}

#[test]
fn channels_live_where_their_names_do_and_patterns_everywhere() {
    let (mut engine, key) = engine(tagged());
    let far = stranger(&mut engine);
    say(&mut engine, key, &[&format!("SUBSCRIBE {{a}}1 {far} {{a}}2")]);
    let mut upstreams = Vec::new();
    while let Some(action) = engine.poll_action() {
        if let Action::Connect(upstream) = action {
            engine.handle_upstream_connected(upstream);
            upstreams.push(upstream);
        }
    }
    assert_eq!(upstreams.len(), 2);
    let message = frame(&["message", "{a}1", "early"]);
    let confirmed = |name: &str, count| frame(&["subscribe", name, count]);
    let near = [confirmed("{a}1", "1"), message.clone(), confirmed("{a}2", "2")].concat();
    sent(&mut engine);
    engine.handle_upstream_bytes(upstreams[0], near.as_bytes());
    assert_eq!(drained(&mut engine, key), "", "one shard is missing");
    engine.handle_upstream_bytes(upstreams[1], confirmed(&far, "1").as_bytes());
    let all = [confirmed("{a}1", "1"), confirmed(&far, "2"), confirmed("{a}2", "3"), message].concat();
    assert_eq!(
        drained(&mut engine, key),
        all,
        "in order, with the counts of one server, and messages behind"
    );
    say(&mut engine, key, &["PSUBSCRIBE x*"]);
    assert!(connect(&mut engine).is_some());
    assert_eq!(sent_text(&mut engine), all_words(&["psubscribe x*"; SHARDS]));
    assert_eq!(engine.pools[0].held, SHARDS);
}

#[test]
fn in_resp3_messages_come_between_replies_and_never_within_one() {
    let (mut engine, key) = engine(PoolSettings { timeout: None, ..tagged() });
    say(&mut engine, key, &["HELLO 3", "SUBSCRIBE {a}1"]);
    drained(&mut engine, key);
    let own = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(own, b"%0\r\n");
    assert_eq!(sent_text(&mut engine), all_words(&["subscribe {a}1"]));
    let confirmed = as_push(&frame(&["subscribe", "{a}1", "1"]));
    engine.handle_upstream_bytes(own, confirmed.as_bytes());
    assert_eq!(drained(&mut engine, key), confirmed);
    say(&mut engine, key, &["GET {a}1", "GET {a}2"]);
    let shared = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(shared, b"%0\r\n");
    sent(&mut engine);
    let message = as_push(&frame(&["message", "{a}1", "x"]));
    engine.handle_upstream_bytes(own, message.as_bytes());
    assert_eq!(drained(&mut engine, key), message, "before the replies");
    let large = "v".repeat(200_000);
    engine.handle_upstream_bytes(shared, format!("$200000\r\n{}", &large[..100_000]).as_bytes());
    let begun = drained(&mut engine, key);
    engine.handle_upstream_bytes(own, message.as_bytes());
    assert_eq!(drained(&mut engine, key), "", "not within one");
    engine.handle_upstream_bytes(shared, format!("{}\r\n", &large[100_000..]).as_bytes());
    let rest = drained(&mut engine, key);
    assert!(begun.len() > 100_000 && rest.ends_with(&message) && rest.len() == 100_002 + message.len());
}

#[test]
fn a_publication_goes_to_its_channels_shard() {
    for line in ["PUBLISH {a}1 x", "SPUBLISH {a}1 x"] {
        let (mut engine, key) = engine(tagged());
        say(&mut engine, key, &["GET {a}1", line]);
        let upstream = connect(&mut engine).unwrap();
        assert_eq!(sent_text(&mut engine), all_words(&["GET {a}1", line]));
        engine.handle_upstream_bytes(upstream, b"$-1\r\n:2\r\n");
        assert_eq!(drained(&mut engine, key), "$-1\r\n:2\r\n");
    }
}

#[test]
fn a_subscriber_whose_server_is_lost_is_cut_and_not_left_deaf() {
    let (mut engine, key, upstream) = subscribed();
    engine.handle_upstream_failed(upstream, &Failure::Closed);
    assert_eq!(drained(&mut engine, key), "");
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream), Action::End(key)]);
    // Also while a second subscription is under way, which is answered first.
    let (mut engine, key, upstream) = subscribed();
    say(&mut engine, key, &["SUBSCRIBE {a}2"]);
    engine.handle_upstream_failed(upstream, &Failure::Closed);
    assert!(drained(&mut engine, key).contains("closed the connection before it answered"));
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream), Action::End(key)]);
    assert_eq!((engine.pools[0].held, engine.outstanding()), (0, (0, 0)));
    // And where the server refuses.
    let (mut engine, key) = engine_of_tagged();
    say(&mut engine, key, &["SUBSCRIBE {a}1"]);
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(upstream, b"-NOPERM this user has no permissions\r\n");
    assert_eq!(drained(&mut engine, key), "-NOPERM this user has no permissions\r\n");
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream), Action::End(key)]);
}

fn engine_of_tagged() -> (Engine, Key) {
    engine(tagged())
}

#[test]
fn a_subscription_that_no_server_confirms_times_out() {
    let (mut engine, key) = engine(tagged());
    say(&mut engine, key, &["SUBSCRIBE {a}1"]);
    connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.begin_round(Time::from_micros(1) + TIMEOUT, 1);
    engine.handle_timeout();
    assert!(drained(&mut engine, key).contains("timed out"));
    assert_eq!(engine.session_count(), 0);
}

#[test]
fn a_reload_that_moves_channels_cuts_and_one_that_does_not_changes_nothing() {
    let reload = |engine: &mut Engine, settings: PoolSettings| {
        let shards = settings.pool.shards.len();
        engine.reconfigure(pools(settings, Arc::new(Health::new(shards, None)))).unwrap();
    };
    let (mut engine, key, upstream) = subscribed();
    reload(&mut engine, PoolSettings { timeout: None, ..tagged() });
    let message = frame(&["message", "{a}1", "hello"]);
    engine.handle_upstream_bytes(upstream, message.as_bytes());
    assert_eq!(drained(&mut engine, key), message);
    let mut moved = tagged();
    moved.pool.shards.truncate(2);
    reload(&mut engine, moved);
    assert_eq!(drained(&mut engine, key), "");
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream), Action::End(key)]);
}

#[test]
fn a_subscriber_that_goes_leaves_nothing_behind() {
    for end in [SessionEnd::Eof, SessionEnd::Error] {
        let (mut engine, key, upstream) = subscribed();
        engine.handle_session_end(key, end);
        assert_eq!(actions(&mut engine), [Action::Disconnect(upstream), Action::End(key)]);
        assert_eq!(engine.pools[0].held, 0);
    }
    for (line, reply) in [("RESET", "+RESET\r\n"), ("QUIT", "+OK\r\n")] {
        let (mut engine, key, upstream) = subscribed();
        say(&mut engine, key, &[line]);
        assert_eq!(drained(&mut engine, key), reply);
        assert_eq!(actions(&mut engine)[0], Action::Disconnect(upstream));
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_at_the_bounds() {
    let message = frame(&["message", "{a}1", &"x".repeat(1024 * 1024)]);
    let (mut engine, key, upstream) = subscribed();
    let most = UNSENT_MAX / message.len();
    for _ in 0..most {
        engine.handle_upstream_bytes(upstream, message.as_bytes());
        assert_eq!(actions(&mut engine), []);
    }
    engine.handle_upstream_bytes(upstream, message.as_bytes());
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream), Action::End(key)]);
    let (mut engine, key, upstream) = subscribed();
    for _ in 0..=SLOW_MIN / message.len() {
        engine.handle_upstream_bytes(upstream, message.as_bytes());
    }
    engine.begin_round(Time::from_micros(1) + SLOW_MAX - Duration::from_millis(1), 1);
    engine.handle_upstream_bytes(upstream, message.as_bytes());
    assert_eq!(actions(&mut engine), []);
    engine.begin_round(Time::from_micros(1) + SLOW_MAX, 1);
    engine.handle_upstream_bytes(upstream, message.as_bytes());
    assert_eq!(actions(&mut engine), [Action::Disconnect(upstream), Action::End(key)]);
}

#[test]
fn under_the_dialect_of_nutcracker_all_of_it_is_refused() {
    for line in ["SUBSCRIBE a", "PSUBSCRIBE a", "UNSUBSCRIBE", "PUBLISH a b", "SPUBLISH a b", "PUBSUB NUMPAT"]
    {
        let (mut engine, key) = engine(one_lane(Dialect::Nutcracker));
        say(&mut engine, key, &[line]);
        let said = drained(&mut engine, key);
        assert!(said.starts_with("-ERR unknown "), "{said}");
        assert_eq!(connect(&mut engine), None);
    }
}

/// A subscriber in RESP3 that has begun to send a large value, and the upstream of its subscription.
pub(super) fn uploading_subscriber(settings: PoolSettings) -> (Engine, Key, Key) {
    let (mut engine, key) = engine(PoolSettings { timeout: None, ..settings });
    say(&mut engine, key, &["HELLO 3", "SUBSCRIBE {a}1"]);
    drained(&mut engine, key);
    let own = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(own, b"%0\r\n");
    sent(&mut engine);
    engine.handle_upstream_bytes(own, as_push(&frame(&["subscribe", "{a}1", "1"])).as_bytes());
    drained(&mut engine, key);
    let set = request(&[b"SET", b"{a}2", &vec![b'v'; 1024 * 1024]]);
    engine.handle_session_bytes(key, &set[..500_000]);
    let dedicated = connect(&mut engine).unwrap();
    engine.handle_upstream_bytes(dedicated, b"%0\r\n");
    sent(&mut engine);
    (engine, key, own)
}

#[test]
fn a_subscriber_that_is_cut_while_it_sends_a_large_value_is_not_waited_for() {
    let (mut engine, key, own) = uploading_subscriber(tagged());
    engine.handle_upstream_failed(own, &Failure::Closed);
    assert_eq!(drained(&mut engine, key), "");
    assert!(actions(&mut engine).contains(&Action::End(key)));
    assert_eq!((engine.session_count(), engine.outstanding()), (0, (0, 0)));
    assert_eq!((engine.pools[0].held, engine.pools[0].dedicated), (0, 0));
}

#[test]
fn a_subscription_ends_where_it_was_made_also_where_keys_go_by_lot() {
    for seed in 1..20 {
        let mut settings = PoolSettings { timeout: None, ..tagged() };
        settings.pool.distribution = shoal_topology::Distribution::Random;
        let health = Arc::new(Health::new(SHARDS, None));
        let parts = Parts { pools: pools(settings, health), seed, first_id: 1, id_step: 1 };
        let mut engine = Engine::new(parts).unwrap();
        engine.begin_round(Time::from_micros(1), 1);
        let key = engine.open_session(0, "model".into());
        let mut opened = Vec::new();
        for (count, name) in ["c", "d"].into_iter().enumerate() {
            say(&mut engine, key, &[&format!("SUBSCRIBE {name}")]);
            opened.extend(connect(&mut engine));
            let upstream = engine.poll_upstream().unwrap();
            let length = engine.upstream_output(upstream).len();
            engine.handle_upstream_sent(upstream, length);
            let confirmed = frame(&["subscribe", name, &(count + 1).to_string()]);
            engine.handle_upstream_bytes(upstream, confirmed.as_bytes());
            assert_eq!(drained(&mut engine, key), confirmed);
        }
        // A second time, which changes nothing.
        say(&mut engine, key, &["SUBSCRIBE c"]);
        assert_eq!(drained(&mut engine, key), frame(&["subscribe", "c", "2"]));
        assert_eq!(sent_text(&mut engine), "", "seed {seed}");
        say(&mut engine, key, &["UNSUBSCRIBE"]);
        let mut told = String::new();
        while let Some(upstream) = engine.poll_upstream() {
            let output = engine.upstream_output(upstream).to_vec();
            engine.handle_upstream_sent(upstream, output.len());
            let output = String::from_utf8(output).unwrap();
            for name in ["c", "d"].into_iter().filter(|name| output.contains(&format!("$1\r\n{name}\r\n"))) {
                engine.handle_upstream_bytes(upstream, frame(&["unsubscribe", name, "0"]).as_bytes());
            }
            told += &output;
        }
        let all = [all_words(&["unsubscribe c d"])];
        let apart = ["c", "d"].map(|name| all_words(&[&format!("unsubscribe {name}")]));
        assert!(all.contains(&told) || apart.iter().all(|one| told.contains(one)), "seed {seed}: {told}");
        let said = drained(&mut engine, key);
        assert_eq!(said, [frame(&["unsubscribe", "c", "1"]), frame(&["unsubscribe", "d", "0"])].concat());
        assert!(engine.sessions.get(key).unwrap().mode.is_none(), "seed {seed}");
        assert_eq!((engine.pools[0].held, engine.pools[0].dedicated), (0, 0), "seed {seed}");
    }
}

#[test]
fn a_message_that_waited_in_resp3_stands_before_the_answer_to_hello_2() {
    let (mut engine, key) = engine(PoolSettings { timeout: None, ..tagged() });
    say(&mut engine, key, &["HELLO 3", "SUBSCRIBE {a}1"]);
    drained(&mut engine, key);
    let own = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(own, b"%0\r\n");
    sent(&mut engine);
    engine.handle_upstream_bytes(own, as_push(&frame(&["subscribe", "{a}1", "1"])).as_bytes());
    drained(&mut engine, key);
    say(&mut engine, key, &["GET {a}1", "HELLO 2"]);
    let shared = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(shared, b"%0\r\n");
    sent(&mut engine);
    let value = "v".repeat(200_000);
    let reply = format!("$200000\r\n{value}\r\n");
    engine.handle_upstream_bytes(shared, &reply.as_bytes()[..100_000]);
    let mut said = drained(&mut engine, key);
    let message = as_push(&frame(&["message", "{a}1", "x"]));
    engine.handle_upstream_bytes(own, message.as_bytes());
    engine.handle_upstream_bytes(shared, &reply.as_bytes()[100_000..]);
    said += &drained(&mut engine, key);
    assert!(said.starts_with(&format!("{reply}{message}*14\r\n")), "{}", &said[200_000..]);
    let message = frame(&["message", "{a}1", "y"]);
    engine.handle_upstream_bytes(own, message.as_bytes());
    assert_eq!(drained(&mut engine, key), message);
}
