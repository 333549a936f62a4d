use super::*;
use crate::topology::tests::pool;
use proptest::prelude::*;
use shoal_hashkit::redis_shard::{Hash as RingHash, Tags};

/// A pool of shards with these names and weights, at distinct addresses.
fn named(distribution: Distribution, shards: &[(&str, u32)]) -> Pool {
    let mut pool = pool(shards.len().try_into().unwrap());
    for (shard, (name, weight)) in pool.shards.iter_mut().zip(shards) {
        shard.name = (*name).to_owned();
        shard.weight = *weight;
    }
    Pool { distribution, ..pool }
}

fn router(pool: &Pool) -> Router {
    Router::new(pool, &pool.live()).unwrap()
}

/// The shards of the keys, counted from 1 as in Twemproxy's list of servers.
fn shards(pool: &Pool, keys: &[&str]) -> Vec<usize> {
    let (router, mut random) = (router(pool), Random::seeded(1));
    let shard = |key: &&str| match router.route(key.as_bytes(), &mut random) {
        Route::Shard(index) => index + 1,
        other => panic!("{key}: {other:?}"),
    };
    keys.iter().map(shard).collect()
}

const KEYS: [&str; 11] =
    ["a", "foo", "123456789", "user:1000:profile", "key:0", "key:1", "key:2", "{a}b", "x{}", "café", "你好"];

/// Asked from nutcracker 0.5.0 with four servers at 127.0.0.1:7001 to 7004.
#[test]
fn places_keys_where_nutcracker_does() {
    let address = |i: usize| format!("127.0.0.1:{}", 7001 + i);
    let names: Vec<String> = (0..4).map(address).collect();
    let unnamed: Vec<(&str, u32)> = names.iter().map(String::as_str).zip([1, 2, 1, 1]).collect();
    let ketama = named(Distribution::Ketama, &unnamed);
    assert_eq!(shards(&ketama, &KEYS), [2, 3, 1, 2, 2, 2, 2, 2, 2, 2, 2]);

    let ketama = named(Distribution::Ketama, &[("zeta", 1), ("b", 1), ("alpha", 1), ("c", 1)]);
    assert_eq!(shards(&ketama, &KEYS), [4, 2, 1, 3, 1, 1, 1, 2, 1, 3, 3]);

    let mut modula = named(Distribution::Modula, &[("zeta", 1), ("b", 2), ("alpha", 1), ("c", 1)]);
    modula.hash = Hash::Crc32a;
    modula.hash_tag = Some(HashTag { open: b'{', close: b'}' });
    assert_eq!(shards(&modula, &KEYS), [4, 3, 4, 2, 2, 4, 2, 4, 1, 4, 2]);
    let tags = ["{tag}1", "{tag}2", "a{tag}", "tag", "{}{tag}", "{}tag", "{tag", "tag}"];
    assert_eq!(shards(&modula, &tags), [3, 3, 3, 3, 2, 2, 2, 1]);
}

/// Made with redis-shard 0.3.7 on nodes node1 to node4.
#[test]
fn places_keys_where_redis_shard_does() {
    let keys = ["a", "foo", "user:1000", "x{tag}1", "{a}b}", "p{a}{b}", "k{}", "{a{b}c}", "café", "w32979"];
    let nodes = [("node1", 1), ("node2", 1), ("node3", 1), ("node4", 1)];
    let pool = |hash| named(Distribution::RedisShard { hash, tags: Tags::Text }, &nodes);
    assert_eq!(shards(&pool(RingHash::Crc32), &keys), [3, 2, 4, 1, 4, 3, 1, 3, 1, 2]);
    assert_eq!(shards(&pool(RingHash::Md5), &keys[..9]), [1, 4, 2, 2, 4, 3, 2, 2, 1]);
    assert_eq!(shards(&pool(RingHash::Sha1), &keys[..9]), [4, 2, 2, 4, 2, 2, 2, 4, 1]);
}

#[test]
fn redis_shard_has_no_place_for_some_keys_and_moves_none() {
    let nodes = [("node1", 1), ("node2", 1), ("node3", 1), ("node4", 1)];
    let mut pool = named(Distribution::RedisShard { hash: RingHash::Crc32, tags: Tags::Text }, &nodes);
    let mut random = Random::seeded(1);
    let all = router(&pool);
    assert_eq!(all.route("你".as_bytes(), &mut random), Route::BadKey(hashkit::Error::KeyBeyondLatin1));
    assert_eq!(all.route(b"\xff", &mut random), Route::BadKey(hashkit::Error::KeyNotUtf8));
    pool.shards[2].state = crate::ShardState::Ejected;
    let without_node3 = router(&pool);
    assert_eq!(without_node3.route(b"a", &mut random), Route::NoneLive);
    assert_eq!(without_node3.route(b"foo", &mut random), Route::Shard(1));
}

#[test]
fn the_order_is_by_length_and_then_by_bytes() {
    let pool = named(Distribution::Ketama, &[("zeta", 1), ("b", 1), ("alpha", 1), ("c", 1)]);
    assert_eq!(router(&pool).order(), [1, 3, 0, 2]);
    let redis_shard = Distribution::RedisShard { hash: RingHash::Crc32, tags: Tags::Text };
    assert_eq!(router(&Pool { distribution: redis_shard, ..pool }).order(), [0, 1, 2, 3]);
}

#[test]
fn one_shard_takes_every_key_unhashed() {
    for distribution in [
        Distribution::Ketama,
        Distribution::Modula,
        Distribution::Random,
        Distribution::RedisShard { hash: RingHash::Sha1, tags: Tags::Text },
    ] {
        let pool = named(distribution, &[("only", 1)]);
        let mut random = Random::seeded(1);
        for key in [&b""[..], b"a", b"\xff\xfe", "你".as_bytes()] {
            assert_eq!(router(&pool).route(key, &mut random), Route::Shard(0));
            assert_eq!(Router::new(&pool, &[false]).unwrap().route(key, &mut random), Route::NoneLive);
        }
        assert_eq!(random, Random::seeded(1), "no number was drawn");
    }
}

#[test]
fn nobody_lives() {
    let mut random = Random::seeded(1);
    for distribution in [Distribution::Ketama, Distribution::Modula, Distribution::Random] {
        let router = Router::new(&Pool { distribution, ..pool(3) }, &[false; 3]).unwrap();
        assert_eq!(router.route(b"a", &mut random), Route::NoneLive);
    }
}

/// Twemproxy does not call the hash function for an empty key; one_at_a_time gives 0 by itself, but
/// fnv1a_64 and md5 do not.
#[test]
fn the_empty_key_hashes_to_zero() {
    let mut pool = Pool { distribution: Distribution::Modula, ..pool(7) };
    for &hash in Hash::ALL {
        pool.hash = hash;
        assert_eq!(router(&pool).route(b"", &mut Random::seeded(1)), Route::Shard(0), "{hash}");
    }
}

#[test]
fn live_flags_are_one_a_shard() {
    let error = Router::new(&pool(3), &[true; 2]).unwrap_err();
    assert_eq!(error.to_string(), "pool alpha has 3 shards, but 2 say whether they live");
}

proptest! {
    #[test]
    fn a_key_goes_to_a_live_shard_and_always_to_the_same(
        key: Vec<u8>, live in proptest::collection::vec(any::<bool>(), 2..9), which in 0..3usize, seed: u32,
    ) {
        let distributions = [Distribution::Ketama, Distribution::Modula, Distribution::Random];
        let pool = Pool { distribution: distributions[which], ..pool(live.len().try_into().unwrap()) };
        let router = Router::new(&pool, &live).unwrap();
        let mut random = Random::seeded(seed);
        let route = router.route(&key, &mut random);
        match route {
            Route::Shard(index) => prop_assert!(live[index]),
            ref other => prop_assert!(*other == Route::NoneLive && !live.contains(&true)),
        }
        if which < 2 {
            prop_assert_eq!(router.route(&key, &mut random), route);
            prop_assert_eq!(random, Random::seeded(seed));
        }
    }

    #[test]
    fn the_order_in_the_file_does_not_matter(key: Vec<u8>, turn in 0..5usize) {
        let given = [("zeta", 1), ("b", 2), ("alpha", 1), ("c", 3), ("dd", 1)];
        let mut turned = given;
        turned.rotate_left(turn);
        for distribution in [Distribution::Ketama, Distribution::Modula] {
            let name = |pool: &Pool| match router(pool).route(&key, &mut Random::seeded(1)) {
                Route::Shard(index) => pool.shards[index].name.clone(),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(name(&named(distribution, &given)), name(&named(distribution, &turned)));
        }
    }
}
