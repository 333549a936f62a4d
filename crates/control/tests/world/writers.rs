//! Who takes writes: the Redis themselves are asked, again and again, beside all that happens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use shoal_control::runtime::Change;

use crate::support::{Client, World, plain, until};

/// Asks until it is [ended](Writers::end).
pub struct Writers {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    asking: JoinHandle<Seen>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often every Redis was asked.
    pub rounds: u64,
    /// How often one took a write.
    pub taken: u64,
    /// Two of one shard that took writes at the same time.
    pub two: Vec<String>,
}

impl Writers {
    pub fn ask(dir: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let (told, counted, dir) = (Arc::clone(&stop), Arc::clone(&rounds), dir.to_owned());
        let asking = std::thread::spawn(move || {
            let mut seen = Seen::default();
            let mut clients = BTreeMap::new();
            while !told.load(Ordering::Relaxed) {
                round(&dir, &mut clients, &mut seen);
                counted.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        Self { stop, rounds, asking }
    }

    #[track_caller]
    pub fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.join().unwrap()
    }
}

fn round(dir: &Path, clients: &mut BTreeMap<String, Client>, seen: &mut Seen) {
    seen.rounds += 1;
    let mut writers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir.join("instances")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((shard, _)) = name.rsplit_once("-r") else { continue };
        if takes(dir, &name, clients) {
            seen.taken += 1;
            writers.entry(shard.to_owned()).or_default().push(name.clone());
        }
    }
    for (shard, names) in writers.iter().filter(|(_, names)| names.len() > 1) {
        // The first was asked before the second: if it still takes writes, both did when the second was asked. The
        // connection is the same, so it is the same life, which was not closed between.
        if clients.contains_key(&names[0]) && takes(dir, &names[0], clients) {
            seen.two.push(format!("{shard}: {names:?}"));
        }
    }
}

/// Whether a Redis takes a write, of somebody who may do what tenants may. It changes nothing.
fn takes(dir: &Path, name: &str, clients: &mut BTreeMap<String, Client>) -> bool {
    if !clients.contains_key(name) {
        let Some(client) = enter(dir, name) else { return false };
        clients.insert(name.to_owned(), client);
    }
    let said = clients.get_mut(name).map(|client| client.said(&["DEL", "nobody-s-key"])).unwrap_or_default();
    if !(said.starts_with("Integer") || said.starts_with("READONLY")) {
        clients.remove(name);
    }
    said.starts_with("Integer")
}

fn enter(dir: &Path, name: &str) -> Option<Client> {
    let record: PathBuf = dir.join("instances").join(name).join("record.json");
    let record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(record).ok()?).ok()?;
    let address: SocketAddr = record["address"].as_str()?.parse().ok()?;
    let owner = record["start"]["owner"].as_str()?;
    let (user, credential) = match name.contains("-s") {
        true => ("shoal-proxy-1", format!("{owner}.proxy-1")),
        false => ("tenant-default", format!("{owner}.tenant")),
    };
    let password = std::fs::read_to_string(dir.join("credentials").join(credential)).ok()?;
    let mut client = Client::try_connect(address).ok()?;
    (client.said(&["AUTH", user, password.lines().next()?]) == "OK").then_some(client)
}

/// That two would be seen: two Redis that nobody made one shard of.
#[test]
fn two_that_take_writes_are_seen() {
    let world = World::new();
    for name in ["demo-s0-r0", "demo-s0-r1", "demo-s1-r0"] {
        world.start(&plain(name));
        world.redis(name);
    }
    let look = || {
        let writers = Writers::ask(world.place.path());
        until("some rounds", || (writers.rounds.load(Ordering::Relaxed) >= 3).then_some(()));
        writers.end()
    };
    assert_eq!(look().taken, 0, "all are closed");
    for name in ["demo-s0-r0", "demo-s1-r0"] {
        world.tell(name, &Change::Open);
    }
    let seen = look();
    assert!(seen.taken >= 6 && seen.two.is_empty(), "{seen:?}");
    world.tell("demo-s0-r1", &Change::Open);
    let seen = look();
    assert!(seen.two.len() >= 3 && seen.two[0].starts_with("demo-s0: "), "{seen:?}");
}
