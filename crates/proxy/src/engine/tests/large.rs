//! Large values pass through, and clients that do not read hurt themselves alone.

use super::cases::{connect, one_lane, request, sent};
use super::transaction::{all_words, tagged};
use super::*;
use crate::session::AHEAD_MAX;

const MIB: usize = 1024 * 1024;

/// The bytes of a SET of `size` bytes.
fn set(key: &[u8], size: usize) -> Vec<u8> {
    request(&[b"SET", key, &vec![b'v'; size]])
}

/// A key of the shard that `alike` is on.
fn neighbour(engine: &mut Engine, alike: &[u8]) -> Vec<u8> {
    let home = engine.pools[0].router.route(alike, &mut engine.random);
    let mut others = (0..).map(|number: u32| format!("n{number}").into_bytes());
    others.find(|key| engine.pools[0].router.route(key, &mut engine.random) == home).unwrap()
}

/// Everything that is offered to `upstream` is taken.
fn take(engine: &mut Engine, upstream: Key) -> Vec<u8> {
    let output = engine.upstream_output(upstream).to_vec();
    engine.handle_upstream_sent(upstream, output.len());
    output
}

#[test]
fn a_large_request_passes_through_an_upstream_of_its_own() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    let whole = set(b"a", 8 * MIB);
    let get = request(&[b"GET", b"a"]);
    let mut arrived = Vec::new();
    let bytes = [&whole[..], &get].concat();
    let mut rest = bytes.chunks(64 * 1024);
    let mut dedicated = None;
    loop {
        engine.settle();
        while engine.wants_bytes(key)
            && let Some(chunk) = rest.next()
        {
            engine.handle_session_bytes(key, chunk);
        }
        dedicated = connect(&mut engine).or(dedicated);
        let offered = engine.upstream_output(dedicated.unwrap()).len();
        assert!(offered <= AHEAD_MAX + 64 * 1024, "{offered} bytes are collected");
        if offered == 0 {
            break;
        }
        arrived.extend(take(&mut engine, dedicated.unwrap()));
    }
    assert!(arrived == whole, "the request arrives as it was sent, and the GET behind it waits");
    engine.handle_upstream_bytes(dedicated.unwrap(), b"+OK\r\n");
    assert_eq!(drained(&mut engine, key), "+OK\r\n");
    assert_eq!(sent(&mut engine), get);
    assert_eq!(connect(&mut engine), None, "free again, it is the first upstream of the lane that had none");
}

#[test]
fn a_large_request_waits_for_what_the_session_is_owed() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    engine.handle_session_bytes(key, &request(&[b"GET", b"a"]));
    let shared = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_session_bytes(key, &set(b"a", 100_000)[..70_000]);
    assert_eq!((connect(&mut engine), engine.wants_bytes(key)), (None, false));
    engine.handle_upstream_bytes(shared, b"$-1\r\n");
    assert_eq!(drained(&mut engine, key), "$-1\r\n");
    assert!(connect(&mut engine).is_some_and(|dedicated| dedicated != shared));
}

#[test]
fn a_client_that_goes_within_a_large_request_takes_its_upstream_with_it() {
    for end in [SessionEnd::Eof, SessionEnd::Error] {
        let (mut engine, key) = engine(one_lane(Dialect::Shoal));
        engine.handle_session_bytes(key, &set(b"a", MIB)[..100_000]);
        let dedicated = connect(&mut engine).unwrap();
        sent(&mut engine);
        engine.handle_session_end(key, end);
        let actions: Vec<Action> = std::iter::from_fn(|| engine.poll_action()).collect();
        assert_eq!(actions, [Action::Disconnect(dedicated), Action::End(key)]);
        assert_eq!(engine.outstanding(), (0, 0));
    }
}

#[test]
fn a_large_request_that_is_refused_by_its_first_words_is_swallowed() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    let bytes = [set(b"a", MIB), b"*1\r\n$4\r\nPING\r\n".to_vec()].concat();
    let (first, rest) = bytes.split_at(100_000);
    engine.handle_session_bytes(key, first);
    let dedicated = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(dedicated, b"-ERR Protocol error: invalid bulk length\r\n");
    for chunk in rest.chunks(64 * 1024) {
        assert!(engine.wants_bytes(key));
        engine.handle_session_bytes(key, chunk);
    }
    assert_eq!(drained(&mut engine, key), "-ERR Protocol error: invalid bulk length\r\n+PONG\r\n");
    let actions: Vec<Action> = std::iter::from_fn(|| engine.poll_action()).collect();
    assert_eq!(actions, [Action::Disconnect(dedicated)]);
}

#[test]
fn a_large_unknown_command_is_swallowed_behind_its_error() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    let unknown = request(&[b"NOSUCH", b"a", &vec![b'v'; MIB]]);
    for chunk in [unknown, b"*1\r\n$4\r\nPING\r\n".to_vec()].concat().chunks(64 * 1024) {
        engine.handle_session_bytes(key, chunk);
    }
    let said = drained(&mut engine, key);
    assert!(said.starts_with("-ERR unknown command 'NOSUCH'") && said.ends_with("\r\n+PONG\r\n"), "{said}");
}

#[test]
fn a_deadline_does_not_run_while_the_client_is_slow_to_send() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    let bytes = set(b"a", 200_000);
    engine.handle_session_bytes(key, &bytes[..100_000]);
    let dedicated = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.begin_round(Time::from_micros(1) + TIMEOUT * 10, 1);
    engine.handle_timeout();
    engine.handle_session_bytes(key, &bytes[100_000..]);
    sent(&mut engine);
    engine.begin_round(Time::from_micros(1) + TIMEOUT * 11 - Duration::from_millis(1), 1);
    engine.handle_timeout();
    assert_eq!(drained(&mut engine, key), "");
    engine.begin_round(Time::from_micros(1) + TIMEOUT * 11, 1);
    engine.handle_timeout();
    assert!(
        drained(&mut engine, key).contains("timed out"),
        "from its last byte on the server is waited for"
    );
    assert_eq!(engine.poll_action(), Some(Action::Disconnect(dedicated)));
}

/// Two sessions have asked the same shard; the first is being sent `head` of a value of 8 MiB. All that the second needs.
fn behind_a_large_reply() -> (Engine, Key, Key, Key, Vec<u8>) {
    let (mut engine, first) = engine(PoolSettings { timeout: None, ..one_lane(Dialect::Shoal) });
    let second = engine.open_session(0, "model".into());
    let other = neighbour(&mut engine, b"a");
    engine.handle_session_bytes(first, &request(&[b"GET", b"a"]));
    engine.handle_session_bytes(second, &request(&[b"GET", &other]));
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(upstream, format!("${}\r\n", 8 * MIB).as_bytes());
    (engine, first, second, upstream, other)
}

#[test]
fn a_large_reply_takes_its_upstream_out_of_sharing() {
    let (mut engine, first, second, upstream, other) = behind_a_large_reply();
    let third = engine.open_session(0, "model".into());
    engine.handle_session_bytes(third, &request(&[b"GET", &other]));
    let fresh = connect(&mut engine).unwrap();
    assert_ne!(fresh, upstream, "who comes now does not wait behind it");
    sent(&mut engine);
    engine.handle_upstream_bytes(fresh, b"$1\r\n3\r\n");
    assert_eq!(drained(&mut engine, third), "$1\r\n3\r\n");
    assert!(
        !engine.wants_bytes(second),
        "who waits behind it sends nothing that could overtake what it waits for"
    );
    for _ in 0..8 {
        engine.handle_upstream_bytes(upstream, &vec![b'v'; MIB]);
        drained(&mut engine, first);
    }
    engine.handle_upstream_bytes(upstream, b"\r\n$1\r\n2\r\n");
    assert!(drained(&mut engine, second).ends_with("$1\r\n2\r\n"));
    assert!(engine.wants_bytes(second) && engine.wants_bytes(first));
    engine.handle_session_bytes(second, &set(b"a", 100_000)[..70_000]);
    assert_eq!(connect(&mut engine), None, "the upstream is a spare, and serves the next large request");
    assert_eq!(engine.poll_upstream(), Some(upstream));
}

#[test]
fn a_client_that_does_not_read_is_cut_when_others_have_waited_long_enough() {
    let (mut engine, first, second, upstream, _) = behind_a_large_reply();
    let mut given = 0;
    while engine.wants_upstream_bytes(upstream) {
        engine.handle_upstream_bytes(upstream, &[b'v'; 64 * 1024]);
        given += 64 * 1024;
    }
    assert!(given <= AHEAD_MAX + 128 * 1024, "{given} bytes are kept for a client that does not read");
    let begun = Time::from_micros(1);
    let timeout = Duration::from_millis(50);
    engine.begin_round(begun + timeout - Duration::from_micros(1), 1);
    engine.handle_timeout();
    assert_eq!(engine.poll_action(), None);
    assert_eq!(engine.poll_timeout(), begun + timeout);
    engine.begin_round(begun + timeout, 1);
    engine.handle_timeout();
    let actions: Vec<Action> = std::iter::from_fn(|| engine.poll_action()).collect();
    assert_eq!(actions, [Action::End(first), Action::ReadUpstream(upstream)]);
    for chunk in vec![b'v'; 8 * MIB - given].chunks(64 * 1024) {
        engine.handle_upstream_bytes(upstream, chunk);
    }
    engine.handle_upstream_bytes(upstream, b"\r\n$1\r\n2\r\n");
    assert_eq!(drained(&mut engine, second), "$1\r\n2\r\n");
}

#[test]
fn nobody_is_cut_for_whom_nobody_waits() {
    let (mut engine, key) = engine(PoolSettings { timeout: None, ..one_lane(Dialect::Shoal) });
    engine.handle_session_bytes(key, &request(&[b"GET", b"a"]));
    let upstream = connect(&mut engine).unwrap();
    sent(&mut engine);
    engine.handle_upstream_bytes(upstream, format!("${MIB}\r\n").as_bytes());
    let value = vec![b'v'; MIB];
    let mut chunks = value.chunks(64 * 1024);
    let mut said = String::new();
    for seconds in 1..60 {
        engine.begin_round(Time::from_micros(seconds * 1_000_000), 1);
        engine.handle_timeout();
        if seconds > 50 {
            said += &drained(&mut engine, key);
        }
        while engine.wants_upstream_bytes(upstream)
            && let Some(chunk) = chunks.next()
        {
            engine.handle_upstream_bytes(upstream, chunk);
        }
    }
    engine.handle_upstream_bytes(upstream, b"\r\n");
    said += &drained(&mut engine, key);
    assert_eq!(said.len(), MIB + 12);
}

#[test]
fn a_large_reply_whose_turn_does_not_come_is_given_up_for_those_behind_it() {
    let (mut engine, first) = engine(PoolSettings { timeout: None, ..one_lane(Dialect::Shoal) });
    let other_shard = (0..)
        .map(|number: u32| format!("o{number}").into_bytes())
        .find(|key| {
            let route =
                |engine: &mut Engine, key: &[u8]| engine.pools[0].router.route(key, &mut engine.random);
            route(&mut engine, key) != route(&mut engine, b"a")
        })
        .unwrap();
    let second = engine.open_session(0, "model".into());
    let neighbour = neighbour(&mut engine, b"a");
    engine.handle_session_bytes(first, &request(&[b"GET", &other_shard]));
    let slow = connect(&mut engine).unwrap();
    engine.handle_session_bytes(first, &request(&[b"GET", b"a"]));
    engine.handle_session_bytes(second, &request(&[b"GET", &neighbour]));
    let large = connect(&mut engine).unwrap();
    sent(&mut engine);
    let size = 16 * MIB;
    engine.handle_upstream_bytes(large, format!("${size}\r\n").as_bytes());
    let mut given = 0;
    while engine.wants_upstream_bytes(large) {
        engine.handle_upstream_bytes(large, &[b'v'; 64 * 1024]);
        given += 64 * 1024;
    }
    assert!(given <= OWED_MAX + 64 * 1024);
    engine.begin_round(Time::from_micros(1) + Duration::from_millis(50), 1);
    engine.handle_timeout();
    engine.handle_upstream_bytes(slow, b"$-1\r\n");
    let said = drained(&mut engine, first);
    assert!(said.starts_with("$-1\r\n-ERR shard ") && said.contains("turn in this pipeline"), "{said}");
    for chunk in vec![b'v'; size - given].chunks(64 * 1024) {
        engine.handle_upstream_bytes(large, chunk);
    }
    engine.handle_upstream_bytes(large, b"\r\n$1\r\n2\r\n");
    assert_eq!(drained(&mut engine, second), "$1\r\n2\r\n");
}

#[test]
fn the_values_of_a_large_mget_pass_through_in_the_order_of_its_keys() {
    let (mut engine, key) = engine(PoolSettings { timeout: None, ..one_lane(Dialect::Shoal) });
    let keys: Vec<Vec<u8>> = (0..6).map(|number| format!("k{number}").into_bytes()).collect();
    let words: Vec<&[u8]> = [&b"MGET"[..]].into_iter().chain(keys.iter().map(Vec::as_slice)).collect();
    engine.handle_session_bytes(key, &request(&words));
    let mut upstreams = Vec::new();
    while let Some(action) = engine.poll_action() {
        if let Action::Connect(upstream) = action {
            engine.handle_upstream_connected(upstream);
            upstreams.push(upstream);
        }
    }
    let mut replies: BTreeMap<Key, VecDeque<u8>> = BTreeMap::new();
    let value = |key: &[u8]| vec![*key.last().unwrap(); 4 * MIB];
    while let Some(upstream) = engine.poll_upstream() {
        let words = take_request(&mut take(&mut engine, upstream)).unwrap();
        let mut reply = Vec::new();
        encode::array_len(&mut reply, words.len() - 1);
        for word in &words[1..] {
            encode::bulk(&mut reply, &value(word));
        }
        replies.insert(upstream, reply.into());
    }
    let mut expected = Vec::new();
    encode::array_len(&mut expected, 6);
    keys.iter().for_each(|key| encode::bulk(&mut expected, &value(key)));
    let mut said = String::new();
    while said.len() < expected.len() {
        let before = said.len() + replies.values().map(VecDeque::len).sum::<usize>();
        for (&upstream, reply) in &mut replies {
            while engine.wants_upstream_bytes(upstream) && !reply.is_empty() {
                let count = reply.len().min(64 * 1024);
                let chunk: Vec<u8> = reply.drain(..count).collect();
                engine.handle_upstream_bytes(upstream, &chunk);
            }
        }
        let owed = engine.owed_at_most();
        assert!(owed <= OWED_MAX + 3 * 64 * 1024, "{owed} bytes are collected");
        said += &drained(&mut engine, key);
        assert!(
            said.len() * 2 + replies.values().map(VecDeque::len).sum::<usize>() > before,
            "nothing moves"
        );
    }
    assert!(said.as_bytes() == expected);
    assert_eq!(engine.outstanding(), (0, 0));
}

#[test]
fn a_reload_lets_a_large_request_end_where_it_was_begun() {
    let (mut engine, key) = engine(one_lane(Dialect::Shoal));
    let bytes = set(b"a", 100_000);
    engine.handle_session_bytes(key, &bytes[..70_000]);
    let dedicated = connect(&mut engine).unwrap();
    engine.reconfigure(pools(one_lane(Dialect::Shoal), Arc::new(Health::new(SHARDS, None)))).unwrap();
    engine.handle_session_bytes(key, &bytes[70_000..]);
    assert!(sent(&mut engine) == bytes);
    engine.handle_upstream_bytes(dedicated, b"+OK\r\n");
    assert_eq!(drained(&mut engine, key), "+OK\r\n");
    let actions: Vec<Action> = std::iter::from_fn(|| engine.poll_action()).collect();
    assert!(actions.contains(&Action::Disconnect(dedicated)), "{actions:?}");
}

#[test]
fn a_long_pipeline_does_not_overtake_itself_through_a_reload() {
    let (mut engine, key) = engine(PoolSettings { timeout: None, ..one_lane(Dialect::Shoal) });
    let get = request(&[b"GET", b"a"]);
    engine.handle_session_bytes(key, &get.repeat(1500));
    let upstream = connect(&mut engine).unwrap();
    assert_eq!(sent(&mut engine).len(), get.len() * 1024);
    engine.reconfigure(pools(one_lane(Dialect::Shoal), Arc::new(Health::new(SHARDS, None)))).unwrap();
    engine.handle_upstream_bytes(upstream, &b"$-1\r\n".repeat(1000));
    drained(&mut engine, key);
    assert_eq!(sent(&mut engine), b"", "the rest waits for the last reply that is owed");
    engine.handle_upstream_bytes(upstream, &b"$-1\r\n".repeat(24));
    drained(&mut engine, key);
    assert_eq!(sent(&mut engine).len(), get.len() * (1500 - 1024));
}

#[test]
fn what_is_late_on_a_dedicated_connection_just_made_gives_it_up() {
    let value = "v".repeat(100_000);
    let set = set(b"{a}1", 100_000);
    let transaction = all_words(&["MULTI", &format!("SET {{a}}1 {value}"), "EXEC"]).into_bytes();
    for (asked, said) in [(set, ""), (transaction, "+OK\r\n+QUEUED\r\n")] {
        let (mut engine, key) = engine(tagged());
        asked.chunks(70_000).for_each(|piece| engine.handle_session_bytes(key, piece));
        assert_eq!(engine.pools[0].dedicated, 1);
        // The server has been heard of since it was asked: it is not silent, but merely behind.
        engine.begin_round(Time::from_micros(1) + TIMEOUT / 2, 1);
        let upstream = connect(&mut engine).unwrap();
        sent(&mut engine);
        assert_eq!(drained(&mut engine, key), said);
        engine.begin_round(Time::from_micros(1) + TIMEOUT, 1);
        engine.handle_timeout();
        assert!(drained(&mut engine, key).contains("timed out"));
        let actions: Vec<Action> = std::iter::from_fn(|| engine.poll_action()).collect();
        assert!(actions.contains(&Action::Disconnect(upstream)), "nobody needs what it may still send");
        assert_eq!((engine.pools[0].dedicated, engine.outstanding()), (0, (0, 0)));
        engine.handle_session_bytes(key, b"*1\r\n$4\r\nPING\r\n");
        assert_eq!(drained(&mut engine, key), "+PONG\r\n");
    }
}
