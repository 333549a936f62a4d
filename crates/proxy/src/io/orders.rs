//! Orders to the main thread from other threads of the process.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

/// How long whoever gives an order waits for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a reload: what changed, or why nothing was.
pub type Outcome = Result<String, String>;

/// The sending side.
#[derive(Clone, Debug)]
pub struct Orders {
    sender: Sender<Sender<Outcome>>,
    bell: Arc<OwnedFd>,
}

/// The main thread's side.
#[derive(Debug)]
pub struct Received {
    receiver: Receiver<Sender<Outcome>>,
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
        self.sender.send(answer).map_err(|_| "the proxy is ending".to_owned())?;
        // A bell that is full rings already.
        let _ = rustix::io::write(self.bell.as_fd(), &1u64.to_ne_bytes());
        answered.recv_timeout(PATIENCE).map_err(|_| "no answer; see the log".to_owned())?
    }
}

impl Received {
    /// Readable when there may be an order.
    pub fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// The next order to reload; where the outcome goes.
    pub fn next(&self) -> Option<Sender<Outcome>> {
        let mut rung = [0; 8];
        // Nothing to read means that the ring was answered already.
        let _ = rustix::io::read(self.bell.as_fd(), &mut rung);
        self.receiver.try_recv().ok()
    }
}
