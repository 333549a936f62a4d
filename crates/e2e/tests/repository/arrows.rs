//! Holds the ```` ```arrows ```` block of ARCHITECTURE.md against the manifests, each way: a crate may depend on
//! the crates that its arrow names and on no other of ours, and every name in an arrow is a dependency.
//!
//! Only `[dependencies]` (and `[build-dependencies]`) count. A crate marked *development only* may stand in
//! anybody's `[dev-dependencies]` and may itself take anything there; other crates may test with what they
//! already stand on, directly or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::metadata::{Metadata, root};

/// The prefix of our packages' names, which the arrows leave out.
const PREFIX: &str = "shoal-";

#[derive(Debug, Default, PartialEq, Eq)]
struct Arrow {
    to: BTreeSet<String>,
    development_only: bool,
}

type Arrows = BTreeMap<String, Arrow>;

#[test]
fn the_manifests_say_what_architecture_md_says() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let drawn = parse(&page);
    let metadata = Metadata::read();
    let mut faults = Vec::new();

    let crates: BTreeSet<&str> = metadata.ours().map(|package| short(&package.name)).collect();
    for name in drawn.keys().filter(|name| !crates.contains(name.as_str())) {
        faults.push(format!("{name} has an arrow, and is no crate"));
    }
    for package in metadata.ours() {
        let name = short(&package.name);
        let Some(arrow) = drawn.get(name) else {
            faults.push(format!("{name} is a crate, and has no arrow"));
            continue;
        };
        let below = reachable(&drawn, name);
        let mut normal = BTreeSet::new();
        for dependency in package.dependencies.iter().filter(|d| crates.contains(short(&d.name))) {
            let on = short(&dependency.name);
            if dependency.kind.as_deref() == Some("dev") {
                let free =
                    arrow.development_only || drawn.get(on).is_some_and(|arrow| arrow.development_only);
                if !free && !below.contains(on) {
                    faults.push(format!("{name} tests with {on}, on which it does not stand"));
                }
                continue;
            }
            if drawn.get(on).is_some_and(|arrow| arrow.development_only) && !arrow.development_only {
                faults.push(format!("{name} stands on {on}, which is for development only"));
            }
            normal.insert(on.to_owned());
        }
        for on in normal.difference(&arrow.to) {
            faults.push(format!("{name} depends on {on}, and no arrow says so"));
        }
        for on in arrow.to.difference(&normal) {
            faults.push(format!(
                "an arrow leads from {name} to {on}, and the manifest names no such dependency"
            ));
        }
    }
    assert!(faults.is_empty(), "ARCHITECTURE.md and the manifests disagree:\n{}", faults.join("\n"));
}

#[test]
fn an_arrow_is_a_name_its_targets_and_a_remark() {
    let page = "```arrows\nresp  ->\nproxy -> resp topology\ne2e   ->    (development only: drives)\n```\nafter -> all\n";
    let arrows = parse(page);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(arrows.len(), 3);
    assert_eq!(arrows["proxy"], Arrow { to: names(&["resp", "topology"]), development_only: false });
    assert_eq!(arrows["e2e"], Arrow { to: names(&[]), development_only: true });
    assert_eq!(reachable(&parse("```arrows\na -> b\nb -> c\nc ->\n```"), "a"), names(&["b", "c"]));
}

/// Reads the arrows out of a Markdown page.
fn parse(page: &str) -> Arrows {
    let block =
        page.lines().skip_while(|line| *line != "```arrows").skip(1).take_while(|line| *line != "```");
    block
        .map(|line| {
            let (name, rest) = line.split_once("->").unwrap_or_else(|| panic!("not an arrow: {line}"));
            let (targets, remark) = rest.split_once('(').unwrap_or((rest, ""));
            let to = targets.split_whitespace().map(str::to_owned).collect();
            let development_only = remark.starts_with("development only");
            (name.trim().to_owned(), Arrow { to, development_only })
        })
        .collect()
}

/// The crates on which one stands, directly or not.
fn reachable(arrows: &Arrows, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = vec![from.to_owned()];
    while let Some(name) = next.pop() {
        for to in arrows.get(&name).into_iter().flat_map(|arrow| &arrow.to) {
            if found.insert(to.clone()) {
                next.push(to.clone());
            }
        }
    }
    found
}

fn short(package: &str) -> &str {
    package.strip_prefix(PREFIX).unwrap_or(package)
}
