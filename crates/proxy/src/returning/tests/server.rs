//! A model of a Redis server as a return sees it: data, connections with what lies unread on them, lives of its process.

use std::collections::BTreeMap;

use shoal_resp::encode;

use super::super::seen::MARKER;
use crate::fixture::take_request;

/// Where a connection comes from: a proxy and, unless it is a return's, the worker.
pub type Origin = (usize, Option<usize>);

#[derive(Default)]
pub struct Conn {
    pub origin: Origin,
    pub name: String,
    pub opened_at: u64,
    pub heard_at: u64,
    pub unread: Vec<u8>,
    pub replies: Vec<u8>,
    /// Whether the other side has closed, and its RST has arrived.
    pub closed: bool,
    /// The value of the marker under WATCH.
    watched: Option<Option<Vec<u8>>>,
    queued: Option<Vec<Vec<Vec<u8>>>>,
}

pub enum Done {
    Flushed { by: Origin },
    Unlinked { by: Origin, key: Vec<u8> },
    Wrote { by: Origin, opened_at: u64 },
}

pub struct Server {
    pub data: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the last save wrote.
    pub disk: BTreeMap<Vec<u8>, Vec<u8>>,
    pub conns: BTreeMap<u64, Conn>,
    pub up: bool,
    pub hung: bool,
    pub started_at: u64,
    pub loaded: usize,
    life: u64,
    next_id: u64,
}

const CLOCK_AHEAD: u64 = 77_000_000_000;

impl Server {
    pub fn new() -> Server {
        Server {
            data: BTreeMap::new(),
            disk: BTreeMap::new(),
            conns: BTreeMap::new(),
            up: true,
            hung: false,
            started_at: 0,
            loaded: 0,
            life: 1,
            next_id: 1,
        }
    }

    pub fn accept(&mut self, origin: Origin, now: u64) -> u64 {
        self.next_id += 1;
        self.conns.insert(self.next_id, Conn { origin, opened_at: now, heard_at: now, ..Conn::default() });
        self.next_id
    }

    pub fn die(&mut self) {
        self.up = false;
        self.hung = false;
        self.conns.clear();
    }

    pub fn start(&mut self, now: u64, loads: bool) {
        self.up = true;
        self.life += 1;
        self.next_id = self.life * 1_000_000;
        self.started_at = now;
        self.data = if loads { self.disk.clone() } else { BTreeMap::new() };
        self.loaded = self.data.len();
    }

    /// When it was marked as emptied, by our clock.
    pub fn marked_at(&self) -> u64 {
        let marker = String::from_utf8(self.data[MARKER.as_bytes()].clone()).unwrap();
        marker.split(' ').next().unwrap().parse::<u64>().unwrap() - CLOCK_AHEAD
    }

    /// Executes at most `most` commands that lie unread on connection `id`.
    pub fn work(&mut self, id: u64, most: usize, now: u64) -> Vec<Done> {
        let mut done = Vec::new();
        for _ in 0..most {
            let Some(conn) = self.conns.get_mut(&id) else { break };
            let Some(words) = take_request(&mut conn.unread) else { break };
            conn.heard_at = now;
            let mut reply = Vec::new();
            self.execute(id, words, now, &mut reply, &mut done);
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.replies.extend(reply);
            }
        }
        if self.conns.get(&id).is_some_and(|conn| conn.closed && conn.unread.is_empty()) {
            self.conns.remove(&id);
        }
        done
    }

    fn execute(&mut self, id: u64, words: Vec<Vec<u8>>, now: u64, out: &mut Vec<u8>, done: &mut Vec<Done>) {
        let texts: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let marker = self.data.get(MARKER.as_bytes()).cloned();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (by, opened_at) = (conn.origin, conn.opened_at);
        if let Some(queued) = &mut conn.queued
            && texts != [b"EXEC"]
        {
            queued.push(words);
            return encode::simple(out, "QUEUED");
        }
        match &texts[..] {
            [b"PING"] => encode::simple(out, "PONG"),
            [b"GET", key] => match self.data.get(*key) {
                Some(value) => encode::bulk(out, value),
                None => encode::null_bulk(out),
            },
            [b"SET", key, value] => {
                if *key != MARKER.as_bytes() {
                    done.push(Done::Wrote { by, opened_at });
                }
                self.data.insert(key.to_vec(), value.to_vec());
                encode::simple(out, "OK");
            }
            [b"DEL", key] => {
                done.push(Done::Wrote { by, opened_at });
                encode::integer(out, i64::from(self.data.remove(*key).is_some()));
            }
            [b"UNLINK", keys @ ..] => {
                let mut gone = 0;
                for key in keys {
                    done.push(Done::Unlinked { by, key: key.to_vec() });
                    gone += i64::from(self.data.remove(*key).is_some());
                }
                encode::integer(out, gone);
            }
            [b"FLUSHDB", b"ASYNC"] => {
                self.data.clear();
                done.push(Done::Flushed { by });
                encode::simple(out, "OK");
            }
            [b"CLIENT", b"SETNAME", name] => {
                conn.name = String::from_utf8(name.to_vec()).unwrap();
                encode::simple(out, "OK");
            }
            [b"CLIENT", b"KILL", b"ID", which] => {
                let which: u64 = std::str::from_utf8(which).unwrap().parse().unwrap();
                encode::integer(out, i64::from(self.conns.remove(&which).is_some()));
            }
            [b"CLIENT", b"LIST"] => {
                let list: String = self
                    .conns
                    .iter()
                    .map(|(id, conn)| {
                        let (age, idle) =
                            ((now - conn.opened_at) / 1_000_000, (now - conn.heard_at) / 1_000_000);
                        format!("id={id} name={} age={age} idle={idle} db=0\n", conn.name)
                    })
                    .collect();
                encode::bulk(out, list.as_bytes());
            }
            [b"INFO"] => encode::bulk(
                out,
                format!(
                    "run_id:r{}\r\nuptime_in_seconds:{}\r\nloading:0\r\nrole:master\r\naof_enabled:0\r\n\
                     rdb_last_load_keys_loaded:{}\r\n",
                    self.life,
                    (now - self.started_at) / 1_000_000,
                    self.loaded
                )
                .as_bytes(),
            ),
            [b"TIME"] => {
                let clock = now + CLOCK_AHEAD;
                encode::array_len(out, 2);
                encode::bulk(out, (clock / 1_000_000).to_string().as_bytes());
                encode::bulk(out, (clock % 1_000_000).to_string().as_bytes());
            }
            [b"DBSIZE"] => encode::integer(out, self.data.len() as i64),
            [b"WATCH", _] => {
                conn.watched = Some(marker);
                encode::simple(out, "OK");
            }
            [b"MULTI"] => {
                conn.queued = Some(Vec::new());
                encode::simple(out, "OK");
            }
            [b"EXEC"] => {
                let queued = conn.queued.take().unwrap();
                if conn.watched.take().is_some_and(|seen| seen != marker) {
                    return encode::null_bulk(out);
                }
                encode::array_len(out, queued.len());
                for words in queued {
                    self.execute(id, words, now, out, done);
                }
            }
            other => panic!("the proxy sent what nobody asked for: {other:?}"),
        }
    }
}
