//! Every case of `testdata/topology/nutcracker` through our reader, and through nutcracker itself.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "reads cases, starts nutcracker")]
#![expect(clippy::unwrap_used, reason = "a test, with the functions that it is made of")]

use shoal_topology::nutcracker::Config;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Case {
    name: String,
    file: PathBuf,
    /// What `expect` says: "accept" or "refuse", and our message.
    ours: String,
    message: Option<String>,
    theirs: String,
    why: Option<String>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/topology/nutcracker");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders.iter().map(|folder| case(folder)).collect()
}

fn case(folder: &Path) -> Case {
    let expect = fs::read_to_string(folder.join("expect")).unwrap();
    let field = |name: &str| {
        let find = |line: &str| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned);
        expect.lines().find_map(find)
    };
    Case {
        name: folder.file_name().unwrap().to_string_lossy().into_owned(),
        file: folder.join("nutcracker.yml"),
        ours: field("shoal").unwrap(),
        message: field("message"),
        theirs: field("nutcracker").unwrap(),
        why: field("why"),
    }
}

#[test]
fn our_reader_says_what_is_expected() {
    let cases = cases();
    assert!(cases.len() > 190, "{} cases", cases.len());
    let mut faults = Vec::new();
    for case in cases {
        let (verdict, message) = match Config::from_bytes(&fs::read(&case.file).unwrap()) {
            Ok(config) => {
                config.to_topology(1).validate().unwrap();
                ("accept", None)
            }
            Err(error) => ("refuse", Some(error.to_string())),
        };
        if (verdict, &message) != (&case.ours, &case.message) {
            faults
                .push(format!("{}: {verdict} {message:?}, not {} {:?}", case.name, case.ours, case.message));
        }
        if (case.ours != case.theirs) != case.why.is_some() {
            faults.push(format!("{}: a difference and its reason go together", case.name));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Only release 0.5.0 is asked: a later one knows `reuseport`.
#[test]
fn nutcracker_says_what_is_expected() {
    let version = Command::new("nutcracker").arg("-V").stdin(Stdio::null()).output();
    match version {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("nutcracker-0.5.0") => {}
        Ok(output) => {
            println!("skipped: nutcracker is not 0.5.0: {}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        Err(error) => {
            println!("skipped: no nutcracker to ask: {error}");
            return;
        }
    }
    let mut faults = Vec::new();
    for case in cases() {
        let status = Command::new("nutcracker").arg("-t").arg("-c").arg(&case.file).output().unwrap().status;
        let verdict = if status.success() { "accept" } else { "refuse" };
        if verdict != case.theirs {
            faults.push(format!("{}: {verdict}, not {}", case.name, case.theirs));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
