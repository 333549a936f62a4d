//! A server that answers as it is told: its own index, given bytes, nothing, or the end of the connection.
//!
//! One thread and one epoll a server, so that pools of fifty cost fifty threads however many proxies and
//! pools connect. It parses commands (RESP arrays alone: proxies send nothing else) and keeps no data.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

/// What a [`FakeServer`] does with a command. `SELECT`, `AUTH` and `CLIENT SETNAME` always get `+OK`: a proxy sends them
/// by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These bytes, whatever they are.
    Bytes(Vec<u8>),
    /// Nothing, and the connection stays open.
    Silence,
    /// These bytes, and then the end of the connection.
    Last(Vec<u8>),
    /// These bytes as soon as somebody connects, who has asked for nothing yet; then to each command as well.
    Unasked(Vec<u8>),
    /// The end of the connection.
    Close,
    /// A reset of the connection.
    Reset,
    /// The number of the connection, from 1, as a bulk string.
    Connection,
    /// All commands of this connection so far, `SELECT` and `AUTH` too, as one bulk string: words separated
    /// by a blank, commands by `; `.
    Transcript,
}

impl Answer {
    /// The answer of server `index` in a placement test: two digits as a bulk string.
    #[must_use]
    pub fn index(index: usize) -> Self {
        Self::Bytes(format!("$2\r\n{index:02}\r\n").into_bytes())
    }
}

/// A running fake, ended on drop.
#[derive(Debug)]
pub struct FakeServer {
    addr: Option<SocketAddr>,
    answer: Arc<Mutex<Answer>>,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// Starts one on a free loopback port.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start(answer: Answer) -> Self {
        // Another program may take the port between the look and the bind.
        for _ in 0..20 {
            match Self::at((Ipv4Addr::LOCALHOST, crate::ports::free()).into(), answer.clone()) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                started => return started.expect("listen on a free port"),
            }
        }
        panic!("twenty ports that were free were taken at once");
    }

    /// Starts one at a given address.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn at(addr: SocketAddr, answer: Answer) -> io::Result<Self> {
        Ok(Self::serve(Listener::Tcp(TcpListener::bind(addr)?), Some(addr), answer))
    }

    /// Starts one on a unix socket.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn at_path(path: &Path, answer: Answer) -> io::Result<Self> {
        Ok(Self::serve(Listener::Unix(UnixListener::bind(path)?), None, answer))
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When that is a unix socket.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr.expect("a fake server on a port")
    }

    /// Answers otherwise from the next command on.
    pub fn set_answer(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    fn serve(listener: Listener, addr: Option<SocketAddr>, answer: Answer) -> Self {
        let answer = Arc::new(Mutex::new(answer));
        let stop = eventfd(0, EventfdFlags::empty()).expect("make an eventfd");
        let stopped = stop.try_clone().expect("copy an eventfd");
        let shared = Arc::clone(&answer);
        let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn(move || {
            if let Err(error) = (Loop { listener, stop: stopped, answer: shared }).run() {
                // Seen when the test fails; a fake that has gone makes its proxy fail first.
                eprintln!("fake server: {error}");
            }
        });
        Self { addr, answer, stop, thread: Some(thread.expect("start a thread")) }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        let told = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

struct Connection {
    socket: Socket,
    number: u64,
    read: Vec<u8>,
    transcript: Vec<u8>,
}

struct Loop {
    listener: Listener,
    stop: OwnedFd,
    answer: Arc<Mutex<Answer>>,
}

const STOP: u64 = 0;
const LISTENER: u64 = 1;
/// Connection number n has the token n + 1.
const BEFORE_CONNECTIONS: u64 = 1;

impl Loop {
    fn run(self) -> io::Result<()> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let watch = |fd: &dyn AsFd, token| {
            epoll::add(&poll, fd.as_fd(), epoll::EventData::new_u64(token), epoll::EventFlags::IN)
        };
        watch(&self.stop, STOP)?;
        match &self.listener {
            Listener::Tcp(listener) => watch(listener, LISTENER)?,
            Listener::Unix(listener) => watch(listener, LISTENER)?,
        }
        let mut connections = BTreeMap::new();
        let mut accepted = 0;
        let mut events = Vec::with_capacity(64);
        let forever: Option<&Timespec> = None;
        loop {
            events.clear();
            match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), forever) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    STOP => return Ok(()),
                    LISTENER => {
                        accepted += 1;
                        let mut connection = self.accept(accepted)?;
                        if let Answer::Unasked(bytes) =
                            &*self.answer.lock().unwrap_or_else(PoisonError::into_inner)
                        {
                            // Who has gone by now is seen when it is read from.
                            let _ = connection.write_all(bytes);
                        }
                        let token = accepted + BEFORE_CONNECTIONS;
                        match &connection.socket {
                            Socket::Tcp(socket) => watch(socket, token)?,
                            Socket::Unix(socket) => watch(socket, token)?,
                        }
                        connections.insert(token, connection);
                    }
                    token => {
                        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
                        if connections.get_mut(&token).is_some_and(|one| one.serve(&answer).is_err()) {
                            // Dropping it closes it, and epoll forgets it.
                            connections.remove(&token);
                        }
                    }
                }
            }
        }
    }

    fn accept(&self, number: u64) -> io::Result<Connection> {
        // A write that does not end would hold the server's thread for ever.
        let bound = Some(Duration::from_secs(10));
        let socket = match &self.listener {
            Listener::Tcp(listener) => {
                let (socket, _) = listener.accept()?;
                socket.set_nodelay(true)?;
                socket.set_write_timeout(bound)?;
                Socket::Tcp(socket)
            }
            Listener::Unix(listener) => {
                let (socket, _) = listener.accept()?;
                socket.set_write_timeout(bound)?;
                Socket::Unix(socket)
            }
        };
        Ok(Connection { socket, number, read: Vec::new(), transcript: Vec::new() })
    }
}

impl Connection {
    /// Reads what is there and answers it; an error ends the connection.
    fn serve(&mut self, answer: &Answer) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        let count = match &mut self.socket {
            Socket::Tcp(socket) => socket.read(&mut piece)?,
            Socket::Unix(socket) => socket.read(&mut piece)?,
        };
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.read.extend_from_slice(&piece[..count]);
        let mut replies = Vec::new();
        let mut at = 0;
        let read = std::mem::take(&mut self.read);
        while let Some((words, len)) = first_command(&read[at..]) {
            if !is_naming(&words) {
                self.transcribe(&words);
            }
            let by_itself = words.first().is_some_and(|name| {
                name.eq_ignore_ascii_case(b"SELECT")
                    || name.eq_ignore_ascii_case(b"AUTH")
                    || is_naming(&words)
            });
            match answer {
                _ if by_itself => replies.extend_from_slice(b"+OK\r\n"),
                Answer::Bytes(bytes) | Answer::Unasked(bytes) => replies.extend_from_slice(bytes),
                Answer::Last(bytes) => {
                    replies.extend_from_slice(bytes);
                    self.write_all(&replies)?;
                    return Err(ErrorKind::ConnectionAborted.into());
                }
                Answer::Silence => {}
                Answer::Close => return Err(ErrorKind::ConnectionAborted.into()),
                Answer::Reset => return self.reset(),
                Answer::Connection => bulk(&mut replies, self.number.to_string().as_bytes()),
                Answer::Transcript => bulk(&mut replies, &self.transcript),
            }
            at += len;
        }
        self.read.extend_from_slice(&read[at..]);
        self.write_all(&replies)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(socket) => socket.write_all(bytes),
            Socket::Unix(socket) => socket.write_all(bytes),
        }
    }

    /// Closing with a linger time of zero sends RST.
    fn reset(&self) -> io::Result<()> {
        if let Socket::Tcp(socket) = &self.socket {
            rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
        }
        Err(ErrorKind::ConnectionReset.into())
    }

    fn transcribe(&mut self, words: &[&[u8]]) {
        // A placement test sends millions of commands and never asks.
        const LONGEST: usize = 64 * 1024;
        if self.transcript.len() < LONGEST {
            if !self.transcript.is_empty() {
                self.transcript.extend_from_slice(b"; ");
            }
            self.transcript.extend_from_slice(&words.join(&b' '));
        }
    }
}

/// `CLIENT SETNAME`, by which a proxy shows other proxies that it is there.
fn is_naming(words: &[&[u8]]) -> bool {
    matches!(words, [client, sub, _] if client.eq_ignore_ascii_case(b"CLIENT") && sub.eq_ignore_ascii_case(b"SETNAME"))
}

fn bulk(bytes: &mut Vec<u8>, value: &[u8]) {
    bytes.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

/// The first whole command (an array of bulk strings) and its length.
fn first_command(bytes: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    let (count, mut at) = header(bytes, b'*', 0)?;
    let mut words = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let (len, start) = header(bytes, b'$', at)?;
        words.push(bytes.get(start..start + len)?);
        at = start + len + 2;
    }
    (at <= bytes.len()).then_some((words, at))
}

/// The number in the header line at `at`, and where the next thing begins.
fn header(bytes: &[u8], kind: u8, at: usize) -> Option<(usize, usize)> {
    let rest = bytes.get(at..)?;
    let line = rest.windows(2).position(|two| two == b"\r\n")?;
    let text = rest.get(..line)?.strip_prefix(&[kind])?;
    let number = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some((number, at + line + 2))
}
