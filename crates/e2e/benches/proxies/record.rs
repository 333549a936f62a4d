//! All raw figures of a run, and where and how they were taken.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Fallible;
use crate::metric::{Metric, Sample, Spread};

/// One run of the bench.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// Facts for the page's head: name and value.
    pub facts: Vec<(String, String)>,
    /// Name and description of each workload, in the order of the tables.
    pub workloads: Vec<(String, String)>,
    /// Names, in the order of the tables.
    pub contestants: Vec<String>,
    /// What could not be measured, and why.
    pub faults: Vec<String>,
    /// What was measured, in the order of time.
    pub samples: Vec<Sample>,
}

impl Record {
    /// Reads the raw figures of an earlier run.
    pub fn read(file: &Path) -> Fallible<Self> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?)
    }

    /// Writes the raw figures.
    pub fn write(&self, file: &Path) -> Fallible<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(std::fs::write(file, text)?)
    }

    /// A figure over all rounds.
    pub fn spread(&self, workload: &str, contestant: &str, metric: Metric) -> Option<Spread> {
        let samples = self.samples.iter();
        let mine = samples.filter(|sample| sample.workload == workload && sample.contestant == contestant);
        Spread::of(mine.filter_map(|sample| metric.of(sample)).collect())
    }

    /// A figure as a ratio to another contestant's of the same round, over all rounds that have both.
    pub fn ratio(&self, workload: &str, contestant: &str, against: &str, metric: Metric) -> Option<Spread> {
        let figure = |name: &str, round: u32| {
            let mut samples = self.samples.iter();
            let sample =
                samples.find(|s| s.round == round && s.workload == workload && s.contestant == name)?;
            metric.of(sample).filter(|figure| *figure > 0.0)
        };
        let last = self.samples.iter().map(|sample| sample.round).max()?;
        let ratios =
            (1..=last).filter_map(|round| Some(figure(contestant, round)? / figure(against, round)?));
        Spread::of(ratios.collect())
    }
}
