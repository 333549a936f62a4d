//! Byte buffers that sessions and upstreams borrow from their worker's pool while they have bytes to keep.
//!
//! A connection that waits owns no memory here: a drained [`Buffer`] goes back to the [`BufferPool`], and the pool
//! itself shrinks to what the last second needed.
//!
//! The pool has two shelves, because a buffer that has grown would be lent on, and a thousand replies of a few bytes that
//! wait for their turn would each hold tens of kilobytes. Small ones are all of one size, and are lent first; who needs
//! more changes his for a large one.

/// Capacity of a buffer as it is first handed out, in bytes. Small, because a thousand sessions may each hold one reply.
const FIRST_CAPACITY: usize = 2 * 1024;

/// A buffer that has grown beyond this goes back to the allocator and not to the pool, in bytes. A batch of eight values of 16 KiB
/// has room in it: one that grew anew for each batch would be moved in memory more often than it is sent.
const KEPT_CAPACITY: usize = 256 * 1024;

/// So many large buffers are kept for the next who needs one; the others go back to the allocator.
const LARGE_KEPT: usize = 32;

/// Consumed bytes at the front are moved over when they are so many, and at least half of all.
const MOVED_MIN: usize = 64 * 1024;

/// A queue of bytes: appended at the end, consumed from the front, moved in memory only when that is cheap.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// The bytes that have not been consumed.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How many bytes have not been consumed.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether everything was consumed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of `bytes`, in as much memory as they need.
    pub fn of(bytes: &[u8]) -> Buffer {
        Buffer { bytes: bytes.to_vec(), start: 0 }
    }

    /// All bytes in memory: those that were consumed and still lie there, then the others.
    pub fn whole(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory behind the buffer.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Drops the first `count` bytes; all of them if there are fewer.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start >= MOVED_MIN && self.start * 2 >= self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// The vector behind the buffer, to append to: what lies before its end must stay.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

/// The buffers of one worker that nobody uses at the moment.
#[derive(Debug, Default)]
pub struct BufferPool {
    small: Shelf,
    large: Shelf,
}

/// Free buffers of one kind.
#[derive(Debug, Default)]
struct Shelf {
    free: Vec<Vec<u8>>,
    /// The fewest free buffers since the last [`Shelf::shrink`]: nobody needed those.
    fewest_free: usize,
}

impl BufferPool {
    /// Appends `bytes` to `buffer`, lending it memory first if it has none, or too little.
    #[inline]
    pub fn append(&mut self, buffer: &mut Buffer, bytes: &[u8]) {
        if buffer.bytes.capacity() - buffer.bytes.len() < bytes.len() {
            self.make_room(buffer, bytes.len());
        }
        buffer.bytes.extend_from_slice(bytes);
    }

    /// The vector of `buffer` to append to, with memory lent if it had none.
    #[inline]
    pub fn lend<'b>(&mut self, buffer: &'b mut Buffer) -> &'b mut Vec<u8> {
        if buffer.bytes.capacity() == 0 {
            buffer.bytes = self.small.take().unwrap_or_else(|| Vec::with_capacity(FIRST_CAPACITY));
        }
        &mut buffer.bytes
    }

    /// The vector of `buffer` to append `more` bytes to, with memory lent if it had none, or too little.
    #[inline]
    pub fn lend_room<'b>(&mut self, buffer: &'b mut Buffer, more: usize) -> &'b mut Vec<u8> {
        if buffer.bytes.capacity() - buffer.bytes.len() < more {
            self.make_room(buffer, more);
        }
        self.lend(buffer)
    }

    /// Lends memory to a buffer that has none, or changes the memory of a small one for that of a large one, if there is
    /// one; only what was not consumed moves. Should it be too little still, the vector grows by itself.
    #[inline(never)]
    fn make_room(&mut self, buffer: &mut Buffer, more: usize) {
        if buffer.bytes.len() + more <= FIRST_CAPACITY {
            self.lend(buffer);
        } else if buffer.bytes.capacity() <= FIRST_CAPACITY
            && let Some(mut large) = self.large.take()
        {
            large.extend_from_slice(buffer.as_slice());
            self.release(std::mem::replace(buffer, Buffer { bytes: large, start: 0 }));
        }
    }

    /// Takes the memory of `buffer` back if it is drained.
    #[inline]
    pub fn reclaim(&mut self, buffer: &mut Buffer) {
        if buffer.is_empty() && buffer.bytes.capacity() != 0 {
            self.release(std::mem::take(buffer));
        }
    }

    /// Takes the memory of `buffer` back, with whatever is in it.
    #[inline]
    pub fn release(&mut self, buffer: Buffer) {
        let mut bytes = buffer.bytes;
        bytes.clear();
        if bytes.capacity() == FIRST_CAPACITY {
            self.small.free.push(bytes);
        } else if (FIRST_CAPACITY..=KEPT_CAPACITY).contains(&bytes.capacity())
            && self.large.free.len() < LARGE_KEPT
        {
            self.large.free.push(bytes);
        }
    }

    /// Gives back to the allocator what no connection needed since the last call. Called about once a second.
    pub fn shrink(&mut self) {
        self.small.shrink();
        self.large.shrink();
    }

    /// Bytes of memory that lie in the pool unused.
    pub fn idle_bytes(&self) -> usize {
        self.small.free.iter().chain(&self.large.free).map(Vec::capacity).sum()
    }
}

impl Shelf {
    #[inline]
    fn take(&mut self) -> Option<Vec<u8>> {
        let taken = self.free.pop();
        self.fewest_free = self.fewest_free.min(self.free.len());
        taken
    }

    fn shrink(&mut self) {
        let surplus = self.fewest_free.min(self.free.len());
        self.free.truncate(self.free.len() - surplus);
        self.free.shrink_to(self.free.len() * 2);
        self.fewest_free = self.free.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consuming_gives_the_bytes_in_order_whatever_the_pieces() {
        let mut pool = BufferPool::default();
        let mut buffer = Buffer::default();
        let sent: Vec<u8> = (0..400_000u32).map(|n| n as u8).collect();
        let mut got = Vec::new();
        for (turn, piece) in sent.chunks(977).enumerate() {
            pool.append(&mut buffer, piece);
            let count = (turn * 131) % (buffer.len() + 1);
            got.extend_from_slice(&buffer.as_slice()[..count]);
            buffer.consume(count);
        }
        got.extend_from_slice(buffer.as_slice());
        assert_eq!(got, sent);
    }

    #[test]
    fn a_drained_buffer_goes_back_and_an_unused_pool_empties() {
        let mut pool = BufferPool::default();
        let mut buffers: Vec<Buffer> = (0..10).map(|_| Buffer::default()).collect();
        for buffer in &mut buffers {
            pool.append(buffer, b"x");
            buffer.consume(1);
            pool.reclaim(buffer);
        }
        assert_eq!(pool.idle_bytes(), FIRST_CAPACITY, "one buffer served all ten in turn");
        pool.shrink();
        pool.shrink();
        assert_eq!(pool.idle_bytes(), 0);
    }

    #[test]
    fn what_waits_in_small_pieces_holds_small_buffers_whatever_was_lent_before() {
        let mut pool = BufferPool::default();
        // All have been large once.
        let mut buffers: Vec<Buffer> = (0..100).map(|_| Buffer::default()).collect();
        buffers.iter_mut().for_each(|buffer| pool.append(buffer, &[0; 40_000]));
        buffers.drain(..).for_each(|buffer| pool.release(buffer));
        let mut waiting: Vec<Buffer> = (0..1000).map(|_| Buffer::default()).collect();
        waiting.iter_mut().for_each(|buffer| pool.append(buffer, b"$1\r\nx\r\n"));
        assert!(waiting.iter().all(|buffer| buffer.bytes.capacity() == FIRST_CAPACITY));
        // And one that grows takes a large one, with what it held.
        waiting[0].consume(1);
        pool.append(&mut waiting[0], &[7; FIRST_CAPACITY]);
        assert_eq!(waiting[0].as_slice(), [&b"1\r\nx\r\n"[..], &[7; FIRST_CAPACITY]].concat());
        assert!(waiting[0].bytes.capacity() >= 40_000);
    }

    #[test]
    fn a_buffer_that_grew_large_is_not_kept() {
        let mut pool = BufferPool::default();
        let mut buffer = Buffer::default();
        pool.append(&mut buffer, &vec![0; KEPT_CAPACITY + 1]);
        buffer.consume(KEPT_CAPACITY + 1);
        pool.reclaim(&mut buffer);
        assert_eq!(pool.idle_bytes(), 0);
    }
}
