//! Who may enter a pool, what they may do there, and how much.
//!
//! ```text
//!   AUTH ▸ password ──▶ user ──▶ rules: commands, keys, channels ──▶ limits: connections, requests and bytes a second
//! ```
//!
//! The first user is `default`, as in Redis: who gives no name is that one. A pool without users, passwords and limits is
//! [`Access::open`], and costs a request nothing: see `Session::guarded`.
//!
//! Knows nothing of sessions and sockets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal_telemetry::CacheLine;

pub use bucket::{BURST, DEBT_MAX};
pub use check::Denied;
pub use password::{PASSWORDS_MAX, PasswordHash};
pub use rules::Rules;

use bucket::Bucket;

mod bucket;
mod check;
mod commands;
mod password;
pub mod pattern;
mod rules;

/// Users that a pool may have.
pub const USERS_MAX: usize = 4096;

/// The user whom clients are without giving a name.
pub const DEFAULT_USER: &str = "default";

/// How much is allowed; `None` is no limit. A second's worth may be used at once ([`BURST`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at the same time.
    pub max_connections: Option<u64>,
    /// Requests each second.
    pub requests_per_second: Option<u64>,
    /// Bytes each second: those that came from clients, and those that were sent to them.
    pub bytes_per_second: Option<u64>,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn are_none(&self) -> bool {
        *self == Limits::default()
    }

    fn limit_rates(&self) -> bool {
        self.requests_per_second.is_some() || self.bytes_per_second.is_some()
    }
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the fields of Limits")]
pub enum Limit {
    MaxConnections,
    RequestsPerSecond,
    BytesPerSecond,
}

impl Limit {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Limit::MaxConnections => "max_connections",
            Limit::RequestsPerSecond => "requests_per_second",
            Limit::BytesPerSecond => "bytes_per_second",
        }
    }
}

/// What all workers together have let in of one pool or user. It outlives reloads.
#[derive(Debug, Default)]
pub struct Meter {
    connections: AtomicUsize,
    requests: Bucket,
    bytes: Bucket,
}

impl Meter {
    /// A connection more.
    ///
    /// # Errors
    /// There are as many as `limits` allow; it is not counted.
    pub fn enter(&self, limits: &Limits) -> Result<(), u64> {
        let most = limits.max_connections.unwrap_or(u64::MAX);
        let more = |count: usize| ((count as u64) < most).then_some(count + 1);
        match self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(()),
            Err(_) => Err(most),
        }
    }

    /// A connection that is there already: a limit is new.
    pub fn count(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection less.
    pub fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many connections there are, of all workers.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub limit: Limit,
    /// Its value.
    pub value: u64,
    /// Whether it is the user's, and not the pool's.
    pub of_user: bool,
    /// How long until a request is let in again, if nobody else asks.
    pub wait: std::time::Duration,
}

impl Over {
    /// What is answered: which limit, its value, and what to do.
    pub fn words(&self, pool: &str, user: &str) -> String {
        let whose = match self.of_user {
            true => format!("user {user} of pool {pool}"),
            false => format!("pool {pool}"),
        };
        let (limit, value) = (self.limit.name(), self.value);
        match self.limit {
            Limit::MaxConnections => format!(
                "ERR max number of clients reached: {limit} of {whose} is {value}; close connections that are not used, or \
                 raise it"
            ),
            Limit::RequestsPerSecond | Limit::BytesPerSecond => {
                let wait = self.wait.as_micros().div_ceil(1000);
                format!(
                    "ERR limit reached: {limit} of {whose} is {value}; ask again in {wait} ms, or raise it"
                )
            }
        }
    }
}

/// Somebody who may enter.
#[derive(Clone)]
pub struct User {
    /// The name.
    pub name: Box<str>,
    /// What it may do.
    pub rules: Rules,
    /// How much.
    pub limits: Limits,
    meter: Arc<CacheLine<Meter>>,
    is_restricted: bool,
}

impl User {
    /// A user of these rules and limits.
    pub fn new(name: &str, rules: Rules, limits: Limits) -> User {
        let is_restricted = !rules.are_everything();
        User { name: name.into(), rules, limits, meter: Arc::default(), is_restricted }
    }

    /// Where it is counted.
    pub fn meter(&self) -> &Arc<CacheLine<Meter>> {
        &self.meter
    }

    /// Whether there is anything that it may not do.
    pub fn is_restricted(&self) -> bool {
        self.is_restricted
    }

    /// Whether it may do the same as `other`.
    pub fn may_the_same(&self, other: &User) -> bool {
        let (own, other) = (&self.rules, &other.rules);
        own.commands == other.commands && own.keys == other.keys && own.channels == other.channels
    }
}

/// Shows no password, not even as a hash.
impl fmt::Debug for User {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "User({}, {} passwords)", self.name, self.rules.passwords.len())
    }
}

/// No such user, another password, or the user is off: who asks is not told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongPassword;

/// Who may enter a pool.
#[derive(Clone, Debug)]
pub struct Access {
    /// The default user first.
    users: Vec<User>,
    /// Of the whole pool.
    pub limits: Limits,
    meter: Arc<CacheLine<Meter>>,
}

impl Default for Access {
    fn default() -> Access {
        Access::open()
    }
}

impl Access {
    /// Everybody may enter and do everything.
    pub fn open() -> Access {
        Access::of_passwords(&[])
    }

    /// Who knows one of `passwords` may do everything; everybody, if there are none.
    pub fn of_passwords(passwords: &[PasswordHash]) -> Access {
        let mut rules = Rules::everything();
        (rules.nopass, rules.passwords) = (passwords.is_empty(), passwords.to_vec());
        let users = vec![User::new(DEFAULT_USER, rules, Limits::default())];
        Access { users, limits: Limits::default(), meter: Arc::default() }
    }

    /// These users, the default one first; within these limits.
    pub fn of_users(default: User, mut others: Vec<User>, limits: Limits) -> Access {
        others.insert(0, default);
        Access { users: others, limits, meter: Arc::default() }
    }

    /// Goes on counting where `before` has counted.
    pub fn follow(&mut self, before: &Access) {
        self.meter = before.meter.clone();
        for user in &mut self.users {
            if let Some(known) = before.named(user.name.as_bytes()) {
                user.meter = before.users[usize::from(known)].meter.clone();
            }
        }
    }

    /// By the index of each user of `before`, the index of the one who has the name now and is on.
    pub fn heirs(&self, before: &Access) -> Vec<Option<u16>> {
        let on = self.users.iter().zip(0..).filter(|(user, _)| user.rules.on);
        let by_name: BTreeMap<&str, u16> = on.map(|(user, index)| (&*user.name, index)).collect();
        before.users.iter().map(|user| by_name.get(&*user.name).copied()).collect()
    }

    /// The default user lets everybody in.
    pub fn is_open(&self) -> bool {
        self.users[0].rules.nopass && self.users[0].rules.on
    }

    /// Whether users or limits have to be looked at, besides the password.
    pub fn is_guarded(&self) -> bool {
        let free = |user: &User| !user.is_restricted && user.limits.are_none();
        !(self.limits.are_none() && self.users.len() == 1 && free(&self.users[0]))
    }

    /// The user of this index.
    pub fn user(&self, index: u16) -> &User {
        self.users.get(usize::from(index)).unwrap_or(&self.users[0])
    }

    /// All users, the default one first.
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// The index of the user called `name`.
    pub fn named(&self, name: &[u8]) -> Option<u16> {
        let place = self.users.iter().position(|user| user.name.as_bytes() == name)?;
        u16::try_from(place).ok()
    }

    /// The index of the user who enters by this name and password.
    ///
    /// # Errors
    /// Why not; the password is hashed for users that do not exist as well.
    pub fn enter(&self, name: &[u8], password: &[u8]) -> Result<u16, WrongPassword> {
        let given = PasswordHash::of(password);
        let Some(index) = self.named(name) else { return Err(WrongPassword) };
        let rules = &self.user(index).rules;
        let fits = rules.nopass || PasswordHash::is_among(&given, &rules.passwords);
        if fits && rules.on { Ok(index) } else { Err(WrongPassword) }
    }

    /// Where the pool is counted.
    pub fn meter(&self) -> &Arc<CacheLine<Meter>> {
        &self.meter
    }

    /// Whether requests of `user` are to be counted.
    pub fn limits_rates(&self, user: &User) -> bool {
        self.limits.limit_rates() || user.limits.limit_rates()
    }

    /// Charges a request of `user`, and the `bytes` that went to and fro since the last one.
    ///
    /// # Errors
    /// Which limit is reached; then nothing is charged.
    pub fn charge(&self, user: &User, now: crate::time::Time, bytes: u64) -> Result<(), Over> {
        let all = [
            (&user.meter.requests, user.limits.requests_per_second, 1, Limit::RequestsPerSecond, true),
            (&user.meter.bytes, user.limits.bytes_per_second, bytes, Limit::BytesPerSecond, true),
            (&self.meter.requests, self.limits.requests_per_second, 1, Limit::RequestsPerSecond, false),
            (&self.meter.bytes, self.limits.bytes_per_second, bytes, Limit::BytesPerSecond, false),
        ];
        for (nth, &(bucket, rate, amount, limit, of_user)) in all.iter().enumerate() {
            let Some(value) = rate else { continue };
            if let Err(wait) = bucket.take(now, value, amount) {
                for &(bucket, rate, amount, ..) in &all[..nth] {
                    rate.into_iter().for_each(|rate| bucket.give_back(rate, amount));
                }
                return Err(Over { limit, value, of_user, wait });
            }
        }
        Ok(())
    }

    /// Charges bytes that went to and fro, whatever the limits say.
    pub fn charge_bytes(&self, user: &User, now: crate::time::Time, bytes: u64) {
        for (meter, limits) in [(&user.meter, &user.limits), (&self.meter, &self.limits)] {
            if let Some(rate) = limits.bytes_per_second {
                meter.bytes.charge(now, rate, bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests;
