//! What is known about each command: facts as data, so that nobody branches on names.
//!
//! ```text
//!   "config" ──▶ lookup ──▶ CONFIG ──▶ lookup_sub "get" ──▶ CONFIG|GET ──▶ keys, spread, join, flags
//! ```
//!
//! The facts are `testdata/resp/commands.tsv`, made from a running server's `COMMAND` and
//! `COMMAND DOCS`; the crate's README tells how to make them and the Rust beside them again. Does not
//! decide what a proxy allows, and does not check arguments beyond finding the keys.

use std::fmt;

pub use flags::{Categories, Flags};
pub use id::CommandId;
pub use keys::{KeyError, Keys};

use table::COMMANDS;

mod flags;
mod id;
mod keys;
mod row;
mod table;
#[cfg(test)]
mod tests;

/// One command, or one subcommand of a container such as `CONFIG`.
#[derive(PartialEq, Eq)]
pub struct Command {
    /// Its name in upper case; a subcommand's with its container's: `CONFIG|GET`.
    pub name: &'static str,
    /// The same as a value to match on.
    pub id: CommandId,
    /// Number of arguments, the name (and that of the container) included; if negative, the least.
    pub arity: i16,
    /// What Redis says about its conduct.
    pub flags: Flags,
    /// The categories that ACL rules speak of.
    pub categories: Categories,
    /// Where its keys are.
    pub keys: Keys,
    /// The family that Redis's documentation lists it in.
    pub group: Group,
    /// The first version that has it: `7.4.0` is Redis's, `valkey 8.0.0` one of Valkey alone.
    pub since: &'static str,
    /// Which shards of a pool it concerns.
    pub spread: Spread,
    /// How the replies of several shards become one.
    pub join: Join,
    /// Its subcommands; empty if it isn't a container.
    pub subs: &'static [Command],
}

/// The family of a command in Redis's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation's")]
pub enum Group {
    Bitmap,
    Cluster,
    Connection,
    Generic,
    Geo,
    Hash,
    HyperLogLog,
    List,
    PubSub,
    Scripting,
    Server,
    Set,
    SortedSet,
    Stream,
    String,
    Transactions,
    VectorSet,
}

impl Group {
    /// All of them, each at the place of its number (`group as usize`).
    pub const ALL: [Group; 17] = [
        Group::Bitmap,
        Group::Cluster,
        Group::Connection,
        Group::Generic,
        Group::Geo,
        Group::Hash,
        Group::HyperLogLog,
        Group::List,
        Group::PubSub,
        Group::Scripting,
        Group::Server,
        Group::Set,
        Group::SortedSet,
        Group::Stream,
        Group::String,
        Group::Transactions,
        Group::VectorSet,
    ];

    /// Its name as `COMMAND DOCS` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Bitmap => "bitmap",
            Group::Cluster => "cluster",
            Group::Connection => "connection",
            Group::Generic => "generic",
            Group::Geo => "geo",
            Group::Hash => "hash",
            Group::HyperLogLog => "hyperloglog",
            Group::List => "list",
            Group::PubSub => "pubsub",
            Group::Scripting => "scripting",
            Group::Server => "server",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::String => "string",
            Group::Transactions => "transactions",
            Group::VectorSet => "vector-set",
        }
    }
}

/// Which shards a command concerns: Redis's `request_policy` tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// One: that of its keys, or any if it has none. All keys must be there.
    One,
    /// Those of its keys: it may be split, each part with its shard's keys.
    ByKeys,
    /// Every shard's primary.
    AllShards,
    /// Every shard's primary and replicas.
    AllNodes,
    /// A rule of its own (`SCAN`).
    Special,
}

/// How the replies of several shards become one: Redis's `response_policy` tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// There is but one; it goes on as it is.
    First,
    /// Integers are added.
    Sum,
    /// The least integer.
    Min,
    /// The greatest integer.
    Max,
    /// Integers, or arrays of them place by place: 1 if all are 1.
    And,
    /// Integers, or arrays of them place by place: 1 if any is 1.
    Or,
    /// `+OK` (any one reply) if none is an error, otherwise the first error.
    AllOk,
    /// The first reply that isn't an error; an error if all are.
    OneOk,
    /// Elements of arrays, each at the place that its key has in the request.
    ByPosition,
    /// Elements of arrays, one shard's behind another's.
    Concat,
    /// A rule of its own (`INFO`).
    Special,
}

/// Finds a command by its name, in any case; containers by their first word.
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return None;
    }
    let mut slot = hash(name);
    loop {
        let command = COMMANDS.get(usize::from(INDEX[slot]))?;
        if command.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(command);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// Finds the subcommand `sub` of a container, in any case.
pub fn lookup_sub(command: &Command, sub: &[u8]) -> Option<&'static Command> {
    command.subs.iter().find(|known| known.sub_name().as_bytes().eq_ignore_ascii_case(sub))
}

/// All commands, by name; subcommands are within their containers.
pub fn all() -> &'static [Command] {
    COMMANDS
}

impl Command {
    /// Whether a request of `args` arguments, names included, has the right number of them.
    pub const fn accepts(&self, args: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { args >= arity } else { args == arity }
    }

    /// Whether its first argument names a subcommand.
    pub const fn is_container(&self) -> bool {
        !self.subs.is_empty()
    }

    /// A subcommand's name without its container's; a command's name.
    pub fn sub_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, sub)| sub)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Command({})", self.name)
    }
}

/// Slots of the index: a power of two, and enough that most names find theirs at once.
const SLOTS: usize = 1024;
/// Marks a free slot: no command has this number.
const FREE: u16 = u16::MAX;
const LONGEST_NAME: usize = longest_name();

/// Numbers of commands in [`COMMANDS`], each in the first free slot from its name's hash on.
static INDEX: [u16; SLOTS] = index();

/// Mixes the length and the first eight bytes, cases folded: together they tell all names apart.
#[inline]
const fn hash(name: &[u8]) -> usize {
    let mut word = 0;
    let mut at = 0;
    while at < name.len() && at < 8 {
        // 0x20 is the difference of the cases; other bytes lose it too, which only costs a collision.
        word = word << 8 | (name[at] & !0x20) as u64;
        at += 1;
    }
    let mixed = (word ^ (name.len() as u64) << 59).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - SLOTS.trailing_zeros())) as usize
}

const fn index() -> [u16; SLOTS] {
    assert!(COMMANDS.len() * 2 < SLOTS, "the index must stay half empty, or look-ups get long");
    let mut index = [FREE; SLOTS];
    let mut number = 0;
    while number < COMMANDS.len() {
        let mut slot = hash(COMMANDS[number].name.as_bytes());
        while index[slot] != FREE {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = number as u16;
        number += 1;
    }
    index
}

const fn longest_name() -> usize {
    let mut longest = 0;
    let mut number = 0;
    while number < COMMANDS.len() {
        if COMMANDS[number].name.len() > longest {
            longest = COMMANDS[number].name.len();
        }
        number += 1;
    }
    longest
}
