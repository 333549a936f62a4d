//! The whole of it: what is declared comes to be, with the real store, the real runtime, real Redis and real proxies.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look at the machine, and end where it is not as they need it"
)]

mod fleet;
mod kills;
mod lives;
#[path = "../local/support.rs"]
#[expect(dead_code, reason = "of what the local runtime's tests stand on, these need a part")]
mod support;
mod writers;
