//! Holds Cargo.lock against deny.toml: every licence allowed, no banned package, nothing from anywhere but the
//! registry and this repository.
//!
//! cargo-deny reads the same file where it is installed, and looks for security advisories as well (`make check`);
//! this test needs no network and no tool, so that it is never skipped. It reads of deny.toml what stands there
//! today, and refuses a setting that it would have to understand and does not.

use std::fs;

use serde::Deserialize;

use crate::metadata::{Metadata, root};

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    allow: Vec<String>,
    #[serde(rename = "private")]
    _private: toml::Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    deny: Vec<Ban>,
    wildcards: String,
    allow_wildcard_paths: bool,
    #[serde(rename = "multiple-versions")]
    _multiple_versions: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
    allow_registry: Vec<String>,
}

fn deny() -> Deny {
    let text = fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    toml::from_str(&text).expect("deny.toml in the shape that this test understands")
}

#[test]
fn every_licence_is_allowed() {
    let allowed = deny().licenses.allow;
    let mut faults = Vec::new();
    for package in Metadata::read().packages {
        let licence = package.license.as_deref().unwrap_or("none named");
        if !Expression::read(licence).is_some_and(|expression| expression.holds(&allowed)) {
            faults.push(format!("{} {}: {licence}", package.name, package.version));
        }
    }
    assert!(faults.is_empty(), "licences that deny.toml does not allow:\n{}", faults.join("\n"));
}

#[test]
fn nothing_banned_is_there() {
    let bans = deny().bans;
    assert!(bans.wildcards == "deny" && bans.allow_wildcard_paths, "this test knows no other settings");
    let mut faults = Vec::new();
    for package in Metadata::read().packages {
        for ban in bans.deny.iter().filter(|ban| ban.name == package.name) {
            faults.push(format!("{} {}: {}", package.name, package.version, ban.reason));
        }
        let ours = package.source.is_none();
        for dependency in package.dependencies.iter().filter(|d| ours && d.req == "*" && d.path.is_none()) {
            faults.push(format!("{} takes any version of {}", package.name, dependency.name));
        }
    }
    assert!(faults.is_empty(), "deny.toml bans:\n{}", faults.join("\n"));
}

#[test]
fn everything_comes_from_the_registry_or_from_here() {
    let sources = deny().sources;
    assert!(
        sources.unknown_registry == "deny" && sources.unknown_git == "deny",
        "this test knows no other settings"
    );
    let allowed: Vec<String> = sources.allow_registry.iter().map(|url| format!("registry+{url}")).collect();
    let mut faults = Vec::new();
    for package in Metadata::read().packages {
        match &package.source {
            Some(source) if !allowed.contains(source) => faults.push(format!("{}: {source}", package.name)),
            _ => {}
        }
        let here = root();
        for path in package.dependencies.iter().filter_map(|dependency| dependency.path.as_deref()) {
            if !path.starts_with(&here) {
                faults.push(format!("{}: {}, outside the repository", package.name, path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "sources that deny.toml does not allow:\n{}", faults.join("\n"));
}

#[test]
fn a_licence_expression_is_read_as_spdx_means_it() {
    let allowed = ["MIT".to_owned(), "Zlib".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
    for (text, holds) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND Zlib", true),
        ("MIT AND GPL-3.0 OR Zlib", true),
        ("Apache-2.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
    ] {
        let expression = Expression::read(text).unwrap_or_else(|| panic!("{text} is an expression"));
        assert_eq!(expression.holds(&allowed), holds, "{text}");
    }
    for text in ["", "MIT OR", "(MIT", "MIT Zlib", "MIT)"] {
        assert!(Expression::read(text).is_none(), "{text} is no expression");
    }
}

/// An SPDX licence expression: `AND` binds closer than `OR`. Cargo's older `A/B` means `A OR B`.
enum Expression {
    Licence(String),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

impl Expression {
    /// Reads a whole expression; `None` if it isn't one.
    fn read(text: &str) -> Option<Expression> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut rest = words.as_slice();
        let expression = Self::any(&mut rest)?;
        rest.is_empty().then_some(expression)
    }

    fn any(rest: &mut &[&str]) -> Option<Expression> {
        let mut parts = vec![Self::all(rest)?];
        while take(rest, "OR") {
            parts.push(Self::all(rest)?);
        }
        Some(Expression::Any(parts))
    }

    fn all(rest: &mut &[&str]) -> Option<Expression> {
        let mut parts = vec![Self::one(rest)?];
        while take(rest, "AND") {
            parts.push(Self::one(rest)?);
        }
        Some(Expression::All(parts))
    }

    fn one(rest: &mut &[&str]) -> Option<Expression> {
        if take(rest, "(") {
            let inner = Self::any(rest)?;
            return take(rest, ")").then_some(inner);
        }
        let (name, after) =
            rest.split_first().filter(|(name, _)| !["OR", "AND", "WITH", ")"].contains(*name))?;
        *rest = after;
        if !take(rest, "WITH") {
            return Some(Expression::Licence((*name).to_owned()));
        }
        let (exception, after) = rest.split_first()?;
        *rest = after;
        Some(Expression::Licence(format!("{name} WITH {exception}")))
    }

    fn holds(&self, allowed: &[String]) -> bool {
        match self {
            Expression::Licence(name) => allowed.contains(name),
            Expression::All(parts) => parts.iter().all(|part| part.holds(allowed)),
            Expression::Any(parts) => parts.iter().any(|part| part.holds(allowed)),
        }
    }
}

/// Takes the next word if it is this one.
fn take(rest: &mut &[&str], word: &str) -> bool {
    let Some((_, after)) = rest.split_first().filter(|(next, _)| **next == word) else { return false };
    *rest = after;
    true
}
