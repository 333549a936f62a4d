//! What ours has to reach.

use std::fmt;

use crate::contestant::{DIRECT, NUTCRACKER, SHOAL};
use crate::metric::{Metric, Spread};
use crate::record::Record;

/// The median of a ratio, within rounds, of ours to another contestant.
#[derive(Clone, Debug)]
pub struct Target {
    workload: String,
    metric: Metric,
    against: &'static str,
    at_most: f64,
}

/// A target with what was measured.
pub struct Verdict<'a> {
    target: &'a Target,
    measured: Option<Spread>,
}

/// CPU of the proxy and of both together against nutcracker's, by workload.
const CPU: [(&str, f64, f64); 10] = [
    ("get64", 0.75, 0.72),
    ("set64", 0.75, 0.70),
    ("get64-p16", 0.40, 0.60),
    ("set64-p16", 0.40, 0.60),
    ("get16k", 0.80, 0.80),
    ("set16k", 0.80, 0.80),
    ("mget10", 0.65, 0.75),
    ("mset10", 0.65, 0.75),
    ("get64-c1000", 0.85, 0.90),
    ("get64-c1", 1.00, 1.00),
];

/// A lone connection waits no longer than behind nutcracker, and Redis itself gets cheaper.
const OTHERS: [(&str, Metric, &str, f64); 5] = [
    ("get64-c1", Metric::P50, NUTCRACKER, 1.00),
    ("get64", Metric::RedisCpu, NUTCRACKER, 0.75),
    ("set64", Metric::RedisCpu, NUTCRACKER, 0.75),
    ("get64", Metric::RedisCpu, DIRECT, 0.60),
    ("set64", Metric::RedisCpu, DIRECT, 0.60),
];

/// All targets.
pub fn all() -> Vec<Target> {
    let cpu = CPU.iter().flat_map(|(workload, proxy, both)| {
        [
            Target::new(workload, Metric::ProxyCpu, NUTCRACKER, *proxy),
            Target::new(workload, Metric::BothCpu, NUTCRACKER, *both),
        ]
    });
    let others = OTHERS
        .iter()
        .map(|(workload, metric, against, at_most)| Target::new(workload, *metric, against, *at_most));
    cpu.chain(others).collect()
}

/// Instead of them, one bound on the proxy's CPU for whatever was measured.
pub fn everywhere(record: &Record, at_most: f64) -> Vec<Target> {
    let workloads = record.workloads.iter();
    workloads.map(|(name, _)| Target::new(name, Metric::ProxyCpu, NUTCRACKER, at_most)).collect()
}

impl Target {
    fn new(workload: &str, metric: Metric, against: &'static str, at_most: f64) -> Self {
        Self { workload: workload.to_owned(), metric, against, at_most }
    }

    /// Compares it with a run.
    pub fn judge(&self, record: &Record) -> Verdict<'_> {
        Verdict { target: self, measured: record.ratio(&self.workload, SHOAL, self.against, self.metric) }
    }
}

impl Verdict<'_> {
    /// Whether the median is within the target; what was not measured is not.
    pub fn met(&self) -> bool {
        self.measured.is_some_and(|spread| spread.median <= self.target.at_most)
    }

    /// A row of a Markdown table.
    pub fn row(&self) -> String {
        let Target { workload, metric, against, at_most } = self.target;
        let word = match (self.measured, self.met()) {
            (None, _) => "–",
            (Some(_), true) => "met",
            (Some(_), false) => "**missed**",
        };
        let measured = self.measured.map_or_else(|| "–".to_owned(), |spread| spread.show(2));
        format!("| {word} | {workload} | {} | {against} | {at_most:.2} | {measured} |\n", metric.name())
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { workload, metric, against, at_most } = self.target;
        let word = if self.met() { "met" } else { "MISSED" };
        let measured = self.measured.map_or_else(|| "not measured".to_owned(), |spread| spread.show(2));
        write!(
            f,
            "{word:6} {workload:12} {:12} against {against}: at most {at_most:.2}, {measured}",
            metric.name()
        )
    }
}
