//! Limits answer at once, say what they are, and are counted.

use std::time::Instant;

use shoal_e2e::raw_client::encode;
use shoal_e2e::{RawClient, wait};

use crate::rig::{Rig, say};

/// Sends a pipeline and counts the replies that are no error; the first error.
fn burst(client: &mut RawClient, line: &[&str], count: usize) -> (usize, String) {
    client.send(&encode(line).repeat(count));
    let (mut good, mut error) = (0, String::new());
    for _ in 0..count {
        let reply = client.reply().expect("a reply to each request");
        if reply.starts_with(b"-") && error.is_empty() {
            error = reply.escape_ascii().to_string();
        }
        good += usize::from(!reply.starts_with(b"-"));
    }
    (good, error)
}

#[test]
fn requests_over_the_limit_are_refused_at_once() {
    let rig = Rig::start(2, &[], "limits: {requests_per_second: 50}");
    let began = Instant::now();
    // Two clients, on two workers: the limit is the pool's.
    let (mut one, mut two) = (rig.client(), rig.client());
    let (first, error) = burst(&mut one, &["GET", "k"], 500);
    let (second, _) = burst(&mut two, &["GET", "k"], 500);
    let worth = 50 + (began.elapsed().as_secs_f64() * 50.0) as usize + 1;
    assert!((50..=worth).contains(&(first + second)), "{first} and {second}, at most {worth}");
    assert!(
        error.starts_with("-ERR limit reached: requests_per_second of pool door is 50; ask again in "),
        "{error}"
    );
    assert_eq!(rig.metric("shoal_over_requests_per_second_total"), 1000 - (first + second) as u64);
    // It lasts no longer than the limit says, and a reload lifts it for those who are there.
    wait::until("a request to be let in again", || one.call(&["GET", "k"]).starts_with(b"$-1").then_some(()));
    rig.reload("");
    assert_eq!(burst(&mut one, &["GET", "k"], 500).0, 500);
}

#[test]
fn bytes_are_limited_both_ways() {
    let rig = Rig::start(
        1,
        &[],
        "users:\n- {name: app, rules: 'on nopass ~* +@all', limits: {bytes_per_second: 100000}}\n- {name: default, rules: 'on nopass ~* &* +@all'}",
    );
    let mut free = rig.client();
    let value = "v".repeat(60_000);
    assert_eq!(free.call(&["SET", "k", &value]), b"+OK\r\n");
    let mut app = rig.entered("app", "x");
    // The replies are charged: two are within a second's worth, the third is not.
    let (good, error) = burst(&mut app, &["GET", "k"], 1);
    assert_eq!((good, error), (1, String::new()));
    let (good, error) = (0..20).fold((0, String::new()), |(good, error), _| {
        let (more, said) = burst(&mut app, &["GET", "k"], 1);
        (good + more, if error.is_empty() { said } else { error })
    });
    assert!(
        good < 20 && error.contains("bytes_per_second of user app of pool door is 100000"),
        "{good}: {error}"
    );
    assert!(rig.metric("shoal_over_bytes_per_second_total") > 0);
    // And requests, be they ever so large.
    let mut large = rig.entered("app", "x");
    let huge = "v".repeat(300_000);
    let refused =
        (0..3).any(|_| large.call(&["SET", "k", &huge]).starts_with(b"-ERR limit reached: bytes_per_second"));
    assert!(refused);
    assert_eq!(free.call(&["SET", "k", &huge]), b"+OK\r\n");
    // Another user has nothing to do with it.
    assert_eq!(burst(&mut free, &["GET", "k"], 10).0, 10);
}

#[test]
fn connections_over_the_limit_are_told_and_closed() {
    let users = "users:\n- {name: app, rules: 'on nopass ~* +@all', limits: {max_connections: 2}}\n\
                 - {name: default, rules: 'on nopass ~* &* +@all'}\nlimits: {max_connections: 4}";
    let rig = Rig::start(1, &[], users);
    // Who looked whether the proxy listens has gone.
    wait::until("no connection", || (rig.metric("shoal_sessions") == 0).then_some(()));
    let refused_before = rig.metric("shoal_over_max_connections_total");
    let mut inside: Vec<RawClient> = (0..2).map(|_| rig.entered("app", "x")).collect();
    let mut third = rig.client();
    let said = say(&mut third, "AUTH app x");
    assert_eq!(
        said,
        "-ERR max number of clients reached: max_connections of user app of pool door is 2; close connections that are not \
         used, or raise it\\r\\n"
    );
    assert!(third.until_closed().is_empty());
    wait::until("its end", || (rig.metric("shoal_sessions") == 2).then_some(()));
    inside.extend((0..2).map(|_| rig.client()));
    inside.iter_mut().for_each(|client| assert!(client.call(&["PING"]).starts_with(b"+PONG")));
    let text = String::from_utf8(rig.client().until_closed()).expect("text");
    assert!(
        text.starts_with("-ERR max number of clients reached: max_connections of pool door is 4;"),
        "{text}"
    );
    assert_eq!(rig.metric("shoal_over_max_connections_total") - refused_before, 2);
    // One goes, and another is let in.
    inside.pop();
    let mut late = wait::until("room", || {
        let mut client = rig.client();
        client.send_command(&["PING"]);
        client.reply().is_ok_and(|reply| reply.starts_with(b"+PONG")).then_some(client)
    });
    assert!(late.call(&["GET", "k"]).starts_with(b"$-1"));
    // HELLO counts as AUTH does, and RESET frees the user's place.
    assert!(inside[0].call(&["RESET"]).starts_with(b"+RESET"));
    assert!(late.call(&["HELLO", "3", "AUTH", "app", "x"]).starts_with(b"%7"));
}

#[test]
fn a_transaction_ends_whatever_the_limit() {
    let rig = Rig::start(1, &[], "limits: {requests_per_second: 2}");
    let mut client = rig.client();
    client.send(
        &[encode(&["MULTI"]), encode(&["SET", "k", "v"]).repeat(200), encode(&["EXEC"]), encode(&["PING"])]
            .concat(),
    );
    let replies: Vec<Vec<u8>> = (0..203).map(|_| client.reply().expect("a reply")).collect();
    assert_eq!(replies[0], b"+OK\r\n");
    assert!(replies[1..201].iter().any(|reply| reply.starts_with(b"-ERR limit reached")));
    assert_eq!(replies[201], b"-EXECABORT Transaction discarded because of previous errors.\r\n");
    // It is over: what follows is not queued.
    assert!(!replies[202].starts_with(b"+QUEUED"));
    let value = rig.servers[0].client().call(&["GET", "k"]);
    assert_eq!(value, b"$-1\r\n");
}
