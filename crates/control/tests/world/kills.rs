//! Control is killed at random instants, while a world comes up, is hurt and changes.

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use shoal_control::quantity::Bytes;
use shoal_control::resource::{Kind, PoolSpec, StandaloneSpec, StatusEndpointRole};
use shoal_control::store::{Store as _, Typed as _};

use crate::fleet::{Control, Fleet, change_in, delete_in, demo, hot, solo};
use crate::support::{Client, kill, processes};
use crate::writers::Writers;

/// Kills in which everything happens at once, and kills under load that nobody may notice.
const STORMY: u32 = 6;
const QUIET: u32 = 4;

/// A control, until it is killed. Run as a process of its own.
#[test]
#[ignore = "what `killed_ten_times_it_comes_to_the_same_world` kills; by itself it does nothing"]
fn control() {
    let Some(dir) = std::env::var_os("SHOAL_TEST_CONTROL_DIR") else { return };
    let _control = Control::begin(dir.as_ref());
    println!("open");
    loop {
        std::thread::park();
    }
}

fn spawn(fleet: &Fleet) -> Child {
    let mut control = Command::new(std::env::current_exe().unwrap())
        .args(["kills::control", "--exact", "--ignored", "--nocapture"])
        .env("SHOAL_TEST_CONTROL_DIR", fleet.dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = std::io::BufReader::new(control.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("open") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "control ended by itself");
    }
    control
}

/// xorshift64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Lets a control live for a moment of chance.
fn live_and_die(fleet: &Fleet, chance: &mut Chance, at_most: u64) {
    let mut control = spawn(fleet);
    std::thread::sleep(Duration::from_micros(chance.below(at_most * 1_000)));
    kill(control.id(), Signal::KILL);
    control.wait().unwrap();
}

/// What happens to the world before a round.
fn disturb(fleet: &Fleet, round: u32) {
    let store = fleet.store();
    let crash = |name: &str| {
        let folder = fleet.folder_of(name);
        let found = if folder.exists() { processes(&folder) } else { Vec::new() };
        found.iter().for_each(|pid| kill(*pid, Signal::KILL));
    };
    let primary = |shard: usize| {
        let demo = store.find::<PoolSpec>("demo").unwrap().unwrap();
        let named = demo.status.shards.get(shard).and_then(|shard| shard.primary.as_ref());
        named.map_or_else(|| format!("demo-s{shard}-r0"), |primary| primary.name.clone())
    };
    match round {
        0 => [solo(), demo(), hot()].into_iter().for_each(|object| drop(store.create(object).unwrap())),
        2 => crash(&primary(0)),
        3 => change_in::<PoolSpec>(&store, "demo", |spec| spec.memory = Bytes::mib(96)),
        4 => {
            crash(&primary(1));
            change_in::<StandaloneSpec>(&store, "solo", |spec| spec.replicas = Some(2));
        }
        5 => delete_in(&store, Kind::Pool, "hot"),
        _ => {}
    }
}

#[test]
fn killed_ten_times_it_comes_to_the_same_world() {
    println!("slow: a control is killed ten times");
    let seed = std::env::var("SHOAL_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let rounds = if std::env::var_os("SHOAL_TEST_FULL").is_some() { 10 } else { 1 };
    let mut fleet = Fleet::new();
    let writers = Writers::ask(fleet.dir());
    for round in 0..STORMY {
        disturb(&fleet, round);
        for _ in 0..rounds {
            live_and_die(&fleet, &mut chance, 600);
        }
    }
    fleet.begin().settled();
    fleet.check_nothing_is_left_over();
    check(&fleet, 96);
    let before = pids(&fleet);

    // From here on nobody but control is hurt: nobody notices.
    let load = Load::begin(&fleet);
    fleet.end();
    for round in 0..QUIET {
        let memory = Bytes::mib(64 + 16 * u64::from(round));
        change_in::<PoolSpec>(&fleet.store(), "demo", |spec| spec.memory = memory);
        for _ in 0..rounds {
            live_and_die(&fleet, &mut chance, 400);
        }
    }
    fleet.begin().settled();
    let done = load.end();
    assert!(done > 100, "{done} requests: the load shows nothing");
    check(&fleet, 64 + 16 * u64::from(QUIET - 1));
    assert_eq!(pids(&fleet), before, "nothing was started again");
    fleet.check_nothing_is_left_over();

    let seen = writers.end();
    println!("{} looks at all Redis, {} takers of writes, {done} requests", seen.rounds, seen.taken);
    assert!(seen.two.is_empty(), "two primaries: {:?}", seen.two);
    assert!(seen.rounds > 50 && seen.taken > 100, "too few looks to show anything: {seen:?}");
}

/// The world that was declared, with so many MiB for each Redis of `demo`.
fn check(fleet: &Fleet, memory: u64) {
    let control = fleet.control();
    let names: Vec<String> = pids(fleet).into_iter().map(|(name, _)| name).collect();
    let mut wanted: Vec<String> =
        (0..4).flat_map(|shard| (0..2).map(move |ordinal| format!("demo-s{shard}-r{ordinal}"))).collect();
    wanted.extend(["demo-proxy-0", "demo-proxy-1", "solo-r0", "solo-r1", "solo-r2"].map(str::to_owned));
    wanted.sort();
    assert_eq!(names, wanted);
    for name in wanted.iter().filter(|name| name.starts_with("demo-s")) {
        control.until("the limit is as declared", || {
            (control.redis(name)?.maxmemory == memory << 20).then_some(())
        });
    }
}

/// The processes by instance.
fn pids(fleet: &Fleet) -> Vec<(String, u32)> {
    let instances = fleet.control().store.list(Kind::Instance).unwrap().objects;
    instances.iter().map(|object| (object.name().to_owned(), fleet.process(object.name()))).collect()
}

/// Clients that write and read without a pause, and take no error.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn begin(fleet: &Fleet) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let control = fleet.control();
        let mut entered = Vec::new();
        for proxy in control.endpoints(Kind::Pool, "demo", StatusEndpointRole::Proxy) {
            entered.push(fleet.enter(&proxy, "demo").unwrap());
        }
        for primary in control.endpoints(Kind::Standalone, "solo", StatusEndpointRole::Primary) {
            entered.push(fleet.enter(&primary, "solo").unwrap());
        }
        assert_eq!(entered.len(), 3);
        let run = |(at, client): (usize, Client)| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || write_and_read(at, client, &stop, &done))
        };
        let clients = entered.into_iter().enumerate().map(run).collect();
        Self { stop, done, clients }
    }

    #[track_caller]
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client saw an error");
        }
        self.done.load(Ordering::Relaxed)
    }
}

fn write_and_read(at: usize, mut client: Client, stop: &AtomicBool, done: &AtomicU64) {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let (key, value) = (format!("load:{at}:{}", number % 97), number.to_string());
        assert_eq!(client.said(&["SET", &key, &value]), "OK", "writing {key}");
        assert_eq!(client.said(&["GET", &key]), value, "reading {key}");
        number += 1;
        done.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
    }
}
