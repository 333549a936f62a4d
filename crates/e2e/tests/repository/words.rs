//! Holds the repository's files to its words: names that say something, files of a size that can be read, and
//! primary and replica instead of the older pair of words outside quotations of the wire.
//!
//! An exception stands in `tools/words-ledger` with its reason; one that is no longer needed fails too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::metadata::root;

/// More lines than this ask what second thing moved in.
const LINES: usize = 800;
/// File names, without their ending, that are waiting for their real name.
const EMPTY_NAMES: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "manager", "misc", "mod"];
/// The words that stand only where the wire, a configuration or a source is quoted.
const OLD_WORDS: [&str; 2] = ["master", "slave"];
/// Endings of what is written by hand. Files in `tools/` have none.
const SOURCES: [&str; 9] = ["rs", "py", "js", "mjs", "ts", "tsx", "md", "toml", "sh"];
/// Folders that hold what was not written here by hand: built, installed, or recorded from elsewhere.
const NOT_OURS: [&str; 7] =
    ["target", "node_modules", "testdata", "corpus", "corpus-local", "artifacts", "venv"];

#[test]
fn the_files_keep_to_the_words() {
    let root = root();
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 50, "the walk found only {} files", files.len());

    let mut found = BTreeSet::new();
    for file in &files {
        let path = file.strip_prefix(&root).expect("below the root").display().to_string();
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{path}: {error}"));
        for rule in faults(&path, &text) {
            found.insert((rule, path.clone()));
        }
    }

    let ledger = ledger(&fs::read_to_string(root.join("tools/words-ledger")).expect("tools/words-ledger"));
    let list = |pairs: Vec<&(String, String)>| -> String {
        pairs.into_iter().map(|(rule, path)| format!("\n  {rule}  {path}")).collect()
    };
    let new = list(found.difference(&ledger).collect());
    let over = list(ledger.difference(&found).collect());
    assert!(new.is_empty(), "against the words (rename, split, reword; or enter it with a reason):{new}");
    assert!(over.is_empty(), "in tools/words-ledger, and no longer needed there:{over}");
}

#[test]
fn a_fault_is_seen() {
    let long = "line\n".repeat(LINES + 1);
    assert_eq!(faults("crates/a/src/utils.rs", ""), ["name"]);
    assert_eq!(faults("crates/a/src/mod.rs", ""), ["name"]);
    assert_eq!(faults("crates/a/src/pool.rs", &long), ["long"]);
    assert_eq!(faults("crates/a/src/pool.rs", "// asks the Master\n"), ["word"]);
    assert_eq!(faults("crates/a/src/pool.rs", "let slaves = 3;\n"), ["word"]);
    let none: [&str; 0] = [];
    assert_eq!(faults("crates/a/src/pool.rs", "send(b\"SLAVEOF no one\"); // `role:master`\n"), none);
    assert_eq!(
        faults("crates/a/src/pool.rs", "f(\"a \\\n  role:master\"); g('\"'); h(r#\"slave \"x\" \"#)\n"),
        none
    );
    assert_eq!(faults("crates/a/src/pool.rs", "f('\"'); let slave = 1; g(\"\\\"\");\n"), ["word"]);
    assert_eq!(
        faults("docs/a.md", "```text\nrole:slave\n```\nsee <https://example.org/blob/master/a>\n"),
        none
    );
    assert_eq!(faults("docs/a.md", "```text\n```\nthe slave\n"), ["word"]);
}

/// The rules that a file breaks.
fn faults(path: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if EMPTY_NAMES.contains(&stem) {
        broken.push("name".to_owned());
    }
    if text.lines().count() > LINES {
        broken.push("long".to_owned());
    }
    let mut fenced = false;
    let markdown = path.ends_with(".md");
    let text = if path.ends_with(".rs") { &without_strings(text) } else { text };
    for line in text.lines() {
        if markdown && line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let own = unquoted(line).to_lowercase();
        if !fenced && OLD_WORDS.iter().any(|word| own.contains(word)) {
            broken.push("word".to_owned());
            break;
        }
    }
    broken
}

/// Rust without its string literals, which may go over several lines; comments stay.
fn without_strings(text: &str) -> String {
    let mut own = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        own.push_str(&rest[..at]);
        let here = &rest[at..];
        let taken = if here.starts_with("//") {
            let line = here.find('\n').unwrap_or(here.len());
            own.push_str(&here[..line]);
            line
        } else if let Some(inside) = here.strip_prefix('"') {
            let hashes = own.len() - own.trim_end_matches('#').len();
            let raw = own.trim_end_matches('#').ends_with('r');
            let end = if raw { format!("\"{}", "#".repeat(hashes)) } else { "\"".to_owned() };
            1 + end_of_string(inside, &end, raw)
        } else {
            // A character: a quote in it opens nothing. Any other apostrophe begins a lifetime.
            ["'\"'", "'\\\"'", "'\\''"].into_iter().find(|c| here.starts_with(c)).map_or(1, str::len)
        };
        rest = &here[taken..];
    }
    own + rest
}

/// Bytes up to and with the end of a string literal whose beginning has been read.
fn end_of_string(inside: &str, end: &str, raw: bool) -> usize {
    let mut at = 0;
    while at < inside.len() && !inside[at..].starts_with(end) {
        let escape = !raw && inside[at..].starts_with('\\');
        at += inside[at..].chars().take(if escape { 2 } else { 1 }).map(char::len_utf8).sum::<usize>();
    }
    inside.len().min(at + end.len())
}

/// A line without what stands in double quotes or backticks, and without addresses of pages.
fn unquoted(line: &str) -> String {
    let mut own = String::new();
    let mut quote = None;
    let mut escaped = false;
    for character in line.chars() {
        match quote {
            None if matches!(character, '"' | '`') => quote = Some(character),
            None => own.push(character),
            Some(_) if escaped => escaped = false,
            Some('"') if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
        }
    }
    own.split_whitespace().filter(|word| !word.contains("://")).collect::<Vec<_>>().join(" ")
}

/// Entries `rule path reason`, a line each; `#` begins a remark.
fn ledger(text: &str) -> BTreeSet<(String, String)> {
    let entries = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    entries
        .map(|line| {
            let mut fields = line.splitn(3, char::is_whitespace);
            match (fields.next(), fields.next(), fields.next().map(str::trim)) {
                (Some(rule), Some(path), Some(reason)) if !reason.is_empty() => {
                    (rule.to_owned(), path.to_owned())
                }
                _ => panic!("tools/words-ledger: not `rule path reason`: {line}"),
            }
        })
        .collect()
}

/// All files written by hand, in a fixed order.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable entry").path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if path.is_symlink() || name.starts_with('.') || NOT_OURS.contains(&name) {
            continue;
        } else if path.is_dir() {
            collect(&path, files);
        } else if ending.is_some_and(|ending| SOURCES.contains(&ending))
            || in_tools(&path)
            || name == "Makefile"
        {
            files.push(path);
        }
    }
}

fn in_tools(path: &Path) -> bool {
    path.extension().is_none() && path.parent().is_some_and(|folder| folder.ends_with("tools"))
}
