//! One request to the admin port of a proxy, or to control.

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

    /// With one segment more, whatever letters it has.
    pub fn then(mut self, segment: &str) -> Target {
        self.encode(segment);
        self
    }

    /// With the rest of a path.
    pub fn and(mut self, path: &str) -> Target {
        self.0.push_str(path);
        self
    }

    fn encode(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => self.0.push(char::from(byte)),
                // Writing to a String does not fail.
                other => drop(write!(self.0, "%{other:02X}")),
            }
        }
    }

    /// With one parameter more, if it has a value.
    pub fn with(mut self, name: &str, value: Option<impl Display>) -> Target {
        let Some(value) = value else { return self };
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        self.encode(&value.to_string());
        self
    }
}

/// What is sent beside a path.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// GET, PUT, DELETE or POST.
    pub method: &'a str,
    /// Who asks.
    pub token: Option<&'a str>,
    /// Nothing is the empty one.
    pub body: &'a str,
    /// How long the answer may take.
    pub patience: Duration,
}

/// Asks control at `address`, a host and a port: the status and the body.
pub fn ask_control(address: &str, target: &Target, sent: Sent<'_>) -> Result<(u16, Vec<u8>)> {
    let stream = connect(address, |error| {
        let hint = match error.kind() {
            ErrorKind::ConnectionRefused => {
                "nobody listens there: is `shoal control` running? Say where by --server or --dir"
            }
            _ => "control cannot be reached",
        };
        anyhow::Error::new(error).context(format!("{address}: {hint}"))
    })?;
    stream.set_read_timeout(Some(sent.patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut fields = String::new();
    if let Some(token) = sent.token {
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("the token has a letter that no token has: is it the right file?");
        }
        // Writing to a String does not fail.
        let _ = write!(fields, "Authorization: Bearer {token}\r\n");
    }
    let bytes = exchange(stream, address, sent.method, target, &fields, sent.body)
        .with_context(|| format!("{address} does not answer"))?;
    read(&bytes).with_context(|| format!("{address} does not answer in HTTP: is it control's address?"))
}

/// Asks the admin port at `address`: the status and the body.
pub fn ask(address: &str, method: &str, target: &Target) -> Result<(u16, String)> {
    let bytes = if address.starts_with('/') {
        let stream = UnixStream::connect(address).map_err(|error| unreachable(address, error))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        exchange(stream, "localhost", method, target, "", "")
    } else {
        let stream = connect(address, |error| unreachable(address, error))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // By number, since the proxy refuses names: a web page could have one made for it.
        let host = stream.peer_addr()?.to_string();
        exchange(stream, &host, method, target, "", "")
    };
    let bytes = bytes.with_context(|| format!("{address} does not answer"))?;
    let read = read(&bytes).and_then(|(status, body)| Ok((status, String::from_utf8(body)?)));
    read.with_context(|| format!("{address} does not answer in HTTP: is it the admin port?"))
}

fn connect(address: &str, failed: impl Fn(std::io::Error) -> anyhow::Error) -> Result<TcpStream> {
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
    Err(failed(last))
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
    fields: &str,
    body: &str,
) -> std::io::Result<Vec<u8>> {
    let (target, length) = (&target.0, body.len());
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The status and the body, which must have come whole.
fn read(bytes: &[u8]) -> Result<(u16, Vec<u8>)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("no end of its head")?;
    let (head, body) = (std::str::from_utf8(&bytes[..end])?, &bytes[end + 4..]);
    let mut first = head.lines().next().unwrap_or_default().split(' ');
    if !first.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
        bail!("no HTTP/1");
    }
    let status = first.next().and_then(|status| status.parse().ok()).context("no status")?;
    let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if length.is_some_and(|length| length != body.len()) {
        bail!("the answer was cut off");
    }
    Ok((status, body.to_vec()))
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
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}\n").unwrap(), (200, b"{}\n".to_vec()));
        for wrong in [
            &b"+PONG\r\n"[..],
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"-ERR a\r\n\r\n",
            b"\xff\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        ] {
            assert!(read(wrong).is_err());
        }
    }
}
