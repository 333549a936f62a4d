//! `shoal backup store`, `shoal restore store`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use shoal_control::io::sqlite;

use super::server::{Server, print, said, write_private};
use crate::http::Target;

/// What `shoal backup` takes.
#[derive(Debug, Args)]
pub struct Backup {
    #[command(subcommand)]
    what: WhatToCopy,
}

#[derive(Debug, Subcommand)]
enum WhatToCopy {
    /// What control keeps: all objects, as they are at one instant. Passwords and tokens are not in it
    #[command(after_help = "Example:\n  shoal backup store --to store-of-today.db")]
    Store {
        #[command(flatten)]
        server: Server,
        /// A new file, of mode 0600
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

/// What `shoal restore` takes.
#[derive(Debug, Args)]
pub struct Restore {
    #[command(subcommand)]
    what: WhatToRestore,
}

#[derive(Debug, Subcommand)]
enum WhatToRestore {
    /// What control keeps, from a copy: with control ended, and the file store.db moved away
    #[command(
        after_help = "Example:\n  mv .shoal/up/store.db damaged.db; rm -f .shoal/up/store.db-wal\n  shoal restore store --from store-of-today.db --dir .shoal/up"
    )]
    Store {
        /// The copy
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// Control's state directory
        #[arg(long, value_name = "DIRECTORY", default_value = ".shoal/up", env = "SHOAL_DIR")]
        dir: PathBuf,
    },
}

impl Backup {
    pub fn run(&self) -> Result<()> {
        let WhatToCopy::Store { server, to } = &self.what;
        let (status, bytes) = server.bytes("GET", &Target::new("/v1/store/backup"), "")?;
        if status != 200 {
            bail!("{}", said(status, &serde_json::from_slice(&bytes).unwrap_or_default()));
        }
        write_private(to, &bytes)?;
        print(&format!("the store is in {} ({} bytes)\n", to.display(), bytes.len()))
    }
}

impl Restore {
    pub fn run(&self) -> Result<()> {
        let WhatToRestore::Store { from, dir } = &self.what;
        let restored = sqlite::restore(from, &dir.join("store.db"))?;
        let dir = dir.display();
        print(&format!("{restored} objects restored; start control: shoal control --dir {dir}\n"))
    }
}
