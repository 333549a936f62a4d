//! A child process that ends with its owner, whatever happens.
//!
//! Dropping a [`Process`] kills it by its pid. Should the test process die without dropping (killed, or the
//! owner is a `static`), the kernel does it: children are started by `setpriv --pdeathsig KILL`, which
//! binds them to the *thread* that started them, so one thread that lives as long as the process starts all.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

/// A running program, killed on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its standard output and error going to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start<S: AsRef<std::ffi::OsStr>>(program: &Path, args: &[S], log: &Path) -> Self {
        let output = std::fs::File::options().create(true).append(true).open(log).expect("open a log file");
        let errors = output.try_clone().expect("open a log file");
        let mut command = bound_to_us(program);
        command.args(args).stdin(Stdio::null()).stdout(output).stderr(errors);
        match spawn(command) {
            Ok(child) => Self { child, log: log.to_path_buf() },
            Err(error) => panic!("cannot start {}: {error}", program.display()),
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a pid is positive");
        kill_process(pid, signal).expect("signal a child");
    }

    /// Kills it (`SIGKILL`) and waits until it is gone; nothing if it is gone already.
    pub fn kill(&mut self) {
        // Both fail only for a child that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it has written to its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The path of an installed program.
///
/// # Panics
/// When there is none, naming the Debian package that has it.
#[must_use]
pub fn installed(program: &str, package: &str) -> PathBuf {
    match find(program) {
        Some(path) => path,
        None => panic!("{program} is not installed: apt-get install {package}"),
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A command that the kernel kills when the starting thread ends, where `setpriv` (util-linux) is there.
fn bound_to_us(program: &Path) -> Command {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    match SETPRIV.get_or_init(|| find("setpriv")) {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

type Order = (Command, Sender<io::Result<Child>>);

/// Spawns in the thread that lives as long as this process.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                // The asker waits for it, so the answer cannot be refused.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, answers) = channel();
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    starter.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer)).map_err(|_| gone())?;
    answers.recv().map_err(|_| gone())?
}
