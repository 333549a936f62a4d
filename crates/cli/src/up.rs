//! `shoal up`: the demo on one machine, from nothing to live figures, and back to nothing.
//!
//! ```text
//!   redis-cli ──▶ :22121 demo ─┐               ┌─▶ demo-1 … demo-4   storage: kept in append-only files
//!                              ├─ shoal proxy ─┤
//!   redis-cli ──▶ :22122 hot  ─┘               └─▶ hot-1 … hot-4     cache: in memory alone
//! ```
//!
//! Ten processes, this one included; each of the other nine is our child, with a directory of its own. However this
//! one ends by itself, they end before it. Killed with SIGKILL it leaves them behind, and the next one ends them.
//!
//! Does not start again what ended: a shard that somebody killed stays dead, to see what the proxy does then.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

mod directory;
mod figures;
mod fleet;
mod instance;
pub mod interrupts;
mod layout;
mod leftovers;
mod ready;
mod screen;

use directory::Directory;
use figures::Sample;
use fleet::Fleet;
use interrupts::Interrupts;
use layout::Layout;
use screen::Screen;

/// Examples of calls, shown by `--help`.
const EXAMPLES: &str = "\
Examples:
  shoal up                                  until Ctrl-C; ports 22121 to 22132
  shoal up --port 23000 --dir /tmp/demo     elsewhere
  shoal up --for 60                         for a minute
  shoal up --output json                    print one line of JSON once it serves, and no figures

What was written to the pool `demo` is there again the next time; `hot` starts empty.
Signals: SIGINT (Ctrl-C), SIGTERM and SIGHUP end everything in order; a second one ends it at once.";

/// What `shoal up` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Where data, configuration, passwords and logs are kept; made if it is not there
    #[arg(long, value_name = "DIRECTORY", default_value = ".shoal/up")]
    dir: PathBuf,
    /// First of twelve ports of 127.0.0.1: demo, hot, statistics, /metrics, and eight Redis servers
    #[arg(long, value_name = "FIRST", default_value_t = 22121, value_parser = clap::value_parser!(u16).range(1..=layout::FIRST_PORT_MAX))]
    port: u16,
    /// End after this time instead of waiting for Ctrl-C
    #[arg(long = "for", value_name = "SECONDS")]
    for_seconds: Option<u64>,
    /// What is printed
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    output: Output,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// What to type, then live figures: redrawn each second on a terminal, else a line every 10 seconds
    Text,
    /// One line with all addresses and process ids, once everything answers
    Json,
}

/// Why the demo is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Interrupted,
    TimeIsUp,
}

/// How often children are looked at, and figures redrawn on a terminal.
const TICK: Duration = Duration::from_secs(1);

/// Runs the demo until a signal comes or its time is up.
///
/// # Errors
/// If something is missing or taken, or a process ends before it serves; nothing is left running then.
pub fn run(arguments: Arguments) -> Result<()> {
    let interrupts = Interrupts::catch()?;
    let mut screen = Screen::new(arguments.output == Output::Json);
    let directory = Directory::open(&arguments.dir)?;
    let layout = Layout::new(directory.path(), arguments.port);
    let left = leftovers::end(&layout)?;
    if left > 0 {
        screen
            .say(&format!("ended {left} processes that an earlier `shoal up` had left in this directory"))?;
    }
    layout.demand_free_ports()?;
    directory.write(&layout)?;

    let mut fleet = Fleet::default();
    let outcome = serve(&arguments, &layout, &directory, &mut fleet, &interrupts, &mut screen);
    if outcome.is_ok() {
        // If nobody reads what we print, ending is all the more what is wanted.
        let _ = screen.say("ending the proxy and the Redis servers");
    }
    fleet.stop(&interrupts);
    outcome.map(drop)
}

/// Starts everything, says so, and watches it.
fn serve(
    arguments: &Arguments,
    layout: &Layout,
    directory: &Directory,
    fleet: &mut Fleet,
    interrupts: &Interrupts,
    screen: &mut Screen,
) -> Result<Over> {
    screen.say("starting eight Redis servers and one proxy")?;
    fleet.start_servers(layout)?;
    if !fleet.wait_for_servers(layout, directory, interrupts)? {
        return Ok(Over::Interrupted);
    }
    fleet.start_proxy(layout)?;
    if !fleet.wait_for_proxy(layout, directory, interrupts)? {
        return Ok(Over::Interrupted);
    }
    match arguments.output {
        Output::Text => screen.say(&layout.what_to_type(&arguments.dir))?,
        Output::Json => screen.json(&fleet.addresses(layout))?,
    }
    watch(arguments, layout, fleet, interrupts, screen)
}

/// Shows figures until it is over.
fn watch(
    arguments: &Arguments,
    layout: &Layout,
    fleet: &mut Fleet,
    interrupts: &Interrupts,
    screen: &mut Screen,
) -> Result<Over> {
    let begun = Instant::now();
    let end = arguments.for_seconds.and_then(|seconds| begun.checked_add(Duration::from_secs(seconds)));
    let mut last: Option<Sample> = None;
    let mut next = begun;
    loop {
        for sentence in fleet.newly_ended_servers() {
            screen.say(&sentence)?;
        }
        if let Some(words) = fleet.proxy_ended() {
            bail!("the proxy ended: {words}");
        }
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) {
            return Ok(Over::TimeIsUp);
        }
        if let Some(every) = screen.shows_figures_every()
            && now >= next
        {
            next = now + every;
            match Sample::take(layout) {
                Ok(sample) => {
                    // The first look has nothing to be compared with.
                    if let Some(earlier) = last.replace(sample.clone()) {
                        screen.show(&sample.since(&earlier))?;
                    }
                }
                Err(error) => screen.say(&format!("no figures: the proxy gives no statistics: {error:#}"))?,
            }
        }
        let patience = end.map_or(TICK, |end| TICK.min(end.saturating_duration_since(now)));
        if interrupts.wait(patience) {
            return Ok(Over::Interrupted);
        }
    }
}
