//! Connections by TLS: what the worker does with readiness where a [`Layer`] stands between socket and engine.
//!
//! All that was decrypted goes to the engine at once, so that a layer never holds what no event tells of. A connection is
//! blocked while sealed bytes wait for its socket: at most [`SEALED_MAX`](crate::tls::layer::SEALED_MAX) and a record.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::{Connecting, UPSTREAM, Worker, failure};
use crate::arena::Key;
use crate::engine::SessionEnd;
use crate::failure::Failure;
use crate::io::log;
use crate::io::tls_socket::{self, End};
use crate::time::Time;
use crate::tls::ListenTls;
use crate::tls::fault::{Fault, Reason};
use crate::tls::layer::Layer;

/// What a client reads that does not begin with a handshake.
const SPEAK_TLS: &[u8] = b"-ERR this port speaks TLS: connect by TLS (redis-cli --tls)\r\n";

/// The second in which a client's fault was last logged.
static FAULT_LOGGED: AtomicU64 = AtomicU64::new(0);

impl Worker {
    /// The layer of a client that has just been accepted, whose handshake begins.
    pub(super) fn accept_layer(&mut self, key: Key, tls: &Arc<ListenTls>) -> Result<Box<Layer>, Fault> {
        let layer = Layer::accept(&tls.config)?;
        let now = self.now();
        let crowded_out = self.client_handshakes.begin(key.to_bits(), now, tls.handshake_timeout);
        if let Some(oldest) = crowded_out {
            self.refuse_client(Key::from_bits(oldest), &Fault::of(Reason::Crowded));
        }
        Ok(Box::new(layer))
    }

    /// Something happened on the socket of a client that speaks TLS.
    pub(super) fn handle_secured_session(&mut self, key: Key, flags: EventFlags) {
        let Some(Some(session)) = self.sessions.get_mut(key.index as usize) else { return };
        let Some(layer) = &mut session.tls else { return };
        if flags.contains(EventFlags::OUT) && (session.blocked || layer.has_sealed()) {
            match tls_socket::flush(layer, &session.socket) {
                Ok(all) => session.blocked = !all,
                Err(_) => return self.engine.handle_session_end(key, SessionEnd::Error),
            }
            if !session.blocked {
                self.engine.handle_session_writable(key);
            }
        }
        if !flags.intersects(READABLE) {
            return;
        }
        let shaking = layer.is_shaking_hands();
        if !shaking && !self.engine.wants_bytes(key) {
            session.unread = true;
            return self.hang_up_if_gone(key, flags);
        }
        session.unread = false;
        self.plain.clear();
        let received = tls_socket::receive(layer, &session.socket, &mut self.scratch, &mut self.plain);
        session.blocked |= layer.has_sealed();
        if shaking && !layer.is_shaking_hands() {
            self.client_handshakes.end(key.to_bits());
            self.engine.handle_session_secured(key, layer.secured());
            // What it is to be told already has waited for this.
            session.blocked = layer.has_sealed();
            self.engine.handle_session_writable(key);
        }
        if !self.plain.is_empty() {
            self.engine.handle_session_bytes(key, &self.plain);
        }
        match received.end {
            None if received.full || flags.contains(EventFlags::RDHUP) => self.again.push(key.to_bits()),
            None => {}
            Some(End::Eof) => self.engine.handle_session_end(key, SessionEnd::Eof),
            Some(End::Fault(fault)) if shaking => self.refuse_client(key, &fault),
            Some(End::Fault(_) | End::System(_)) => self.engine.handle_session_end(key, SessionEnd::Error),
        }
    }

    /// A client does not come in.
    pub(super) fn refuse_client(&mut self, key: Key, fault: &Fault) {
        self.client_handshakes.end(key.to_bits());
        let Some(Some(session)) = self.sessions.get_mut(key.index as usize) else { return };
        if session.key != key {
            return;
        }
        if fault.reason == Reason::NotTls {
            // Whoever does not read it sees the end of the connection.
            let _ = rustix::net::send(&session.socket, SPEAK_TLS, SendFlags::NOSIGNAL);
            // Nothing sealed goes out behind it.
            session.tls = None;
        }
        if let Some((pool, peer)) = self.engine.handle_session_unsecured(key, fault.reason) {
            // Whoever can reach the port can bring this about: one line a second is enough.
            log::once_a_second(&FAULT_LOGGED, &format!("tls: client {peer} of pool {pool} {fault}"));
        }
        self.engine.handle_session_end(key, SessionEnd::Error);
    }

    /// A connection to a server stands; whether its handshake begins now, rather than requests.
    pub(super) fn begin_server_handshake(&mut self, attempt: Key) -> bool {
        let Some(entry) = self.upstreams.get_mut(attempt) else { return true };
        let upstream = entry.upstream;
        let Some((tls, endpoint)) = self.engine.upstream_tls(upstream) else { return false };
        let patience = tls.handshake_timeout;
        let layer = match tls.name_of(endpoint) {
            Some(name) => Layer::connect(&tls.config, name),
            // The configuration was refused if there was none.
            None => Err(Fault::of(Reason::Protocol)),
        };
        match layer {
            Ok(layer) => {
                let layer = entry.tls.insert(Box::new(layer));
                if let Connecting::Done(socket) = &entry.state {
                    // A socket that is broken says so by an event as well.
                    entry.blocked = tls_socket::flush(layer, socket) != Ok(true);
                }
                let now = self.now();
                self.server_handshakes.begin(attempt.to_bits(), now, patience);
            }
            Err(fault) => self.fail_handshake(upstream, fault),
        }
        true
    }

    /// Something happened on the socket of a server that is spoken to by TLS.
    pub(super) fn handle_secured_upstream(&mut self, attempt: Key, flags: EventFlags) {
        let Some(entry) = self.upstreams.get_mut(attempt) else { return };
        let upstream = entry.upstream;
        let (Connecting::Done(socket), Some(layer)) = (&entry.state, &mut entry.tls) else { return };
        if flags.contains(EventFlags::OUT) && (entry.blocked || layer.has_sealed()) {
            match tls_socket::flush(layer, socket) {
                Ok(all) => entry.blocked = !all,
                Err(error) => return self.engine.handle_upstream_failed(upstream, &failure(error)),
            }
            if !entry.blocked {
                self.engine.handle_upstream_writable(upstream);
            }
        }
        if !flags.intersects(READABLE) {
            return;
        }
        let shaking = layer.is_shaking_hands();
        if !shaking && !self.engine.wants_upstream_bytes(upstream) {
            entry.unread = true;
            return;
        }
        entry.unread = false;
        self.plain.clear();
        let received = tls_socket::receive(layer, socket, &mut self.scratch, &mut self.plain);
        entry.blocked |= layer.has_sealed();
        if shaking && !layer.is_shaking_hands() {
            self.server_handshakes.end(attempt.to_bits());
            self.engine.handle_upstream_secured(upstream);
            self.engine.handle_upstream_connected(upstream);
        }
        if !self.plain.is_empty() {
            self.engine.handle_upstream_bytes(upstream, &self.plain);
        }
        match received.end {
            None if received.full || flags.contains(EventFlags::RDHUP) => {
                self.again.push(attempt.to_bits() | UPSTREAM);
            }
            None => {}
            Some(End::Eof) => self.engine.handle_upstream_failed(upstream, &Failure::Closed),
            Some(End::System(error)) => self.engine.handle_upstream_failed(upstream, &failure(error)),
            Some(End::Fault(fault)) => self.fail_handshake(upstream, fault),
        }
    }

    /// TLS failed towards a server: in the handshake, or by the server's alert behind it.
    fn fail_handshake(&mut self, upstream: Key, fault: Fault) {
        self.engine.handle_upstream_unsecured(upstream, fault.reason);
        self.engine.handle_upstream_failed(upstream, &Failure::Tls(fault.words));
    }

    /// When the next handshake is late.
    pub(super) fn next_late_handshake(&self) -> Time {
        self.client_handshakes.poll_timeout().min(self.server_handshakes.poll_timeout())
    }

    /// Gives up on handshakes that take too long.
    pub(super) fn expire_handshakes(&mut self) {
        let now = self.now();
        if self.next_late_handshake() > now {
            return;
        }
        while let Some(late) = self.client_handshakes.poll_late(now) {
            self.refuse_client(Key::from_bits(late), &Fault::of(Reason::TimedOut));
        }
        while let Some(late) = self.server_handshakes.poll_late(now) {
            if let Some(entry) = self.upstreams.get(Key::from_bits(late)) {
                let upstream = entry.upstream;
                self.fail_handshake(upstream, Fault::of(Reason::TimedOut));
            }
        }
        self.act();
    }
}

/// The events after which a socket is read.
pub(super) const READABLE: EventFlags =
    EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::HUP).union(EventFlags::ERR);

/// Sends `output` on a socket, by its layer if it has one: how many bytes, and whether the socket takes no more for now.
#[inline]
pub(super) fn send(
    socket: &OwnedFd,
    layer: Option<&mut Box<Layer>>,
    output: &[u8],
) -> Result<(usize, bool), Errno> {
    match layer {
        None => {
            let count = rustix::net::send(socket, output, SendFlags::NOSIGNAL)?;
            Ok((count, count < output.len()))
        }
        // The end of the handshake takes it up again: a session that ends with this is told why.
        Some(layer) if layer.is_shaking_hands() => Ok((0, true)),
        Some(layer) => {
            let count = tls_socket::send(layer, socket, output)?;
            Ok((count, count < output.len() || layer.has_sealed()))
        }
    }
}
