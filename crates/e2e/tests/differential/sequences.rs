//! Pipelines that are known for their traps, each on fresh connections.

use shoal_e2e::RawClient;
use shoal_e2e::raw_client::{encode, words};

use crate::compare::show;
use crate::world::World;

fn next(client: &mut RawClient) -> String {
    match client.reply() {
        Ok(reply) => show(&reply),
        Err((end, got)) => panic!("no reply, but {end:?} behind {}", show(&got)),
    }
}

#[test]
fn pipelines_of_transactions_are_answered_as_by_one_redis() {
    let world = World::start();
    for lines in [
        &["MULTI", "SET {t}a 1", "INCR {t}a", "GET {t}b", "EXEC", "GET {t}a"][..],
        &["MULTI", "INCR {t}a", "LPUSH {t}a x", "INCR {t}a", "EXEC"],
        &["MULTI", "INCR {t}a", "DISCARD", "GET {t}a", "EXEC", "DISCARD"],
        &["MULTI", "INCR {t}a", "NOSUCH", "INCR {t}a", "EXEC", "GET {t}a"],
        &["MULTI", "SET {t}a", "EXEC", "GET {t}a"],
        &["MULTI", "MULTI", "WATCH {t}a", "INCR {t}a", "EXEC"],
        &["MULTI", "EXEC", "UNWATCH", "MULTI", "UNWATCH", "PING", "ECHO x", "EXEC"],
        &["MULTI", "MSET {t}a 1 {t}b 2", "MGET {t}a {t}b", "DEL {t}a {t}b", "BLPOP {t}a 0", "EXEC"],
        &["MULTI", "EVAL return{KEYS[1]} 1 {t}a", "OBJECT ENCODING {t}a", "SELECT 0", "EXEC"],
        &["WATCH {t}a {t}b", "SET {t}a 5", "MULTI", "GET {t}a", "EXEC", "MULTI", "GET {t}a", "EXEC"],
        &["WATCH {t}a", "GET {t}a", "MULTI", "INCR {t}a", "EXEC"],
        &["WATCH {t}a", "SET {t}a 6", "UNWATCH", "MULTI", "GET {t}a", "EXEC"],
        &["WATCH {t}a", "MULTI", "NOSUCH", "EXEC", "SET {t}a 7", "MULTI", "GET {t}a", "EXEC"],
        &["MULTI", "SET {t}a 8", "RESET", "GET {t}a", "EXEC"],
        &["SET {t}n x", "MULTI", "XREAD BLOCK 0 STREAMS {t}s $", "PUBLISH {t}c x", "EXEC"],
    ] {
        for hello in [None, Some("HELLO 3")] {
            let (mut through, mut direct) = (world.shards.client(), world.plain.client());
            if let Some(hello) = hello {
                for client in [&mut through, &mut direct] {
                    client.send_command(&words(hello));
                    assert!(next(client).contains('%'));
                }
            }
            let bytes: Vec<u8> = lines.iter().flat_map(|line| encode(&words(line))).collect();
            through.send(&bytes);
            direct.send(&bytes);
            for line in lines {
                assert_eq!(next(&mut through), next(&mut direct), "{line} in {lines:?} after {hello:?}");
            }
        }
    }
}
