//! How `make bench` makes ratios, spreads and figures of its raw samples. The bench itself has no test harness.

use std::error::Error;

#[path = "../benches/proxies/load.rs"]
#[expect(dead_code, reason = "only the reading of a result is tested here")]
mod load;
#[path = "../benches/proxies/metric.rs"]
#[expect(dead_code, reason = "names and units are for the page")]
mod metric;
#[path = "../benches/proxies/record.rs"]
#[expect(dead_code, reason = "files are not tested here")]
mod record;
#[path = "../benches/proxies/workload.rs"]
#[expect(dead_code, reason = "only its words are tested here")]
mod workload;

use metric::{Metric, Sample, Spread};
use record::Record;

type Fallible<T> = Result<T, Box<dyn Error>>;

fn sample(round: u32, contestant: &str, proxy_cpu_us: Option<f64>, redis_cpu_us: f64) -> Sample {
    Sample {
        round,
        workload: "get64".to_owned(),
        contestant: contestant.to_owned(),
        proxy_cpu_us,
        redis_cpu_us,
        requests_per_second: 1.0,
        p50_ms: 1.0,
        p99_ms: 1.0,
        syscalls: None,
        memory_peak_kib: None,
    }
}

fn record(samples: Vec<Sample>) -> Record {
    Record { facts: Vec::new(), workloads: Vec::new(), contestants: Vec::new(), faults: Vec::new(), samples }
}

#[test]
fn a_ratio_is_taken_within_a_round() {
    // The machine was three times as slow in the second round; the third lacks one side.
    let record = record(vec![
        sample(1, "nutcracker", Some(10.0), 5.0),
        sample(1, "shoal", Some(7.0), 5.0),
        sample(2, "nutcracker", Some(30.0), 15.0),
        sample(2, "shoal", Some(24.0), 15.0),
        sample(3, "shoal", Some(1.0), 1.0),
    ]);
    let ratio = record.ratio("get64", "shoal", "nutcracker", Metric::ProxyCpu).expect("two rounds");
    assert!((ratio.median - 0.75).abs() < 1e-9, "{ratio:?}");
    assert!((ratio.min - 0.7).abs() < 1e-9 && (ratio.max - 0.8).abs() < 1e-9, "{ratio:?}");
    let both = record.ratio("get64", "shoal", "nutcracker", Metric::BothCpu).expect("two rounds");
    assert!((both.median - (12.0 / 15.0 + 39.0 / 45.0) / 2.0).abs() < 1e-9, "{both:?}");
    assert_eq!(record.ratio("get64", "shoal", "nobody", Metric::ProxyCpu), None);
}

#[test]
fn who_has_no_proxy_has_no_ratio_of_it() {
    let record = record(vec![sample(1, "nutcracker", Some(10.0), 5.0), sample(1, "direct", None, 4.0)]);
    assert_eq!(record.ratio("get64", "direct", "nutcracker", Metric::ProxyCpu), None);
    let redis = record.ratio("get64", "direct", "nutcracker", Metric::RedisCpu).expect("one round");
    assert!((redis.median - 0.8).abs() < 1e-9, "{redis:?}");
}

#[test]
fn a_median_is_the_middle() {
    let spread = |figures: &[f64]| Spread::of(figures.to_vec());
    assert_eq!(spread(&[]), None);
    assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
    assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    assert_eq!(Spread { median: 0.5, min: 0.25, max: 1.0 }.show(2), "0.50 (0.25–1.00)");
}

#[test]
fn a_result_of_the_load_is_read_whatever_the_command() {
    let head = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n";
    let line =
        "\"MSET a,\"b\" 1\",\"20408.16\",\"0.167\",\"0.024\",\"0.071\",\"0.159\",\"3.927\",\"5.031\"\n";
    let seen = load::parse(&format!("{head}{line}")).expect("a result");
    assert_eq!((seen.rate, seen.p50_ms, seen.p99_ms), (20408.16, 0.071, 3.927));
    assert!(load::parse(head).is_none());
}

#[test]
fn a_command_has_all_its_keys() {
    let words = |name: &str| {
        let workload = workload::WORKLOADS.iter().find(|workload| workload.name == name).expect("a workload");
        workload.words()
    };
    assert_eq!(words("get64"), ["GET", "bench:64:__rand_int__"]);
    assert_eq!(words("mget10").len(), 11);
    assert_eq!(words("mset10").len(), 21);
    assert_eq!(words("set16k")[2].len(), 16 * 1024);
    assert!(workload::chosen(&["get65".to_owned()], false).is_err());
}
