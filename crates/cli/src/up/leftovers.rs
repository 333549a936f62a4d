//! Processes that an earlier `shoal up` left in its directory: it was killed, and could not end them.
//!
//! They are known by where they run, not by a number in a file: each of ours runs in a directory of its own, which the
//! kernel tells by device and inode. So there is no moment between a start and its record, and a number that another
//! process has by now is never taken for ours. A shell or an editor that is in such a directory is another program.

use std::fs::{self, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::layout::Layout;

/// How long they may take to end when asked, and then when killed.
const END: Duration = Duration::from_secs(10);

/// Between two looks at them.
const LOOK: Duration = Duration::from_millis(20);

/// Ends them, and says how many there were. The caller holds the directory's lock, so that none of them is in use.
///
/// # Errors
/// If one does not end, naming it.
pub fn end(layout: &Layout) -> Result<usize> {
    let homes = Homes::of(layout);
    let mut ended = 0;
    // The proxy first, as always; and in each round what the last one did not see yet.
    for (home, signal) in [
        (&homes.proxy, Signal::TERM),
        (&homes.proxy, Signal::KILL),
        (&homes.servers, Signal::TERM),
        (&homes.servers, Signal::KILL),
    ] {
        let found = find(home);
        if signal == Signal::TERM {
            ended += found.len();
        }
        for leftover in &found {
            // It may have ended by itself meanwhile.
            let _ = pidfd_send_signal(&leftover.handle, signal);
        }
        let deadline = Instant::now() + END;
        while !find(home).is_empty() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
    }
    let mut left = find(&homes.proxy);
    left.extend(find(&homes.servers));
    if let Some(leftover) = left.first() {
        bail!("process {} of an earlier `shoal up` does not end: end it by hand", leftover.pid);
    }
    Ok(ended)
}

/// Directories that processes of ours run in, and what runs there.
struct Homes {
    proxy: Home,
    servers: Home,
}

struct Home {
    /// What the command line begins with (a program's name) or has in it.
    program: Program,
    dirs: Vec<Identity>,
}

#[derive(Clone, Copy)]
enum Program {
    RedisServer,
    Proxy,
}

/// Device and inode.
type Identity = (u64, u64);

struct Leftover {
    pid: i32,
    /// Stays this process's own, even when its number goes to another one.
    handle: OwnedFd,
}

impl Homes {
    fn of(layout: &Layout) -> Homes {
        // A directory that is not there yet has nobody in it.
        let identity_of = |dir: &Path| fs::metadata(dir).ok().as_ref().map(identity);
        let servers = layout.servers().filter_map(|(_, server)| identity_of(&server.dir)).collect();
        Homes {
            proxy: Home {
                program: Program::Proxy,
                dirs: identity_of(&layout.proxy_dir()).into_iter().collect(),
            },
            servers: Home { program: Program::RedisServer, dirs: servers },
        }
    }
}

impl Program {
    fn is_run_by(self, arguments: &[u8]) -> bool {
        let mut words = arguments.split(|byte| *byte == 0);
        let name = words.next().unwrap_or_default().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        match self {
            // Redis writes its address behind its name.
            Program::RedisServer => name.starts_with(b"redis-server"),
            Program::Proxy => words.next() == Some(b"proxy") && words.next() == Some(b"--config"),
        }
    }
}

/// Those that run now. A process that ended and was not waited for runs nowhere.
fn find(home: &Home) -> Vec<Leftover> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter_map(|pid| look_at(pid, home)).collect()
}

fn look_at(pid: i32, home: &Home) -> Option<Leftover> {
    let runs_here = || {
        let dir = fs::metadata(format!("/proc/{pid}/cwd")).ok()?;
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        (home.dirs.contains(&identity(&dir)) && home.program.is_run_by(&arguments)).then_some(())
    };
    runs_here()?;
    let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    // The handle is that of the process we looked at only if what we look at is still so.
    runs_here()?;
    Some(Leftover { pid, handle })
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_our_programs_in_our_directories_are_ended() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), 22121);
        assert_eq!(end(&layout).unwrap(), 0);
        let ours = &layout.pools[0].servers[0].dir;
        fs::create_dir(ours).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        // A program that is called as Redis is, and waits.
        let redis = dir.path().join("redis-server");
        std::os::unix::fs::symlink("/bin/sleep", &redis).unwrap();
        let start =
            |program: &Path, dir: &Path| Command::new(program).arg("1000").current_dir(dir).spawn().unwrap();
        let mut leftover = start(&redis, ours);
        let mut others = [start(Path::new("sleep"), ours), start(&redis, &elsewhere)];
        let waiter = std::thread::spawn(move || leftover.wait().unwrap());
        let ended = end(&layout);
        let untouched = others.each_mut().map(|other| other.try_wait().unwrap().is_none());
        for mut other in others {
            other.kill().unwrap();
            other.wait().unwrap();
        }
        assert_eq!(ended.unwrap(), 1);
        assert_eq!(untouched, [true, true]);
        assert!(!waiter.join().unwrap().success());
    }

    #[test]
    fn the_proxy_is_known_by_its_arguments() {
        for (arguments, ours) in [
            (&b"/usr/bin/shoal\0proxy\0--config\0/d/proxy/proxy.yml\0"[..], true),
            (b"vim\0proxy.yml\0", false),
            (b"shoal\0up\0", false),
            (b"", false),
        ] {
            assert_eq!(Program::Proxy.is_run_by(arguments), ours);
        }
    }
}
