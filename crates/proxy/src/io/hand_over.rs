//! The unix socket over which listening sockets go from one process to the next. What is said over it is
//! [`crate::hand_over`]'s.
//!
//! The socket's file has mode 0600, and on both sides the other one must be the same user or root: with the sockets go the
//! clients, and who gives them away could listen on.
//! The running process serves it in its main loop and never waits for the other one; the next process waits, since it has
//! nothing else to do yet.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::Uid;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::inherited::Inherited;
use super::listener::listen_unix;
use super::log;
use super::socket_file::SocketFile;
use crate::error::Error;
use crate::hand_over::giver::Wants;
use crate::hand_over::taker::Did;
use crate::hand_over::{Fault, Giver, Offered, SOCKETS_MAX, Taker, Who};

/// How long a process that was given the sockets may take until it accepts.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long the next process waits for the running one to say something.
const TAKER_PATIENCE: Duration = Duration::from_secs(10);

/// Descriptors received with one read; each message has one.
const DESCRIPTORS: usize = 16;

/// Permissions of the socket's file.
const MODE: u32 = 0o600;

/// Processes that may wait to be refused.
const BACKLOG: u32 = 16;

/// This process, as it presents itself.
fn me() -> Who {
    Who { pid: std::process::id(), program: env!("CARGO_PKG_VERSION").to_owned() }
}

/// Where the next process comes in.
#[derive(Debug)]
pub struct Door {
    socket: OwnedFd,
    file: SocketFile,
    caller: Option<Caller>,
}

/// A process that has connected to the door.
#[derive(Debug)]
struct Caller {
    stream: OwnedFd,
    pid: i32,
    giver: Giver,
    /// It has said something: what it does is worth a line in the log.
    asked: bool,
    since: Instant,
    /// Messages to be sent, each with its descriptor.
    outgoing: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
}

/// What a caller wants of the main loop.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// The sockets: answer by [`Door::offer`] or [`Door::refuse`].
    Sockets,
    /// That this process stops accepting: answer by [`Door::yielded`].
    Yield(Vec<u16>),
    /// It went away, or talks nonsense; this process goes on as if nothing had happened.
    GaveUp,
}

/// Whether a process of this user may be on the other side.
fn is_trusted(user: Uid) -> bool {
    user.is_root() || user == rustix::process::geteuid()
}

impl Door {
    /// Opens the door at `path`, by the socket that was handed over if there is one.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub fn open(path: &str, inherited: &mut Inherited) -> Result<Door, Error> {
        let (socket, file) =
            listen_unix(path, Some(MODE), BACKLOG, inherited).map_err(|source| Error::Listen {
                address: path.to_owned(),
                what: "the hand-over (to take over from a process that runs: --take-over)".to_owned(),
                source,
            })?;
        Ok(Door { socket, file, caller: None })
    }

    /// The sockets to wait for, and whether each waits to be written to.
    pub fn sockets(&self) -> impl Iterator<Item = (&OwnedFd, bool)> {
        let caller = self.caller.iter().map(|caller| (&caller.stream, !caller.outgoing.is_empty()));
        [(&self.socket, false)].into_iter().chain(caller)
    }

    /// The listening socket, to be handed over with the others.
    pub fn socket(&self) -> (&OwnedFd, &str) {
        (&self.socket, self.file.path())
    }

    /// Whether somebody has been offered the sockets and has not said yet that it accepts.
    pub fn is_busy(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.asked)
    }

    /// The door's file is this process's.
    pub fn own(&mut self) {
        self.file.own();
    }

    /// The door's file is the other process's.
    pub fn give_away(&mut self) {
        self.file.give_away();
    }

    /// Lets in who waits, and hears the caller; what it wants now.
    pub fn poll(&mut self) -> Option<Call> {
        while let Ok(stream) =
            rustix::net::accept_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
        {
            self.let_in(stream);
        }
        let caller = self.caller.as_mut()?;
        if caller.since.elapsed() > PATIENCE {
            let why = format!("process {} took longer than {PATIENCE:?} to accept clients", caller.pid);
            return Some(self.turn_away(&why));
        }
        match caller.hear() {
            Ok(call) => call,
            Err(Fault::Closed { .. }) if !caller.asked => {
                // Somebody looked whether this process lives.
                self.caller = None;
                None
            }
            Err(fault) => Some(self.turn_away(&fault.to_string())),
        }
    }

    /// Refuses the caller, in these words.
    pub fn refuse(&mut self, why: &str) {
        if let Some(caller) = self.caller.take() {
            log::warning(&format!("process {} is refused to take over: {why}", caller.pid));
            caller.refuse(why);
        }
    }

    /// Offers the caller these sockets.
    pub fn offer(&mut self, sockets: Vec<(Offered, OwnedFd)>) {
        let Some(caller) = &mut self.caller else { return };
        let (offered, descriptors): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
        let messages = caller.giver.offer(me(), offered);
        let descriptors = [None].into_iter().chain(descriptors.into_iter().map(Some));
        caller.outgoing.extend(messages.into_iter().zip(descriptors));
        log::notice(&format!("process {} is offered the listening sockets", caller.pid));
        // What does not fit goes when there is room; who has gone is noticed by the next read.
        let _ = caller.flush();
    }

    /// Tells the caller that nobody is accepted here any more; its process id.
    pub fn yielded(&mut self) -> Option<i32> {
        let mut caller = self.caller.take()?;
        caller.outgoing.push_back((Giver::yielded(), None));
        // If it has gone there is nothing left to be done: it had said that it serves.
        let _ = caller.flush();
        Some(caller.pid)
    }

    fn let_in(&mut self, stream: OwnedFd) {
        let Ok(peer) = sockopt::socket_peercred(&stream) else { return };
        let caller = Caller {
            stream,
            pid: peer.pid.as_raw_nonzero().get(),
            giver: Giver::default(),
            asked: false,
            since: Instant::now(),
            outgoing: VecDeque::new(),
        };
        let newcomer = Door::refusal(self.caller.as_ref(), is_trusted(peer.uid));
        match newcomer {
            None => self.caller = Some(caller),
            Some(why) => {
                log::warning(&format!("process {} is refused to take over: {why}", caller.pid));
                caller.refuse(&why);
            }
        }
    }

    fn refusal(present: Option<&Caller>, same_user: bool) -> Option<String> {
        if !same_user {
            return Some("only the user of the running process, or root, may take over".to_owned());
        }
        present.map(|caller| format!("process {} is taking over already", caller.pid))
    }

    fn turn_away(&mut self, why: &str) -> Call {
        if let Some(caller) = self.caller.take() {
            log::warning(&format!("process {} has not taken over, this one goes on: {why}", caller.pid));
            caller.refuse(why);
        }
        Call::GaveUp
    }
}

impl Caller {
    fn refuse(mut self, why: &str) {
        self.outgoing.push_back((Giver::refusal(why), None));
        // It may have gone.
        let _ = self.flush();
    }

    fn hear(&mut self) -> Result<Option<Call>, Fault> {
        self.flush().map_err(|_| self.giver.handle_end())?;
        let mut piece = [0; 4096];
        loop {
            if let Some(wants) = self.giver.poll()? {
                self.asked = true;
                return Ok(Some(match wants {
                    Wants::Sockets(who) => {
                        log::notice(&format!("process {} (shoal {}) takes over", self.pid, who.program));
                        Call::Sockets
                    }
                    Wants::Yield(kept) => Call::Yield(kept),
                }));
            }
            match rustix::net::recv(&self.stream, &mut piece, RecvFlags::empty()) {
                Ok((0, _)) => return Err(self.giver.handle_end()),
                Ok((count, _)) => self.giver.handle_bytes(&piece[..count]),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(_) => return Err(self.giver.handle_end()),
            }
        }
    }

    /// Sends what there is room for.
    fn flush(&mut self) -> rustix::io::Result<()> {
        while let Some((bytes, descriptor)) = self.outgoing.front_mut() {
            match send(&self.stream, bytes, descriptor.as_ref()) {
                Ok(count) => {
                    // The descriptor has gone with the first byte.
                    *descriptor = None;
                    bytes.drain(..count);
                    if bytes.is_empty() {
                        self.outgoing.pop_front();
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn send(stream: &OwnedFd, bytes: &[u8], descriptor: Option<&OwnedFd>) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptor.iter().map(|descriptor| descriptor.as_fd()).collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}

/// The next process's side: it has the sockets, and has not said yet that it accepts.
#[derive(Debug)]
pub struct Arrival {
    stream: OwnedFd,
    path: String,
    taker: Taker,
    from: Who,
    descriptors: usize,
}

impl Arrival {
    /// Asks the process at `path` for its sockets.
    ///
    /// # Errors
    /// [`Error::NobodyToTakeOverFrom`], [`Error::TakeOverSocket`], [`Error::TakeOverStranger`], [`Error::TakeOver`],
    /// [`Error::TakeOverUseless`]. The running process goes on in any case.
    pub fn ask(path: &str) -> Result<(Arrival, Inherited), Error> {
        Arrival::ask_one_of(path, is_trusted)
    }

    /// The same, if the process is one of a user that is trusted.
    fn ask_one_of(path: &str, is_trusted: impl Fn(Uid) -> bool) -> Result<(Arrival, Inherited), Error> {
        let failed = |fault| Error::TakeOver { path: path.to_owned(), source: fault };
        let stream = connect(path).map_err(|error| match error {
            Errno::NOENT | Errno::CONNREFUSED => Error::NobodyToTakeOverFrom { path: path.to_owned() },
            error => Error::TakeOverSocket { path: path.to_owned(), source: error.into() },
        })?;
        let peer = sockopt::socket_peercred(&stream)
            .map_err(|error| Error::TakeOverSocket { path: path.to_owned(), source: error.into() })?;
        if !is_trusted(peer.uid) {
            return Err(Error::TakeOverStranger { path: path.to_owned(), user: peer.uid.as_raw() });
        }
        // A refusal may have come before the question: it is read even if this fails.
        let _ = send(&stream, &Taker::ask(me()), None);
        let (mut taker, mut sockets) = (Taker::default(), Vec::new());
        let (from, offered) = loop {
            match taker.poll(sockets.len()).map_err(failed)? {
                Some(Did::Offered { from, sockets }) => break (from, sockets),
                Some(Did::Yielded) | None => {}
            }
            let mut piece = [0; 4096];
            match receive(&stream, &mut piece, &mut sockets) {
                Ok(0) => return Err(failed(taker.handle_end())),
                Ok(count) => taker.handle_bytes(&piece[..count]),
                Err(Errno::INTR) => {}
                Err(error) => {
                    return Err(Error::TakeOverSocket { path: path.to_owned(), source: error.into() });
                }
            }
            if sockets.len() > SOCKETS_MAX {
                return Err(failed(Fault::Sockets { promised: SOCKETS_MAX, came: sockets.len() }));
            }
        };
        let descriptors = sockets.len();
        let inherited = Inherited::new(&offered, sockets)
            .map_err(|reason| Error::TakeOverUseless { path: path.to_owned(), reason })?;
        log::notice(&format!(
            "process {} (shoal {}) hands over {descriptors} listening sockets",
            from.pid, from.program
        ));
        rustix::io::ioctl_fionbio(&stream, true)
            .map_err(|error| Error::TakeOverSocket { path: path.to_owned(), source: error.into() })?;
        Ok((Arrival { stream, path: path.to_owned(), taker, from, descriptors }, inherited))
    }

    /// To wait for.
    pub fn stream(&self) -> &OwnedFd {
        &self.stream
    }

    /// Whose place this process takes.
    pub fn predecessor(&self) -> &Who {
        &self.from
    }

    /// Tells the running process that this one accepts, and which sockets it keeps.
    pub fn ready(&mut self, kept: Vec<u16>) {
        // One that has gone is noticed by the next read.
        let _ = send(&self.stream, &Taker::ready(kept), None);
    }

    /// Whether the running process has stopped accepting; false while it has not.
    ///
    /// # Errors
    /// [`Error::TakeOver`] if it does not: then it goes on, and this process must end.
    pub fn poll(&mut self) -> Result<bool, Error> {
        let failed = |fault| Error::TakeOver { path: self.path.clone(), source: fault };
        let mut piece = [0; 4096];
        loop {
            if let Some(Did::Yielded) = self.taker.poll(self.descriptors).map_err(failed)? {
                return Ok(true);
            }
            match rustix::net::recv(&self.stream, &mut piece, RecvFlags::empty()) {
                Ok((count, _)) if count > 0 => self.taker.handle_bytes(&piece[..count]),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => {
                    // It would have said so if it went on: it has died, and nobody else serves.
                    log::warning(&format!("process {} ended before it had yielded", self.from.pid));
                    return Ok(true);
                }
            }
        }
    }
}

fn connect(path: &str) -> rustix::io::Result<OwnedFd> {
    let stream =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    for which in [Timeout::Recv, Timeout::Send] {
        sockopt::set_socket_timeout(&stream, which, Some(TAKER_PATIENCE))?;
    }
    rustix::net::connect(&stream, &SocketAddrUnix::new(path)?)?;
    Ok(stream)
}

fn receive(stream: &OwnedFd, piece: &mut [u8], sockets: &mut Vec<OwnedFd>) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        rustix::net::recvmsg(stream, &mut [IoSliceMut::new(piece)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_taken_from_this_user_or_root_alone() {
        let own = rustix::process::geteuid();
        assert!(is_trusted(Uid::ROOT) && is_trusted(own));
        assert!(!is_trusted(Uid::from_raw(own.as_raw() + 1)));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let path = path.to_str().unwrap();
        let (_socket, _file) = listen_unix(path, Some(MODE), BACKLOG, &mut Inherited::default()).unwrap();
        let error = Arrival::ask_one_of(path, |user| user != own).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::TakeOverStranger { user, .. } if user == own.as_raw()), "{error}");
        assert!(error.to_string().contains("only from one of the same user, or of root"), "{error}");
    }
}
