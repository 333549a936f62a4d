//! Asking many processes at once, each over a connection of its own: all of them together take no longer than one that does
//! not answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::reply::{Reply, request};
use crate::runtime::Silence;

/// Connections at a time; those beyond wait for the next turn.
const AT_ONCE: usize = 512;

/// Bytes of one answer: INFO of a Redis has some 6 KiB.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// Where somebody is asked.
#[derive(Clone, Debug)]
pub(super) enum Where {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What is sent, and when the answer is whole.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) at: Where,
    pub(super) bytes: Vec<u8>,
    pub(super) end: End,
}

/// When an answer is whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// With so many replies.
    Replies(usize),
    /// When the other side closes.
    Close,
}

/// The answers, in the order of the questions. Each turn of [`AT_ONCE`] takes at most `patience`.
pub(super) fn ask_all(questions: &[Question], patience: Duration) -> Vec<Result<Vec<u8>, Silence>> {
    questions.chunks(AT_ONCE).flat_map(|turn| ask_turn(turn, patience)).collect()
}

fn ask_turn(questions: &[Question], patience: Duration) -> Vec<Result<Vec<u8>, Silence>> {
    let deadline = Instant::now() + patience;
    let mut talks: Vec<Talk<'_>> = questions.iter().map(Talk::begin).collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let open: Vec<usize> = (0..talks.len()).filter(|at| talks[*at].answer.is_none()).collect();
        if open.is_empty() || left.is_zero() {
            break;
        }
        let ready = {
            let mut waits: Vec<PollFd<'_>> = open.iter().filter_map(|at| talks[*at].wait()).collect();
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut waits, Some(&timeout)) {
                Ok(_) => waits.iter().map(|wait| !wait.revents().is_empty()).collect::<Vec<_>>(),
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    let why = Silence::Strange(format!("waiting for answers failed: {errno}"));
                    open.iter().for_each(|at| talks[*at].answer = Some(Err(why.clone())));
                    break;
                }
            }
        };
        for (at, _) in open.iter().zip(&ready).filter(|(_, ready)| **ready) {
            talks[*at].go_on();
        }
    }
    talks.into_iter().map(|talk| talk.answer.unwrap_or(Err(Silence::TimedOut))).collect()
}

/// One question on its way.
struct Talk<'q> {
    question: &'q Question,
    socket: Option<OwnedFd>,
    connected: bool,
    sent: usize,
    received: Vec<u8>,
    answer: Option<Result<Vec<u8>, Silence>>,
}

impl<'q> Talk<'q> {
    fn begin(question: &'q Question) -> Self {
        let mut talk =
            Self { question, socket: None, connected: false, sent: 0, received: Vec::new(), answer: None };
        match open(&question.at) {
            Ok(socket) => talk.socket = Some(socket),
            Err(errno) => talk.end(Err(silence(errno))),
        }
        talk
    }

    fn wait(&self) -> Option<PollFd<'_>> {
        let flags = if self.sent < self.question.bytes.len() { PollFlags::OUT } else { PollFlags::IN };
        self.socket.as_ref().map(|socket| PollFd::new(socket, flags))
    }

    /// The socket is ready for what was waited for.
    fn go_on(&mut self) {
        if let Err(errno) = self.step()
            && !matches!(errno, Errno::AGAIN | Errno::INTR)
        {
            self.end(Err(silence(errno)));
        }
    }

    fn step(&mut self) -> Result<(), Errno> {
        let Some(socket) = &self.socket else { return Ok(()) };
        if !self.connected {
            sockopt::socket_error(socket)??;
            self.connected = true;
        }
        let rest = &self.question.bytes[self.sent..];
        if !rest.is_empty() {
            self.sent += rustix::net::send(socket, rest, rustix::net::SendFlags::NOSIGNAL)?;
            return Ok(());
        }
        let mut piece = [0; 16 * 1024];
        let length = rustix::io::read(socket, &mut piece)?;
        self.received.extend_from_slice(&piece[..length]);
        if length == 0 || self.received.len() > ANSWER_MAX {
            self.closed();
        } else if let End::Replies(wanted) = self.question.end {
            match Reply::read_all(&self.received) {
                Ok(replies) if replies.len() >= wanted => self.finish(),
                Ok(_) => {}
                Err(error) => self.end(Err(Silence::Strange(format!("it does not speak RESP: {error}")))),
            }
        }
        Ok(())
    }

    fn closed(&mut self) {
        match self.question.end {
            End::Close if self.received.len() <= ANSWER_MAX => self.finish(),
            End::Close => self.end(Err(Silence::Strange("its answer is too long".to_owned()))),
            End::Replies(_) => {
                self.end(Err(Silence::Strange("it closed the connection before it had answered".to_owned())));
            }
        }
    }

    fn finish(&mut self) {
        let received = std::mem::take(&mut self.received);
        self.end(Ok(received));
    }

    fn end(&mut self, answer: Result<Vec<u8>, Silence>) {
        self.answer = Some(answer);
        self.socket = None;
    }
}

/// A socket that connects.
fn open(at: &Where) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, connected) = match at {
        Where::Tcp(address) => {
            let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let socket = socket_with(family, SocketType::STREAM, flags, None)?;
            let connected = connect(&socket, address);
            (socket, connected)
        }
        Where::Unix(path) => {
            let address = SocketAddrUnix::new(path.as_path())?;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            let connected = connect(&socket, &address);
            (socket, connected)
        }
    };
    match connected {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

fn silence(errno: Errno) -> Silence {
    match errno {
        Errno::CONNREFUSED | Errno::NOENT => Silence::Refused,
        // A unix socket whose backlog is full.
        Errno::AGAIN | Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH => Silence::TimedOut,
        errno => Silence::Strange(format!("the connection broke: {errno}")),
    }
}

/// A conversation with one process, in which what is said next depends on what was answered.
#[derive(Debug)]
pub(super) struct Conversation {
    stream: TcpStream,
    unread: Vec<u8>,
    patience: Duration,
}

impl Conversation {
    pub(super) fn open(address: SocketAddr, patience: Duration) -> Result<Self, Silence> {
        let stream = TcpStream::connect_timeout(&address, patience).map_err(|error| said(&error))?;
        let timeouts =
            stream.set_read_timeout(Some(patience)).and_then(|()| stream.set_write_timeout(Some(patience)));
        timeouts.map_err(|error| said(&error))?;
        Ok(Self { stream, unread: Vec::new(), patience })
    }

    /// Sends commands, and waits for as many replies.
    pub(super) fn ask(&mut self, commands: &[Vec<String>]) -> Result<Vec<Reply>, Silence> {
        let deadline = Instant::now() + self.patience;
        self.stream.write_all(&request(commands)).map_err(|error| said(&error))?;
        let mut replies = Vec::new();
        let mut piece = vec![0; 16 * 1024];
        loop {
            let strange = |error| Silence::Strange(format!("it does not speak RESP: {error}"));
            while let Some((reply, length)) = Reply::read(&self.unread).map_err(strange)? {
                self.unread.drain(..length);
                replies.push(reply);
            }
            if replies.len() >= commands.len() {
                return Ok(replies);
            }
            if Instant::now() > deadline || self.unread.len() > ANSWER_MAX {
                return Err(Silence::TimedOut);
            }
            match self.stream.read(&mut piece).map_err(|error| said(&error))? {
                0 => {
                    return Err(Silence::Strange(
                        "it closed the connection before it had answered".to_owned(),
                    ));
                }
                length => self.unread.extend_from_slice(&piece[..length]),
            }
        }
    }
}

fn said(error: &std::io::Error) -> Silence {
    match error.raw_os_error() {
        Some(number) => match silence(Errno::from_raw_os_error(number)) {
            Silence::Strange(_) if error.kind() == std::io::ErrorKind::WouldBlock => Silence::TimedOut,
            silence => silence,
        },
        None if error.kind() == std::io::ErrorKind::TimedOut => Silence::TimedOut,
        None => Silence::Strange(error.to_string()),
    }
}
