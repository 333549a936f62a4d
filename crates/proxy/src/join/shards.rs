//! Replies that whole shards give, rather than keys: one behind another, alike, or under a cursor of ours.

use shoal_resp::delimiter::{Delimiter, Fed};
use shoal_resp::encode;

use super::{Came, Join, JoinKind, Malformed, Passing, UNEXPECTED, after_line, element_len};
use crate::buffer::BufferPool;
use crate::session::OWED_MAX;

const CURSOR_TOO_LARGE: &str =
    "ERR a shard's cursor is too large for a scan over all shards; scan the shards by themselves";

impl Join {
    /// Appends the error that `part` is; a server's own words get the name of their shard, unless all shards say the same.
    pub(super) fn write_error(&self, out: &mut Vec<u8>, part: usize) {
        let unanimous = self.replies.iter().all(|reply| reply.as_slice() == self.replies[part].as_slice());
        let named = self.asked.as_ref().filter(|_| !unanimous).and_then(|(settings, shards)| {
            let shard = settings.pool.shards.get(usize::from(*shards.get(part)?))?;
            Some(format!(" (shard {} of pool {})", shard.name, settings.pool.name))
        });
        match (self.replies[part].as_slice(), named) {
            (bytes @ [b'-', ..], Some(named)) if self.came[part] == Came::All => {
                out.extend_from_slice(bytes.strip_suffix(b"\r\n").unwrap_or(bytes));
                out.extend_from_slice(named.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            // RESP3's error as a bulk string is passed on too.
            (bytes @ [b'-' | b'!', ..], _) => out.extend_from_slice(bytes),
            (_, named) => encode::error(out, &format!("{UNEXPECTED}{}", named.unwrap_or_default())),
        }
    }

    pub(super) fn concat(&self, out: &mut Vec<u8>) -> Option<()> {
        encode::array_len(out, self.elements()?);
        for reply in &self.replies {
            out.extend_from_slice(after_line(reply.as_slice())?);
        }
        Some(())
    }

    /// How many elements the parts' arrays have together, as far as their first lines are in.
    fn elements(&self) -> Option<usize> {
        self.replies.iter().try_fold(0usize, |sum, reply| sum.checked_add(array_len(reply.as_slice())?))
    }

    pub(super) fn every(&self, out: &mut Vec<u8>) -> Option<()> {
        let count = array_len(self.replies.first()?.as_slice())?;
        let mut rest: Vec<&[u8]> =
            self.replies.iter().map(|reply| after_line(reply.as_slice())).collect::<Option<_>>()?;
        encode::array_len(out, count);
        for _ in 0..count {
            let mut all = true;
            for reply in &mut rest {
                let (element, others) = reply.split_at_checked(element_len(reply)?)?;
                all &= match element {
                    b":1\r\n" => true,
                    b":0\r\n" => false,
                    _ => return None,
                };
                *reply = others;
            }
            encode::integer(out, i64::from(all));
        }
        rest.iter().all(|reply| reply.is_empty()).then_some(())
    }

    pub(super) fn totals(&self, out: &mut Vec<u8>) -> Option<()> {
        let count = array_len(self.replies.first()?.as_slice())?;
        let mut rest: Vec<&[u8]> =
            self.replies.iter().map(|reply| after_line(reply.as_slice())).collect::<Option<_>>()?;
        encode::array_len(out, count);
        for _ in 0..count {
            let (mut total, mut name) = (0i64, None);
            for reply in &mut rest {
                let (element, others) = reply.split_at_checked(element_len(reply)?)?;
                match element.strip_prefix(b":") {
                    Some(number) => {
                        let digits = std::str::from_utf8(number.strip_suffix(b"\r\n")?).ok()?;
                        total = total.checked_add(digits.parse().ok()?)?;
                    }
                    None => name = Some(element),
                }
                *reply = others;
            }
            match name {
                Some(name) => out.extend_from_slice(name),
                None => encode::integer(out, total),
            }
        }
        rest.iter().all(|reply| reply.is_empty()).then_some(())
    }

    pub(super) fn same(&self, out: &mut Vec<u8>) -> Option<()> {
        let (first, others) = self.replies.split_first()?;
        if others.iter().any(|reply| reply.as_slice() != first.as_slice()) {
            return None;
        }
        out.extend_from_slice(first.as_slice());
        Some(())
    }

    pub(super) fn any(&self, out: &mut Vec<u8>) -> Option<()> {
        let (before, from) = self.replies.split_at_checked(usize::from(self.first))?;
        let mut all = from.iter().chain(before);
        let is_null = |bytes: &[u8]| matches!(bytes, b"$-1\r\n" | b"_\r\n");
        let found = all.find(|reply| !is_null(reply.as_slice())).or(self.replies.first())?;
        out.extend_from_slice(found.as_slice());
        Some(())
    }

    pub(super) fn page(&self, out: &mut Vec<u8>) -> Option<()> {
        let reply = self.replies.first()?.as_slice();
        let (inner, header) = page_header(reply)?;
        match self.leg?.next(inner) {
            Ok(cursor) => {
                write_page_header(cursor, out);
                out.extend_from_slice(&reply[header..]);
            }
            Err(_) => encode::error(out, CURSOR_TOO_LARGE),
        }
        Some(())
    }

    /// If a part is an error, that is the reply, and whatever comes of the others is dropped: true then.
    pub(super) fn begin_dropping(&mut self, out: &mut Vec<u8>) -> bool {
        let is_error =
            |part: &usize| self.came[*part] != Came::Some && !self.fits(self.replies[*part].as_slice());
        let Some(part) = (0..self.replies.len()).find(is_error) else { return false };
        self.write_error(out, part);
        self.passing = Some(Passing { dropped: true, ..Passing::default() });
        true
    }

    /// An error takes the place of a reply that cannot be passed on and is longer than may be kept.
    pub(super) fn drop_too_long(&mut self, out: &mut Vec<u8>) {
        encode::error(
            out,
            &format!(
                "ERR the shards' replies to this request are longer than {} MiB together, and cannot be joined: ask for less \
                 at once",
                OWED_MAX / (1024 * 1024)
            ),
        );
        self.passing = Some(Passing { dropped: true, ..Passing::default() });
    }

    /// Begins to pass on a reply that is made of whole parts, one behind another.
    pub(super) fn begin_passing_parts(&mut self, out: &mut Vec<u8>) {
        let mut passing = Passing::default();
        match self.kind {
            JoinKind::Concat => {
                let Some(elements) = self.elements() else { return };
                encode::array_len(out, elements);
                for part in 0..self.replies.len() {
                    let reply = self.replies[part].as_slice();
                    let header = reply.len() - after_line(reply).map_or(0, <[u8]>::len);
                    self.drop_front(part, header);
                }
            }
            JoinKind::Page => {
                let (Some((inner, header)), Some(leg)) = (page_header(self.replies[0].as_slice()), self.leg)
                else {
                    return;
                };
                match leg.next(inner) {
                    Ok(cursor) => {
                        write_page_header(cursor, out);
                        self.drop_front(0, header);
                    }
                    Err(_) => {
                        encode::error(out, CURSOR_TOO_LARGE);
                        passing.dropped = true;
                    }
                }
            }
            JoinKind::Script => {
                // It was executed, so it is not called again; the answer to loading it is nobody's.
                self.again = None;
                for part in 1..self.replies.len() {
                    if self.came[part] == Came::Some {
                        return;
                    }
                    self.drop_front(part, self.replies[part].len());
                }
            }
            _ => return,
        }
        self.passing = Some(passing);
    }

    /// Passes on what has come of the parts, as far as their order allows.
    pub(super) fn pass_on_parts(
        &mut self,
        buffers: &mut BufferPool,
        mut passing: Passing,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        while let Some(part) = self.current(passing).map(usize::from) {
            if self.came[part] == Came::Failure && !passing.dropped {
                return Err(Malformed); // its beginning is gone already
            }
            if !passing.dropped {
                out.extend_from_slice(self.replies[part].as_slice());
            }
            self.drop_front(part, self.replies[part].len());
            buffers.reclaim(&mut self.replies[part]);
            if self.came[part] == Came::Some {
                break;
            }
            passing.elements += 1;
        }
        self.passing = Some(passing);
        Ok(())
    }

    fn drop_front(&mut self, part: usize, count: usize) {
        self.replies[part].consume(count);
        self.held -= count;
    }
}

/// The number of elements of the array that `bytes` begin with, if its first line is whole.
fn array_len(bytes: &[u8]) -> Option<usize> {
    let line = &bytes[..bytes.len() - after_line(bytes)?.len()];
    let digits = line.strip_prefix(b"*")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The server's cursor in the reply to SCAN, and where what follows it begins.
fn page_header(bytes: &[u8]) -> Option<(u64, usize)> {
    let rest = bytes.strip_prefix(b"*2\r\n")?;
    let Ok(Fed::Frame { len, .. }) = Delimiter::new().feed(rest) else { return None };
    let digits = match rest.first()? {
        b'$' => after_line(&rest[..len])?,
        _ => return None,
    };
    let cursor = std::str::from_utf8(digits.strip_suffix(b"\r\n")?).ok()?.parse().ok()?;
    Some((cursor, bytes.len() - rest.len() + len))
}

fn write_page_header(cursor: u64, out: &mut Vec<u8>) {
    encode::array_len(out, 2);
    encode::bulk(out, cursor.to_string().as_bytes());
}
