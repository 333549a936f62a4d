//! What Redis wants of a machine, one line each: how it is, and what to do.

use std::fmt;

/// Open files that Redis asks for with its own default of 10,000 clients, its own among them.
const NOFILE_WANTED: u64 = 10_032;

/// Connections that may wait to be accepted: Redis's own default for `tcp-backlog`.
const SOMAXCONN_WANTED: u64 = 511;

/// Clocks that are read in nanoseconds; others cost a call of the kernel for each command (Redis 7's `--check-system`).
const CLOCKS_FAST: &[&str] = &["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"];

/// What was read of the machine; `None` where it could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// `vm.overcommit_memory`.
    pub overcommit_memory: Option<u64>,
    /// `/sys/kernel/mm/transparent_hugepage/enabled`, as it stands there: `always [madvise] never`.
    pub transparent_hugepage: Option<String>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// The most files that a process may open, if it raises its own limit as Redis does; `u64::MAX` for no limit.
    pub nofile_hard: Option<u64>,
    /// The kernel's clock source.
    pub clocksource: Option<String>,
    /// Whether a program was found that sets the clock by the network's time.
    pub clock_synchronized: Option<bool>,
}

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As Redis wants it.
    Good,
    /// It works, until it does not.
    Warning,
    /// It could not be read.
    Unknown,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCheck {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What it is, why it matters, and what to do: one line.
    pub line: String,
}

impl fmt::Display for HostCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Good => "ok",
            Verdict::Warning => "warning",
            Verdict::Unknown => "unknown",
        };
        write!(f, "{verdict}: {}: {}", self.name, self.line)
    }
}

/// All checks, in an order that does not change.
#[must_use]
pub fn checks(facts: &HostFacts) -> Vec<HostCheck> {
    vec![
        overcommit(facts),
        hugepages(facts),
        backlog(facts),
        files(facts),
        clock_source(facts),
        clock_set(facts),
    ]
}

fn overcommit(facts: &HostFacts) -> HostCheck {
    let name = "overcommit_memory";
    match facts.overcommit_memory {
        Some(1) => good(name, "1: a fork for a snapshot is not refused"),
        Some(value) => warning(
            name,
            format!(
                "{value}: a snapshot's or full copy's fork may be refused when memory is half used; \
                 `sysctl -w vm.overcommit_memory=1`, and the same line in /etc/sysctl.d/"
            ),
        ),
        None => unknown(name, "/proc/sys/vm/overcommit_memory"),
    }
}

fn hugepages(facts: &HostFacts) -> HostCheck {
    let name = "transparent_hugepage";
    match facts.transparent_hugepage.as_deref() {
        Some(text) if text.contains("[always]") => warning(
            name,
            "always: writes during a snapshot copy 2 MiB each, in time and memory (Redis 6 and later decline it for \
             themselves); `echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`, at each boot"
                .to_owned(),
        ),
        Some(_) => good(name, "not always: a write during a snapshot copies 4 KiB"),
        None => unknown(name, "/sys/kernel/mm/transparent_hugepage/enabled"),
    }
}

fn backlog(facts: &HostFacts) -> HostCheck {
    let name = "somaxconn";
    match facts.somaxconn {
        Some(value) if value >= SOMAXCONN_WANTED => {
            good(name, &format!("{value}: a storm of connections waits"))
        }
        Some(value) => warning(
            name,
            format!(
                "{value}: in a storm of connections some time out, since Redis's backlog of {SOMAXCONN_WANTED} is cut to that; \
                 `sysctl -w net.core.somaxconn=1024`, and the same line in /etc/sysctl.d/"
            ),
        ),
        None => unknown(name, "/proc/sys/net/core/somaxconn"),
    }
}

fn files(facts: &HostFacts) -> HostCheck {
    let name = "nofile";
    match facts.nofile_hard {
        Some(u64::MAX) => good(name, "no limit of open files"),
        Some(value) if value >= NOFILE_WANTED => {
            good(name, &format!("{value} open files: 10,000 clients fit"))
        }
        Some(value) => warning(
            name,
            format!(
                "{value} open files: Redis lowers its 10,000 clients to {}; raise the hard limit (LimitNOFILE= of the unit, \
                 or /etc/security/limits.d/)",
                value.saturating_sub(32)
            ),
        ),
        None => unknown(name, "the limit of open files"),
    }
}

fn clock_source(facts: &HostFacts) -> HostCheck {
    let name = "clocksource";
    match facts.clocksource.as_deref() {
        Some(source) if CLOCKS_FAST.contains(&source) => good(name, &format!("{source}: cheap to read")),
        Some(source) => warning(
            name,
            format!(
                "{source}: reading the time costs each command a call of the kernel; if \
                 /sys/devices/system/clocksource/clocksource0/available_clocksource has tsc, write it to current_clocksource there"
            ),
        ),
        None => unknown(name, "/sys/devices/system/clocksource/clocksource0/current_clocksource"),
    }
}

fn clock_set(facts: &HostFacts) -> HostCheck {
    let name = "clock";
    match facts.clock_synchronized {
        Some(true) => good(name, "it is set by the network's time"),
        Some(false) => warning(
            name,
            "no program was found that sets it by the network's time: keys expire at other moments on replicas, and Sentinel mistrusts itself \
             when it jumps; install chrony or systemd-timesyncd"
                .to_owned(),
        ),
        None => unknown(name, "whether a program sets the clock"),
    }
}

fn good(name: &'static str, line: &str) -> HostCheck {
    HostCheck { name, verdict: Verdict::Good, line: line.to_owned() }
}

fn warning(name: &'static str, line: String) -> HostCheck {
    HostCheck { name, verdict: Verdict::Warning, line }
}

fn unknown(name: &'static str, what: &str) -> HostCheck {
    HostCheck { name, verdict: Verdict::Unknown, line: format!("{what} cannot be read here") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_says_what_to_do_in_a_line() {
        let facts = HostFacts {
            overcommit_memory: Some(0),
            transparent_hugepage: Some("[always] madvise never".to_owned()),
            somaxconn: Some(128),
            nofile_hard: Some(4096),
            clocksource: Some("hpet".to_owned()),
            clock_synchronized: Some(false),
        };
        let checks = checks(&facts);
        assert_eq!(checks.len(), 6);
        let advices = [
            "sysctl -w vm.over",
            "echo madvise >",
            "sysctl -w net.core",
            "4064; raise",
            "write it to",
            "install chrony",
        ];
        for (check, advice) in checks.iter().zip(advices) {
            let line = check.to_string();
            assert!(line.starts_with("warning: ") && line.contains(advice) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn a_good_machine_is_good_and_an_unread_one_unknown() {
        let facts = HostFacts {
            overcommit_memory: Some(1),
            transparent_hugepage: Some("always [madvise] never".to_owned()),
            somaxconn: Some(4096),
            nofile_hard: Some(u64::MAX),
            clocksource: Some("tsc".to_owned()),
            clock_synchronized: Some(true),
        };
        assert!(checks(&facts).iter().all(|check| check.verdict == Verdict::Good));
        assert!(checks(&HostFacts::default()).iter().all(|check| check.verdict == Verdict::Unknown));
    }
}
