//! What the audit sees.

use super::*;

fn stand(name: &str, shard: u32, role: Role, node: &str) -> Placed {
    Placed { instance: instance(name, Owner::Pool("demo".to_owned()), role, shard, 4), node: node.to_owned() }
}

#[test]
fn each_broken_rule_is_named() {
    let mut nodes = vec![node("n1", "r1", 8), node("n2", "r1", 64), node("n3", "r2", 64)];
    nodes[2].cores = Cores(100);
    let mut far = node("n9", "r1", 64);
    far.site = "b".to_owned();
    nodes.push(far);
    let mut asks = stand("asks", 7, Role::Primary, "n2");
    asks.instance.constraints.group = Some("jobs".to_owned());
    asks.instance.constraints.site = Some("b".to_owned());
    let mut fleet = inventory(nodes, Vec::new());
    fleet.placed = vec![
        stand("a", 0, Role::Primary, "n1"),
        stand("b", 0, Role::Replica, "n1"),
        stand("c", 1, Role::Primary, "n1"),
        stand("d", 1, Role::Replica, "n2"),
        stand("e", 2, Role::Primary, "n3"),
        stand("f", 2, Role::Replica, "n9"),
        stand("g", 3, Role::Primary, "gone"),
        asks,
    ];
    let told: Vec<String> = audit(&fleet).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "g stands on gone, and there is no such node",
            "node n1 has 8.0 GiB of memory, and its instances ask for 12.0 GiB",
            "node n3 has 0.1 cores, and its instances ask for 0.5 cores",
            "a and b share node n1, and would die together",
            "c and d share rack r1, and d fits nowhere else now",
            "shard 2 of pool demo is on several sites: a, b",
            "asks stands on n2 against the node group that it asks for",
            "asks stands on n2 against the site that it asks for",
        ]
    );
    fleet.nodes[2].cores = Cores(16_000);
    assert!(audit(&fleet).iter().any(|v| v.to_string() == "c and d share rack r1, and d could stand on n3"));
    assert_eq!(audit(&Inventory::default()), []);
}

#[test]
fn names_that_stand_twice_are_named() {
    let mut fleet = inventory(vec![node("n1", "r1", 8), node("n1", "r2", 8)], Vec::new());
    fleet.placed = vec![stand("a", 0, Role::Primary, "n1"), stand("a", 1, Role::Primary, "n1")];
    let told: Vec<String> = audit(&fleet).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["two nodes are called n1", "two instances are called a"]);
}
