//! One client connection: the requests it has outstanding, and their replies put back into order.
//!
//! ```text
//!   requests ──▶ slots: [ waiting │ done │ joining │ waiting ]     a slot a request, in the order of arrival
//!                  ▲                                    ▲
//!   the oldest: its reply goes straight to `output`     the others: theirs are parked in their slots
//! ```
//!
//! Knows nothing of servers, routing or sockets.

use std::collections::VecDeque;
use std::sync::Arc;

use shoal_resp::delimiter::Delimiter;
use shoal_resp::request::{Progress, Span};
use shoal_telemetry::CacheLine;

use crate::arena::Key;
use crate::buffer::{Buffer, BufferPool};
use crate::gather::{AnsweredIn, Crowd};
use crate::join::JoinId;
use crate::mode::Mode;
use crate::snapshot::Traffic;
use crate::standing::Standing;
use crate::stats::PoolStats;
use crate::tls::Secured;

/// A reply that is still coming is kept back up to this many bytes, so that an error can take its place if it breaks off.
pub const PARKED_REPLY_MAX: usize = 64 * 1024;

/// Requests of one session that may be outstanding; a longer pipeline is read on when half of them are answered.
pub const OUTSTANDING_MAX: usize = 1024;

/// Bytes of replies, unsent or waiting for their turn, above which no more requests of the session are taken; half of it takes up again.
pub const OUTPUT_MAX: usize = 1024 * 1024;

/// Bytes of a reply that is passed on while it comes in, unsent, above which no more of it is read from its server.
pub const AHEAD_MAX: usize = 256 * 1024;

/// Bytes of replies, unsent or waiting for their turn, above which servers are not read on a session's account. Well above
/// [`OUTPUT_MAX`], since what was forwarded before that was reached is still owed.
pub const OWED_MAX: usize = 8 * 1024 * 1024;

/// The index of no pool: the session's own was removed by a reload, and the session ends with its replies.
pub const NO_POOL: usize = usize::MAX;

/// The version of RESP that a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Version 2, which every connection starts with.
    Resp2,
    /// Version 3, after `HELLO 3`.
    Resp3,
}

/// Whether requests are still taken from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// They are.
    Open,
    /// No more; the session ends when all it is owed was sent.
    Draining,
    /// The session must end at once, whatever it is owed: a reply broke off in the middle.
    Broken,
}

/// Why requests that have arrived are not taken at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Too many requests are outstanding.
    Outstanding,
    /// The client does not read its replies.
    Output,
    /// The next request must be answered on its own: all before it first.
    Barrier,
    /// A blocking command is outstanding.
    Blocked,
    /// The queue of this upstream is full.
    Upstream(Key),
    /// A large request waits for a dedicated upstream.
    Dedicated,
    /// A shard returns, and the request's keys change their place.
    Returning,
}

/// A large request that is passed on while it comes in.
#[derive(Debug)]
pub struct Stream {
    /// Finds its end.
    pub delimiter: Delimiter,
    /// Where it goes; `None` if it was answered by an error already, and what still comes of it is dropped.
    pub upstream: Option<Key>,
    /// Whether its bytes are never charged, since a limit has refused it.
    pub forgiven: bool,
}

impl Stream {
    /// One that goes nowhere.
    pub fn dropped() -> Stream {
        Stream { delimiter: Delimiter::new(), upstream: None, forgiven: false }
    }
}

/// Where the reply to a request stands among those that the session is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is the next one.
    Front {
        /// Its beginning was passed on already.
        began: bool,
    },
    /// Others come before it.
    Behind,
    /// It is a part of a join.
    Joining {
        /// The join.
        join: JoinId,
        /// Whether the join's reply is the next one.
        front: bool,
    },
    /// Nobody waits for it.
    Gone,
}

/// A request that has begun to arrive.
#[derive(Debug)]
pub struct Unfinished {
    /// How far it was read.
    pub progress: Progress,
    /// Its words so far.
    pub args: Vec<Span>,
}

/// One client connection.
#[derive(Debug)]
pub struct Session {
    /// The pool, by its index in the settings, or [`NO_POOL`].
    pub pool: usize,
    /// Where the worker counts for the pool.
    pub stats: Arc<CacheLine<PoolStats>>,
    /// What `CLIENT ID` answers.
    pub id: u64,
    /// Where the client is, for lists and logs.
    pub peer: Box<str>,
    /// What `CLIENT SETNAME` set.
    pub name: Vec<u8>,
    /// What library it uses (CLIENT SETINFO), if it said so.
    pub library: Option<Box<Library>>,
    /// The version of RESP.
    pub protocol: Protocol,
    /// Whether a user's password was given, or none is needed.
    pub authenticated: bool,
    /// Whether its requests must be looked at before they are taken: no password was given yet, or its user may not do
    /// everything, or not any number of times.
    pub guarded: bool,
    /// Which user it is, where the pool has users or limits.
    pub standing: Option<Box<Standing>>,
    /// Which of the upstreams to a server this session uses, always the same, so that it never overtakes itself.
    pub lane: u16,
    /// Whether a write is outstanding that is to be replicated: then all goes by the write lane.
    pub writing: bool,
    /// Whether requests are taken.
    pub phase: Phase,
    /// Why not at the moment.
    pub hold: Option<Hold>,
    /// Whether the client has closed its sending side.
    pub ended: bool,
    /// Whether the session is to end at its first quiet moment.
    pub leaving: bool,
    /// How often in a row, after the last call to leave, it was seen with replies unread.
    pub unread_looks: u8,
    /// How far a long request at the front of `input` has been read.
    pub unfinished: Option<Box<Unfinished>>,
    /// The large request that is on its way through.
    pub stream: Option<Box<Stream>>,
    /// The join at the front whose reply is passed on while it comes in.
    pub passing: Option<JoinId>,
    /// What has passed through it.
    pub traffic: Traffic,
    /// What it holds, if anything.
    pub mode: Option<Box<Mode>>,
    /// Bytes that have arrived and were not taken.
    pub input: Buffer,
    /// Replies to be sent.
    pub output: Buffer,
    /// By what its connection is secured, if it is.
    pub secured: Option<Box<Secured>>,
    /// Whether the session is on the list of those with something to send.
    pub touched: bool,
    /// When it was answered last, if it has nothing outstanding: for those who wait for company.
    pub answered_in: AnsweredIn,
    slots: VecDeque<Slot>,
    /// The sequence number of the oldest slot.
    first: u32,
    /// Bytes of replies that wait in slots.
    parked: usize,
    /// Whether the beginning of the oldest slot's reply is in `output` already.
    began: bool,
}

#[derive(Debug)]
enum Slot {
    /// The reply is to come; what came of it is in the buffer.
    Waiting(Buffer),
    /// The reply is whole.
    Done(Buffer),
    /// The reply is put together from parts.
    Joining(JoinId),
    /// The reply is to come, and is for nobody (CLIENT REPLY).
    Muted,
    /// The same, put together from parts.
    MutedJoin(JoinId),
}

/// Where a piece of a reply belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The session has taken it.
    Taken,
    /// It is a part of this join.
    Part(JoinId),
}

/// A client library, by its own words; each is empty if it was not said.
#[derive(Debug, Default)]
pub struct Library {
    /// Its name (`lib-name`).
    pub name: Vec<u8>,
    /// Its version (`lib-ver`).
    pub version: Vec<u8>,
}

impl Session {
    /// A session that has just been accepted.
    pub fn new(
        pool: usize,
        stats: Arc<CacheLine<PoolStats>>,
        id: u64,
        lane: u16,
        peer: Box<str>,
        authenticated: bool,
    ) -> Session {
        Session {
            pool,
            stats,
            id,
            peer,
            name: Vec::new(),
            library: None,
            protocol: Protocol::Resp2,
            authenticated,
            guarded: !authenticated,
            standing: None,
            lane,
            writing: false,
            phase: Phase::Open,
            hold: None,
            ended: false,
            leaving: false,
            unread_looks: 0,
            unfinished: None,
            stream: None,
            passing: None,
            traffic: Traffic::default(),
            mode: None,
            input: Buffer::default(),
            output: Buffer::default(),
            secured: None,
            touched: false,
            answered_in: AnsweredIn::default(),
            slots: VecDeque::new(),
            first: 0,
            parked: 0,
            began: false,
        }
    }

    /// How many requests are outstanding.
    pub fn outstanding(&self) -> usize {
        self.slots.len()
    }

    /// Whether a further request may be taken now, or why not.
    #[inline]
    pub fn capacity(&self) -> Result<(), Hold> {
        if self.slots.len() >= OUTSTANDING_MAX {
            Err(Hold::Outstanding)
        } else if self.output.len() + self.parked >= OUTPUT_MAX {
            Err(Hold::Output)
        } else {
            Ok(())
        }
    }

    /// Whether the reason to hold is over. [`Hold::Upstream`] is ended by the upstream, [`Hold::Returning`] by the return.
    pub fn hold_is_over(&self) -> bool {
        match self.hold {
            Some(Hold::Outstanding) => self.slots.len() <= OUTSTANDING_MAX / 2,
            Some(Hold::Output) => self.output.len() + self.parked <= OUTPUT_MAX / 2,
            Some(Hold::Barrier | Hold::Blocked) => self.slots.is_empty(),
            Some(Hold::Upstream(_) | Hold::Dedicated | Hold::Returning) | None => false,
        }
    }

    /// Gives back the memory of slots while there are none, so that a connection that waits owns nothing.
    pub fn shrink(&mut self) {
        if self.slots.is_empty() {
            self.slots = VecDeque::new();
        }
    }

    /// Whether `output` ends in the middle of a reply.
    pub fn is_within_reply(&self) -> bool {
        self.began || self.passing.is_some()
    }

    /// Bytes of replies that are unsent or wait for their turn.
    pub fn owed(&self) -> usize {
        self.output.len() + self.parked
    }

    /// Whether no request was taken after `sequence`.
    pub fn is_newest(&self, sequence: u32) -> bool {
        sequence.wrapping_sub(self.first) as usize + 1 == self.slots.len()
    }

    /// The number of the oldest request that is not answered, or of the next one.
    pub fn first_unanswered(&self) -> u32 {
        self.first
    }

    /// The number of the next request.
    pub fn next_sequence(&self) -> u32 {
        self.first.wrapping_add(self.slots.len() as u32)
    }

    /// The number behind the newest request whose reply has come, in part at least, and waits for its turn.
    pub fn answered_up_to(&self) -> u32 {
        let has_come = |slot: &Slot| !matches!(slot, Slot::Waiting(_) | Slot::Muted);
        let behind = self.slots.iter().rposition(has_come).map_or(0, |newest| newest + 1);
        self.first.wrapping_add(behind as u32)
    }

    /// Where the reply to request `sequence` stands.
    pub fn place(&self, sequence: u32) -> Place {
        let index = sequence.wrapping_sub(self.first) as usize;
        match self.slots.get(index) {
            Some(Slot::Waiting(_)) if index == 0 => Place::Front { began: self.began },
            Some(Slot::Waiting(_)) => Place::Behind,
            Some(Slot::Joining(join) | Slot::MutedJoin(join)) => {
                Place::Joining { join: *join, front: index == 0 }
            }
            Some(Slot::Done(_) | Slot::Muted) | None => Place::Gone,
        }
    }

    /// Notes that the parts of a join of this session held `before` bytes and now hold `after`.
    pub fn joining(&mut self, before: usize, after: usize) {
        self.parked = self.parked + after - before;
    }

    /// The reply at the front, a join's, has been passed on whole.
    pub fn end_joined(&mut self, buffers: &mut BufferPool) {
        self.pop_front();
        self.release_done(buffers);
    }

    /// Opens the slot of a request whose reply comes from one server; its sequence number. `crowd` is the pool's, which the
    /// session is not part of any more.
    #[inline]
    pub fn expect_reply(&mut self, crowd: &mut Crowd) -> u32 {
        self.push(Slot::Waiting(Buffer::default()), crowd)
    }

    /// The same of a request whose reply is joined from parts.
    pub fn expect_parts(&mut self, join: JoinId, crowd: &mut Crowd) -> u32 {
        self.push(Slot::Joining(join), crowd)
    }

    #[inline]
    fn push(&mut self, slot: Slot, crowd: &mut Crowd) -> u32 {
        if self.slots.is_empty() {
            crowd.asks(&mut self.answered_in);
        }
        self.traffic.requests += 1;
        let sequence = self.first.wrapping_add(self.slots.len() as u32);
        self.slots.push_back(slot);
        sequence
    }

    /// Answers the request that has just been taken with `reply`.
    pub fn answer(&mut self, buffers: &mut BufferPool, reply: &[u8]) {
        self.traffic.requests += 1;
        if self.slots.is_empty() {
            buffers.append(&mut self.output, reply);
        } else {
            let mut buffer = Buffer::default();
            buffers.append(&mut buffer, reply);
            self.parked += reply.len();
            self.slots.push_back(Slot::Done(buffer));
        }
    }

    /// Takes a piece of the reply to request `sequence`; `last` ends it.
    #[inline]
    pub fn deliver(
        &mut self,
        buffers: &mut BufferPool,
        sequence: u32,
        piece: &[u8],
        last: bool,
    ) -> Delivered {
        let index = sequence.wrapping_sub(self.first) as usize;
        match self.slots.get_mut(index) {
            Some(Slot::Waiting(parked)) => {
                if index == 0 && (last || self.began || parked.len() + piece.len() > PARKED_REPLY_MAX) {
                    self.began = true;
                    if !parked.is_empty() {
                        self.parked -= parked.len();
                        buffers.append(&mut self.output, parked.as_slice());
                        buffers.release(std::mem::take(parked));
                    }
                    buffers.append(&mut self.output, piece);
                    if last {
                        self.pop_front();
                        self.release_done(buffers);
                    }
                } else {
                    self.parked += piece.len();
                    buffers.append(parked, piece);
                    if last {
                        let whole = std::mem::take(parked);
                        self.slots[index] = Slot::Done(whole);
                    }
                }
                Delivered::Taken
            }
            Some(Slot::Joining(join) | Slot::MutedJoin(join)) => Delivered::Part(*join),
            Some(Slot::Muted) if last => {
                self.end_muted(buffers, index);
                Delivered::Taken
            }
            Some(Slot::Done(_) | Slot::Muted) | None => Delivered::Taken,
        }
    }

    /// Puts `reply` in the place of whatever came of the reply to `sequence`. `begun` says whether the server had begun to
    /// answer it; where that beginning was sent on already, nothing can take its place and the session is broken.
    pub fn replace(
        &mut self,
        buffers: &mut BufferPool,
        sequence: u32,
        reply: &[u8],
        begun: bool,
    ) -> Delivered {
        let index = sequence.wrapping_sub(self.first) as usize;
        match self.slots.get_mut(index) {
            Some(Slot::Waiting(parked)) => {
                if begun && index == 0 && self.began {
                    self.phase = Phase::Broken;
                    return Delivered::Taken;
                }
                self.parked -= parked.len();
                buffers.release(std::mem::take(parked));
                self.deliver(buffers, sequence, reply, true)
            }
            Some(Slot::Joining(join) | Slot::MutedJoin(join)) => Delivered::Part(*join),
            Some(Slot::Muted) => {
                self.end_muted(buffers, index);
                Delivered::Taken
            }
            Some(Slot::Done(_)) | None => Delivered::Taken,
        }
    }

    /// Ends the joining slot `sequence` with its whole reply.
    pub fn joined(&mut self, buffers: &mut BufferPool, sequence: u32, reply: &[u8]) {
        let index = sequence.wrapping_sub(self.first) as usize;
        if matches!(self.slots.get(index), Some(Slot::MutedJoin(_))) {
            self.end_muted(buffers, index);
        } else if index == 0 {
            buffers.append(&mut self.output, reply);
            self.pop_front();
            self.release_done(buffers);
        } else if let Some(slot) = self.slots.get_mut(index) {
            let mut buffer = Buffer::default();
            buffers.append(&mut buffer, reply);
            self.parked += reply.len();
            *slot = Slot::Done(buffer);
        }
    }

    /// Drops the replies to all requests since there were `slots` outstanding and `output` bytes unsent, whether they have
    /// come or will.
    pub fn mute_since(&mut self, buffers: &mut BufferPool, slots: usize, output: usize) {
        self.take_back(output);
        for slot in self.slots.range_mut(slots.min(self.slots.len())..) {
            match std::mem::replace(slot, Slot::Muted) {
                Slot::Waiting(buffer) => {
                    self.parked -= buffer.len();
                    buffers.release(buffer);
                }
                Slot::Done(buffer) => {
                    self.parked -= buffer.len();
                    buffers.release(buffer);
                    *slot = Slot::Done(Buffer::default());
                }
                Slot::Joining(join) | Slot::MutedJoin(join) => *slot = Slot::MutedJoin(join),
                Slot::Muted => {}
            }
        }
    }

    /// Whether the reply that comes next is for nobody.
    pub fn mutes_next(&self) -> bool {
        matches!(self.slots.front(), Some(Slot::Muted | Slot::MutedJoin(_)))
    }

    /// Leaves `output` bytes unsent, and drops those behind them.
    pub fn take_back(&mut self, output: usize) {
        let more = self.output.len().saturating_sub(output);
        let tail = self.output.tail();
        tail.truncate(tail.len() - more);
    }

    #[cold]
    fn end_muted(&mut self, buffers: &mut BufferPool, index: usize) {
        if index == 0 {
            self.pop_front();
            self.release_done(buffers);
        } else if let Some(slot) = self.slots.get_mut(index) {
            *slot = Slot::Done(Buffer::default());
        }
    }

    fn pop_front(&mut self) {
        self.slots.pop_front();
        self.began = false;
        self.first = self.first.wrapping_add(1);
    }

    /// Moves the replies that need wait for nobody any more to the output.
    fn release_done(&mut self, buffers: &mut BufferPool) {
        while let Some(Slot::Done(reply)) = self.slots.front_mut() {
            let reply = std::mem::take(reply);
            self.parked -= reply.len();
            if self.output.is_empty() && self.output.tail().capacity() == 0 {
                self.output = reply;
            } else {
                buffers.append(&mut self.output, reply.as_slice());
                buffers.release(reply);
            }
            self.pop_front();
        }
    }

    /// Gives all memory back, and names the joins that nobody waits for any more.
    pub fn dissolve(self, buffers: &mut BufferPool) -> Vec<JoinId> {
        buffers.release(self.input);
        buffers.release(self.output);
        let mut joins = Vec::new();
        for slot in self.slots {
            match slot {
                Slot::Waiting(buffer) | Slot::Done(buffer) => buffers.release(buffer),
                Slot::Joining(join) | Slot::MutedJoin(join) => joins.push(join),
                Slot::Muted => {}
            }
        }
        joins
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn session() -> Session {
        Session::new(0, Default::default(), 1, 0, "test".into(), true)
    }

    proptest! {
        #[test]
        fn replies_come_in_the_order_of_requests_whatever_the_order_of_pieces(
            lengths in prop::collection::vec(1usize..200, 1..40),
            choices in prop::collection::vec(any::<u16>(), 0..400),
        ) {
            let mut buffers = BufferPool::default();
            let mut session = session();
            let replies: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(n, &length)| vec![n as u8; length]).collect();
            let sequences: Vec<u32> = replies.iter().map(|_| session.expect_reply(&mut Crowd::default())).collect();
            let mut given = vec![0usize; replies.len()];
            let mut choices = choices.into_iter();
            while given.iter().zip(&replies).any(|(&given, reply)| given < reply.len()) {
                let open: Vec<usize> = (0..replies.len()).filter(|&n| given[n] < replies[n].len()).collect();
                let n = open[choices.next().unwrap_or(0) as usize % open.len()];
                let left = replies[n].len() - given[n];
                let count = (choices.next().unwrap_or(u16::MAX) as usize % left) + 1;
                let piece = &replies[n][given[n]..given[n] + count];
                given[n] += count;
                session.deliver(&mut buffers, sequences[n], piece, given[n] == replies[n].len());
            }
            prop_assert_eq!(session.output.as_slice(), replies.concat());
            prop_assert_eq!(session.outstanding(), 0);
        }
    }

    #[test]
    fn an_error_takes_the_place_of_a_reply_that_broke_off_unless_its_beginning_is_gone() {
        let mut buffers = BufferPool::default();
        let mut session = session();
        let first = session.expect_reply(&mut Crowd::default());
        session.deliver(&mut buffers, first, b"$5\r\nhe", false);
        session.replace(&mut buffers, first, b"-ERR gone\r\n", true);
        assert_eq!(session.output.as_slice(), b"-ERR gone\r\n");
        let large = session.expect_reply(&mut Crowd::default());
        session.deliver(&mut buffers, large, &vec![b'x'; PARKED_REPLY_MAX + 1], false);
        session.deliver(&mut buffers, large, b"more of it", false);
        session.replace(&mut buffers, large, b"-ERR gone\r\n", true);
        assert_eq!(session.phase, Phase::Broken);
    }

    #[test]
    fn a_local_answer_waits_for_the_replies_before_it() {
        let mut buffers = BufferPool::default();
        let mut session = session();
        let get = session.expect_reply(&mut Crowd::default());
        session.answer(&mut buffers, b"+PONG\r\n");
        assert!(session.output.is_empty());
        session.deliver(&mut buffers, get, b"$-1\r\n", true);
        assert_eq!(session.output.as_slice(), b"$-1\r\n+PONG\r\n");
    }
}
