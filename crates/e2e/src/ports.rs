//! Loopback ports that nobody listens on.
//!
//! They come from below the range that the kernel gives to outgoing connections: a port from inside it can
//! be taken between our look and the server's bind by any `connect()` on the machine. Another program may
//! still be faster, so whoever starts a server with such a port tries again with another.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Ports given out by this process; none is given twice, so a dead server's port stays dead.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of 127.0.0.1 that is free now and that this process has not given out before.
///
/// # Panics
/// When none is left.
#[must_use]
pub fn free() -> u16 {
    let range = below_outgoing();
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Test processes that run at the same time begin at different places.
    let width = u32::from(range.end - range.start);
    let offset = std::process::id().wrapping_mul(2_654_435_761) % width;
    for step in 0..width {
        let in_range = u16::try_from((offset + step) % width).expect("a range of ports is narrower than u16");
        let port = range.start + in_range;
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no free port left in {range:?}");
}

/// From 20000 to the first port that outgoing connections may take.
fn below_outgoing() -> Range<u16> {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(32768);
    // Where the whole range is outgoing (some containers), the retry of the starter has to do.
    if first > 21_000 { 20_000..first } else { 20_000..32_768 }
}
