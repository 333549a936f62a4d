//! The slow log of one pool on one worker: the newest requests that took too long, who asked, for which key, and where.
//!
//! No values stand in it, so no secrets beyond the keys themselves: of a request the name of its command and its first key are
//! read, and the key is cut at [`KEY_MAX`].

use std::collections::VecDeque;

use serde::Serialize;
use shoal_resp::command::{self, Command, Keys};
use shoal_resp::request::{Progress, RequestLimits, Span, resume_request};

use crate::settings::SlowLogSettings;
use crate::time::Time;

/// Bytes of a key that are remembered.
pub const KEY_MAX: usize = 128;

/// A slow log's clock: this many microseconds are one turn, in which as many requests are remembered as the log has entries.
/// What is slow beyond that is counted alone, so that a server that makes everything slow does not make the proxy so too.
const TURN: u64 = 1_000_000;

/// One slow request. Durations are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlowRequest {
    /// When it ended, in microseconds since the Unix epoch.
    pub at_unix_us: u64,
    /// From its queueing to its whole reply, or to its failure.
    pub duration_us: u64,
    /// Of that, until the batch that it went in was with the kernel; `None` if it was never sent whole.
    pub queued_us: Option<u64>,
    /// The rest of it: network and server, and the replies before it on the connection.
    pub server_us: Option<u64>,
    /// The pool.
    pub pool: String,
    /// The shard.
    pub shard: String,
    /// The shard's primary.
    pub endpoint: String,
    /// Who asked; `None` if the session has ended since.
    pub client: Option<Client>,
    /// The command, by the table's name; `None` if its bytes were not kept.
    pub command: Option<&'static str>,
    /// The family of the command.
    pub group: &'static str,
    /// Its first key: printable ASCII as it is, other bytes as `\xNN`, cut at [`KEY_MAX`] bytes; `None` without a key, or if its
    /// bytes were not kept.
    pub key: Option<String>,
    /// How long the whole key is; 0 without one.
    pub key_bytes: usize,
    /// Length of the request, or of the part of it that this shard got.
    pub request_bytes: u64,
    /// Length of the reply so far.
    pub reply_bytes: u64,
    /// `ok` if a reply came, an error among them; otherwise the kind of failure.
    pub outcome: &'static str,
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Client {
    /// The session's id.
    pub id: u64,
    /// Its address.
    pub peer: String,
    /// What `CLIENT SETNAME` set, escaped as keys are.
    pub name: String,
}

/// The newest slow requests of one pool on one worker.
#[derive(Debug, Default)]
pub struct SlowLog {
    entries: VecDeque<SlowRequest>,
    turn: u64,
    taken: usize,
}

impl SlowLog {
    /// Whether a slow request at `now` is remembered, or only counted since there were too many in this turn.
    pub fn admits(&mut self, settings: SlowLogSettings, now: Time) -> bool {
        let turn = now.as_micros() / TURN;
        if turn != self.turn {
            (self.turn, self.taken) = (turn, 0);
        }
        let admitted = self.taken < settings.entries;
        self.taken += usize::from(admitted);
        admitted
    }

    /// Remembers `request`, and forgets the oldest beyond `settings.entries`.
    pub fn push(&mut self, settings: SlowLogSettings, request: SlowRequest) {
        self.entries.push_back(request);
        while self.entries.len() > settings.entries {
            self.entries.pop_front();
        }
    }

    /// What is remembered, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &SlowRequest> {
        self.entries.iter()
    }

    /// Forgets everything; how many there were.
    pub fn reset(&mut self) -> usize {
        let count = self.entries.len();
        self.entries = VecDeque::new();
        count
    }
}

/// What can be told of a request by its bytes, which may be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The command.
    pub command: &'static str,
    /// Its first key, escaped and cut.
    pub key: Option<String>,
    /// Length of that key.
    pub key_bytes: usize,
}

/// Names a forwarded request by its bytes; `None` if too few of them are there.
pub fn name(bytes: &[u8]) -> Option<Named> {
    let mut args = Vec::new();
    // Whatever was forwarded is within the limits; of bytes that are cut, the words before the cut are found.
    resume_request(bytes, &RequestLimits::default(), &mut Progress::default(), &mut args).ok()?;
    let word = |index: usize| args.get(index).map(|span| span.of(bytes));
    let mut found = command::lookup(word(0)?)?;
    if found.is_container()
        && let Some(sub) = word(1).and_then(|sub| command::lookup_sub(found, sub))
    {
        found = sub;
    }
    let key = first_key(found, bytes, &args).and_then(word);
    Some(Named { command: found.name, key: key.map(shown), key_bytes: key.map_or(0, <[u8]>::len) })
}

/// Which word is the first key.
fn first_key(command: &Command, bytes: &[u8], args: &[Span]) -> Option<usize> {
    let mut keys = Vec::new();
    match command.keys(bytes, args, &mut keys) {
        Ok(()) => keys.first().copied(),
        // Words that a rule counts from the end may be cut off.
        Err(_) => match command.keys {
            Keys::Range { first, .. } => Some(first.into()),
            _ => None,
        },
    }
}

/// The bytes as text: printable ASCII as it is, the others as `\xNN`, and no more than [`KEY_MAX`] bytes of them.
pub fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(KEY_MAX)];
    let mut text = String::with_capacity(cut.len());
    for &byte in cut {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(byte)),
            other => text.push_str(&format!("\\x{other:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shoal_resp::encode;
    use std::time::Duration;

    proptest! {
        #[test]
        fn any_bytes_are_named_or_not_and_a_key_is_never_made_up(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            key in prop::collection::vec(any::<u8>(), 0..300),
            cut: usize,
        ) {
            let _ = name(&bytes);
            let whole = request(&[b"SET", &key, &bytes]);
            let cut = cut % (whole.len() + 1);
            let named = name(&whole[..cut]);
            // From the key's last byte on with its CRLF it is told, and before that it is not.
            let told_from = whole.len() - bytes.len() - 2 - format!("${}\r\n", bytes.len()).len();
            let expected = (cut >= told_from).then(|| shown(&key));
            prop_assert_eq!(named.and_then(|named| named.key), expected);
            bytes.splice(0..0, whole[..cut].iter().copied());
            let _ = name(&bytes);
        }
    }

    fn request(words: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::command(&mut out, words);
        out
    }

    fn named(words: &[&[u8]]) -> (&'static str, Option<String>) {
        let named = name(&request(words)).unwrap();
        (named.command, named.key)
    }

    #[test]
    fn a_request_is_named_by_command_and_first_key_and_no_value() {
        assert_eq!(named(&[b"get", b"user:1"]), ("GET", Some("user:1".into())));
        assert_eq!(named(&[b"set", b"a\r\n\xff\\", b"secret"]), ("SET", Some("a\\x0d\\x0a\\xff\\\\".into())));
        assert_eq!(named(&[b"eval", b"return 1", b"1", b"k", b"v"]), ("EVAL", Some("k".into())));
        assert_eq!(named(&[b"object", b"encoding", b"k"]), ("OBJECT|ENCODING", Some("k".into())));
        assert_eq!(named(&[b"mset", b"k1", b"v", b"k2", b"v"]), ("MSET", Some("k1".into())));
        assert_eq!(named(&[b"time"]), ("TIME", None));
    }

    #[test]
    fn of_a_cut_request_what_is_whole_is_told() {
        let bytes = request(&[b"SET", b"large", &[b'v'; 4000]]);
        assert_eq!(name(&bytes[..200]).unwrap().key.as_deref(), Some("large"));
        let bytes = request(&[b"MSET", b"first", b"v", b"second", &[b'v'; 4000]]);
        assert_eq!(name(&bytes[..200]).unwrap().key.as_deref(), Some("first"));
        assert_eq!(name(&bytes[..3]), None);
        assert_eq!(name(b""), None);
        assert_eq!(name(b"$5\r\nhello\r\n"), None);
    }

    #[test]
    fn a_long_key_is_cut_and_its_length_told() {
        let named = name(&request(&[b"GET", &[b'k'; 5000]])).unwrap();
        assert_eq!((named.key.unwrap().len(), named.key_bytes), (KEY_MAX, 5000));
    }

    #[test]
    fn the_newest_are_remembered_and_a_flood_is_counted_alone() {
        let settings = SlowLogSettings { slower_than: Duration::ZERO, entries: 3 };
        let mut log = SlowLog::default();
        let mut admitted = 0;
        for nth in 0..10 {
            if log.admits(settings, Time::from_micros(TURN + nth)) {
                log.push(settings, slow(nth));
                admitted += 1;
            }
        }
        assert_eq!(admitted, 3);
        for nth in 10..12 {
            assert!(log.admits(settings, Time::from_micros(TURN * nth)));
            log.push(settings, slow(nth));
        }
        let ends: Vec<u64> = log.entries().map(|entry| entry.at_unix_us).collect();
        assert_eq!(ends, [2, 10, 11]);
        assert_eq!((log.reset(), log.entries().count()), (3, 0));
    }

    fn slow(nth: u64) -> SlowRequest {
        SlowRequest {
            at_unix_us: nth,
            duration_us: 1,
            queued_us: None,
            server_us: None,
            pool: String::new(),
            shard: String::new(),
            endpoint: String::new(),
            client: None,
            command: None,
            group: "string",
            key: None,
            key_bytes: 0,
            request_bytes: 0,
            reply_bytes: 0,
            outcome: "ok",
        }
    }
}
