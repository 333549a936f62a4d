//! How refusals read where there are many nodes, and that what they say would fit does.

use super::*;

#[test]
fn many_nodes_are_counted_and_the_nearest_named() {
    let mut nodes: Vec<Node> = (0..20).map(|nth| node(&format!("n{nth:02}"), "", 1 + nth)).collect();
    nodes.iter_mut().take(5).for_each(|node| node.cordoned = true);
    let one = instance("x", Owner::Standalone("x".to_owned()), Role::Primary, 0, 30);
    let plan = plan(&Policy::default(), &inventory(nodes, vec![one]));
    assert_eq!(
        plan.refusals[0].to_string(),
        "x has no place: it needs 30.0 GiB and 0.5 cores; of 20 nodes in site a: 5 are cordoned (n00, n01, n02, …), \
         15 have too little memory (most: n19, 20.0 GiB free). It would fit: with 20.0 GiB, on n19"
    );
}

#[test]
fn an_owner_that_no_site_takes_hears_of_all_sites() {
    let mut nodes = vec![node("n1", "r1", 4), node("n2", "r2", 8)];
    nodes[1].site = "b".to_owned();
    let one = instance("x", Owner::Standalone("x".to_owned()), Role::Primary, 0, 30);
    let plan = plan(&Policy::default(), &inventory(nodes, vec![one]));
    assert_eq!(
        plan.refusals[0].to_string(),
        "x has no place: it needs 30.0 GiB and 0.5 cores; of 1 node in site a: n1 has 4.0 GiB free; \
         of 1 node in site b: n2 has 8.0 GiB free. It would fit: with 8.0 GiB, on n2"
    );
    let none =
        inventory(Vec::new(), vec![instance("x", Owner::Standalone("x".to_owned()), Role::Primary, 0, 1)]);
    assert_eq!(
        super::plan(&Policy::default(), &none).refusals[0].to_string(),
        "x has no place: it needs 1.0 GiB and 0.5 cores; there are no nodes. It would fit on another node with so much free"
    );
}

#[test]
fn what_is_asked_beyond_all_numbers_is_refused_and_not_wrapped() {
    let mut huge = instance("x", Owner::Standalone("x".to_owned()), Role::Primary, 0, 1);
    huge.memory = Memory(u64::MAX);
    huge.cores = Cores(u32::MAX);
    let mut fleet = inventory(vec![node("n1", "r1", 4)], vec![huge.clone()]);
    assert_eq!(plan(&Policy::default(), &fleet).refusals.len(), 1);
    // Forced onto the node several times, it is too much, and nothing fits beside it.
    for name in ["p", "q", "r"] {
        fleet.placed.push(Placed {
            instance: Instance { name: name.to_owned(), ..huge.clone() },
            node: "n1".to_owned(),
        });
    }
    fleet.wanted = vec![instance("y", Owner::Standalone("y".to_owned()), Role::Primary, 0, 1)];
    let refusal = &plan(&Policy::default(), &fleet).refusals[0];
    assert!(refusal.to_string().contains("n1 has 0 bytes free"), "{refusal}");
    assert!(audit(&fleet).iter().any(|violation| matches!(violation, Violation::Memory { .. })));
}
