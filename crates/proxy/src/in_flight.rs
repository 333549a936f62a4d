//! What was sent to a server and is not answered: when it went, and its bytes, so that a slow request can be named.
//!
//! ```text
//!   Upstream.output ──sent whole──▶ [ batch │ batch │ batch ] ──all of it answered──▶ back to the pool of buffers
//! ```
//!
//! A request in flight keeps nothing of its own. The buffer that it was sent in is kept instead, until the replies to all in
//! it are in: nothing is copied, and a request that is not slow costs nothing. Memory: [`KEPT_MAX`] an upstream.

use std::collections::VecDeque;

use crate::buffer::{Buffer, BufferPool};
use crate::time::Time;

/// Bytes of memory in which an upstream keeps whole batches that are in flight. The oldest are kept: when a server stalls, it is
/// at the oldest request, and the others merely wait behind it.
const WHOLE_MAX: usize = 64 * 1024;

/// Bytes of memory that an upstream keeps for what is in flight, heads of batches counted. Of what is sent beyond that only the
/// times are known.
pub const KEPT_MAX: usize = WHOLE_MAX + 16 * 1024;

/// Bytes that are kept of a batch that cannot be kept whole: enough for the name and key of its first request.
pub const HEAD_MAX: usize = 1024;

/// The batches that are not wholly answered, oldest first. Positions are bytes of the stream of requests since the
/// connection began.
#[derive(Debug, Default)]
pub struct InFlight {
    batches: VecDeque<Batch>,
    kept: usize,
    /// The last batch ends in the middle of a request.
    cut: bool,
}

#[derive(Debug)]
struct Batch {
    /// Where `bytes` begin.
    begin: u64,
    /// Where the batch ends.
    end: u64,
    sent_at: Time,
    bytes: Buffer,
    /// The bytes are in the memory that they were sent from; otherwise in as little as they need.
    is_whole: bool,
}

impl InFlight {
    /// Notes that `output`, which ends at `end`, is sent whole at `now`; takes its memory if there is room for it. `cut` says
    /// that it ends in the middle of a request: what comes behind it is then of the same batch, and only counted.
    #[inline]
    pub fn push(&mut self, output: &mut Buffer, end: u64, cut: bool, now: Time) {
        if std::mem::replace(&mut self.cut, cut)
            && let Some(batch) = self.batches.back_mut()
        {
            (batch.end, batch.sent_at) = (end, now);
            return;
        }
        let begin = end.saturating_sub(output.whole().len() as u64);
        let head = output.whole().len().min(HEAD_MAX);
        let (bytes, is_whole) = if self.kept + output.capacity() <= WHOLE_MAX {
            (std::mem::take(output), true)
        } else if self.kept + head <= KEPT_MAX {
            (Buffer::of(&output.whole()[..head]), false)
        } else {
            (Buffer::default(), false)
        };
        self.kept += bytes.capacity();
        self.batches.push_back(Batch { begin, end, sent_at: now, bytes, is_whole });
    }

    /// Gives back what was kept for requests that end at `answered` or before.
    #[inline]
    pub fn release(&mut self, buffers: &mut BufferPool, answered: u64) {
        while let Some(batch) = self.batches.front()
            && batch.end <= answered
        {
            self.kept -= batch.bytes.capacity();
            if let Some(batch) = self.batches.pop_front()
                && batch.is_whole
            {
                buffers.release(batch.bytes);
            }
        }
    }

    /// When the request that ends at `end` was with the kernel, it and what was sent with it; `None` if it was not sent.
    pub fn sent_at(&self, end: u64) -> Option<Time> {
        self.batches.iter().find(|batch| end <= batch.end).map(|batch| batch.sent_at)
    }

    /// What is kept of the bytes from `begin` to `end`: all, their beginning, or nothing.
    pub fn bytes(&self, begin: u64, end: u64) -> &[u8] {
        let batch = self.batches.iter().find(|batch| batch.begin <= begin && begin < batch.end);
        batch.map_or(&[], |batch| part(batch.bytes.whole(), batch.begin, begin, end))
    }

    /// Bytes of memory that are kept.
    pub fn kept(&self) -> usize {
        self.kept
    }
}

/// The part from `begin` to `end` of `bytes`, which begin at `from`; as much of it as there is.
pub fn part(bytes: &[u8], from: u64, begin: u64, end: u64) -> &[u8] {
    let place =
        |position: u64| usize::try_from(position.saturating_sub(from)).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(place(begin)..place(end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(buffers: &mut BufferPool, bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::default();
        buffers.append(&mut buffer, bytes);
        buffer
    }

    #[test]
    fn a_request_is_found_in_the_batch_that_it_was_sent_in() {
        let (mut buffers, mut in_flight) = (BufferPool::default(), InFlight::default());
        for (turn, (bytes, end)) in [(&b"onetwo"[..], 6), (b"three", 11)].into_iter().enumerate() {
            let mut output = buffer(&mut buffers, bytes);
            in_flight.push(&mut output, end, false, Time::from_micros(turn as u64));
            assert_eq!(output.capacity(), 0, "nothing is copied");
        }
        assert_eq!(in_flight.bytes(3, 6), b"two");
        assert_eq!(in_flight.bytes(6, 11), b"three");
        assert_eq!(in_flight.sent_at(6), Some(Time::from_micros(0)));
        assert_eq!(in_flight.sent_at(11), Some(Time::from_micros(1)));
        assert_eq!(in_flight.sent_at(12), None);
        in_flight.release(&mut buffers, 10);
        assert_eq!(in_flight.bytes(0, 3), b"", "the first batch is answered");
        assert_eq!(in_flight.bytes(6, 11), b"three");
        in_flight.release(&mut buffers, 11);
        assert_eq!(in_flight.kept(), 0);
        assert_eq!(in_flight.sent_at(11), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_are_kept() {
        let (mut buffers, mut in_flight) = (BufferPool::default(), InFlight::default());
        let mut end = 0;
        for turn in 0..10_000u64 {
            let mut output = buffer(&mut buffers, b"request");
            end += 7;
            in_flight.push(&mut output, end, false, Time::from_micros(turn));
            buffers.release(output);
            assert!(in_flight.kept() <= KEPT_MAX);
        }
        assert_eq!(in_flight.bytes(0, 7), b"request");
        assert_eq!(in_flight.bytes(end - 7, end), b"");
        assert_eq!(in_flight.sent_at(end), Some(Time::from_micros(9_999)), "its time is known all the same");
        in_flight.release(&mut buffers, end);
        assert_eq!(in_flight.kept(), 0);
    }

    #[test]
    fn a_request_that_passes_in_pieces_is_one_batch() {
        let (mut buffers, mut in_flight) = (BufferPool::default(), InFlight::default());
        for turn in 1..=1000u64 {
            let mut output = buffer(&mut buffers, b"piece");
            in_flight.push(&mut output, turn * 5, turn < 1000, Time::from_micros(turn));
            buffers.release(output);
        }
        assert_eq!(in_flight.batches.len(), 1);
        assert_eq!(
            (in_flight.bytes(0, 5000), in_flight.sent_at(5000)),
            (&b"piece"[..], Some(Time::from_micros(1000)))
        );
        in_flight.release(&mut buffers, 5000);
        assert_eq!((in_flight.kept(), in_flight.batches.len()), (0, 0));
    }

    #[test]
    fn of_a_large_batch_the_head_is_kept() {
        let (mut buffers, mut in_flight) = (BufferPool::default(), InFlight::default());
        let mut output = buffer(&mut buffers, &vec![b'v'; KEPT_MAX * 2]);
        in_flight.push(&mut output, KEPT_MAX as u64 * 2, false, Time::default());
        assert_eq!(output.len(), KEPT_MAX * 2, "it is not taken");
        assert_eq!(in_flight.bytes(0, KEPT_MAX as u64 * 2).len(), HEAD_MAX);
        assert!(in_flight.kept() <= KEPT_MAX);
    }
}
