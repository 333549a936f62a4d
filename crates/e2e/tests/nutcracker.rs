//! Walks the cases of `testdata/nutcracker` through the real nutcracker, which shows that they are true, and
//! through ours, which shows that it can take nutcracker's place.

use std::collections::BTreeSet;

use shoal_e2e::cases::{Case, Expectation, Side, TestConf, Walk, command_rows, differences, load};

const FILES: [&str; 5] =
    ["config/wire.yaml", "failures.yaml", "protocol.yaml", "replies.yaml", "splitting.yaml"];

#[test]
fn the_cases_are_true_of_the_real_nutcracker() {
    println!("slow: a hundred cases, some of which wait for real timeouts");
    walk(Side::Nutcracker, |_| true);
}

#[test]
fn ours_behaves_as_the_cases_say() {
    println!("slow: a hundred cases, some of which wait for real timeouts");
    walk(Side::Shoal, |_| true);
}

#[test]
fn a_switch_restores_nutcrackers_way() {
    for side in Side::switched() {
        let restored = side.clone();
        walk(side, |case| shown_by(case).iter().any(|difference| restored.is_as_twemproxy(difference)));
    }
}

#[test]
fn each_difference_is_one_and_is_shown() {
    let rows: BTreeSet<String> = differences().into_iter().map(|row| row.id).collect();
    let mut shown = BTreeSet::new();
    for (file, case) in all_cases() {
        shown.extend(shown_by(&case));
        for step in &case.steps {
            let Some(ours) = &step.ours else { continue };
            let (theirs, ours) = (step.expectation().unwrap(), ours.expectation().unwrap());
            assert!(theirs.excludes(&ours), "{file}: {}: no difference: {theirs:?}, {ours:?}", case.case);
            assert_ne!(theirs, Expectation::Nothing, "{file}: {}: nothing to compare", case.case);
        }
    }
    shown.extend(command_rows().into_iter().filter_map(|row| row.difference));
    for conf in load::<Vec<TestConf>>("config/test-conf.yaml") {
        let Some(ours) = conf.ours else { continue };
        assert_ne!(conf.taken, ours.taken, "test-conf.yaml: {}: no difference", conf.case);
        shown.insert(ours.difference);
    }
    for row in differences() {
        let Some(test) = row.test else { continue };
        assert!(test.shows(&row.id), "{test:?} is not there, or does not name {}", row.id);
        shown.insert(row.id);
    }
    assert_eq!(shown, rows, "left: shown by cases and tests, right: rows of differences.yaml");
}

fn walk(side: Side, wanted: impl Fn(&Case) -> bool) {
    let only = std::env::var("SHOAL_CASE").unwrap_or_default();
    let mut walk = Walk::new(side);
    for (file, case) in all_cases() {
        if wanted(&case) && case.case.contains(&only) {
            walk.case(file, &case);
        }
    }
    walk.end();
}

fn all_cases() -> impl Iterator<Item = (&'static str, Case)> {
    FILES.into_iter().flat_map(|file| load::<Vec<Case>>(file).into_iter().map(move |case| (file, case)))
}

fn shown_by(case: &Case) -> BTreeSet<String> {
    case.steps.iter().filter_map(|step| Some(step.ours.as_ref()?.difference.clone())).collect()
}
