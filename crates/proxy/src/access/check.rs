//! Whether a user's rules allow one request. Nothing is allocated where they do.

use std::fmt;

use shoal_resp::command::{Command, Flags, Keys, lookup_sub};
use shoal_resp::request::Span;

use super::User;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The user may not call this.
    Command(&'static str),
    /// Or not on one of its keys, or these cannot be told.
    Key,
    /// Or not on one of its channels.
    Channel,
    /// SORT with BY or GET (the word) reads keys by patterns, and the user may not read all keys.
    SortBy(&'static str),
}

/// The words of Redis 7.0.
impl fmt::Display for Denied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::Command(name) => {
                let name = name.to_ascii_lowercase();
                write!(out, "NOPERM this user has no permissions to run the '{name}' command")
            }
            Denied::Key => out
                .write_str("NOPERM this user has no permissions to access one of the keys used as arguments"),
            Denied::Channel => out.write_str(
                "NOPERM this user has no permissions to access one of the channels used as arguments",
            ),
            Denied::SortBy(word) => {
                write!(out, "ERR {word} option of SORT denied due to insufficient ACL permissions.")
            }
        }
    }
}

impl User {
    /// Why the request `args` in `raw`, which calls `command`, is refused, if it is. `keys` is scratch.
    ///
    /// A subcommand that does not exist is allowed: there is nothing that it does.
    pub fn denies(
        &self,
        command: &'static Command,
        raw: &[u8],
        args: &[Span],
        keys: &mut Vec<usize>,
    ) -> Option<Denied> {
        // What lets a client in or out is always allowed.
        if !self.is_restricted() || command.flags.contains(Flags::NO_AUTH) {
            return None;
        }
        let command = match args.get(1) {
            Some(sub) if command.is_container() => lookup_sub(command, sub.of(raw))?,
            _ => command,
        };
        if !self.rules.commands.contains(command) {
            return Some(Denied::Command(command.name));
        }
        if !self.rules.keys.are_all()
            && let Some(denied) = self.denies_keys(command, raw, args, keys)
        {
            return Some(denied);
        }
        if self.rules.channels.are_all() || self.allows_channels(command, raw, args) {
            None
        } else {
            Some(Denied::Channel)
        }
    }

    fn denies_keys(
        &self,
        command: &Command,
        raw: &[u8],
        args: &[Span],
        keys: &mut Vec<usize>,
    ) -> Option<Denied> {
        if matches!(command.keys, Keys::None | Keys::ShardChannels { .. }) {
            return None;
        }
        keys.clear();
        // Where we cannot tell the keys, a server might.
        if command.keys(raw, args, keys).is_err() {
            return Some(Denied::Key);
        }
        if !keys.iter().all(|&key| self.rules.keys.allow(args[key].of(raw))) {
            return Some(Denied::Key);
        }
        if matches!(command.name, "SORT" | "SORT_RO") {
            return reads_by_pattern(raw, args).map(Denied::SortBy);
        }
        None
    }

    fn allows_channels(&self, command: &Command, raw: &[u8], args: &[Span]) -> bool {
        let channels = &self.rules.channels;
        match command.name {
            "PUBLISH" | "SPUBLISH" => args.get(1).is_none_or(|name| channels.allow(name.of(raw))),
            "SUBSCRIBE" | "SSUBSCRIBE" => args[1..].iter().all(|name| channels.allow(name.of(raw))),
            "PSUBSCRIBE" => args[1..].iter().all(|name| channels.allow_pattern(name.of(raw))),
            _ => true,
        }
    }
}

/// The option of a SORT that reads keys by a pattern.
fn reads_by_pattern(raw: &[u8], args: &[Span]) -> Option<&'static str> {
    let mut at = 2;
    while at + 1 < args.len() {
        let (option, value) = (args[at].of(raw), args[at + 1].of(raw));
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if is("BY") && value.contains(&b'*') {
            return Some("BY");
        }
        if is("GET") {
            return Some("GET");
        }
        at += if is("LIMIT") {
            3
        } else if is("BY") || is("STORE") {
            2
        } else {
            1
        };
    }
    None
}
