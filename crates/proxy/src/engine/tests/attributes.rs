//! Attributes of RESP3: what a server tells about a reply, before it. A client of RESP3 is given them where they stood; nobody else is.

use super::cases::connect;
use super::transaction::{actions, all_words, say, sent_text, stranger, tagged};
use super::*;

const TTL: &str = "|1\r\n+ttl\r\n:9\r\n";
const POPULARITY: &str = "|1\r\n$14\r\nkey-popularity\r\n%2\r\n+a\r\n,0.1923\r\n+b\r\n,0.0012\r\n";
const GONE: &str = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$4\r\n{a}1\r\n";

/// A session that has asked `lines`, and the upstream to the shard of `{a}`, which has them.
fn asked(hello: &[&str], lines: &[&str]) -> (Engine, Key, Key) {
    let (mut engine, key) = engine(PoolSettings { timeout: None, ..tagged() });
    say(&mut engine, key, hello);
    drained(&mut engine, key);
    say(&mut engine, key, lines);
    let upstream = connect(&mut engine).expect("an upstream");
    sent_text(&mut engine);
    if !hello.is_empty() {
        engine.handle_upstream_bytes(upstream, b"%0\r\n");
        if hello.len() > 1 {
            engine.handle_upstream_bytes(upstream, b"+OK\r\n");
        }
        assert_eq!(sent_text(&mut engine), all_words(lines));
    }
    (engine, key, upstream)
}

/// What the client is given of `sent`, whole, cut in two anywhere, and byte by byte: always the same.
fn given(hello: &[&str], lines: &[&str], sent: &str) -> String {
    let in_pieces = |pieces: &[&[u8]]| {
        let (mut engine, key, upstream) = asked(hello, lines);
        for piece in pieces {
            engine.handle_upstream_bytes(upstream, piece);
        }
        let given = drained(&mut engine, key);
        assert_eq!(engine.outstanding(), (0, 0), "{sent:?} in {} pieces gives {given:?}", pieces.len());
        given
    };
    let bytes = sent.as_bytes();
    let whole = in_pieces(&[bytes]);
    for cut in 1..bytes.len() {
        assert_eq!(in_pieces(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
    }
    assert_eq!(in_pieces(&bytes.chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
    whole
}

const RESP3: &[&str] = &["HELLO 3"];
const THREE: &[&str] = &["GET {a}1", "GET {a}2", "GET {a}3"];

#[test]
fn they_stay_before_their_replies_in_resp3() {
    for second in [
        "$1\r\nx\r\n",
        "+OK\r\n",
        ":7\r\n",
        "_\r\n",
        "-ERR no\r\n",
        "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
        "%1\r\n+a\r\n+b\r\n",
        ",1.5\r\n",
        "=5\r\ntxt:x\r\n",
    ] {
        let sent = format!("$1\r\n1\r\n{TTL}{second}$1\r\n3\r\n");
        assert_eq!(given(RESP3, THREE, &sent), sent);
    }
    // Several in a row, empty ones, and at both ends.
    let sent = format!("{TTL}{POPULARITY}$1\r\n1\r\n|0\r\n$1\r\n2\r\n{TTL}*0\r\n");
    assert_eq!(given(RESP3, THREE, &sent), sent);
}

#[test]
fn they_stay_within_replies_and_within_each_other() {
    let nested = format!("*3\r\n:1\r\n{TTL}:2\r\n{POPULARITY}*2\r\n{TTL}+a\r\n+b\r\n");
    let within = format!("|1\r\n+a\r\n{TTL}*1\r\n{TTL}+b\r\n");
    let sent = format!("{nested}{TTL}{nested}{within}$1\r\n3\r\n");
    assert_eq!(given(RESP3, THREE, &sent), sent);
}

#[test]
fn before_a_push_they_are_dropped_with_it_or_without() {
    // Nobody listens here.
    let sent = format!("$1\r\n1\r\n{TTL}{GONE}{TTL}$1\r\n2\r\n{GONE}$1\r\n3\r\n");
    assert_eq!(given(RESP3, THREE, &sent), format!("$1\r\n1\r\n{TTL}$1\r\n2\r\n$1\r\n3\r\n"));
    // Here somebody does.
    let sent = format!("$1\r\n1\r\n{TTL}{GONE}{TTL}$1\r\n2\r\n{POPULARITY}{GONE}$1\r\n3\r\n");
    let expected = format!("$1\r\n1\r\n{GONE}{TTL}$1\r\n2\r\n{GONE}$1\r\n3\r\n");
    assert_eq!(given(&["HELLO 3", "CLIENT TRACKING ON"], THREE, &sent), expected);
}

#[test]
fn a_client_of_resp2_is_given_none() {
    let sent = format!("{TTL}$1\r\n1\r\n{TTL}{POPULARITY}-ERR no\r\n|0\r\n*2\r\n:1\r\n:2\r\n");
    assert_eq!(given(&[], THREE, &sent), "$1\r\n1\r\n-ERR no\r\n*2\r\n:1\r\n:2\r\n");
    // What they describe must be of RESP2.
    let (mut engine, key, upstream) = asked(&[], THREE);
    engine.handle_upstream_bytes(upstream, format!("{TTL}_\r\n").as_bytes());
    let said = drained(&mut engine, key);
    assert!(said.contains("sent what is no reply: '_' where RESP2 is spoken"), "{said}");
}

#[test]
fn a_joined_reply_has_those_of_its_elements_and_not_those_of_its_parts() {
    let (mut engine, key) = engine(PoolSettings { timeout: None, ..tagged() });
    say(&mut engine, key, &["HELLO 3"]);
    drained(&mut engine, key);
    let far = stranger(&mut engine);
    say(&mut engine, key, &[&format!("MGET {{a}}1 {far}"), &format!("DEL {{a}}1 {far}")]);
    let mut opened = Vec::new();
    for action in actions(&mut engine) {
        if let Action::Connect(upstream) = action {
            engine.handle_upstream_connected(upstream);
            opened.push(upstream);
        }
    }
    sent_text(&mut engine);
    opened.iter().for_each(|&upstream| engine.handle_upstream_bytes(upstream, b"%0\r\n"));
    sent_text(&mut engine);
    for &upstream in &opened {
        let part = format!("{TTL}*1\r\n{POPULARITY}$1\r\nx\r\n{TTL}:1\r\n");
        part.bytes().for_each(|byte| engine.handle_upstream_bytes(upstream, &[byte]));
    }
    let element = format!("{POPULARITY}$1\r\nx\r\n");
    assert_eq!(drained(&mut engine, key), format!("*2\r\n{element}{element}:2\r\n"));
    assert_eq!(engine.outstanding(), (0, 0));
}

#[test]
fn a_greeting_may_have_them() {
    let (mut engine, key) = engine(PoolSettings { timeout: None, ..tagged() });
    say(&mut engine, key, &["HELLO 3", "GET {a}1"]);
    drained(&mut engine, key);
    let upstream = connect(&mut engine).unwrap();
    sent_text(&mut engine);
    engine.handle_upstream_bytes(upstream, format!("{TTL}-ERR unknown command\r\n").as_bytes());
    let said = drained(&mut engine, key);
    assert!(said.contains("refused the proxy: ERR unknown command"), "{said}");
}

#[test]
fn a_message_is_told_without_them() {
    for (hello, begin) in [(&[][..], "*"), (RESP3, ">")] {
        let (mut engine, key, upstream) = {
            let (mut engine, key) = engine(PoolSettings { timeout: None, ..tagged() });
            say(&mut engine, key, hello);
            drained(&mut engine, key);
            say(&mut engine, key, &["SUBSCRIBE {a}"]);
            let upstream = connect(&mut engine).unwrap();
            sent_text(&mut engine);
            if !hello.is_empty() {
                engine.handle_upstream_bytes(upstream, b"%0\r\n");
            }
            (engine, key, upstream)
        };
        let confirmed = format!("{begin}3\r\n$9\r\nsubscribe\r\n$3\r\n{{a}}\r\n:1\r\n");
        let message = format!("{begin}3\r\n$7\r\nmessage\r\n$3\r\n{{a}}\r\n$1\r\nm\r\n");
        for byte in format!("{TTL}{confirmed}{POPULARITY}{message}{message}").bytes() {
            engine.handle_upstream_bytes(upstream, &[byte]);
        }
        assert_eq!(drained(&mut engine, key), format!("{confirmed}{message}{message}"));
    }
}

#[test]
fn endless_ones_fail_by_name() {
    let (mut engine, key, upstream) = asked(RESP3, &["GET {a}1"]);
    engine.handle_upstream_bytes(upstream, b"|100000\r\n");
    let pair = ":1\r\n:1\r\n".repeat(1000);
    for _ in 0..20 {
        engine.handle_upstream_bytes(upstream, pair.as_bytes());
    }
    let said = drained(&mut engine, key);
    assert!(said.contains("sent what is no reply: attributes of more than 65536 bytes"), "{said}");
    assert_eq!(engine.outstanding(), (0, 0));
}
