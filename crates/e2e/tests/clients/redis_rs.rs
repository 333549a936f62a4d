//! redis-rs as an application uses it: `redis::Client` with default settings, and `?protocol=resp3`.

#![expect(clippy::unwrap_used, reason = "each unwrap is an assertion of the session")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;

use redis::{
    Client, Commands, Connection, ConnectionLike, ErrorKind, ServerErrorKind, SetExpiry, SetOptions, Value,
};
use shoal_e2e::wait;

use super::way::Way;

/// Keys that are sure to lie on several shards.
const MANY: usize = 64;

/// How it connects unless told otherwise: RESP2.
pub fn resp2(way: &Way) {
    session(way, "");
    typed_replies(&mut connection(&client(way.addr(), "")), false);
}

/// RESP3, by the URL.
pub fn resp3(way: &Way) {
    session(way, "?protocol=resp3");
    typed_replies(&mut connection(&client(way.addr(), "?protocol=resp3")), true);
}

fn session(way: &Way, query: &str) {
    let client = client(way.addr(), query);
    let mut connection = connection(&client);
    assert_eq!(redis::cmd("PING").query::<String>(&mut connection).unwrap(), "PONG");
    strings_over_shards(&mut connection);
    binary_values(&mut connection);
    collections(&mut connection);
    expiry(&mut connection);
    pipelines(&mut connection);
    errors(&mut connection);
    concurrent(&client);
    reconnect(way.addr(), query);
}

fn client(addr: SocketAddr, query: &str) -> Client {
    Client::open(format!("redis://{addr}/{query}")).unwrap()
}

#[track_caller]
fn connection(client: &Client) -> Connection {
    client.get_connection().unwrap()
}

fn strings_over_shards(redis: &mut Connection) {
    let keys: Vec<String> = (0..MANY).map(|i| format!("s{i}")).collect();
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(redis.set::<_, _, Value>(key, i).unwrap(), Value::Okay);
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(redis.get::<_, usize>(key).unwrap(), i);
    }
    assert_eq!(redis.mget::<_, Vec<usize>>(&keys).unwrap(), (0..MANY).collect::<Vec<_>>());
    // Duplicates and holes keep their places.
    let holes: Vec<Option<usize>> = redis.mget(&["s3", "none", "s1", "s3"]).unwrap();
    assert_eq!(holes, [Some(3), None, Some(1), Some(3)]);
    let pairs: Vec<(&String, usize)> = keys.iter().zip(MANY..).collect();
    assert_eq!(redis.mset::<_, _, Value>(&pairs).unwrap(), Value::Okay);
    assert_eq!(redis.mget::<_, Vec<usize>>(&keys).unwrap(), (MANY..2 * MANY).collect::<Vec<_>>());
    assert_eq!(redis.exists::<_, usize>(&keys).unwrap(), MANY);
    assert_eq!(redis.incr::<_, _, i64>("s0", 1).unwrap(), 65);
    assert_eq!(redis.append::<_, _, usize>("s0", "!").unwrap(), 3);
    assert_eq!(redis.del::<_, usize>(&keys[..MANY / 2]).unwrap(), MANY / 2);
    assert_eq!(redis.unlink::<_, usize>(&keys).unwrap(), MANY / 2);
    assert_eq!(redis.get::<_, Option<String>>("s0").unwrap(), None);
}

fn binary_values(redis: &mut Connection) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let values = [every_byte.clone(), Vec::new(), b"\r\n$3\r\n*1\r\n".to_vec(), every_byte.repeat(4096)];
    for value in &values {
        redis.set::<_, _, ()>(&every_byte, value).unwrap();
        assert!(redis.get::<_, Vec<u8>>(&every_byte).unwrap() == *value, "{} bytes", value.len());
    }
    assert_eq!(redis.del::<_, usize>(&every_byte).unwrap(), 1);
}

fn collections(redis: &mut Connection) {
    redis.hset_multiple::<_, _, _, ()>("h", &[("f", 1), ("g", 2)]).unwrap();
    let all: BTreeMap<String, i64> = redis.hgetall("h").unwrap();
    assert_eq!(all, BTreeMap::from([("f".to_owned(), 1), ("g".to_owned(), 2)]));
    assert_eq!(redis.hget::<_, _, Option<i64>>("h", "none").unwrap(), None);
    assert_eq!(redis.hincr::<_, _, _, f64>("h", "f", 0.5).unwrap(), 1.5);
    assert!(redis.hexists::<_, _, bool>("h", "g").unwrap());

    assert_eq!(redis.rpush::<_, _, usize>("l", &["a", "b", "c"]).unwrap(), 3);
    assert_eq!(redis.lrange::<_, Vec<String>>("l", 0, -1).unwrap(), ["a", "b", "c"]);
    assert_eq!(redis.lpop::<_, String>("l", None).unwrap(), "a");
    assert_eq!(redis.rpop::<_, Vec<String>>("l", 2.try_into().ok()).unwrap(), ["c", "b"]);
    assert_eq!(redis.lpop::<_, Option<String>>("l", None).unwrap(), None);

    assert_eq!(redis.sadd::<_, _, usize>("s", &["x", "y", "x"]).unwrap(), 2);
    let members: BTreeSet<String> = redis.smembers("s").unwrap();
    assert_eq!(members, BTreeSet::from(["x".to_owned(), "y".to_owned()]));
    assert!(redis.sismember::<_, _, bool>("s", "x").unwrap());

    assert_eq!(redis.zadd_multiple::<_, _, _, usize>("z", &[(1.0, "m"), (2.5, "n")]).unwrap(), 2);
    assert_eq!(redis.zscore::<_, _, Option<f64>>("z", "n").unwrap(), Some(2.5));
    assert_eq!(redis.zscore::<_, _, Option<f64>>("z", "none").unwrap(), None);
    let scored: Vec<(String, f64)> = redis.zrange_withscores("z", 0, -1).unwrap();
    assert_eq!(scored, [("m".to_owned(), 1.0), ("n".to_owned(), 2.5)]);

    assert_eq!(redis.del::<_, usize>(&["h", "s", "z"]).unwrap(), 3);
}

fn expiry(redis: &mut Connection) {
    let options = SetOptions::default().with_expiration(SetExpiry::EX(100));
    redis.set_options::<_, _, ()>("e", "v", options).unwrap();
    assert!((98..=100).contains(&redis.ttl::<_, i64>("e").unwrap()));
    assert!(redis.persist::<_, bool>("e").unwrap());
    assert_eq!(redis.ttl::<_, i64>("e").unwrap(), -1);
    assert!(redis.pexpire::<_, bool>("e", 20).unwrap());
    wait::until("the key expires", || redis.get::<_, Option<String>>("e").unwrap().is_none().then_some(()));
    assert_eq!(redis.ttl::<_, i64>("e").unwrap(), -2);
}

fn pipelines(redis: &mut Connection) {
    let mut pipe = redis::pipe();
    for i in 0..500 {
        pipe.set(format!("p{i}"), i).ignore().get(format!("p{i}"));
    }
    assert_eq!(pipe.query::<Vec<usize>>(redis).unwrap(), (0..500).collect::<Vec<_>>());

    // An error in the middle is that command's alone.
    let mut pipe = redis::pipe();
    pipe.ignore_errors().incr("p1", 1).lpush("p2", "x").cmd("NOSUCHCOMMAND").arg("a").mget(&["p1", "p2"]);
    let replies: Vec<Value> = pipe.query(redis).unwrap();
    let [before, wrong_type, unknown, after] = replies.as_slice() else { panic!("{replies:?}") };
    assert_eq!(*before, Value::Int(2));
    assert!(matches!(wrong_type, Value::ServerError(error) if error.code() == "WRONGTYPE"), "{wrong_type:?}");
    assert!(matches!(unknown, Value::ServerError(error) if error.code() == "ERR"), "{unknown:?}");
    assert_eq!(*after, Value::Array(vec![bulk("2"), bulk("2")]));
    let keys: Vec<String> = (0..500).map(|i| format!("p{i}")).collect();
    assert_eq!(redis.del::<_, usize>(keys).unwrap(), 500);
}

fn errors(redis: &mut Connection) {
    redis.set::<_, _, ()>("word", "not a list").unwrap();
    let error = redis.lpush::<_, _, ()>("word", "x").unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));
    assert_eq!(error.detail(), Some("Operation against a key holding the wrong kind of value"));

    let error = redis::cmd("NOSUCHCOMMAND").arg("a").arg("b").query::<()>(redis).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError));
    let text = "unknown command 'NOSUCHCOMMAND', with args beginning with: 'a' 'b' ";
    assert_eq!(error.detail(), Some(text));
    let error = redis::cmd("GET").query::<()>(redis).unwrap_err();
    assert_eq!(error.detail(), Some("wrong number of arguments for 'get' command"));

    // The connection is the same: this type does not connect again by itself.
    assert!(redis.is_open());
    assert_eq!(redis.get::<_, String>("word").unwrap(), "not a list");
    assert_eq!(redis.del::<_, usize>("word").unwrap(), 1);
}

/// 200 connections, all of which have connected before the first one asks.
fn concurrent(client: &Client) {
    let together = Arc::new(Barrier::new(200));
    let threads: Vec<_> = (0..200)
        .map(|i| {
            let (client, together) = (client.clone(), Arc::clone(&together));
            thread::spawn(move || {
                let redis = client.get_connection();
                together.wait();
                let mut redis = redis.unwrap();
                redis.set::<_, _, ()>(format!("c{i}"), i).unwrap();
                redis.get_del::<_, usize>(format!("c{i}")).unwrap()
            })
        })
        .collect();
    let seen: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
}

fn reconnect(addr: SocketAddr, query: &str) {
    let relay = Relay::to(addr);
    let client = client(relay.addr, query);
    let mut redis = connection(&client);
    redis.set::<_, _, ()>("kept", "v").unwrap();
    relay.cut();
    let error = redis.get::<_, String>("kept").unwrap_err();
    assert!(error.is_connection_dropped(), "{error:?}");
    let mut redis = connection(&client);
    assert_eq!(redis.get::<_, String>("kept").unwrap(), "v");

    assert_eq!(redis::cmd("QUIT").query::<Value>(&mut redis).unwrap(), Value::Okay);
    assert!(redis.del::<_, usize>("kept").unwrap_err().is_connection_dropped());
    let mut redis = connection(&client);
    assert_eq!(redis.del::<_, usize>("kept").unwrap(), 1);
}

/// What differs on the wire between RESP2 and RESP3.
fn typed_replies(redis: &mut Connection, resp3: bool) {
    let mut raw = |words: &[&str]| -> Value {
        let mut cmd = redis::Cmd::new();
        words.iter().for_each(|word| _ = cmd.arg(*word));
        cmd.query(redis).unwrap()
    };
    let either = |three: Value, two: Value| if resp3 { three } else { two };
    let flat = |words: &[&str]| Value::Array(words.iter().map(|word| bulk(word)).collect());

    let boolean = raw(&["EVAL", "redis.setresp(3); return true", "1", "t"]);
    assert_eq!(boolean, either(Value::Boolean(true), Value::Int(1)));
    let double = raw(&["EVAL", "redis.setresp(3); return {double=2.5}", "1", "t"]);
    assert_eq!(double, either(Value::Double(2.5), bulk("2.5")));
    assert_eq!(raw(&["GET", "none"]), Value::Nil);
    raw(&["HSET", "h", "f", "1"]);
    assert_eq!(raw(&["HGETALL", "h"]), either(Value::Map(vec![(bulk("f"), bulk("1"))]), flat(&["f", "1"])));
    raw(&["SADD", "s", "x"]);
    assert_eq!(raw(&["SMEMBERS", "s"]), either(Value::Set(vec![bulk("x")]), flat(&["x"])));
    raw(&["ZADD", "z", "1", "m"]);
    assert_eq!(raw(&["ZSCORE", "z", "m"]), either(Value::Double(1.0), bulk("1")));
    let pair = Value::Array(vec![bulk("m"), Value::Double(1.0)]);
    let scored = raw(&["ZRANGE", "z", "0", "-1", "WITHSCORES"]);
    assert_eq!(scored, either(Value::Array(vec![pair]), flat(&["m", "1"])));
    assert_eq!(raw(&["DEL", "h", "s", "z"]), Value::Int(3));
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

/// A TCP relay whose connections can be cut: the library gives no hold of its socket.
struct Relay {
    addr: SocketAddr,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// Passes connections on to `target` for as long as the test process lives.
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let streams = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&streams);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(target) else { continue };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(client.try_clone().unwrap());
                thread::spawn(move || pour(from, to));
                thread::spawn(move || pour(server, client));
            }
        });
        Self { addr, streams }
    }

    fn cut(&self) {
        for stream in self.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Fails for one that is closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pour(mut from: TcpStream, mut to: TcpStream) {
    // Either side may be gone; then the other is told.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}
