//! What reconcilers may ask of the world's processes, and what they are told.
//!
//! ```text
//!   plan ─▶ execute ─▶ start, stop, configure ─▶ Runtime ─▶ processes | Pods | a model
//!     ▲                                            │
//!     └────────────── observe ◀────────────────────┘
//! ```
//!
//! A runtime starts one process for each name, tells it things while it runs, and ends it. It decides nothing: it restarts
//! nothing by itself, opens nothing by itself, and keeps no plan. Its word is [`Observation`]; a method's `Ok` is a promise
//! about one step, and no planner may rest on it where it can look.
//!
//! **What holds of every runtime** (a model for simulations does all that is allowed here, and no more):
//!
//! 1. *One process a name.* At no instant do two processes of one name run, whoever calls, however often, and wherever the
//!    callers die.
//! 2. *Nothing unseen.* A process that runs is in every later observation, also if its starter died before it could say so.
//! 3. *Closed at start.* A Redis lets in only the platform and Sentinel until [`Change::Open`] reaches that very life of it
//!    ([`Life`]); a restart closes it again. While it is closed no replica can copy from it either: what restarts empty
//!    empties nobody.
//! 4. *Empty where asked.* With [`Start::empty`] no data of an earlier life is there.
//! 5. *A life is named.* What was decided about one life is refused by the next ([`Refused::OtherLife`]).
//!
//! Nothing here is a pid or a path: those are a local runtime's own.

pub mod model;
mod observed;
mod refused;
mod start;

pub use observed::{
    Exit, Gate, Life, Link, NodeDown, Observation, Observed, Phase, ProxySays, RedisSays, Replica, Role,
    Says, SentinelSays, Silence, Watched,
};
pub use refused::Refused;
pub use start::{Access, Monitor, NodeRef, Program, ProxyStart, RedisStart, SentinelStart, Start, User};

pub use crate::resource::{Eviction, Persistence};

use std::time::Duration;

use shoal_topology::{Endpoint, Pool};

/// Starts, tells, ends and observes processes. Methods wait for a bounded time (a few seconds) and may be called from
/// several threads; two callers at once, of whom one does not know that it was replaced, do no harm beyond what each could
/// do alone.
pub trait Runtime {
    /// Every process of ours: those that the store knows, those that it does not, those that have ended and whose name is
    /// not yet forgotten (a [`Stop`] with [`Data::Remove`] forgets it).
    ///
    /// *Late*: each instance is as it was at some instant of the call, not all at the same one. A start or a stop that was
    /// accepted before the call shows at least as [`Phase::Starting`] or [`Phase::Stopping`]. One that was accepted by a
    /// caller who died shows as well. An instance that does not answer delays no other, and says so ([`Says::Silent`]).
    ///
    /// # Errors
    /// [`Refused::Unknown`] if the runtime itself cannot be asked: then nothing is known, least of all that nothing runs.
    fn observe(&self) -> Result<Observation, Refused>;

    /// Has the process be started, and returns at once; its address comes with a later observation.
    ///
    /// Idempotent by name and uid: where a process of both runs, is starting or is stopping, nothing happens, even if
    /// `start` differs from what it was started with (changes come by [`configure`](Self::configure), or by a stop and then
    /// a start). Where it has ended, this starts it again, from `start` alone: a new life, closed, of nothing told to the one
    /// before. One exception: whom it followed ([`Change::ReplicaOf`], or what Sentinel told it) may be remembered by the
    /// process itself.
    ///
    /// *Lost*: after `Ok` it may still not come up; then it is seen as [`Phase::Ended`] with the reason. *Late*: it may come
    /// up any time after, also after the caller's death. *Twice*: never, by rule 1.
    ///
    /// # Errors
    /// [`Refused::NameTaken`] while another uid has the name; [`Refused::NodeDown`], [`Refused::NoProgram`],
    /// [`Refused::PortTaken`], [`Refused::Invalid`], [`Refused::Credential`], [`Refused::Machine`]: it was not started, and
    /// will not be. [`Refused::Unknown`]: it may have been, or may yet be.
    fn start(&self, start: &Start) -> Result<(), Refused>;

    /// Has the process be ended, and returns at once: asked first (a Redis with persistence saves), killed when
    /// [`Stop::grace`] is over. Idempotent: again while it stops keeps the earlier end of the grace; again afterwards with
    /// [`Data::Remove`] removes the data.
    ///
    /// *Lost*: never silently; but where a caller dies, or a node is down, the process may go on until somebody asks again.
    /// *Late*: the process may serve until the grace is over. *Twice*: harmless.
    ///
    /// # Errors
    /// [`Refused::Gone`] if nothing of that name and uid is there: what was asked for is so. [`Refused::NodeDown`],
    /// [`Refused::Unknown`].
    fn stop(&self, name: &str, uid: &str, stop: Stop) -> Result<(), Refused>;

    /// Tells a running process something, and waits for its answer (a few seconds at most). `Ok`: it is so, in that life.
    ///
    /// Nothing of it outlives that life, but what the process itself remembers (see [`start`](Self::start)).
    /// *Lost*: with an error only. *Late*: where the error is [`Refused::Unknown`], the change may take effect later, as
    /// long as that life lasts, even after another change. *Twice*: each is idempotent.
    ///
    /// # Errors
    /// [`Refused::Gone`], [`Refused::NotRunning`], [`Refused::OtherLife`], [`Refused::Answered`] (it said no),
    /// [`Refused::Credential`], [`Refused::Invalid`] (a change for another kind of program): it did not happen.
    /// [`Refused::Unknown`]: it may have.
    fn configure(&self, target: &Target, change: &Change) -> Result<(), Refused>;
}

/// What people read, and planners do not.
pub trait Logs {
    /// The last `lines` lines that the processes of that name wrote, oldest first, over lives and rotations.
    ///
    /// # Errors
    /// [`Refused::Gone`], [`Refused::Unknown`].
    fn log(&self, name: &str, lines: usize) -> Result<Vec<String>, Refused>;
}

/// Which life of which process a change is for: it was looked at, and what was decided is about it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The instance's name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The life that was observed.
    pub life: Life,
}

/// What is told to a running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A Redis: tenants, proxies and replicas may enter.
    Open,
    /// A Redis: nobody but the platform and Sentinel may do anything; the others' connections are cut. When this returns,
    /// no command of theirs is executed any more, unless it was being executed.
    Close,
    /// A Redis: it takes writes of those who may enter, and follows nobody.
    Primary,
    /// A Redis: it copies from there, losing what it has.
    ReplicaOf(Endpoint),
    /// A Redis: the most memory its data may take, in bytes.
    MaxMemory(u64),
    /// These users, with the passwords that stand in their credentials at this moment (rotation), and no others; the gate
    /// stays as it is. Who is known and keeps a valid password is not cut. A Redis, a Sentinel, and a proxy take it; a
    /// Redis also the password that it gives its primary. What a Sentinel gives the Redis that it watches comes by
    /// [`Monitor`](Change::Monitor).
    Users(Vec<User>),
    /// A Sentinel: watch this primary; again with other values changes them.
    Monitor(Monitor),
    /// A Sentinel: watch the primary of that name no more.
    Unmonitor(String),
    /// A proxy: serve this pool from now on. An epoch older than the one it has is refused ([`Refused::Answered`]).
    Pool {
        /// The topology's number.
        epoch: u64,
        /// What it serves.
        pool: Box<Pool>,
        /// As whom it enters its servers from then on. `None`: they ask for nothing.
        upstream: Option<User>,
    },
}

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// How long it may take to end by itself; zero: killed at once.
    pub grace: Duration,
    /// What becomes of its data.
    pub data: Data,
}

/// What becomes of a process's data when it is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// It stays; the instance is observed as ended.
    Keep,
    /// It is removed, with the logs and all trace of the name.
    Remove,
}
