//! One child process: started in a directory of its own with a log there, and ended again.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Lines of a log that are shown when its process ended unasked.
const LAST_LINES: usize = 8;

/// How much of a log is looked at for them.
const LAST_BYTES: u64 = 4096;

/// A child of ours.
#[derive(Debug)]
pub struct Instance {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Instance {
    /// Starts it in `dir`, with its output in a new `log` there.
    pub fn start(name: &str, dir: &Path, mut command: Command) -> Result<Instance> {
        let log = dir.join("log");
        let context = || format!("cannot write {}", log.display());
        let output = File::create(&log).with_context(context)?;
        let errors = output.try_clone().with_context(context)?;
        command.current_dir(dir).stdin(Stdio::null()).stdout(output).stderr(errors);
        // Ctrl-C goes to the terminal's whole process group, and they shall end in our order.
        command.process_group(0);
        match command.spawn() {
            Ok(child) => Ok(Instance { name: name.to_owned(), child, log }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let program = command.get_program().display();
                bail!(
                    "{program} is not installed: `make up` installs it, or: apt-get install redis-server redis-tools"
                )
            }
            Err(error) => Err(error)
                .with_context(|| format!("cannot start {} for {name}", command.get_program().display())),
        }
    }

    /// What it is called here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // It fails only for what is no child of ours.
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end.
    pub fn terminate(&mut self) {
        // Until it is waited for, the number is its own.
        if self.ended().is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Ends it, and waits until it is gone.
    pub fn kill(&mut self) {
        // Both fail only for what has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended and what its log says last.
    pub fn last_words(&self, status: ExitStatus) -> String {
        let log = self.log.display();
        match last_lines(&self.log) {
            lines if lines.is_empty() => format!("{status}; {log} is empty"),
            lines => format!("{status}; {log} ends with\n{lines}"),
        }
    }
}

fn last_lines(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(LAST_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    // Without its log we still know how it ended.
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = &lines[lines.len().saturating_sub(LAST_LINES)..];
    shown.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_tells_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "seq 1 2000; echo bad news >&2; exit 7"]);
        let mut instance = Instance::start("speaker", dir.path(), command).unwrap();
        let status = loop {
            if let Some(status) = instance.ended() {
                break status;
            }
            std::thread::yield_now();
        };
        let words = instance.last_words(status);
        assert!(
            words.starts_with("exit status: 7; ") && words.ends_with("    2000\n    bad news"),
            "{words}"
        );
        assert_eq!(words.lines().count(), 1 + LAST_LINES);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Instance::start("x", dir.path(), Command::new("no-such-redis")).unwrap_err().to_string();
        assert!(error.starts_with("no-such-redis is not installed"), "{error}");
    }

    #[test]
    fn it_ends_when_asked_and_when_killed() {
        let dir = tempfile::tempdir().unwrap();
        let sleeper = || {
            let mut command = Command::new("sleep");
            command.arg("1000");
            Instance::start("sleeper", dir.path(), command).unwrap()
        };
        let mut asked = sleeper();
        asked.terminate();
        while asked.ended().is_none() {
            std::thread::yield_now();
        }
        let mut killed = sleeper();
        assert!(killed.ended().is_none());
        killed.kill();
        assert!(killed.ended().is_some());
    }
}
