//! Which process is an instance's, whoever started it.
//!
//! The process holds the lock of its folder (`flock`) by its standard input: control takes the lock, and the child has it
//! from the fork on, also if control dies that instant; the kernel lets go of it when the last who has it ends. So
//!
//! - nobody holds the lock: no process of the instance runs, and none is about to;
//! - somebody does: it is who has the lock's file open as descriptor 0, with a child of a snapshot perhaps.
//!
//! A process's number alone says nothing, since numbers come again: signals go by a descriptor of the process (`pidfd`) that
//! was looked at after it was opened.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::record::ProcessId;

/// The lock, held.
#[derive(Debug)]
pub(super) struct Lock(pub(super) File);

impl Lock {
    /// Takes the lock; `None` if somebody has it.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Who has which lock as its standard input, of all processes that this user may look at.
#[derive(Debug, Default)]
pub(super) struct Holders(BTreeMap<PathBuf, Vec<ProcessId>>);

impl Holders {
    /// Looks at all processes.
    pub(super) fn scan() -> io::Result<Self> {
        let mut holders: BTreeMap<PathBuf, Vec<ProcessId>> = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // One that ends meanwhile, or is another user's, is none of ours.
            let Ok(input) = fs::read_link(format!("/proc/{pid}/fd/0")) else { continue };
            if input.file_name().is_some_and(|name| name == "lock")
                && let Some(ticks) = ticks(pid)
            {
                holders.entry(input).or_default().push(ProcessId { pid, ticks });
            }
        }
        Ok(Self(holders))
    }

    /// Those who hold this lock.
    pub(super) fn of(&self, lock: &Path) -> &[ProcessId] {
        self.0.get(lock).map_or(&[], Vec::as_slice)
    }

    /// The process itself among them: the one that no other of them started.
    pub(super) fn main_of(&self, lock: &Path) -> Option<ProcessId> {
        let all = self.of(lock);
        let child =
            |id: &&ProcessId| parent(id.pid).is_some_and(|above| all.iter().any(|other| other.pid == above));
        all.iter().find(|id| !child(id)).copied()
    }
}

/// Whether that very process lives and holds this lock.
pub(super) fn holds(id: ProcessId, lock: &Path) -> bool {
    fs::read_link(format!("/proc/{}/fd/0", id.pid)).is_ok_and(|input| input == lock)
        && ticks(id.pid) == Some(id.ticks)
}

/// Sends a signal to that very process; `false` if it is there no more, or not this lock's.
pub(super) fn signal(id: ProcessId, lock: &Path, signal: Signal) -> io::Result<bool> {
    let Some(descriptor) = open(id.pid)? else { return Ok(false) };
    // It was opened first: what is looked at now is what the signal reaches.
    if !holds(id, lock) {
        return Ok(false);
    }
    match pidfd_send_signal(&descriptor, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn open(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(descriptor) => Ok(Some(descriptor)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// When a process began, in the kernel's ticks since the machine did.
pub(super) fn ticks(pid: u32) -> Option<u64> {
    stat(pid, 19)
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid, 1).and_then(|number| u32::try_from(number).ok())
}

/// A column of /proc/PID/stat, counted from the one behind the name (proc(5): that is the third of all).
fn stat(pid: u32, column: usize) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.split(' ').nth(column)?.parse().ok()
}

/// The command line of a process, for people.
pub(super) fn shown(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).take(3);
    let text = words.map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ");
    format!("process {pid} ({})", if text.is_empty() { "its name cannot be read" } else { text.trim_end() })
}

/// Writes this process's number into a lock that it holds, for those who find it taken.
pub(super) fn sign(lock: &Lock) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    lock.0.set_len(0)?;
    lock.0.write_all_at(std::process::id().to_string().as_bytes(), 0)
}
