//! How sessions leave a process that was taken over, or told to end.

use rustix::process::Signal;
use shoal_e2e::raw_client::encode;
use shoal_e2e::{RawClient, RedisServer, wait};

use crate::clients::At;
use crate::place::{Place, end_of, free, pool, says};

/// A place with one server, one pool and this drain timeout.
fn prepared(drain_timeout: u64) -> (Place, RedisServer, At) {
    let place = Place::new();
    let server = RedisServer::start(&place.workplace, &[]);
    let listen = free();
    place.configure(drain_timeout, &pool("first", &listen.to_string(), &[server.addr()]));
    (place, server, At::Tcp(listen))
}

/// Sends a GET that its server does not answer, since it is stopped; returns when the server has it.
fn ask_stopped(client: &mut RawClient, server: &RedisServer, place: &Place) {
    server.stop();
    client.send_command(&["GET", "a"]);
    wait::until("the request to be sent", || {
        let sent = place
            .get("/metrics")
            .lines()
            .any(|line| line.starts_with("shoal_upstream_unanswered{") && line.ends_with(" 1"));
        sent.then_some(())
    });
}

#[test]
fn idle_sessions_are_closed_and_a_request_that_is_out_has_its_reply() {
    let (place, server, at) = prepared(0);
    let mut first = place.start();
    let (mut asks, mut idle, mut half) = (at.connect(), at.connect(), at.connect());
    assert_eq!(asks.call(&["SET", "a", "1"]), b"+OK\r\n");
    assert_eq!(idle.call(&["PING"]), b"+PONG\r\n");
    let request = encode(&["SET", "b", "a value that comes in two pieces"]);
    half.send(&request[..20]);
    ask_stopped(&mut asks, &server, &place);
    let _second = place.take_over();
    assert_eq!(idle.until_closed(), b"");
    // Two are owed something, or have begun to ask: they are served to the end.
    assert_eq!(first.ended(), None);
    server.resume();
    assert_eq!(asks.until_closed(), b"$1\r\n1\r\n");
    half.send(&request[20..]);
    assert_eq!(half.until_closed(), b"+OK\r\n");
    assert_eq!(end_of(&mut first).code(), Some(0));
    assert!(!first.log().contains("were cut"), "{}", first.log());
    assert_eq!(at.connect().call(&["GET", "b"])[..5], b"$32\r\n"[..]);
}

#[test]
fn sessions_go_on_being_served_until_their_turn_comes() {
    // So long that nobody's turn comes while the test looks, but for the first.
    let (place, _server, at) = prepared(3_600_000);
    let mut first = place.start();
    let mut clients: Vec<RawClient> = (0..8).map(|_| at.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.call(&["PING"]), b"+PONG\r\n");
    }
    let _second = place.take_over();
    says(&first, "8 sessions leave");
    let mut serve_all = || {
        clients.retain_mut(|client| {
            client.send_command(&["SET", "a", "1"]);
            client.reply().is_ok_and(|reply| reply == b"+OK\r\n")
        });
        clients.len()
    };
    // The first of each of the two workers leaves at once.
    wait::until("two to have left", || (serve_all() == 6).then_some(()));
    assert!((0..20).all(|_| serve_all() == 6), "nobody else has left");
    first.signal(Signal::TERM);
    assert_eq!(end_of(&mut first).code(), Some(0), "a signal ends what is left at once");
}

#[test]
fn sigterm_lets_requests_end_and_a_second_one_does_not() {
    for twice in [false, true] {
        let (place, server, at) = prepared(60_000);
        let mut process = place.start();
        let (mut asks, mut idle) = (at.connect(), at.connect());
        assert_eq!(asks.call(&["SET", "a", "1"]), b"+OK\r\n");
        ask_stopped(&mut asks, &server, &place);
        process.signal(Signal::TERM);
        assert_eq!(idle.until_closed(), b"");
        assert!(at.try_connect().is_err(), "nobody is accepted any more");
        assert_eq!(process.ended(), None);
        if twice {
            process.signal(Signal::TERM);
            assert_eq!(asks.until_closed(), b"");
        } else {
            server.resume();
            assert_eq!(asks.until_closed(), b"$1\r\n1\r\n");
        }
        assert_eq!(end_of(&mut process).code(), Some(0), "{}", process.log());
        server.resume();
    }
}

#[test]
fn sigterm_cuts_who_has_not_left_when_the_time_is_over() {
    let (place, server, at) = prepared(300);
    let mut process = place.start();
    let mut asks = at.connect();
    assert_eq!(asks.call(&["PING"]), b"+PONG\r\n");
    ask_stopped(&mut asks, &server, &place);
    process.signal(Signal::TERM);
    assert_eq!(asks.until_closed(), b"");
    assert_eq!(end_of(&mut process).code(), Some(0));
    says(&process, "the time to leave is over");
    server.resume();
}
