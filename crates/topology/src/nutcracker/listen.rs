//! The key `listen`: where clients come in.

use super::document::Text;
use super::pool::unsigned;
use super::{Error, Problem};
use std::fmt;

/// The longest path of a unix socket on Linux, in bytes (unix(7), without the final zero byte).
const UNIX_PATH_MAX: usize = 107;

/// Where a pool takes its clients. Names are not resolved here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// `host:port`.
    Tcp {
        /// A name, or an IPv4 or IPv6 address without brackets.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// `/path` or `/path mode`.
    Unix {
        /// The path of the socket.
        path: String,
        /// Its permissions, at most 0o777; None leaves them to the umask, as a mode of 0 does.
        mode: Option<u32>,
    },
}

impl Listen {
    /// Reads `host:port`, split at the last colon, or `/path [octal mode]`, split at the last blank.
    pub(super) fn read(value: &Text) -> Result<Listen, Error> {
        let text = value.text.as_str();
        let refuse = |wrong, instead| {
            let problem = Problem::Value { key: "listen", value: text.to_owned(), wrong, instead };
            Err(Error::new(value.line, problem))
        };
        if text.contains(char::is_control) {
            return refuse("has control characters", "host:port or /path");
        }
        if text.starts_with('/') {
            let (path, mode) = match text.rsplit_once(' ') {
                Some((path, mode)) => (path, Some(mode)),
                None => (text, None),
            };
            if path.len() > UNIX_PATH_MAX {
                return refuse("is too long for a unix socket", "a path of at most 107 bytes");
            }
            // Twemproxy takes what is no number for 0, so 0888 or abc would set nothing.
            let is_octal = |mode: &str| !mode.is_empty() && mode.bytes().all(|b| (b'0'..=b'7').contains(&b));
            let mode = match mode {
                None => None,
                Some(mode) if !is_octal(mode) => {
                    return refuse("has a mode that is not octal", "/path or /path 0660");
                }
                Some(mode) => match u32::from_str_radix(mode, 8) {
                    Ok(0) => None,
                    Ok(mode) if mode <= 0o777 => Some(mode),
                    _ => return refuse("has a mode above 0777", "/path 0660"),
                },
            };
            return Ok(Listen::Unix { path: path.to_owned(), mode });
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return refuse("has no port", "host:port or /path");
        };
        if host.is_empty() {
            return refuse("has no host", "0.0.0.0:port to listen on every address");
        }
        if host.contains(['[', ']']) {
            return refuse("has brackets", "an IPv6 address without them, as in ::1:6379");
        }
        if host.contains(' ') {
            return refuse("has blanks", "host:port");
        }
        match unsigned(port).and_then(|port| u16::try_from(port).ok()) {
            Some(port) if port > 0 => Ok(Listen::Tcp { host: host.to_owned(), port }),
            _ => refuse("has no port in 1 to 65535", "host:port"),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp { host, port } => write!(f, "{host}:{port}"),
            Listen::Unix { path, mode: None } => f.write_str(path),
            Listen::Unix { path, mode: Some(mode) } => write!(f, "{path} 0{mode:o}"),
        }
    }
}
