use super::*;
use crate::Histogram;
use proptest::prelude::*;

#[test]
fn counters_and_gauges() {
    let mut exposition = Exposition::new();
    exposition
        .family("shoal_requests_total", Kind::Counter, "Requests sent,\nto C:\\ and \"back\".")
        .sample(&[("pool", "alpha"), ("server", "a\"b\\c\nd")], 18_446_744_073_709_551_615_u64)
        .sample(&[("pool", "é")], 0_u64);
    exposition.family("shoal_up", Kind::Gauge, "").sample(&[], -1_i64).sample(&[("x", "")], 0.5);
    let expected = r#"# HELP shoal_requests_total Requests sent,\nto C:\\ and "back".
# TYPE shoal_requests_total counter
shoal_requests_total{pool="alpha",server="a\"b\\c\nd"} 18446744073709551615
shoal_requests_total{pool="é"} 0
# HELP shoal_up 
# TYPE shoal_up gauge
shoal_up -1
shoal_up{x=""} 0.5
"#;
    assert_eq!(exposition.finish().unwrap(), expected);
}

#[test]
fn histograms_and_summaries() {
    let histogram = Histogram::new();
    for ms in [1, 2, 2, 400] {
        histogram.record(Duration::from_millis(ms));
    }
    let snapshot = histogram.snapshot();
    let mut exposition = Exposition::new();
    let bounds = [1, 10, 1000].map(|ms| Duration::from_millis(ms) + Duration::from_micros(100));
    exposition.family("h_seconds", Kind::Histogram, "H.").histogram(&[("pool", "a")], &snapshot, &bounds);
    exposition.family("s_seconds", Kind::Summary, "S.").summary(&[], &snapshot);
    exposition.family("e", Kind::Summary, "E.").summary(&[], &Snapshot::empty());
    let text = exposition.finish().unwrap();
    let expected = r#"# HELP h_seconds H.
# TYPE h_seconds histogram
h_seconds_bucket{pool="a",le="0.0011"} 1
h_seconds_bucket{pool="a",le="0.0101"} 3
h_seconds_bucket{pool="a",le="1.0001"} 4
h_seconds_bucket{pool="a",le="+Inf"} 4
h_seconds_sum{pool="a"} 0.405
h_seconds_count{pool="a"} 4
# HELP s_seconds S.
# TYPE s_seconds summary
s_seconds{quantile="0.5"} 0.002016
s_seconds{quantile="0.9"} 0.4
s_seconds{quantile="0.99"} 0.4
s_seconds{quantile="0.999"} 0.4
s_seconds{quantile="0.9999"} 0.4
s_seconds_sum 0.405
s_seconds_count 4
# HELP e E.
# TYPE e summary
e{quantile="0.5"} NaN
"#;
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn numbers_that_are_none() {
    let mut exposition = Exposition::new();
    let values = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e300];
    let mut family = exposition.family("g", Kind::Gauge, "G.");
    values.iter().for_each(|&value| _ = family.sample(&[], value));
    let text = exposition.finish().unwrap();
    assert!(text.contains("g +Inf\ng -Inf\ng NaN\ng 1000000"), "{text}");
}

#[test]
fn faults_of_names_are_found() {
    type Write = fn(&mut Exposition);
    let faults: [(Write, &str); 6] = [
        (|e| _ = e.family("9x", Kind::Gauge, ""), "metric name \"9x\""),
        (|e| _ = e.family("", Kind::Gauge, ""), "metric name \"\""),
        (
            |e| {
                e.family("x", Kind::Gauge, "");
                e.family("x", Kind::Gauge, "");
            },
            "metric x is written twice",
        ),
        (|e| _ = e.family("x", Kind::Gauge, "").sample(&[("a-b", "")], 0.0), "metric x: label name \"a-b\""),
        (
            |e| _ = e.family("x", Kind::Summary, "").summary(&[("quantile", "")], &Snapshot::empty()),
            "metric x: label name \"quantile\"",
        ),
        (|e| _ = e.family("x", Kind::Summary, "").sample(&[], 0.0), "metric x is a summary"),
    ];
    for (write, expected) in faults {
        let mut exposition = Exposition::new();
        write(&mut exposition);
        let error = exposition.finish().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

proptest! {
    #[test]
    fn no_label_value_breaks_its_line(value in "\\PC*|[\\\\\"\n\r,{}]*") {
        let mut exposition = Exposition::new();
        exposition.family("x", Kind::Gauge, &value).sample(&[("l", &value)], 1_u64);
        let text = exposition.finish().unwrap();
        prop_assert_eq!(text.split('\n').count(), 4);
        let quoted = text.lines().last().unwrap();
        let inner = quoted.strip_prefix("x{l=\"").unwrap().strip_suffix("\"} 1").unwrap();
        let mut back = String::new();
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            prop_assert_ne!(c, '"');
            back.push(match c {
                '\\' => match chars.next() { Some('n') => '\n', Some(c) => c, None => return Err(TestCaseError::fail("cut")) },
                c => c,
            });
        }
        prop_assert_eq!(back, value);
    }
}
