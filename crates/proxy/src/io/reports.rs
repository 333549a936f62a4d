//! What workers tell the main thread.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// What a worker tells.
#[derive(Debug)]
pub enum Report {
    /// The connections that are to be made before the first client comes are made, or have failed.
    Prepared,
    /// It ended.
    Ended(Result<(), Errno>),
}

/// A worker's side.
#[derive(Clone, Debug)]
pub struct Reporter {
    sender: Sender<Report>,
    bell: Arc<OwnedFd>,
}

/// The main thread's side.
#[derive(Debug)]
pub struct Reports {
    receiver: Receiver<Report>,
    bell: Arc<OwnedFd>,
    ended: usize,
}

/// Both sides.
pub fn reports() -> rustix::io::Result<(Reporter, Reports)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
    let (sender, receiver) = channel();
    Ok((Reporter { sender, bell: bell.clone() }, Reports { receiver, bell, ended: 0 }))
}

impl Reporter {
    /// Tells the main thread; if that has ended there is nobody left to tell.
    pub fn tell(&self, report: Report) {
        let _ = self.sender.send(report);
        // A bell that is full rings already.
        let _ = rustix::io::write(self.bell.as_fd(), &1u64.to_ne_bytes());
    }
}

impl Reports {
    /// Readable when there may be a report.
    pub fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// Waits until so many workers are prepared, for `patience` at most; whether they are.
    ///
    /// # Errors
    /// Why a worker ended.
    pub fn await_prepared(&mut self, workers: usize, patience: Duration) -> Result<bool, Errno> {
        let deadline = Instant::now() + patience;
        for _ in 0..workers {
            match self.receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(report) => self.take(report)?,
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// How many workers have ended, as far as is told.
    ///
    /// # Errors
    /// Why one ended that was not told to.
    pub fn ended(&mut self) -> Result<usize, Errno> {
        let mut rung = [0; 8];
        // Nothing to read means that the ring was answered already.
        let _ = rustix::io::read(self.bell.as_fd(), &mut rung);
        while let Ok(report) = self.receiver.try_recv() {
            self.take(report)?;
        }
        Ok(self.ended)
    }

    fn take(&mut self, report: Report) -> Result<(), Errno> {
        if let Report::Ended(outcome) = report {
            self.ended += 1;
            outcome?;
        }
        Ok(())
    }
}
