//! A state directory with a runtime, and a client for what it starts.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use shoal_control::credentials::{PLATFORM, REPLICA, SENTINEL};
use shoal_control::io::local::{LocalOptions, LocalRuntime, LogBounds, Programs};
use shoal_control::redis_conf::eviction_default;
use shoal_control::reply::{Reply, command, request};
use shoal_control::runtime::{
    Access, Change, Data, NodeRef, Observed, Persistence, Program, RedisSays, RedisStart, Refused,
    Runtime as _, Says, Start, Stop, Target, User,
};
use shoal_topology::Mode;

/// Ten times what anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// Each test (a thread) has node addresses of its own, so that no two choose the same ports. 127.0.0.0/8 is loopback, whole.
pub fn node(number: u8) -> NodeRef {
    static TESTS: AtomicU8 = AtomicU8::new(0);
    thread_local!(static TEST: u8 = TESTS.fetch_add(1, Ordering::Relaxed));
    let own = std::process::id();
    let third = ((own & 0xff) as u8).wrapping_add(TEST.with(|test| *test));
    NodeRef { name: format!("n{number}"), address: [127, 1 + (own >> 8 & 0x7f) as u8, third, number].into() }
}

pub fn options(dir: &Path) -> LocalOptions {
    LocalOptions {
        dir: dir.to_owned(),
        programs: Programs {
            redis_servers: vec![
                std::env::var_os("SHOAL_TEST_REDIS_SERVER").unwrap_or("redis-server".into()).into(),
            ],
            shoal: PathBuf::from("/nonexistent/shoal"),
        },
        ports: 21_000..=21_999,
        logs: LogBounds::default(),
    }
}

/// A runtime in a directory of its own; all that it started is killed at the end, and nothing else.
pub struct World {
    pub place: tempfile::TempDir,
    pub runtime: Option<LocalRuntime>,
}

impl World {
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let runtime = Some(LocalRuntime::open(options(place.path())).unwrap());
        Self { place, runtime }
    }

    /// One in a directory that is there, and stays.
    pub fn at(dir: &Path) -> Self {
        let place = tempfile::Builder::new().prefix("in-").tempdir_in(dir).unwrap();
        let runtime = Some(LocalRuntime::open(options(place.path())).unwrap());
        Self { place, runtime }
    }

    /// One that is used by other processes than this one.
    pub fn closed() -> Self {
        Self { place: tempfile::tempdir().unwrap(), runtime: None }
    }

    pub fn runtime(&self) -> &LocalRuntime {
        self.runtime.as_ref().expect("an open runtime")
    }

    /// As if control had ended and been started again.
    pub fn reopen(&mut self) {
        self.runtime = None;
        self.runtime = Some(LocalRuntime::open(options(self.place.path())).unwrap());
    }

    pub fn start(&self, start: &Start) {
        self.runtime().start(start).unwrap();
    }

    pub fn see(&self, name: &str) -> Option<Observed> {
        let observation = self.runtime().observe().unwrap();
        observation.instances.into_iter().find(|observed| observed.name == name)
    }

    /// Waits until a Redis answers.
    #[track_caller]
    pub fn redis(&self, name: &str) -> RedisSays {
        self.until(name, |observed| redis_of(observed).cloned())
    }

    /// Waits until what is observed of an instance is so.
    #[track_caller]
    pub fn until<T>(&self, name: &str, so: impl Fn(&Observed) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            let observed = self.see(name);
            if let Some(found) = observed.as_ref().and_then(&so) {
                return found;
            }
            if Instant::now() > end {
                let log = std::fs::read_to_string(self.place.path().join(format!("instances/{name}/log")));
                panic!("{name} does not become so: {observed:?}\n{}", log.unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    pub fn gone(&self, name: &str) {
        until("the instance is forgotten", || self.see(name).is_none().then_some(()));
    }

    pub fn target(&self, name: &str) -> Target {
        let observed = self.see(name).expect("an instance");
        let life = match &observed.says {
            Says::Redis(says) => says.life.clone(),
            Says::Sentinel(says) => says.life.clone(),
            other => panic!("{name} says {other:?}"),
        };
        Target { name: name.to_owned(), uid: observed.uid, life }
    }

    #[track_caller]
    pub fn tell(&self, name: &str, change: &Change) {
        self.runtime().configure(&self.target(name), change).unwrap();
    }

    pub fn stop(&self, name: &str, data: Data) -> Result<(), Refused> {
        let uid = self.see(name).map_or_else(String::new, |observed| observed.uid);
        self.runtime().stop(name, &uid, Stop { grace: Duration::from_secs(20), data })
    }

    pub fn password(&self, credential: &str) -> String {
        let path = self.place.path().join("credentials").join(credential);
        let text = std::fs::read_to_string(path).expect("a credential");
        text.lines().next().expect("a password").to_owned()
    }

    /// A connection as some user; what AUTH answers.
    pub fn enter(&self, name: &str, user: &str, credential: &str) -> Result<Client, String> {
        let address = self.see(name).and_then(|observed| observed.address).expect("an address");
        let mut client = Client::connect(address);
        match client.call(&["AUTH", user, &self.password(credential)]) {
            Reply::Error(words) => Err(words),
            _ => Ok(client),
        }
    }

    pub fn file(&self, name: &str, file: &str) -> PathBuf {
        self.place.path().join("instances").join(name).join(file)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.runtime = None;
        if std::thread::panicking() {
            for entry in
                std::fs::read_dir(self.place.path().join("instances")).into_iter().flatten().flatten()
            {
                let log = std::fs::read_to_string(entry.path().join("log")).unwrap_or_default();
                eprintln!("--- log of {}\n{log}", entry.file_name().display());
            }
        }
        for pid in processes(self.place.path()) {
            kill(pid, Signal::KILL);
        }
    }
}

/// The processes whose standard input is a lock under this directory: all that a runtime ever started there.
pub fn processes(dir: &Path) -> Vec<u32> {
    let dir = std::fs::canonicalize(dir).unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(input) = std::fs::read_link(format!("/proc/{pid}/fd/0")) else { continue };
        if input.starts_with(&dir) && pid != std::process::id() {
            found.push(pid);
        }
    }
    found
}

/// The one process of an instance.
#[track_caller]
pub fn process_of(world: &World, name: &str) -> u32 {
    let found = processes(&world.place.path().join("instances").join(name));
    assert_eq!(found.len(), 1, "processes of {name}: {found:?}");
    found[0]
}

pub fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    // It may have ended by itself.
    let _ = kill_process(pid, signal);
}

#[track_caller]
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn redis_of(observed: &Observed) -> Option<&RedisSays> {
    match &observed.says {
        Says::Redis(says) => Some(says),
        _ => None,
    }
}

/// The users of a Redis of `demo`, of tenant `acme`.
pub fn users() -> Vec<User> {
    let user = |name: &str, credential: &str, access| User {
        name: name.to_owned(),
        credential: credential.to_owned(),
        access,
    };
    vec![
        user(PLATFORM, "demo.platform", Access::Platform),
        user(SENTINEL, "demo.sentinel", Access::Sentinel),
        user(REPLICA, "demo.replica", Access::Replica),
        user("shoal-proxy-1", "demo.proxy-1", Access::Proxy),
        user("acme", "demo.tenant", Access::Tenant),
    ]
}

pub fn redis_start(name: &str, mode: Mode, persistence: Persistence) -> Start {
    Start {
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
        generation: 1,
        owner: "demo".to_owned(),
        tenant: "acme".to_owned(),
        node: node(1),
        port: None,
        empty: false,
        users: users(),
        program: Program::Redis(RedisStart {
            version: None,
            mode,
            maxmemory: 64 << 20,
            eviction: eviction_default(mode),
            persistence,
            settings: BTreeMap::new(),
        }),
    }
}

/// A storage Redis without persistence.
pub fn plain(name: &str) -> Start {
    redis_start(name, Mode::Storage, Persistence::None)
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Calls a command; an end of the connection is the error `closed`.
    pub fn call(&mut self, words: &[&str]) -> Reply {
        if self.stream.write_all(&request(&[command(words)])).is_err() {
            return Reply::Error("closed".to_owned());
        }
        self.reply()
    }

    pub fn reply(&mut self) -> Reply {
        let mut piece = vec![0; 64 * 1024];
        loop {
            if let Some((reply, length)) = Reply::read(&self.unread).unwrap() {
                self.unread.drain(..length);
                return reply;
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return Reply::Error("closed".to_owned()),
                Ok(length) => self.unread.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Reply::Error("closed".to_owned());
                }
                Err(error) => panic!("no reply: {error}"),
            }
        }
    }

    /// The text of a reply, or its error.
    pub fn said(&mut self, words: &[&str]) -> String {
        match self.call(words) {
            Reply::Text(text) | Reply::Error(text) => text,
            other => format!("{other:?}"),
        }
    }
}
