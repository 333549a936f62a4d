//! Prometheus' text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).
//!
//! ```text
//!  # HELP shoal_requests_total Requests sent to servers.
//!  # TYPE shoal_requests_total counter
//!  shoal_requests_total{pool="alpha",server="127.0.0.1:6379"} 42
//! ```
//!
//! Does not keep metrics: it is made anew for each scrape.

use crate::Snapshot;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// What is wrong with the names of a metric. They come from our own code, so it is our fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A metric name with characters that Prometheus does not take.
    #[error("metric name {0:?} is not of letters, digits, _ and :, with no digit in front")]
    MetricName(String),
    /// A label name with characters that Prometheus does not take, or one that it keeps for itself.
    #[error("metric {metric}: label name {label:?} is reserved, or not of letters, digits and _")]
    LabelName {
        /// The metric.
        metric: String,
        /// The label.
        label: String,
    },
    /// A family that was begun twice: its samples must stand together.
    #[error("metric {0} is written twice")]
    Twice(String),
    /// A histogram in a family of another kind, or the like.
    #[error("metric {metric} is a {kind}, and was given something else")]
    Kind {
        /// The metric.
        metric: String,
        /// What it was begun as.
        kind: Kind,
    },
}

/// What a family's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name should end in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts up to bounds.
    Histogram,
    /// Quantiles.
    Summary,
}

/// A number of either sort, so that a counter is not rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(i128),
    /// A number with a fraction, or none at all.
    Real(f64),
}

/// A text for Prometheus in the making.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    names: BTreeSet<&'static str>,
    error: Option<Error>,
}

impl Exposition {
    /// The `Content-Type` to send the text with.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// An empty text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a family: all samples of one name. Its HELP and TYPE stand before them, once.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        if !is_name(name, ":") {
            self.fail(Error::MetricName(name.to_owned()));
        } else if !self.names.insert(name) {
            self.fail(Error::Twice(name.to_owned()));
        }
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        self.write(format_args!("\n# TYPE {name} {kind}\n"));
        Family { exposition: self, name, kind }
    }

    /// The text.
    ///
    /// # Errors
    /// The first fault of a name; a text with it is not given, since Prometheus would refuse it all.
    pub fn finish(self) -> Result<String, Error> {
        self.error.map_or(Ok(self.text), Err)
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    fn write(&mut self, arguments: fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.text.write_fmt(arguments);
    }
}

/// A family whose samples are being written.
#[derive(Debug)]
pub struct Family<'e> {
    exposition: &'e mut Exposition,
    name: &'static str,
    kind: Kind,
}

impl Family<'_> {
    /// Writes a counter's or a gauge's value.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) -> &mut Self {
        self.expect(matches!(self.kind, Kind::Counter | Kind::Gauge));
        self.line("", labels, None, value.into());
        self
    }

    /// Writes a histogram in seconds with these bounds, ascending; `+Inf` is added. The counts have the
    /// precision of [`Snapshot::count_at_most`].
    pub fn histogram(&mut self, labels: &[(&str, &str)], of: &Snapshot, bounds: &[Duration]) -> &mut Self {
        self.expect(self.kind == Kind::Histogram);
        for bound in bounds {
            let le = bound.as_secs_f64().to_string();
            self.line("_bucket", labels, Some(("le", &le)), of.count_at_most(*bound).into());
        }
        self.line("_bucket", labels, Some(("le", "+Inf")), of.count().into());
        self.sum_and_count(labels, of);
        self
    }

    /// Writes a summary in seconds with the quantiles of [`Snapshot::QUANTILES`]; NaN when empty.
    pub fn summary(&mut self, labels: &[(&str, &str)], of: &Snapshot) -> &mut Self {
        self.expect(self.kind == Kind::Summary);
        for q in Snapshot::QUANTILES {
            let value = of.quantile(q).map_or(f64::NAN, |duration| duration.as_secs_f64());
            self.line("", labels, Some(("quantile", &q.to_string())), value.into());
        }
        self.sum_and_count(labels, of);
        self
    }

    fn sum_and_count(&mut self, labels: &[(&str, &str)], of: &Snapshot) {
        self.line("_sum", labels, None, of.sum().as_secs_f64().into());
        self.line("_count", labels, None, of.count().into());
    }

    fn expect(&mut self, kind_fits: bool) {
        if !kind_fits {
            self.exposition.fail(Error::Kind { metric: self.name.to_owned(), kind: self.kind });
        }
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], own: Option<(&str, &str)>, value: Value) {
        self.exposition.write(format_args!("{}{suffix}", self.name));
        let mut before = '{';
        for (label, text) in labels {
            let is_own = own.is_some_and(|(name, _)| name == *label);
            if is_own || label.starts_with("__") || !is_name(label, "") {
                let (metric, label) = (self.name.to_owned(), (*label).to_owned());
                self.exposition.fail(Error::LabelName { metric, label });
            }
            self.label(before, label, text);
            before = ',';
        }
        if let Some((label, text)) = own {
            self.label(before, label, text);
            before = ',';
        }
        if before == ',' {
            self.exposition.text.push('}');
        }
        self.exposition.write(format_args!(" {value}\n"));
    }

    fn label(&mut self, before: char, name: &str, text: &str) {
        self.exposition.write(format_args!("{before}{name}=\""));
        escape(&mut self.exposition.text, text, true);
        self.exposition.text.push('"');
    }
}

fn is_name(name: &str, more: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || more.contains(c);
    name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()
}

/// A backslash and a newline are escaped everywhere, quotes in label values alone.
fn escape(to: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '"' if quotes => to.push_str("\\\""),
            c => to.push(c),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Whole(value) => write!(f, "{value}"),
            Value::Real(f64::INFINITY) => f.write_str("+Inf"),
            Value::Real(f64::NEG_INFINITY) => f.write_str("-Inf"),
            Value::Real(value) => write!(f, "{value}"),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Whole(value.into())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Real(value)
    }
}
