//! Connections of clients that we have closed and they have not yet.
//!
//! A socket that is closed with bytes unread is reset, and a reset may take with it replies that the client has not read
//! yet. So while the process leaves, our side is shut, and what still comes is read away until the client closes too.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{RecvFlags, Shutdown};

use crate::arena::Key;
use crate::time::Time;

/// How long a client may take to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// How often a connection is read at a time: a client that sends without end is closed when its time is over.
const READS: usize = 64;

/// The connections of a worker that is leaving.
#[derive(Debug, Default)]
pub struct Parted {
    begun: bool,
    /// By the bits of their session's key, with the time at which they are closed in any case.
    sockets: BTreeMap<u64, (OwnedFd, Time)>,
}

impl Parted {
    /// From now on connections are closed by both sides.
    pub fn begin(&mut self) {
        self.begun = true;
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Closes `socket`, at once unless [`Parted::begin`] was called. `now` is since the worker's epoch.
    pub fn close(&mut self, session: Key, socket: OwnedFd, now: Duration) {
        // Shutting fails where the client has reset the connection: then nobody is left to wait for.
        if self.begun && rustix::net::shutdown(&socket, Shutdown::Write).is_ok() {
            let until = Time::default() + now + LINGER;
            self.sockets.insert(session.to_bits(), (socket, until));
            // Where the client closed first, nothing will say so again.
            self.handle_event(session);
        }
    }

    /// Something happened on a connection that no session has any more.
    pub fn handle_event(&mut self, session: Key) {
        let bits = session.to_bits();
        let Some((socket, _)) = self.sockets.get(&bits) else { return };
        let mut unwanted = [0; 4096];
        for _ in 0..READS {
            match rustix::net::recv(socket, &mut unwanted, RecvFlags::empty()) {
                Ok((count, _)) if count > 0 => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Ok(_) | Err(_) => {
                    self.sockets.remove(&bits);
                    return;
                }
            }
        }
    }

    /// When [`Parted::close_late`] is due.
    pub fn poll_timeout(&self) -> Time {
        self.sockets.values().map(|(_, until)| *until).min().unwrap_or(Time::NEVER)
    }

    /// Closes those whose clients took too long.
    pub fn close_late(&mut self, now: Duration) {
        let now = Time::default() + now;
        self.sockets.retain(|_, (_, until)| *until > now);
    }
}
