//! The files that people copy and later versions read.

#![expect(
    clippy::disallowed_methods,
    reason = "reads the repository's files, and a switch from the surroundings"
)]
#![expect(clippy::unwrap_used, reason = "a test, with the functions that it is made of")]

use shoal_control::admission::{Request, Stored, Verb, admit};
use shoal_control::resource::{Declared, Kind, Resource, from_yaml, schema, to_yaml};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &str) -> Vec<Declared> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    from_yaml(file, &text).unwrap_or_else(|error| panic!("{error}"))
}

/// In the order in which one would apply them; no warnings, and what they call a default is one.
#[test]
fn the_examples_are_admitted_and_say_the_truth_about_defaults() {
    let mut stored: Vec<Arc<Resource>> = Vec::new();
    let files = ["nodes", "tenant", "solo", "demo", "hot"].map(|name| format!("examples/{name}.yaml"));
    let mut found: Vec<String> = fs::read_dir(root().join("examples"))
        .unwrap()
        .map(|file| format!("examples/{}", file.unwrap().file_name().to_string_lossy()))
        .collect();
    found.sort();
    let mut named = files.to_vec();
    named.sort();
    assert_eq!(found, named, "every example is read here");

    for file in &files {
        for declared in read(file) {
            let admit = |object: &Resource| {
                let stored: Stored = stored.iter().cloned().collect();
                admit(&stored, Request::apply(object.clone()))
                    .unwrap_or_else(|error| panic!("{file}: {error}"))
            };
            let admitted = admit(&declared.resource);
            assert_eq!((admitted.verb, &admitted.warnings[..]), (Verb::Create, &[][..]), "{file}");
            if matches!(declared.resource.kind(), Kind::Pool | Kind::Standalone) {
                let least = without_defaults(file);
                assert!(least != declared.resource, "{file}: it says nothing of defaults");
                assert!(admit(&least).object.has_spec_of(&admitted.object), "{file}: a default is another");
            }
            stored.push(Arc::new(admitted.object));
        }
    }
}

/// The document up to the line that says that defaults follow.
fn without_defaults(file: &str) -> Resource {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let (least, _) = text.split_once("  # What follows is the default").expect(file);
    from_yaml(file, least).unwrap().remove(0).resource
}

#[test]
fn every_later_version_reads_what_the_first_wrote() {
    let declared = read("testdata/formats/resources-v1alpha1/all.yaml");
    let kinds: Vec<Kind> = declared.iter().map(|declared| declared.resource.kind()).collect();
    assert_eq!(kinds, Kind::ALL);
    for Declared { resource, .. } in declared {
        let (yaml, json) = (to_yaml(&resource).unwrap(), serde_json::to_string(&resource).unwrap());
        assert_eq!(from_yaml("again", &yaml).unwrap()[0].resource, resource, "{yaml}");
        assert_eq!(serde_json::from_str::<Resource>(&json).unwrap(), resource, "{json}");
    }
}

/// The schema that editors use is the one that the types tell. After a change that is meant: `SHOAL_BLESS=1`, and look
/// at the difference.
#[test]
fn the_schema_in_the_repository_is_that_of_the_types() {
    let path = root().join("docs/resources.schema.json");
    let mut told = serde_json::to_string_pretty(&schema()).unwrap();
    told.push('\n');
    if std::env::var_os("SHOAL_BLESS").is_some() {
        fs::write(&path, &told).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == told,
        "{} is not what the types say: SHOAL_BLESS=1 cargo test writes it again",
        path.display()
    );
}
