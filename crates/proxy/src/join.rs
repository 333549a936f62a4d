//! Requests that were split over servers, and how the replies to their parts become one.

use shoal_resp::delimiter::{Delimiter, Fed};
use shoal_resp::encode;

use crate::arena::Key;
use crate::buffer::{Buffer, BufferPool};

/// How the replies to parts become one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// The elements of the parts' arrays, each in the place of its key (MGET).
    ByPosition,
    /// The sum of the parts' integers (DEL, UNLINK, TOUCH, EXISTS).
    Sum,
    /// `+OK` if all parts say so (MSET).
    AllOk,
}

impl JoinKind {
    /// How many words each key takes in the request, itself included.
    pub fn words_per_key(self) -> usize {
        match self {
            JoinKind::AllOk => 2,
            JoinKind::ByPosition | JoinKind::Sum => 1,
        }
    }
}

/// Names one split request of a worker.
pub type JoinId = u32;

/// Bytes of parts above which the reply is passed on while it comes in. Up to there it is collected, so that an error of any
/// shard can take its place.
const WHOLE_MAX: usize = 1024 * 1024;

/// A request that was split and is not answered yet.
#[derive(Debug)]
pub struct Join {
    /// How the parts become one.
    pub kind: JoinKind,
    /// Whose request it is.
    pub session: Key,
    /// Which of the session's requests.
    pub sequence: u32,
    /// For each key, in the client's order, the part that asks for it.
    pub part_of_key: Vec<u16>,
    replies: Vec<Buffer>,
    unanswered: usize,
    /// Bytes in `replies`.
    held: usize,
    passing: Option<Passing>,
}

/// How far a reply is that is passed on while it comes in.
#[derive(Clone, Copy, Debug, Default)]
struct Passing {
    /// Elements passed on, the last perhaps in part.
    elements: usize,
    /// Bytes of the last one that are to come.
    left: u64,
}

/// The split requests of a worker; their memory is used again.
#[derive(Debug, Default)]
pub struct Joins {
    joins: Vec<Join>,
    free: Vec<JoinId>,
}

impl Joins {
    /// A new join without parts.
    pub fn open(&mut self, kind: JoinKind, session: Key) -> JoinId {
        if let Some(id) = self.free.pop() {
            let join = &mut self.joins[id as usize];
            join.kind = kind;
            join.session = session;
            join.part_of_key.clear();
            join.unanswered = 0;
            join.held = 0;
            join.passing = None;
            return id;
        }
        self.joins.push(Join {
            kind,
            session,
            sequence: 0,
            part_of_key: Vec::new(),
            replies: Vec::new(),
            unanswered: 0,
            held: 0,
            passing: None,
        });
        self.joins.len() as JoinId - 1
    }

    /// The join `id`.
    pub fn get_mut(&mut self, id: JoinId) -> &mut Join {
        &mut self.joins[id as usize]
    }

    /// How many are open.
    pub fn open_count(&self) -> usize {
        self.joins.len() - self.free.len()
    }

    /// Drops a join whose session is gone: its parts are asked for by way of the session's slot alone.
    pub fn forsake(&mut self, buffers: &mut BufferPool, id: JoinId) {
        for reply in self.joins[id as usize].replies.drain(..) {
            buffers.release(reply);
        }
        self.free.push(id);
    }

    /// Takes a piece of the reply to `part`; true if it ends the last part, and [`Joins::close`] is due.
    pub fn deliver(
        &mut self,
        buffers: &mut BufferPool,
        id: JoinId,
        part: u16,
        piece: &[u8],
        last: bool,
    ) -> bool {
        let join = &mut self.joins[id as usize];
        let reply = &mut join.replies[part as usize];
        buffers.append(reply, piece);
        join.held += piece.len();
        if last {
            join.unanswered -= 1;
        }
        last && join.unanswered == 0
    }

    /// Puts `reply` in the place of whatever came of the reply to `part`; true as in [`Joins::deliver`].
    pub fn replace(&mut self, buffers: &mut BufferPool, id: JoinId, part: u16, reply: &[u8]) -> bool {
        let join = &mut self.joins[id as usize];
        let dropped = std::mem::take(&mut join.replies[part as usize]);
        join.held -= dropped.len();
        buffers.release(dropped);
        self.deliver(buffers, id, part, reply, true)
    }

    /// Ends a join whose parts are all answered: appends its reply to `out`, and says whose it is.
    pub fn close(&mut self, buffers: &mut BufferPool, id: JoinId, out: &mut Vec<u8>) -> (Key, u32) {
        let join = &mut self.joins[id as usize];
        join.write(out);
        for reply in join.replies.drain(..) {
            buffers.release(reply);
        }
        self.free.push(id);
        (join.session, join.sequence)
    }

    /// Whether the parts of `id` hold so much that its reply is rather passed on while it comes in.
    pub fn is_large(&self, id: JoinId) -> bool {
        self.held(id) > WHOLE_MAX
    }

    /// Bytes that the parts of `id` hold.
    pub fn held(&self, id: JoinId) -> usize {
        self.joins[id as usize].held
    }

    /// Whether the reply of `id` is passed on while it comes in, so that no error can take its place any more.
    pub fn is_passing(&self, id: JoinId) -> bool {
        self.joins[id as usize].passing.is_some()
    }

    /// Whether the reply of `id` cannot go on without more of `part`.
    pub fn needs(&self, id: JoinId, part: u16) -> bool {
        let join = &self.joins[id as usize];
        match join.passing {
            Some(passing) => join.current(passing) == Some(part),
            None => after_line(join.replies[part as usize].as_slice()).is_none(),
        }
    }

    /// Begins to pass on the reply of `id`, which is its session's next one, if all parts have begun well.
    pub fn begin_passing(&mut self, id: JoinId, out: &mut Vec<u8>) {
        let join = &mut self.joins[id as usize];
        if join.kind != JoinKind::ByPosition || !join.has_headers() {
            return;
        }
        for reply in &mut join.replies {
            let header = reply.len() - after_line(reply.as_slice()).map_or(0, <[u8]>::len);
            reply.consume(header);
            join.held -= header;
        }
        encode::array_len(out, join.part_of_key.len());
        join.passing = Some(Passing::default());
    }

    /// Passes on what has come of `id`, whose passing has begun, as far as the order of elements allows.
    ///
    /// # Errors
    /// If a part holds something else than its number of elements: the reply cannot be ended.
    pub fn pass_on(
        &mut self,
        buffers: &mut BufferPool,
        id: JoinId,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let join = &mut self.joins[id as usize];
        let Some(mut passing) = join.passing else { return Ok(()) };
        while let Some(part) = join.current(passing) {
            let reply = &mut join.replies[usize::from(part)];
            if passing.left == 0 {
                let Some(length) = element_len(reply.as_slice()) else { break };
                passing.left = length as u64;
                passing.elements += 1;
            }
            let count = reply.len().min(usize::try_from(passing.left).unwrap_or(usize::MAX));
            out.extend_from_slice(&reply.as_slice()[..count]);
            reply.consume(count);
            buffers.reclaim(reply);
            join.held -= count;
            passing.left -= count as u64;
            if passing.left > 0 {
                break;
            }
        }
        join.passing = Some(passing);
        if join.unanswered > 0 {
            return Ok(());
        }
        let ended = join.current(passing).is_none() && join.held == 0;
        if ended { Ok(()) } else { Err(Malformed) }
    }

    /// Frees `id`, whose reply was passed on, if that was all of it.
    pub fn end_passed(&mut self, id: JoinId) -> bool {
        let join = &mut self.joins[id as usize];
        let ended = join.unanswered == 0 && join.passing.is_some();
        if ended {
            join.replies.clear();
            self.free.push(id);
        }
        ended
    }
}

/// A part of a join does not hold the elements that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Join {
    /// Adds a part; its number.
    pub fn add_part(&mut self) -> u16 {
        self.replies.push(Buffer::default());
        self.unanswered += 1;
        self.replies.len() as u16 - 1
    }

    /// The part whose bytes come next; `None` if all elements were passed on.
    fn current(&self, passing: Passing) -> Option<u16> {
        let element = if passing.left > 0 { passing.elements - 1 } else { passing.elements };
        self.part_of_key.get(element).copied()
    }

    /// Whether each part has begun as an array of as many elements as it was asked for.
    fn has_headers(&self) -> bool {
        self.replies.iter().enumerate().all(|(part, reply)| {
            let bytes = reply.as_slice();
            let asked = self.part_of_key.iter().filter(|&&other| usize::from(other) == part).count();
            let header = format!("*{asked}\r\n");
            bytes.starts_with(header.as_bytes())
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        if let Some(error) = self.replies.iter().find(|reply| !self.fits(reply.as_slice())) {
            match error.as_slice() {
                // RESP3's error as a bulk string is passed on too.
                bytes @ [b'-' | b'!', ..] => out.extend_from_slice(bytes),
                _ => encode::error(out, UNEXPECTED),
            }
            return;
        }
        let written = match self.kind {
            JoinKind::AllOk => {
                out.extend_from_slice(b"+OK\r\n");
                Some(())
            }
            JoinKind::Sum => self.sum().map(|sum| encode::integer(out, sum)),
            JoinKind::ByPosition => self.by_position(out),
        };
        if written.is_none() {
            out.truncate(start);
            encode::error(out, UNEXPECTED);
        }
    }

    fn fits(&self, reply: &[u8]) -> bool {
        let expected = match self.kind {
            JoinKind::ByPosition => b'*',
            JoinKind::Sum => b':',
            JoinKind::AllOk => b'+',
        };
        reply.first() == Some(&expected)
    }

    fn sum(&self) -> Option<i64> {
        self.replies.iter().try_fold(0i64, |sum, reply| {
            let digits = reply.as_slice().strip_prefix(b":")?.strip_suffix(b"\r\n")?;
            sum.checked_add(std::str::from_utf8(digits).ok()?.parse().ok()?)
        })
    }

    fn by_position(&self, out: &mut Vec<u8>) -> Option<()> {
        let mut rest: Vec<&[u8]> =
            self.replies.iter().map(|reply| after_line(reply.as_slice())).collect::<Option<_>>()?;
        out.reserve(rest.iter().map(|reply| reply.len()).sum::<usize>() + 16);
        encode::array_len(out, self.part_of_key.len());
        for &part in &self.part_of_key {
            let reply = &mut rest[part as usize];
            let (element, others) = reply.split_at_checked(element_len(reply)?)?;
            out.extend_from_slice(element);
            *reply = others;
        }
        rest.iter().all(|reply| reply.is_empty()).then_some(())
    }
}

/// How long the element at the front is. Nearly all are bulk strings, for which a look at the first line does.
fn element_len(bytes: &[u8]) -> Option<usize> {
    if let [b'$', digit @ b'0'..=b'9', rest @ ..] = bytes {
        let mut length = usize::from(digit - b'0');
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                b'0'..=b'9' => length = length.checked_mul(10)?.checked_add(usize::from(byte - b'0'))?,
                _ => return length.checked_add(at + 2 + 2 + 2), // the type and first digit, and two ends of line
            }
        }
        return None;
    }
    match bytes {
        [] => None,
        _ => match Delimiter::new().feed(bytes) {
            Ok(Fed::Frame { len, .. }) => Some(len),
            _ => None,
        },
    }
}

/// What follows the first line.
fn after_line(bytes: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b'\n', bytes).map(|end| &bytes[end + 1..])
}

const UNEXPECTED: &str = "ERR a shard's reply to its part of the request has an unexpected form";

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(kind: JoinKind, part_of_key: &[u16], replies: &[&str]) -> String {
        let mut joins = Joins::default();
        let mut buffers = BufferPool::default();
        let owner = Key { index: 1, generation: 2 };
        let id = joins.open(kind, owner);
        joins.get_mut(id).part_of_key.extend_from_slice(part_of_key);
        for _ in replies {
            joins.get_mut(id).add_part();
        }
        let mut out = Vec::new();
        for (part, reply) in replies.iter().enumerate().rev() {
            let (first, second) = reply.as_bytes().split_at(reply.len() / 2);
            assert!(!joins.deliver(&mut buffers, id, part as u16, first, false));
            assert_eq!(joins.deliver(&mut buffers, id, part as u16, second, true), part == 0);
        }
        assert_eq!(joins.close(&mut buffers, id, &mut out), (owner, 0));
        assert_eq!(joins.open_count(), 0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn elements_go_to_the_places_of_their_keys() {
        let replies = ["*2\r\n$1\r\na\r\n$-1\r\n", "*1\r\n$3\r\nb\r\n\r\n"];
        let expected = "*3\r\n$1\r\na\r\n$3\r\nb\r\n\r\n$-1\r\n";
        assert_eq!(joined(JoinKind::ByPosition, &[0, 1, 0], &replies), expected);
    }

    #[test]
    fn integers_are_summed_and_oks_agree() {
        assert_eq!(joined(JoinKind::Sum, &[0, 1, 1], &[":1\r\n", ":2\r\n"]), ":3\r\n");
        assert_eq!(joined(JoinKind::AllOk, &[0, 1], &["+OK\r\n", "+OK\r\n"]), "+OK\r\n");
    }

    #[test]
    fn the_first_part_that_fails_is_the_answer() {
        let noreplicas = "-NOREPLICAS Not enough good replicas to write.\r\n";
        assert_eq!(joined(JoinKind::AllOk, &[0, 1], &["+OK\r\n", noreplicas]), noreplicas);
        assert_eq!(joined(JoinKind::ByPosition, &[0, 1], &["*1\r\n$-1\r\n", "-ERR x\r\n"]), "-ERR x\r\n");
    }

    #[test]
    fn a_part_of_the_wrong_form_or_length_is_an_error_and_not_a_guess() {
        let error = format!("-{UNEXPECTED}\r\n");
        assert_eq!(joined(JoinKind::Sum, &[0], &["+OK\r\n"]), error);
        assert_eq!(joined(JoinKind::ByPosition, &[0, 0], &["*1\r\n$-1\r\n"]), error);
        assert_eq!(joined(JoinKind::ByPosition, &[0], &["*2\r\n$-1\r\n$-1\r\n"]), error);
    }
}
