//! Programs that should end by themselves (a flag asked for it, or they cannot start), and the smallest files to start
//! them with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{Workplace, ports};

/// How long such a program may run, in seconds.
const BOUND: &str = "60";

/// A program that is ended after a minute, with exit status 124; its arguments are to be added.
#[must_use]
pub fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg(BOUND).arg(program);
    command
}

/// Runs a program to its end; exit status 124 if it had to be ended.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run(program: &Path, args: &[&str]) -> Output {
    bounded(program).args(args).output().expect("run a program")
}

/// Runs `command` to its end, and gives all that it wrote: standard error, then standard output.
///
/// # Panics
/// When it cannot be started, or ends with another status than 0.
#[track_caller]
pub fn success(command: &mut Command) -> String {
    let output = command.output().expect("run a program");
    let wrote = errors(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}: {}\n{wrote}", output.status);
    wrote
}

/// What a program wrote to its standard error.
#[must_use]
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An address of 127.0.0.1.
#[must_use]
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A `nutcracker.yml` of the pool `alpha` on this port, with a server that is not there, and further lines.
pub fn nutcracker_yml(workplace: &Workplace, port: u16, more: &str) -> PathBuf {
    let server = ports::free();
    let text = format!(
        "alpha:\n  listen: 127.0.0.1:{port}\n  redis: true\n{more}  servers:\n    - 127.0.0.1:{server}:1\n"
    );
    workplace.write("nutcracker.yml", &text)
}

/// A `proxy.yml` of the pool `alpha` on this port, with a server that is not there, no admin port, and further lines.
pub fn proxy_yml(workplace: &Workplace, port: u16, more: &str) -> PathBuf {
    let text = format!(
        "admin: none\npools:\n  - name: alpha\n    mode: storage\n    listen: 127.0.0.1:{port}\n{more}    \
         servers:\n      - address: 127.0.0.1:{}\n",
        ports::free()
    );
    workplace.write("proxy.yml", &text)
}

/// The text of a file, empty if it is not there.
#[must_use]
pub fn show(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}
