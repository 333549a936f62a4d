//! The client libraries that `tools/setup-clients` installs, and the sessions of `clients/` that are written for them. A session
//! takes host and port, and its exit status is the verdict.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::startup::bounded;

/// A session of `clients/python`, in one of the environments there.
///
/// # Panics
/// When the environment is not installed as it is pinned now.
#[must_use]
#[track_caller]
pub fn python(environment: &str, script: &str) -> Command {
    let installed = repository(&format!("target/clients/{environment}"));
    let pins = repository(&format!("clients/python/{environment}/requirements.txt"));
    demand_installed(&pins, &installed.join("installed.txt"));
    session(&installed.join("bin/python"), &repository("clients/python").join(script))
}

/// A session of `clients/node`.
///
/// # Panics
/// When Node and the libraries are not installed as they are pinned now.
#[must_use]
#[track_caller]
pub fn node(script: &str) -> Command {
    let folder = repository("clients/node");
    let modules = folder.join("node_modules");
    demand_installed(&folder.join("package-lock.json"), &modules.join("installed-lock.json"));
    session(&modules.join("node/bin/node"), &folder.join(script))
}

fn session(program: &Path, script: &Path) -> Command {
    let mut command = bounded(program);
    command.arg(script);
    command
}

/// `tools/setup-clients` leaves a copy of the pins when it is done.
#[track_caller]
fn demand_installed(pins: &Path, copy: &Path) {
    let wanted = std::fs::read(pins).unwrap_or_else(|error| panic!("{}: {error}", pins.display()));
    let is_there = std::fs::read(copy).is_ok_and(|installed| installed == wanted);
    assert!(is_there, "the libraries of {} are not installed: run tools/setup-clients", pins.display());
}

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
