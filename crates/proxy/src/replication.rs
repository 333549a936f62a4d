//! Writes that are acknowledged only once replicas have them, as one upstream knows of them. No bytes, no clock.
//!
//! ```text
//!   wrote ──▶ unwaited ──close──▶ a WAIT behind the batch ──▶ … ──settle──▶ all that was kept is given, or becomes an error
//!                                   replies ──keep──▶ kept ──────────▲
//! ```
//!
//! Redis executes what comes on a connection one after the other, and a WAIT covers what was executed before it on its own
//! connection. So the answer to a WAIT settles every write whose reply came before that answer, and no other.
//!
//! Invariants:
//! - Of the reply to a write that is no error the end reaches the client only after a WAIT which was sent behind the write on
//!   the same connection was answered with as many replicas as the pool asks for.
//! - In every other case (too few, an error, the connection ends) the client gets an error that says so, or, where the beginning
//!   of a long reply was passed on already, its connection ends. It never gets the end of the reply.
//! - Nothing is sent twice.

use std::collections::VecDeque;
use std::collections::vec_deque::Drain;

use crate::arena::Key;
use crate::upstream::{Due, Pending};

/// Upstreams for writes that each worker has for a shard and a version of RESP, beside those of `server_connections`. While a WAIT is
/// unanswered, its connection executes nothing; the sessions of the others go on.
pub const WRITE_LANES: u16 = 2;

/// Bytes of a reply that are kept with the note of it: `+OK` and integers are no more.
const TAIL_MAX: usize = 23;

/// What an upstream knows of the writes on it.
#[derive(Debug, Default)]
pub struct Replication {
    /// Writes that were queued since the last WAIT was.
    unwaited: u32,
    /// WAITs that are queued or sent, and not answered.
    waits: u32,
    /// Where the last of them ends, in bytes since the connection began.
    closed_at: u64,
    /// Writes whose replies are in and kept back, oldest first.
    kept: VecDeque<Kept>,
}

/// A write whose reply is kept back.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Whose it is.
    pub pending: Pending,
    /// Where the request begins in the stream of requests.
    pub begin: u64,
    /// How long the reply is.
    pub reply_bytes: usize,
    /// What is kept of it. The rest, if there is more, was given on.
    pub tail: Tail,
}

/// The end of a reply; all of it for nearly all writes.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    bytes: [u8; TAIL_MAX],
    length: u8,
}

impl Tail {
    /// Parts the last piece of a reply into what may be given on, and the end that may not.
    pub fn of(piece: &[u8]) -> (&[u8], Tail) {
        let (head, end) = piece.split_at(piece.len().saturating_sub(TAIL_MAX));
        let mut bytes = [0; TAIL_MAX];
        bytes[..end.len()].copy_from_slice(end);
        (head, Tail { bytes, length: end.len() as u8 })
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Replication {
    /// What is to be known of a connection that begins with `queue`.
    pub fn of(queue: &VecDeque<Pending>) -> Replication {
        let mut replication = Replication::default();
        for pending in queue {
            match pending.due {
                Due::Wait => replication.close(pending.end),
                due => replication.wrote(due == Due::Replicated),
            }
        }
        replication
    }

    /// Notes that `writes` were queued: one or none.
    #[inline]
    pub fn wrote(&mut self, writes: bool) {
        self.unwaited += u32::from(writes);
    }

    /// Whether there is anything to look at before a batch is sent.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.unwaited | self.waits != 0
    }

    /// Whether writes are queued that no WAIT stands behind.
    pub fn wants_wait(&self) -> bool {
        self.unwaited > 0
    }

    /// Whether the rest of a batch is still to be sent, where `sent` bytes were.
    pub fn is_sending(&self, sent: u64) -> bool {
        self.waits > 0 && sent < self.closed_at
    }

    /// Whether the next batch has to wait for the answer to the last one's WAIT: the server would not look at it any earlier, and
    /// what gathers meanwhile needs one WAIT.
    pub fn is_waiting(&self, sent: u64) -> bool {
        self.waits > 0 && sent >= self.closed_at
    }

    /// Notes that a WAIT was queued that ends at `end`.
    pub fn close(&mut self, end: u64) {
        self.unwaited = 0;
        self.waits += 1;
        self.closed_at = end;
    }

    /// Keeps the reply to a write back.
    pub fn keep(&mut self, kept: Kept) {
        self.kept.push_back(kept);
    }

    /// A WAIT was answered: gives all writes that it covers.
    pub fn settle(&mut self) -> Drain<'_, Kept> {
        self.waits = self.waits.saturating_sub(1);
        self.kept.drain(..)
    }

    /// The connection has ended: gives the writes whose replies were kept back.
    pub fn end(&mut self) -> VecDeque<Kept> {
        std::mem::take(self).kept
    }

    /// Where the oldest request begins whose reply is kept back.
    #[inline]
    pub fn kept_from(&self) -> Option<u64> {
        self.kept.front().map(|kept| kept.begin)
    }

    /// The sessions of the writes whose replies are kept back.
    pub fn sessions(&self) -> impl Iterator<Item = Key> {
        self.kept.iter().map(|kept| kept.pending.session)
    }

    /// Whether replies are kept back.
    pub fn keeps(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Gives back the memory of a long list that is over.
    pub fn shrink(&mut self) {
        if self.kept.is_empty() {
            self.kept.shrink_to(16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_resp::command::Group;

    use crate::arena::Arena;
    use crate::time::Time;

    #[test]
    fn what_is_put_back_on_a_new_connection_has_its_waits() {
        let session = Arena::default().insert(());
        let pending = |due, end| Pending {
            session,
            sequence: 0,
            part: 0,
            due,
            group: Group::String,
            queued_at: Time::default(),
            end,
        };
        let of = |queue: &[(Due, u64)]| {
            Replication::of(&queue.iter().map(|&(due, end)| pending(due, end)).collect())
        };
        assert!(!of(&[(Due::AtOnce, 10)]).is_open());
        let written = of(&[(Due::Replicated, 10), (Due::AtOnce, 20)]);
        assert!(written.wants_wait() && !written.is_waiting(20));
        let waited = of(&[(Due::Replicated, 10), (Due::Wait, 20)]);
        assert!(!waited.wants_wait() && waited.is_sending(10) && waited.is_waiting(20));
        assert!(of(&[(Due::Replicated, 10), (Due::Wait, 20), (Due::Replicated, 30)]).wants_wait());
    }
}
