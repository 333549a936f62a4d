//! What can be seen of a worker from outside: values without sockets, clocks or references, made by
//! [`Engine`](crate::engine::Engine) at one moment and written as JSON by the admin port.
//!
//! A snapshot is made on the worker's own thread, so that nobody locks anything: it is kept short by limits.

use serde::Serialize;

use crate::session::{Hold, Phase, Protocol};
use crate::time::Time;

pub mod topology;
pub mod users;

/// What has passed through a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// When it was opened.
    pub opened_at: Time,
    /// When its client last sent a byte.
    pub heard_at: Time,
    /// Requests taken from it.
    pub requests: u64,
    /// Bytes that came from its client.
    pub bytes_in: u64,
    /// Bytes that went to its client.
    pub bytes_out: u64,
}

impl Traffic {
    /// The session begins.
    pub fn opened(&mut self, now: Time) {
        (self.opened_at, self.heard_at) = (now, now);
    }

    /// The client sent `bytes` bytes.
    #[inline]
    pub fn heard(&mut self, bytes: usize, now: Time) {
        self.heard_at = now;
        self.bytes_in += bytes as u64;
    }
}

/// One session. Durations are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionRow {
    /// Its id, the same that `CLIENT ID` answers.
    pub id: u64,
    /// The client's address.
    pub peer: String,
    /// What `CLIENT SETNAME` set: printable ASCII as it is, other bytes as `\xNN`.
    pub name: String,
    /// The pool.
    pub pool: String,
    /// The version of RESP: 2 or 3.
    pub protocol: u8,
    /// Whether it gave its user's password, or needs none.
    pub authenticated: bool,
    /// The user that it is.
    pub user: String,
    /// `open`, `draining` or `broken`.
    pub phase: &'static str,
    /// Why its requests are not taken at the moment: `outstanding`, `output`, `barrier`, `blocked`, `upstream`, `dedicated`
    /// or `returning`.
    pub held: Option<&'static str>,
    /// The version of TLS and the cipher suite, by the IANA's names; `None` without TLS.
    pub tls: Option<String>,
    /// Since it was opened.
    pub age_us: u64,
    /// Since its client last sent a byte.
    pub idle_us: u64,
    /// Requests that it is owed the replies to.
    pub outstanding: usize,
    /// Bytes that have arrived and were not taken.
    pub input_bytes: usize,
    /// Bytes of replies that its client has not read, or that wait for their turn.
    pub output_bytes: usize,
    /// Requests taken from it.
    pub requests: u64,
    /// Bytes that came from its client.
    pub bytes_in: u64,
    /// Bytes that went to its client.
    pub bytes_out: u64,
}

/// One upstream. Durations are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpstreamRow {
    /// The pool.
    pub pool: String,
    /// The shard.
    pub shard: String,
    /// The shard's primary.
    pub endpoint: String,
    /// The version of RESP: 2 or 3.
    pub protocol: u8,
    /// Which of the pool's `server_connections`; `None` for one that is not shared.
    pub lane: Option<usize>,
    /// `shared`; `writes`, which is shared too, by writes that are to be replicated; `dedicated` to a large request or reply;
    /// `watching`, `blocking`, `subscribed` or `tracking`, each held by one session; `spare`; or `retired`.
    pub usage: &'static str,
    /// `idle`, `connecting`, `greeting` or `ready`.
    pub phase: &'static str,
    /// How long no new connection is tried, if it is `idle` for that reason.
    pub retry_in_us: Option<u64>,
    /// Requests sent and unanswered.
    pub unanswered: usize,
    /// Requests queued and not wholly sent.
    pub unsent: usize,
    /// Bytes of the first.
    pub unanswered_bytes: u64,
    /// Bytes of the second.
    pub unsent_bytes: usize,
    /// How long the oldest request waits.
    pub oldest_us: Option<u64>,
    /// Sessions that are held because its queue is full.
    pub holding: usize,
    /// Failures to connect in a row.
    pub attempts: u32,
    /// Since the connection was asked for; `None` while there is none.
    pub age_us: Option<u64>,
    /// Since the server last sent a byte; `None` while there is no connection.
    pub heard_us: Option<u64>,
    /// Since when the server is not read, because the client whose reply comes next does not read.
    pub paused_us: Option<u64>,
    /// Bytes of memory that keep what is in flight, for the slow log.
    pub kept_bytes: usize,
}

/// How many sessions are held, and what buffers hold: of one pool on one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Sessions held, by the number of their [`HoldReason`].
    pub held: [usize; HoldReason::ALL.len()],
    /// Bytes from clients that were not taken.
    pub session_input: usize,
    /// Bytes to clients that were not sent, or wait for their turn.
    pub session_output: usize,
    /// Bytes to servers that were not sent.
    pub upstream_output: usize,
    /// Bytes of memory that keep what is in flight.
    pub upstream_kept: usize,
}

impl Census {
    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Census) {
        for (sum, more) in self.held.iter_mut().zip(other.held) {
            *sum += more;
        }
        self.session_input += other.session_input;
        self.session_output += other.session_output;
        self.upstream_output += other.upstream_output;
        self.upstream_kept += other.upstream_kept;
    }
}

/// Why a session is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of Hold")]
pub enum HoldReason {
    Outstanding,
    Output,
    Barrier,
    Blocked,
    Upstream,
    Dedicated,
    Returning,
}

impl HoldReason {
    /// All of them, each at the place of its number.
    pub const ALL: [HoldReason; 7] = [
        HoldReason::Outstanding,
        HoldReason::Output,
        HoldReason::Barrier,
        HoldReason::Blocked,
        HoldReason::Upstream,
        HoldReason::Dedicated,
        HoldReason::Returning,
    ];

    /// Its name on the admin port.
    pub const fn name(self) -> &'static str {
        match self {
            HoldReason::Outstanding => "outstanding",
            HoldReason::Output => "output",
            HoldReason::Barrier => "barrier",
            HoldReason::Blocked => "blocked",
            HoldReason::Upstream => "upstream",
            HoldReason::Dedicated => "dedicated",
            HoldReason::Returning => "returning",
        }
    }
}

impl From<Hold> for HoldReason {
    fn from(hold: Hold) -> HoldReason {
        match hold {
            Hold::Outstanding => HoldReason::Outstanding,
            Hold::Output => HoldReason::Output,
            Hold::Barrier => HoldReason::Barrier,
            Hold::Blocked => HoldReason::Blocked,
            Hold::Upstream(_) => HoldReason::Upstream,
            Hold::Dedicated => HoldReason::Dedicated,
            Hold::Returning => HoldReason::Returning,
        }
    }
}

/// Which sessions are meant. What is `None` excludes nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// The one with this id.
    pub id: Option<u64>,
    /// Those of this pool.
    pub pool: Option<String>,
    /// Those from this address, with its port or without.
    pub peer: Option<String>,
    /// Those with this name, as [`SessionRow::name`] shows it.
    pub name: Option<String>,
    /// Those that are held, or are not.
    pub held: Option<bool>,
    /// Those whose client has been silent for as many microseconds.
    pub idle_us: Option<u64>,
}

impl SessionFilter {
    /// Whether it excludes nobody.
    pub fn is_empty(&self) -> bool {
        *self == SessionFilter::default()
    }

    /// Whether a client at `peer` is meant.
    pub fn admits_peer(&self, peer: &str) -> bool {
        self.peer.as_deref().is_none_or(|wanted| {
            let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host);
            peer == wanted || host == wanted || host.trim_matches(['[', ']']) == wanted
        })
    }
}

/// By what sessions are put in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are columns of SessionRow")]
pub enum SessionOrder {
    /// The lowest id first; a list can be read on from where it ended.
    #[default]
    Id,
    Age,
    Idle,
    Outstanding,
    InputBytes,
    OutputBytes,
    Requests,
    BytesIn,
    BytesOut,
}

impl SessionOrder {
    /// All of them with their names; but for the id, the greatest stands first.
    pub const ALL: [(SessionOrder, &'static str); 9] = [
        (SessionOrder::Id, "id"),
        (SessionOrder::Age, "age"),
        (SessionOrder::Idle, "idle"),
        (SessionOrder::Outstanding, "outstanding"),
        (SessionOrder::InputBytes, "input_bytes"),
        (SessionOrder::OutputBytes, "output_bytes"),
        (SessionOrder::Requests, "requests"),
        (SessionOrder::BytesIn, "bytes_in"),
        (SessionOrder::BytesOut, "bytes_out"),
    ];

    /// The order called `name`.
    pub fn named(name: &str) -> Option<SessionOrder> {
        Self::ALL.into_iter().find(|(_, own)| *own == name).map(|(order, _)| order)
    }
}

/// Which sessions are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionQuery {
    /// Which are meant.
    pub filter: SessionFilter,
    /// Only those with a higher id.
    pub after: u64,
    /// By what they are put in order.
    pub order: SessionOrder,
    /// How many at most.
    pub limit: usize,
}

/// Where a session stands in the order asked for: the least stands first, and no two are equal, since the id is in it.
pub type Place = (u64, u64);

/// Sessions of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPage {
    /// How many are meant, listed or not.
    pub matching: usize,
    /// The first of them with their places, in order.
    pub sessions: Vec<(Place, SessionRow)>,
}

impl SessionPage {
    /// The pages of several workers as one: how many are meant, and the first `limit` of them with their workers.
    pub fn merge(pages: Vec<(usize, SessionPage)>, limit: usize) -> (usize, Vec<(usize, SessionRow)>) {
        let matching = pages.iter().map(|(_, page)| page.matching).sum();
        let with_worker = |(worker, page): (usize, SessionPage)| {
            page.sessions.into_iter().map(move |(place, row)| (place, worker, row))
        };
        let mut sessions: Vec<_> = pages.into_iter().flat_map(with_worker).collect();
        sessions.sort_by_key(|(place, _, _)| *place);
        sessions.truncate(limit);
        (matching, sessions.into_iter().map(|(_, worker, row)| (worker, row)).collect())
    }
}

/// A session's phase on the admin port.
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Open => "open",
        Phase::Draining => "draining",
        Phase::Broken => "broken",
    }
}

/// A version of RESP on the admin port.
pub fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_meant_with_its_port_or_without() {
        let from = |peer: &str| SessionFilter { peer: Some(peer.into()), ..SessionFilter::default() };
        assert!(from("10.0.0.1:5").admits_peer("10.0.0.1:5") && from("10.0.0.1").admits_peer("10.0.0.1:5"));
        assert!(from("::1").admits_peer("[::1]:5") && from("[::1]").admits_peer("[::1]:5"));
        assert!(from("unix socket").admits_peer("unix socket"));
        assert!(
            !from("10.0.0.1").admits_peer("10.0.0.11:5") && !from("10.0.0.1:5").admits_peer("10.0.0.1:55")
        );
        assert!(SessionFilter::default().is_empty() && SessionFilter::default().admits_peer("anybody"));
    }

    #[test]
    fn every_order_is_found_by_its_name() {
        for (order, name) in SessionOrder::ALL {
            assert_eq!(SessionOrder::named(name), Some(order));
        }
        assert_eq!(SessionOrder::named("colour"), None);
    }
}
