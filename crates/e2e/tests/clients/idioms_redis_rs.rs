//! What redis-rs has of its own for more than one command. Keys of one step have one hash tag.

#![expect(clippy::unwrap_used, reason = "each unwrap is an assertion of the session")]

use std::collections::BTreeSet;
use std::thread;

use redis::{Client, Commands, Connection, Msg};

use super::way::Way;

/// RESP2 and RESP3.
pub fn session(way: &Way) {
    for query in ["", "?protocol=resp3"] {
        let client = Client::open(format!("redis://{}/{query}", way.addr())).unwrap();
        let mut redis = client.get_connection().unwrap();
        transactions(&mut redis);
        optimistic(&client);
        blocking(&client);
        scripts(&mut redis);
        scans(&mut redis);
    }
    // Its synchronous Pub/Sub is RESP2's.
    publications(&Client::open(format!("redis://{}/", way.addr())).unwrap());
}

fn transactions(redis: &mut Connection) {
    let (two, gone): (i64, i64) =
        redis::pipe().atomic().set("{t}a", 1).ignore().incr("{t}a", 1).del("{t}a").query(redis).unwrap();
    assert_eq!((two, gone), (2, 1));
}

/// Four threads that read, add and write: none loses what another has added.
fn optimistic(client: &Client) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut redis = client.get_connection().unwrap();
                for _ in 0..20 {
                    let _: (i64,) = redis::transaction(&mut redis, &["{t}sum"], |redis, pipe| {
                        let now: Option<i64> = redis.get("{t}sum")?;
                        let next = now.unwrap_or_default() + 1;
                        pipe.set("{t}sum", next).ignore().get("{t}sum").query(redis)
                    })
                    .unwrap();
                }
            });
        }
    });
    let mut redis = client.get_connection().unwrap();
    assert_eq!(redis.get_del::<_, i64>("{t}sum").unwrap(), 80);
}

fn blocking(client: &Client) {
    let (mut waiting, mut other) = (client.get_connection().unwrap(), client.get_connection().unwrap());
    let popped =
        thread::spawn(move || waiting.blpop::<_, (String, String)>(&["{t}q", "{t}r"], 20.0).unwrap());
    assert_eq!(other.rpush::<_, _, usize>("{t}r", "x").unwrap(), 1);
    assert_eq!(popped.join().unwrap(), ("{t}r".to_owned(), "x".to_owned()));
    assert_eq!(other.brpop::<_, Option<(String, String)>>("{t}q", 0.05).unwrap(), None);
}

fn scripts(redis: &mut Connection) {
    let body = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
    let hash: String = redis::cmd("SCRIPT").arg("LOAD").arg(body).query(redis).unwrap();
    for number in 0..20 {
        let key = format!("script{number}"); // on all shards
        let mut call = redis::cmd("EVALSHA");
        assert_eq!(call.arg(&hash).arg(1).arg(&key).arg(number).query::<i64>(redis).unwrap(), number);
        assert_eq!(redis.del::<_, usize>(&key).unwrap(), 1);
    }
}

fn scans(redis: &mut Connection) {
    let names: BTreeSet<String> = (0..300).map(|number| format!("scan{number}")).collect();
    for name in &names {
        redis.set::<_, _, ()>(name, 1).unwrap();
    }
    let found: BTreeSet<String> = redis.scan_match("scan*").unwrap().map(Result::unwrap).collect();
    assert_eq!(found, names);
    assert_eq!(redis.del::<_, usize>(names.into_iter().collect::<Vec<_>>()).unwrap(), 300);
}

fn publications(client: &Client) {
    let (mut redis, mut listening) = (client.get_connection().unwrap(), client.get_connection().unwrap());
    let mut listener = listening.as_pubsub();
    let channels: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    // One by one: the library takes one confirmation for each call.
    for channel in &channels {
        listener.subscribe(channel).unwrap();
    }
    listener.psubscribe("c*").unwrap();
    for channel in &channels {
        assert_eq!(redis.publish::<_, _, usize>(channel, "hello").unwrap(), 2);
        let both: Vec<Msg> = (0..2).map(|_| listener.get_message().unwrap()).collect();
        assert!(both.iter().all(|message| message.get_channel_name() == channel));
        assert_eq!(both.iter().filter(|message| message.from_pattern()).count(), 1);
    }
    listener.unsubscribe(&channels).unwrap();
    listener.punsubscribe("c*").unwrap();
}
