//! What is different about a session while it holds something: a transaction, watched keys, a blocking command,
//! subscriptions, copies of what it reads (CLIENT TRACKING), or its tongue (CLIENT REPLY).
//!
//! Knows nothing of upstreams but their keys. A session that has never asked for any of it has no [`Mode`], and costs
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_resp::command::{Command, Flags, Keys};

use crate::arena::Key;
use crate::scripts::Name;
use crate::session::Protocol;
use crate::subscriber::{Change, Kind, Subscriber};
use crate::tracking::Tracking;

/// Commands that a transaction may have; one more is refused, and EXEC with it.
pub const TRANSACTION_COMMANDS_MAX: usize = 16 * 1024;

/// Bytes of commands that a transaction may have; one that goes beyond is refused, and EXEC with it.
pub const TRANSACTION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A command that holds a connection, or that those concern which do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// MULTI.
    Multi,
    /// EXEC.
    Exec,
    /// DISCARD.
    Discard,
    /// WATCH.
    Watch,
    /// UNWATCH.
    Unwatch,
    /// A command with keys that may block.
    Block,
    /// SUBSCRIBE, UNSUBSCRIBE and their like.
    Subscribe(Change),
    /// PUBLISH or SPUBLISH.
    Publish,
    /// PUBSUB.
    Pubsub,
}

impl Holding {
    /// What `command` does of this, if it does.
    pub fn of(command: &Command) -> Option<Holding> {
        match command.name {
            "MULTI" => Some(Holding::Multi),
            "EXEC" => Some(Holding::Exec),
            "DISCARD" => Some(Holding::Discard),
            "WATCH" => Some(Holding::Watch),
            "UNWATCH" => Some(Holding::Unwatch),
            "SUBSCRIBE" => Some(Holding::Subscribe(Change { kind: Kind::Channel, adds: true })),
            "UNSUBSCRIBE" => Some(Holding::Subscribe(Change { kind: Kind::Channel, adds: false })),
            "PSUBSCRIBE" => Some(Holding::Subscribe(Change { kind: Kind::Pattern, adds: true })),
            "PUNSUBSCRIBE" => Some(Holding::Subscribe(Change { kind: Kind::Pattern, adds: false })),
            "SSUBSCRIBE" => Some(Holding::Subscribe(Change { kind: Kind::ShardChannel, adds: true })),
            "SUNSUBSCRIBE" => Some(Holding::Subscribe(Change { kind: Kind::ShardChannel, adds: false })),
            "PUBLISH" | "SPUBLISH" => Some(Holding::Publish),
            "PUBSUB" => Some(Holding::Pubsub),
            // Those that block only where they are asked to are looked at when they come.
            "XREAD" | "XREADGROUP" => None,
            _ if command.keys != Keys::None && command.flags.contains(Flags::BLOCKING) => {
                Some(Holding::Block)
            }
            _ => None,
        }
    }
}

/// What a session holds.
#[derive(Debug, Default)]
pub struct Mode {
    /// Between MULTI and EXEC.
    pub transaction: Option<Transaction>,
    /// Between WATCH and EXEC.
    pub watch: Option<Watch>,
    /// The upstream of a blocking command.
    pub blocking: Option<Key>,
    /// Its subscriptions.
    pub subscriber: Option<Box<Subscriber>>,
    /// That it keeps copies of what it reads.
    pub tracking: Option<Box<Tracking>>,
    /// Which of its replies it does not want.
    pub mute: Option<Mute>,
}

/// What CLIENT REPLY has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mute {
    /// The next request is not answered.
    Next,
    /// None is.
    All,
}

impl Mode {
    /// Whether it may end here without the client noticing more than that its connection did.
    pub fn is_quiet(&self) -> bool {
        self.transaction.is_none() && self.watch.is_none()
    }

    /// Whether the next request must have come whole before it is looked at.
    pub fn collects(&self, protocol: Protocol) -> bool {
        let subscribed = self.subscriber.is_some() && protocol == Protocol::Resp2;
        self.transaction.is_some() || subscribed || self.mute.is_some() || self.tracking.is_some()
    }

    /// The upstreams that the session holds.
    pub fn upstreams(&self) -> Vec<Key> {
        let watching = self.watch.iter().filter_map(|watch| watch.upstream);
        let homes = self.subscriber.iter().flat_map(|subscriber| &subscriber.homes);
        let own = self.tracking.iter().flat_map(|tracking| &tracking.homes);
        let homes = homes.map(|home| home.upstream).chain(own.map(|home| home.upstream));
        let mut all: Vec<Key> = watching.chain(self.blocking).chain(homes).collect();
        all.sort();
        all.dedup(); // one that tracks may watch as well
        all
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.is_quiet()
            && self.blocking.is_none()
            && self.subscriber.is_none()
            && self.tracking.is_none()
            && self.mute.is_none()
    }
}

/// Commands that wait for EXEC.
#[derive(Debug)]
pub struct Transaction {
    /// The shard that its keys are on; `None` as long as there are none.
    pub shard: Option<usize>,
    /// The pool's shards as they were at MULTI, by the version of its health.
    pub version: u64,
    /// The commands as they came, one behind the other.
    pub commands: Vec<u8>,
    /// How many there are.
    pub count: usize,
    /// Scripts that the commands call and the shard may lack: they are loaded before MULTI.
    pub scripts: BTreeMap<Name, Arc<[u8]>>,
    /// Their bytes.
    pub script_bytes: usize,
    /// Whether one of them may write.
    pub writes: bool,
    /// One of them was refused, so EXEC is.
    pub failed: bool,
    /// The pool was changed under it.
    pub outdated: bool,
}

impl Transaction {
    /// One that has just begun.
    pub fn new(version: u64) -> Transaction {
        let commands = Vec::new();
        Transaction {
            shard: None,
            version,
            commands,
            count: 0,
            scripts: BTreeMap::new(),
            script_bytes: 0,
            writes: false,
            failed: false,
            outdated: false,
        }
    }

    /// Has a script loaded before, if there is room for it; without it the server says that it lacks the script.
    pub fn add_script(&mut self, name: Name, body: Arc<[u8]>) {
        let bytes = self.script_bytes + body.len();
        if bytes <= TRANSACTION_BYTES_MAX && !self.scripts.contains_key(&name) {
            self.script_bytes = bytes;
            self.scripts.insert(name, body);
        }
    }

    /// EXEC is refused from now on, so what is queued need not be kept.
    pub fn fail(&mut self) {
        self.failed = true;
        self.commands = Vec::new();
        self.scripts = BTreeMap::new();
    }

    /// Whether a command of `length` bytes fits in.
    pub fn has_room(&self, length: usize) -> bool {
        self.count < TRANSACTION_COMMANDS_MAX && self.commands.len() + length <= TRANSACTION_BYTES_MAX
    }
}

/// Watched keys.
#[derive(Debug)]
pub struct Watch {
    /// The shard they are on.
    pub shard: usize,
    /// The upstream that watches; `None` once it is lost.
    pub upstream: Option<Key>,
    /// The pool's shards as they were, by the version of its health.
    pub version: u64,
}
