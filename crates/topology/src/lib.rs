//! Which shard owns which key, and where it is: one immutable, numbered value.
//!
//! ```text
//!  nutcracker.yml ─▶ nutcracker::Config ─▶ Topology ─▶ Router ─▶ shard of a key
//!                        JSON ────────────▶   │
//!                                             └─▶ Diff (two of them) ─▶ one line per change
//! ```
//!
//! Invariant: a topology does not know who decided it or how it came. Nothing here opens a file or a
//! socket, resolves a name, reads a clock, or draws chance that is not passed in.
//!
//! Does not hash (`hashkit` does), watch servers, or decide who is ejected.

mod diff;
mod distribution;
mod endpoint;
mod error;
mod nearest;
pub mod nutcracker;
mod router;
pub mod serde_text;
mod topology;
mod validate;

pub use diff::{Change, Diff};
pub use distribution::Distribution;
pub use endpoint::Endpoint;
pub use error::Error;
pub use nearest::nearest;
pub use router::{Route, Router};
pub use shoal_hashkit::{Hash, HashTag};
pub use topology::{CredentialRef, FORMAT, Mode, Pool, SHARDS_MAX, Shard, ShardState, Topology};
