//! One event loop: epoll on one side, the engine on the other.
//!
//! Sockets are registered once, edge-triggered, for reading and writing; nothing is armed or disarmed afterwards. A round
//! reads everything that is ready, lets the engine work, then writes each touched upstream once, then each touched session.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use shoal_topology::Endpoint;

use super::follower::Doubts;
use super::inbox::{Inbox, Message, ReturnOrder, Seat, SwitchOrder};
use super::parted::Parted;
use super::resolver::Resolver;
use crate::arena::{Arena, Key};
use crate::engine::{Action, Engine, SessionEnd};
use crate::failure::Failure;
use crate::moved_keys::Moved;
use crate::returning::gate::Gate;
use crate::time::Time;
use crate::tls::ListenTls;
use crate::tls::handshakes::{HANDSHAKES_MAX, Handshakes};
use crate::tls::layer::Layer;

mod secured;

/// Bytes read from one socket at a time.
const READ_SIZE: usize = 64 * 1024;

/// Events taken from epoll at a time.
const EVENTS: usize = 1024;

/// Marks a token as an upstream's; the others are sessions'.
const UPSTREAM: u64 = 1 << 63;

/// The token of the inbox.
const INBOX: u64 = u64::MAX;

/// The token of the timer.
const TIMER: u64 = u64::MAX - 1;

/// One worker: an engine and the sockets that belong to it.
pub struct Worker {
    engine: Engine,
    epoll: OwnedFd,
    /// Wakes the loop for batches that gather: epoll itself counts milliseconds.
    timer: OwnedFd,
    inbox: Arc<Inbox>,
    resolver: Resolver,
    doubts: Doubts,
    /// The process's clock, the same for all workers.
    epoch: Instant,
    sessions: Vec<Option<SessionSocket>>,
    upstreams: Arena<UpstreamSocket>,
    /// The socket of each upstream of the engine, by the index of its key.
    socket_of: Vec<Option<Key>>,
    /// Connections that may have more to read than was read.
    again: Vec<u64>,
    /// Returns that wait for this worker.
    gates: Vec<(Arc<Gate>, Sender<Moved>)>,
    scratch: Box<[u8]>,
    /// What was decrypted last.
    plain: Vec<u8>,
    client_handshakes: Handshakes,
    server_handshakes: Handshakes,
    parted: Parted,
    stopping: bool,
}

/// However a worker ends, nobody waits for it.
impl Drop for Worker {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

struct SessionSocket {
    key: Key,
    socket: OwnedFd,
    /// The socket took less than was offered, and has not said since that it takes more.
    blocked: bool,
    /// It became readable while its bytes were not wanted.
    unread: bool,
    tls: Option<Box<Layer>>,
    /// Behind the socket: it is closed when the session is not counted any more.
    seat: Seat,
}

struct UpstreamSocket {
    upstream: Key,
    state: Connecting,
    blocked: bool,
    /// It became readable while its bytes were not wanted.
    unread: bool,
    tls: Option<Box<Layer>>,
}

enum Connecting {
    /// Waiting for the resolver.
    Resolving,
    /// Waiting for the server; the addresses left to try.
    Waiting(OwnedFd, Vec<std::net::SocketAddr>),
    /// Connected.
    Done(OwnedFd),
}

impl Worker {
    /// A worker around `engine`.
    pub fn new(
        engine: Engine,
        inbox: Arc<Inbox>,
        resolver: Resolver,
        doubts: Doubts,
        epoch: Instant,
    ) -> rustix::io::Result<Worker> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, inbox.bell(), epoll::EventData::new_u64(INBOX), epoll::EventFlags::IN)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), edge)?;
        Ok(Worker {
            engine,
            epoll,
            timer,
            inbox,
            resolver,
            doubts,
            epoch,
            sessions: Vec::new(),
            upstreams: Arena::default(),
            socket_of: Vec::new(),
            again: Vec::new(),
            gates: Vec::new(),
            scratch: vec![0; READ_SIZE].into_boxed_slice(),
            plain: Vec::new(),
            client_handshakes: Handshakes::bounded(HANDSHAKES_MAX),
            // As many as the engine has connections made.
            server_handshakes: Handshakes::bounded(usize::MAX),
            parted: Parted::default(),
            stopping: false,
        })
    }

    /// Serves until told to stop, or told to leave and all have left. Calls `prepared` when the connections that are to be
    /// made before the first client comes are made or have failed.
    pub fn run(mut self, prepared: impl FnOnce()) -> rustix::io::Result<()> {
        self.begin_round();
        self.engine.preconnect();
        self.flush();
        let mut prepared = Some(prepared);
        let mut events = Vec::with_capacity(EVENTS);
        while !self.stopping && (!self.engine.has_left() || !self.parted.is_empty()) {
            if prepared.is_some()
                && !self.engine.is_connecting()
                && let Some(prepared) = prepared.take()
            {
                prepared();
            }
            events.clear();
            self.wait(&mut events)?;
            self.begin_round();
            for token in std::mem::take(&mut self.again) {
                self.handle_event(token, epoll::EventFlags::IN | epoll::EventFlags::RDHUP);
            }
            for event in &events {
                let (token, flags) = (event.data.u64(), event.flags);
                self.handle_event(token, flags);
            }
            self.engine.handle_timeout();
            self.expire_handshakes();
            self.flush();
            if self.sessions.len() > self.engine.session_places() {
                self.sessions.truncate(self.engine.session_places());
                self.sessions.shrink_to_fit();
            }
            self.answer_gates();
            self.parted.close_late(self.now());
        }
        if self.engine.cut_count() > 0 {
            let cut = self.engine.cut_count();
            super::log::warning(&format!(
                "{cut} clients were cut: half a request had come, or replies were not read"
            ));
        }
        Ok(())
    }

    fn begin_round(&mut self) {
        let now = self.now();
        // A clock before 1970 shows as 0 in the statistics, and matters nowhere else.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.engine.begin_round(now, unix.as_micros() as u64);
    }

    /// Waits for the next events, or until something is due.
    fn wait(&self, events: &mut Vec<epoll::Event>) -> rustix::io::Result<()> {
        if !self.again.is_empty() {
            return self.poll(events, Some(NO_TIME));
        }
        let gather = self.engine.poll_gather();
        if gather != Time::NEVER {
            // Company is expected, so it is looked for first: setting the timer costs more than looking.
            self.poll(events, Some(NO_TIME))?;
            if !events.is_empty() {
                return Ok(());
            }
            let left = gather.since(self.now()).max(Duration::from_micros(1));
            let once = Itimerspec { it_interval: NO_TIME, it_value: timespec(left) };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        }
        let until =
            self.engine.poll_timeout().min(self.parted.poll_timeout()).min(self.next_late_handshake());
        let left = (until != Time::NEVER).then(|| timespec(until.since(self.now())));
        self.poll(events, left)
    }

    fn poll(&self, events: &mut Vec<epoll::Event>, timeout: Option<Timespec>) -> rustix::io::Result<()> {
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn now(&self) -> Time {
        Time::from_micros(self.epoch.elapsed().as_micros() as u64)
    }

    fn handle_event(&mut self, token: u64, flags: epoll::EventFlags) {
        if token == INBOX {
            self.take_messages();
        } else if token == TIMER {
            // What was due is done by the round that it woke.
        } else if token & UPSTREAM != 0 {
            self.handle_upstream_event(Key::from_bits(token & !UPSTREAM), flags);
        } else {
            self.handle_session_event(Key::from_bits(token), flags);
        }
        self.act();
    }

    fn handle_session_event(&mut self, key: Key, flags: epoll::EventFlags) {
        let Some(Some(session)) = self
            .sessions
            .get_mut(key.index as usize)
            .filter(|entry| entry.as_ref().is_some_and(|it| it.key == key))
        else {
            return self.parted.handle_event(key);
        };
        if session.tls.is_some() {
            return self.handle_secured_session(key, flags);
        }
        if session.blocked && flags.contains(epoll::EventFlags::OUT) {
            session.blocked = false;
            self.engine.handle_session_writable(key);
        }
        if !flags.intersects(secured::READABLE) {
            return;
        }
        if !self.engine.wants_bytes(key) {
            session.unread = true;
            return self.hang_up_if_gone(key, flags);
        }
        session.unread = false;
        match rustix::net::recv(&session.socket, &mut self.scratch[..], RecvFlags::empty()) {
            Ok((0, _)) => self.engine.handle_session_end(key, SessionEnd::Eof),
            Ok((count, _)) => {
                self.engine.handle_session_bytes(key, &self.scratch[..count]);
                // A read that filled the buffer, or a close right behind the bytes: nothing will say so again.
                if count == self.scratch.len() || flags.contains(epoll::EventFlags::RDHUP) {
                    self.again.push(key.to_bits());
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.engine.handle_session_end(key, SessionEnd::Error),
        }
    }

    /// The bytes of `key`'s client are not wanted at the moment, but it may be gone.
    fn hang_up_if_gone(&mut self, key: Key, flags: epoll::EventFlags) {
        if flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            self.engine.handle_session_end(key, SessionEnd::Error);
        } else if flags.contains(epoll::EventFlags::RDHUP) {
            self.engine.handle_session_hangup(key);
        }
    }

    fn handle_upstream_event(&mut self, attempt: Key, flags: epoll::EventFlags) {
        let Some(entry) = self.upstreams.get_mut(attempt) else { return };
        let upstream = entry.upstream;
        let socket = match &mut entry.state {
            Connecting::Resolving => return,
            Connecting::Waiting(..) => return self.handle_connect_event(attempt, flags),
            Connecting::Done(_) if entry.tls.is_some() => {
                return self.handle_secured_upstream(attempt, flags);
            }
            Connecting::Done(socket) => socket,
        };
        if entry.blocked && flags.contains(epoll::EventFlags::OUT) {
            entry.blocked = false;
            self.engine.handle_upstream_writable(upstream);
        }
        if !flags.intersects(secured::READABLE) {
            return;
        }
        if !self.engine.wants_upstream_bytes(upstream) {
            entry.unread = true;
            return;
        }
        entry.unread = false;
        match rustix::net::recv(&*socket, &mut self.scratch[..], RecvFlags::empty()) {
            Ok((0, _)) => self.engine.handle_upstream_failed(upstream, &Failure::Closed),
            Ok((count, _)) => {
                self.engine.handle_upstream_bytes(upstream, &self.scratch[..count]);
                if count == self.scratch.len() || flags.contains(epoll::EventFlags::RDHUP) {
                    self.again.push(attempt.to_bits() | UPSTREAM);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => self.engine.handle_upstream_failed(upstream, &failure(error)),
        }
    }

    /// A connection that was being made stands, or failed.
    fn handle_connect_event(&mut self, attempt: Key, flags: epoll::EventFlags) {
        if !flags.intersects(epoll::EventFlags::OUT | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return;
        }
        let Some(entry) = self.upstreams.get_mut(attempt) else { return };
        let upstream = entry.upstream;
        let Connecting::Waiting(socket, others) = std::mem::replace(&mut entry.state, Connecting::Resolving)
        else {
            return;
        };
        match sockopt::socket_error(&socket) {
            Ok(Ok(())) => {
                entry.state = Connecting::Done(socket);
                if !self.begin_server_handshake(attempt) {
                    self.engine.handle_upstream_connected(upstream);
                }
                // What came in the same event will not be told again.
                if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::HUP)
                {
                    self.again.push(attempt.to_bits() | UPSTREAM);
                }
            }
            Ok(Err(error)) | Err(error) => {
                drop(socket);
                self.connect_to(attempt, others, error);
            }
        }
    }

    fn take_messages(&mut self) {
        for message in self.inbox.take() {
            match message {
                Message::Client { pool, socket, peer, tls, seat } => {
                    self.take_client(pool, (socket, seat), peer, tls.as_ref())
                }
                Message::Resolved { attempt, addresses } => {
                    if self
                        .upstreams
                        .get(attempt)
                        .is_some_and(|entry| matches!(entry.state, Connecting::Resolving))
                    {
                        self.connect_to(attempt, addresses, Errno::HOSTDOWN);
                    }
                }
                Message::Reconfigure(pools) => match self.engine.reconfigure(*pools) {
                    Ok(()) => {}
                    // The pools were validated before they were sent.
                    Err(error) => super::log::error(&format!("a worker keeps its old pools: {error}")),
                },
                Message::Leave(leave) => {
                    self.parted.begin();
                    self.engine.leave(leave);
                }
                Message::Return(order) => self.take_return(order),
                Message::Switch(SwitchOrder { settings, shard, done }) => {
                    self.engine.switch(&settings, shard);
                    // What it cut must be closed before anybody is told that it is done.
                    self.act();
                    drop(done);
                }
                Message::Visit(visit) => visit.pay(&mut self.engine),
                Message::Stop => self.stopping = true,
            }
        }
    }

    fn take_return(&mut self, order: ReturnOrder) {
        match order {
            ReturnOrder::Gate { health, gate, returning, answer } => {
                if self.engine.raise_gate(&health, gate.clone(), returning) {
                    self.gates.push((gate, answer));
                }
            }
            ReturnOrder::Settle { health, kept } => self.engine.settle_moved(&health, kept),
            ReturnOrder::Look => self.engine.open_gates(),
        }
    }

    /// Answers the returns that have nothing left to wait for here.
    fn answer_gates(&mut self) {
        if self.gates.is_empty() {
            return;
        }
        while let Some((gate, moved)) = self.engine.poll_gate() {
            if let Some(place) = self.gates.iter().position(|(known, _)| Arc::ptr_eq(known, &gate)) {
                // Whoever asked may have lost patience, and has broken the gate off.
                let _ = self.gates.swap_remove(place).1.send(moved);
            }
        }
        self.gates.retain(|(gate, _)| !gate.is_broken());
    }

    fn take_client(
        &mut self,
        pool: usize,
        (socket, seat): (OwnedFd, Seat),
        peer: Box<str>,
        tls: Option<&Arc<ListenTls>>,
    ) {
        let key = self.engine.open_session(pool, peer);
        let index = key.index as usize;
        if self.sessions.len() <= index {
            self.sessions.resize_with(index + 1, || None);
        }
        let added = register(&self.epoll, socket.as_fd(), key.to_bits());
        self.sessions[index] =
            Some(SessionSocket { key, socket, blocked: false, unread: false, tls: None, seat });
        if added.is_err() {
            return self.engine.handle_session_end(key, SessionEnd::Error);
        }
        if let Some(tls) = tls {
            let layer = self.accept_layer(key, tls);
            match (layer, &mut self.sessions[index]) {
                (Ok(layer), Some(session)) => session.tls = Some(layer),
                (Ok(_), None) => {}
                (Err(fault), _) => self.refuse_client(key, &fault),
            }
        }
    }

    /// Does what the engine wants of the world.
    fn act(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Connect(upstream) => self.connect(upstream),
                Action::Disconnect(upstream) => {
                    if let Some(attempt) =
                        self.socket_of.get_mut(upstream.index as usize).and_then(Option::take)
                    {
                        self.server_handshakes.end(attempt.to_bits());
                        self.upstreams.remove(attempt).into_iter().for_each(cut);
                    }
                }
                Action::End(session) => {
                    if let Some(entry) = self.sessions.get_mut(session.index as usize)
                        && let Some(entry) = entry.take_if(|entry| entry.key == session)
                    {
                        if entry.tls.is_some() {
                            self.client_handshakes.end(session.to_bits());
                        }
                        let now = Time::default() + self.epoch.elapsed();
                        self.parted.close(session, entry.socket, entry.tls, entry.seat, now);
                    }
                }
                Action::Part(session) => self.part(session),
                Action::Doubt(named) => self.doubts.raise(*named),
                Action::Read(session) => {
                    if let Some(Some(entry)) = self.sessions.get(session.index as usize)
                        && entry.key == session
                        && entry.unread
                    {
                        self.again.push(session.to_bits());
                    }
                }
                Action::ReadUpstream(upstream) => {
                    if let Some(attempt) = self.socket_of.get(upstream.index as usize).copied().flatten()
                        && self.upstreams.get(attempt).is_some_and(|entry| entry.unread)
                    {
                        self.again.push(attempt.to_bits() | UPSTREAM);
                    }
                }
            }
        }
    }

    /// Closes the session's connection unless there is something to read.
    fn part(&mut self, session: Key) {
        let Some(Some(entry)) = self.sessions.get(session.index as usize) else { return };
        if entry.key != session {
            return;
        }
        match rustix::net::recv(&entry.socket, &mut [0], RecvFlags::PEEK) {
            // The rest of a request is on its way.
            Err(Errno::AGAIN) if entry.tls.as_ref().is_some_and(|layer| layer.is_within_record()) => {}
            Err(Errno::AGAIN) => self.engine.handle_session_end(session, SessionEnd::Parted),
            _ => self.again.push(session.to_bits()),
        }
    }

    fn connect(&mut self, upstream: Key) {
        let Some(endpoint) = self.engine.upstream_endpoint(upstream).cloned() else { return };
        let attempt = self.upstreams.insert(UpstreamSocket {
            upstream,
            state: Connecting::Resolving,
            blocked: false,
            unread: false,
            tls: None,
        });
        let index = upstream.index as usize;
        if self.socket_of.len() <= index {
            self.socket_of.resize(index + 1, None);
        }
        self.socket_of[index] = Some(attempt);
        match endpoint {
            Endpoint::Unix { path } => self.connect_unix(attempt, std::path::Path::new(&path)),
            Endpoint::Tcp { host, port } => match host.parse() {
                Ok(address) => {
                    self.connect_to(
                        attempt,
                        vec![std::net::SocketAddr::new(address, port)],
                        Errno::CONNREFUSED,
                    );
                }
                Err(_) => self.resolver.ask(self.inbox.clone(), attempt, &host, port),
            },
        }
    }

    fn connect_unix(&mut self, attempt: Key, path: &std::path::Path) {
        let connected = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            None,
        )
        .and_then(|socket| {
            rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => self.await_connection(attempt, socket, Vec::new()),
            Err(error) => self.connect_to(attempt, Vec::new(), error),
        }
    }

    /// Tries the addresses in turn; `last` is why the one before them failed.
    fn connect_to(&mut self, attempt: Key, mut addresses: Vec<std::net::SocketAddr>, mut last: Errno) {
        while !addresses.is_empty() {
            let address = addresses.remove(0);
            match open_tcp(address) {
                Ok(socket) => return self.await_connection(attempt, socket, addresses),
                Err(error) => last = error,
            }
        }
        if let Some(entry) = self.upstreams.get(attempt) {
            self.engine.handle_upstream_failed(entry.upstream, &failure(last));
        }
    }

    fn await_connection(&mut self, attempt: Key, socket: OwnedFd, others: Vec<std::net::SocketAddr>) {
        let added = register(&self.epoll, socket.as_fd(), attempt.to_bits() | UPSTREAM);
        let Some(entry) = self.upstreams.get_mut(attempt) else { return };
        match added {
            Ok(()) => entry.state = Connecting::Waiting(socket, others),
            Err(error) => {
                let upstream = entry.upstream;
                self.engine.handle_upstream_failed(upstream, &failure(error));
            }
        }
    }

    /// Sends what the engine offers, until it offers nothing more.
    fn flush(&mut self) {
        loop {
            self.engine.settle();
            while let Some(key) = self.engine.poll_upstream() {
                self.send_upstream(key);
            }
            while let Some(key) = self.engine.poll_session() {
                self.send_session(key);
            }
            self.act();
            if !self.engine.has_work() {
                return;
            }
        }
    }

    fn send_upstream(&mut self, key: Key) {
        let Some(attempt) = self.socket_of.get(key.index as usize).copied().flatten() else { return };
        let Some(entry) = self.upstreams.get_mut(attempt) else { return };
        let Connecting::Done(socket) = &entry.state else { return };
        if entry.blocked {
            return;
        }
        let output = self.engine.upstream_output(key);
        match secured::send(socket, entry.tls.as_mut(), output) {
            Ok((count, blocked)) => {
                entry.blocked = blocked;
                self.engine.handle_upstream_sent(key, count);
            }
            Err(Errno::AGAIN) => entry.blocked = true,
            Err(Errno::INTR) => self.engine.handle_upstream_writable(key),
            Err(error) => self.engine.handle_upstream_failed(key, &failure(error)),
        }
    }

    fn send_session(&mut self, key: Key) {
        let Some(Some(entry)) = self.sessions.get_mut(key.index as usize) else { return };
        if entry.blocked || entry.key != key {
            return;
        }
        let output = self.engine.session_output(key);
        match secured::send(&entry.socket, entry.tls.as_mut(), output) {
            Ok((count, blocked)) => {
                entry.blocked = blocked;
                self.engine.handle_session_sent(key, count);
            }
            Err(Errno::AGAIN) => entry.blocked = true,
            Err(Errno::INTR) => self.engine.handle_session_writable(key),
            Err(_) => self.engine.handle_session_end(key, SessionEnd::Error),
        }
    }
}

const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

fn timespec(span: Duration) -> Timespec {
    Timespec { tv_sec: span.as_secs() as i64, tv_nsec: i64::from(span.subsec_nanos()) }
}

/// Closes a connection so that nothing of it is sent any more: the kernel would deliver what it holds when a link heals,
/// long after the requests were answered by an error.
fn cut(upstream: UpstreamSocket) {
    if let Connecting::Waiting(socket, _) | Connecting::Done(socket) = upstream.state {
        // A unix socket holds nothing back, and knows no such thing.
        let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    }
}

fn register(epoll: &OwnedFd, socket: BorrowedFd<'_>, token: u64) -> rustix::io::Result<()> {
    let flags =
        epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    epoll::add(epoll, socket, epoll::EventData::new_u64(token), flags)
}

pub(super) fn open_tcp(address: std::net::SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

fn failure(error: Errno) -> Failure {
    match error {
        Errno::CONNREFUSED => Failure::Refused,
        Errno::CONNRESET | Errno::PIPE => Failure::Reset,
        Errno::TIMEDOUT => Failure::TimedOut,
        Errno::HOSTDOWN => Failure::NameUnknown,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL => {
            Failure::Local(words(error))
        }
        other => Failure::Other(words(other)),
    }
}

/// The system's words for an error, without the number that Rust adds.
pub(super) fn words(error: Errno) -> String {
    let text = std::io::Error::from(error).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
