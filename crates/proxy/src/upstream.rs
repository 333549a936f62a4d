//! One connection to a Redis server: what waits to be sent, and who waits for the next reply.
//!
//! ```text
//!   Idle ──connect──▶ Connecting ──▶ Greeting (AUTH, HELLO, SELECT) ──▶ Ready
//!     ▲                   │               │                               │
//!     └────── failed ─────┴───────────────┴───────────────────────────────┘
//! ```
//!
//! Requests may be queued in every phase but are sent in `Ready` alone: nothing goes out under a password whose AUTH is
//! unanswered. Replies are matched to requests by order alone, so a connection that breaks is never used again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use shoal_resp::command::Group;
use shoal_resp::delimiter::Delimiter;
use shoal_telemetry::CacheLine;

use crate::arena::Key;
use crate::buffer::{Buffer, BufferPool};
use crate::gather::Gather;
use crate::health::Health;
use crate::in_flight::{self, InFlight};
use crate::replication::Replication;
use crate::server_auth::Tries;
use crate::session::Protocol;
use crate::settings::PoolSettings;
use crate::stats::{PoolStats, ServerStats};
use crate::time::Time;

/// Unsent bytes of requests above which sessions with requests for this upstream are held; half of it takes up again.
pub const OUTPUT_MAX: usize = 1024 * 1024;

/// [`Pending::part`] of an EXEC, which tells it from others of its family: its failure has words of its own.
pub const EXEC_PART: u16 = u16::MAX;

/// Where the connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is none; before the given time no new one is tried.
    Idle(Time),
    /// It is being opened.
    Connecting,
    /// Greetings were sent, and this many are unanswered.
    Greeting(u8),
    /// Requests flow.
    Ready,
}

/// Who may use the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// All sessions of its lane.
    Shared,
    /// One large request, or those who waited behind a large reply when its length was read.
    Dedicated,
    /// Nobody at the moment: it was dedicated, and waits for the next use.
    Spare,
    /// The session that holds it, which watches keys on it.
    Watching,
    /// The session that holds it, until its blocking command is answered.
    Blocking,
    /// The session that holds it, which gets messages by it.
    Subscribed,
    /// The session that holds it, which asks everything on it and is told when what it has read changes.
    Tracking,
    /// Nobody any more: what is queued is still sent and answered, then it is closed.
    Retired,
}

impl Usage {
    /// Whether one session has it to itself for as long as it likes.
    pub fn is_held(self) -> bool {
        matches!(self, Usage::Watching | Usage::Blocking | Usage::Subscribed | Usage::Tracking)
    }
}

/// Who waits for a reply.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// The session; it may be gone by then.
    pub session: Key,
    /// Its request.
    pub sequence: u32,
    /// Which part of the request, if it was split; [`EXEC_PART`] for EXEC, which never is.
    pub part: u16,
    /// When and to whom the reply is given.
    pub due: Due,
    /// The family of its command.
    pub group: Group,
    /// When it was queued.
    pub queued_at: Time,
    /// The position in the stream of requests at which this one ends, in bytes since the connection began.
    pub end: u64,
}

impl Pending {
    /// Whether no session waits for it.
    #[inline]
    pub fn is_forsaken(&self) -> bool {
        matches!(self.due, Due::Never | Due::Wait)
    }

    /// Whether it is the EXEC of a transaction.
    pub fn is_exec(&self) -> bool {
        self.group == Group::Transactions && self.part == EXEC_PART
    }
}

/// When and to whom a reply is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Due {
    /// To the session, as it comes.
    AtOnce = 0,
    /// To the session, once replicas have the write ([`crate::replication`]).
    Replicated = 1,
    /// To nobody: it is dropped.
    Never,
    /// It is the answer to a WAIT of ours; [`Pending::part`] is the number of replicas that it must name.
    Wait,
}

/// What is noted of a request besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The family of its command.
    pub group: Group,
    /// Whether its reply is kept back until replicas have what it wrote.
    pub kept: bool,
}

impl From<Group> for Asked {
    fn from(group: Group) -> Asked {
        Asked { group, kept: false }
    }
}

/// The server behind an upstream, as the settings in force know it.
#[derive(Clone, Debug)]
pub struct Home {
    /// The pool.
    pub settings: Arc<PoolSettings>,
    /// From how many microseconds on a request is slow.
    pub slow_micros: u64,
    /// The shard, by its index in that pool.
    pub shard: usize,
    /// The health of the pool's servers.
    pub health: Arc<Health>,
    /// Where the worker counts for this server.
    pub stats: Arc<CacheLine<ServerStats>>,
    /// Where the worker counts for the pool.
    pub pool_stats: Arc<CacheLine<PoolStats>>,
}

/// How long a server was not read, on the account of those who are or were queued.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stalled {
    /// The session and the request whose reply comes next.
    pub request: Option<(Key, u32)>,
    /// How long on its account, the present pause not counted.
    pub own: Duration,
    /// How long on that of others before it, since the oldest of those who wait now was queued.
    pub others: Duration,
    /// When the last pause ended.
    pub until: Time,
}

impl Stalled {
    /// A pause begins on the account of `request`, which was queued at `queued_at`.
    pub fn begin(&mut self, request: (Key, u32), queued_at: Time) {
        if self.request != Some(request) {
            let others = if queued_at <= self.until { self.others + self.own } else { Duration::ZERO };
            *self = Stalled { request: Some(request), own: Duration::ZERO, others, until: self.until };
        }
    }

    /// How much longer the server may stand unread on the present account, where everybody who waits is to wait `limit` at
    /// most. Who comes after clients that have used it up still has a tenth of it, since not reading at once is no stall.
    pub fn left(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.others).max(limit / 10).saturating_sub(self.own)
    }
}

/// Requests of which nothing was sent.
#[derive(Debug, Default)]
pub struct Unsent {
    queue: VecDeque<Pending>,
    output: Buffer,
}

impl Unsent {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// One connection to a server.
#[derive(Debug)]
pub struct Upstream {
    /// Whose server it is, and how its health and its traffic are counted.
    pub home: Home,
    /// Who may use it.
    pub usage: Usage,
    /// The pool that it serves, by its index in the settings.
    pub pool: usize,
    /// The session that holds it, or that held it last.
    pub holder: Option<Key>,
    /// The version of RESP on it.
    pub protocol: Protocol,
    /// Where it is in its life.
    pub phase: Phase,
    /// What is sent before any request.
    pub greeting: Buffer,
    /// What the server answered so far to what we have asked ourselves: the greeting, WAIT.
    pub greeted: Buffer,
    /// Which passwords were tried.
    pub tries: Tries,
    /// The message that is coming in to a subscriber, or the invalidation to a session that tracks.
    pub frame: Buffer,
    /// Attributes that are coming in, until it is known what they describe.
    pub attributes: Vec<u8>,
    /// Requests to be sent.
    pub output: Buffer,
    /// Who waits, oldest first: for requests sent, then for those in `output`.
    pub queue: VecDeque<Pending>,
    /// Finds the ends of replies.
    pub delimiter: Delimiter,
    /// Sessions that are held because `output` is full.
    pub holding: Vec<Key>,
    /// The last request of `queue` is still on its way in from its client.
    pub receiving: bool,
    /// Bytes of the reply that is coming in, if it did not come whole.
    pub partial: usize,
    /// Since when the server is not read, because the session whose reply comes next is owed too much; `NEVER` if it is read.
    pub paused_at: Time,
    /// How long it was not read, and on whose account.
    pub stalled: Stalled,
    /// Since when it is a spare.
    pub spare_since: Time,
    /// What of `queue` was sent, and its bytes.
    pub in_flight: InFlight,
    /// The position in the stream of requests up to which they are answered.
    pub answered: u64,
    /// Writes on it that are to be replicated before they are answered.
    pub replication: Replication,
    /// Whether the upstream is on the list of those with something to send.
    pub touched: bool,
    /// Connections in a row that failed before they carried a reply.
    pub attempts: u32,
    /// Whether this connection has carried a reply.
    pub has_replied: bool,
    /// When this connection was asked for.
    pub opened_at: Time,
    /// When the server last sent a byte.
    pub heard_at: Time,
    /// Bytes queued since the connection began.
    queued: u64,
    /// Bytes sent since the connection began.
    sent: u64,
    /// The pace of requests and answers.
    pub pace: Gather,
}

impl Upstream {
    /// A connection that nobody has asked for yet.
    pub fn new(home: Home, protocol: Protocol) -> Upstream {
        Upstream {
            home,
            usage: Usage::Shared,
            pool: 0,
            holder: None,
            protocol,
            phase: Phase::Idle(Time::default()),
            greeting: Buffer::default(),
            greeted: Buffer::default(),
            tries: Tries::default(),
            frame: Buffer::default(),
            attributes: Vec::new(),
            output: Buffer::default(),
            queue: VecDeque::new(),
            delimiter: Delimiter::new(),
            holding: Vec::new(),
            receiving: false,
            partial: 0,
            paused_at: Time::NEVER,
            stalled: Stalled::default(),
            spare_since: Time::NEVER,
            in_flight: InFlight::default(),
            answered: 0,
            replication: Replication::default(),
            touched: false,
            attempts: 0,
            has_replied: false,
            opened_at: Time::default(),
            heard_at: Time::default(),
            queued: 0,
            sent: 0,
            pace: Gather::default(),
        }
    }

    /// Notes that a request of `length` bytes was appended to `output` for `session`.
    #[inline]
    pub fn queued(&mut self, session: Key, sequence: u32, part: u16, asked: Asked, length: usize, now: Time) {
        self.queued += length as u64;
        let end = self.queued;
        self.pace.arrived(now);
        self.replication.wrote(asked.kept);
        let due = if asked.kept { Due::Replicated } else { Due::AtOnce };
        let (group, queued_at) = (asked.group, now);
        self.queue.push_back(Pending { session, sequence, part, due, group, queued_at, end });
    }

    /// Notes that a request of ours of `length` bytes was appended to `output`, whose reply is dropped. It follows one of
    /// `session`, numbered `sequence`.
    pub fn queued_ours(&mut self, session: Key, sequence: u32, length: usize, now: Time) {
        self.queued += length as u64;
        self.queued_unwanted(session, sequence, 1, now);
    }

    /// Notes that a WAIT of ours of `length` bytes was appended to `output`, whose answer must name `replicas`.
    pub fn queued_wait(&mut self, replicas: u16, length: usize, now: Time) {
        self.queued += length as u64;
        let end = self.queued;
        self.replication.close(end);
        let Some(last) = self.queue.back() else { return };
        self.queue.push_back(Pending { part: replicas, due: Due::Wait, queued_at: now, end, ..*last });
    }

    /// Notes that the next `count` replies are nobody's. Whose request they belong to says `session` and `sequence`.
    pub fn queued_unwanted(&mut self, session: Key, sequence: u32, count: usize, now: Time) {
        let (end, group) = (self.queued, Group::Transactions);
        let unwanted = Pending { session, sequence, part: 0, due: Due::Never, group, queued_at: now, end };
        self.queue.extend(std::iter::repeat_n(unwanted, count));
    }

    /// Notes that `length` more bytes of the last request were appended to `output`. Its time counts from the last of them:
    /// a client that is slow to send is not a server that is slow to answer.
    pub fn extended(&mut self, length: usize, now: Time) {
        self.queued += length as u64;
        if let Some(last) = self.queue.back_mut() {
            last.end = self.queued;
            last.queued_at = now;
        }
    }

    /// Notes that `count` bytes of `output` were sent.
    pub fn sent(&mut self, count: usize, now: Time) {
        self.sent += count as u64;
        if count == self.output.len() && self.home.settings.slow_log.is_kept() {
            self.in_flight.push(&mut self.output, self.sent, self.receiving, now);
        }
        self.output.consume(count);
        self.pace.sent();
    }

    /// Bytes of requests sent since the connection began.
    #[inline]
    pub fn was_sent(&self) -> u64 {
        self.sent
    }

    /// Gives back the memory of a long queue that is over.
    pub fn shrink(&mut self) {
        if self.queue.is_empty() {
            self.queue.shrink_to(16);
        }
        self.replication.shrink();
    }

    /// Whether its lane takes no request at the moment; those who wait already go first.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.output.len() >= OUTPUT_MAX || !self.holding.is_empty()
    }

    /// Unsent bytes above which sessions with requests for it are held.
    #[inline]
    pub fn output_max(&self) -> usize {
        if self.usage == Usage::Shared { OUTPUT_MAX } else { crate::session::AHEAD_MAX }
    }

    /// What is known of the bytes of the request between these positions: all, their beginning, or nothing.
    pub fn request_bytes(&self, begin: u64, end: u64) -> &[u8] {
        let unsent = self.output.whole();
        let from = self.queued.saturating_sub(unsent.len() as u64);
        if begin >= from && !unsent.is_empty() {
            in_flight::part(unsent, from, begin, end)
        } else {
            self.in_flight.bytes(begin, end)
        }
    }

    /// The position in the stream of requests up to which nothing is owed to anybody.
    #[inline]
    pub fn settled(&self) -> u64 {
        self.replication.kept_from().unwrap_or(self.answered)
    }

    /// Requests sent and unanswered, and requests not wholly sent; their numbers.
    pub fn backlog(&self) -> (usize, usize) {
        let sent = self.queue.partition_point(|pending| pending.end <= self.sent);
        (sent, self.queue.len() - sent)
    }

    /// Bytes of requests sent and unanswered.
    pub fn unanswered_bytes(&self) -> u64 {
        let answered = self.queue.front().map_or(self.sent, |front| front.end.min(self.sent));
        self.sent - answered
    }

    /// Whether `output` should be sent now, or rather wait, until when at most. `free` says that somebody is about who could ask.
    ///
    /// # Errors
    /// Until when it waits.
    #[inline]
    pub fn gather(&mut self, now: Time, free: bool) -> Result<(), Time> {
        // What precedes the reply of a block of several ends where the block begins, so that alone says nothing.
        let in_flight =
            self.answered < self.sent && self.queue.front().is_some_and(|front| front.end <= self.sent);
        self.pace.decide(now, in_flight, self.output.len(), free)
    }

    /// Takes out the requests of which nothing was sent, and their bytes.
    pub fn take_unsent(&mut self) -> Unsent {
        let mut begin = self.answered;
        let first = self.queue.iter().position(|pending| {
            let is_unsent = begin >= self.sent;
            if !is_unsent {
                begin = pending.end;
            }
            is_unsent
        });
        let Some(first) = first else { return Unsent::default() };
        let mut queue = self.queue.split_off(first);
        // Of a request that was sent in part the rest goes nowhere.
        let begun = begin.saturating_sub(self.sent) as usize;
        let mut output = std::mem::take(&mut self.output);
        output.consume(begun.min(output.len()));
        queue.iter_mut().for_each(|pending| pending.end = pending.end.saturating_sub(begin));
        Unsent { queue, output }
    }

    /// Puts back, at the beginning of a new connection, what [`Upstream::take_unsent`] took.
    pub fn put_back(&mut self, unsent: Unsent) {
        self.queued = unsent.output.len() as u64;
        self.replication = Replication::of(&unsent.queue);
        (self.queue, self.output) = (unsent.queue, unsent.output);
    }

    /// Forgets the connection; the requests that waited on it.
    pub fn reset(&mut self, buffers: &mut BufferPool) -> VecDeque<Pending> {
        self.in_flight.release(buffers, u64::MAX);
        self.answered = 0;
        self.delimiter = Delimiter::new();
        self.attributes = Vec::new();
        self.receiving = false;
        self.partial = 0;
        self.paused_at = Time::NEVER;
        self.replication = Replication::default();
        self.queued = 0;
        self.sent = 0;
        self.pace = Gather::default();
        std::mem::take(&mut self.queue)
    }
}
