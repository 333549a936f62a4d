//! One client that keeps copies of what it reads (CLIENT TRACKING): what it asked for, on which upstreams it reads, and the
//! invalidations that wait for their turn among its replies.
//!
//! Knows nothing of upstreams but their keys.

use std::collections::VecDeque;

use shoal_resp::elements::elements;
use shoal_resp::encode;

use crate::arena::Key;
use crate::session::Protocol;
use crate::time::Time;

/// Prefixes that one client may be told of (BCAST).
pub const PREFIXES_MAX: usize = 1024;

/// Bytes of these prefixes together.
pub const PREFIX_BYTES_MAX: usize = 64 * 1024;

/// What says that no copy is good any more: Redis's own word after FLUSHALL.
pub const INVALIDATE_ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";

const NO_REDIRECT: &str = "ERR CLIENT TRACKING with REDIRECT is not supported: behind the proxy an id names no connection of a \
                           server's. Ask for RESP3 by HELLO 3, and invalidations come on this connection";

const NOT_TRACKING: &str = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";

/// Which commands' keys are tracked, where not those of all that read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Those behind CLIENT CACHING YES.
    OptIn,
    /// All but those behind CLIENT CACHING NO.
    OptOut,
}

/// What CLIENT TRACKING is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Order {
    /// Track, in this way.
    On(Options),
    /// Track no more.
    Off,
}

/// How a client wants to be tracked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether it hears of every write to a key of its prefixes, and not of keys that it has read.
    pub broadcasts: bool,
    /// The prefixes, sorted. Without any it hears of all keys, which the empty one says.
    pub prefixes: Vec<Vec<u8>>,
    /// Which commands are meant.
    pub choice: Option<Choice>,
    /// Whether it wants not to hear of its own writes.
    pub no_loop: bool,
}

impl Order {
    /// Reads the words behind CLIENT TRACKING.
    ///
    /// # Errors
    /// What the client is answered: Redis's words, but where the proxy cannot do what Redis can.
    pub fn read(words: &[&[u8]]) -> Result<Order, String> {
        let syntax = || Err("ERR syntax error".to_owned());
        let Some((verb, mut rest)) = words.split_first() else { return syntax() };
        let mut options = Options::default();
        let mut choices = Vec::new();
        while let Some((option, further)) = rest.split_first() {
            rest = further;
            let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
            if is("REDIRECT") && !rest.is_empty() {
                return Err(NO_REDIRECT.to_owned());
            } else if is("BCAST") {
                options.broadcasts = true;
            } else if is("OPTIN") {
                choices.push(Choice::OptIn);
            } else if is("OPTOUT") {
                choices.push(Choice::OptOut);
            } else if is("NOLOOP") {
                options.no_loop = true;
            } else if is("PREFIX")
                && let Some((prefix, further)) = rest.split_first()
            {
                options.prefixes.push(prefix.to_vec());
                rest = further;
            } else {
                return syntax();
            }
        }
        if verb.eq_ignore_ascii_case(b"OFF") {
            return Ok(Order::Off);
        }
        if !verb.eq_ignore_ascii_case(b"ON") {
            return syntax();
        }
        options.choice = choices.first().copied();
        let error = if !options.broadcasts && !options.prefixes.is_empty() {
            "ERR PREFIX option requires BCAST mode to be enabled"
        } else if options.broadcasts && options.choice.is_some() {
            "ERR OPTIN and OPTOUT are not compatible with BCAST"
        } else if choices.iter().any(|choice| Some(*choice) != options.choice) {
            "ERR You can't specify both OPTIN mode and OPTOUT mode"
        } else {
            return Ok(Order::On(options));
        };
        Err(error.to_owned())
    }
}

impl Options {
    /// These, asked for by a client that is tracked by `before` already, if it is.
    ///
    /// # Errors
    /// What the client is answered: Redis's words, but for the bounds.
    pub fn after(mut self, before: Option<&Options>) -> Result<Options, String> {
        if let Some(before) = before {
            let mode = match () {
                () if before.broadcasts != self.broadcasts => "BCAST mode on/off",
                () if before.choice.is_some() && self.choice.is_some() && before.choice != self.choice => {
                    "OPTIN/OPTOUT mode"
                }
                () => "",
            };
            if !mode.is_empty() {
                return Err(format!(
                    "ERR You can't switch {mode} before disabling tracking for this client, and then re-enabling it with a \
                     different mode."
                ));
            }
        }
        let known = before.map(|before| &before.prefixes[..]).unwrap_or_default();
        let only_one = "Prefixes for a single client must not overlap.";
        for (nth, prefix) in self.prefixes.iter().enumerate() {
            if let Some(other) = known.iter().find(|other| overlap(prefix, other)) {
                let (prefix, other) = (String::from_utf8_lossy(prefix), String::from_utf8_lossy(other));
                return Err(format!(
                    "ERR Prefix '{prefix}' overlaps with an existing prefix '{other}'. {only_one}"
                ));
            }
            if let Some(other) = self.prefixes[nth + 1..].iter().find(|other| overlap(prefix, other)) {
                let (prefix, other) = (String::from_utf8_lossy(prefix), String::from_utf8_lossy(other));
                return Err(format!(
                    "ERR Prefix '{prefix}' overlaps with another provided prefix '{other}'. {only_one}"
                ));
            }
        }
        if self.broadcasts && self.prefixes.is_empty() {
            self.prefixes.push(Vec::new());
        }
        self.prefixes.extend_from_slice(known);
        self.prefixes.sort();
        self.prefixes.dedup();
        let bytes: usize = self.prefixes.iter().map(Vec::len).sum();
        if self.prefixes.len() > PREFIXES_MAX || bytes > PREFIX_BYTES_MAX {
            return Err(format!(
                "ERR a client can have {PREFIXES_MAX} prefixes through the proxy, with {PREFIX_BYTES_MAX} bytes together"
            ));
        }
        Ok(self)
    }

    /// Appends the command that tells a server of them, which knew of the prefixes `known` before.
    pub fn command(&self, known: &[Vec<u8>], out: &mut Vec<u8>) {
        let mut words: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON"];
        if self.broadcasts {
            words.push(b"BCAST");
        }
        for prefix in self.prefixes.iter().filter(|prefix| !known.contains(prefix)) {
            words.extend([&b"PREFIX"[..], prefix]);
        }
        match self.choice {
            Some(Choice::OptIn) => words.push(b"OPTIN"),
            Some(Choice::OptOut) => words.push(b"OPTOUT"),
            None => {}
        }
        if self.no_loop {
            words.push(b"NOLOOP");
        }
        encode::command(out, &words);
    }
}

fn overlap(one: &[u8], other: &[u8]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// An upstream of the client's own.
#[derive(Debug)]
pub struct Home {
    /// Its shard.
    pub shard: usize,
    /// The upstream.
    pub upstream: Key,
}

/// A client that is tracked.
#[derive(Debug)]
pub struct Tracking {
    /// In what way.
    pub options: Options,
    /// CLIENT CACHING was said, of the command that comes next.
    pub caching: bool,
    /// Its upstreams, one for each shard that it has asked.
    pub homes: Vec<Home>,
    /// Since when more is unsent than may be for long.
    pub slow_since: Time,
    /// Invalidations, and before which request's reply each must not be given.
    waiting: VecDeque<(u32, Vec<u8>)>,
    waiting_bytes: usize,
}

impl Tracking {
    /// A client that has read nothing yet.
    pub fn new(options: Options) -> Tracking {
        Tracking {
            options,
            caching: false,
            homes: Vec::new(),
            slow_since: Time::NEVER,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// Its upstream to `shard`.
    pub fn home(&self, shard: usize) -> Option<Key> {
        self.homes.iter().find(|home| home.shard == shard).map(|home| home.upstream)
    }

    /// What a server is told before the next command, if anything.
    pub fn caching_command(&self) -> &'static [u8] {
        match self.options.choice {
            Some(Choice::OptIn) if self.caching => b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n",
            Some(Choice::OptOut) if self.caching => b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$2\r\nNO\r\n",
            _ => b"",
        }
    }

    /// Has `frame` wait until all requests before `sequence` are answered. The numbers never become less.
    pub fn wait(&mut self, sequence: u32, frame: &[u8]) {
        self.waiting_bytes += frame.len() + size_of::<(u32, Vec<u8>)>();
        self.waiting.push_back((sequence, frame.to_vec()));
    }

    /// The next invalidation, if the session is as far; `first` is its oldest request that is not answered.
    pub fn next(&mut self, first: u32) -> Option<Vec<u8>> {
        let (sequence, _) = self.waiting.front()?;
        if (first.wrapping_sub(*sequence) as i32) < 0 {
            return None;
        }
        let (_, frame) = self.waiting.pop_front()?;
        self.waiting_bytes -= frame.len() + size_of::<(u32, Vec<u8>)>();
        Some(frame)
    }

    /// Bytes of memory for invalidations that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }
}

/// Whether `frame`, a whole push, is an invalidation.
pub fn is_invalidation(frame: &[u8]) -> bool {
    let first = elements(frame).ok().and_then(|mut elements| elements.next()).and_then(Result::ok);
    first == Some(b"$10\r\ninvalidate\r\n")
}

/// CLIENT CACHING.
pub fn caching(out: &mut Vec<u8>, tracking: Option<&mut Tracking>, word: &[u8]) {
    let Some(tracking) = tracking else { return encode::error(out, NOT_TRACKING) };
    let wrong = |word: &str, mode: &str| {
        format!("ERR CLIENT CACHING {word} is only valid when tracking is enabled in {mode} mode.")
    };
    if word.eq_ignore_ascii_case(b"YES") {
        if tracking.options.choice != Some(Choice::OptIn) {
            return encode::error(out, &wrong("YES", "OPTIN"));
        }
    } else if word.eq_ignore_ascii_case(b"NO") {
        if tracking.options.choice != Some(Choice::OptOut) {
            return encode::error(out, &wrong("NO", "OPTOUT"));
        }
    } else {
        return encode::error(out, "ERR syntax error");
    }
    tracking.caching = true;
    encode::simple(out, "OK");
}

/// CLIENT TRACKINGINFO.
pub fn info(out: &mut Vec<u8>, tracking: Option<&Tracking>, protocol: Protocol) {
    let mut flags: Vec<&[u8]> = vec![if tracking.is_some() { b"on" } else { b"off" }];
    if let Some(tracking) = tracking {
        let options = &tracking.options;
        let (choice, caching): (Option<&[u8]>, &[u8]) = match options.choice {
            Some(Choice::OptIn) => (Some(b"optin"), b"caching-yes"),
            Some(Choice::OptOut) => (Some(b"optout"), b"caching-no"),
            None => (None, b""),
        };
        flags.extend(options.broadcasts.then_some(&b"bcast"[..]));
        flags.extend(choice);
        flags.extend(tracking.caching.then_some(caching));
        flags.extend(options.no_loop.then_some(&b"noloop"[..]));
    }
    match protocol {
        Protocol::Resp2 => encode::array_len(out, 6),
        Protocol::Resp3 => encode::map_len(out, 3),
    }
    encode::bulk(out, b"flags");
    match protocol {
        Protocol::Resp2 => encode::array_len(out, flags.len()),
        Protocol::Resp3 => out.extend_from_slice(format!("~{}\r\n", flags.len()).as_bytes()),
    }
    flags.iter().for_each(|flag| encode::bulk(out, flag));
    encode::bulk(out, b"redirect");
    encode::integer(out, if tracking.is_some() { 0 } else { -1 });
    encode::bulk(out, b"prefixes");
    let prefixes = tracking.map(|tracking| &tracking.options.prefixes[..]).unwrap_or_default();
    encode::array_len(out, prefixes.len());
    prefixes.iter().for_each(|prefix| encode::bulk(out, prefix));
}

#[cfg(test)]
mod tests;
