//! Where a run takes place: what a reader must know to judge its figures.

use std::fs;
use std::process::Command;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Fallible;
use crate::contestant::Contestant;
use crate::options::{self, Options};

/// Keeps this process, and so all that it starts, to the first `cores` that it may use.
pub fn keep_to_cores(cores: u16) -> Fallible<()> {
    let allowed = sched_getaffinity(None)?;
    let mut kept = CpuSet::new();
    for core in (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).take(usize::from(cores)) {
        kept.set(core);
    }
    Ok(sched_setaffinity(None, &kept)?)
}

/// Today in UTC as year-month-day.
pub fn today() -> Fallible<String> {
    first_line("date", &["-u", "+%F"])
}

/// The load averages of 1, 5 and 15 minutes: others at work beside a run show here.
pub fn load_average() -> Fallible<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// Name and value of each fact.
pub fn facts(contestants: &[Contestant], options: &Options) -> Fallible<Vec<(String, String)>> {
    let mut facts = vec![
        ("command".to_owned(), format!("`cargo bench -p shoal-e2e --bench proxies -- {}`", arguments())),
        ("date".to_owned(), today()?),
        ("commit".to_owned(), commit()),
        ("CPU".to_owned(), cpu_model()?),
        ("cores".to_owned(), cores(options)?),
        ("kernel".to_owned(), fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned()),
        ("load average at the start".to_owned(), load_average()?),
        ("Redis".to_owned(), first_line("redis-server", &["--version"])?),
        ("load".to_owned(), first_line("redis-benchmark", &["--version"])?),
    ];
    for contestant in contestants {
        if let Some(version) = contestant.version() {
            facts.push((contestant.name.clone(), version));
        }
    }
    Ok(facts)
}

fn cpu_model() -> Fallible<String> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with("model name"));
    let model = line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown");
    Ok(model.to_owned())
}

fn cores(options: &Options) -> Fallible<String> {
    let online = fs::read_to_string("/sys/devices/system/cpu/online")?;
    let used = std::thread::available_parallelism()?.min(usize::from(options.cores).try_into()?);
    Ok(format!("{used}, shared by servers, load and proxy (online: {})", online.trim()))
}

/// Arguments as they were given, but for directories: a page tells no paths of one machine.
fn arguments() -> String {
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let shown = words.map(|argument| {
        let words: Vec<_> = argument.split(' ').map(without_directory).collect();
        let argument = words.join(" ");
        if argument.contains([' ', '{']) { format!("'{argument}'") } else { argument }
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn without_directory(word: &str) -> String {
    match word.split_once('/') {
        Some((before, path)) if before.is_empty() || before.ends_with('=') => {
            format!("{before}{}", path.rsplit('/').next().unwrap_or_default())
        }
        _ => word.to_owned(),
    }
}

/// The commit, and whether files differ from it.
fn commit() -> String {
    let root = options::root();
    let git = |arguments: &[&str]| Command::new("git").arg("-C").arg(&root).args(arguments).output().ok();
    let text = |arguments: &[&str]| {
        let output = git(arguments).filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = text(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "none yet".to_owned());
    match text(&["status", "--porcelain"]).as_deref() {
        Some("") => commit,
        Some(_) => format!("{commit}, with changes"),
        None => format!("{commit}, changes unknown"),
    }
}

fn first_line(program: &str, arguments: &[&str]) -> Fallible<String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
