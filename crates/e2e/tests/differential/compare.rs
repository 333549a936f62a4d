//! Whether two replies say the same.

use shoal_e2e::escape;
use shoal_resp::frame::{Frame, parse_frame};

/// How the proxy's reply is compared with one Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Byte for byte, but for the order within RESP3's sets and maps.
    Exact,
    /// The elements of arrays in any order.
    Sorted,
    /// Pairs of elements in any order, as RESP2 has maps.
    Pairs,
    /// Integers may differ by what passes between two clocks.
    Near,
    /// Integers are not looked at: they are clocks and sizes.
    Loose,
    /// The kind alone: errors stay errors. For what tells of one process.
    Kind,
    /// What is claimed to be there is.
    Claims,
    /// The same, or that the script is not there: it was shown to one shard alone.
    ScriptMayLack,
}

/// What lies between two clocks at most, in milliseconds, seconds or bytes: far less than between two times that are drawn.
const NEAR: i64 = 200_000;

impl How {
    /// Whether `ours` says what `theirs` does.
    pub fn agrees(self, ours: &[u8], theirs: &[u8]) -> bool {
        if ours == theirs {
            return true;
        }
        // The two nulls of RESP2 are one in a tree.
        let is_null = |bytes: &[u8]| matches!(bytes, b"$-1\r\n" | b"*-1\r\n");
        if self == How::ScriptMayLack && ours.starts_with(b"-NOSCRIPT") {
            return true;
        }
        match (frame(ours), frame(theirs)) {
            _ if is_null(ours) && is_null(theirs) => false,
            (Some(ours), Some(theirs)) => self.matches(&ours, &theirs),
            _ => false,
        }
    }

    fn matches(self, ours: &Frame<'_>, theirs: &Frame<'_>) -> bool {
        match (ours, theirs) {
            (Frame::Integer(own), Frame::Integer(plain)) => match self {
                How::Near => own == plain || own.min(plain) > &0 && own.abs_diff(*plain) <= NEAR as u64,
                How::Loose | How::Kind => true,
                How::Claims => own <= plain,
                _ => own == plain,
            },
            (Frame::Array(_) | Frame::Map(_) | Frame::Set(_), _) if self == How::Kind => {
                std::mem::discriminant(ours) == std::mem::discriminant(theirs)
            }
            (Frame::Bulk(_) | Frame::Simple(_) | Frame::Verbatim { .. }, _) if self == How::Kind => {
                std::mem::discriminant(ours) == std::mem::discriminant(theirs)
            }
            (Frame::Array(own), Frame::Array(plain)) | (Frame::Push(own), Frame::Push(plain)) => match self {
                How::Sorted => self.match_all(&in_order(own, 1), &in_order(plain, 1)),
                How::Pairs => self.match_all(&in_order(own, 2), &in_order(plain, 2)),
                _ => self.match_all(own, plain),
            },
            (Frame::Set(own), Frame::Set(plain)) => self.match_all(&in_order(own, 1), &in_order(plain, 1)),
            (Frame::Map(own), Frame::Map(plain)) => {
                own.len() == plain.len()
                    && own.iter().all(|(key, value)| {
                        plain.iter().any(|(other, theirs)| key == other && self.matches(value, theirs))
                    })
            }
            _ => ours == theirs,
        }
    }

    fn match_all(self, own: &[Frame<'_>], plain: &[Frame<'_>]) -> bool {
        own.len() == plain.len() && own.iter().zip(plain).all(|(own, plain)| self.matches(own, plain))
    }
}

/// The elements of a reply to a transaction, as bytes; `None` if it is not an array.
pub fn elements(reply: &[u8]) -> Option<Vec<Vec<u8>>> {
    let elements = shoal_resp::elements::elements(reply).ok()?;
    (!elements.is_null()).then(|| elements.filter_map(Result::ok).map(<[u8]>::to_vec).collect())
}

/// The texts in a reply, at whatever depth.
pub fn texts(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    if let Some(frame) = frame(reply) {
        gather(&frame, &mut found);
    }
    found
}

fn gather(frame: &Frame<'_>, found: &mut Vec<Vec<u8>>) {
    if let Some(text) = frame.as_text() {
        found.push(text.to_vec());
    }
    for element in frame.as_elements().unwrap_or_default() {
        gather(element, found);
    }
    if let Frame::Map(pairs) = frame {
        for (key, value) in pairs {
            gather(key, found);
            gather(value, found);
        }
    }
}

fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    parse_frame(bytes).ok().flatten().map(|(frame, _)| frame)
}

/// The elements, runs of `together` of them sorted by what they say.
fn in_order<'f>(elements: &[Frame<'f>], together: usize) -> Vec<Frame<'f>> {
    let mut runs: Vec<&[Frame<'f>]> = elements.chunks(together).collect();
    runs.sort_by_cached_key(|run| format!("{run:?}"));
    runs.concat()
}

/// A reply as messages show it.
pub fn show(reply: &[u8]) -> String {
    let mut text = escape::show(reply);
    if text.len() > 600 {
        let end = (0..=600).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}
