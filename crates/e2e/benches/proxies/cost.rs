//! What a process has cost so far, by the kernel's books.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use shoal_e2e::wait;

use crate::Fallible;

/// Longest wait for processes to come to rest after a load.
const REST: Duration = Duration::from_secs(2);
/// Between two looks at a process that should rest.
const LOOK: Duration = Duration::from_millis(20);
/// CPU per look that counts as rest: timers of Redis run ten times a second and cost less.
const IDLE: Duration = Duration::from_micros(500);

/// CPU time of all threads of these processes, user and system, to the nanosecond
/// (first field of `/proc/PID/task/TID/schedstat`). Threads that have ended are not in it.
pub fn cpu(pids: &[u32]) -> Fallible<Duration> {
    let mut nanos = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = match fs::read_to_string(task?.path().join("schedstat")) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue, // it has just ended
                text => text?,
            };
            let first = text.split_whitespace().next().ok_or("an empty schedstat")?;
            nanos += first.parse::<u64>()?;
        }
    }
    Ok(Duration::from_nanos(nanos))
}

/// Waits until these processes do nothing, since connections are closed after the load has ended.
pub fn rest(pids: &[u32]) -> Fallible<()> {
    let end = Instant::now() + REST;
    let mut before = cpu(pids)?;
    while Instant::now() < end {
        std::thread::sleep(LOOK);
        let now = cpu(pids)?;
        if now.saturating_sub(before) < IDLE {
            break;
        }
        before = now;
    }
    Ok(())
}

/// The most memory that a process ever held, in KiB (`VmHWM`).
pub fn memory_peak_kib(pid: u32) -> Fallible<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The command before a load's own that counts system calls of process `pid` into `file`.
pub fn syscall_counter(pid: u32, file: &Path) -> Vec<String> {
    let file = file.display().to_string();
    ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", &pid.to_string(), "-o", &file, "--"]
        .map(str::to_owned)
        .to_vec()
}

/// System calls that `perf` counted into `file`.
pub fn syscalls(file: &Path) -> Fallible<f64> {
    let counted = wait::at_most(REST, || {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.contains("raw_syscalls:sys_enter"))?;
        line.split(',').next()?.parse().ok()
    });
    counted.ok_or_else(|| "perf counts no system calls here".into())
}
