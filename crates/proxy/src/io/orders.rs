//! Orders to the main thread from other threads of the process: it alone changes what the pools are.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use super::follower::Done;
use crate::following::Change;
use crate::following::shard::Status;

/// How long whoever gives an order waits for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a reload: what changed, or why nothing was.
pub type Outcome = Result<String, String>;

/// What the main thread is told to do.
#[derive(Debug)]
pub enum Order {
    /// Read the configuration again; where the outcome goes.
    Reload(Sender<Outcome>),
    /// A shard that follows Sentinel has another primary, or none.
    Switch(Switch),
}

/// Which shard's primary changes, and how.
#[derive(Debug)]
pub struct Switch {
    /// The pool, by name.
    pub pool: String,
    /// The shard, by name.
    pub shard: String,
    /// What is shown of the shard, by which it is told from one that a reload has put in its place.
    pub status: Arc<Status>,
    /// What all workers are to do.
    pub change: Change,
    /// Dropped when all have done it.
    pub done: Arc<Done>,
}

/// The sending side.
#[derive(Clone, Debug)]
pub struct Orders {
    sender: Sender<Order>,
    bell: Arc<OwnedFd>,
}

/// The main thread's side.
#[derive(Debug)]
pub struct Received {
    receiver: Receiver<Order>,
    bell: Arc<OwnedFd>,
}

/// Both sides.
pub fn orders() -> rustix::io::Result<(Orders, Received)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
    let (sender, receiver) = channel();
    Ok((Orders { sender, bell: bell.clone() }, Received { receiver, bell }))
}

impl Orders {
    /// Has the configuration read again, and waits for what became of it.
    pub fn reload(&self) -> Outcome {
        let (answer, answered) = channel();
        self.give(Order::Reload(answer)).map_err(|_| "the proxy is ending".to_owned())?;
        answered.recv_timeout(PATIENCE).map_err(|_| "no answer; see the log".to_owned())?
    }

    /// Has a shard's primary changed.
    pub fn switch(&self, switch: Switch) {
        // A process that is ending leads nobody anywhere; whoever waits is told by the drop.
        let _ = self.give(Order::Switch(switch));
    }

    fn give(&self, order: Order) -> Result<(), ()> {
        self.sender.send(order).map_err(|_| ())?;
        // A bell that is full rings already.
        let _ = rustix::io::write(self.bell.as_fd(), &1u64.to_ne_bytes());
        Ok(())
    }
}

impl Received {
    /// Readable when there may be an order.
    pub fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// The next order.
    pub fn next(&self) -> Option<Order> {
        let mut rung = [0; 8];
        // Nothing to read means that the ring was answered already.
        let _ = rustix::io::read(self.bell.as_fd(), &mut rung);
        self.receiver.try_recv().ok()
    }
}
