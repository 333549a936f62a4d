//! Listening sockets that the running process has handed over, found by where they are bound.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{SocketAddrUnix, SocketType, sockopt};

use crate::hand_over::Offered;

/// The sockets of an offer. Those that nobody takes are closed with this value.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Received>);

#[derive(Debug)]
struct Received {
    bound: Bound,
    /// `None` once somebody has taken it.
    socket: Option<OwnedFd>,
}

#[derive(Debug, PartialEq, Eq)]
enum Bound {
    Tcp(SocketAddr),
    Unix(String),
    /// It listens nowhere, or where this version cannot look: nobody takes it.
    Elsewhere,
}

impl Inherited {
    /// The sockets of an offer, in its order.
    ///
    /// # Errors
    /// In words, if one of them does not listen.
    pub fn new(offered: &[Offered], sockets: Vec<OwnedFd>) -> Result<Inherited, String> {
        let mut all = Vec::new();
        for (what, socket) in offered.iter().zip(sockets) {
            let listens = sockopt::socket_acceptconn(&socket).unwrap_or(false)
                && sockopt::socket_type(&socket) == Ok(SocketType::STREAM);
            if !listens {
                return Err(format!("the socket handed over for {} does not listen", what.listen));
            }
            // Both processes may wait for one and the same client: neither may wait in accept.
            rustix::io::ioctl_fionbio(&socket, true).map_err(|error| error.to_string())?;
            all.push(Received { bound: bound(&socket), socket: Some(socket) });
        }
        Ok(Inherited(all))
    }

    /// The socket that listens on the first of these addresses for which there is one.
    pub fn take_tcp(&mut self, addresses: &[SocketAddr]) -> Option<OwnedFd> {
        addresses.iter().find_map(|address| self.take(&Bound::Tcp(*address)))
    }

    /// The socket that listens on this path.
    pub fn take_unix(&mut self, path: &str) -> Option<OwnedFd> {
        self.take(&Bound::Unix(path.to_owned()))
    }

    /// The places in the offer of those that were taken.
    pub fn kept(&self) -> Vec<u16> {
        (0..).zip(&self.0).filter(|(_, received)| received.socket.is_none()).map(|(place, _)| place).collect()
    }

    fn take(&mut self, bound: &Bound) -> Option<OwnedFd> {
        self.0.iter_mut().filter(|received| received.bound == *bound).find_map(|it| it.socket.take())
    }
}

fn bound(socket: &OwnedFd) -> Bound {
    let Ok(address) = rustix::net::getsockname(socket) else { return Bound::Elsewhere };
    if let Ok(address) = SocketAddr::try_from(address.clone()) {
        return Bound::Tcp(address);
    }
    match SocketAddrUnix::try_from(address) {
        Ok(address) => match address.path().map(|path| path.to_string_lossy().into_owned()) {
            Some(path) => Bound::Unix(path),
            None => Bound::Elsewhere,
        },
        Err(_) => Bound::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hand_over::Use;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;

    fn offered(count: usize) -> Vec<Offered> {
        vec![Offered { used_for: Use::Pool, name: String::new(), listen: "somewhere".into() }; count]
    }

    #[test]
    fn sockets_are_found_by_where_they_are_bound_and_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock").to_string_lossy().into_owned();
        let (one, two) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let unix = UnixListener::bind(&path).unwrap();
        let [first, second] = [&one, &two].map(|listener| listener.local_addr().unwrap());
        let sockets = vec![one.into(), unix.into(), two.into()];
        let mut inherited = Inherited::new(&offered(3), sockets).unwrap();
        let other = "127.0.0.1:1".parse().unwrap();
        assert!(inherited.take_tcp(&[other]).is_none());
        assert!(inherited.take_tcp(&[other, second]).is_some());
        assert!(inherited.take_tcp(&[second]).is_none(), "taken already");
        assert!(inherited.take_unix("elsewhere").is_none());
        assert!(inherited.take_unix(&path).is_some());
        assert_eq!(inherited.kept(), [1, 2]);
        drop(inherited);
        assert!(TcpStream::connect(first).is_err(), "nobody took it, and it is closed");
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        for socket in [OwnedFd::from(connected), OwnedFd::from(datagrams)] {
            assert!(Inherited::new(&offered(1), vec![socket]).unwrap_err().contains("does not listen"));
        }
    }
}
