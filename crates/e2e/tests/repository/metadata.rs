//! What `cargo metadata` says of this workspace and of everything in its Cargo.lock.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// The answer of `cargo metadata`, as far as the tests look at it.
#[derive(Deserialize)]
pub struct Metadata {
    /// Ours and everybody's, for every target.
    pub packages: Vec<Package>,
}

/// One package.
#[derive(Deserialize)]
pub struct Package {
    /// As in its manifest.
    pub name: String,
    /// As in its manifest.
    pub version: String,
    /// Where it came from; `None` for a path, so for ours.
    pub source: Option<String>,
    /// An SPDX expression.
    pub license: Option<String>,
    /// Its direct dependencies, of every kind.
    pub dependencies: Vec<Dependency>,
}

/// One line of a `[dependencies]`, `[dev-dependencies]` or `[build-dependencies]`.
#[derive(Deserialize)]
pub struct Dependency {
    /// The package it names.
    pub name: String,
    /// `None` for `[dependencies]`, else `dev` or `build`.
    pub kind: Option<String>,
    /// The versions it takes.
    pub req: String,
    /// Set for a dependency by path.
    pub path: Option<PathBuf>,
}

impl Metadata {
    /// Asks cargo. The lock file is taken as it is: one that needs a change fails the test.
    pub fn read() -> Metadata {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--locked"])
            .current_dir(root())
            .env_remove("RUSTC_BOOTSTRAP")
            .output()
            .expect("cargo can be started");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
    }

    /// The packages that live in this repository.
    pub fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.source.is_none())
    }
}

/// The folder of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the repository is where it was built")
}
