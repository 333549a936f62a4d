//! Keeps what should be and what is, and brings the second to the first.
//!
//! ```text
//!   apply ──▶ admission ──▶ store ──▶ world ──▶ plan ──▶ execute ──▶ runtime ──▶ processes
//!             (the one        ▲         ▲                  │
//!              entrance)      └─────────┴──── observed ◀───┘
//! ```
//!
//! Nothing outside `io` waits, opens a file or reads the clock.

pub mod admission;
pub mod api;
pub mod back_off;
pub mod backup;
pub mod credentials;
mod error;
pub mod events;
pub mod execute;
pub mod host_check;
pub mod io;
pub mod plan;
pub mod quantity;
pub mod redis_conf;
pub mod redis_version;
pub mod reply;
pub mod resource;
pub mod runtime;
pub mod service;
#[cfg(test)]
mod simulation;
pub mod store;
pub mod world;

pub use error::Error;
