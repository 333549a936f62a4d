//! The page for a reader: Markdown tables of a run.

use crate::contestant::{DIRECT, NUTCRACKER, SHOAL};
use crate::metric::Metric;
use crate::record::Record;
use crate::targets;

/// The page, with the plot and the raw figures under these names beside it.
pub fn markdown(record: &Record, plot: &str, raw: &str) -> String {
    let rounds = record.samples.iter().map(|sample| sample.round).max().unwrap_or(0);
    let mut page = String::from("# Proxies measured against each other\n\n| | |\n|---|---|\n");
    for (name, value) in &record.facts {
        page.push_str(&format!("| {name} | {value} |\n"));
    }
    page.push_str(&format!(
        "\nFour Redis servers on loopback behind each proxy; `fnv1a_64`, `ketama`, `timeout: 400`. {rounds} rounds, \
         in each of which the contestants took turns, each started afresh and warmed up. Figures are medians, with \
         the smallest and the largest in brackets; ratios are taken within a round. CPU is user and system time of \
         all threads, accepting and closing of the connections included. `floor` forwards bytes, one upstream \
         connection a client, and neither parses nor joins; `direct` asks one server without a proxy. `shoal` has one \
         worker, as nutcracker has; `shoal-all` one a core. Raw figures: [{raw}]({raw}).\n"
    ));
    if !record.faults.is_empty() {
        page.push_str("\nNot measured:\n\n");
        record.faults.iter().for_each(|fault| page.push_str(&format!("* {}\n", fault.replace('\n', " "))));
    }
    page.push_str("\n## Workloads\n\n");
    for (name, description) in &record.workloads {
        page.push_str(&format!("* `{name}`: {description}\n"));
    }
    page.push_str(&format!("\n## Ratios to nutcracker\n\n![Ratios to nutcracker]({plot})\n\n"));
    page.push_str(&table(
        record,
        |metric| format!("{} ratio", metric.name()),
        |workload, contestant, metric| {
            (contestant != NUTCRACKER)
                .then(|| record.ratio(workload, contestant, NUTCRACKER, metric).map(|spread| spread.show(2)))
                .flatten()
        },
    ));
    page.push_str("\n## CPU of Redis as a ratio to that of direct clients\n\n");
    page.push_str(&table(
        record,
        |metric| format!("{} ratio", metric.name()),
        |workload, contestant, metric| {
            (contestant != DIRECT && metric == Metric::RedisCpu)
                .then(|| record.ratio(workload, contestant, DIRECT, metric).map(|spread| spread.show(2)))
                .flatten()
        },
    ));
    page.push_str("\n## Figures\n\n");
    page.push_str(&table(
        record,
        |metric| format!("{}, {}", metric.name(), metric.unit()),
        |workload, contestant, metric| {
            record.spread(workload, contestant, metric).map(|spread| spread.show(metric.digits()))
        },
    ));
    if record.contestants.iter().any(|name| name == SHOAL) {
        page.push_str("\n## Targets of `shoal`\n\n");
        page.push_str("| | workload | | against | at most | measured |\n|---|---|---|---|---:|---:|\n");
        targets::all().iter().for_each(|target| page.push_str(&target.judge(record).row()));
    }
    page
}

/// A row for each workload and contestant, a column for each metric; rows and columns without a figure are
/// left out.
fn table(
    record: &Record,
    head: impl Fn(Metric) -> String,
    cell: impl Fn(&str, &str, Metric) -> Option<String>,
) -> String {
    let mut rows = Vec::new();
    for (workload, _) in &record.workloads {
        for contestant in &record.contestants {
            let cells = Metric::ALL.map(|metric| cell(workload, contestant, metric));
            if cells.iter().any(Option::is_some) {
                rows.push((format!("| {workload} | {contestant} |"), cells));
            }
        }
    }
    if rows.is_empty() {
        return "Nothing to compare with was measured.\n".to_owned();
    }
    let shown: Vec<usize> =
        (0..Metric::ALL.len()).filter(|i| rows.iter().any(|(_, c)| c[*i].is_some())).collect();
    let mut text = String::from("| workload | contestant |");
    shown.iter().for_each(|i| text.push_str(&format!(" {} |", head(Metric::ALL[*i]))));
    text.push_str(&format!("\n|---|---|{}\n", "---:|".repeat(shown.len())));
    for (start, cells) in rows {
        text.push_str(&start);
        shown.iter().for_each(|i| text.push_str(&format!(" {} |", cells[*i].as_deref().unwrap_or("–"))));
        text.push('\n');
    }
    text
}
