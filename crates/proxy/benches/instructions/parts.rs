//! One part of the way alone.

use std::path::Path;

use shoal_hashkit::Random;
use shoal_proxy::config::from_proxy_yml;
use shoal_resp::{Delimiter, Fed, Parsed, RequestLimits, Span, encode, parse_request};
use shoal_topology::{Route, Router};

/// Requests, replies or keys of one round.
const EACH_ROUND: usize = 64;

/// Runs a case; how many requests, replies or keys it took.
pub fn run(case: &str, rounds: usize) -> Option<usize> {
    let mut total = 0;
    match case {
        "parse-get" | "parse-set16k" | "parse-mset10" => {
            let bytes = requests(case);
            let mut args = Vec::new();
            (0..rounds).for_each(|_| total += parse_requests(&bytes, &mut args));
        }
        "delimit-64" | "delimit-16k" | "delimit-mget10" => {
            let bytes = replies(case);
            (0..rounds).for_each(|_| total += delimit_replies(&bytes));
        }
        "route-ketama" | "route-modula" => {
            let (router, keys) = (router(case), keys());
            let mut random = Random::seeded(7);
            let mut hits = [0; 4];
            for _ in 0..rounds {
                route_keys(&router, &keys, &mut random, &mut hits);
                total += keys.len();
            }
            assert!(hits.iter().sum::<usize>() == total && hits.iter().all(|&hits| hits > 0), "{hits:?}");
        }
        _ => return None,
    }
    assert_eq!(total, rounds * EACH_ROUND);
    Some(total)
}

/// Counted: finds the ends of requests and the places of their words.
#[inline(never)]
fn parse_requests(bytes: &[u8], args: &mut Vec<Span>) -> usize {
    let limits = RequestLimits::default();
    let (mut rest, mut count) = (bytes, 0);
    while let Ok(Parsed::Request { len, .. }) = parse_request(rest, &limits, args) {
        rest = &rest[len..];
        count += 1;
    }
    count
}

/// Counted: finds the ends of replies.
#[inline(never)]
fn delimit_replies(bytes: &[u8]) -> usize {
    let mut delimiter = Delimiter::new();
    let (mut rest, mut count) = (bytes, 0);
    while !rest.is_empty()
        && let Ok(Fed::Frame { len, .. }) = delimiter.feed(rest)
    {
        rest = &rest[len..];
        count += 1;
    }
    count
}

/// Counted: hashes keys and looks their shards up.
#[inline(never)]
fn route_keys(router: &Router, keys: &[Vec<u8>], random: &mut Random, hits: &mut [usize; 4]) {
    for key in keys {
        if let Route::Shard(shard) = router.route(key, random) {
            hits[shard] += 1;
        }
    }
}

fn keys() -> Vec<Vec<u8>> {
    (0..EACH_ROUND).map(|number| format!("bench:64:{:012}", number * 7919).into_bytes()).collect()
}

fn requests(case: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for key in keys() {
        let (small, large) = (vec![b'x'; 64], vec![b'x'; 16 * 1024]);
        match case {
            "parse-get" => encode::command(&mut out, &[b"GET", &key]),
            "parse-set16k" => encode::command(&mut out, &[b"SET", &key, &large]),
            _ => {
                let mut words: Vec<&[u8]> = vec![b"MSET"];
                (0..10).for_each(|_| words.extend([&key[..], &small[..]]));
                encode::command(&mut out, &words);
            }
        }
    }
    out
}

fn replies(case: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..EACH_ROUND {
        match case {
            "delimit-64" => encode::bulk(&mut out, &[b'x'; 64]),
            "delimit-16k" => encode::bulk(&mut out, &[b'x'; 16 * 1024]),
            _ => {
                encode::array_len(&mut out, 10);
                (0..10).for_each(|_| encode::bulk(&mut out, &[b'x'; 64]));
            }
        }
    }
    out
}

fn router(case: &str) -> Router {
    let distribution = case.trim_start_matches("route-");
    let mut yml = format!(
        "pools:\n  - name: alpha\n    mode: cache\n    listen: 127.0.0.1:22121\n    distribution: {distribution}\n    servers:\n"
    );
    for shard in 0..4 {
        yml.push_str(&format!("      - {{name: shard{shard}, address: 127.0.0.1:{}}}\n", 7000 + shard));
    }
    let settings = from_proxy_yml(Path::new("proxy.yml"), &yml, 1).expect("a configuration").settings;
    Router::new(&settings.pools[0].pool, &[true; 4]).expect("a router")
}
