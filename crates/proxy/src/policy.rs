//! What the proxy does with each command: a table made once from the command table's facts.
//!
//! A command is forwarded because of what its facts say (keys, blocking or not), not because it stands in a list here;
//! the few lists below are what facts cannot tell.

use shoal_resp::command::{self, Command, Flags, Keys};

use crate::join::JoinKind;
use crate::local::Local;
use crate::mode::Holding;
use crate::settings::{Dialect, MultiKey};

/// What is done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Its only key is its first argument: that key's shard gets it as it is.
    FirstKey,
    /// Its keys must lie on one shard, which gets it as it is.
    Keys,
    /// It is split by shards, and the replies are joined.
    Split(JoinKind),
    /// It asks what any server of the pool can tell; one shard, always the same, gets it.
    Anywhere,
    /// The proxy answers it.
    Local(Local),
    /// It holds a connection, or concerns those that do.
    Holding(Holding),
    /// Its second word decides.
    Container,
    /// It concerns whole shards, or a script.
    Spread(Spread),
    /// It is not supported.
    Refused,
}

/// What is done with a command that is asked of whole shards, or that runs a script. Only in our own dialect. Flat, so that
/// a policy is told apart by one byte on the way of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// DBSIZE: all shards' numbers are added.
    Count,
    /// KEYS and what else lists: what all shards have, one shard's behind another's.
    Keys,
    /// RANDOMKEY.
    AnyKey,
    /// SCRIPT LOAD.
    LoadScript,
    /// SCRIPT EXISTS.
    ScriptsExist,
    /// SCRIPT FLUSH.
    FlushScripts,
    /// FUNCTION LOAD.
    LoadFunctions,
    /// Other changes of functions, which all shards answer with `+OK`.
    ChangeFunctions,
    /// All shards are emptied, where the pool allows it.
    Flush,
    /// One page of one shard.
    Scan,
    /// Its keys must lie on one shard; if it has none, the pool names one.
    Script,
    /// One shard answers for all: what it tells was given to all alike.
    OneForAll,
    /// It concerns one server, and cannot be right for several.
    OneServer,
    /// It reaches into a database that clients of the pool do not see.
    OtherDatabase,
}

impl Spread {
    /// How the replies are joined, if all shards get the request as it is.
    pub fn join(self) -> Option<JoinKind> {
        Some(match self {
            Spread::Count => JoinKind::Sum,
            Spread::Keys => JoinKind::Concat,
            Spread::AnyKey => JoinKind::Any,
            Spread::LoadScript | Spread::LoadFunctions => JoinKind::Same,
            Spread::ScriptsExist => JoinKind::Every,
            Spread::FlushScripts | Spread::ChangeFunctions => JoinKind::AllOk,
            Spread::Flush | Spread::Scan | Spread::Script | Spread::OneForAll | Spread::OneServer => {
                return None;
            }
            Spread::OtherDatabase => return None,
        })
    }

    /// Whether shards that are out are left out: what they lack they are given when it is needed.
    pub fn does_without(self) -> bool {
        use Spread::{AnyKey, FlushScripts, LoadScript, ScriptsExist};
        matches!(self, AnyKey | LoadScript | ScriptsExist | FlushScripts)
    }
}

/// The policies of all commands and subcommands, by [`Command::id`].
#[derive(Debug)]
pub struct Policies(Box<[Policy]>);

impl Policies {
    /// The policies of a pool; `passes_admin` lets commands through that concern one server, which the pool then has.
    pub fn new(multi_key: MultiKey, dialect: Dialect, passes_admin: bool) -> Policies {
        let mut policies = Vec::new();
        for command in command::all().iter().flat_map(|command| [command].into_iter().chain(command.subs)) {
            let place = command.id as usize;
            if policies.len() <= place {
                policies.resize(place + 1, Policy::Refused);
            }
            policies[place] = match (Holding::of(command), spread(command)) {
                // Twemproxy has none of them.
                (Some(holding), _) if dialect == Dialect::Shoal => Policy::Holding(holding),
                (None, Some(spread)) if dialect == Dialect::Shoal => Policy::Spread(spread),
                _ => decide(command, multi_key, dialect),
            };
            if passes_admin && let Some(passed) = pass(command, policies[place]) {
                policies[place] = passed;
            }
        }
        Policies(policies.into_boxed_slice())
    }

    /// What is done with `command`.
    #[inline]
    pub fn of(&self, command: &Command) -> Policy {
        self.0[command.id as usize]
    }
}

/// The key whose shard answers [`Policy::Anywhere`]; Twemproxy's choice.
pub const ANYWHERE_KEY: &[u8] = b"placeholder";

fn decide(command: &Command, multi_key: MultiKey, dialect: Dialect) -> Policy {
    match Local::of(command.name) {
        // Twemproxy has no users.
        Some(Local::Acl) if dialect == Dialect::Nutcracker => {}
        Some(local) => return Policy::Local(local),
        None => {}
    }
    if let Some(kind) = split(command.name) {
        return match (command.name, multi_key) {
            ("EXISTS", MultiKey::AsNutcracker) => Policy::FirstKey,
            _ => Policy::Split(kind),
        };
    }
    if matches!(command.name, "COMMAND" | "LOLWUT" | "TIME") {
        return Policy::Anywhere;
    }
    let not_yet = Flags::BLOCKING.with(Flags::PUBSUB).with(Flags::ADMIN).with(Flags::NO_MULTI);
    // XREAD and XREADGROUP block only where they are asked to, which is looked at when they come.
    let blocks_on_request = matches!(command.name, "XREAD" | "XREADGROUP");
    if command.flags.intersects(not_yet) && !blocks_on_request || REFUSED.contains(&command.name) {
        return Policy::Refused;
    }
    match command.keys {
        Keys::None if command.is_container() => Policy::Container,
        Keys::None => Policy::Refused,
        // Twemproxy looks at the first argument alone, except in scripts.
        _ if multi_key == MultiKey::AsNutcracker && nutcracker_takes_first(command) => Policy::FirstKey,
        // SORT_RO names one key and reads others by pattern.
        Keys::Range { first: 1, last: 1, .. } if !command.flags.contains(Flags::MOVABLEKEYS) => {
            Policy::FirstKey
        }
        _ => Policy::Keys,
    }
}

fn spread(command: &Command) -> Option<Spread> {
    Some(match command.name {
        "DBSIZE" => Spread::Count,
        "KEYS" => Spread::Keys,
        "RANDOMKEY" => Spread::AnyKey,
        "FLUSHDB" | "FLUSHALL" => Spread::Flush,
        "SCAN" => Spread::Scan,
        "EVAL" | "EVALSHA" | "EVAL_RO" | "EVALSHA_RO" | "FCALL" | "FCALL_RO" => Spread::Script,
        "SCRIPT|LOAD" => Spread::LoadScript,
        "SCRIPT|EXISTS" => Spread::ScriptsExist,
        "SCRIPT|FLUSH" => Spread::FlushScripts,
        "FUNCTION|LOAD" => Spread::LoadFunctions,
        "FUNCTION|DELETE" | "FUNCTION|FLUSH" | "FUNCTION|RESTORE" => Spread::ChangeFunctions,
        "FUNCTION|LIST" | "FUNCTION|DUMP" | "FUNCTION|HELP" | "SCRIPT|HELP" => Spread::OneForAll,
        "SCRIPT|SHOW" => Spread::OneForAll,
        "SLOWLOG|LEN" => Spread::Count,
        "SLOWLOG|GET" | "LATENCY|LATEST" | "LATENCY|HISTORY" => Spread::Keys,
        "MODULE|LIST" => Spread::OneForAll,
        "MOVE" | "SWAPDB" => Spread::OtherDatabase,
        name if name.ends_with("|HELP") => Spread::OneForAll,
        name if ONE_SERVERS.contains(&name) => Spread::OneServer,
        _ => return None,
    })
}

/// What becomes of a command that concerns one server, where there is but one and its administration is let through. What
/// would take the connection over, or hold up all who share it, is not.
fn pass(command: &Command, policy: Policy) -> Option<Policy> {
    const KEPT: &[&str] =
        &["FAILOVER", "MONITOR", "PSYNC", "REPLCONF", "SCRIPT|DEBUG", "SHUTDOWN", "SYNC", "WAIT", "WAITAOF"];
    match policy {
        _ if KEPT.contains(&command.name) => None,
        Policy::Local(Local::Config | Local::Info) | Policy::Spread(Spread::Flush) => Some(Policy::Anywhere),
        Policy::Spread(Spread::OneServer) => Some(Policy::Spread(Spread::OneForAll)),
        _ => None,
    }
}

/// Commands that tell of one server, act on it, or speak to it as another server does.
const ONE_SERVERS: &[&str] = &[
    "BGREWRITEAOF",
    "BGSAVE",
    "DEBUG",
    "FAILOVER",
    "FUNCTION|KILL",
    "FUNCTION|STATS",
    "LASTSAVE",
    "LATENCY|DOCTOR",
    "LATENCY|GRAPH",
    "LATENCY|HISTOGRAM",
    "LATENCY|RESET",
    "MEMORY|DOCTOR",
    "MEMORY|MALLOC-STATS",
    "MEMORY|PURGE",
    "MEMORY|STATS",
    "MIGRATE",
    "MODULE|LOAD",
    "MODULE|LOADEX",
    "MODULE|UNLOAD",
    "MONITOR",
    "PFDEBUG",
    "PFSELFTEST",
    "PSYNC",
    "REPLCONF",
    "REPLICAOF",
    "RESTORE-ASKING",
    "SAVE",
    "SCRIPT|DEBUG",
    "SCRIPT|KILL",
    "SHUTDOWN",
    "SLAVEOF",
    "SLOWLOG|RESET",
    "SYNC",
    "WAIT",
    "WAITAOF",
];

/// Whether Twemproxy has the command, or one of its form, and sends it to the server of its first argument.
fn nutcracker_takes_first(command: &Command) -> bool {
    match command.keys {
        Keys::Range { first: 1, .. } | Keys::StoreOption { .. } | Keys::NumKeys { dest: Some(_), .. } => true,
        _ => matches!(command.name, "ZDIFF" | "ZINTER" | "ZUNION"),
    }
}

fn split(name: &str) -> Option<JoinKind> {
    match name {
        "MGET" => Some(JoinKind::ByPosition),
        "MSET" => Some(JoinKind::AllOk),
        "DEL" | "UNLINK" | "TOUCH" | "EXISTS" => Some(JoinKind::Sum),
        _ => None,
    }
}

/// Commands with keys that would be wrong on a shared connection or behind sharding.
const REFUSED: &[&str] = &["WATCH", "MIGRATE", "MOVE", "DEBUG", "RESTORE-ASKING", "FCALL", "FCALL_RO"];
