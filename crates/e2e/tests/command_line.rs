//! Twemproxy's flags and signals under the name `nutcracker`, beside the real one.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use shoal_e2e::startup::{errors, local, nutcracker_yml, run, show};
use shoal_e2e::{
    Answer, Config, FakeServer, Nutcracker, OwnPool, OwnProxy, Pool, Proxy, RawClient, ShoalProxy, Workplace,
    ports, wait,
};

/// The real one and ours, to be called alike.
fn both(workplace: &Workplace) -> [PathBuf; 2] {
    [Nutcracker::program(), ShoalProxy::as_nutcracker(workplace)]
}

#[test]
fn flags_end_with_the_status_and_stream_that_nutcrackers_do() {
    let workplace = Workplace::new();
    let good = nutcracker_yml(&workplace, ports::free(), "");
    let good = good.to_string_lossy();
    let rows: [(&[&str], bool, &str); 14] = [
        (&["-h"], true, "Usage"),
        (&["--help"], true, "Usage"),
        (&["-V"], true, "nutcracker"),
        (&["--version"], true, "nutcracker"),
        (&["-D"], true, "server_ejected_at"),
        (&["--describe-stats"], true, "server_ejected_at"),
        (&["-Z"], false, "Usage"),
        (&["--no-such-flag"], false, "Usage"),
        (&["-c"], false, "Usage"),
        (&["-s", "abc"], false, "Usage"),
        (&["-s", "70000"], false, "Usage"),
        (&["-m", "511"], false, "Usage"),
        (&["-t", "-m", "512", "-v", "11", "-i", "1", "-c", &good], true, "syntax is ok"),
        (&["--test-conf", "--mbuf-size=16777216", "--conf-file", &good], true, "syntax is ok"),
    ];
    for program in both(&workplace) {
        for (args, succeeds, says) in rows {
            let output = run(&program, args);
            let what = format!("{} {args:?}: {output:?}", program.display());
            assert_eq!(output.status.code(), Some(i32::from(!succeeds)), "{what}");
            assert!(output.stdout.is_empty() && errors(&output).contains(says), "{what}");
        }
    }
}

#[test]
fn what_nutcracker_overlooks_ours_overlooks() {
    let workplace = Workplace::new();
    let good = nutcracker_yml(&workplace, ports::free(), "");
    let good = good.to_string_lossy();
    let rows: [&[&str]; 2] = [&["-t", "-v", "12", "-c", &good], &["-t", "-c", &good, "a-word-too-many"]];
    for program in both(&workplace) {
        for args in rows {
            let output = run(&program, args);
            assert_eq!(output.status.code(), Some(0), "{} {args:?}: {output:?}", program.display());
        }
    }
}

#[test]
fn the_statistics_described_are_nutcrackers() {
    let workplace = Workplace::new();
    let [theirs, ours] = both(&workplace).map(|program| {
        let text = errors(&run(&program, &["-D"]));
        let named = text.lines().filter_map(|line| Some(line.split_once('"')?.0.trim().to_owned()));
        named.collect::<BTreeSet<_>>()
    });
    assert!(theirs.len() > 15, "{theirs:?}");
    assert_eq!(theirs, ours);
}

#[test]
fn a_configuration_test_says_its_one_line_and_binds_nothing() {
    let workplace = Workplace::new();
    // Taken, so that binding it would fail.
    let taken = TcpListener::bind(local(ports::free())).expect("listen");
    let port = taken.local_addr().expect("an address").port();
    let good = nutcracker_yml(&workplace, port, "");
    let bad = nutcracker_yml(&workplace, port, "  hahs: fnv1a_64\n");
    let none = workplace.path().join("none.yml");
    for program in both(&workplace) {
        for (file, status, verdict) in [(&good, 0, "ok"), (&bad, 1, "invalid"), (&none, 1, "invalid")] {
            let output = run(&program, &["-t", "-c", &file.to_string_lossy()]);
            assert_eq!(output.status.code(), Some(status), "{output:?}");
            let line = format!("nutcracker: configuration file '{}' syntax is {verdict}", file.display());
            assert!(errors(&output).lines().any(|said| said.starts_with(&line)), "{output:?}");
        }
    }
}

/// A process that left its parent, ended on drop by its own id.
struct Daemon(Pid);

impl Daemon {
    fn of(pid_file: &Path) -> Self {
        let text = fs::read_to_string(pid_file).expect("a pid file");
        let pid = text.trim().parse().ok().and_then(Pid::from_raw).expect("a pid in the file");
        let daemon = Self(pid);
        let program = fs::read_link(daemon.proc("exe")).expect("it runs");
        assert_eq!(program, fs::canonicalize(ShoalProxy::program()).expect("our program"));
        daemon
    }

    fn proc(&self, what: &str) -> PathBuf {
        format!("/proc/{}/{what}", self.0.as_raw_nonzero()).into()
    }

    /// The columns of `/proc/PID/stat` from the state on.
    fn stat(&self) -> Option<Vec<String>> {
        let stat = fs::read_to_string(self.proc("stat")).ok()?;
        Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
    }

    /// Gone, or waiting for a parent to ask after it.
    fn has_ended(&self) -> bool {
        self.stat().is_none_or(|stat| stat[0] == "Z")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

#[test]
fn a_daemon_serves_when_its_parent_ends_and_its_pid_is_in_the_file() {
    let workplace = Workplace::new();
    let (port, stats) = (ports::free(), ports::free().to_string());
    let file = nutcracker_yml(&workplace, port, "");
    let (log, pid_file) = (file.with_file_name("log"), file.with_file_name("pid"));
    let program = ShoalProxy::as_nutcracker(&workplace);
    let (file, log_path, pid_path) =
        (file.to_string_lossy(), log.to_string_lossy(), pid_file.to_string_lossy());
    let output = run(
        &program,
        &["-d", "-c", &file, "-o", &log_path, "-p", &pid_path, "-s", &stats, "-a", "127.0.0.1"],
    );
    let daemon = Daemon::of(&pid_file);
    assert!(output.status.success(), "{output:?}\n{}", show(&log));
    // It serves by now: nothing is waited for.
    let mut client = RawClient::connect(local(port));
    assert_eq!(client.call(&["PING"]), b"+PONG\r\n");
    // A session of its own, so that the terminal's end is not its end; and no hold on our streams.
    let session = daemon.stat().expect("it runs")[3].clone();
    assert_eq!(session, daemon.0.as_raw_nonzero().to_string());
    for stream in 0..3 {
        assert_eq!(
            fs::read_link(daemon.proc(&format!("fd/{stream}"))).expect("a stream"),
            Path::new("/dev/null")
        );
    }
    assert!(show(&log).contains("serving 1 pools"), "{}", show(&log));
    kill_process(daemon.0, Signal::TERM).expect("signal it");
    assert_eq!(client.until_closed(), b"");
    wait::until("the daemon's end", || daemon.has_ended().then_some(()));
    assert!(!pid_file.exists() && RawClient::try_connect(local(port)).is_err());
}

/// Ours under nutcracker's name, with one pool, a log of its own, and these flags.
fn signalled(workplace: &Workplace, flags: &[&str]) -> (ShoalProxy, PathBuf) {
    let log = workplace.subdir("log").join("log");
    let pool = Pool::new("alpha", vec![format!("127.0.0.1:{}:1", ports::free())]);
    let mut config = Config::of(pool);
    // The harness's `-o` comes first, and the last one counts.
    config.flags = flags.iter().map(ToString::to_string).collect();
    let proxy = ShoalProxy::start(workplace, &config);
    let own_log = fs::read_link(format!("/proc/{}/fd/1", proxy.pid())).expect("its log");
    assert!(own_log.exists() && !log.exists());
    (proxy, own_log)
}

fn log_says(log: &Path, what: &str) {
    wait::until(&format!("{what:?} in the log"), || show(log).contains(what).then_some(()));
}

#[test]
fn the_log_is_opened_again_on_sighup() {
    let workplace = Workplace::new();
    let (mut proxy, log) = signalled(&workplace, &[]);
    log_says(&log, "serving 1 pools");
    let mut client = proxy.client("alpha");
    for nth in 0..3 {
        let moved = log.with_file_name(format!("log.{nth}"));
        fs::rename(&log, &moved).expect("move the log");
        let before = show(&moved);
        proxy.process().signal(Signal::HUP);
        wait::until("a new log", || log.exists().then_some(()));
        proxy.process().signal(Signal::TTIN);
        log_says(&log, "log level is ");
        assert!(!show(&moved)[before.len()..].contains("log level"), "{}", show(&moved));
        // Nobody lost anything by it.
        assert_eq!(client.call(&["PING"]), b"+PONG\r\n");
    }
}

#[test]
fn signals_change_the_log_level() {
    let workplace = Workplace::new();
    let (mut proxy, log) = signalled(&workplace, &["-v", "4"]);
    // The order of signals that are not waited for between is anybody's.
    proxy.process().signal(Signal::TTIN);
    log_says(&log, "log level is 5");
    assert!(!show(&log).contains("serving"), "a notice at level 4: {}", show(&log));
    proxy.process().signal(Signal::USR1);
    log_says(&log, "ignored");
    proxy.process().signal(Signal::TTIN);
    log_says(&log, "log level is 6");
    for level in [5, 4, 3] {
        let told = show(&log).len();
        proxy.process().signal(Signal::TTOU);
        wait::until("a lower level", || {
            show(&log)[told..].contains(&format!("level is {level}")).then_some(())
        });
    }
    assert_eq!(proxy.client("alpha").call(&["PING"]), b"+PONG\r\n");
}

#[test]
fn sigint_and_sigterm_end_it() {
    let workplace = Workplace::new();
    for signal in [Signal::INT, Signal::TERM] {
        let (mut proxy, _) = signalled(&workplace, &[]);
        let mut client = proxy.client("alpha");
        assert_eq!(client.call(&["PING"]), b"+PONG\r\n");
        proxy.process().signal(signal);
        let ended = wait::until("the end of nutcracker's stand-in", || proxy.process().ended());
        assert_eq!(client.until_closed(), b"");
        // Twemproxy has no other status for an end of its own; SIGTERM kills it without one.
        assert_eq!(ended.code(), Some(1), "{signal:?}");
        assert!(RawClient::try_connect(proxy.addr("alpha")).is_err());

        let server = FakeServer::start(Answer::index(0));
        let mut own = OwnProxy::start(&workplace, 2, &[OwnPool::storage("alpha", &[server.addr()])]);
        let mut client = own.client("alpha");
        assert_eq!(client.call(&["GET", "a"]), b"$2\r\n00\r\n");
        own.process().signal(signal);
        let ended = wait::until("the end of shoal proxy", || own.process().ended());
        assert_eq!(client.until_closed(), b"");
        assert_eq!(ended.code(), Some(0), "{signal:?}");
    }
}
