//! What ten thousand connections cost in memory: connected and untouched, after each asked once at the same time, and a
//! minute later.
//!
//! ```text
//!   start ── base ── connect ── untouched ── GET each ── asked ── GET each, servers stopped meanwhile ── held
//!         ── a minute ── minute ── close ── a while ── closed
//! ```
//!
//! With servers that run, how many requests are in the proxy at once is the scheduler's choice. So the second time the
//! servers are stopped until every client has asked: then it is all of them.

use std::fs;
use std::time::{Duration, Instant};

use shoal_e2e::Workplace;

use crate::contestant::{self, Contestant, NUTCRACKER};
use crate::crowd::{self, Crowd};
use crate::metric::Spread;
use crate::options::Options;
use crate::shards::Shards;
use crate::workload::{self, WORKLOADS};
use crate::{Fallible, cost, machine};

/// How long after its last request a proxy may hold what it needed for it.
const GIVEN_BACK: Duration = Duration::from_secs(60);
/// Between two looks at a process that should change.
const LOOK: Duration = Duration::from_millis(20);
/// So many keys are sure to be on all servers.
const KEYS_OF_ALL_SERVERS: usize = 100;
/// So many clients are on all workers of each contestant.
const ONE_A_WORKER: usize = 2;
/// Longest wait for a proxy to have taken or closed all connections.
const DEADLINE: Duration = Duration::from_secs(60);

/// The stages, in the order of time: name, and what it is.
const STAGES: [(&str, &str); 8] = [
    ("base", "started, nobody connected"),
    ("untouched", "all connected, no byte sent"),
    ("asked, peak", "the most while each sent one GET, servers running"),
    ("asked", "after each had its reply"),
    ("held, peak", "the most while each sent one GET, servers stopped until all were sent"),
    ("held", "after each had its reply"),
    ("a minute later", "still connected, nothing sent since"),
    ("closed", "all clients gone, the same time later"),
];
const BASE: usize = 0;
const UNTOUCHED: usize = 1;
const ASKED: usize = 3;
const HELD: usize = 5;
const MINUTE: usize = 6;

/// Resident memory (RSS) of one proxy at each stage, in KiB, in one round.
type Figures = [f64; STAGES.len()];

/// All rounds of one contestant.
struct Row {
    name: String,
    rounds: Vec<Figures>,
    /// Proportional set size (PSS) while untouched: what it would be without the pages that others share.
    untouched_pss: Vec<f64>,
}

/// Measures, and gives the Markdown page.
pub fn run(options: &Options) -> Fallible<String> {
    let clients = options.clients;
    crowd::allow(clients)?;
    let workplace = Workplace::new();
    let workload =
        WORKLOADS.iter().find(|workload| workload.keys == workload::SMALL).ok_or("no small keys")?;
    let contestants = contestant::for_memory();
    let facts = machine::facts(&contestants, options)?;
    let shards = Shards::start(&workplace, &[*workload]);
    let mut rows: Vec<Row> = contestants
        .iter()
        .map(|contestant| Row {
            name: contestant.name.clone(),
            rounds: Vec::new(),
            untouched_pss: Vec::new(),
        })
        .collect();
    for round in 1..=options.rounds() {
        for (contestant, row) in contestants.iter().zip(&mut rows) {
            let (figures, pss) = measure(&workplace, &shards, contestant, options)?;
            let told: Vec<_> =
                STAGES.iter().zip(figures).map(|((name, _), kib)| format!("{name} {}", mib(kib))).collect();
            eprintln!("round {round} {:11} {}", row.name, told.join(", "));
            row.rounds.push(figures);
            row.untouched_pss.push(pss);
        }
    }
    Ok(page(&facts, clients, &rows, wait_of(options)))
}

fn measure(
    workplace: &Workplace,
    shards: &Shards,
    contestant: &Contestant,
    options: &Options,
) -> Fallible<(Figures, f64)> {
    let started = contestant.start(workplace, &shards.addrs(), shards.first_port())?;
    let pid = started.pid().ok_or("a contestant without a process")?;
    let rest = || cost::rest(&[pid]);
    // Connections to the servers, and whatever the first request of all needs, belong to the base.
    let mut first = Crowd::connect(started.port, ONE_A_WORKER, workload::SMALL)?;
    for key in 0..KEYS_OF_ALL_SERVERS {
        first.ask(key)?;
        first.hear()?;
    }
    drop(first);
    rest()?;
    let files = open_files(pid)?;
    let base = resident(pid)?;

    let mut crowd = Crowd::connect(started.port, options.clients, workload::SMALL)?;
    until("all clients are accepted", || Ok(open_files(pid)? >= files + options.clients))?;
    rest()?;
    let (untouched, pss) = (resident(pid)?, field(pid, "smaps_rollup", "Pss:")?);

    reset_peak(pid)?;
    crowd.ask(0)?;
    crowd.hear()?;
    let (asked_peak, asked) = (cost::memory_peak_kib(pid)?, resident(pid)?);

    reset_peak(pid)?;
    shards.stop();
    let sent = crowd.ask(0).and_then(|()| rest());
    shards.resume();
    sent?;
    crowd.hear()?;
    let (held_peak, held) = (cost::memory_peak_kib(pid)?, resident(pid)?);

    std::thread::sleep(wait_of(options));
    let minute = resident(pid)?;
    drop(crowd);
    until("all clients are forgotten", || Ok(open_files(pid)? <= files))?;
    std::thread::sleep(wait_of(options));
    Ok(([base, untouched, asked_peak, asked, held_peak, held, minute, resident(pid)?], pss))
}

/// A minute, or a twelfth of it where it is only to be seen that this works.
fn wait_of(options: &Options) -> Duration {
    if options.quick { GIVEN_BACK / 12 } else { GIVEN_BACK }
}

fn until(what: &str, mut holds: impl FnMut() -> Fallible<bool>) -> Fallible<()> {
    let end = Instant::now() + DEADLINE;
    while !holds()? {
        if Instant::now() > end {
            return Err(format!("not within {DEADLINE:?}: {what}").into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn open_files(pid: u32) -> Fallible<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn resident(pid: u32) -> Fallible<f64> {
    field(pid, "status", "VmRSS:")
}

/// A figure in KiB out of a file of `/proc/PID`.
fn field(pid: u32, file: &str, name: &str) -> Fallible<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Lets the kernel count the most memory from now on (proc(5), `clear_refs`).
fn reset_peak(pid: u32) -> Fallible<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

fn mib(kib: f64) -> String {
    format!("{:.1}", kib / 1024.0)
}

/// The page for a reader.
fn page(facts: &[(String, String)], clients: usize, rows: &[Row], wait: Duration) -> String {
    let mut page = format!("# Memory with {clients} connections\n\n| | |\n|---|---|\n");
    facts.iter().for_each(|(name, value)| page.push_str(&format!("| {name} | {value} |\n")));
    page.push_str(&format!(
        "\nResident memory of the proxy process (`VmRSS`, peaks `VmHWM`), MiB; medians, with the smallest and the largest in \
         brackets. Four Redis servers, values of 64 B; all clients ask before the first one reads. \"A minute\" was {} s here.\n\n",
        wait.as_secs()
    ));
    page.push_str("| contestant |");
    STAGES.iter().for_each(|(name, _)| page.push_str(&format!(" {name} |")));
    page.push_str(&format!(" untouched, PSS |\n|---|{}\n", "---:|".repeat(STAGES.len() + 1)));
    for row in rows {
        page.push_str(&format!("| {} |", row.name));
        for stage in 0..STAGES.len() {
            page.push_str(&format!(
                " {} |",
                shown(row.rounds.iter().map(|figures| figures[stage]).collect())
            ));
        }
        page.push_str(&format!(" {} |\n", shown(row.untouched_pss.clone())));
    }
    page.push('\n');
    STAGES.iter().for_each(|(name, what)| page.push_str(&format!("* {name}: {what}\n")));
    page.push_str(
        "\n## Targets\n\n| | contestant | | at most, MiB | measured, MiB |\n|---|---|---|---:|---:|\n",
    );
    let median = |row: &Row, figure: &dyn Fn(&Figures) -> f64| {
        Spread::of(row.rounds.iter().map(figure).collect()).map_or(0.0, |spread| spread.median)
    };
    let Some(theirs) = rows.iter().find(|row| row.name == NUTCRACKER) else { return page };
    for row in rows.iter().filter(|row| row.name != NUTCRACKER) {
        let targets: [(&str, f64, f64); 4] = [
            (
                "untouched, above its own base: twice what nutcracker has then",
                2.0 * median(theirs, &|f| f[UNTOUCHED]),
                median(row, &|f| f[UNTOUCHED] - f[BASE]),
            ),
            ("asked: half of nutcracker's", median(theirs, &|f| f[ASKED]) / 2.0, median(row, &|f| f[ASKED])),
            ("held: half of nutcracker's", median(theirs, &|f| f[HELD]) / 2.0, median(row, &|f| f[HELD])),
            (
                "a minute later: a tenth more than untouched",
                1.1 * median(row, &|f| f[UNTOUCHED]),
                median(row, &|f| f[MINUTE]),
            ),
        ];
        for (what, at_most, measured) in targets {
            let word = if measured <= at_most { "met" } else { "**missed**" };
            page.push_str(&format!(
                "| {word} | {} | {what} | {} | {} |\n",
                row.name,
                mib(at_most),
                mib(measured)
            ));
        }
    }
    page
}

fn shown(kib: Vec<f64>) -> String {
    let mib = kib.into_iter().map(|kib| kib / 1024.0).collect();
    Spread::of(mib).map_or_else(|| "–".to_owned(), |spread| spread.show(1))
}
