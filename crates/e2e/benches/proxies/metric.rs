//! Figures of one measurement, and the ways to sum many of them up.

use serde::{Deserialize, Serialize};

/// One contestant, one workload, one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// From 1.
    pub round: u32,
    /// Name of the workload.
    pub workload: String,
    /// Name of the contestant.
    pub contestant: String,
    /// CPU of the proxy process, all threads, microseconds a request; none without a proxy.
    pub proxy_cpu_us: Option<f64>,
    /// CPU of all Redis servers, microseconds a request.
    pub redis_cpu_us: f64,
    /// Requests a second.
    pub requests_per_second: f64,
    /// Median latency, milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of latency, milliseconds.
    pub p99_ms: f64,
    /// System calls of the proxy a request, from a run of its own.
    pub syscalls: Option<f64>,
    /// Most memory that the proxy held (`VmHWM`), KiB; it is started afresh for each sample.
    pub memory_peak_kib: Option<f64>,
}

/// A figure of a [`Sample`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// CPU of the proxy.
    ProxyCpu,
    /// CPU of the servers.
    RedisCpu,
    /// CPU of both.
    BothCpu,
    /// Requests a second.
    Rate,
    /// Median latency.
    P50,
    /// 99th percentile of latency.
    P99,
    /// System calls of the proxy.
    Syscalls,
    /// Peak memory of the proxy.
    Memory,
}

impl Metric {
    /// All, in the order of the columns.
    pub const ALL: [Self; 8] = [
        Self::ProxyCpu,
        Self::RedisCpu,
        Self::BothCpu,
        Self::Rate,
        Self::P50,
        Self::P99,
        Self::Syscalls,
        Self::Memory,
    ];

    /// Head of its column, without the unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProxyCpu => "CPU of proxy",
            Self::RedisCpu => "CPU of Redis",
            Self::BothCpu => "CPU of both",
            Self::Rate => "rate",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Syscalls => "system calls",
            Self::Memory => "peak memory",
        }
    }

    /// Its unit.
    pub fn unit(self) -> &'static str {
        match self {
            Self::ProxyCpu | Self::RedisCpu | Self::BothCpu => "µs/request",
            Self::Rate => "requests/s",
            Self::P50 | Self::P99 => "ms",
            Self::Syscalls => "calls/request",
            Self::Memory => "MiB",
        }
    }

    /// Digits after the point.
    pub fn digits(self) -> usize {
        match self {
            Self::Rate => 0,
            Self::Memory => 1,
            Self::P50 | Self::P99 => 3,
            _ => 2,
        }
    }

    /// The figure in [`Self::unit`], where it was measured.
    pub fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::ProxyCpu => sample.proxy_cpu_us,
            Self::RedisCpu => Some(sample.redis_cpu_us),
            Self::BothCpu => Some(sample.redis_cpu_us + sample.proxy_cpu_us.unwrap_or(0.0)),
            Self::Rate => Some(sample.requests_per_second),
            Self::P50 => Some(sample.p50_ms),
            Self::P99 => Some(sample.p99_ms),
            Self::Syscalls => sample.syscalls,
            Self::Memory => sample.memory_peak_kib.map(|kib| kib / 1024.0),
        }
    }
}

/// Median and extremes of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these figures; none of none.
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let half = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[half]
        } else {
            f64::midpoint(figures[half - 1], figures[half])
        };
        Some(Self { median, min, max })
    }

    /// `median (min–max)` with so many digits after the point.
    pub fn show(&self, digits: usize) -> String {
        let Self { median, min, max } = self;
        if min == max {
            return format!("{median:.digits$}");
        }
        format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
    }
}
