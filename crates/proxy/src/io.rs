//! Everything that waits: sockets, clocks, threads, signals. What they mean is decided in [`crate::engine`].
//!
//! ```text
//!   main thread:  accept ──▶ inbox of the worker with the fewest sessions; signals
//!   worker × n:   epoll ──▶ Engine ──▶ send
//!   resolver:     names to addresses, off the loops     prober: ejected servers, before they return
//!   follower:     sentinels, and who is the primary
//!   stats, admin: sums over the workers' counters
//! ```
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the room where waiting is allowed"
)]

pub(crate) mod admin;
pub(crate) mod follower;
pub(crate) mod hand_over;
pub(crate) mod inbox;
pub(crate) mod inherited;
pub(crate) mod listener;
pub mod log;
pub(crate) mod observed;
pub(crate) mod orders;
pub(crate) mod parted;
pub(crate) mod pid_file;
pub(crate) mod prober;
pub mod process;
pub(crate) mod reports;
pub(crate) mod resolver;
pub(crate) mod return_connection;
pub(crate) mod running;
pub(crate) mod secret_file;
pub(crate) mod shards_page;
pub(crate) mod signals;
pub(crate) mod socket_file;
pub(crate) mod stats_port;
pub(crate) mod tls_files;
pub(crate) mod tls_socket;
pub(crate) mod tls_stream;
pub(crate) mod visits;
pub(crate) mod worker;
