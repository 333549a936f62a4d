//! Starts real programs and talks to them: what the end-to-end tests stand on.
//!
//! ```text
//!   RawClient ──▶ Nutcracker | ShoalProxy | OwnProxy ──▶ RedisServer | FakeServer
//!                       (trait Proxy)
//!   all of them live in a Workplace, are ended on drop, and die with the test process
//! ```
//!
//! The harness is itself a test: what cannot be started or does not come true within
//! [`wait::DEADLINE`] panics with a sentence that names it and shows the program's log.
//!
//! Does not know what the proxies should answer: `testdata/nutcracker` does, and [`cases`] walks it.

pub mod cases;
pub mod chance;
pub mod escape;
pub mod fake_server;
pub mod libraries;
pub mod link;
pub mod load;
pub mod neighbours;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod raw_client;
pub mod redis_server;
pub mod sentinel;
pub mod sharded;
pub mod startup;
pub mod tls;
pub mod wait;
pub mod workplace;

pub use chance::Chance;
pub use fake_server::{Answer, FakeServer};
pub use link::Link;
pub use neighbours::Neighbours;
pub use process::Process;
pub use proxy::{Config, Nutcracker, OwnPool, OwnProxy, Pool, Proxy, ShoalProxy};
pub use raw_client::{End, RawClient};
pub use redis_server::RedisServer;
pub use sentinel::{Sentinel, Shown, Watched};
pub use sharded::Sharded;
pub use workplace::Workplace;
