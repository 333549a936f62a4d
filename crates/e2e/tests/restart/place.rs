//! A place where one process of the proxy follows another.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal_e2e::process::Process;
use shoal_e2e::{RawClient, ShoalProxy, Workplace, ports, wait};

/// A port of 127.0.0.1 that nobody listens on.
pub fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], ports::free()))
}

/// One configuration file, one hand-over socket, one pid file, and a log for each process.
pub struct Place {
    pub workplace: Workplace,
    pub folder: PathBuf,
    pub admin: SocketAddr,
    pub stats: SocketAddr,
    started: AtomicUsize,
}

impl Place {
    /// An empty place.
    pub fn new() -> Place {
        let workplace = Workplace::new();
        let folder = workplace.subdir("place");
        Place { workplace, folder, admin: free(), stats: free(), started: AtomicUsize::new(0) }
    }

    /// Where the next process takes over.
    pub fn door(&self) -> PathBuf {
        self.folder.join("door.sock")
    }

    /// Writes the file, with these pools and this drain timeout.
    pub fn configure(&self, drain_timeout: u64, pools: &str) {
        let (admin, stats) = (self.admin, self.stats);
        let text = format!(
            "workers: 2\nadmin: {admin}\nstats: {stats}\nhand_over: door.sock\ndrain_timeout: {drain_timeout}\npools:\n{pools}"
        );
        fs::write(self.folder.join("proxy.yml"), text).expect("write the file");
    }

    /// Starts a process with these flags, without waiting for anything.
    pub fn launch(&self, flags: &[&str]) -> Process {
        let log = self.folder.join(format!("log.{}", self.started.fetch_add(1, Ordering::Relaxed)));
        let (file, pid_file) = (self.folder.join("proxy.yml"), self.folder.join("pid"));
        let (file, pid_file) = (file.to_string_lossy(), pid_file.to_string_lossy());
        let mut args = vec!["proxy", "--config", &*file, "--pid-file", &*pid_file];
        args.extend(flags);
        Process::start(&ShoalProxy::program(), &args, &log)
    }

    /// Starts the first process, and waits until it serves.
    pub fn start(&self) -> Process {
        let process = self.launch(&[]);
        wait::until("the first process to serve", || process.log().contains("serving").then_some(()));
        process
    }

    /// Starts a process that takes over, and waits until it has.
    #[track_caller]
    pub fn take_over(&self) -> Process {
        let mut process = self.launch(&["--take-over"]);
        let done = wait::at_most(wait::DEADLINE, || {
            assert_eq!(process.ended(), None, "{}", process.log());
            process.log().contains(": taken over").then_some(())
        });
        assert!(done.is_some(), "not taken over: {}", process.log());
        process
    }

    /// The process id in the pid file.
    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.folder.join("pid")).ok()?.trim().parse().ok()
    }

    /// What the admin port answers to a GET of `path`.
    pub fn get(&self, path: &str) -> String {
        let mut client = RawClient::connect(self.admin);
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
        String::from_utf8(client.until_closed()).expect("an answer in UTF-8")
    }
}

/// Waits until a process has ended, and shows how.
#[track_caller]
pub fn end_of(process: &mut Process) -> ExitStatus {
    match wait::at_most(wait::DEADLINE * 3, || process.ended()) {
        Some(status) => status,
        None => panic!("it does not end: {}", process.log()),
    }
}

/// Waits until a process's log says this.
#[track_caller]
pub fn says(process: &Process, what: &str) {
    let said = wait::at_most(wait::DEADLINE, || process.log().contains(what).then_some(()));
    assert!(said.is_some(), "{what:?} is not in the log: {}", process.log());
}

/// A pool of `proxy.yml` over these servers.
pub fn pool(name: &str, listen: &str, servers: &[SocketAddr]) -> String {
    let list: String = servers.iter().map(|server| format!("      - address: {server}\n")).collect();
    format!("  - name: {name}\n    mode: storage\n    listen: {listen}\n    servers:\n{list}")
}
