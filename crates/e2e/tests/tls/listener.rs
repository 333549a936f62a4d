//! Clients that speak TLS: handshakes, certificates, the reload of both.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use shoal_e2e::load::StopAtEnd;
use shoal_e2e::raw_client::encode;
use shoal_e2e::tls::{Authority, TlsClient, Trust};
use shoal_e2e::{Proxy, RedisServer, wait};

use crate::{Ground, addrs};

#[test]
fn a_pool_speaks_tls_and_plain_at_two_ports() {
    let ground = Ground::new();
    let servers = [RedisServer::start(&ground.workplace, &[]), RedisServer::start(&ground.workplace, &[])];
    let (proxy, addr) = ground.proxy(&addrs(&servers), "", |pool| pool);
    let mut plain = proxy.client("demo");
    assert_eq!(plain.call(&["SET", "key", "value"]), b"+OK\r\n");
    for (version, name) in [(&TLS12, "TLSv1.2 TLS_ECDHE_"), (&TLS13, "TLSv1.3 TLS13_")] {
        let trust = Trust { version: Some(version), ..ground.trust() };
        let mut client = TlsClient::connect(addr, &trust).expect("a handshake");
        assert_eq!(client.call(&["GET", "key"]), "$5\r\nvalue\r\n");
        let requests: Vec<u8> =
            (0..5_000).flat_map(|number| encode(&["ECHO", &format!("{number:08}")])).collect();
        let mut replies = vec![0; 5_000 * 14];
        // The pipeline is longer than what may be owed to a client that does not read yet.
        client.send(&requests).unwrap();
        client.read_exact(&mut replies).unwrap();
        let expected: String = (0..5_000).map(|number| format!("$8\r\n{number:08}\r\n")).collect();
        assert_eq!(String::from_utf8(replies).unwrap(), expected);
        let (_, sessions) = proxy.get("/sessions");
        assert!(sessions.contains(name), "{name} in {sessions}");
    }
    assert_eq!(proxy.metric("shoal_tls_handshakes_total{pool=\"demo\"}"), 2);
    assert!(proxy.metric("shoal_tls_certificate_expires_seconds{pool=\"demo\"}") > 64_000_000_000);
}

#[test]
fn an_end_is_said_by_tls_after_all_that_was_owed() {
    let ground = Ground::new();
    let server = [RedisServer::start(&ground.workplace, &[])];
    let (proxy, addr) = ground.proxy(&addrs(&server), "", |pool| pool);
    let mut client = ground.connect(addr);
    let value = "v".repeat(6_000_000);
    assert_eq!(client.call(&["SET", "large", &value]), "+OK\r\n");
    // More than sockets take: when the session ends, sealed bytes wait for a client that does not read yet.
    let mut requests = encode(&["GET", "large"]);
    requests.extend(encode(&["QUIT"]));
    client.send(&requests).unwrap();
    let mut begin = vec![0; 10];
    client.read_exact(&mut begin).unwrap();
    assert_eq!(begin, b"$6000000\r\n");
    let rest = client.read_to_end().expect("an end that TLS says");
    assert_eq!(rest.len(), 6_000_000 + 7);
    assert!(rest.ends_with(b"v\r\n+OK\r\n"));
    wait::until("the session to be gone", || {
        (proxy.metric("shoal_sessions{pool=\"demo\"}") == 0).then_some(())
    });
}

#[test]
fn who_is_one_too_many_is_told_so_by_tls() {
    let ground = Ground::new();
    let server = [RedisServer::start(&ground.workplace, &[])];
    let (_proxy, addr) = ground.proxy(&addrs(&server), "", |pool| pool.key("limits", "{max_connections: 1}"));
    let mut first = ground.connect(addr);
    assert_eq!(first.call(&["PING"]), "+PONG\r\n");
    let told = ground.connect(addr).read_to_end().expect("an end that TLS says");
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.starts_with("-ERR max number of clients reached"), "{told}");
    drop(first);
    wait::until("room for another", || {
        let answer = ground.connect(addr).try_call(&["PING"]).ok()?;
        (answer == b"+PONG\r\n").then_some(())
    });
}

#[test]
fn a_client_without_the_right_certificate_stays_outside() {
    let ground = Ground::new();
    let server = [RedisServer::start(&ground.workplace, &[])];
    let more = format!(", client_ca: {}", ground.authority.file.display());
    let (proxy, addr) = ground.proxy(&addrs(&server), &more, |pool| pool);
    let stranger = Authority::new(&ground.folder, "stranger");
    let insider = ground.authority.issue(&ground.folder, "insider");
    let outsider = stranger.issue(&ground.folder, "outsider");
    let late = ground.authority.issue_for(&ground.folder, "late", &["client"], 2020);
    for version in [&TLS12, &TLS13] {
        let trust = |own| Trust { own, version: Some(version), ..ground.trust() };
        let mut client = TlsClient::connect(addr, &trust(Some(&insider))).expect("a handshake");
        assert_eq!(client.call(&["PING"]), "+PONG\r\n");
        for own in [None, Some(&outsider), Some(&late)] {
            // In version 1.3 the client is through before it learns that it is refused.
            let refused =
                TlsClient::connect(addr, &trust(own)).and_then(|mut client| client.try_call(&["PING"]));
            refused.expect_err("no entrance");
        }
    }
    let failures = |reason: &str| {
        proxy.metric(&format!("shoal_tls_handshake_failures_total{{pool=\"demo\",reason=\"{reason}\"}}"))
    };
    assert_eq!((failures("no_certificate"), failures("bad_certificate")), (2, 4));
    assert_eq!(proxy.metric("shoal_tls_handshakes_total{pool=\"demo\"}"), 2);
    wait::until("a line of the log", || proxy.log().contains("shows no certificate").then_some(()));
}

#[test]
fn a_client_that_does_not_trust_us_is_counted_and_named() {
    let ground = Ground::new();
    let server = [RedisServer::start(&ground.workplace, &[])];
    let (proxy, addr) = ground.proxy(&addrs(&server), "", |pool| pool);
    let stranger = Authority::new(&ground.folder, "stranger");
    TlsClient::connect(addr, &Trust::in_authority(&stranger)).expect_err("no trust");
    wait::until("the refusal to be counted", || {
        let series = "shoal_tls_handshake_failures_total{pool=\"demo\",reason=\"refused\"}";
        (proxy.metric(series) == 1).then_some(())
    });
    assert!(proxy.log().contains("it does not trust who signed our certificate"), "{}", proxy.log());
}

#[test]
fn certificates_change_under_load_and_nobody_is_disconnected() {
    let ground = Ground::new();
    let server = [RedisServer::start(&ground.workplace, &[])];
    let (mut proxy, addr) = ground.proxy(&addrs(&server), "", |pool| pool);
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let old = ground.own.der();
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for own in 0..4 {
            let (mut client, stop, rounds) = (ground.connect(addr), &stop, &rounds);
            scope.spawn(move || {
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let (key, value) = (format!("key:{own}"), format!("{round:08}"));
                    assert_eq!(client.call(&["SET", &key, &value]), "+OK\r\n");
                    assert_eq!(client.call(&["GET", &key]), format!("$8\r\n{value}\r\n"));
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut shown_before = old;
        for turn in 0..6 {
            // The same files, other contents.
            let new = ground.authority.issue(&ground.folder, "own").der();
            if turn % 2 == 0 {
                assert_eq!(proxy.post("/reload").0, 200);
            } else {
                proxy.process().signal(Signal::HUP);
            }
            wait::until("the new certificate to be shown", || {
                (ground.connect(addr).shown() == new).then_some(())
            });
            assert_ne!(new, shown_before);
            shown_before = new;
            let done = rounds.load(Ordering::Relaxed);
            wait::until("the load to go on", || (rounds.load(Ordering::Relaxed) > done + 8).then_some(()));
        }
        // A key that is another certificate's: nothing changes.
        let key = std::fs::read(&ground.own.key).unwrap();
        let other = ground.authority.issue(&ground.folder, "other");
        std::fs::copy(&other.key, &ground.own.key).unwrap();
        let (status, why) = proxy.post("/reload");
        assert!(status >= 400 && why.contains("is not the key of the certificate in"), "{status} {why}");
        assert_eq!(ground.connect(addr).shown(), shown_before);
        std::fs::write(&ground.own.key, key).unwrap();
        assert_eq!(proxy.post("/reload").0, 200);
    });
    assert_eq!(proxy.metric("shoal_client_errors_total{pool=\"demo\"}"), 0);
}

#[test]
fn a_client_that_reads_nothing_keeps_nobody_waiting() {
    let ground = Ground::new();
    let server = [RedisServer::start(&ground.workplace, &[])];
    let (proxy, addr) = ground.proxy(&addrs(&server), "", |pool| pool.key("client_stall_timeout", "200"));
    let mut other = ground.connect(addr);
    assert_eq!(other.call(&["SET", "large", &"v".repeat(1_000_000)]), "+OK\r\n");
    let before = proxy.memory_kib();
    let mut silent = ground.connect(addr);
    silent.socket().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let requests: Vec<u8> = (0..200).flat_map(|_| encode(&["GET", "large"])).collect();
    silent.send(&requests).expect("the requests are short");
    for round in 0..100 {
        assert_eq!(other.call(&["SET", "key", &round.to_string()]), "+OK\r\n");
    }
    let grown = proxy.memory_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "200 MB of replies are owed, and {grown} KiB are kept of them");
}
