//! Which server owns a key, bit for bit as the programs that wrote the data decided it.
//!
//! ```text
//!  key ─▶ HashTag::hashed_part ─▶ Hash::hash ─▶ Continuum::lookup ─▶ server     Twemproxy 0.5.0
//!                                 Random::next ──────┘
//!  key ─▶ redis_shard::Ring::lookup ─────────────────────────────▶ server     redis-shard 0.3.7
//!  key ─▶ slot ──────────────────────────────────────────────────▶ slot       Redis Cluster
//! ```
//!
//! Invariant: no release changes an output bit. A changed bit is a key that its owner cannot find
//! again. What looks like a fault in a hash (poor spread, lingering bits, a short name) is part of
//! the contract; golden vectors made with the original programs hold it (`testdata/hashkit`).
//!
//! Does not know addresses, health or configuration (`topology` does), has no I/O, no clock, and no
//! chance but the [`Random`] its caller owns. Bad input gets an [`Error`], never a panic.

mod continuum;
mod distribution;
mod error;
mod hash;
mod hash_tag;
mod names;
mod random;
pub mod redis_shard;
mod slot;

pub use continuum::Continuum;
pub use distribution::{Distribution, Member, server_order, sort_key};
pub use error::Error;
pub use hash::{CharSign, Hash};
pub use hash_tag::HashTag;
pub use random::Random;
pub use slot::{SLOTS, slot};

#[cfg(test)]
mod testdata;
