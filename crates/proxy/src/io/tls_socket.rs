//! The socket under a [`Layer`].

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

use crate::tls::fault::{Fault, Reason};
use crate::tls::layer::Layer;

/// What one look at a socket brought, besides plaintext.
#[derive(Debug)]
pub struct Received {
    /// There may be more to read, of which nothing will tell.
    pub full: bool,
    /// Nothing more will come.
    pub end: Option<End>,
}

/// Why nothing more comes.
#[derive(Debug)]
pub enum End {
    /// The other side closed its sending side.
    Eof,
    /// The socket failed.
    System(Errno),
    /// TLS failed.
    Fault(Fault),
}

/// Reads `socket` once, by way of `raw`; all plaintext of it is appended to `plain`. What the layer answers of itself, such as
/// its half of a handshake, is sent as far as the socket takes it.
pub fn receive(layer: &mut Layer, socket: impl AsFd, raw: &mut [u8], plain: &mut Vec<u8>) -> Received {
    let socket = socket.as_fd();
    let count = match rustix::net::recv(socket, &mut *raw, RecvFlags::empty()) {
        Ok((0, _)) if layer.is_shaking_hands() => {
            return Received::end(End::Fault(Fault::of(Reason::Closed)));
        }
        Ok((0, _)) => return Received::end(End::Eof),
        Ok((count, _)) => count,
        Err(Errno::AGAIN | Errno::INTR) => return Received { full: false, end: None },
        Err(error) => return Received::end(End::System(error)),
    };
    let handled = layer.handle_bytes(&raw[..count], plain);
    let flushed = flush(layer, socket);
    let end = match (handled, flushed) {
        // An alert that does not go out changes nothing.
        (Err(fault), _) => Some(End::Fault(fault)),
        (Ok(()), Err(error)) => Some(End::System(error)),
        (Ok(()), Ok(_)) => layer.has_ended().then_some(End::Eof),
    };
    Received { full: count == raw.len(), end }
}

/// Sends what is sealed; whether all of it is gone. If not, the socket says when it takes more.
///
/// # Errors
/// The socket's.
pub fn flush(layer: &mut Layer, socket: impl AsFd) -> Result<bool, Errno> {
    let mut socket = Socket(socket.as_fd());
    while layer.has_sealed() {
        match layer.send(&mut socket) {
            Ok(_) => {}
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INTR) => {}
                Some(Errno::AGAIN) => return Ok(false),
                Some(errno) => return Err(errno),
                None => return Err(Errno::IO),
            },
        }
    }
    Ok(true)
}

/// Seals and sends as much of `plain` as socket and layer take: how many bytes of it, all of them unless the socket is full or
/// the handshake is under way.
///
/// # Errors
/// The socket's.
pub fn send(layer: &mut Layer, socket: impl AsFd, plain: &[u8]) -> Result<usize, Errno> {
    let socket = socket.as_fd();
    let mut taken = 0;
    loop {
        let sealed = layer.seal(&plain[taken..]);
        taken += sealed;
        if !flush(layer, socket)? || sealed == 0 || taken == plain.len() {
            return Ok(taken);
        }
    }
}

impl Received {
    fn end(end: End) -> Received {
        Received { full: false, end: Some(end) }
    }
}

struct Socket<'s>(BorrowedFd<'s>);

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut nothing_else = SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(self.0, pieces, &mut nothing_else, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
