//! CLIENT TRACKING: one plain Redis says what a client that keeps copies is told, and a pool of four shards must tell it the
//! same; and what Redis alone has no word for: shards that are lost, other shards.

use std::collections::BTreeMap;

use shoal_e2e::raw_client::{encode, words};
use shoal_e2e::sharded::Sharded;
use shoal_e2e::{OwnPool, RawClient, RedisServer, Workplace, wait};

mod changes;

const ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";

fn pool() -> Sharded {
    Sharded::start(4, 2, 16, |addrs| OwnPool::storage("demo", addrs).key("hash_tag", "\"{}\""))
}

fn invalidated(key: &str) -> Vec<u8> {
    format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len()).into_bytes()
}

/// The pushes that come before the reply to `line`, and the reply.
fn ask(client: &mut RawClient, line: &str) -> Vec<String> {
    client.send_command(&words(line));
    let mut frames = Vec::new();
    loop {
        let frame = client.reply().unwrap_or_else(|error| panic!("{line}: {error:?} after {frames:?}"));
        let is_push = frame.starts_with(b">");
        frames.push(String::from_utf8_lossy(&frame).into_owned());
        if !is_push {
            return frames;
        }
    }
}

fn tracker(mut client: RawClient, tracking: &str) -> RawClient {
    assert!(client.call(&["HELLO", "3"]).starts_with(b"%"));
    assert_eq!(ask(&mut client, tracking), ["+OK\r\n"], "{tracking}");
    client
}

/// Lines of `T`, who tracks, and of `W`, who writes. What T is told of a write comes before T's next reply from that shard at the
/// latest, so that after each write T reads a key with the same tag.
const LINES: &[&str] = &[
    // Answers of the connection alone.
    "T CLIENT TRACKINGINFO",
    "T CLIENT GETREDIR",
    "T CLIENT CACHING YES",
    "T CLIENT TRACKING MAYBE",
    "T CLIENT TRACKING",
    "T CLIENT TRACKING ON NOSUCH",
    "T CLIENT TRACKING ON PREFIX a",
    "T CLIENT TRACKING ON BCAST OPTIN",
    "T CLIENT TRACKING ON OPTIN OPTOUT",
    "T CLIENT TRACKING ON BCAST PREFIX ab PREFIX a",
    "T CLIENT TRACKINGINFO",
    "T CLIENT TRACKING ON",
    "T CLIENT TRACKING ON BCAST",
    "T CLIENT TRACKINGINFO",
    "T CLIENT GETREDIR",
    "T CLIENT CACHING YES",
    // What was read is told of once.
    "W MSET {a}1 x {a}2 x {b}1 x {c}1 x",
    "T GET {a}1",
    "W SET {a}1 y",
    "W SET {a}1 z",
    "T GET {a}f",
    "W SET {a}2 y",
    "T GET {a}f",
    "T MGET {a}1 {b}1 {c}1 {d}1",
    "W SET {b}1 y",
    "T GET {b}f",
    "W DEL {c}1",
    "T GET {c}f",
    "W SET {d}1 y",
    "T GET {d}f",
    // Its own writes, and those of its transactions and scripts.
    "T GET {a}1",
    "T SET {a}1 own",
    "T GET {a}f",
    "T MGET {a}1 {b}1",
    "T MSET {a}1 own {b}1 own",
    "T GET {a}f",
    "T GET {b}f",
    "T MULTI",
    "T GET {a}1",
    "T GET {a}2",
    "T EXEC",
    "W MSET {a}1 m {a}2 m",
    "T GET {a}f",
    "T EVAL return(redis.call('get',KEYS[1])) 1 {c}1",
    "T EVAL_RO return(redis.call('get',KEYS[1])) 1 {d}1",
    "W MSET {c}1 m {d}1 m",
    "T GET {c}f",
    "T GET {d}f",
    "T WATCH {a}1",
    "T GET {a}1",
    "W SET {a}1 w",
    "T GET {a}f",
    "T MULTI",
    "T SET {a}1 never",
    "T EXEC",
    "T GET {a}1",
    "T WATCH {a}1",
    "T UNWATCH",
    "W SET {a}1 v",
    "T GET {a}f",
    "T MULTI",
    "T GET {a}1",
    "T EXEC",
    "W SET {a}1 u",
    "T GET {a}f",
    // What a blocking read has read is tracked as well.
    "T XREAD BLOCK 1 STREAMS {b}s $",
    "W XADD {b}s 1-1 f v",
    "T GET {b}f",
    // Without its own writes.
    "T CLIENT TRACKING ON NOLOOP",
    "T CLIENT TRACKINGINFO",
    "T MGET {a}1 {a}2",
    "T SET {a}1 own",
    "W SET {a}2 theirs",
    "T GET {a}f",
    "T CLIENT TRACKING OFF",
    "T CLIENT TRACKINGINFO",
    "T GET {a}1",
    "W SET {a}1 y",
    "T GET {a}f",
    // Only what it names.
    "T CLIENT TRACKING ON OPTIN",
    "T CLIENT TRACKING ON OPTOUT",
    "T CLIENT CACHING NO",
    "T CLIENT CACHING MAYBE",
    "T GET {a}1",
    "T CLIENT CACHING YES",
    "T CLIENT TRACKINGINFO",
    "T GET {a}2",
    "T CLIENT TRACKINGINFO",
    "W MSET {a}1 o {a}2 o",
    "T GET {a}f",
    "T CLIENT CACHING YES",
    "T MGET {a}1 {b}1",
    "T MGET {c}1 {d}1",
    "W MSET {a}1 p {b}1 p {c}1 p {d}1 p",
    "T GET {a}f",
    "T GET {b}f",
    "T GET {c}f",
    "T GET {d}f",
    "T CLIENT CACHING YES",
    "T MULTI",
    "T GET {a}1",
    "T GET {a}2",
    "T EXEC",
    "T GET {a}3",
    "W MSET {a}1 q {a}2 q {a}3 q",
    "T GET {a}f",
    "T CLIENT CACHING YES",
    "T GET",
    "T GET {a}1",
    "W SET {a}1 r",
    "T GET {a}f",
    "T CLIENT TRACKING OFF",
    "T CLIENT TRACKING ON OPTOUT",
    "T CLIENT CACHING NO",
    "T CLIENT TRACKINGINFO",
    "T GET {a}1",
    "T GET {a}2",
    "W MSET {a}1 s {a}2 s",
    "T GET {a}f",
    "T CLIENT CACHING NO",
    "T GET",
    "T GET {a}1",
    "W SET {a}1 t",
    "T GET {a}f",
    "T CLIENT TRACKING OFF",
    // All keys of a prefix, read or not.
    "T CLIENT TRACKING ON BCAST PREFIX {a} PREFIX {b}x",
    "T CLIENT TRACKINGINFO",
    "T CLIENT TRACKING ON BCAST PREFIX {a}1",
    "T CLIENT TRACKING ON",
    "W SET {a}1 b",
    "T GET {a}f",
    "W SET {b}1 b",
    "T GET {b}f",
    "W SET {b}x1 b",
    "T GET {b}f",
    "T CLIENT TRACKING ON BCAST PREFIX {c}",
    "T CLIENT TRACKINGINFO",
    "W SET {c}1 b",
    "T GET {c}f",
    "W SET {a}2 b",
    "T GET {a}f",
    "T CLIENT TRACKING OFF",
    "T CLIENT TRACKING ON BCAST NOLOOP",
    "T CLIENT TRACKINGINFO",
    "T SET {d}1 own",
    "W SET {d}2 theirs",
    "T GET {d}f",
    "T RESET",
    "T CLIENT TRACKINGINFO",
    "W SET {d}2 theirs",
    "T GET {d}f",
];

/// What each line is answered. Between shards there is no order: what is told before the replies to a row of fences, as
/// `GET {a}f`, is sorted.
fn run(mut tracks: RawClient, mut writes: RawClient) -> Vec<(String, Vec<String>)> {
    assert!(tracks.call(&["HELLO", "3"]).starts_with(b"%"));
    let is_fence = |line: &str| line.starts_with("T GET ") && line.ends_with("f");
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for line in LINES {
        let (who, said) = line.split_once(' ').expect("who says it");
        let told = ask(if who == "T" { &mut tracks } else { &mut writes }, said);
        match all.last_mut() {
            Some((last, before)) if is_fence(line) && is_fence(last) => {
                last.push_str(&format!(", {line}"));
                before.extend(told);
                before.sort();
            }
            _ => all.push(((*line).to_owned(), told)),
        }
    }
    all
}

#[test]
fn a_client_is_told_over_four_shards_what_one_redis_tells_it() {
    let workplace = Workplace::new();
    let plain = RedisServer::start(&workplace, &[]);
    let right = run(plain.client(), plain.client());
    let pushes = right.iter().flat_map(|(_, frames)| frames).filter(|frame| frame.starts_with('>')).count();
    assert!(pushes > 25, "Redis itself tells: {pushes}");
    let all = pool();
    let ours = run(all.client(), all.client());
    for (right, ours) in right.iter().zip(&ours) {
        assert_eq!(ours, right);
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let all = pool();
    let mut client = all.client();
    let error = ask(&mut client, "CLIENT TRACKING ON").concat();
    assert!(error.starts_with("-ERR") && error.contains("RESP2") && error.contains("HELLO 3"), "{error}");
    assert!(client.call(&["HELLO", "3"]).starts_with(b"%"));
    let error = ask(&mut client, "CLIENT TRACKING ON REDIRECT 3").concat();
    assert!(error.starts_with("-ERR") && error.contains("REDIRECT"), "{error}");
    assert_eq!(client.call(&["CLIENT", "GETREDIR"]), b":-1\r\n");
}

#[test]
fn resp2_ends_it_and_so_does_the_end_of_the_session() {
    let all = pool();
    let tracking = || -> usize {
        let counts = all.servers.iter().map(|server| {
            let count = server.client().info("tracking_clients");
            count.and_then(|count| count.parse::<usize>().ok()).expect("a number")
        });
        counts.sum()
    };
    let keys: Vec<String> = all.homes.keys().cloned().collect();
    let read = format!("MGET {}", keys.join(" "));
    let mut client = tracker(all.client(), "CLIENT TRACKING ON");
    assert_eq!(tracking(), 0, "nothing is read yet");
    ask(&mut client, &read);
    assert_eq!(tracking(), 4);
    assert!(client.call(&["HELLO", "2"]).starts_with(b"*"));
    wait::until("nobody tracks in RESP2", || (tracking() == 0).then_some(()));
    let mut client = tracker(all.client(), "CLIENT TRACKING ON BCAST");
    assert_eq!(tracking(), 4, "at once");
    ask(&mut client, &read);
    drop(client);
    wait::until("nobody tracks who is gone", || (tracking() == 0).then_some(()));
}

#[test]
fn where_a_shard_is_lost_all_copies_are_and_a_client_that_is_told_of_prefixes_is_cut() {
    let mut all = pool();
    let (near, far) = (all.keys(0, true)[0].clone(), all.keys(0, false)[0].clone());
    let mut client = tracker(all.client(), "CLIENT TRACKING ON");
    let mut broadcast = tracker(all.client(), "CLIENT TRACKING ON BCAST");
    all.expect(&mut client, &[near.clone(), far.clone()]);
    all.servers[0].kill();
    client.expect(ALL);
    assert_eq!(broadcast.until_closed(), b"");
    all.servers[0].restart();
    let mut writer = all.client();
    all.set(&mut writer, std::slice::from_ref(&near));
    wait::until("the shard answers", || {
        client.send_command(&["GET", &near]);
        let reply = client.reply().unwrap();
        (!reply.starts_with(b"-") && reply != ALL).then_some(())
    });
    // It is tracked on the new connection, and on the others as before.
    assert!(client.call(&["GET", &near]).starts_with(b"$"));
    assert_eq!(writer.call(&["SET", &near, "new"]), b"+OK\r\n");
    client.expect(&invalidated(&near));
    assert!(client.call(&["GET", &far]).starts_with(b"$"));
    assert_eq!(writer.call(&["SET", &far, "new"]), b"+OK\r\n");
    client.expect(&invalidated(&far));
}

#[test]
fn a_pipeline_over_all_shards_leaves_no_copy_that_is_stale() {
    let all = pool();
    let keys: Vec<String> = all.homes.keys().cloned().collect();
    let mut client = tracker(all.client(), "CLIENT TRACKING ON");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut writer = all.client();
            for round in 0..300 {
                for key in &keys {
                    assert_eq!(writer.call(&["SET", key, &format!("{round}")]), b"+OK\r\n");
                }
            }
        });
        let (mut copies, mut told) = (BTreeMap::new(), 0);
        while !writer.is_finished() {
            client.send(&keys.iter().flat_map(|key| encode(&["GET", key])).collect::<Vec<_>>());
            let mut left = keys.iter();
            while left.len() > 0 {
                let frame = client.reply().unwrap();
                if frame.starts_with(b">") {
                    forget(&mut copies, &frame);
                    told += 1;
                } else {
                    copies.insert(left.next().unwrap().clone(), frame);
                }
            }
        }
        // What was written last is told of before the next reply of its shard.
        for key in &keys {
            for frame in ask(&mut client, &format!("GET {{{key}}}none")) {
                forget(&mut copies, frame.as_bytes());
            }
        }
        let mut reader = all.client();
        for (key, copy) in &copies {
            assert_eq!(&reader.call(&["GET", key]), copy, "the copy of {key}");
        }
        assert!(told > keys.len(), "{told} invalidations came between the replies");
    });
}

/// Drops the copy that an invalidation names.
fn forget(copies: &mut BTreeMap<String, Vec<u8>>, frame: &[u8]) {
    let text = String::from_utf8_lossy(frame).into_owned();
    if text.starts_with('>') {
        assert!(text.contains("\r\ninvalidate\r\n*1\r\n"), "{text}");
        copies.remove(text.lines().next_back().expect("a key"));
    }
}
