//! Those who come to a TLS port and do not mean it, and those who mistake one port for the other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use shoal_e2e::tls::TlsClient;
use shoal_e2e::{Chance, OwnProxy, Proxy, RawClient, RedisServer, wait};

use crate::{Ground, addrs};

/// The first record of a client in version 1.3, as its length says whole: 5 bytes of head and 512 of greeting.
fn client_hello(ground: &Ground) -> Vec<u8> {
    // A port of our own takes what the client begins with.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a greeting");
    let addr = listener.local_addr().expect("a greeting");
    std::thread::scope(|scope| {
        let trust = ground.trust();
        scope.spawn(move || TlsClient::connect(addr, &trust).map(|_| ()));
        let (mut client, _) = listener.accept().expect("a greeting");
        let mut head = [0; 5];
        client.read_exact(&mut head).expect("a greeting");
        let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        client.read_exact(&mut body).expect("a greeting");
        [&head[..], &body].concat()
    })
}

/// What comes before the end of a connection whose handshake was given up: nothing, or TLS's own word for an end.
const CLOSED: [&[u8]; 2] = [b"", b"\x15\x03\x03\x00\x02\x01\x00"];

fn failures(proxy: &OwnProxy, reason: &str) -> u64 {
    proxy.metric(&format!("shoal_tls_handshake_failures_total{{pool=\"demo\",reason=\"{reason}\"}}"))
}

fn start(ground: &Ground, more: &str) -> (RedisServer, OwnProxy, SocketAddr) {
    let server = RedisServer::start(&ground.workplace, &[]);
    let (proxy, addr) = ground.proxy(&addrs(std::slice::from_ref(&server)), more, |pool| pool);
    (server, proxy, addr)
}

#[test]
fn plaintext_at_a_tls_port_is_told_so_and_closed() {
    let ground = Ground::new();
    let (_server, proxy, addr) = start(&ground, "");
    for hello in [&b"*1\r\n$4\r\nPING\r\n"[..], b"PING\r\n", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut client = RawClient::connect(addr);
        client.send(hello);
        let told = String::from_utf8(client.until_closed()).unwrap();
        assert!(told.starts_with("-ERR this port speaks TLS"), "{told}");
    }
    assert_eq!(failures(&proxy, "not_tls"), 3);
    wait::until("a line of the log", || proxy.log().contains("does not speak TLS").then_some(()));
}

#[test]
fn tls_at_a_plain_port_is_told_so_and_closed() {
    let ground = Ground::new();
    let (_server, proxy, _) = start(&ground, "");
    let hello = client_hello(&ground);
    for length in [1, 5, 100, hello.len()] {
        let mut client = proxy.client("demo");
        client.send(&hello[..length]);
        let told = String::from_utf8(client.until_closed()).unwrap();
        assert_eq!(told, "-ERR Protocol error: this port does not speak TLS\r\n");
    }
}

#[test]
fn noise_is_refused_and_serving_goes_on() {
    let ground = Ground::new();
    let (_server, proxy, addr) = start(&ground, "");
    let mut good = ground.connect(addr);
    let mut chance = Chance(1);
    let hello = client_hello(&ground);
    for round in 0..200 {
        let mut client = RawClient::connect(addr);
        let mut noise: Vec<u8> = match round % 3 {
            // A record of a handshake by its head, and noise in it.
            0 => (0..500).map(|_| chance.byte()).collect(),
            // A greeting with bytes changed.
            1 => {
                let mut changed = hello.clone();
                for _ in 0..1 + chance.below(8) {
                    let place = chance.below(changed.len());
                    changed[place] = chance.byte();
                }
                changed
            }
            // More of it than a handshake may have.
            _ => hello.iter().copied().cycle().take(100_000).collect(),
        };
        noise[0] = 0x16;
        client.send(&noise);
        drop(client);
        if round % 20 == 0 {
            assert_eq!(good.call(&["PING"]), "+PONG\r\n");
        }
    }
    wait::until("the sessions to end", || (proxy.metric("shoal_sessions{pool=\"demo\"}") == 1).then_some(()));
    assert_eq!(ground.connect(addr).call(&["PING"]), "+PONG\r\n");
}

#[test]
fn a_handshake_that_does_not_end_has_a_deadline() {
    let ground = Ground::new();
    let (_server, proxy, addr) = start(&ground, ", handshake_timeout: 500");
    let hello = client_hello(&ground);
    // Nothing, a part, all but the last byte, and a byte now and then.
    let mut waiting: Vec<RawClient> = [0, 1, 3, hello.len() - 1]
        .into_iter()
        .map(|length| {
            let mut client = RawClient::connect(addr);
            client.send(&hello[..length]);
            client
        })
        .collect();
    let mut slow = TcpStream::connect(addr).unwrap();
    let mut unsent = hello[..hello.len() - 1].iter();
    wait::until("the deadline of all five", || {
        if let Some(byte) = unsent.next() {
            // It may be closed already.
            let _ = slow.write_all(&[*byte]);
        }
        (failures(&proxy, "timed_out") == 5).then_some(())
    });
    for client in &mut waiting {
        assert!(CLOSED.contains(&&*client.until_closed()));
    }
    // Who has shaken hands may be silent for longer. On a busy machine one may be too late oneself.
    let mut good = wait::until("a handshake in time", || TlsClient::connect(addr, &ground.trust()).ok());
    let mut late = RawClient::connect(addr);
    assert!(CLOSED.contains(&&*late.until_closed()));
    assert_eq!(good.call(&["PING"]), "+PONG\r\n");
}

#[test]
fn two_thousand_that_never_shake_hands_beside_one_that_works() {
    let ground = Ground::new();
    let (_server, proxy, addr) = start(&ground, "");
    let mut good = ground.connect(addr);
    let before = proxy.memory_kib();
    let mut silent: Vec<RawClient> = Vec::new();
    for number in 0..2_000 {
        silent.push(RawClient::connect(addr));
        if number % 100 == 0 {
            assert_eq!(good.call(&["PING"]), "+PONG\r\n");
            // New ones come in as well.
            assert_eq!(ground.connect(addr).call(&["PING"]), "+PONG\r\n");
        }
    }
    // Two workers, 512 each.
    wait::until("the oldest to go", || (failures(&proxy, "crowded") >= 2_000 - 2 * 512).then_some(()));
    assert!(CLOSED.contains(&&*silent[0].until_closed()));
    let grown = proxy.memory_kib().saturating_sub(before);
    assert!(grown < 24 * 1024, "{grown} KiB more");
    assert_eq!(good.call(&["PING"]), "+PONG\r\n");
    assert_eq!(ground.connect(addr).call(&["PING"]), "+PONG\r\n");
    drop(silent);
    wait::until("the rest to go", || (proxy.metric("shoal_sessions{pool=\"demo\"}") == 1).then_some(()));
}
