//! What was seen of a server that wants to return, and what follows from it: the rule, without sockets and clocks.

use std::time::Duration;

use super::reply::Reply;

/// The key that tells when a server was last emptied, in which life of its process, and by whom.
pub const MARKER: &str = "shoal:emptied";

/// What the names of our connections begin with.
pub const NAME_PREFIX: &str = "shoal:";

/// What the connections of a proxy to the servers of `pool` call themselves, where `identity` tells the proxy from others.
pub fn client_name(pool: &str, identity: u64) -> String {
    let graphic = |letter: char| if letter.is_ascii_graphic() { letter } else { '_' };
    format!("{NAME_PREFIX}{}:{identity:016x}", pool.chars().map(graphic).collect::<String>())
}

/// How far a marker may lie in the future, by a server's own clock, before it is not believed.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// Redis counts ages and uptimes in whole seconds.
const GRAIN: Duration = Duration::from_secs(1);

/// A server that answers, is a primary, and has loaded its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its clock, in microseconds since the Unix epoch.
    pub clock: u64,
    /// Names this life of its process.
    pub run_id: String,
    /// How long it has run, in whole seconds.
    pub uptime: Duration,
    /// Whether it loaded nothing when it started; false too if it does not tell.
    pub loaded_nothing: bool,
    /// Keys in our database.
    pub keys: i64,
    /// The marker's value.
    pub marker: Option<String>,
    /// Connections to our database that proxies of ours opened.
    pub connections: Vec<Connection>,
}

/// A connection of a proxy, as the server lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The server's number for it.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// How long it has been open, in whole seconds.
    pub age: Duration,
    /// How long nothing came on it, in whole seconds.
    pub idle: Duration,
}

/// Why a server need not be emptied, or that it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds no keys.
    HoldsNothing,
    /// It started after we lost it, and loaded nothing: all it holds was written since.
    StartedEmpty,
    /// Another proxy emptied it after we lost it.
    EmptiedSince,
    /// Another proxy never lost it: what it holds is in use.
    InUse,
    /// It may hold what was overwritten elsewhere, or what an old file brought back.
    MustBeEmptied,
    /// Nobody asks what it holds: a person let it in, or the pool empties nothing.
    LetIn,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Verdict::HoldsNothing => "it held nothing",
            Verdict::StartedEmpty => "not emptied, since it started empty after it was lost",
            Verdict::EmptiedSince => "not emptied, since another proxy has emptied it",
            Verdict::InUse => "not emptied, since another proxy kept using it",
            Verdict::MustBeEmptied => "emptied",
            Verdict::LetIn => "with what it holds",
        })
    }
}

impl Seen {
    /// Commands whose replies [`Seen::read`] takes. The first shows whether connections can have names at all; the second
    /// makes an EXEC fail if another proxy empties meanwhile.
    pub const COMMANDS: &'static [&'static [&'static str]] = &[
        &["CLIENT", "SETNAME", "shoal-return"],
        &["WATCH", MARKER],
        &["INFO"],
        &["TIME"],
        &["DBSIZE"],
        &["GET", MARKER],
        &["CLIENT", "LIST"],
    ];

    /// Reads the replies to [`Seen::COMMANDS`].
    ///
    /// # Errors
    /// A sentence: the server is not fit, or does not tell what must be known.
    pub fn read(replies: &[Reply], database: u32) -> Result<Seen, String> {
        if let Some(Reply::Error(words)) = replies.iter().find(|reply| matches!(reply, Reply::Error(_))) {
            return Err(words.clone());
        }
        let [_, _, Reply::Text(info), time, Reply::Integer(keys), marker, Reply::Text(clients)] = replies
        else {
            return Err("its answers to INFO, TIME, DBSIZE, GET or CLIENT LIST are none".to_owned());
        };
        judge_fitness(info)?;
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = |name: &str| field(name)?.parse::<u64>().ok();
        let uptime = number("uptime_in_seconds").ok_or("its INFO tells no uptime_in_seconds")?;
        let run_id = field("run_id").ok_or("its INFO tells no run_id")?;
        // From 7.0; an append-only file brings more back than is counted.
        let loaded_nothing =
            number("rdb_last_load_keys_loaded") == Some(0) && number("aof_enabled") == Some(0);
        Ok(Seen {
            clock: clock(time).ok_or("its answer to TIME is none")?,
            run_id: run_id.to_owned(),
            uptime: Duration::from_secs(uptime),
            loaded_nothing,
            keys: *keys,
            marker: marker.text().map(str::to_owned),
            connections: clients.lines().filter_map(|line| Connection::read(line, database)).collect(),
        })
    }

    /// What is to be done, where this process lost the server `lost_for` ago, at least, and calls its own connections `own`.
    pub fn verdict(&self, lost_for: Duration, own: &str) -> Verdict {
        let started_since = self.uptime + GRAIN < lost_for;
        let may_have_started_since = self.uptime < lost_for + GRAIN;
        let kept_open =
            |connection: &&Connection| connection.name != own && connection.age + GRAIN > lost_for;
        if self.keys == 0 {
            Verdict::HoldsNothing
        } else if started_since && self.loaded_nothing {
            Verdict::StartedEmpty
        } else if self.was_emptied_since(lost_for) {
            Verdict::EmptiedSince
        } else if (self.loaded_nothing || !may_have_started_since)
            && self.connections.iter().find(kept_open).is_some()
        {
            Verdict::InUse
        } else {
            Verdict::MustBeEmptied
        }
    }

    /// Connections that must end before anything is unlinked: ours from before, on which requests may still lie unread; and
    /// where the server is emptied, those of others on which nothing came since we lost it.
    pub fn left_behind(&self, lost_for: Duration, own: &str, emptied: bool) -> Vec<u64> {
        let left = |connection: &&Connection| {
            connection.name == own || emptied && connection.idle + GRAIN > lost_for
        };
        self.connections.iter().filter(left).map(|connection| connection.id).collect()
    }

    /// The value that marks the server as emptied now by the proxy `own`.
    pub fn mark(&self, own: &str) -> String {
        format!("{} {} {own}", self.clock, self.run_id)
    }

    fn was_emptied_since(&self, lost_for: Duration) -> bool {
        let Some(marker) = &self.marker else { return false };
        let mut words = marker.split(' ');
        let (Some(at), Some(run_id)) = (words.next().and_then(|at| at.parse::<u64>().ok()), words.next())
        else {
            return false;
        };
        // A marker of another life was loaded with the rest.
        let lost_at = self.clock.saturating_sub(lost_for.as_micros() as u64);
        let believable = at <= self.clock + CLOCK_SLACK.as_micros() as u64;
        run_id == self.run_id && at > lost_at && believable
    }
}

/// Whether INFO is that of a primary that has loaded its data; why not.
///
/// # Errors
/// A sentence.
pub fn judge_fitness(info: &str) -> Result<(), String> {
    let says = |line: &str| info.lines().any(|said| said == line);
    if !says("loading:0") {
        Err("it is loading its data".to_owned())
    } else if !says("role:master") {
        Err("it is a replica".to_owned())
    } else {
        Ok(())
    }
}

/// Reads the reply to TIME: microseconds since the Unix epoch.
pub fn clock(time: &Reply) -> Option<u64> {
    let Reply::List(words) = time else { return None };
    let [seconds, micros] = &words[..] else { return None };
    let number = |reply: &Reply| reply.text()?.parse::<u64>().ok();
    number(seconds)?.checked_mul(1_000_000)?.checked_add(number(micros)?)
}

impl Connection {
    /// Reads a line of CLIENT LIST; `None` if it is no connection of ours to `database`.
    fn read(line: &str, database: u32) -> Option<Connection> {
        let field =
            |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        let number = |name: &str| field(name)?.parse::<u64>().ok();
        let name = field("name")?;
        if !name.starts_with(NAME_PREFIX) || number("db") != Some(u64::from(database)) {
            return None;
        }
        let (age, idle) = (Duration::from_secs(number("age")?), Duration::from_secs(number("idle")?));
        Some(Connection { id: number("id")?, name: name.to_owned(), age, idle })
    }
}

#[cfg(test)]
mod tests;
