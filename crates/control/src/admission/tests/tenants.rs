//! Quotas.

use super::*;
use crate::resource::Usage;

fn tenant(name: &str, parent: Option<&str>, change: impl FnOnce(&mut Quota)) -> Tenant {
    let mut quota = Quota::default();
    change(&mut quota);
    Tenant::new(name, TenantSpec { parent: parent.map(str::to_owned), quota })
}

fn between<T>(min: Option<T>, max: Option<T>) -> Bounds<T> {
    Bounds { min, max }
}

/// company (memory at most 64 GiB) over feed (at most 40) and search (16 kept for it).
fn company() -> World {
    let mut world = World::default();
    world.apply(tenant("company", None, |quota| quota.memory = between(None, Some(Bytes::gib(64))))).unwrap();
    world
        .apply(tenant("feed", Some("company"), |quota| quota.memory = between(None, Some(Bytes::gib(40)))))
        .unwrap();
    world
        .apply(tenant("search", Some("company"), |quota| quota.memory = between(Some(Bytes::gib(16)), None)))
        .unwrap();
    world
}

fn of_tenant(name: &str, tenant: &str, gib: u64) -> Pool {
    pool(name, Mode::Storage, |spec| {
        spec.tenant = tenant.to_owned();
        spec.memory = Bytes::gib(gib);
    })
}

#[test]
fn what_exceeds_is_refused_with_what_would_fit() {
    let mut world = company();
    world.apply(of_tenant("one", "feed", 2)).unwrap();
    // 8 Redis each: one has 16 GiB, so 24 are left of 40.
    refused(
        world.ask(of_tenant("two", "feed", 4)),
        "spec.memory: 32GiB of memory exceed the quota of tenant feed, 40GiB of memory: 24GiB of memory are left, \
         which is 3GiB for each of 8 Redis",
    );
    world.apply(of_tenant("two", "feed", 3)).unwrap();
    // Its own old part does not count twice.
    world.ask(of_tenant("two", "feed", 2)).unwrap();
    refused(
        world.ask(of_tenant("two", "feed", 4)),
        "spec.memory: 32GiB of memory exceed the quota of tenant feed",
    );
}

#[test]
fn what_is_kept_for_one_is_not_used_up_by_its_sibling() {
    let mut world = company();
    world.apply(tenant("feed", Some("company"), |_| {})).unwrap();
    world.apply(of_tenant("one", "feed", 6)).unwrap();
    // 48 of 64 are used, and 16 are kept for search.
    refused(
        world.ask(of_tenant("two", "feed", 1)),
        "spec.memory: 8GiB of memory exceed the quota of tenant company, 64GiB of memory: 0B of memory are left",
    );
    world.apply(of_tenant("index", "search", 2)).unwrap();
    // It has what was kept; beyond that it competes as others do.
    refused(
        world.ask(of_tenant("more", "search", 1)),
        "spec.memory: 8GiB of memory exceed the quota of tenant company",
    );
}

#[test]
fn each_resource_is_bounded() {
    let mut world = World::default();
    world
        .apply(tenant("acme", None, |quota| {
            quota.cores = between(None, Some(Cores::whole(4)));
            quota.instances = between(None, Some(13));
            quota.requests_per_second = between(None, Some(1000));
        }))
        .unwrap();
    // 4 shards of two, 2 proxies, 3 Sentinels: 13 processes, 2.8 cores.
    let asked = |change: fn(&mut PoolSpec)| {
        world.ask(pool("demo", Mode::Storage, |spec| {
            spec.tenant = "acme".to_owned();
            spec.requests_per_second = Some(1000);
            change(spec);
        }))
    };
    assert_eq!(asked(|_| {}).unwrap().verb, Verb::Create);
    refused(
        asked(|spec| spec.proxies.count = 3),
        "spec.shards: 14 instances exceed the quota of tenant acme, 13 instances",
    );
    refused(
        asked(|spec| spec.cores = Some(Cores(300))),
        "spec.cores: 4400m cores exceed the quota of tenant acme, 4 cores: 4 cores are left, which is 250m for each of 8 Redis",
    );
    refused(
        asked(|spec| spec.requests_per_second = Some(1001)),
        "spec.requestsPerSecond: 1001 requests a second exceed",
    );
    refused(
        asked(|spec| spec.requests_per_second = None),
        "spec.requestsPerSecond: the quota of tenant acme bounds it",
    );
}

#[test]
fn the_tree_is_checked() {
    let mut world = company();
    refused(
        world.ask(tenant("feed", Some("company"), |quota| {
            quota.memory = between(Some(Bytes::gib(48)), Some(Bytes::gib(40)));
        })),
        "spec.quota.memory.min: 48GiB of memory are more than max, 40GiB of memory",
    );
    refused(
        world.ask(tenant("ads", Some("company"), |quota| quota.memory = between(Some(Bytes::gib(49)), None))),
        "spec.quota.memory.min: the children of tenant company would be kept 65GiB of memory, and it has 64GiB",
    );
    refused(
        world.ask(tenant("company", None, |quota| quota.memory = between(None, Some(Bytes::gib(8))))),
        "spec.quota.memory.min: the children of tenant company would be kept 16GiB of memory, and it has 8GiB",
    );
    refused(
        world.ask(tenant("ads", Some("compny"), |_| {})),
        "spec.parent: there is no tenant compny: did you mean company?",
    );
    refused(
        world.ask(tenant("company", Some("feed"), |_| {})),
        "spec.parent: company would be its own parent",
    );
    refused(world.ask(tenant("own", Some("own"), |_| {})), "spec.parent: own would be its own parent");
    refused(
        world.delete(Kind::Tenant, "company"),
        "metadata.name: others are its own, and go or move first: Tenant/feed, Tenant/search",
    );
    world.apply(of_tenant("one", "feed", 1)).unwrap();
    refused(
        world.delete(Kind::Tenant, "feed"),
        "metadata.name: others are its own, and go or move first: Pool/one",
    );
    world.delete(Kind::Tenant, "search").unwrap();
}

#[test]
fn a_quota_that_shrinks_takes_nothing_away() {
    let mut world = company();
    world.apply(of_tenant("one", "feed", 4)).unwrap();
    let warnings = world
        .apply(tenant("feed", Some("company"), |quota| quota.memory = between(None, Some(Bytes::gib(8)))))
        .unwrap();
    assert_eq!(
        warnings[0].to_string(),
        "spec.quota.memory.max: 32GiB of memory are in use already: they stay, and nothing more is admitted"
    );
    // Less, the same, or another field: yes. More: no.
    world.ask(of_tenant("one", "feed", 3)).unwrap();
    let mut more_proxies = of_tenant("one", "feed", 4);
    more_proxies.spec.proxies.count = 3;
    world.ask(more_proxies).unwrap();
    assert_eq!(reasons(world.ask(of_tenant("one", "feed", 5))).len(), 1);
}

#[test]
fn use_is_summed_over_all_below() {
    let mut world = company();
    world.apply(of_tenant("one", "feed", 1)).unwrap();
    world.apply(of_tenant("index", "search", 1)).unwrap();
    world.apply(of_tenant("nobody-s", "default", 1)).unwrap();
    assert_eq!(used_by(&world.stored(), "company").memory, Bytes::gib(16));
    assert_eq!(used_by(&world.stored(), "feed").memory, Bytes::gib(8));
    assert_eq!(used_by(&world.stored(), "feed").instances, 13);
    assert_eq!(used_by(&world.stored(), "nobody"), Usage::default());
}

proptest! {
    /// Thousands of requests, right and wrong: whatever was admitted, no tenant is above its quota, and what is kept
    /// for somebody can be had.
    #[test]
    fn no_quota_is_ever_exceeded(steps in proptest::collection::vec((0_usize..12, 0_usize..3, 1_u64..12), 1..60)) {
        let mut world = company();
        for (which, tenant, gib) in steps {
            let names = ["feed", "search", "company"];
            let name = format!("p{tenant}-{which}");
            if gib == 11 {
                world.objects.retain(|object| object.name() != name);
            } else {
                let _ = world.apply(of_tenant(&name, names[tenant], gib));
            }
            let stored = world.stored();
            let used = |name: &str| used_by(&stored, name).memory;
            prop_assert!(used("feed") <= Bytes::gib(40));
            prop_assert!(used("company") <= Bytes::gib(64));
            let kept = Bytes::gib(16).minus(used("search"));
            prop_assert!(used("company").plus(kept) <= Bytes::gib(64));
        }
    }
}
