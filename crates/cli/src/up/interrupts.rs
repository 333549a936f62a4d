//! SIGINT, SIGTERM and SIGHUP as something to wait for.

use std::io::{ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The signals that ask us to end; each puts one byte into a socket.
#[derive(Debug)]
pub struct Interrupts {
    bell: UnixStream,
}

impl Interrupts {
    /// Catches them from now on.
    pub fn catch() -> Result<Interrupts> {
        let catch = || {
            let (bell, ringer) = UnixStream::pair()?;
            for signal in [SIGINT, SIGTERM, SIGHUP] {
                signal_hook::low_level::pipe::register(signal, ringer.try_clone()?)?;
            }
            Ok::<_, std::io::Error>(Interrupts { bell })
        };
        catch().context("cannot catch signals")
    }

    /// Waits for a signal, for at most `patience`; says whether one came.
    pub fn wait(&self, patience: Duration) -> bool {
        // Zero would mean for ever.
        let patience = patience.max(Duration::from_millis(1));
        let mut byte = [0];
        // It fails only for zero.
        let _ = self.bell.set_read_timeout(Some(patience));
        match (&self.bell).read(&mut byte) {
            Ok(count) => count > 0,
            // What interrupted the read was a signal; where it was one of ours, its byte is there now.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.wait(Duration::from_millis(1)),
            Err(_) => false,
        }
    }
}
