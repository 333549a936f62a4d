//! What other threads hand to a worker: new clients, resolved names, orders. Never on the way of a request.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::follower::Done;
use super::visits::Visit;
use crate::arena::Key;
use crate::engine::Pools;
use crate::engine::drain::Leave;
use crate::health::Health;
use crate::moved_keys::Moved;
use crate::returning::gate::Gate;
use crate::settings::PoolSettings;
use crate::tls::ListenTls;

/// Messages that may wait for a worker before no more visits are let in.
const VISITS_MAX: usize = 1024;

/// Something handed to a worker.
#[derive(Debug)]
pub enum Message {
    /// A client has connected.
    Client {
        /// To this pool.
        pool: usize,
        /// On this socket, non-blocking already.
        socket: OwnedFd,
        /// From there.
        peer: Box<str>,
        /// To speak TLS so.
        tls: Option<Arc<ListenTls>>,
        /// Counted so.
        seat: Seat,
    },
    /// A name that an upstream asked for was looked up.
    Resolved {
        /// The upstream, by the worker's own name for the attempt.
        attempt: Key,
        /// The addresses; empty if there are none.
        addresses: Vec<SocketAddr>,
    },
    /// Go over to these pools.
    Reconfigure(Box<Pools>),
    /// Let the sessions leave, and end when they have.
    Leave(Leave),
    /// A shard returns.
    Return(ReturnOrder),
    /// A shard that follows Sentinel has another primary, or none.
    Switch(SwitchOrder),
    /// Look into the engine.
    Visit(Visit),
    /// End all sessions and stop.
    Stop,
}

/// What the change of a primary asks of a worker.
#[derive(Debug)]
pub struct SwitchOrder {
    /// The pool's settings, which are new in this alone.
    pub settings: Arc<PoolSettings>,
    /// The shard, by index.
    pub shard: usize,
    /// Dropped when it is done.
    pub done: Arc<Done>,
}

/// What the return of a shard asks of a worker.
#[derive(Debug)]
pub enum ReturnOrder {
    /// Answer with the moved keys once all that was sent before is answered; with `returning`, hold from now on what would
    /// change its place if that shard were in.
    Gate {
        /// Names the pool.
        health: Arc<Health>,
        /// Decides how it ends.
        gate: Arc<Gate>,
        /// The shard, by index.
        returning: Option<usize>,
        /// Where the answer goes; dropped if there will be none.
        answer: Sender<Moved>,
    },
    /// Of what was sealed, this is left.
    Settle {
        /// Names the pool.
        health: Arc<Health>,
        /// What is left.
        kept: Moved,
    },
    /// A gate may be open again, or the shard in.
    Look,
}

/// A worker's letter box.
#[derive(Debug)]
pub struct Inbox {
    messages: Mutex<Vec<Message>>,
    /// The worker has ended: nobody takes anything out any more.
    closed: AtomicBool,
    bell: OwnedFd,
    /// [`Seat`]s that are taken.
    sessions: AtomicUsize,
}

/// One of the sessions that a worker has or has been handed, counted until its descriptor is closed.
#[derive(Debug)]
pub struct Seat(Arc<Inbox>);

impl Seat {
    /// One more, of the worker that this is the letter box of.
    pub fn of(inbox: &Arc<Inbox>) -> Seat {
        inbox.sessions.fetch_add(1, Ordering::Relaxed);
        Seat(inbox.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inbox {
    /// An empty letter box.
    pub fn new() -> rustix::io::Result<Inbox> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let (messages, closed) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        Ok(Inbox { messages, closed, bell, sessions: AtomicUsize::new(0) })
    }

    /// Sessions that the worker has or has been handed, and those of which only the connection is left; what new clients are
    /// steered by.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Puts `message` in and wakes the worker.
    pub fn post(&self, message: Message) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at under the lock: what is put in is taken out by the worker, or by its end.
        if self.closed.load(Ordering::Acquire) && matches!(message, Message::Switch(_)) {
            return;
        }
        messages.push(message);
        drop(messages);
        // A bell that is full rings already.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Puts `message` in unless [`VISITS_MAX`] lie there, as they do when the worker hangs; whether it went in.
    pub fn offer(&self, message: Message) -> bool {
        let has_room = self.messages.lock().unwrap_or_else(PoisonError::into_inner).len() < VISITS_MAX;
        if has_room {
            self.post(message);
        }
        has_room
    }

    /// Takes everything out.
    pub fn take(&self) -> Vec<Message> {
        let mut rung = [0; 8];
        // Nothing to read means that somebody else's ring was answered already.
        let _ = rustix::io::read(&self.bell, &mut rung);
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The worker has ended: whoever waits for a switch there waits for nothing.
    pub fn close(&self) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.store(true, Ordering::Release);
        messages.retain(|message| !matches!(message, Message::Switch(_)));
    }

    /// Readable when there is something to take.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
