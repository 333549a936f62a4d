//! Which programs there are, and how they are started.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::redis_version::RedisVersion;
use crate::runtime::Refused;

/// Mode 0600 for all that the process makes (Redis would write its configuration again with 0644), and a session of its
/// own; then the program takes the shell's place and its process number.
const LAUNCH: &str = "umask 077; exec setsid -- \"$@\"";

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Every `redis-server` that may be started, the preferred one first; a name without `/` is looked for in `PATH`. It is
    /// the Sentinel as well.
    pub redis_servers: Vec<PathBuf>,
    /// `redis-cli`, which fetches backups; `redis-check-rdb` is looked for beside it.
    pub redis_cli: PathBuf,
    /// This program, for the proxies.
    pub shoal: PathBuf,
}

impl Programs {
    /// The first Redis that answers the version asked for.
    pub(super) fn redis(&self, asked: Option<&str>) -> Result<(PathBuf, RedisVersion), Refused> {
        let mut others = Vec::new();
        for path in &self.redis_servers {
            match version_of(path) {
                Ok(version) if asked.is_none_or(|asked| version.answers(asked)) => {
                    return Ok((path.clone(), version));
                }
                Ok(version) => others.push(format!("{} is {version}", path.display())),
                Err(why) => others.push(format!("{}: {why}", path.display())),
            }
        }
        let wanted = asked.map_or(String::new(), |asked| format!(" {asked}"));
        let looked = if others.is_empty() { "none was named".to_owned() } else { others.join("; ") };
        let advice = format!(
            "{looked}. Install it (Debian: `apt install redis-server`; Shoal uses none of its services), or say where it is \
             by --redis-server PATH"
        );
        Err(Refused::NoProgram { program: format!("redis-server{wanted}"), advice })
    }
}

fn version_of(path: &Path) -> Result<RedisVersion, String> {
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).output().map_err(|error| {
        match error.kind() {
            io::ErrorKind::NotFound => "not found".to_owned(),
            _ => error.to_string(),
        }
    })?;
    let printed = String::from_utf8_lossy(&output.stdout);
    RedisVersion::of_program(&printed).ok_or_else(|| format!("it prints no version but {:?}", printed.trim()))
}

/// Starts a program: `lock` is its standard input, `log` what it writes to, `dir` its folder. It knows nothing of this
/// process's surroundings but `PATH`, and its own name.
pub(super) fn launch(
    name: &str,
    command: &[OsString],
    dir: &Path,
    lock: File,
    log: File,
) -> io::Result<Child> {
    let errors = log.try_clone()?;
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(LAUNCH).arg("shoal").args(command).current_dir(dir).env_clear();
    for kept in ["PATH", "TZ"] {
        if let Some(value) = std::env::var_os(kept) {
            shell.env(kept, value);
        }
    }
    shell.env("LANG", "C.UTF-8").env("SHOAL_INSTANCE", name);
    shell.stdin(Stdio::from(lock)).stdout(Stdio::from(log)).stderr(Stdio::from(errors)).spawn()
}
