//! An item of `servers`: `host:port:weight [name]` or `/path:weight [name]`.

use super::document::Text;
use super::pool::unsigned;
use super::{Error, Problem};
use crate::Endpoint;

/// The port that Twemproxy leaves out of a server's name, memcached's: so libmemcached named them.
const PORT_UNNAMED: u16 = 11211;

/// A server of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// The name given, or the one that Twemproxy makes: `host:port` as written, `host` alone for port
    /// 11211, and for a unix socket the path **with a colon behind it**. It places keys.
    pub name: String,
    /// Where it is.
    pub address: Endpoint,
    /// At least 1.
    pub weight: u32,
    /// Whether the name was given.
    pub named: bool,
    /// The line of the file.
    pub line: usize,
}

impl Server {
    /// Reads an item from its right end: the last blank, the last colon, and for TCP the one before.
    pub(super) fn read(item: &Text) -> Result<Server, Error> {
        let refuse = |wrong, instead| {
            let problem = Problem::Value { key: "servers", value: item.text.clone(), wrong, instead };
            Err(Error::new(item.line, problem))
        };
        const FORM: &str = "host:port:weight [name] or /path:weight [name]";
        if item.text.contains(char::is_control) {
            return refuse("has control characters", FORM);
        }
        let (place, name) = match item.text.rsplit_once(' ') {
            Some((_, "")) => return refuse("ends in a blank", FORM),
            Some((place, name)) => (place, Some(name)),
            None => (item.text.as_str(), None),
        };
        let Some((place, weight)) = place.rsplit_once(':') else { return refuse("has no weight", FORM) };
        let Some(weight) = unsigned(weight) else {
            return refuse("has a weight that is no number from 1 to 2147483647", FORM);
        };
        if weight == 0 {
            return refuse("has weight 0", "a weight of at least 1, or remove the server");
        }
        let (address, made) = if place.starts_with('/') {
            if place.contains(':') {
                return refuse("has a colon in its path", "/path:weight [name], a path without colons");
            }
            (Endpoint::Unix { path: place.to_owned() }, format!("{place}:"))
        } else {
            let Some((host, port)) = place.rsplit_once(':') else {
                return refuse("has no port or no weight", FORM);
            };
            let port = match unsigned(port).and_then(|port| u16::try_from(port).ok()) {
                Some(port) if port > 0 => port,
                _ => return refuse("has no port in 1 to 65535", FORM),
            };
            // Brackets are no part of an address, yet they are part of the name.
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            if bare.is_empty() {
                return refuse("has no host", FORM);
            }
            if bare.contains([' ', '[', ']']) {
                return refuse("has a host with blanks or brackets", FORM);
            }
            let made = if port == PORT_UNNAMED { host.to_owned() } else { place.to_owned() };
            (Endpoint::Tcp { host: bare.to_owned(), port }, made)
        };
        let named = name.is_some();
        let name = name.map_or(made, str::to_owned);
        Ok(Server { name, address, weight, named, line: item.line })
    }
}
