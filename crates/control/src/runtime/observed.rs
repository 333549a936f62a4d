//! What a runtime saw.

use std::net::SocketAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use shoal_topology::Endpoint;

use super::NodeRef;

/// All that a runtime saw in one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Every process of ours, by name.
    pub instances: Vec<Observed>,
    /// Nodes that are known to be down. Of one that is not named here, nothing is known against it.
    pub nodes_down: Vec<NodeDown>,
}

/// A node on which nothing can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDown {
    /// The node's name.
    pub node: String,
    /// Why, in a sentence.
    pub why: String,
}

/// A process of ours, or one that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The name it was started under.
    pub name: String,
    /// The uid it was started under.
    pub uid: String,
    /// The generation of the [`Start`](super::Start) of this life.
    pub generation: u64,
    /// The standalone or pool that it is a part of.
    pub owner: String,
    /// Where it runs.
    pub node: NodeRef,
    /// Where it listens, once that is known. Kept over restarts on the same node.
    pub address: Option<SocketAddr>,
    /// When this life was started, or the last one.
    pub started_at: Option<SystemTime>,
    /// What it is doing.
    pub phase: Phase,
    /// What the program itself says.
    pub says: Says,
}

/// What a process is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is about to run, or runs and does not listen yet.
    Starting,
    /// It runs. Whether it is well, [`Says`] says.
    Running,
    /// It was asked to end, and may still serve.
    Stopping,
    /// It runs no more.
    Ended(Exit),
    /// Its node does not answer: it may run and serve, or not.
    Unreachable {
        /// Since when.
        since: SystemTime,
    },
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// When it was seen to have ended.
    pub at: SystemTime,
    /// Whether that was asked for.
    pub asked: bool,
    /// How, in a sentence: a signal, an exit code, the last that it said.
    pub reason: String,
    /// How often in a row it has now ended unasked without having run for [`crate::back_off::STEADY`] between.
    pub unasked_in_a_row: u32,
}

/// Distinguishes a life of a process from all others of any process: Redis's and Sentinel's `run_id`; for a proxy, text
/// that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Life(pub String);

/// What the program itself says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// Nothing: why.
    Silent(Silence),
    /// A Redis's word.
    Redis(RedisSays),
    /// A Sentinel's word.
    Sentinel(SentinelSays),
    /// A proxy's word.
    Proxy(ProxySays),
}

/// Why a process could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It does not run, or not yet.
    NotRunning,
    /// Nobody accepts at its address.
    Refused,
    /// It accepts, or its address does not answer, and no reply came in time.
    TimedOut,
    /// It does not know the platform's password.
    WrongPassword,
    /// It answered something else: in a sentence.
    Strange(String),
}

/// What a Redis says about itself. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSays {
    /// Which life this is.
    pub life: Life,
    /// Its version, `7.0.15`.
    pub version: String,
    /// Who may enter.
    pub gate: Gate,
    /// Primary, or whose replica.
    pub role: Role,
    /// Whether it is still reading its data from disk.
    pub loading: bool,
    /// Of its data's history; two histories' offsets are not to be compared.
    pub replication_id: String,
    /// Bytes of that history that it has.
    pub offset: u64,
    /// Keys in all databases.
    pub keys: u64,
    /// Memory it uses.
    pub used_memory: u64,
    /// Its limit, 0 for none.
    pub maxmemory: u64,
}

/// Who may enter a Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// All its users.
    Open,
    /// The platform and Sentinel.
    Closed,
}

/// A Redis's part in replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary {
        /// Who copies from it.
        replicas: Vec<Replica>,
    },
    /// It copies.
    Replica {
        /// From where.
        of: Endpoint,
        /// How far that has come.
        link: Link,
    },
}

/// A replica as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Where it listens, by its own word.
    pub address: Endpoint,
    /// Bytes of the history that it has confirmed.
    pub offset: u64,
}

/// A replica's link to its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not there.
    Down,
    /// A whole copy is coming.
    Syncing,
    /// It follows.
    Up,
}

/// What a Sentinel says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelSays {
    /// Which life this is.
    pub life: Life,
    /// Its version.
    pub version: String,
    /// Whether it mistrusts its own clock or load, and acts on nothing.
    pub tilt: bool,
    /// What it watches, by name.
    pub watches: Vec<Watched>,
}

/// A primary as a Sentinel sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// What Sentinel calls it.
    pub name: String,
    /// Where it thinks it is.
    pub primary: Endpoint,
    /// Whether it thinks it up.
    pub up: bool,
    /// Replicas it knows.
    pub replicas: u32,
    /// Sentinels it knows, itself among them.
    pub sentinels: u32,
}

/// What a proxy says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySays {
    /// Which life this is.
    pub life: Life,
    /// Shoal's version.
    pub version: String,
    /// The topology that it serves.
    pub epoch: u64,
    /// Clients that are connected.
    pub sessions: u64,
}
