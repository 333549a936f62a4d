//! A client that sees every byte, and the end of the connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{escape, wait};

/// Why a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All that was asked for has come.
    Enough,
    /// The other side closed or reset the connection first.
    Closed,
    /// Neither within the deadline.
    TimedOut,
}

/// A connection to a proxy or a server.
#[derive(Debug)]
pub struct RawClient {
    socket: Socket,
    /// Bytes that came and were not asked for yet.
    read: Vec<u8>,
    deadline: Duration,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl RawClient {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    #[track_caller]
    #[must_use]
    pub fn connect(addr: SocketAddr) -> Self {
        match Self::try_connect(addr) {
            Ok(client) => client,
            Err(error) => panic!("cannot connect to {addr}: {error}"),
        }
    }

    /// Connects, or says why not.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    pub fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        Ok(Self { socket: Socket::Tcp(socket), read: Vec::new(), deadline: wait::DEADLINE })
    }

    /// Connects to a unix socket, or says why not.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    pub fn try_connect_unix(path: &Path) -> io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        Ok(Self { socket: Socket::Unix(socket), read: Vec::new(), deadline: wait::DEADLINE })
    }

    /// Gives every later read this long instead of [`wait::DEADLINE`].
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// The client's own port, 0 for a unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().map_or(0, |addr| addr.port()),
            Socket::Unix(_) => 0,
        }
    }

    /// Sends bytes as they are. A connection that the other side has closed takes them silently: the reader
    /// will see the end.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.try_send(bytes);
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Those of `write(2)`.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(socket) => socket.write_all(bytes),
            Socket::Unix(socket) => socket.write_all(bytes),
        }
    }

    /// Sends one command as a RESP array.
    pub fn send_command<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        self.send(&encode(words));
    }

    /// Sends one command and gives the bytes of its reply.
    ///
    /// # Panics
    /// When no whole reply comes.
    #[track_caller]
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Vec<u8> {
        self.send_command(words);
        match self.reply() {
            Ok(reply) => reply,
            Err((end, got)) => {
                let words: Vec<String> = words.iter().map(|word| escape::show(word.as_ref())).collect();
                panic!("{}: {end:?} after {}", words.join(" "), escape::show(&got))
            }
        }
    }

    /// A field of a server's INFO, in whatever section.
    ///
    /// # Panics
    /// When no whole reply comes.
    #[track_caller]
    pub fn info(&mut self, field: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.call(&["INFO", "all"])).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.to_owned())
    }

    /// Shuts the sending side: the other side reads an end, and may still answer.
    pub fn half_close(&mut self) {
        // Fails only where the other side has reset the connection; the reader sees that.
        let _ = match &self.socket {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write),
        };
    }

    /// Reads until `count` bytes have come; gives fewer where the read ended before.
    pub fn read_up_to(&mut self, count: usize) -> (Vec<u8>, End) {
        let end = self.fill(|read| read.len() >= count);
        let count = count.min(self.read.len());
        (self.read.drain(..count).collect(), end)
    }

    /// Reads exactly `count` bytes.
    ///
    /// # Panics
    /// When the connection ends, or they do not come in time.
    #[track_caller]
    pub fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        let (bytes, end) = self.read_up_to(count);
        assert_eq!(end, End::Enough, "wanted {count} bytes, got {}", escape::show(&bytes));
        bytes
    }

    /// Reads as many bytes as `expected` has, and they must be these.
    ///
    /// # Panics
    /// When they are not, or do not come.
    #[track_caller]
    pub fn expect(&mut self, expected: &[u8]) {
        let (bytes, end) = self.read_up_to(expected.len());
        assert!(
            bytes == expected,
            "expected {}\n     got {} ({end:?})",
            escape::show(expected),
            escape::show(&bytes)
        );
    }

    /// Reads until the other side closes, and gives what came before.
    ///
    /// # Panics
    /// When it is still open at the deadline.
    #[track_caller]
    pub fn until_closed(&mut self) -> Vec<u8> {
        let (bytes, end) = self.read_up_to(usize::MAX);
        assert_eq!(end, End::Closed, "still open after {}", escape::show(&bytes));
        bytes
    }

    /// Reads one whole reply, RESP2 or RESP3, and gives its bytes.
    ///
    /// # Errors
    /// What came, where the connection ended or the deadline passed before the reply was whole.
    pub fn reply(&mut self) -> Result<Vec<u8>, (End, Vec<u8>)> {
        match self.fill(|read| reply_len(read).is_some()) {
            End::Enough => {
                let len = reply_len(&self.read).unwrap_or(self.read.len());
                Ok(self.read.drain(..len).collect())
            }
            end => Err((end, std::mem::take(&mut self.read))),
        }
    }

    /// Reads into the buffer until it is `enough`.
    fn fill(&mut self, enough: impl Fn(&[u8]) -> bool) -> End {
        let end = Instant::now() + self.deadline;
        let mut piece = vec![0; 64 * 1024];
        loop {
            if enough(&self.read) {
                return End::Enough;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return End::TimedOut;
            }
            match self.read_some(&mut piece, left) {
                Ok(0) => return End::Closed,
                Ok(count) => self.read.extend_from_slice(piece.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return End::TimedOut;
                }
                Err(_) => return End::Closed,
            }
        }
    }

    fn read_some(&mut self, piece: &mut [u8], within: Duration) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Tcp(socket) => {
                socket.set_read_timeout(Some(within))?;
                socket.read(piece)
            }
            Socket::Unix(socket) => {
                socket.set_read_timeout(Some(within))?;
                socket.read(piece)
            }
        }
    }
}

/// The words of a line that is written as one types it, with single blanks.
#[must_use]
pub fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// A command as a RESP array of bulk strings.
pub fn encode<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Length of the first reply in `bytes`, if it is whole.
#[must_use]
pub fn reply_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Values still owed; a container adds its members.
    let mut owed: usize = 1;
    while owed > 0 {
        let rest = bytes.get(at..)?;
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let kind = *rest.first()?;
        let count: Option<usize> =
            std::str::from_utf8(rest.get(1..line)?).ok().and_then(|text| text.parse().ok());
        at += line + 2;
        owed -= 1;
        match (kind, count) {
            (b'$' | b'=' | b'!', Some(count)) => {
                at += count + 2;
                if bytes.len() < at {
                    return None;
                }
            }
            (b'*' | b'~' | b'>', Some(count)) => owed += count,
            (b'%', Some(count)) => owed += 2 * count,
            // Attributes stand before the reply that they describe.
            (b'|', Some(count)) => owed += 2 * count + 1,
            _ => {}
        }
    }
    Some(at)
}
