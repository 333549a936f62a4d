//! Our own proxy, from the build that this test belongs to.

use std::path::{Path, PathBuf};

use super::{AS_NUTCRACKER, Config, Proxy, Running};
use crate::{Process, Workplace};

/// A running `shoal proxy`, killed on drop.
#[derive(Debug)]
pub struct ShoalProxy {
    running: Running,
}

impl ShoalProxy {
    /// Starts one in nutcracker's place: under its name, with its flags.
    ///
    /// # Panics
    /// When it is not built or does not start.
    #[must_use]
    pub fn start(workplace: &Workplace, config: &Config) -> Self {
        let program = Self::as_nutcracker(workplace);
        Self { running: Running::start(workplace, config, &program, &AS_NUTCRACKER) }
    }

    /// Starts `shoal proxy --nutcracker FILE` with these switches of our own (`--multi-key as-nutcracker`).
    /// Of Twemproxy's flags in `config` it takes only some.
    ///
    /// # Panics
    /// When it is not built or does not start.
    #[must_use]
    pub fn start_with(workplace: &Workplace, config: &Config, switches: &[&str]) -> Self {
        // Without a port of its own for metrics, which all would share.
        let mut args = vec!["proxy", "--admin", "none"];
        args.extend(switches);
        args.push("--nutcracker");
        Self { running: Running::start(workplace, config, &Self::program(), &args) }
    }

    /// The binary: `$SHOAL_BIN`, or `shoal` in the target directory of this test.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn program() -> PathBuf {
        let path = match std::env::var_os("SHOAL_BIN") {
            Some(path) => PathBuf::from(path),
            None => {
                let test = std::env::current_exe().expect("the path of this test");
                // target/<profile>/deps/<test>
                test.ancestors().nth(2).unwrap_or(Path::new(".")).join("shoal")
            }
        };
        assert!(
            path.is_file(),
            "{} is not there: run `cargo build -p shoal-cli` first, or set SHOAL_BIN",
            path.display()
        );
        path
    }

    /// A symbolic link to the binary under the name `nutcracker`.
    ///
    /// # Panics
    /// When the binary is not there.
    #[must_use]
    pub fn as_nutcracker(workplace: &Workplace) -> PathBuf {
        let link = workplace.subdir("bin").join("nutcracker");
        let program = std::path::absolute(Self::program()).expect("the working directory");
        std::os::unix::fs::symlink(program, &link).expect("make a link in the workplace");
        link
    }
}

impl Proxy for ShoalProxy {
    fn running(&self) -> &Running {
        &self.running
    }

    fn process(&mut self) -> &mut Process {
        &mut self.running.process
    }
}
