//! How a process comes into the place of a running one, and gives up its own.

use std::time::Duration;

/// How long, by default, sessions have to leave: `drain_timeout`.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long after `drain_timeout` sessions that are never quiet are still served by a process that was taken over.
pub const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// What a process is told about who comes before and after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    /// Path of the unix socket at which the next process takes over; `None` for no such socket.
    pub hand_over: Option<String>,
    /// Whether this process takes over from one that runs.
    pub take_over: TakeOver,
    /// The span over which sessions leave when the next process accepts.
    pub drain_timeout: Duration,
    /// Whether SIGTERM lets sessions leave for so long at most, or ends the process at once as Twemproxy ends.
    pub drain_on_terminate: bool,
}

/// Whether a process takes over from one that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TakeOver {
    /// It binds its own sockets.
    #[default]
    No,
    /// If one answers; else it starts as any.
    IfRunning,
    /// If none answers it does not start.
    Required,
}

impl Default for Succession {
    fn default() -> Succession {
        Succession {
            hand_over: None,
            take_over: TakeOver::No,
            drain_timeout: DRAIN_TIMEOUT,
            drain_on_terminate: false,
        }
    }
}
