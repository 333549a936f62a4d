//! Declarations in files.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use shoal_control::resource::{Resource, from_yaml};

/// Which files.
#[derive(Debug, Args)]
pub struct Files {
    /// A file of declarations in YAML or JSON, a folder of such, or - for standard input; several times
    #[arg(short = 'f', long = "file", value_name = "FILE", num_args = 1..)]
    pub files: Vec<PathBuf>,
}

impl Files {
    /// All that they declare, before anything is asked: one mistake, and nothing is done. What others are about comes
    /// first: nodes, tenants, then standalones and pools.
    pub fn read(&self) -> Result<Vec<Resource>> {
        let mut declared = Vec::new();
        for path in &self.files {
            for (name, text) in texts(path)? {
                declared.extend(from_yaml(&name, &text)?.into_iter().map(|one| one.resource));
            }
        }
        if declared.is_empty() {
            bail!("nothing is declared there");
        }
        declared.sort_by_key(Resource::kind);
        Ok(declared)
    }
}

fn texts(path: &Path) -> Result<Vec<(String, String)>> {
    let shown = path.display().to_string();
    if shown == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    let cannot = || format!("{shown} cannot be read");
    if !path.is_dir() {
        return Ok(vec![(shown.clone(), fs::read_to_string(path).with_context(cannot)?)]);
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).with_context(cannot)? {
        paths.push(entry.with_context(cannot)?.path());
    }
    paths.retain(|path| {
        path.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known))
    });
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok((path.display().to_string(), text))
    };
    paths.into_iter().map(read).collect()
}
