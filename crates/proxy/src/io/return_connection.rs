//! A connection of a return to a server: requests go out, as many replies come back, one after another, with patience.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use shoal_resp::encode;
use shoal_topology::Endpoint;

use crate::returning::reply::Reply;
use crate::server_auth::Tries;
use crate::settings::PoolSettings;

/// How long a server may take for each step.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of replies to one step; the longest is CLIENT LIST, some 300 for each connection.
const REPLIES_MAX: usize = 32 * 1024 * 1024;

/// A connection that is greeted.
pub struct ReturnConnection {
    socket: Socket,
    unread: Vec<u8>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl ReturnConnection {
    /// Connects, and does as the pool's own connections do: AUTH and SELECT.
    ///
    /// # Errors
    /// A sentence, with the server's own words if it refuses.
    pub fn open(endpoint: &Endpoint, settings: &PoolSettings) -> Result<ReturnConnection, String> {
        let socket = connect(endpoint)?;
        let mut connection = ReturnConnection { socket, unread: Vec::new() };
        let (mut greeting, mut replies) = (Vec::new(), 0);
        if let Some(auth) = &settings.server_auth {
            replies += usize::from(auth.greet(&mut greeting));
        }
        let mut tries = Tries::begin(settings.server_auth.as_ref());
        if settings.database != 0 {
            encode::command(&mut greeting, &[b"SELECT", settings.database.to_string().as_bytes()]);
            replies += 1;
        }
        for reply in connection.ask(&greeting, replies)? {
            let refused = tries.refused(matches!(reply, Reply::Error(_)));
            if let Reply::Error(words) = reply
                && refused
            {
                return Err(words);
            }
        }
        Ok(connection)
    }

    /// Sends `requests` and reads as many replies.
    ///
    /// # Errors
    /// A sentence.
    pub fn ask(&mut self, requests: &[u8], replies: usize) -> Result<Vec<Reply>, String> {
        let deadline = Instant::now() + PATIENCE;
        self.socket.write_all(requests).map_err(|error| words(&error))?;
        let (mut read, mut at) = (Vec::new(), 0);
        let mut piece = vec![0; 64 * 1024];
        loop {
            while read.len() < replies
                && let Some((reply, length)) = Reply::read(&self.unread[at..])?
            {
                read.push(reply);
                at += length;
            }
            if read.len() == replies {
                self.unread.drain(..at);
                return Ok(read);
            }
            if Instant::now() > deadline || self.unread.len() > REPLIES_MAX {
                return Err("it does not come to an end of its answer".to_owned());
            }
            match self.socket.read(&mut piece).map_err(|error| words(&error))? {
                0 => return Err("it closes the connection".to_owned()),
                length => self.unread.extend_from_slice(&piece[..length]),
            }
        }
    }
}

fn connect(endpoint: &Endpoint) -> Result<Socket, String> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let addresses = (host.as_str(), *port).to_socket_addrs().map_err(|error| error.to_string())?;
            let mut last = "its name has no address".to_owned();
            for address in addresses {
                match TcpStream::connect_timeout(&address, PATIENCE) {
                    Ok(stream) => return Socket::Tcp(stream).patient(),
                    Err(error) => last = words(&error),
                }
            }
            Err(last)
        }
        Endpoint::Unix { path } => {
            Socket::Unix(UnixStream::connect(path).map_err(|error| words(&error))?).patient()
        }
    }
}

impl Socket {
    fn patient(self) -> Result<Socket, String> {
        let bound = Some(PATIENCE);
        match &self {
            Socket::Tcp(stream) => stream
                .set_nodelay(true)
                .and_then(|()| stream.set_read_timeout(bound))
                .and_then(|()| stream.set_write_timeout(bound)),
            Socket::Unix(stream) => {
                stream.set_read_timeout(bound).and_then(|()| stream.set_write_timeout(bound))
            }
        }
        .map_err(|error| words(&error))?;
        Ok(self)
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::Unix(stream) => stream.write_all(bytes),
        }
    }

    fn read(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(piece),
            Socket::Unix(stream) => stream.read(piece),
        }
    }
}

fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            format!("it does not answer within {} ms", PATIENCE.as_millis())
        }
        _ => error.to_string(),
    }
}
