//! Commands that hold a connection, through a pool of four real servers: transactions and watched keys, blocking
//! commands, Pub/Sub. `differential` asks one plain server the same.

use shoal_e2e::raw_client::{encode, words};
use shoal_e2e::{OwnPool, RawClient, RedisServer, Sharded, escape, wait};

fn start() -> Sharded {
    Sharded::start(4, 2, 16, |addrs| OwnPool::storage("demo", addrs).key("hash_tag", "\"{}\""))
}

fn call(client: &mut RawClient, line: &str) -> String {
    String::from_utf8(client.call(&words(line))).expect("text")
}

fn next(client: &mut RawClient) -> String {
    match client.reply() {
        Ok(reply) => String::from_utf8(reply).expect("text"),
        Err((end, got)) => panic!("no reply, but {end:?} behind {}", escape::show(&got)),
    }
}

/// Subscribers of `channel` on all servers.
fn subscribers(all: &Sharded, channel: &str) -> usize {
    let count = |server: &RedisServer| {
        let reply = call(&mut server.client(), &format!("PUBSUB NUMSUB {channel}"));
        reply.trim_end().rsplit(':').next().and_then(|count| count.parse::<usize>().ok()).expect("a number")
    };
    all.servers.iter().map(count).sum()
}

#[test]
fn a_watched_key_that_another_client_writes_aborts_and_no_increment_is_lost() {
    let all = start();
    let (mut one, mut other) = (all.client(), all.client());
    assert_eq!(call(&mut one, "WATCH {t}n"), "+OK\r\n");
    assert_eq!(call(&mut other, "SET {t}n 1"), "+OK\r\n");
    for (line, reply) in [("MULTI", "+OK\r\n"), ("SET {t}n 9", "+QUEUED\r\n"), ("EXEC", "*-1\r\n")] {
        assert_eq!(call(&mut one, line), reply);
    }
    assert_eq!(call(&mut one, "GET {t}n"), "$1\r\n1\r\n");
    // Four clients that read, add one and write: with a lost update the sum would be less.
    let done: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let mut client = all.client();
                scope.spawn(move || {
                    let mut tries = 0;
                    for _ in 0..100 {
                        loop {
                            tries += 1;
                            call(&mut client, "WATCH {t}sum");
                            let text = call(&mut client, "GET {t}sum");
                            let now = text
                                .lines()
                                .nth(1)
                                .and_then(|text| text.parse::<u64>().ok())
                                .unwrap_or_default();
                            call(&mut client, "MULTI");
                            call(&mut client, &format!("SET {{t}}sum {}", now + 1));
                            if call(&mut client, "EXEC") == "*1\r\n+OK\r\n" {
                                break;
                            }
                        }
                    }
                    tries
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker")).sum()
    });
    assert_eq!(call(&mut one, "GET {t}sum"), "$3\r\n400\r\n", "after {done} tries");
}

#[test]
fn who_waits_in_a_blocking_command_gets_what_comes_and_keeps_nobody_waiting() {
    let all = start();
    let mut other = all.client();
    for (wait_line, push_line, reply) in [
        ("BLPOP {t}l {t}m 0", "RPUSH {t}m x", "*2\r\n$4\r\n{t}m\r\n$1\r\nx\r\n"),
        ("BRPOP {t}l 0", "RPUSH {t}l y", "*2\r\n$4\r\n{t}l\r\n$1\r\ny\r\n"),
        ("BLMOVE {t}l {t}k LEFT RIGHT 0", "RPUSH {t}l z", "$1\r\nz\r\n"),
        ("BRPOPLPUSH {t}l {t}k 0", "RPUSH {t}l z", "$1\r\nz\r\n"),
        ("BZPOPMIN {t}z 0", "ZADD {t}z 1 a", "*3\r\n$4\r\n{t}z\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("BZPOPMAX {t}z 0", "ZADD {t}z 1 a", "*3\r\n$4\r\n{t}z\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("BLMPOP 0 1 {t}l LEFT", "RPUSH {t}l w", "*2\r\n$4\r\n{t}l\r\n*1\r\n$1\r\nw\r\n"),
        ("BZMPOP 0 1 {t}z MIN", "ZADD {t}z 1 a", "*2\r\n$4\r\n{t}z\r\n*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        (
            "XREAD BLOCK 0 STREAMS {t}s $",
            "XADD {t}s 5-1 f v",
            "*1\r\n*2\r\n$4\r\n{t}s\r\n*1\r\n*2\r\n$3\r\n5-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
        ),
    ] {
        let mut waiting = all.client();
        waiting.send_command(&words(wait_line));
        wait::until("the server to block", || {
            all.servers.iter().any(|server| server.blocked() == 1).then_some(())
        });
        assert_eq!(call(&mut other, "SET {t}other x"), "+OK\r\n", "{wait_line}");
        call(&mut other, push_line);
        assert_eq!(next(&mut waiting), reply, "{wait_line}");
        assert_eq!(call(&mut waiting, "PING"), "+PONG\r\n");
    }
    assert_eq!(call(&mut other, "BLPOP {t}none 0.05"), "*-1\r\n", "its own timeout");
}

#[test]
fn a_client_that_vanishes_in_a_blocking_pop_pops_nothing() {
    let all = start();
    for half in [false, true] {
        let mut waiting = all.client();
        waiting.send(&[encode(&["BLPOP", "{t}l", "0"]), encode(&["PING"])].concat());
        wait::until("the server to block", || {
            all.servers.iter().any(|server| server.blocked() == 1).then_some(())
        });
        if half {
            waiting.half_close();
        }
        drop(waiting);
        wait::until("nobody to be blocked", || {
            all.servers.iter().all(|server| server.blocked() == 0).then_some(())
        });
        let mut other = all.client();
        assert_eq!(call(&mut other, "RPUSH {t}l x"), ":1\r\n");
        assert_eq!(call(&mut other, "LPOP {t}l"), "$1\r\nx\r\n");
    }
}

#[test]
fn publications_reach_every_subscriber_once_whatever_shards_they_are_on() {
    let all = start();
    let (mut names, mut patterns, mut typed, mut publisher) =
        (all.client(), all.client(), all.client(), all.client());
    let channels: Vec<String> = (0..16).map(|number| format!("c{number}")).collect();
    let words: Vec<&str> = ["SUBSCRIBE"].into_iter().chain(channels.iter().map(String::as_str)).collect();
    names.send_command(&words);
    for (nth, channel) in channels.iter().enumerate() {
        let expected =
            format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:{}\r\n", channel.len(), nth + 1);
        assert_eq!(next(&mut names), expected);
    }
    assert_eq!(call(&mut patterns, "PSUBSCRIBE c*"), "*3\r\n$10\r\npsubscribe\r\n$2\r\nc*\r\n:1\r\n");
    assert!(call(&mut typed, "HELLO 3").starts_with('%'));
    assert_eq!(call(&mut typed, "SSUBSCRIBE c1"), ">3\r\n$10\r\nssubscribe\r\n$2\r\nc1\r\n:1\r\n");
    assert_eq!(call(&mut typed, "SUBSCRIBE c1"), ">3\r\n$9\r\nsubscribe\r\n$2\r\nc1\r\n:1\r\n");
    for (nth, channel) in channels.iter().enumerate() {
        let receivers = if nth == 1 { 3 } else { 2 };
        assert_eq!(call(&mut publisher, &format!("PUBLISH {channel} m{nth}")), format!(":{receivers}\r\n"));
        let tail = format!("${}\r\n{channel}\r\n${}\r\nm{nth}\r\n", channel.len(), 1 + nth.to_string().len());
        assert_eq!(
            next(&mut names),
            format!("*3\r\n$7\r\nmessage\r\n{tail}"),
            "what is next is its own message"
        );
        assert_eq!(next(&mut patterns), format!("*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n{tail}"));
    }
    assert_eq!(next(&mut typed), ">3\r\n$7\r\nmessage\r\n$2\r\nc1\r\n$2\r\nm1\r\n");
    assert_eq!(call(&mut publisher, "SPUBLISH c1 s"), ":1\r\n");
    assert_eq!(next(&mut typed), ">3\r\n$8\r\nsmessage\r\n$2\r\nc1\r\n$1\r\ns\r\n");
    assert_eq!(
        call(&mut typed, "GET k0"),
        call(&mut publisher, "GET k0").as_str(),
        "a RESP3 subscriber asks on"
    );
    names.send_command(&["UNSUBSCRIBE"]);
    (0..16).for_each(|_| assert!(next(&mut names).contains("unsubscribe")));
    assert_eq!(subscribers(&all, "c0"), 0);
    assert!(call(&mut names, "GET k0").starts_with('$'));
    drop(typed);
    wait::until("nobody to be subscribed", || (subscribers(&all, "c1") == 0).then_some(()));
}

#[test]
fn a_subscriber_is_cut_when_a_shard_of_its_channels_dies() {
    let mut all = start();
    let mut client = all.client();
    assert!(call(&mut client, "PSUBSCRIBE *").contains("psubscribe"));
    all.servers[2].kill();
    assert_eq!(client.until_closed(), b"");
    let mut anew = all.client();
    assert!(
        call(&mut anew, "PSUBSCRIBE *").starts_with("-ERR shard "),
        "it cannot be complete, so it is refused"
    );
}
