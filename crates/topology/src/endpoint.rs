//! Where a Redis listens.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where a Redis listens, as text that is resolved by whoever connects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Endpoint {
    /// `host:port`. An IPv6 host is kept without brackets and written with them; both are read.
    Tcp {
        /// A name, or an IPv4 or IPv6 address.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// The path of a unix socket, which begins with `/`.
    Unix {
        /// The path.
        path: String,
    },
}

impl FromStr for Endpoint {
    type Err = Error;

    /// Splits at the last `:`, as Twemproxy does; `[::1]:6379` and `::1:6379` are the same.
    ///
    /// # Errors
    /// [`Error::Endpoint`].
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason| Err(Error::Endpoint { given: text.to_owned(), reason });
        if text.contains(|c: char| c.is_control() || c == ' ') {
            return refuse("it has blanks or control characters");
        }
        if text.starts_with('/') {
            return Ok(Endpoint::Unix { path: text.to_owned() });
        }
        let Some((host, port)) = text.rsplit_once(':') else { return refuse("it has no port") };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['[', ']']) {
            return refuse("it has no host");
        }
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return refuse("its port is not a number");
        }
        match port.parse() {
            Ok(port) if port > 0 => Ok(Endpoint::Tcp { host: host.to_owned(), port }),
            _ => refuse("its port is not in 1 to 65535"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Tcp { host, port } => write!(f, "{host}:{port}"),
            Endpoint::Unix { path } => f.write_str(path),
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn written_as_it_was_read() {
        for text in ["a:1", "127.0.0.1:6379", "[::1]:6379", "redis-3.example:65535", "/run/redis:1.sock"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("::1:6379".parse::<Endpoint>().unwrap().to_string(), "[::1]:6379");
    }

    #[test]
    fn refused() {
        for text in ["", "a", "a:", ":1", "[]:1", "a:0", "a:65536", "a:-1", "a:+1", "a b:1", "a:1\n", "[a:1"]
        {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("\"{text}\" is no endpoint: ")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back(text in ".{0,30}|[a-z:\\[\\]/0-9]{0,12}") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
            }
        }
    }
}
