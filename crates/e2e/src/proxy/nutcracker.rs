//! The real nutcracker, as Debian packages it.

use std::path::PathBuf;

use super::{AS_NUTCRACKER, Config, Proxy, Running};
use crate::{Process, Workplace, process};

/// A running nutcracker, killed on drop.
#[derive(Debug)]
pub struct Nutcracker {
    running: Running,
}

impl Nutcracker {
    /// Starts one and waits until all its pools listen.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start(workplace: &Workplace, config: &Config) -> Self {
        Self { running: Running::start(workplace, config, &Self::program(), &AS_NUTCRACKER) }
    }

    /// Its path.
    ///
    /// # Panics
    /// When it is not installed.
    #[must_use]
    pub fn program() -> PathBuf {
        process::installed("nutcracker", "nutcracker")
    }
}

impl Proxy for Nutcracker {
    fn running(&self) -> &Running {
        &self.running
    }

    fn process(&mut self) -> &mut Process {
        &mut self.running.process
    }
}
