//! Connections of clients that we have closed and they have not yet.
//!
//! A socket that is closed with bytes unread is reset, and a reset may take with it replies that the client has not read
//! yet. So while the process leaves, our side is shut, and what still comes is read away until the client closes too.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{RecvFlags, Shutdown};

use super::tls_socket;
use crate::arena::Key;
use crate::time::Time;
use crate::tls::layer::Layer;

/// How long a client may take to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client that speaks TLS may take to read what was sealed for it when its session ended.
const UNSENT_LINGER: Duration = Duration::from_secs(10);

/// Connections that may wait so; one more loses its last bytes.
const UNSENT_MAX: usize = 1024;

/// How often a connection is read at a time: a client that sends without end is closed when its time is over.
const READS: usize = 64;

/// The connections of a worker that is leaving.
#[derive(Debug, Default)]
pub struct Parted {
    begun: bool,
    /// By the bits of their session's key.
    sockets: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    /// What is to go out yet, if it speaks TLS.
    layer: Option<Box<Layer>>,
    /// When it is closed in any case.
    until: Time,
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

    /// Closes `socket`, at once unless [`Parted::begin`] was called or sealed bytes wait for it. `now` is since the worker's
    /// epoch.
    pub fn close(&mut self, session: Key, socket: OwnedFd, mut layer: Option<Box<Layer>>, now: Duration) {
        if let Some(sealed) = &mut layer {
            sealed.close();
            if tls_socket::flush(sealed, &socket) == Ok(false) && self.sockets.len() < UNSENT_MAX {
                let until = Time::default() + now + UNSENT_LINGER;
                self.sockets.insert(session.to_bits(), Connection { socket, layer, until });
                return;
            }
        }
        // Shutting fails where the client has reset the connection: then nobody is left to wait for.
        if self.begun && rustix::net::shutdown(&socket, Shutdown::Write).is_ok() {
            let until = Time::default() + now + LINGER;
            self.sockets.insert(session.to_bits(), Connection { socket, layer: None, until });
            // Where the client closed first, nothing will say so again.
            self.handle_event(session);
        }
    }

    /// Something happened on a connection that no session has any more.
    pub fn handle_event(&mut self, session: Key) {
        let bits = session.to_bits();
        let Some(connection) = self.sockets.get_mut(&bits) else { return };
        if let Some(layer) = &mut connection.layer {
            match tls_socket::flush(layer, &connection.socket) {
                Ok(false) => return,
                Ok(true) if self.begun => connection.layer = None,
                Ok(true) | Err(_) => {
                    self.sockets.remove(&bits);
                    return;
                }
            }
            // A client that has reset the connection is seen by the reading below.
            let _ = rustix::net::shutdown(&connection.socket, Shutdown::Write);
        }
        let socket = &connection.socket;
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
        self.sockets.values().map(|connection| connection.until).min().unwrap_or(Time::NEVER)
    }

    /// Closes those whose clients took too long.
    pub fn close_late(&mut self, now: Duration) {
        let now = Time::default() + now;
        self.sockets.retain(|_, connection| connection.until > now);
    }
}
