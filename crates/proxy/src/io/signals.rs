//! Signals, as bytes in sockets that the main thread waits on.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};

use super::log;

/// What a signal asks of the main thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Read the configuration again (SIGHUP; the log file was opened again already).
    Reload,
    /// Stop, by SIGINT.
    Interrupt,
    /// Stop, by SIGTERM.
    Terminate,
}

const CAUGHT: [i32; 7] = [SIGINT, SIGTERM, SIGHUP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2];

/// The signals that are caught, until the process ends.
#[derive(Debug)]
pub struct Signals {
    bell: OwnedFd,
    pending: Vec<(i32, UnixStream)>,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// If the system gives no sockets.
    pub fn catch() -> std::io::Result<Signals> {
        let (bell, wake) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let mut pending = Vec::new();
        for signal in CAUGHT {
            let (receiver, sender) = UnixStream::pair()?;
            receiver.set_nonblocking(true)?;
            signal_hook::low_level::pipe::register(signal, sender)?;
            signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
            pending.push((signal, receiver));
        }
        Ok(Signals { bell: bell.into(), pending })
    }

    /// Readable when there may be a signal.
    pub fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// What the signals since the last call ask for; what only concerns the log is done already.
    pub fn asked(&self) -> Vec<Asked> {
        let mut bytes = [0; 64];
        // Nothing there means that nothing came.
        let _ = rustix::io::read(&self.bell, &mut bytes);
        let mut asked = Vec::new();
        for (signal, receiver) in &self.pending {
            if !matches!(rustix::io::read(receiver, &mut bytes), Ok(count) if count > 0) {
                continue;
            }
            match *signal {
                SIGINT => asked.push(Asked::Interrupt),
                SIGTERM => asked.push(Asked::Terminate),
                SIGHUP => {
                    log::reopen();
                    asked.push(Asked::Reload);
                }
                SIGTTIN => log::change_level(1),
                SIGTTOU => log::change_level(-1),
                other => log::notice(&format!("signal {other} has no meaning here, ignored")),
            }
        }
        asked
    }
}
