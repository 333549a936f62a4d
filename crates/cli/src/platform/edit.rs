//! `shoal edit`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use shoal_control::resource::{Kind, Resource, from_yaml, to_yaml};

use super::server::{Server, path, print, write_private};
use super::show;

/// What `shoal edit` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  shoal edit pool demo
  EDITOR='code --wait' shoal edit tenant feed

It is refused if somebody else changed the object meanwhile. What was written is kept in a file when it is refused.")]
pub struct Edit {
    #[command(flatten)]
    server: Server,
    /// The kind
    #[arg(value_parser = super::server::kind)]
    kind: Kind,
    /// The name
    name: String,
    /// The program that changes the file
    #[arg(long, value_name = "COMMAND", env = "EDITOR", default_value = "vi")]
    editor: String,
}

impl Edit {
    pub fn run(&self) -> Result<()> {
        let target = path(self.kind, &self.name);
        let mut object: Resource = serde_json::from_value(self.server.ask("GET", &target, "")?)?;
        // What is known of it is not theirs to change, and only in the way.
        object.clear_status();
        let file = std::env::temp_dir().join(format!("shoal-{}-{}.yaml", self.name, std::process::id()));
        write_private(&file, to_yaml(&object)?.as_bytes())?;
        let sent = self.change(&file);
        match sent {
            Ok(answer) => {
                fs::remove_file(&file).with_context(|| format!("{} cannot be removed", file.display()))?;
                print(&show::done(&format!("{}/{}", self.kind, self.name), &answer))
            }
            Err(error) => Err(error
                .context(format!("nothing was changed, and what was written is kept in {}", file.display()))),
        }
    }

    fn change(&self, file: &Path) -> Result<serde_json::Value> {
        // A shell, since people put options behind their editor's name.
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec $EDITOR \"$1\"", "shoal"]).arg(file).env("EDITOR", &self.editor);
        let status = shell.status().context("/bin/sh cannot be started")?;
        if !status.success() {
            bail!("{} ended with {status}", self.editor);
        }
        let text = fs::read_to_string(file).context("it cannot be read")?;
        let declared = from_yaml(&file.display().to_string(), &text)?;
        let [one] = declared.as_slice() else {
            bail!("it declares {} objects, and should be one", declared.len())
        };
        self.server.ask("PUT", &path(self.kind, &self.name), &serde_json::to_string(&one.resource)?)
    }
}
