//! Requests that were split over servers, and how the replies to their parts become one.

use std::sync::Arc;

use shoal_resp::delimiter::{Delimiter, Fed};
use shoal_resp::encode;

use crate::arena::Key;
use crate::buffer::{Buffer, BufferPool};
use crate::scan::Leg;
use crate::session::OWED_MAX;
use crate::settings::PoolSettings;
use crate::upstream::Asked;

mod shards;
#[cfg(test)]
mod tests;

/// How the replies to parts become one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// The elements of the parts' arrays, each in the place of its key (MGET).
    ByPosition,
    /// The sum of the parts' integers (DEL, UNLINK, TOUCH, EXISTS).
    Sum,
    /// `+OK` if all parts say so (MSET, FLUSHDB).
    AllOk,
    /// The elements of the parts' arrays, one part's behind another's (KEYS).
    Concat,
    /// Arrays of integers, place by place: 1 if all parts say 1 (SCRIPT EXISTS).
    Every,
    /// The one reply that all parts give (SCRIPT LOAD).
    Same,
    /// The first reply that is not null, beginning with [`Join::first`] (RANDOMKEY).
    Any,
    /// One shard's page of a scan, under a cursor of ours (SCAN): [`Join::leg`].
    Page,
    /// Arrays of names and integers: the integers are added place by place (PUBSUB NUMSUB).
    Totals,
    /// The reply to a script, which is the first part; a second one has loaded the script (EVALSHA).
    Script,
}

impl JoinKind {
    /// How many words each key takes in the request, itself included.
    pub fn words_per_key(self) -> usize {
        match self {
            JoinKind::AllOk => 2,
            _ => 1,
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
    /// Whom the parts were sent to, if an error is to name its shard: the pool, and a shard for each part.
    pub asked: Option<(Arc<PoolSettings>, Vec<u16>)>,
    /// The part whose reply is wanted before others.
    pub first: u16,
    /// Where the scan is whose page this is.
    pub leg: Option<Leg>,
    /// What is sent again if its server lacks the script.
    pub again: Option<Again>,
    replies: Vec<Buffer>,
    came: Vec<Came>,
    unanswered: usize,
    /// Bytes in `replies`.
    held: usize,
    passing: Option<Passing>,
}

/// A call of a script, as it was sent.
#[derive(Debug)]
pub struct Again {
    /// Where.
    pub upstream: Key,
    /// In these bytes.
    pub request: Box<[u8]>,
    /// The script.
    pub body: Arc<[u8]>,
    /// What is noted of it.
    pub asked: Asked,
}

/// What has come of a part's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// Not all of it.
    Some,
    /// All of it.
    All,
    /// An error of our own in its place.
    Failure,
}

/// How far a reply is that is passed on while it comes in.
#[derive(Clone, Copy, Debug, Default)]
struct Passing {
    /// Elements passed on, the last perhaps in part; where whole parts are passed on, those.
    elements: usize,
    /// Bytes of the last one that are to come.
    left: u64,
    /// What comes is dropped: an error has taken the reply's place.
    dropped: bool,
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
            join.asked = None;
            join.first = 0;
            join.leg = None;
            join.again = None;
            join.came.clear();
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
            asked: None,
            first: 0,
            leg: None,
            again: None,
            replies: Vec::new(),
            came: Vec::new(),
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
        let join = &mut self.joins[id as usize];
        join.again = None;
        for reply in join.replies.drain(..) {
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
            join.came[part as usize] = Came::All;
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
        let whole = self.deliver(buffers, id, part, reply, true);
        self.joins[id as usize].came[part as usize] = Came::Failure;
        whole
    }

    /// If the one part of `id` was answered that its server does not know the script: opens the parts anew for the script and
    /// its call, and gives both.
    pub fn lacks_script(&mut self, buffers: &mut BufferPool, id: JoinId) -> Option<Again> {
        let join = &mut self.joins[id as usize];
        let again = join.again.take()?;
        if join.came != [Came::All] || !join.replies[0].as_slice().starts_with(b"-NOSCRIPT") {
            return None;
        }
        buffers.release(std::mem::take(&mut join.replies[0]));
        join.held = 0;
        join.came[0] = Came::Some;
        join.unanswered = 1;
        join.add_part();
        Some(again)
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
        if join.begin_dropping(out) {
            return;
        }
        if join.kind != JoinKind::ByPosition {
            return join.begin_passing_parts(out);
        }
        if !join.has_headers() {
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

    /// Begins to drop the reply of `id` behind an error, if it is not passed on although every part has begun, and is too long
    /// to be kept until it is whole: its servers would be made to wait for ever.
    pub fn drop_if_too_long(&mut self, id: JoinId, out: &mut Vec<u8>) {
        let join = &mut self.joins[id as usize];
        let has_begun = |reply: &Buffer| after_line(reply.as_slice()).is_some();
        if join.passing.is_none() && join.held > OWED_MAX && join.replies.iter().all(has_begun) {
            join.drop_too_long(out);
        }
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
        if join.kind != JoinKind::ByPosition || passing.dropped {
            return join.pass_on_parts(buffers, passing, out);
        }
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
            join.again = None;
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
        self.came.push(Came::Some);
        self.unanswered += 1;
        self.replies.len() as u16 - 1
    }

    /// What has come of each part, in their order.
    pub fn replies(&self) -> impl Iterator<Item = &[u8]> {
        self.replies.iter().map(Buffer::as_slice)
    }

    /// The part whose bytes come next; `None` if all elements were passed on.
    fn current(&self, passing: Passing) -> Option<u16> {
        if self.kind != JoinKind::ByPosition || passing.dropped {
            return u16::try_from(passing.elements).ok().filter(|&part| usize::from(part) < self.came.len());
        }
        let element = if passing.left > 0 { passing.elements - 1 } else { passing.elements };
        self.part_of_key.get(element).copied()
    }

    /// Whether each part has begun as an array of as many elements as it was asked for.
    fn has_headers(&self) -> bool {
        // Asked for with each piece as long as one is missing: that alone must not cost a look at all keys.
        if self.replies().any(|reply| after_line(reply).is_none()) {
            return false;
        }
        let mut asked = vec![0usize; self.replies.len()];
        self.part_of_key.iter().for_each(|&part| asked[usize::from(part)] += 1);
        self.replies().zip(asked).all(|(reply, asked)| reply.starts_with(format!("*{asked}\r\n").as_bytes()))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        if self.kind == JoinKind::Script {
            return out.extend_from_slice(self.replies[0].as_slice());
        }
        if let Some(part) = self.replies.iter().position(|reply| !self.fits(reply.as_slice())) {
            return self.write_error(out, part);
        }
        let written = match self.kind {
            JoinKind::AllOk => {
                out.extend_from_slice(b"+OK\r\n");
                Some(())
            }
            JoinKind::Sum => self.sum().map(|sum| encode::integer(out, sum)),
            JoinKind::ByPosition => self.by_position(out),
            JoinKind::Concat => self.concat(out),
            JoinKind::Every => self.every(out),
            JoinKind::Same => self.same(out),
            JoinKind::Any => self.any(out),
            JoinKind::Page => self.page(out),
            JoinKind::Totals => self.totals(out),
            JoinKind::Script => None, // written above
        };
        if written.is_none() {
            out.truncate(start);
            encode::error(out, UNEXPECTED);
        }
    }

    fn fits(&self, reply: &[u8]) -> bool {
        let Some(&first) = reply.first() else { return false };
        match self.kind {
            JoinKind::AllOk => first == b'+',
            JoinKind::Sum => first == b':',
            JoinKind::ByPosition | JoinKind::Concat | JoinKind::Every | JoinKind::Page => first == b'*',
            JoinKind::Totals => first == b'*',
            JoinKind::Same => matches!(first, b'$' | b'+'),
            JoinKind::Any => matches!(first, b'$' | b'_'),
            JoinKind::Script => true,
        }
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
