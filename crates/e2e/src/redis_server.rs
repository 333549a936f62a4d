//! A real `redis-server` on a loopback port.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use rustix::process::Signal;

use crate::process::{self, Process};
use crate::{RawClient, Workplace, ports, wait};

/// How often a start is tried with another port.
const TRIES: usize = 3;

/// A Redis without persistence, killed on drop.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    port: u16,
    args: Vec<String>,
    dir: PathBuf,
}

impl RedisServer {
    /// Starts one with these further options (`--maxmemory`, `1mb`) and waits until it answers.
    ///
    /// # Panics
    /// When it does not answer within the deadline.
    #[track_caller]
    pub fn start(workplace: &Workplace, args: &[&str]) -> Self {
        let dir = workplace.subdir("redis");
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        for _ in 1..TRIES {
            let port = ports::free();
            if let Ok(process) = launch(&dir, port, &args) {
                return Self { process, port, args, dir };
            }
        }
        let port = ports::free();
        match launch(&dir, port, &args) {
            Ok(process) => Self { process, port, args, dir },
            Err(log) => panic!("redis-server {args:?} does not start:\n{log}"),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// A connection to it.
    #[track_caller]
    #[must_use]
    pub fn client(&self) -> RawClient {
        RawClient::connect(self.addr())
    }

    /// How often it has executed a command (`set`, `client|tracking`) since it started or was told to count anew.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    #[must_use]
    pub fn calls(&self, command: &str) -> u64 {
        let counted = self.client().info(&format!("cmdstat_{command}"));
        counted.map_or(0, |counted| {
            let calls = counted.strip_prefix("calls=").and_then(|rest| rest.split(',').next()?.parse().ok());
            calls.expect("a number of calls")
        })
    }

    /// How many of its clients wait in a blocking command.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    #[must_use]
    pub fn blocked(&self) -> usize {
        self.client().info("blocked_clients").and_then(|count| count.parse().ok()).expect("a number")
    }

    /// Forgets all data and cached scripts, in all databases.
    #[track_caller]
    pub fn flush(&self) {
        let mut client = self.client();
        client.call(&["FLUSHALL"]);
        client.call(&["SCRIPT", "FLUSH"]);
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The time of a processor that it has used, in the kernel's ticks of 10 ms: what it does cannot be asked of a server
    /// that is busy.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("a running process");
        // Columns 14 and 15 of all, user and system time; the name in column 2 may hold blanks.
        let columns = stat.rsplit_once(") ").expect("a name").1.split(' ').skip(11).take(2);
        columns.map(|ticks| ticks.parse::<u64>().expect("a number of ticks")).sum()
    }

    /// Kills it (`SIGKILL`): its port refuses from now on.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port, empty, and waits until it answers.
    ///
    /// # Panics
    /// When it does not answer within the deadline.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process.kill();
        match launch(&self.dir, self.port, &self.args) {
            Ok(process) => self.process = process,
            Err(log) => panic!("redis-server does not start again on port {}:\n{log}", self.port),
        }
    }

    /// Stops it (`SIGSTOP`): connections are still accepted by the kernel, nothing is answered.
    pub fn stop(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it go on (`SIGCONT`).
    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }
}

/// Starts the program and waits for a PONG; the log if it ends or stays silent.
fn launch(dir: &std::path::Path, port: u16, args: &[String]) -> Result<Process, String> {
    let program = process::installed("redis-server", "redis-server");
    let port_text = port.to_string();
    let mut all: Vec<&str> =
        vec!["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    let dir_text = dir.to_string_lossy();
    all.extend(["--dir", &dir_text, "--daemonize", "no"]);
    all.extend(args.iter().map(String::as_str));
    let mut process = Process::start(&program, &all, &dir.join("log"));
    let answers = wait::at_most(wait::DEADLINE, || {
        if process.ended().is_some() {
            return Some(false);
        }
        let mut client = RawClient::try_connect((Ipv4Addr::LOCALHOST, port).into()).ok()?;
        client.send_command(&["PING"]);
        let pong = client.reply().ok()?;
        (pong.starts_with(b"+PONG") || pong.starts_with(b"-NOAUTH")).then_some(true)
    });
    if answers == Some(true) { Ok(process) } else { Err(process.log()) }
}
