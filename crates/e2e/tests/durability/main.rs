//! `durability: replicated` with real primaries, replicas and kills.

mod kills;
mod pair;

use std::time::Duration;

use pair::Pair;
use shoal_e2e::raw_client::encode;

/// Longer than any test takes.
const PATIENT: &str = "{mode: replicated, timeout: 600000}";

/// Over soon.
const BRIEF: &str = "{mode: replicated, timeout: 100}";

#[test]
fn what_was_acknowledged_is_on_the_replica_already() {
    let pair = Pair::start(PATIENT);
    let (mut client, mut replica) = (pair.client(), pair.replica.client());
    for n in 0..200 {
        let (key, value) = (format!("k{n}"), format!("v{n}"));
        let done: &[u8] = match n % 5 {
            0 => {
                client.send_command(&["MSET", &key, &value, "other", &value]);
                b"+OK\r\n"
            }
            1 => {
                client
                    .send(&[encode(&["MULTI"]), encode(&["SET", &key, &value]), encode(&["EXEC"])].concat());
                b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"
            }
            2 => {
                let script = "return redis.call('SET', KEYS[1], ARGV[1])";
                client.send_command(&["EVAL", script, "1", &key, &value]);
                b"+OK\r\n"
            }
            3 => {
                client.send(
                    &[
                        encode(&["WATCH", &key]),
                        encode(&["MULTI"]),
                        encode(&["SET", &key, &value]),
                        encode(&["EXEC"]),
                    ]
                    .concat(),
                );
                b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"
            }
            _ => {
                client.send_command(&["SET", &key, &value]);
                b"+OK\r\n"
            }
        };
        client.expect(done);
        let there = format!("${}\r\n{value}\r\n", value.len());
        assert_eq!(replica.call(&["GET", &key]), there.as_bytes(), "nobody waited for it");
    }
    assert_eq!(pair.counter("shoal_unreplicated_writes_total"), 0);
    let waits = pair.counter("shoal_upstream_waits_total");
    assert!((200..=210).contains(&waits), "one a write, where there is no company: {waits}");
}

#[test]
fn a_pipeline_of_writes_costs_few_waits() {
    let pair = Pair::start(PATIENT);
    let mut client = pair.client();
    let all: Vec<u8> = (0..1000).flat_map(|n| encode(&["SET", &format!("k{n}"), "v"])).collect();
    client.send(&all);
    client.expect(&b"+OK\r\n".repeat(1000));
    let waits = pair.counter("shoal_upstream_waits_total");
    assert!(waits <= 100, "{waits} WAITs for a thousand writes sent together");
    assert_eq!(pair::size(&mut pair.replica.client()), 1000);
}

#[test]
fn reads_of_others_are_answered_while_a_write_waits_for_a_replica_that_stands_still() {
    let pair = Pair::start(PATIENT);
    let (mut writer, mut second, mut reader) = (pair.client(), pair.client(), pair.client());
    writer.expect_call(&["SET", "a", "1"], b"+OK\r\n");
    pair.replica.stop();
    writer.send_command(&["SET", "a", "2"]);
    second.send_command(&["INCR", "n"]);
    // Applied, and seen by all: not replicated is not undone.
    let mut primary = pair.primary.client();
    shoal_e2e::wait::until("both writes to be applied", || {
        let both = [primary.call(&["GET", "a"]), primary.call(&["GET", "n"])];
        (both == [b"$1\r\n2\r\n".to_vec(), b"$1\r\n1\r\n".to_vec()]).then_some(())
    });
    for _ in 0..500 {
        reader.expect_call(&["GET", "a"], b"$1\r\n2\r\n");
    }
    // Many others, on both workers.
    for mut other in (0..20).map(|_| pair.client()) {
        other.expect_call(&["GET", "a"], b"$1\r\n2\r\n");
    }
    assert!(!writer.has_something(), "the replica stands still, so the write cannot be acknowledged");
    pair.replica.resume();
    writer.expect(b"+OK\r\n");
    second.expect(b":1\r\n");
    assert_eq!(pair.counter("shoal_unreplicated_writes_total"), 0);
}

#[test]
fn what_is_not_reached_is_an_error_that_says_that_it_was_applied() {
    let pair = Pair::start(BRIEF);
    let mut client = pair.client();
    client.expect_call(&["SET", "a", "1"], b"+OK\r\n");
    pair.replica.stop();
    let error: &[u8] = b"-UNREPLICATED applied, not yet replicated: 0 of 1 replicas of shard demo-0 of pool demo confirmed it \
                  within 100 ms\r\n";
    client.send(&[encode(&["SET", "a", "2"]), encode(&["GET", "a"]), encode(&["LPUSH", "a", "x"])].concat());
    client.expect(error);
    client.expect(b"$1\r\n2\r\n-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    // Also what blocked, which WAIT alone would miscount.
    let mut waiter = pair.client();
    waiter.send_command(&["BLPOP", "queue", "0"]);
    let mut primary = pair.primary.client();
    shoal_e2e::wait::until("the pop to block", || {
        primary.info("blocked_clients").filter(|count| count == "1").map(drop)
    });
    client.expect_call(&["RPUSH", "queue", "x"], error);
    waiter.expect(error);
    // And what passes in pieces.
    let large = "v".repeat(300_000);
    client.expect_call(&["SET", "large", &large], error);
    assert_eq!(pair.counter("shoal_unreplicated_writes_total"), 4);
    pair.replica.resume();
    shoal_e2e::wait::until("the replica to catch up", || {
        (client.call(&["SET", "a", "3"]) == b"+OK\r\n").then_some(())
    });
    waiter.send_command(&["BLPOP", "queue", "0"]);
    client.expect_call(&["RPUSH", "queue", "y"], b":1\r\n");
    waiter.expect(b"*2\r\n$5\r\nqueue\r\n$1\r\ny\r\n");
    assert_eq!(pair.replica.client().call(&["EXISTS", "queue"]), b":0\r\n");
}

#[test]
fn a_primary_that_dies_within_the_wait_leaves_an_error_with_an_unknown_fate() {
    let mut pair = Pair::start(PATIENT);
    let mut client = pair.client();
    pair.replica.stop();
    client.send_command(&["SET", "a", "1"]);
    let mut primary = pair.primary.client();
    shoal_e2e::wait::until("the write to be applied", || {
        (primary.call(&["GET", "a"]) == b"$1\r\n1\r\n").then_some(())
    });
    // A round later the reply to the SET has left the primary as well.
    primary.expect_call(&["PING"], b"+PONG\r\n");
    pair.primary.kill();
    let said = String::from_utf8(client.reply().expect("a reply")).expect("words");
    let applied = "-UNREPLICATED applied, not known to be replicated: shard demo-0 of pool demo ";
    assert!(said.starts_with(applied), "{said}");
    pair.replica.resume();
}

trait Call {
    fn expect_call(&mut self, words: &[&str], expected: &[u8]);
    fn has_something(&mut self) -> bool;
}

impl Call for shoal_e2e::RawClient {
    #[track_caller]
    fn expect_call(&mut self, words: &[&str], expected: &[u8]) {
        self.send_command(words);
        self.expect(expected);
    }

    /// Whether something is there to read now.
    fn has_something(&mut self) -> bool {
        self.set_deadline(Duration::from_millis(1));
        let (bytes, _) = self.read_up_to(1);
        self.set_deadline(shoal_e2e::wait::DEADLINE);
        !bytes.is_empty()
    }
}
