//! Replays the committed fuzz corpora, on stable and in a moment: what once broke a fuzz target does not again.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

#[path = "../../../../fuzz/src/lib.rs"]
mod entries;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The names in a folder, without their endings.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    paths.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

#[test]
fn every_committed_input_passes() {
    let mut broken = Vec::new();
    for (target, entry) in entries::ENTRIES {
        let folder = fuzz().join("corpus").join(target);
        let mut inputs: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|input| input.expect("a readable entry").path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{target} has no inputs");
        for input in inputs {
            let bytes = fs::read(&input).expect("a readable input");
            if panic::catch_unwind(AssertUnwindSafe(|| entry(&bytes))).is_err() {
                broken.push(format!("{target}: {}", input.display()));
            }
        }
    }
    assert!(broken.is_empty(), "inputs that break their target:\n{}", broken.join("\n"));
}

#[test]
fn every_target_has_an_entry_and_a_corpus() {
    let mut targets: BTreeSet<String> = entries::ENTRIES.iter().map(|(name, _)| (*name).to_owned()).collect();
    targets.insert("canary".to_owned());
    assert_eq!(names(&fuzz().join("fuzz_targets")), targets);
    assert_eq!(names(&fuzz().join("corpus")), targets);
}

#[test]
fn the_canary_dies_of_gas_and_of_nothing_else() {
    for input in names(&fuzz().join("corpus/canary")) {
        entries::canary(&fs::read(fuzz().join("corpus/canary").join(input)).expect("a readable input"));
    }
    assert!(panic::catch_unwind(|| entries::canary(b"gas!")).is_err(), "the alarm is broken");
}
