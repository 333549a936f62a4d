//! The local runtime with real processes.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look at the machine, and end where it is not as they need it"
)]

mod backup;
mod faults;
mod gate;
mod kills;
mod lives;
mod proxy;
mod secrets;
mod sentinel;
mod support;
mod tenant;
