//! Clients that check every reply by value, and every connection that is closed on them.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use shoal_e2e::raw_client::encode;
use shoal_e2e::{End, RawClient};

/// Where a pool listens.
#[derive(Clone)]
pub enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl At {
    pub fn try_connect(&self) -> io::Result<RawClient> {
        match self {
            At::Tcp(addr) => RawClient::try_connect(*addr),
            At::Unix(path) => RawClient::try_connect_unix(path),
        }
    }

    /// A connection: nobody is ever refused.
    #[track_caller]
    pub fn connect(&self) -> RawClient {
        self.try_connect().unwrap_or_else(|error| panic!("refused: {error}"))
    }
}

/// What a client has been through.
#[derive(Debug, Default)]
pub struct Told {
    /// Requests answered.
    pub answered: AtomicUsize,
    /// Connections that the proxy closed, each counted when the next one answers.
    pub closed: AtomicUsize,
}

impl Told {
    /// Requests answered.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Connections closed.
    pub fn closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }
}

fn count(number: &AtomicUsize) {
    number.fetch_add(1, Ordering::Relaxed);
}

/// Sends so many SETs with a GET behind each at a time, to keys of its own, until told to stop. A connection may be closed on
/// it: what was answered until then must be right, and what was not answered must not have been done.
pub fn set_and_get(at: &At, own: usize, pipeline: usize, told: &Told, stop: &AtomicBool) {
    let mut client = at.connect();
    let mut values: Vec<Option<String>> = vec![None; pipeline];
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut requests = Vec::new();
        for number in 0..pipeline {
            requests.extend(encode(&["SET", &format!("{own}:{number}"), &format!("{own}:{number}:{round}")]));
            requests.extend(encode(&["GET", &format!("{own}:{number}")]));
        }
        client.send(&requests);
        let mut closed = false;
        'replies: for (number, value) in values.iter_mut().enumerate() {
            let next = format!("{own}:{number}:{round}");
            for (nth, expected) in ["+OK\r\n".to_owned(), bulk(Some(&next))].into_iter().enumerate() {
                match client.reply() {
                    Ok(reply) => assert_eq!(text(&reply), expected, "client {own}, round {round}"),
                    Err((End::Closed, rest)) => {
                        assert_eq!(text(&rest), "", "a reply was cut, client {own}, round {round}");
                        closed = true;
                        break 'replies;
                    }
                    Err((end, rest)) => panic!("client {own}, round {round}: {end:?} after {}", text(&rest)),
                }
                count(&told.answered);
                if nth == 0 {
                    *value = Some(next.clone());
                }
            }
        }
        if closed {
            client = at.connect();
            for (number, value) in values.iter().enumerate() {
                let reply = client.call(&["GET", &format!("{own}:{number}")]);
                assert_eq!(
                    text(&reply),
                    bulk(value.as_deref()),
                    "what was not answered was done: client {own}"
                );
            }
            count(&told.closed);
        }
        round += 1;
    }
}

/// Connects, asks once and closes, until told to stop. A connection may be closed before it has asked.
pub fn storm(at: &At, told: &Told, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut client = at.connect();
        client.send_command(&["PING"]);
        match client.reply() {
            Ok(reply) => {
                assert_eq!(text(&reply), "+PONG\r\n");
                count(&told.answered);
            }
            Err((End::Closed, rest)) => {
                assert_eq!(text(&rest), "", "a reply was cut");
                count(&told.closed);
            }
            Err((end, rest)) => panic!("{end:?} after {}", text(&rest)),
        }
    }
}

fn bulk(value: Option<&str>) -> String {
    value.map_or("$-1\r\n".to_owned(), |value| format!("${}\r\n{value}\r\n", value.len()))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
