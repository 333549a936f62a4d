use std::path::Path;

use super::*;
use crate::config::from_proxy_yml;
use crate::health::Health;
use crate::io::orders::orders;

/// What is observed of a pool with one server of its own, and these.
fn observed(servers: &str) -> Observed {
    let text = format!(
        "pools:\n  - name: p\n    mode: storage\n    listen: 127.0.0.1:1\n    servers:\n      - {{name: own, address: '127.0.0.1:2'}}\n{servers}"
    );
    let settings = from_proxy_yml(Path::new("proxy.yml"), &text, 1).unwrap().settings;
    let pools: Vec<Arc<PoolSettings>> = settings.pools.into_iter().map(Arc::new).collect();
    let health = Arc::new(Health::new(pools[0].pool.shards.len(), None));
    Observed::new(&pools, &[health], Vec::new(), Instant::now())
}

/// Nobody is there.
const WATCHED: &str = "      - {name: s, sentinels: ['127.0.0.1:1'], master_name: m}\n";

#[test]
fn a_shard_that_is_removed_and_put_back_unseen_is_followed_from_the_beginning() {
    let (orders, _received) = orders().unwrap();
    let mut follower = Follower::new(orders, Doubts::new().unwrap(), Instant::now());
    let current = Current::new(observed(WATCHED));
    follower.follow_settings(&current);
    let (_, shard) = follower.shards.first_key_value().unwrap();
    let first = shard.status.clone();
    follower.turn();
    let looks =
        |follower: &Follower| follower.shards.values().map(|shard| shard.following.looks()).sum::<u64>();
    assert_eq!(looks(&follower), 1);
    // Two reloads before the follower wakes.
    current.set(observed(""));
    current.set(observed(WATCHED));
    follower.follow_settings(&current);
    assert_eq!((follower.shards.len(), looks(&follower)), (1, 0), "nothing that was known is taken over");
    let (_, shard) = follower.shards.first_key_value().unwrap();
    assert!(!Arc::ptr_eq(&shard.status, &first), "what is shown is of the one that is there now");
    // And one that stays is not begun anew.
    follower.turn();
    let same = current.get();
    current.set(Observed::new(
        &[same.pools[0].settings.clone()],
        &[same.pools[0].health.clone()],
        Vec::new(),
        Instant::now(),
    ));
    follower.follow_settings(&current);
    assert_eq!(looks(&follower), 1);
}
