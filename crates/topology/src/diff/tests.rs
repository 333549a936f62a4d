use super::*;
use crate::topology::tests::pool;
use crate::{FORMAT, Mode};
use shoal_hashkit::Hash;

/// The lines for what `edit` does to a topology of one pool of three shards.
fn lines(edit: impl FnOnce(&mut Topology)) -> String {
    let from = Topology { format: FORMAT, epoch: 1, pools: vec![pool(3)] };
    let mut to = from.clone();
    to.epoch = 2;
    edit(&mut to);
    let diff = Diff::between(&from, &to);
    let lines = diff.to_string();
    assert_eq!(diff.is_empty(), lines.is_empty());
    assert_eq!(diff.routing_changed("alpha"), lines.contains("keys may belong"));
    assert_eq!(diff.changes.len(), lines.lines().count());
    lines
}

const ROUTING: &str = "pool alpha: keys may belong to other shards\n";

#[test]
fn nothing_but_the_epoch() {
    assert_eq!(lines(|_| {}), "");
}

#[test]
fn pools_come_and_go() {
    assert_eq!(
        lines(|t| t.pools[0].name = "beta".to_owned()),
        "pool beta: added, shards: 3\npool alpha: removed\n"
    );
}

#[test]
fn settings() {
    assert_eq!(lines(|t| t.pools[0].mode = Mode::Storage), "pool alpha: mode cache -> storage\n");
    assert_eq!(
        lines(|t| t.pools[0].hash = Hash::Md5),
        format!("pool alpha: hash fnv1a_64 -> md5\n{ROUTING}")
    );
    assert_eq!(
        lines(|t| t.pools[0].hash_tag = "{}".parse().ok()),
        format!("pool alpha: hash_tag none -> {{}}\n{ROUTING}")
    );
    assert_eq!(
        lines(|t| t.pools[0].distribution = Distribution::Random),
        format!("pool alpha: distribution ketama -> random\n{ROUTING}")
    );
}

#[test]
fn shards() {
    assert_eq!(
        lines(|t| {
            t.pools[0].shards[1].name = "new".to_owned();
        }),
        format!(
            "pool alpha: shard new added at 10.0.0.1:7001, weight 1\npool alpha: shard s1 removed\n{ROUTING}"
        )
    );
    assert_eq!(
        lines(|t| t.pools[0].shards[1].primary = "h:1".parse().unwrap()),
        "pool alpha: shard s1 primary 10.0.0.1:7001 -> h:1\n"
    );
    assert_eq!(
        lines(|t| t.pools[0].shards[0].replicas.push("h:1".parse().unwrap())),
        "pool alpha: shard s0 replicas [] -> [h:1]\n"
    );
    assert_eq!(
        lines(|t| t.pools[0].shards[2].weight = 5),
        format!("pool alpha: shard s2 weight 1 -> 5\n{ROUTING}")
    );
    assert_eq!(
        lines(|t| t.pools[0].shards[2].state = ShardState::Ejected),
        format!("pool alpha: shard s2 ejected\n{ROUTING}")
    );
    // Server order is by name, so the order in the file moves no key.
    assert_eq!(lines(|t| t.pools[0].shards.reverse()), "pool alpha: shards in another order\n");
}

#[test]
fn a_pool_of_one_shard_routes_alike_whatever_its_hash() {
    let from = Topology { format: FORMAT, epoch: 1, pools: vec![pool(1)] };
    let mut to = from.clone();
    to.pools[0].hash = Hash::Murmur;
    to.pools[0].shards[0].weight = 9;
    assert!(!Diff::between(&from, &to).routing_changed("alpha"));
}
