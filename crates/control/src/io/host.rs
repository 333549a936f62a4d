//! Reads what [`crate::host_check`] judges.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use crate::host_check::HostFacts;

/// What a program that has set the clock leaves: systemd-timesyncd's mark, chrony's and ntpd's drift files.
const CLOCK_SET_MARKS: [&str; 3] =
    ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.sock", "/var/lib/ntpsec/ntp.drift"];

/// What this machine is like.
#[must_use]
pub fn facts() -> HostFacts {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let number = |path: &str| read(path).and_then(|text| text.parse().ok());
    // Where no such program was ever there, nobody sets the clock; where there is no /run, nothing is known.
    let synchronized =
        Path::new("/run").is_dir().then(|| CLOCK_SET_MARKS.iter().any(|mark| Path::new(mark).exists()));
    HostFacts {
        overcommit_memory: number("/proc/sys/vm/overcommit_memory"),
        transparent_hugepage: read("/sys/kernel/mm/transparent_hugepage/enabled"),
        somaxconn: number("/proc/sys/net/core/somaxconn"),
        nofile_hard: Some(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)),
        clocksource: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        clock_synchronized: synchronized,
    }
}

#[cfg(test)]
mod tests {
    use crate::host_check::{Verdict, checks};

    #[test]
    fn this_machine_can_be_read() {
        let checks = checks(&super::facts());
        let known = checks.iter().filter(|check| check.verdict != Verdict::Unknown).count();
        assert!(known >= 3, "{checks:?}");
    }
}
