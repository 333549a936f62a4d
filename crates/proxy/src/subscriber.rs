//! One client's subscriptions: which there are, on which shards, and what it is told of them.
//!
//! A channel lives on the shard that its name hashes to as a key. A pattern is subscribed to on every shard, and a message
//! comes from its channel's alone, so it comes once.
//!
//! Knows nothing of upstreams but their keys.

use std::collections::BTreeMap;

use shoal_resp::elements::elements;
use shoal_resp::encode;

use crate::arena::Key;
use crate::session::Protocol;
use crate::time::Time;

/// Subscriptions that one client may have.
pub const SUBSCRIPTIONS_MAX: usize = 64 * 1024;

/// Bytes of the names of one client's subscriptions.
pub const NAMES_MAX: usize = 4 * 1024 * 1024;

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A channel (SUBSCRIBE).
    Channel,
    /// A pattern of channels' names (PSUBSCRIBE).
    Pattern,
    /// A shard channel (SSUBSCRIBE).
    ShardChannel,
}

impl Kind {
    fn verb(self, adds: bool) -> &'static [u8] {
        match (self, adds) {
            (Kind::Channel, true) => b"subscribe",
            (Kind::Channel, false) => b"unsubscribe",
            (Kind::Pattern, true) => b"psubscribe",
            (Kind::Pattern, false) => b"punsubscribe",
            (Kind::ShardChannel, true) => b"ssubscribe",
            (Kind::ShardChannel, false) => b"sunsubscribe",
        }
    }
}

/// What one command changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What its names name.
    pub kind: Kind,
    /// Whether it subscribes.
    pub adds: bool,
}

/// An upstream of the subscriber's own.
#[derive(Debug)]
pub struct Home {
    /// Its shard.
    pub shard: usize,
    /// The upstream.
    pub upstream: Key,
    /// How many subscriptions there are on it.
    pub names: usize,
}

/// A command whose confirmations have not all come.
#[derive(Debug)]
pub struct Unconfirmed {
    /// Which of the session's requests it is.
    pub sequence: u32,
    /// Whether it subscribes: then messages wait for its confirmations, since they may be of its channels.
    pub adds: bool,
    /// How many confirmations servers owe.
    pub left: usize,
    /// What the client is told when they have come.
    pub reply: Vec<u8>,
}

/// What a server sent to a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A message.
    Message,
    /// That it has done what it was told.
    Confirmation,
    /// That it has not.
    Error,
    /// Something else, which is nobody's.
    Other,
}

impl Sent {
    /// What `frame`, a whole one, is.
    pub fn of(frame: &[u8]) -> Sent {
        if frame.first() == Some(&b'-') {
            return Sent::Error;
        }
        let first = elements(frame).ok().and_then(|mut elements| elements.next()).and_then(Result::ok);
        match first {
            Some(b"$7\r\nmessage\r\n" | b"$8\r\npmessage\r\n" | b"$8\r\nsmessage\r\n") => Sent::Message,
            Some(word) if word.ends_with(b"subscribe\r\n") => Sent::Confirmation,
            _ => Sent::Other,
        }
    }
}

/// A client's subscriptions.
#[derive(Debug)]
pub struct Subscriber {
    /// By kind: each name, and the first of the shards that it lives on. Where keys go by lot nothing else tells.
    names: [BTreeMap<Vec<u8>, u16>; 3],
    bytes: usize,
    /// Its upstreams, one for each shard that it needs.
    pub homes: Vec<Home>,
    /// The command that is under way; there is one at a time.
    pub unconfirmed: Option<Unconfirmed>,
    /// Messages that wait for the end of a reply or of a command.
    pub backlog: Vec<u8>,
    /// Since when more is unsent than may be for long.
    pub slow_since: Time,
}

impl Default for Subscriber {
    fn default() -> Subscriber {
        Subscriber {
            names: Default::default(),
            bytes: 0,
            homes: Vec::new(),
            unconfirmed: None,
            backlog: Vec::new(),
            slow_since: Time::NEVER,
        }
    }
}

impl Subscriber {
    /// How many subscriptions there are.
    pub fn count(&self) -> usize {
        self.names.iter().map(BTreeMap::len).sum()
    }

    /// Whether `names` may be added, counted as if all were new.
    pub fn has_room<'n>(&self, mut names: impl Iterator<Item = &'n [u8]>) -> bool {
        let room = SUBSCRIPTIONS_MAX.saturating_sub(self.count());
        let used = names.try_fold((0, self.bytes), |(count, bytes), name| {
            (count < room && bytes + name.len() <= NAMES_MAX).then(|| (count + 1, bytes + name.len()))
        });
        used.is_some()
    }

    /// The names of `kind` that are subscribed to.
    pub fn names(&self, kind: Kind) -> Vec<Vec<u8>> {
        self.names[kind as usize].keys().cloned().collect()
    }

    /// The shard on which `name` is subscribed to, if it is; of a pattern, which lives on all, the first.
    pub fn shard(&self, kind: Kind, name: &[u8]) -> Option<u16> {
        self.names[kind as usize].get(name).copied()
    }

    /// Notes that `name` is or is not subscribed to on `shard`, and appends what the client is told; whether anything changed.
    pub fn apply(
        &mut self,
        change: Change,
        name: &[u8],
        shard: u16,
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) -> bool {
        let names = &mut self.names[change.kind as usize];
        let changed = match change.adds {
            true if names.contains_key(name) => false,
            true => names.insert(name.to_vec(), shard).is_none(),
            false => names.remove(name).is_some(),
        };
        if changed && change.adds {
            self.bytes += name.len();
        } else if changed {
            self.bytes -= name.len();
        }
        self.confirm(change, Some(name), protocol, out);
        changed
    }

    /// Appends what the client is told about `name`; without a name, that there was none.
    pub fn confirm(&self, change: Change, name: Option<&[u8]>, protocol: Protocol, out: &mut Vec<u8>) {
        match protocol {
            Protocol::Resp2 => encode::array_len(out, 3),
            Protocol::Resp3 => encode::push_len(out, 3),
        }
        encode::bulk(out, change.kind.verb(change.adds));
        match (name, protocol) {
            (Some(name), _) => encode::bulk(out, name),
            (None, Protocol::Resp2) => encode::null_bulk(out),
            (None, Protocol::Resp3) => encode::null(out),
        }
        // Shard channels are counted apart, as Redis does.
        let [channels, patterns, shard_channels] = self.names.each_ref().map(BTreeMap::len);
        let count = if change.kind == Kind::ShardChannel { shard_channels } else { channels + patterns };
        encode::integer(out, count as i64);
    }

    /// The command that tells a server of `names`.
    pub fn command(change: Change, names: &[&[u8]], out: &mut Vec<u8>) {
        encode::array_len(out, 1 + names.len());
        encode::bulk(out, change.kind.verb(change.adds));
        for name in names {
            encode::bulk(out, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_send_is_told_apart() {
        for (frame, sent) in [
            (&b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n"[..], Sent::Message),
            (b">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$1\r\nb\r\n", Sent::Message),
            (b">3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$9\r\nsubscribe\r\n", Sent::Message),
            (b"*3\r\n$9\r\nsubscribe\r\n$7\r\nmessage\r\n:1\r\n", Sent::Confirmation),
            (b"*3\r\n$12\r\nsunsubscribe\r\n$-1\r\n:0\r\n", Sent::Confirmation),
            (b"-NOPERM\r\n", Sent::Error),
            (b">2\r\n$10\r\ninvalidate\r\n_\r\n", Sent::Other),
            (b"+OK\r\n", Sent::Other),
        ] {
            assert_eq!(Sent::of(frame), sent, "{}", String::from_utf8_lossy(frame));
        }
    }

    #[test]
    fn counts_are_those_of_redis() {
        let mut subscriber = Subscriber::default();
        let change = |kind, adds| Change { kind, adds };
        let mut out = Vec::new();
        for (kind, adds, name, changed) in [
            (Kind::Channel, true, &b"a"[..], true),
            (Kind::Channel, true, b"a", false),
            (Kind::Pattern, true, b"a*", true),
            (Kind::ShardChannel, true, b"s", true),
            (Kind::Channel, false, b"none", false),
            (Kind::Channel, false, b"a", true),
        ] {
            let done = subscriber.apply(change(kind, adds), name, 1, Protocol::Resp2, &mut out);
            assert_eq!(done, changed);
        }
        let said = String::from_utf8(out).unwrap();
        let counts: Vec<&str> = said.split("\r\n").filter(|line| line.starts_with(':')).collect();
        assert_eq!(counts, [":1", ":1", ":2", ":1", ":2", ":1"]);
        assert_eq!((subscriber.count(), subscriber.bytes), (2, 3));
        let long = vec![b'x'; NAMES_MAX];
        assert!(!subscriber.has_room([&long[..]].into_iter()));
        assert!(subscriber.has_room([&long[3..]].into_iter()));
    }
}
