//! The picture: bars of ratios to nutcracker, by workload, with their spread.

use crate::contestant::NUTCRACKER;
use crate::metric::Metric;
use crate::record::Record;

/// One panel under the other.
const PANELS: [Metric; 3] = [Metric::ProxyCpu, Metric::RedisCpu, Metric::BothCpu];
/// A colour a contestant, told apart by the colour-blind too (Okabe and Ito's set).
const COLOURS: [&str; 7] = ["#0072b2", "#56b4e9", "#999999", "#e69f00", "#009e73", "#cc79a7", "#d55e00"];
/// Ratios above this are cut.
const TOP: f64 = 2.0;

// Pixels.
const LEFT: f64 = 50.0;
const PANEL: f64 = 220.0;
const PANEL_HEAD: f64 = 36.0;
const LEGEND: f64 = 34.0;
const LABELS: f64 = 24.0;
const BAR: f64 = 15.0;
const GAP: f64 = 24.0;

/// The whole picture as SVG.
pub fn svg(record: &Record) -> String {
    let others: Vec<&str> =
        record.contestants.iter().map(String::as_str).filter(|name| *name != NUTCRACKER).collect();
    let group = f64::from(count(others.len())) * BAR + GAP;
    // Names of workloads need room whatever the number of bars.
    let group = group.max(96.0);
    let width = LEFT + group * f64::from(count(record.workloads.len())) + GAP;
    let height = LEGEND + f64::from(count(PANELS.len())) * (PANEL + PANEL_HEAD + LABELS);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, name) in (0u32..).zip(&others) {
        let x = LEFT + f64::from(index) * 110.0;
        svg.push_str(&format!(
            "<rect x=\"{x:.1}\" y=\"12\" width=\"12\" height=\"12\" fill=\"{}\"/>\n",
            colour(index)
        ));
        svg.push_str(&format!("<text x=\"{:.1}\" y=\"22\">{}</text>\n", x + 16.0, escape(name)));
    }
    for (index, metric) in (0u32..).zip(PANELS) {
        let top = LEGEND + f64::from(index) * (PANEL + PANEL_HEAD + LABELS) + PANEL_HEAD;
        panel(&mut svg, record, &others, metric, top, group, width);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(
    svg: &mut String,
    record: &Record,
    others: &[&str],
    metric: Metric,
    top: f64,
    group: f64,
    width: f64,
) {
    let y = |ratio: f64| top + PANEL * (1.0 - ratio.min(TOP) / TOP);
    svg.push_str(&format!(
        "<text x=\"{LEFT}\" y=\"{:.1}\" font-weight=\"bold\">{} per request, nutcracker = 1 \
         (median, smallest and largest)</text>\n",
        top - 12.0,
        metric.name()
    ));
    for step in 0..=4 {
        let ratio = f64::from(step) * 0.5;
        let (line, colour) = (y(ratio), if step == 2 { "black" } else { "#dddddd" });
        svg.push_str(&format!(
            "<line x1=\"{LEFT}\" x2=\"{width:.1}\" y1=\"{line:.1}\" y2=\"{line:.1}\" stroke=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{ratio:.1}</text>\n",
            LEFT - 6.0,
            line + 4.0
        ));
    }
    for (place, (workload, _)) in (0u32..).zip(&record.workloads) {
        let left = LEFT + f64::from(place) * group + GAP / 2.0;
        for (index, name) in (0u32..).zip(others) {
            let Some(ratio) = record.ratio(workload, name, NUTCRACKER, metric) else { continue };
            let x = left + f64::from(index) * BAR;
            let middle = x + BAR / 2.0 - 1.0;
            svg.push_str(&format!(
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\">\
                 <title>{} {}: {}</title></rect>\n\
                 <line x1=\"{middle:.1}\" x2=\"{middle:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"black\"/>\n",
                y(ratio.median),
                BAR - 2.0,
                y(0.0) - y(ratio.median),
                colour(index),
                escape(workload),
                escape(name),
                ratio.show(2),
                y(ratio.max),
                y(ratio.min),
            ));
        }
        svg.push_str(&format!(
            "<text x=\"{left:.1}\" y=\"{:.1}\">{}</text>\n",
            top + PANEL + 16.0,
            escape(workload)
        ));
    }
}

fn colour(index: u32) -> &'static str {
    COLOURS[usize::try_from(index).unwrap_or(0) % COLOURS.len()]
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
