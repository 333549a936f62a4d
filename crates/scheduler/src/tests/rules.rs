//! Each rule in a fleet that is small enough to see.

use super::*;

fn racks(count: usize, gib: u64) -> Vec<Node> {
    (1..=count).map(|nth| node(&format!("n{nth}"), &format!("r{nth}"), gib)).collect()
}

#[test]
fn copies_of_a_shard_stand_on_different_nodes_in_different_racks() {
    let mut fleet = inventory(
        vec![node("n1", "r1", 64), node("n2", "r1", 64), node("n3", "r2", 64), node("n4", "r2", 64)],
        pool("demo", 0..4, 1, 4),
    );
    let plan = settle(&mut fleet);
    assert_eq!(audit(&fleet), []);
    assert!(plan.decisions.iter().all(|decision| decision.told.is_empty()));
    let replica = plan.decision("demo-0-b").expect("placed");
    assert!(
        replica.reasons.iter().any(|r| matches!(r, Reason::OtherRack { than, .. } if than == "demo-0-a")),
        "{replica}"
    );
    assert_eq!(counts(&fleet, Role::Primary), [1, 1, 1, 1]);
    assert_eq!(counts(&fleet, Role::Replica), [1, 1, 1, 1]);
}

#[test]
fn where_there_is_one_rack_it_is_shared_and_told() {
    let mut fleet = inventory(vec![node("n1", "r1", 64), node("n2", "r1", 64)], pool("demo", 0..1, 1, 4));
    let plan = settle(&mut fleet);
    let replica = plan.decision("demo-0-b").expect("placed");
    let shared = Shared::Rack { rack: "r1".to_owned(), with: "demo-0-a".to_owned(), full: false };
    assert_eq!(replica.told, [shared]);
    assert_eq!(
        replica.to_string(),
        "demo-0-b goes to n2: fewest instances of its owner (0), tightest fit, which leaves 60.0 GiB and 15.5 cores; \
         but it shares rack r1 with demo-0-a, as there is no other rack for it"
    );
    assert!(matches!(&audit(&fleet)[..], [Violation::SharedRack { free: None, .. }]));
}

#[test]
fn a_third_copy_shares_a_rack_where_there_are_two_even_if_it_comes_before_the_second() {
    // The small replica alone fits into the second rack; until it is there, the large one may not share the first.
    let mut wanted = pool("demo", 0..1, 2, 8);
    wanted[2].memory = Memory::gib(1);
    let nodes = vec![node("n1", "r1", 64), node("n2", "r1", 64), node("n3", "r2", 8)];
    let mut fleet = inventory(nodes, wanted);
    fleet.placed.push(Placed {
        instance: instance("other", Owner::Standalone("other".to_owned()), Role::Primary, 0, 4),
        node: "n3".to_owned(),
    });
    let plan = settle(&mut fleet);
    assert_eq!(plan.decision("demo-0-c").map(|d| d.node.as_str()), Some("n3"));
    assert!(matches!(
        plan.decision("demo-0-b").expect("placed").told[..],
        [Shared::Rack { full: false, .. }]
    ));
}

#[test]
fn a_full_rack_refuses_or_is_told_as_the_policy_says() {
    let nodes = vec![node("n1", "r1", 64), node("n2", "r1", 64), node("n3", "r2", 8)];
    let mut fleet = inventory(nodes, pool("demo", 0..1, 1, 8));
    let filler = instance("filler", Owner::Standalone("filler".to_owned()), Role::Primary, 0, 4);
    fleet.placed.push(Placed { instance: filler, node: "n3".to_owned() });

    let apart = plan(&Policy::default(), &fleet);
    assert_eq!(apart.refusals.len(), 1, "{apart:?}");
    assert_eq!(
        apart.refusals[0].to_string(),
        "demo-0-b has no place: it needs 8.0 GiB and 0.5 cores; of 3 nodes in site a: n1 holds demo-0-a, \
         n2 is in the rack of demo-0-a, n3 has 4.0 GiB free. It would fit: with 4.0 GiB, on n3; \
         on n2, if it may share a rack with demo-0-a"
    );

    let prefer = plan(&Policy { racks: Racks::Prefer }, &fleet);
    let replica = prefer.decision("demo-0-b").expect("placed");
    assert_eq!(replica.node, "n2");
    assert!(matches!(replica.told[..], [Shared::Rack { full: true, .. }]), "{replica}");
}

#[test]
fn a_rack_whose_nodes_are_too_small_or_closed_is_no_other_rack() {
    for closed in ["small", "cordoned", "dead", "of another group"] {
        let mut other = node("n3", "r2", 64);
        match closed {
            "small" => other.memory = Memory::gib(2),
            "cordoned" => other.cordoned = true,
            "dead" => other.alive = false,
            _ => other.group = "jobs".to_owned(),
        }
        let mut wanted = pool("demo", 0..1, 1, 8);
        wanted.iter_mut().for_each(|i| i.constraints.group = Some("redis".to_owned()));
        let plan = plan(
            &Policy::default(),
            &inventory(vec![node("n1", "r1", 64), node("n2", "r1", 64), other], wanted),
        );
        assert!(plan.refusals.is_empty(), "{closed}: {plan:?}");
        let told: Vec<&Shared> = plan.decisions.iter().flat_map(|decision| &decision.told).collect();
        assert!(matches!(told[..], [Shared::Rack { full: false, .. }]), "{closed}: {told:?}");
    }
}

#[test]
fn a_node_without_a_rack_is_a_rack_of_its_own_and_racks_are_named_by_zone() {
    let mut fleet = inventory(vec![node("n1", "", 64), node("n2", "", 64)], pool("demo", 0..1, 1, 4));
    assert!(settle(&mut fleet).decisions.iter().all(|decision| decision.told.is_empty()));
    assert_eq!(audit(&fleet), []);

    let mut elsewhere = node("n2", "r1", 64);
    elsewhere.zone = "y".to_owned();
    let mut fleet = inventory(vec![node("n1", "r1", 64), elsewhere], pool("demo", 0..1, 1, 4));
    let plan = settle(&mut fleet);
    assert!(plan.decisions.iter().all(|decision| decision.told.is_empty()));
    assert_eq!(audit(&fleet), []);
}

#[test]
fn another_zone_comes_before_another_rack_of_the_same_zone() {
    let mut nodes = racks(3, 64);
    nodes[2].zone = "zz".to_owned();
    nodes[2].cost = 9;
    let mut fleet = inventory(nodes, pool("demo", 0..1, 1, 4));
    let plan = settle(&mut fleet);
    assert_eq!(plan.decision("demo-0-a").map(|d| d.node.as_str()), Some("n1"));
    assert_eq!(plan.decision("demo-0-b").map(|d| d.node.as_str()), Some("n3"));
}

#[test]
fn a_node_s_death_costs_as_little_of_a_pool_as_can_be() {
    let mut fleet = inventory(racks(3, 256), pool("demo", 0..8, 1, 4));
    settle(&mut fleet);
    let mut primaries = counts(&fleet, Role::Primary);
    primaries.sort_unstable();
    assert_eq!(primaries, [2, 3, 3]);
    // It grows: what stood stays, and the new ones fill up.
    fleet.wanted = pool("demo", 8..10, 1, 4);
    settle(&mut fleet);
    let mut primaries = counts(&fleet, Role::Primary);
    primaries.sort_unstable();
    assert_eq!(primaries, [3, 3, 4]);
    let mut all: Vec<usize> = fleet.nodes.iter().map(|node| on(&fleet, &node.name).len()).collect();
    all.sort_unstable();
    assert_eq!(all, [6, 7, 7]);
}

#[test]
fn a_node_s_primaries_are_taken_over_by_several() {
    let mut fleet = inventory(racks(4, 256), pool("demo", 0..12, 1, 4));
    settle(&mut fleet);
    for dead in ["n1", "n2", "n3", "n4"] {
        let mut takes_over = BTreeMap::new();
        for primary in on(&fleet, dead).iter().filter(|i| i.role == Role::Primary) {
            let replica = fleet
                .placed
                .iter()
                .find(|p| p.instance.role == Role::Replica && p.instance.shard == primary.shard);
            *takes_over.entry(&replica.expect("a replica").node).or_insert(0) += 1;
        }
        assert_eq!(takes_over.into_values().collect::<Vec<_>>(), [1, 1, 1], "when {dead} dies");
    }
}

#[test]
fn racks_and_kin_of_another_site_do_not_count() {
    // Both racks of site a, and one of site b: a replica for site a still has another rack, which is full.
    let mut far = node("n9", "r9", 64);
    far.site = "b".to_owned();
    let mut wanted = pool("demo", 0..1, 2, 8);
    wanted[1].constraints.site = Some("b".to_owned());
    wanted[2].constraints.site = Some("a".to_owned());
    let mut nodes = vec![node("n1", "r1", 64), node("n2", "r1", 64), node("n3", "r2", 8), far];
    let replica = wanted.pop().expect("three");
    let filler = instance("filler", Owner::Standalone("filler".to_owned()), Role::Primary, 0, 4);
    let mut fleet = inventory(nodes.clone(), vec![replica]);
    for (instance, node) in wanted.into_iter().chain([filler]).zip(["n1", "n9", "n3"]) {
        fleet.placed.push(Placed { instance, node: node.to_owned() });
    }
    assert_eq!(plan(&Policy::default(), &fleet).refusals.len(), 1);

    // Primaries in a rack of each site: in site a the other rack has fewer.
    nodes[2].memory = Memory::gib(128);
    let mut fleet = inventory(nodes, pool("demo", 2..3, 0, 8));
    for (instance, node) in pool("demo", 0..2, 0, 8).into_iter().zip(["n1", "n9"]) {
        fleet.placed.push(Placed { instance, node: node.to_owned() });
    }
    fleet.wanted[0].constraints.site = Some("a".to_owned());
    assert_eq!(settle(&mut fleet).decisions[0].node, "n3");
}

#[test]
fn primaries_are_spread_over_racks_where_nodes_are_as_good() {
    let nodes: Vec<Node> =
        (0..12).map(|nth| node(&format!("n{nth:02}"), &format!("r{}", nth / 4), 64)).collect();
    let mut fleet = inventory(nodes, pool("demo", 0..6, 0, 4));
    settle(&mut fleet);
    let primaries = counts(&fleet, Role::Primary);
    assert_eq!(primaries.chunks(4).map(|rack| rack.iter().sum::<usize>()).collect::<Vec<_>>(), [2, 2, 2]);
}

#[test]
fn proxies_share_a_node_only_where_they_must_and_it_is_told() {
    let owner = Owner::Pool("demo".to_owned());
    let mut fleet = inventory(racks(2, 64), many("proxy", &owner, Role::Proxy, 3, 1));
    let plan = settle(&mut fleet);
    let told: Vec<&Shared> = plan.decisions.iter().flat_map(|decision| &decision.told).collect();
    assert!(matches!(told[..], [Shared::Node { .. }]), "{told:?}");
    assert_eq!(counts(&fleet, Role::Proxy), [2, 1]);
    assert_eq!(audit(&fleet), []);
}

#[test]
fn sentinels_of_a_group_never_share_a_node() {
    let owner = Owner::Sentinels("g".to_owned());
    let fleet = inventory(racks(2, 64), many("sentinel", &owner, Role::Sentinel, 3, 1));
    let plan = plan(&Policy::default(), &fleet);
    assert_eq!(plan.decisions.len(), 2);
    assert_eq!(
        plan.refusals[0].to_string(),
        "sentinel-2 has no place: it needs 1.0 GiB and 0.5 cores; of 2 nodes in site a: n1 holds sentinel-0, \
         n2 holds sentinel-1. It would fit on another node with so much free"
    );
}

#[test]
fn an_owner_is_on_one_site_the_one_that_takes_all_of_it() {
    let mut nodes = racks(4, 10);
    nodes[3].site = "b".to_owned();
    nodes[3].memory = Memory::gib(40);
    // Site b has the most room and takes the primaries alone.
    let mut fleet = inventory(nodes, pool("demo", 0..2, 1, 5));
    settle(&mut fleet);
    assert!(on(&fleet, "n4").is_empty());

    // What comes later goes where the rest is, even if there is no room.
    fleet.wanted = pool("demo", 2..4, 0, 6);
    let plan = plan(&Policy::default(), &fleet);
    let refusal = &plan.refusals[0];
    assert_eq!(
        refusal.sites.iter().map(|site| (site.site.as_str(), site.nodes)).collect::<Vec<_>>(),
        [("a", 3)]
    );
    assert!(
        refusal.would_fit.iter().any(
            |way| matches!(way, WouldFit::Otherwise { site, but: Obstacle::OtherSite, .. } if site == "b")
        ),
        "{refusal}"
    );
}

#[test]
fn a_site_that_is_asked_for_is_kept_and_sites_may_be_any() {
    let mut nodes = racks(4, 64);
    nodes[2].site = "b".to_owned();
    nodes[3].site = "b".to_owned();
    let mut wanted = pool("demo", 0..1, 1, 4);
    wanted[1].constraints.site = Some("b".to_owned());
    let mut proxies = many("proxy", &Owner::Pool("demo".to_owned()), Role::Proxy, 2, 1);
    wanted.append(&mut proxies);
    let mut fleet = inventory(nodes.clone(), wanted);
    settle(&mut fleet);
    assert_eq!(audit(&fleet), []);
    let site = |name: &str| {
        let placed = fleet.placed.iter().find(|placed| placed.instance.name == name).expect("placed");
        fleet.nodes.iter().find(|node| node.name == placed.node).expect("a node").site.clone()
    };
    assert_eq!(site("demo-0-b"), "b");
    assert_eq!((site("proxy-0"), site("proxy-1")), (site("demo-0-a"), site("demo-0-a")));

    let mut sentinels = many("s", &Owner::Sentinels("g".to_owned()), Role::Sentinel, 4, 1);
    sentinels.iter_mut().for_each(|sentinel| sentinel.constraints.sites = Sites::Any);
    let mut fleet = inventory(nodes, sentinels);
    settle(&mut fleet);
    assert_eq!(counts(&fleet, Role::Sentinel), [1, 1, 1, 1]);

    let mut lost = instance("x", Owner::Standalone("x".to_owned()), Role::Primary, 0, 1);
    lost.constraints.site = Some("nowhere".to_owned());
    let plan = plan(&Policy::default(), &inventory(racks(1, 64), vec![lost]));
    assert_eq!(
        plan.refusals[0].to_string(),
        "x has no place: it needs 1.0 GiB and 0.5 cores; site nowhere has no nodes. \
         It would fit: on n1, if it may be in site a"
    );
}

#[test]
fn labels_group_cores_cordon_and_death_are_kept() {
    let mut nodes = racks(6, 64);
    nodes[0].labels.insert("disk".to_owned(), "spinning".to_owned());
    nodes[1].group = "jobs".to_owned();
    nodes[2].cordoned = true;
    nodes[3].alive = false;
    nodes[4].cores = Cores(400);
    for node in &mut nodes[1..] {
        node.labels.insert("disk".to_owned(), "fast".to_owned());
    }
    let mut one = instance("x", Owner::Standalone("x".to_owned()), Role::Primary, 0, 1);
    one.constraints.group = Some("redis".to_owned());
    one.constraints.labels.insert("disk".to_owned(), "fast".to_owned());
    let mut fleet = inventory(nodes, vec![one.clone()]);
    assert_eq!(settle(&mut fleet).decisions[0].node, "n6");
    one.name = "y".to_owned();
    one.memory = Memory::gib(64);
    fleet.wanted = vec![one];
    assert_eq!(
        plan(&Policy::default(), &fleet).refusals[0].to_string(),
        "y has no place: it needs 64.0 GiB and 0.5 cores; of 6 nodes in site a: n2 is of another node group, \
         n1 lacks a label, n4 is dead, n3 is cordoned, n6 holds x, n5 has 0.4 cores free. It would fit: \
         with 0.4 cores, on n5; on n2, if it may be in its node group; on n1, if it had the labels; \
         on n4, when it is back; on n3, uncordoned"
    );
}

#[test]
fn the_cheapest_and_then_the_tightest_node_is_taken_last_of_all() {
    let mut nodes = racks(4, 64);
    nodes[0].cost = 5;
    nodes[1].memory = Memory::gib(32);
    nodes[2].memory = Memory::gib(16);
    let mut fleet =
        inventory(nodes, vec![instance("x", Owner::Standalone("x".to_owned()), Role::Primary, 0, 20)]);
    let plan = settle(&mut fleet);
    assert_eq!(
        plan.decisions[0].to_string(),
        "x goes to n2: cheapest (1), tightest fit, which leaves 12.0 GiB and 15.5 cores"
    );
}

#[test]
fn the_tightest_node_is_taken_of_all_groups_that_cost_the_same() {
    let mut nodes = racks(2, 64);
    nodes[0].group = "large".to_owned();
    nodes[1].memory = Memory::gib(32);
    let mut fleet = inventory(nodes, pool("demo", 0..1, 0, 4));
    assert_eq!(settle(&mut fleet).decisions[0].node, "n2");
}

#[test]
fn an_owner_that_is_on_two_sites_grows_where_most_of_it_is() {
    let mut nodes = racks(4, 64);
    nodes[2].site = "b".to_owned();
    nodes[3].site = "b".to_owned();
    let mut fleet = inventory(nodes, pool("demo", 3..4, 0, 4));
    for (instance, node) in pool("demo", 0..3, 0, 4).into_iter().zip(["n1", "n3", "n4"]) {
        fleet.placed.push(Placed { instance, node: node.to_owned() });
    }
    let plan = settle(&mut fleet);
    assert_eq!(plan.decisions[0].reasons[0], Reason::SiteOfOwner { site: "b".to_owned() });

    // A copy of the lesser part's shard goes where its shard is.
    fleet.wanted = pool("demo", 0..1, 1, 4).split_off(1);
    assert_eq!(settle(&mut fleet).decisions[0].node, "n2");
}

#[test]
fn a_name_is_given_once() {
    let one = instance("x", Owner::Standalone("x".to_owned()), Role::Primary, 0, 1);
    let mut fleet = inventory(racks(2, 64), vec![one.clone(), one.clone()]);
    fleet.wanted[1].memory = Memory::gib(2);
    fleet.nodes.push(node("n1", "r9", 1));
    let first = plan(&Policy::default(), &fleet);
    fleet.wanted.swap(0, 1);
    fleet.nodes.reverse();
    assert_eq!(first, plan(&Policy::default(), &fleet), "of two with one name the lesser counts");
    fleet.wanted.swap(0, 1);
    fleet.nodes = racks(2, 64);
    assert_eq!((first.decisions.len(), first.refusals.len()), (1, 1));
    fleet.wanted.pop();
    settle(&mut fleet);
    fleet.wanted = vec![one];
    let again = plan(&Policy::default(), &fleet);
    assert_eq!(
        again.refusals[0].to_string(),
        "x has no place: an instance of this name is there already (on node n1)"
    );
}

#[test]
fn what_stands_on_leaving_nodes_goes_elsewhere_by_the_same_rules() {
    let mut fleet = inventory(racks(4, 64), pool("demo", 0..4, 1, 4));
    settle(&mut fleet);
    fleet.nodes[0].alive = false;
    let leaving: Vec<String> = on(&fleet, "n1").iter().map(|instance| instance.name.clone()).collect();
    let Moves { moves, refusals } = moves(&Policy::default(), &fleet, &["n1"]);
    assert!(refusals.is_empty());
    assert_eq!(moves.len(), leaving.len());
    assert!(moves.iter().all(|one| one.from == "n1" && leaving.contains(&one.to.instance)));
    for one in &moves {
        let at = fleet.placed.iter().position(|placed| placed.instance.name == one.to.instance);
        fleet.placed[at.expect("placed")].node.clone_from(&one.to.node);
    }
    assert_eq!(audit(&fleet), []);
    assert!(on(&fleet, "n1").is_empty());
}

#[test]
fn what_leaves_stays_on_its_site() {
    let mut nodes = racks(3, 64);
    nodes[0].site = "b".to_owned();
    let mut fleet =
        inventory(nodes, vec![instance("x", Owner::Standalone("x".to_owned()), Role::Primary, 0, 4)]);
    fleet.wanted[0].constraints.labels.clear();
    fleet.placed = vec![Placed { instance: fleet.wanted.remove(0), node: "n1".to_owned() }];
    let moves = moves(&Policy::default(), &fleet, &["n1"]);
    assert_eq!(
        moves.refusals[0].to_string(),
        "x has no place: it needs 4.0 GiB and 0.5 cores; of 1 node in site b: n1 is to be emptied. \
         It would fit: on n2, if it may be in site a"
    );
}
