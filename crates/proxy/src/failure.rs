//! What a client is told when its request could not be forwarded or was not answered.

use std::time::Duration;

use shoal_resp::encode;

use crate::settings::{Dialect, PoolSettings};

/// Why a server did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The reply did not come within the pool's `timeout`.
    TimedOut,
    /// The connection was refused.
    Refused,
    /// All servers of the pool are ejected.
    AllEjected,
    /// Its name could not be resolved.
    NameUnknown,
    /// It closed the connection.
    Closed,
    /// It reset the connection.
    Reset,
    /// Its reply is not RESP, or answers no request.
    Garbage(String),
    /// It refused our AUTH, HELLO or SELECT, in these words.
    Greeting(String),
    /// It is ejected, and so are the requests that it had not answered.
    Ejected,
    /// It is ejected, and there is no room to remember that a further key of it is written elsewhere.
    Unremembered,
    /// It failed a moment ago, and the next attempt is not due.
    BackingOff,
    /// Its reply had to wait for its turn for so long that others waited too long behind it.
    Stalled,
    /// Another instance is the primary of its shard now, and it is not spoken to any more.
    Switched,
    /// Nobody is known to be the primary of its shard.
    NoPrimary,
    /// This process lacks something that a connection needs, in these words: no fault of the server's.
    Local(String),
    /// TLS came to nothing, in words that follow the server's name.
    Tls(String),
    /// Something else that the system says in these words.
    Other(String),
}

/// The sort of a [`Failure`], without its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of Failure")]
pub enum FailureKind {
    TimedOut,
    Refused,
    AllEjected,
    NameUnknown,
    Closed,
    Reset,
    Garbage,
    Greeting,
    Ejected,
    Unremembered,
    BackingOff,
    Stalled,
    Local,
    Other,
    Switched,
    NoPrimary,
    Tls,
}

impl FailureKind {
    /// All of them, each at the place of its number (`kind as usize`).
    pub const ALL: [FailureKind; 17] = [
        FailureKind::TimedOut,
        FailureKind::Refused,
        FailureKind::AllEjected,
        FailureKind::NameUnknown,
        FailureKind::Closed,
        FailureKind::Reset,
        FailureKind::Garbage,
        FailureKind::Greeting,
        FailureKind::Ejected,
        FailureKind::Unremembered,
        FailureKind::BackingOff,
        FailureKind::Stalled,
        FailureKind::Local,
        FailureKind::Other,
        FailureKind::Switched,
        FailureKind::NoPrimary,
        FailureKind::Tls,
    ];

    /// Its name on the admin port.
    pub const fn name(self) -> &'static str {
        match self {
            FailureKind::TimedOut => "timed_out",
            FailureKind::Refused => "refused",
            FailureKind::AllEjected => "all_ejected",
            FailureKind::NameUnknown => "name_unknown",
            FailureKind::Closed => "closed",
            FailureKind::Reset => "reset",
            FailureKind::Garbage => "not_resp",
            FailureKind::Greeting => "greeting_refused",
            FailureKind::Ejected => "ejected",
            FailureKind::Unremembered => "unremembered",
            FailureKind::BackingOff => "backing_off",
            FailureKind::Stalled => "stalled",
            FailureKind::Local => "proxy_lacks_means",
            FailureKind::Other => "other",
            FailureKind::Switched => "switched",
            FailureKind::NoPrimary => "no_primary",
            FailureKind::Tls => "tls",
        }
    }
}

impl Failure {
    /// Its sort.
    pub fn kind(&self) -> FailureKind {
        match self {
            Failure::TimedOut => FailureKind::TimedOut,
            Failure::Refused => FailureKind::Refused,
            Failure::AllEjected => FailureKind::AllEjected,
            Failure::NameUnknown => FailureKind::NameUnknown,
            Failure::Closed => FailureKind::Closed,
            Failure::Reset => FailureKind::Reset,
            Failure::Garbage(_) => FailureKind::Garbage,
            Failure::Greeting(_) => FailureKind::Greeting,
            Failure::Ejected => FailureKind::Ejected,
            Failure::Unremembered => FailureKind::Unremembered,
            Failure::BackingOff => FailureKind::BackingOff,
            Failure::Stalled => FailureKind::Stalled,
            Failure::Local(_) => FailureKind::Local,
            Failure::Switched => FailureKind::Switched,
            Failure::NoPrimary => FailureKind::NoPrimary,
            Failure::Tls(_) => FailureKind::Tls,
            Failure::Other(_) => FailureKind::Other,
        }
    }

    /// Appends the error as the pool's dialect words it. `shard` is the index of the server, where one is to blame.
    pub fn write(&self, out: &mut Vec<u8>, pool: &PoolSettings, shard: Option<usize>) {
        match pool.dialect {
            Dialect::Nutcracker => encode::error(out, &format!("ERR {}", self.as_nutcracker())),
            Dialect::Shoal => encode::error(out, &self.named(pool, shard)),
        }
    }

    /// The words of `strerror(3)`, which Twemproxy answers.
    fn as_nutcracker(&self) -> &str {
        match self {
            Failure::TimedOut | Failure::Stalled => "Connection timed out",
            Failure::Refused
            | Failure::AllEjected
            | Failure::BackingOff
            | Failure::Ejected
            | Failure::Switched
            | Failure::NoPrimary
            | Failure::Unremembered => "Connection refused",
            Failure::NameUnknown => "Host is down",
            Failure::Closed => "unknown",
            Failure::Reset => "Connection reset by peer",
            Failure::Garbage(_) | Failure::Greeting(_) => "Invalid argument",
            Failure::Local(words) | Failure::Tls(words) | Failure::Other(words) => words,
        }
    }

    fn named(&self, pool: &PoolSettings, shard: Option<usize>) -> String {
        let name = &pool.pool.name;
        let Some(shard) = shard.and_then(|index| pool.pool.shards.get(index)) else {
            return format!("ERR all shards of pool {name} are ejected");
        };
        let shard = &shard.name;
        let what = match self {
            Failure::TimedOut => format!("timed out: no reply within {}", milliseconds(pool.timeout)),
            Failure::Refused => "refused the connection".to_owned(),
            Failure::AllEjected => "is ejected, as all are".to_owned(),
            Failure::NameUnknown => "has a name that cannot be resolved".to_owned(),
            Failure::Closed => "closed the connection before it answered".to_owned(),
            Failure::Reset => "reset the connection before it answered".to_owned(),
            Failure::Garbage(what) => format!("sent what is no reply: {what}"),
            Failure::Greeting(words) => format!("refused the proxy: {words}"),
            Failure::Ejected => "is ejected".to_owned(),
            Failure::Unremembered => {
                "is ejected, and so many of its keys were written elsewhere that no further one can be \
                                      remembered; they can be written when it is back"
                    .to_owned()
            }
            Failure::BackingOff => "is down; it is tried again in a moment".to_owned(),
            Failure::Stalled => format!(
                "has a large reply whose turn in this pipeline did not come within {}, while others waited behind it",
                milliseconds(Some(pool.client_stall_timeout))
            ),
            Failure::Switched => "has another primary now, and the old one had not answered".to_owned(),
            Failure::NoPrimary => {
                "has no primary at the moment: no sentinel names an instance that says that it is the primary"
                    .to_owned()
            }
            Failure::Local(words) => format!("cannot be reached by this proxy: {words}"),
            Failure::Tls(words) => words.clone(),
            Failure::Other(words) => format!("failed: {words}"),
        };
        format!("ERR shard {shard} of pool {name} {what}")
    }
}

/// `error`, which says why a request or transaction (`what`) was not answered, and whether that may have been executed.
pub fn with_fate(error: &[u8], what: &str, may_be_executed: bool) -> Vec<u8> {
    let mut error = error.strip_suffix(b"\r\n").unwrap_or(error).to_vec();
    let fate = match may_be_executed {
        true => format!("; whether the {what} was executed is not known\r\n"),
        false => format!("; the {what} was not executed\r\n"),
    };
    error.extend_from_slice(fate.as_bytes());
    error
}

fn milliseconds(span: Option<Duration>) -> String {
    format!("{} ms", span.unwrap_or_default().as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_at_their_numbers_and_have_names_of_their_own() {
        for (number, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert_eq!(FailureKind::ALL.iter().filter(|other| other.name() == kind.name()).count(), 1);
        }
    }
}
