//! `shoal up` as its user meets it: what it prints can be typed, what it started ends with it, and what it kept is there
//! again.
//!
//! Which processes are its own is told by the kernel: all of them run below the demo's directory.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shoal_e2e::{Process, RawClient, ShoalProxy, Workplace, ports, wait};

/// Ports that one demo takes.
const PORTS: u16 = 12;

/// Eight Redis servers and the proxy.
const CHILDREN: usize = 9;

/// The demo starts nine processes, on a machine that runs other tests; it gives up by itself after 30 seconds.
const START: Duration = Duration::from_secs(60);

#[test]
fn demo_is_kept_hot_is_not_and_nothing_is_left() {
    let place = Place::new();
    let mut first = place.up_json();
    assert_eq!(first.call("demo", &["SET", "user:1", "anne"]), "+OK\r\n");
    assert_eq!(first.call("hot", &["SET", "user:1", "cached"]), "+OK\r\n");
    // Many keys, so that every shard has some to keep.
    for key in 0..40 {
        first.call("demo", &["SET", &format!("key:{key}"), "v"]);
    }
    assert_eq!(first.call("hot", &["GET", "user:1"]), "$6\r\ncached\r\n");
    assert_eq!(place.processes().len(), CHILDREN);
    assert_eq!(first.pids().len(), CHILDREN);
    first.process.signal(Signal::INT);
    assert_eq!(first.end().code(), Some(0));
    place.demand_no_process(&first.pids());

    let mut second = place.up_json();
    assert_eq!(second.call("demo", &["GET", "user:1"]), "$4\r\nanne\r\n");
    let exists: Vec<String> = (0..40).map(|key| format!("key:{key}")).collect();
    let exists: Vec<&str> = ["EXISTS"].into_iter().chain(exists.iter().map(String::as_str)).collect();
    assert_eq!(second.call("demo", &exists), ":40\r\n");
    assert_eq!(second.call("hot", &["GET", "user:1"]), "$-1\r\n");
    second.process.signal(Signal::TERM);
    assert_eq!(second.end().code(), Some(0));
    place.demand_no_process(&second.pids());
}

#[test]
fn clients_need_the_password_and_nobody_else_reads_it() {
    let place = Place::new();
    let demo = place.up_json();
    let mut stranger = RawClient::connect(demo.addr("demo"));
    assert!(stranger.call(&["GET", "k"]).starts_with(b"-NOAUTH"));
    let pool = demo.pool("demo");
    let shard =
        pool["servers"][0]["address"].as_str().and_then(|text| text.parse().ok()).expect("an address");
    assert!(RawClient::connect(shard).call(&["GET", "k"]).starts_with(b"-NOAUTH"));

    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let password = PathBuf::from(pool["password_file"].as_str().expect("a path"));
    assert_eq!((mode(&place.dir), mode(&password)), (0o700, 0o600));
    let secret = std::fs::read_to_string(password).expect("the password");
    for pid in place.processes() {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).expect("a command line");
        assert!(
            !String::from_utf8_lossy(&arguments).contains(secret.trim()),
            "process {pid} shows a password"
        );
    }
}

#[test]
fn what_it_prints_can_be_typed() {
    let place = Place::new();
    let mut demo = place.up(&[]);
    let text = demo.wait_for_text("Ctrl-C ends it all.");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("redis-cli -p ")).collect();
    assert_eq!(lines.len(), 2, "one line a pool in\n{text}");
    for line in lines {
        let typed = &line[line.find("REDISCLI_AUTH").expect("the password")..];
        let shell = |command: &str| {
            let output = Command::new("sh").args(["-c", &format!("{typed} {command}")]).output().expect("sh");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!((shell("set a b").as_str(), shell("get a").as_str()), ("OK\n", "b\n"), "{line}");
    }
    // No terminal reads this: nothing in it moves a cursor.
    assert!(!demo.process.log().contains('\x1b'));
    demo.process.signal(Signal::HUP);
    assert_eq!(demo.end().code(), Some(0));
}

#[test]
fn it_ends_by_itself_when_its_time_is_up() {
    let place = Place::new();
    let mut demo = place.up(&["--for", "0", "--output", "json"]);
    assert_eq!(demo.end().code(), Some(0), "{}", demo.process.log());
    place.demand_no_process(&[]);
}

#[test]
fn what_a_killed_one_left_is_ended_by_the_next() {
    let place = Place::new();
    let mut killed = place.up_json();
    killed.call("demo", &["SET", "k", "v"]);
    killed.process.kill();
    assert_eq!(place.processes().len(), CHILDREN, "they outlive it");

    let mut next = place.up_json();
    let log = next.process.log();
    assert!(log.contains("ended 9 processes that an earlier `shoal up` had left"), "{log}");
    for pid in killed.pids() {
        assert!(!place.processes().contains(&pid), "process {pid} is from the first run");
    }
    assert_eq!(next.call("demo", &["GET", "k"]), "$1\r\nv\r\n");
    next.process.signal(Signal::INT);
    assert_eq!(next.end().code(), Some(0));
    place.demand_no_process(&next.pids());
}

#[test]
fn a_taken_port_is_named_before_anything_starts() {
    let place = Place::new();
    let port = place.port + 6;
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
    let mut demo = place.up(&[]);
    assert_eq!(demo.end().code(), Some(1));
    let said = demo.process.log();
    let sentence =
        format!("port {port} of 127.0.0.1, meant for the Redis server demo-3, is taken: end what listens");
    assert!(said.contains(&sentence) && said.contains("--port FIRST"), "{said}");
    assert!(!said.contains("starting"), "{said}");
    place.demand_no_process(&[]);
}

#[test]
fn a_second_one_in_the_same_directory_is_refused_and_harms_nothing() {
    let place = Place::new();
    let first = place.up_json();
    let mut second = place.up(&[]);
    assert_eq!(second.end().code(), Some(1));
    let said = second.process.log();
    let sentence = format!("another `shoal up` (process {}) runs in ", first.process.pid());
    assert!(said.contains(&sentence), "{said}");
    assert_eq!(first.call("demo", &["PING"]), "+PONG\r\n");
    assert_eq!(place.processes().len(), CHILDREN);
}

#[test]
fn a_server_that_cannot_start_shows_its_log_and_takes_the_others_with_it() {
    let place = Place::new();
    assert_eq!(place.up(&["--for", "0"]).end().code(), Some(0));
    let manifest = place.dir.join("demo-3/appendonlydir/appendonly.aof.manifest");
    std::fs::write(&manifest, "nonsense\n").expect("spoil a file");
    let mut demo = place.up(&[]);
    assert_eq!(demo.end().code(), Some(1));
    let said = demo.process.log();
    assert!(said.contains("demo-3 ended before it served: exit status: 1; "), "{said}");
    assert!(said.contains("AOF manifest"), "Redis's own words are in\n{said}");
    place.demand_no_process(&[]);
}

#[test]
fn a_shard_that_dies_is_told_and_the_demo_goes_on() {
    let place = Place::new();
    let mut demo = place.up_json();
    let pid = demo.pool("hot")["servers"][1]["pid"].as_i64().expect("a pid");
    signal(i32::try_from(pid).expect("a pid"), Signal::KILL);
    demo.wait_for_text("hot-2 ended, and the demo goes on without it: signal: 9 (SIGKILL)");
    assert_eq!(demo.call("demo", &["SET", "k", "v"]), "+OK\r\n");
    demo.process.signal(Signal::INT);
    assert_eq!(demo.end().code(), Some(0));
    place.demand_no_process(&demo.pids());
}

#[test]
fn a_dead_proxy_ends_the_demo_with_an_error() {
    let place = Place::new();
    let mut demo = place.up_json();
    let pid = demo.json["proxy"]["pid"].as_i64().expect("a pid");
    signal(i32::try_from(pid).expect("a pid"), Signal::KILL);
    assert_eq!(demo.end().code(), Some(1));
    let said = demo.process.log();
    assert!(said.contains("the proxy ended: signal: 9 (SIGKILL); "), "{said}");
    place.demand_no_process(&demo.pids());
}

#[test]
fn a_further_interrupt_ends_it_at_once() {
    let place = Place::new();
    let mut demo = place.up_json();
    // Stopped, they do not end when asked: without a further signal this would take twice ten seconds, and we wait ten.
    for pid in demo.pids() {
        signal(pid, Signal::STOP);
    }
    demo.process.signal(Signal::INT);
    let status = wait::until("the end", || {
        let status = demo.process.ended();
        if status.is_none() {
            demo.process.signal(Signal::INT);
        }
        status
    });
    assert_eq!(status.code(), Some(0));
    place.demand_no_process(&demo.pids());
}

/// A directory and ports for one demo at a time.
struct Place {
    workplace: Workplace,
    dir: PathBuf,
    port: u16,
}

/// A running `shoal up`.
struct Demo {
    process: Process,
    /// What it printed where that was JSON.
    json: Value,
}

impl Place {
    fn new() -> Self {
        let workplace = Workplace::new();
        let dir = workplace.path().join("up");
        Self { workplace, dir, port: free_ports() }
    }

    /// Starts one with these further arguments.
    fn up(&self, args: &[&str]) -> Demo {
        let log = self.workplace.subdir("up-log").join("log");
        let (dir, port) = (self.dir.to_string_lossy(), self.port.to_string());
        let mut all = vec!["up", "--dir", &dir, "--port", &port];
        all.extend(args);
        Demo { process: Process::start(&ShoalProxy::program(), &all, &log), json: Value::Null }
    }

    /// Starts one and waits for its line of JSON.
    fn up_json(&self) -> Demo {
        let mut demo = self.up(&["--output", "json"]);
        let text = demo.wait_for_text("\"stats\":");
        let line = text.lines().find(|line| line.starts_with('{')).expect("a line of JSON");
        demo.json = serde_json::from_str(line).expect("JSON");
        demo
    }

    /// The processes that run below the directory.
    fn processes(&self) -> Vec<i32> {
        let entries = std::fs::read_dir("/proc").expect("/proc");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let runs_here = |pid: &i32| {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|dir| dir.starts_with(&self.dir))
        };
        pids.filter(runs_here).collect()
    }

    /// None below the directory, and none of these.
    #[track_caller]
    fn demand_no_process(&self, pids: &[i32]) {
        assert_eq!(self.processes(), [0; 0]);
        let alive =
            |pid: &&i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
        assert_eq!(pids.iter().find(alive), None);
    }
}

/// A test that failed leaves nothing either. The `Demo` is gone by now.
impl Drop for Place {
    fn drop(&mut self) {
        for pid in self.processes() {
            signal(pid, Signal::KILL);
        }
    }
}

impl Demo {
    /// Waits until this stands in its output, and gives all of that.
    #[track_caller]
    fn wait_for_text(&mut self, wanted: &str) -> String {
        let text = wait::at_most(START, || {
            let text = self.process.log();
            let line_is_whole = text.find(wanted).is_some_and(|at| text[at..].contains('\n'));
            (line_is_whole || self.process.ended().is_some()).then_some(text)
        });
        match text {
            Some(text) if text.contains(wanted) => text,
            _ => panic!("`shoal up` did not print {wanted:?} but\n{}", self.process.log()),
        }
    }

    /// How it ended.
    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        match wait::at_most(START, || self.process.ended()) {
            Some(status) => status,
            None => panic!("`shoal up` does not end:\n{}", self.process.log()),
        }
    }

    fn pool(&self, name: &str) -> &Value {
        let pools = self.json["pools"].as_array().expect("pools");
        pools.iter().find(|pool| pool["name"] == name).expect("the pool")
    }

    fn addr(&self, pool: &str) -> SocketAddr {
        self.pool(pool)["address"].as_str().and_then(|text| text.parse().ok()).expect("an address")
    }

    /// One command of a client that gave the password.
    #[track_caller]
    fn call(&self, pool: &str, words: &[&str]) -> String {
        let path = self.pool(pool)["password_file"].as_str().expect("a path");
        let password = std::fs::read_to_string(path).expect("the password");
        let mut client = RawClient::connect(self.addr(pool));
        assert_eq!(client.call(&["AUTH", password.trim()]), b"+OK\r\n");
        String::from_utf8_lossy(&client.call(words)).into_owned()
    }

    /// All that it started.
    fn pids(&self) -> Vec<i32> {
        let pools = self.json["pools"].as_array().into_iter().flatten();
        let servers = pools.flat_map(|pool| pool["servers"].as_array().into_iter().flatten());
        let all = servers.chain([&self.json["proxy"]]);
        all.map(|process| process["pid"].as_i64().and_then(|pid| pid.try_into().ok()).expect("a pid"))
            .collect()
    }
}

fn signal(pid: i32, signal: Signal) {
    // It may be gone already.
    let _ = kill_process(Pid::from_raw(pid).expect("a pid is positive"), signal);
}

/// The first of as many free ports in a row as a demo takes.
fn free_ports() -> u16 {
    // One test at a time, so that the ports of two do not alternate.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut first, mut count) = (ports::free(), 1);
    while count < PORTS {
        let port = ports::free();
        if port == first + count {
            count += 1;
        } else {
            (first, count) = (port, 1);
        }
    }
    first
}
