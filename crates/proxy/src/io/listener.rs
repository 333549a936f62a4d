//! The sockets that clients connect to, and the steering of clients to workers.
//!
//! One thread accepts for all workers and hands each client to the one with the fewest sessions: with SO_REUSEPORT the
//! kernel would throw dice instead, and with one listener in several epolls the last to sleep would get most.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, sockopt};

use super::inbox::{Inbox, Message, Seat};
use super::inherited::Inherited;
use super::log;
use super::socket_file::SocketFile;
use crate::error::Error;
use crate::settings::{Listen, PoolSettings, Settings};
use crate::tls::ListenTls;

/// How long nobody is accepted when not even one descriptor can be had.
const OUT_OF_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(10);

/// Clients that are accepted on one socket before the main thread looks at everything else again.
const ACCEPTS_MAX: usize = 256;

/// A place where a pool listens.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// The pool's number.
    pub pool: usize,
    /// Its settings.
    pub settings: &'p PoolSettings,
    /// Where.
    pub listen: &'p Listen,
    /// How clients speak TLS there, if they do.
    pub tls: Option<&'p Arc<ListenTls>>,
}

/// All places of `pools`, in the order in which their sockets are kept and handed over.
pub fn places(pools: &[Arc<PoolSettings>]) -> impl Iterator<Item = Place<'_>> {
    pools.iter().enumerate().flat_map(|(pool, settings)| {
        settings.listens().map(move |(listen, tls)| Place { pool, settings, listen, tls })
    })
}

/// One listening socket and the pool behind it.
#[derive(Debug)]
pub struct Listener {
    pool: usize,
    keepalive: bool,
    /// How its clients speak TLS, if they do.
    tls: Option<Arc<ListenTls>>,
    socket: OwnedFd,
    /// A unix socket's file.
    file: Option<SocketFile>,
}

impl Listener {
    /// Listens at one of the places of pool number `pool`, by a socket that was handed over if there is one.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub fn bind(place: Place<'_>, inherited: &mut Inherited) -> Result<Listener, Error> {
        let Place { pool, settings, listen, tls } = place;
        let failed = |source| Error::Listen {
            address: listen.to_string(),
            what: format!("pool {}", settings.pool.name),
            source,
        };
        let (socket, file) = match listen {
            Listen::Tcp { host, port } => {
                (listen_tcp(host, *port, settings.backlog, inherited).map_err(failed)?, None)
            }
            Listen::Unix { path, mode } => {
                let (socket, file) = listen_unix(path, *mode, settings.backlog, inherited).map_err(failed)?;
                (socket, Some(file))
            }
        };
        Ok(Listener { pool, keepalive: settings.tcp_keepalive, tls: tls.cloned(), socket, file })
    }

    /// The files of what was handed over are this process's from now on.
    ///
    /// # Errors
    /// If the file was removed after all, and cannot be made again.
    pub fn own(&mut self, place: Place<'_>) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.own();
        if let Listen::Unix { path, mode } = place.listen
            && !file.is_there()
        {
            self.socket = bind_unix(path, *mode, place.settings.backlog)?;
        }
        Ok(())
    }

    /// The socket is another process's as well, and its file that one's alone.
    pub fn give_away(&mut self) {
        if let Some(file) = &mut self.file {
            file.give_away();
        }
    }

    /// The same socket, leading to another pool, or to the same with other settings.
    pub fn lead_to(mut self, place: Place<'_>) -> Listener {
        if let (Some(file), Listen::Unix { mode: Some(mode), .. }) = (&self.file, place.listen)
            && let Err(error) = file.set_mode(*mode)
        {
            log::error(&format!("cannot give {} the permissions {mode:o}: {error}", file.path()));
        }
        self.pool = place.pool;
        self.keepalive = place.settings.tcp_keepalive;
        self.tls = place.tls.cloned();
        self
    }

    /// The socket, to wait on.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Accepts who waits, [`ACCEPTS_MAX`] at a time, and hands them to `workers`. `reserve` is a descriptor to close when there is no other,
    /// so that a client can be refused rather than left waiting.
    ///
    /// With `sessions_max` clients already there a further one is closed at once: the descriptors left are the upstreams'.
    pub fn accept(&self, workers: &[Arc<Inbox>], sessions_max: usize, reserve: &mut Option<OwnedFd>) {
        for _ in 0..ACCEPTS_MAX {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(&self.socket, flags) {
                Ok((socket, peer)) => {
                    let sessions: usize = workers.iter().map(|inbox| inbox.sessions()).sum();
                    if sessions >= sessions_max {
                        log::seldom(
                            "clients are refused: no file descriptors are left for them; raise the limit (ulimit -n)",
                        );
                        continue;
                    }
                    let peer = self.prepare(&socket, peer);
                    let fewest = workers.iter().min_by_key(|inbox| inbox.sessions());
                    if let Some(inbox) = fewest {
                        let (tls, seat) = (self.tls.clone(), Seat::of(inbox));
                        inbox.post(Message::Client { pool: self.pool, socket, peer, tls, seat });
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) => {
                    log::seldom("out of file descriptors: a client is refused; raise the limit (ulimit -n)");
                    drop(reserve.take());
                    // Whether or not somebody is still waiting: it is closed at once.
                    let refused = rustix::net::accept_with(&self.socket, flags);
                    drop(refused);
                    *reserve = spare_descriptor();
                    if reserve.is_none() {
                        // Somebody else took it: let a connection end before the next try.
                        std::thread::sleep(OUT_OF_DESCRIPTORS_PAUSE);
                    }
                    return;
                }
                Err(error) => {
                    log::error(&format!("cannot accept clients: {error}"));
                    return;
                }
            }
        }
    }

    fn prepare(&self, socket: &OwnedFd, peer: Option<SocketAddrAny>) -> Box<str> {
        if self.file.is_some() {
            return "unix socket".into();
        }
        // A client that is gone already shows at the first read.
        let _ = sockopt::set_tcp_nodelay(socket, true);
        if self.keepalive {
            let _ = sockopt::set_socket_keepalive(socket, true);
        }
        match peer.map(SocketAddr::try_from) {
            Some(Ok(address)) => address.to_string().into(),
            _ => "unknown".into(),
        }
    }
}

/// Looks up the names that `settings` listens on, and binds nothing.
///
/// # Errors
/// [`Error::Listen`] for the first that has no address.
pub fn check_names(settings: &Settings) -> Result<(), Error> {
    for (pool, listen) in settings.pools.iter().flat_map(|pool| pool.listens().map(move |(it, _)| (pool, it)))
    {
        if let Listen::Tcp { host, port } = listen
            && let Err(source) = (host.as_str(), *port).to_socket_addrs()
        {
            let (address, what) = (listen.to_string(), format!("pool {}", pool.pool.name));
            return Err(Error::Listen { address, what, source });
        }
    }
    Ok(())
}

/// A descriptor to keep in reserve.
pub fn spare_descriptor() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(OwnedFd::from)
}

fn listen_tcp(host: &str, port: u16, backlog: u32, inherited: &mut Inherited) -> std::io::Result<OwnedFd> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    match inherited.take_tcp(&addresses) {
        Some(socket) => {
            // It listens already: this only sets the backlog.
            rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
            Ok(socket)
        }
        None => bind_tcp(&addresses, backlog),
    }
}

fn bind_tcp(addresses: &[SocketAddr], backlog: u32) -> std::io::Result<OwnedFd> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let bound = rustix::net::socket_with(family, SocketType::STREAM, flags, None).and_then(|socket| {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, address)?;
            rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
            Ok(socket)
        });
        match bound {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Listens on a path, by a socket that was handed over if there is one.
pub fn listen_unix(
    path: &str,
    mode: Option<u32>,
    backlog: u32,
    inherited: &mut Inherited,
) -> std::io::Result<(OwnedFd, SocketFile)> {
    let Some(socket) = inherited.take_unix(path) else {
        return Ok((bind_unix(path, mode, backlog)?, SocketFile::ours(path)));
    };
    let file = SocketFile::theirs(path);
    rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    if let Some(mode) = mode {
        file.set_mode(mode)?;
    }
    Ok((socket, file))
}

fn bind_unix(path: &str, mode: Option<u32>, backlog: u32) -> std::io::Result<OwnedFd> {
    // A socket left over by a process that died refuses connections; a living one is not taken over.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Errno::ADDRINUSE.into());
    }
    if Path::new(path)
        .symlink_metadata()
        .is_ok_and(|file| std::os::unix::fs::FileTypeExt::is_socket(&file.file_type()))
    {
        std::fs::remove_file(path)?;
    }
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
    if let Some(mode) = mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// Connections that may wait at a port of the process's own.
const PORT_BACKLOG: u32 = 128;

/// Listens on TCP for a port of the process's own, by a socket that was handed over if there is one. It never blocks.
pub fn bind_port(address: SocketAddr, what: &str, inherited: &mut Inherited) -> Result<TcpListener, Error> {
    let socket = inherited.take_tcp(&[address]).map_or_else(|| bind_tcp(&[address], PORT_BACKLOG), Ok);
    socket.map(TcpListener::from).map_err(|source| Error::Listen {
        address: address.to_string(),
        what: what.to_owned(),
        source,
    })
}

/// Waits until one of `sockets` is readable, or is marked as waiting to be written to and can be, for `timeout` at most; which
/// are.
pub fn wait_ready(sockets: &[(&OwnedFd, bool)], timeout: Duration) -> rustix::io::Result<Vec<bool>> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let wanted = |writes: bool| if writes { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    let mut polled: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|(socket, writes)| PollFd::from_borrowed_fd(socket.as_fd(), wanted(*writes)))
        .collect();
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(polled.iter().map(|entry| !entry.revents().is_empty()).collect()),
        Err(error) => Err(error),
    }
}
