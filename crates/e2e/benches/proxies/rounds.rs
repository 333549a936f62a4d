//! The run itself: rounds, workloads, contestants in turn.

use std::time::Duration;

use shoal_e2e::Workplace;

use crate::contestant::{self, Contestant};
use crate::metric::Sample;
use crate::options::Options;
use crate::record::Record;
use crate::shards::Shards;
use crate::workload::{self, Workload};
use crate::{Fallible, cost, load, machine};

/// A warm-up has this part of the requests.
const WARM_UP: u32 = 8;
/// A run that counts system calls has this part: more, since it counts those of connecting too.
const COUNTED: u32 = 2;

/// Measures everything that the options ask for. A contestant that fails is noted, and the others go on.
pub fn run(options: &Options) -> Fallible<Record> {
    let workplace = Workplace::new();
    let workloads = workload::chosen(&options.workloads, options.quick)?;
    let contestants = contestant::chosen(&options.contestants, &options.peers)?;
    let mut record = Record {
        facts: machine::facts(&contestants, options)?,
        workloads: workloads.iter().map(|w| (w.name.to_owned(), w.describe())).collect(),
        contestants: contestants.iter().map(|c| c.name.clone()).collect(),
        faults: Vec::new(),
        samples: Vec::new(),
    };
    eprintln!("bench: starting and filling the servers");
    let shards = Shards::start(&workplace, &workloads);
    for round in 1..=options.rounds() {
        for workload in &workloads {
            for contestant in &contestants {
                let syscalls = options.syscalls && round == 1;
                let head =
                    format!("round {round}/{} {:13} {:11}", options.rounds(), workload.name, contestant.name);
                match measure(&workplace, &shards, workload, contestant, syscalls) {
                    Ok(sample) => {
                        let sample = Sample { round, ..sample };
                        eprintln!("{head} {}", line(&sample));
                        record.samples.push(sample);
                    }
                    Err(error) => {
                        eprintln!("{head} {error}");
                        record
                            .faults
                            .push(format!("{} {} round {round}: {error}", workload.name, contestant.name));
                    }
                }
            }
        }
    }
    record.facts.push(("load average at the end".to_owned(), machine::load_average()?));
    Ok(record)
}

/// One contestant, started afresh, at one workload.
fn measure(
    workplace: &Workplace,
    shards: &Shards,
    workload: &Workload,
    contestant: &Contestant,
    syscalls: bool,
) -> Fallible<Sample> {
    let started = contestant.start(workplace, &shards.addrs(), shards.first_port())?;
    let proxy: Vec<u32> = started.pid().into_iter().collect();
    let redis = shards.pids();
    let all = [proxy.as_slice(), redis.as_slice()].concat();
    // Every connection gets its share, in whole pipelines.
    let part = |of: u32| (workload.requests / of).max(workload.connections * workload.pipeline);

    load::send(workload, part(WARM_UP), started.port, &[])?;
    shards.reset();
    cost::rest(&all)?;
    let before = (cost::cpu(&proxy)?, cost::cpu(&redis)?);
    let seen = load::send(workload, workload.requests, started.port, &[])?;
    cost::rest(&all)?;
    let after = (cost::cpu(&proxy)?, cost::cpu(&redis)?);
    shards.counts().agree(workload)?;

    let each = |before: Duration, after: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / f64::from(workload.requests)
    };
    let mut sample = Sample {
        round: 0,
        workload: workload.name.to_owned(),
        contestant: contestant.name.clone(),
        proxy_cpu_us: None,
        redis_cpu_us: each(before.1, after.1),
        requests_per_second: seen.rate,
        p50_ms: seen.p50_ms,
        p99_ms: seen.p99_ms,
        syscalls: None,
        memory_peak_kib: None,
    };
    if let Some(pid) = started.pid() {
        sample.proxy_cpu_us = Some(each(before.0, after.0));
        sample.memory_peak_kib = Some(cost::memory_peak_kib(pid)?);
        if syscalls {
            let file = started.dir.join("perf");
            load::send(workload, part(COUNTED), started.port, &cost::syscall_counter(pid, &file))?;
            sample.syscalls = Some(cost::syscalls(&file)? / f64::from(part(COUNTED)));
        }
    }
    Ok(sample)
}

/// A sample for whoever watches.
fn line(sample: &Sample) -> String {
    let proxy = sample.proxy_cpu_us.map_or_else(|| "    -".to_owned(), |us| format!("{us:5.2}"));
    format!(
        "proxy {proxy} µs  Redis {:5.2} µs  {:7.0} requests/s  p50 {:.3} ms  p99 {:.3} ms",
        sample.redis_cpu_us, sample.requests_per_second, sample.p50_ms, sample.p99_ms
    )
}
