//! `shoal completion`.

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

use crate::platform::print;

/// Examples of calls, shown by `--help`.
const EXAMPLES: &str = "\
Examples:
  source <(shoal completion bash)                                   for this shell
  shoal completion zsh > ~/.zfunc/_shoal                            for all to come";

/// What `shoal completion` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completion of a command.
pub fn run(arguments: &Arguments, mut command: clap::Command) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "shoal", &mut text);
    print(&String::from_utf8_lossy(&text))
}
