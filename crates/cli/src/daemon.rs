//! Running in the background: the program starts itself again, and leaves when the other one serves.

use std::convert::Infallible;
use std::io::Read as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Set in the environment of the process in the background.
const MARK: &str = "SHOAL_IN_BACKGROUND";

/// Whether this is the process that was asked to go to the background.
pub fn is_parent() -> bool {
    std::env::var_os(MARK).is_none()
}

/// Starts the process in the background and waits until it serves; ends this one with status 0 then.
///
/// # Errors
/// If it cannot be started, or ended before it served (it has said why).
pub fn start() -> Result<Infallible> {
    use std::os::unix::process::CommandExt as _;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut child = Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the process in the background")?;
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut said).context("lost the process in the background")?;
    }
    if said.is_empty() {
        bail!("the process in the background ended before it served");
    }
    std::process::exit(0);
}

/// Leaves the terminal, and tells the process that started this one.
pub fn ready() {
    use std::io::Write as _;
    // A process that leads a session already stays in it.
    let _ = rustix::process::setsid();
    let mut stdout = std::io::stdout();
    // Whoever started us may be gone; we serve all the same.
    let _ = stdout.write_all(b"serving\n").and_then(|()| stdout.flush());
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
