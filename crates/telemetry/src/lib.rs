//! What a process counts, and how it tells.
//!
//! ```text
//!  one thread ──writes──▶ Counter, Gauge, Histogram ◀──reads── any thread
//!                                                        └─▶ Exposition ─▶ io::http ─▶ Prometheus
//! ```
//!
//! Invariant: counting takes no lock, no locked instruction, and no cache line that another thread
//! writes. The price is the single-writer rule, see [`Counter`].
//!
//! Does not know what is counted, keep a registry, or sum over threads: the owner of the counters does.

mod cells;
mod exposition;
mod histogram;
pub mod http;
pub mod io;

pub use cells::{CacheLine, Counter, Gauge};
pub use exposition::{Error, Exposition, Family, Kind, Value};
pub use histogram::{Histogram, Snapshot};
