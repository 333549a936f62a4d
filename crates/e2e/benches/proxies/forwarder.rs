//! The floor: what a hop costs that neither parses nor joins.
//!
//! ```text
//!   client 1 ◀──▶ upstream 1 ──▶ server 1        one thread, edge-triggered epoll,
//!   client 2 ◀──▶ upstream 2 ──▶ server 2        bytes read on one side are written
//!   client 5 ◀──▶ upstream 5 ──▶ server 1        to the other at once
//! ```
//!
//! The bench runs itself again in this role, so that it needs no second program. It is a floor for
//! proxies that pair connections; one that pours many clients into few upstreams can go below it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::Fallible;

/// The first argument that puts the bench into this role; then the port, then the servers.
pub const VERB: &str = "forward";

/// Bytes taken in one read.
const READ: usize = 64 * 1024;
/// Events taken in one wait.
const EVENTS: usize = 256;
/// Event data of the listener; pair `n` has `2 n` for its client and `2 n + 1` for its upstream.
const LISTENER: u64 = u64::MAX;

/// A client, its upstream, and what each side could not take yet.
struct Pair {
    client: TcpStream,
    upstream: TcpStream,
    to_upstream: Vec<u8>,
    to_client: Vec<u8>,
}

/// Forwards until the process is ended.
pub fn run(arguments: &[String]) -> Fallible<()> {
    let [port, servers @ ..] = arguments else {
        return Err(format!("{VERB} needs a port and servers").into());
    };
    let servers: Vec<SocketAddr> = servers.iter().map(|server| server.parse()).collect::<Result<_, _>>()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?))?;
    listener.set_nonblocking(true)?;
    let poller = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poller, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;

    let mut pairs: Vec<Option<Pair>> = Vec::new();
    let mut turn = servers.iter().cycle();
    let mut buffer = vec![0; READ];
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
    loop {
        match epoll::wait(&poller, spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let data = event.data.u64();
            if data == LISTENER {
                let server = turn.next().ok_or("no server to forward to")?;
                accept(&listener, *server, &poller, &mut pairs)?;
                continue;
            }
            let slot = usize::try_from(data / 2)?;
            let Some(pair) = pairs.get_mut(slot).and_then(Option::as_mut) else { continue };
            if !pair.handle(data % 2 == 0, event.flags, &mut buffer) {
                pairs[slot] = None;
            }
        }
    }
}

/// Takes one client (the listener is level-triggered) and gives it an upstream.
fn accept(
    listener: &TcpListener,
    server: SocketAddr,
    poller: &OwnedFd,
    pairs: &mut Vec<Option<Pair>>,
) -> Fallible<()> {
    let client = match listener.accept() {
        Ok((client, _)) => client,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let upstream = TcpStream::connect(server)?;
    let slot = pairs.iter().position(Option::is_none).unwrap_or_else(|| {
        pairs.push(None);
        pairs.len() - 1
    });
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    for (side, socket) in [(0, &client), (1, &upstream)] {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        epoll::add(poller, socket, EventData::new_u64(u64::try_from(slot)? * 2 + side), flags)?;
    }
    pairs[slot] = Some(Pair { client, upstream, to_upstream: Vec::new(), to_client: Vec::new() });
    Ok(())
}

impl Pair {
    /// Moves what one side's event allows; false when the pair is done.
    fn handle(&mut self, of_client: bool, flags: EventFlags, buffer: &mut [u8]) -> bool {
        let Self { client, upstream, to_upstream, to_client } = self;
        let (here, there, from_here, to_here) = if of_client {
            (client, upstream, to_upstream, to_client)
        } else {
            (upstream, client, to_client, to_upstream)
        };
        let mut open = true;
        if flags.contains(EventFlags::OUT) && !to_here.is_empty() {
            open &= pump(there, here, to_here, buffer).unwrap_or(false);
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            open &= pump(here, there, from_here, buffer).unwrap_or(false);
        }
        open
    }
}

/// Moves bytes until `from` is empty or `to` is full; false when `from` has ended.
fn pump(
    mut from: &TcpStream,
    mut to: &TcpStream,
    pending: &mut Vec<u8>,
    buffer: &mut [u8],
) -> io::Result<bool> {
    loop {
        if !pending.is_empty() {
            let written = taken(to.write(pending))?;
            pending.drain(..written);
            if !pending.is_empty() {
                return Ok(true);
            }
        }
        let read = match from.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let written = taken(to.write(&buffer[..read]))?;
        pending.extend_from_slice(&buffer[written..read]);
        // A short read has emptied the socket; what comes later is another edge.
        if pending.is_empty() && read < buffer.len() {
            return Ok(true);
        }
    }
}

/// Bytes that a write took, 0 for a full socket.
fn taken(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        other => other,
    }
}
