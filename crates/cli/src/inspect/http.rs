//! One request to the admin port.

use std::fmt::{Display, Write as _};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// How long the proxy may take for each step. It waits a second for a worker that hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of an answer that are read at most.
const ANSWER_MAX: u64 = 256 * 1024 * 1024;

/// A path with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(String);

impl Target {
    /// The path alone.
    pub fn new(path: &str) -> Target {
        Target(path.to_owned())
    }

    /// With one parameter more, if it has a value.
    pub fn with(mut self, name: &str, value: Option<impl Display>) -> Target {
        let Some(value) = value else { return self };
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.to_string().bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => self.0.push(char::from(byte)),
                // Writing to a String does not fail.
                other => drop(write!(self.0, "%{other:02X}")),
            }
        }
        self
    }
}

/// Asks the admin port at `address`: the status and the body.
pub fn ask(address: &str, method: &str, target: &Target) -> Result<(u16, String)> {
    let bytes = if address.starts_with('/') {
        let stream = UnixStream::connect(address).map_err(|error| unreachable(address, error))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        exchange(stream, "localhost", method, target)
    } else {
        let stream = connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // By number, since the proxy refuses names: a web page could have one made for it.
        let host = stream.peer_addr()?.to_string();
        exchange(stream, &host, method, target)
    };
    let bytes = bytes.with_context(|| format!("{address} does not answer"))?;
    read(&bytes).with_context(|| format!("{address} does not answer in HTTP: is it the admin port?"))
}

fn connect(address: &str) -> Result<TcpStream> {
    let addresses = address
        .to_socket_addrs()
        .with_context(|| format!("{address} is no address: write host:port, or /path of a unix socket"))?;
    let mut last = std::io::Error::from(ErrorKind::NotFound);
    for one in addresses {
        match TcpStream::connect_timeout(&one, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(unreachable(address, last))
}

fn unreachable(address: &str, error: std::io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
            "nobody listens there: is the proxy running, and is this its `admin` address? Give another by --admin"
        }
        ErrorKind::PermissionDenied => "only the user that runs the proxy may open it",
        _ => "it cannot be reached",
    };
    anyhow::Error::new(error).context(format!("{address}: {hint}"))
}

fn exchange(
    mut stream: impl Read + Write,
    host: &str,
    method: &str,
    target: &Target,
) -> std::io::Result<Vec<u8>> {
    let target = &target.0;
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read(bytes: &[u8]) -> Result<(u16, String)> {
    let text = std::str::from_utf8(bytes)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no end of its head")?;
    let mut first = head.lines().next().unwrap_or_default().split(' ');
    if !first.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
        bail!("no HTTP/1");
    }
    let status = first.next().and_then(|status| status.parse().ok()).context("no status")?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_percent_encoded() {
        let target = Target::new("/sessions")
            .with("peer", Some("[::1]:5"))
            .with("pool", None::<&str>)
            .with("name", Some("a b&c=é"))
            .with("limit", Some(7));
        assert_eq!(target.0, "/sessions?peer=%5B%3A%3A1%5D%3A5&name=a%20b%26c%3D%C3%A9&limit=7");
    }

    #[test]
    fn an_answer_is_read_and_what_is_none_is_refused() {
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}\n").unwrap(), (200, "{}\n".into()));
        for wrong in [&b"+PONG\r\n"[..], b"", b"HTTP/1.1 200 OK\r\n", b"-ERR a\r\n\r\n", b"\xff\r\n\r\n"] {
            assert!(read(wrong).is_err());
        }
    }
}
