//! Why a `nutcracker.yml` is refused.

use std::fmt;

/// One thing that is wrong with the file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line of the file, counted from 1.
    pub line: usize,
    /// The pool, when it is in one.
    pub pool: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong. Each says what to write instead where that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields stand in the messages")]
pub enum Problem {
    /// Bytes that are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Not YAML at all.
    #[error("not YAML: {0}")]
    Yaml(String),
    /// YAML that Twemproxy does not take.
    #[error("{what} cannot be used here (write {instead})")]
    Syntax { what: &'static str, instead: &'static str },
    /// A file without a pool.
    #[error("no pools (write a pool's name, as in \"alpha:\", and its keys below it, indented)")]
    NoPools,
    /// A pool that is called "".
    #[error("a pool's name is empty")]
    NoPoolName,
    /// A control character in a name.
    #[error("control characters cannot be used in names")]
    ControlCharacter,
    /// Two pools of one name.
    #[error("second pool of this name, the first is in line {first}")]
    DuplicatePool { first: usize },
    /// Two pools that listen at the same place.
    #[error("listen: pool {first} listens on {listen} too (give each pool an address of its own)")]
    DuplicateListen { listen: String, first: String },
    /// A pool that speaks memcached.
    #[error("redis: this is a memcached pool, and only Redis is spoken here (write \"redis: true\")")]
    Memcached,
    /// A key that is not Twemproxy's.
    #[error("unknown key \"{key}\"{}", did_you_mean(.suggestion))]
    UnknownKey { key: String, suggestion: Option<&'static str> },
    /// A key for the second time.
    #[error("{key}: second time, the first is in line {first} (remove one)")]
    DuplicateKey { key: &'static str, first: usize },
    /// A pool without a key that it needs.
    #[error("{key} is missing (write {instead})")]
    Missing { key: &'static str, instead: &'static str },
    /// A value of the wrong kind or range.
    #[error("{key}: \"{value}\" {wrong} (write {instead})")]
    Value { key: &'static str, value: String, wrong: &'static str, instead: &'static str },
    /// A hash, distribution or hash tag that is none; the source lists those that are.
    #[error("{key}: {message}{}", did_you_mean(.suggestion))]
    Name { key: &'static str, message: String, suggestion: Option<&'static str> },
    /// A value where a list belongs, or the other way.
    #[error("{key}: {wrong} (write {instead})")]
    Kind { key: &'static str, wrong: &'static str, instead: &'static str },
    /// Two servers of one name.
    #[error(
        "servers: second server called \"{name}\", the first is in line {first} \
         (give them names, as in \"host:port:weight name\")"
    )]
    DuplicateServer { name: String, first: usize },
    /// Weights that Twemproxy would add up wrongly.
    #[error("servers: the weights add up to more than 4294967295 (divide them all by the same number)")]
    WeightSum,
    /// `redis_auth` in a memcached pool.
    #[error("redis_auth: only with \"redis: true\" (add it)")]
    AuthWithoutRedis,
}

fn did_you_mean(name: &Option<&str>) -> String {
    name.map(|name| format!(" (did you mean \"{name}\"?)")).unwrap_or_default()
}

impl Error {
    pub(super) fn new(line: usize, problem: Problem) -> Self {
        Error { line, pool: None, problem }
    }

    pub(super) fn in_pool(self, pool: &str) -> Self {
        Error { pool: Some(pool.to_owned()), ..self }
    }
}

impl fmt::Display for Error {
    /// One line, whatever the file has: control characters come out escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pool = self.pool.as_ref().map(|pool| format!("pool {pool}: ")).unwrap_or_default();
        let text = format!("line {}: {pool}{}", self.line, self.problem);
        text.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(f, "{}", c.escape_default()),
            c => write!(f, "{c}"),
        })
    }
}

impl std::error::Error for Error {}
