//! The admin listener: a small HTTP/1.1 server on threads of its own, beside the loops.
//!
//! ```text
//!  accept thread ──▶ one thread a connection: read head ▸ body ▸ handler ▸ write ▸ close
//!        └── past Limits::connections: 503
//! ```
//!
//! For a handful of scrapers and operators, not for traffic. No keep-alive, no TLS, no authentication:
//! listen on loopback, or on a unix socket in a folder that guards it.

use crate::http::{Head, Refusal, Request, Response, parse_head};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{self, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How long a client whose answer is written may take to read it and close.
const LINGER: Duration = Duration::from_secs(1);
/// How long to wait after a failure to accept, as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a client may ask of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of request line and header together; 8 KiB by default.
    pub head_bytes: usize,
    /// Bytes of a request's body; 64 KiB by default.
    pub body_bytes: usize,
    /// Connections at a time; 16 by default. One more is answered 503.
    pub connections: usize,
    /// How long a whole request may take to come, and again its response to go; 5 s by default.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { head_bytes: 8 << 10, body_bytes: 64 << 10, connections: 16, time: Duration::from_secs(5) }
    }
}

/// A listening socket, bound by the caller (who also removes a unix socket's file).
#[derive(Debug)]
pub enum Listener {
    /// Of TCP.
    Tcp(TcpListener),
    /// Of a path.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Listener::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Listener::Unix(listener)
    }
}

/// A running listener. Dropping it stops it; the socket itself goes on listening for whoever else holds it, such as another
/// process that it was handed to.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    /// The thread that owns the listener: it closes when that ends.
    accepting: Option<JoinHandle<()>>,
    tcp_address: Option<net::SocketAddr>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
    connection_ended: Condvar,
    /// Readable when the server is to stop.
    stop: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    /// Connections by number, so that stopping can cut them.
    open: BTreeMap<u64, Arc<Stream>>,
    next: u64,
}

impl Server {
    /// Serves requests with `handler`, which is called on many threads at a time.
    ///
    /// # Errors
    /// When the accepting thread cannot be started, or the system has no descriptor left.
    pub fn start<H>(listener: impl Into<Listener>, limits: Limits, handler: H) -> io::Result<Server>
    where
        H: Fn(&Request) -> Response + Send + Sync + 'static,
    {
        let listener = listener.into();
        // Who else holds the socket may be faster to accept: then there is nothing to accept, and nothing to wait in.
        listener.set_nonblocking()?;
        let tcp_address = listener.tcp_address();
        let shared = Arc::new(Shared {
            limits,
            state: Mutex::default(),
            connection_ended: Condvar::new(),
            stop: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        });
        let handler: Arc<Handler> = Arc::new(handler);
        let accepting = thread::Builder::new().name("admin".to_owned()).spawn({
            let shared = shared.clone();
            move || shared.accept_all(&listener, &handler)
        })?;
        Ok(Server { shared, accepting: Some(accepting), tcp_address })
    }

    /// Where a TCP listener is bound; None for a unix socket.
    #[must_use]
    pub fn tcp_address(&self) -> Option<net::SocketAddr> {
        self.tcp_address
    }

    /// Stops accepting, cuts the connections that are open, and waits for their threads. A handler
    /// that runs is waited for.
    pub fn stop(self) {
        drop(self);
    }

    /// Stops accepting, and waits until those who are connected are answered, which [`Limits::time`] bounds.
    pub fn retire(mut self) {
        self.stop_accepting();
        self.await_connections();
    }
}

impl Server {
    fn stop_accepting(&mut self) {
        self.shared.lock().stopping = true;
        // A counter at its end is readable as well.
        let _ = rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes());
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }

    fn await_connections(&self) {
        let mut state = self.shared.lock();
        while !state.open.is_empty() {
            state = self.shared.connection_ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_accepting();
        for stream in self.shared.lock().open.values() {
            stream.cut();
        }
        self.await_connections();
    }
}

type Handler = dyn Fn(&Request) -> Response + Send + Sync;

impl Shared {
    /// Nothing under the lock can panic, so a poisoned one is as good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_all(self: &Arc<Self>, listener: &Listener, handler: &Arc<Handler>) {
        loop {
            let mut waited_for =
                [PollFd::new(listener, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            let polled = poll(&mut waited_for, None);
            let mut state = self.lock();
            if state.stopping {
                return;
            }
            let stream = match listener.accept() {
                Ok(stream) if polled.is_ok() => Arc::new(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                _ => {
                    drop(state);
                    thread::sleep(ACCEPT_PAUSE);
                    continue;
                }
            };
            if state.open.len() >= self.limits.connections {
                drop(state);
                stream.refuse(Refusal::Busy);
                continue;
            }
            let number = state.next;
            state.next += 1;
            state.open.insert(number, stream.clone());
            drop(state);
            let open = Open { shared: self.clone(), number };
            let handler = handler.clone();
            // A thread that cannot be started drops its connection, and with it the entry.
            let _ = thread::Builder::new().name("admin-connection".to_owned()).spawn(move || {
                let open = open;
                stream.serve(&open.shared.limits, &*handler);
            });
        }
    }
}

/// A connection's entry among the open ones, removed however its thread ends.
struct Open {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.lock().open.remove(&self.number);
        self.shared.connection_ended.notify_all();
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn serve(&self, limits: &Limits, handler: &Handler) {
        let response = match self.read_request(limits, Instant::now() + limits.time) {
            Ok(Some(request)) => handler(&request),
            Ok(None) => return,
            Err(refusal) => refusal.response(),
        };
        let _ = self.write_all(&response.to_bytes(), Instant::now() + limits.time);
        self.linger(limits);
    }

    /// The request; None when the client went away.
    fn read_request(&self, limits: &Limits, deadline: Instant) -> Result<Option<Request>, Refusal> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(head) = parse_head(&bytes, limits.head_bytes, limits.body_bytes)? {
                break head;
            }
            if !self.read_more(&mut bytes, limits.head_bytes, deadline)? {
                return Ok(None);
            }
        };
        let Head { mut request, body_at, body_bytes, expects_continue } = head;
        if expects_continue && bytes.len() < body_at + body_bytes {
            let _ = self.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", deadline);
        }
        while bytes.len() < body_at + body_bytes {
            if !self.read_more(&mut bytes, body_at + body_bytes, deadline)? {
                return Ok(None);
            }
        }
        request.body = bytes.drain(body_at..body_at + body_bytes).collect();
        Ok(Some(request))
    }

    /// Reads once, to a length of at most `max`; false at the end of the connection.
    fn read_more(&self, bytes: &mut Vec<u8>, max: usize, deadline: Instant) -> Result<bool, Refusal> {
        let mut piece = [0; 4096];
        let room = piece.len().min(max.saturating_sub(bytes.len()));
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.set_read_timeout(left).is_err() {
                return Err(Refusal::Slow);
            }
            match self.read(&mut piece[..room]) {
                Ok(length) => {
                    bytes.extend_from_slice(&piece[..length]);
                    return Ok(length > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Err(Refusal::Slow),
                Err(_) => return Ok(false),
            }
        }
    }

    /// Writes by the deadline, however little the client reads at a time.
    fn write_all(&self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.set_write_timeout(left)?;
            match self.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Closing a socket with unread bytes resets it, and the client may lose the answer: so wait for
    /// its end, for a little while and a few bytes.
    fn linger(&self, limits: &Limits) {
        let _ = self.shut(net::Shutdown::Write);
        let deadline = Instant::now() + LINGER.min(limits.time);
        let most = limits.head_bytes + 2 * limits.body_bytes;
        let mut bytes = Vec::new();
        let mut drained = 0;
        while drained < most && matches!(self.read_more(&mut bytes, 4096, deadline), Ok(true)) {
            drained += bytes.len();
            bytes.clear();
        }
    }

    /// Answers at once, without reading: a fresh socket has room for so little.
    fn refuse(&self, refusal: Refusal) {
        let _ = self.write_all(&refusal.response().to_bytes(), Instant::now() + ACCEPT_PAUSE);
        let _ = self.shut(net::Shutdown::Write);
    }

    fn cut(&self) {
        let _ = self.shut(net::Shutdown::Both);
    }

    fn shut(&self, how: net::Shutdown) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Unix(stream) => stream.shutdown(how),
        }
    }

    fn read(&self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).read(to),
            Stream::Unix(stream) => (&*stream).read(to),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).write(bytes),
            Stream::Unix(stream) => (&*stream).write(bytes),
        }
    }

    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_write_timeout(Some(timeout)),
            Stream::Unix(stream) => stream.set_write_timeout(Some(timeout)),
        }
    }
}

impl Listener {
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => listener.set_nonblocking(true),
            Listener::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    fn tcp_address(&self) -> Option<net::SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Listener::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
