//! Measures proxies against each other on real Redis servers: `make bench`.
//!
//! ```text
//!   redis-benchmark ──▶ one contestant ──▶ four redis-servers, each with every key
//!                       nutcracker | shoal | floor | direct (none) | --peer NAME=COMMAND
//!
//!   for each round, for each workload, for each contestant in turn:
//!       start it afresh ── warm up ── read CPU clocks ── load ── read CPU clocks ── end it
//! ```
//!
//! Contestants alternate inside a round, and a ratio is taken inside a round only: what the machine does
//! beside it moves both sides. All processes run on the same two cores.
//!
//! `--durability` measures what it costs that writes wait for a replica, and writes a page of its own too.
//! `--memory` measures what 10,000 connections cost in memory instead, and writes a page of its own.
//!
//! Does not measure networks or many cores: everything is on loopback. Reloads and faults have tests of their own.

#[path = "proxies/contestant.rs"]
mod contestant;
#[path = "proxies/cost.rs"]
mod cost;
#[path = "proxies/crowd.rs"]
mod crowd;
#[path = "proxies/durability.rs"]
mod durability;
#[path = "proxies/forwarder.rs"]
mod forwarder;
#[path = "proxies/load.rs"]
mod load;
#[path = "proxies/machine.rs"]
mod machine;
#[path = "proxies/memory.rs"]
mod memory;
#[path = "proxies/metric.rs"]
mod metric;
#[path = "proxies/options.rs"]
mod options;
#[path = "proxies/plot.rs"]
mod plot;
#[path = "proxies/record.rs"]
mod record;
#[path = "proxies/report.rs"]
mod report;
#[path = "proxies/rounds.rs"]
mod rounds;
#[path = "proxies/shards.rs"]
mod shards;
#[path = "proxies/targets.rs"]
mod targets;
#[path = "proxies/workload.rs"]
mod workload;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use options::Options;
use record::Record;

/// What goes wrong here is told once and ends the run; nobody asks for its kind.
type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let done = if arguments.get(1).map(String::as_str) == Some(forwarder::VERB) {
        forwarder::run(&arguments[2..]).map(|()| true)
    } else {
        bench(&options::read())
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was measured and, under `--check`, every target met.
fn bench(options: &Options) -> Fallible<bool> {
    if !options.bench {
        eprintln!("bench: nothing measured; `cargo bench` gives --bench");
        return Ok(true);
    }
    if let Some(file) = &options.check {
        return check(&Record::read(&options::in_repository(file))?, options.at_most);
    }
    machine::keep_to_cores(options.cores)?;
    if options.memory || options.durability {
        let page = options.out(&machine::today()?);
        let text = if options.memory { memory::run(options)? } else { durability::run(options)? };
        write_page(&page, &text)?;
        eprintln!("bench: wrote {}", page.display());
        return Ok(true);
    }
    let record = rounds::run(options)?;
    write(&record, &options.out(&machine::today()?))?;
    for fault in &record.faults {
        eprintln!("bench: {fault}");
    }
    Ok(record.faults.is_empty())
}

/// Prints each target with what was measured.
fn check(record: &Record, at_most: Option<f64>) -> Fallible<bool> {
    let targets = match at_most {
        Some(bound) => targets::everywhere(record, bound),
        None => targets::all(),
    };
    let verdicts: Vec<_> = targets.iter().map(|target| target.judge(record)).collect();
    for verdict in &verdicts {
        eprintln!("{verdict}");
    }
    let missed = verdicts.iter().filter(|verdict| !verdict.met()).count();
    eprintln!("{missed} of {} targets missed", verdicts.len());
    Ok(missed == 0 && !verdicts.is_empty())
}

/// Writes the Markdown page, and beside it the raw figures and the plot.
fn write(record: &Record, page: &Path) -> Fallible<()> {
    let plot_file = page.with_extension("svg");
    let raw_file = page.with_extension("json");
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    write_page(page, &report::markdown(record, &name(&plot_file), &name(&raw_file)))?;
    record.write(&raw_file)?;
    std::fs::write(&plot_file, plot::svg(record))?;
    eprintln!("bench: wrote {} (with .json and .svg beside it)", page.display());
    Ok(())
}

fn write_page(file: &Path, page: &str) -> Fallible<()> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    Ok(std::fs::write(file, page)?)
}
