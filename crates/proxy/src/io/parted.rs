//! Connections of clients that we have closed and they have not yet.
//!
//! A socket that is closed with bytes unread is reset, and a reset may take with it replies that the client has not read
//! yet. So while the process leaves, our side is shut, and what still comes is read away until the client closes too.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{RecvFlags, Shutdown};

use super::inbox::Seat;
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

/// The connections of a worker whose sessions have ended.
#[derive(Debug, Default)]
pub struct Parted {
    begun: bool,
    /// By the bits of their session's key.
    sockets: BTreeMap<u64, Connection>,
    /// When each is closed in any case.
    deadlines: BTreeSet<(Time, u64)>,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    /// What is to go out yet, if it speaks TLS.
    layer: Option<Box<Layer>>,
    until: Time,
    /// Behind the socket: what is counted has a descriptor.
    _seat: Seat,
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

    /// Closes `socket`, at once unless [`Parted::begin`] was called or sealed bytes wait for it. `seat` is kept as long as it is
    /// open.
    pub fn close(
        &mut self,
        session: Key,
        socket: OwnedFd,
        mut layer: Option<Box<Layer>>,
        seat: Seat,
        now: Time,
    ) {
        if let Some(sealed) = &mut layer {
            sealed.close();
            if tls_socket::flush(sealed, &socket) == Ok(false) && self.sockets.len() < UNSENT_MAX {
                return self
                    .keep(session, Connection { socket, layer, until: now + UNSENT_LINGER, _seat: seat });
            }
        }
        // Shutting fails where the client has reset the connection: then nobody is left to wait for.
        if self.begun && rustix::net::shutdown(&socket, Shutdown::Write).is_ok() {
            self.keep(session, Connection { socket, layer: None, until: now + LINGER, _seat: seat });
            // Where the client closed first, nothing will say so again.
            self.handle_event(session);
        }
    }

    fn keep(&mut self, session: Key, connection: Connection) {
        self.deadlines.insert((connection.until, session.to_bits()));
        self.sockets.insert(session.to_bits(), connection);
    }

    fn remove(&mut self, bits: u64) {
        if let Some(connection) = self.sockets.remove(&bits) {
            self.deadlines.remove(&(connection.until, bits));
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
                    return self.remove(bits);
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
                    return self.remove(bits);
                }
            }
        }
    }

    /// When [`Parted::close_late`] is due.
    #[inline]
    pub fn poll_timeout(&self) -> Time {
        self.deadlines.first().map_or(Time::NEVER, |(until, _)| *until)
    }

    /// Closes those whose clients took too long.
    pub fn close_late(&mut self, now: Time) {
        while let Some(&(until, bits)) = self.deadlines.first()
            && until <= now
        {
            self.remove(bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use crate::io::inbox::Inbox;

    fn key(index: u32) -> Key {
        Key::from_bits(u64::from(index))
    }

    #[test]
    fn a_connection_is_counted_until_it_is_closed_and_each_has_its_own_time() {
        let inbox = Arc::new(Inbox::new().unwrap());
        let mut parted = Parted::default();
        let start = Time::from_micros(5);
        let close = |parted: &mut Parted, index, now| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            parted.close(key(index), ours.into(), None, Seat::of(&inbox), now);
            theirs
        };
        let mut gone = close(&mut parted, 1, start);
        assert_eq!((gone.read(&mut [0]).unwrap(), inbox.sessions()), (0, 0), "it was closed at once");
        assert_eq!(parted.poll_timeout(), Time::NEVER);
        parted.begin();
        let mut second = close(&mut parted, 2, start + LINGER / 2);
        let first = close(&mut parted, 3, start);
        let _third = close(&mut parted, 4, start + LINGER);
        assert_eq!((inbox.sessions(), parted.poll_timeout()), (3, start + LINGER));
        // What still comes is read away; who closes is gone before its time.
        second.write_all(b"late").unwrap();
        parted.handle_event(key(2));
        assert_eq!(inbox.sessions(), 3);
        drop(first);
        parted.handle_event(key(3));
        assert_eq!((inbox.sessions(), parted.poll_timeout()), (2, start + LINGER + LINGER / 2));
        parted.close_late(start + LINGER);
        assert_eq!(inbox.sessions(), 2);
        parted.close_late(start + LINGER + LINGER / 2);
        assert_eq!((inbox.sessions(), parted.poll_timeout()), (1, start + 2 * LINGER));
        parted.close_late(start + 3 * LINGER);
        assert!(parted.is_empty() && inbox.sessions() == 0);
    }
}
