use super::*;
use proptest::prelude::*;

const LONGEST_US: u64 = 100_000_000;

fn of(durations_us: &[u64]) -> Snapshot {
    let histogram = Histogram::new();
    durations_us.iter().for_each(|&us| histogram.record(Duration::from_micros(us)));
    histogram.snapshot()
}

#[test]
fn it_is_small() {
    assert!(size_of::<Histogram>() <= 6 * 1024);
}

#[test]
fn buckets_follow_each_other_without_a_gap() {
    let mut before = 0;
    for us in 1..1 << 18 {
        let now = bucket(us);
        assert!(now == before || now == before + 1, "{us} us");
        before = now;
    }
    assert_eq!(bucket((1 << 27) - 1), BUCKETS - 1);
    assert_eq!(bucket((1 << 26) * 31 / 16 - 1), BUCKETS - 2);
    assert_eq!(bucket(u64::MAX), BUCKETS - 1);
}

#[test]
fn nothing() {
    let snapshot = Histogram::new().snapshot();
    assert_eq!(snapshot, Snapshot::empty());
    assert_eq!((snapshot.count(), snapshot.quantile(0.5)), (0, None));
}

#[test]
fn quantiles_by_nearest_rank() {
    let snapshot = of(&(1..=10).collect::<Vec<_>>());
    let at = |q| snapshot.quantile(q).map(|duration| duration.as_micros());
    assert_eq!(
        [at(-1.0), at(0.0), at(0.1), at(0.11), at(0.5), at(0.99), at(2.0)].map(Option::unwrap),
        [1, 1, 1, 2, 5, 10, 10]
    );
    assert_eq!((snapshot.sum(), snapshot.max()), (Duration::from_micros(55), Duration::from_micros(10)));
}

#[test]
fn what_is_too_long_is_counted_as_the_longest() {
    let histogram = Histogram::new();
    histogram.record(Duration::from_nanos(999));
    histogram.record(Duration::from_secs(1000));
    let snapshot = histogram.snapshot();
    assert_eq!(snapshot.quantile(0.0), Some(Duration::ZERO));
    assert_eq!(snapshot.quantile(1.0), Some(Duration::from_secs(1000)));
    assert_eq!(snapshot.count_at_most(Duration::MAX), 2);
    assert_eq!(snapshot.count_at_most(Duration::from_secs(500)), 1);
}

proptest! {
    #[test]
    fn a_quantile_is_at_most_3_2_percent_off(
        mut durations in proptest::collection::vec((1u32..27).prop_flat_map(|bits| 1..(1u64 << bits).min(LONGEST_US)), 1..200),
        q in 0.0..=1.0f64,
    ) {
        let snapshot = of(&durations);
        durations.sort_unstable();
        let rank = ((q * durations.len() as f64).ceil() as usize).max(1);
        let exact = durations[rank - 1] as f64;
        let shown = snapshot.quantile(q).unwrap().as_micros() as f64;
        prop_assert!((shown - exact).abs() <= exact * 0.032, "{exact} shown as {shown}");
    }

    #[test]
    fn merging_is_recording_both(a: Vec<u32>, b: Vec<u32>) {
        let widen = |numbers: &[u32]| numbers.iter().map(|&us| u64::from(us)).collect::<Vec<_>>();
        let mut merged = of(&widen(&a));
        merged.merge(&of(&widen(&b)));
        prop_assert_eq!(merged, of(&widen(&[a, b].concat())));
    }

    #[test]
    fn counts_up_to_a_bound_never_include_what_is_above(durations: Vec<u32>, bound: u32) {
        let durations: Vec<u64> = durations.into_iter().map(u64::from).collect();
        let snapshot = of(&durations);
        let at_most = snapshot.count_at_most(Duration::from_micros(bound.into()));
        let exact = durations.iter().filter(|&&us| us <= u64::from(bound)).count() as u64;
        let near = durations.iter().filter(|&&us| us as f64 <= f64::from(bound) * 0.93).count() as u64;
        prop_assert!(at_most <= exact || bound >= 1 << 26);
        prop_assert!(at_most >= near || bound >= 1 << 26);
    }
}
