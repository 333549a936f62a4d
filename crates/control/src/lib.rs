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
mod error;
pub mod io;
pub mod quantity;
pub mod resource;
pub mod store;

pub use error::Error;
