//! The proxy: clients on one side, the shards of a pool on the other, one event loop a core and nothing shared on the way of a
//! request.
//!
//! ```text
//!   config ──▶ settings ──▶ io::process ──▶ io::worker × n ──▶ engine: session ▸ policy ▸ upstream ▸ join
//!                               │                                 (no sockets, no clock: simulated with seeds)
//!                               └── accept, resolve, probe, statistics: threads beside the loops
//! ```
//!
//! Invariant: a worker takes no lock and touches no other worker's cache lines for a request. What workers agree on
//! ([`health`]) is read by one load and written when something fails.

pub mod access;
pub mod arena;
mod buffer;
pub mod config;
pub mod engine;
mod error;
pub mod failure;
#[cfg(test)]
mod fixture;
pub mod following;
mod gather;
pub mod hand_over;
pub mod health;
mod in_flight;
mod io;
mod join;
mod latency;
mod local;
mod mode;
pub mod moved_keys;
mod policy;
mod replication;
pub mod returning;
pub mod scan;
mod scripts;
#[cfg(test)]
mod seeds;
pub mod server_auth;
mod session;
pub mod settings;
pub mod slow_log;
pub mod snapshot;
mod standing;
pub mod stats;
mod subscriber;
pub mod succession;
pub mod time;
pub mod tls;
pub mod tracking;
mod upstream;

pub use error::Error;
pub use io::process;
pub use io::stats_port::DESCRIBED as DESCRIBED_STATS;
