//! Where the admin port is, and its socket.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;

use shoal_telemetry::io::http::Listener;

use crate::error::Error;
use crate::io::inherited::Inherited;
use crate::io::listener::{bind_port, listen_unix};
use crate::io::socket_file::SocketFile;

/// Written where there is to be no admin port.
const NONE: &str = "none";

/// Connections to the unix socket that may wait to be accepted.
const BACKLOG: u32 = 128;

/// Permissions of the unix socket's file.
const MODE: u32 = 0o600;

/// What the port is called in errors.
const WHAT: &str = "the admin port (choose another by admin, or `none`)";

/// Where the admin port listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// On TCP.
    Tcp(SocketAddr),
    /// On a unix socket, which only its owner may open.
    Unix(String),
}

impl Address {
    /// The address that `text` says: `host:port`, `/path` of a unix socket, or `none`. `exposed` says that other machines may
    /// reach it.
    ///
    /// # Errors
    /// [`Error::Admin`] if it says none of these, or if other machines could reach it and `exposed` does not say so.
    pub fn parse(text: &str, exposed: bool) -> Result<Option<Address>, Error> {
        if text == NONE {
            return Ok(None);
        }
        if text.starts_with('/') {
            return Ok(Some(Address::Unix(text.into())));
        }
        let refuse = |reason: String| Error::Admin { address: text.to_owned(), reason };
        let mut addresses = text.to_socket_addrs().map_err(|error| {
            refuse(format!("{error}: write host:port, /path of a unix socket, or `none`"))
        })?;
        let address = addresses.next().ok_or_else(|| refuse("the name has no address".to_owned()))?;
        if !address.ip().is_loopback() && !exposed {
            return Err(refuse(
                "other machines could reach it, and whoever reaches it sees keys and can end clients: listen on loopback or \
                 on a unix socket, or set admin_exposed"
                    .to_owned(),
            ));
        }
        Ok(Some(Address::Tcp(address)))
    }

    /// Whether a name in `Host` that is not loopback's own is a browser led astray.
    pub fn is_loopback(&self) -> bool {
        matches!(self, Address::Tcp(address) if address.ip().is_loopback())
    }

    /// Listens, by a socket that was handed over if there is one.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub fn bind(self, inherited: &mut Inherited) -> Result<Bound, Error> {
        let (listener, file) = match &self {
            Address::Tcp(address) => (bind_port(*address, WHAT, inherited)?.into(), None),
            Address::Unix(path) => {
                // Nobody can connect before the file's mode is set: the socket does not listen until then.
                let (socket, file) = listen_unix(path, Some(MODE), BACKLOG, inherited).map_err(|source| {
                    Error::Listen { address: path.clone(), what: WHAT.to_owned(), source }
                })?;
                (UnixListener::from(socket).into(), Some(file))
            }
        };
        Ok(Bound { address: self, listener, file })
    }
}

/// An admin port that listens and is not served yet.
#[derive(Debug)]
pub struct Bound {
    pub(super) address: Address,
    pub(super) listener: Listener,
    pub(super) file: Option<SocketFile>,
}

impl Bound {
    /// Where it listens.
    pub fn listen(&self) -> String {
        match &self.address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => path.clone(),
        }
    }

    /// The listening socket once more.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub fn socket(&self) -> std::io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_address_is_loopback_a_path_or_asked_for() {
        let tcp = |text: &str| Some(Address::Tcp(text.parse().unwrap()));
        assert_eq!(Address::parse("none", false).unwrap(), None);
        assert_eq!(Address::parse("127.0.0.1:9", false).unwrap(), tcp("127.0.0.1:9"));
        assert_eq!(Address::parse("[::1]:9", false).unwrap(), tcp("[::1]:9"));
        assert_eq!(Address::parse("/a/b", false).unwrap(), Some(Address::Unix("/a/b".into())));
        for open in ["0.0.0.0:9", "[::]:9", "10.0.0.1:9"] {
            let error = Address::parse(open, false).unwrap_err().to_string();
            assert!(error.contains("admin_exposed") && error.contains(open), "{error}");
            assert_eq!(Address::parse(open, true).unwrap(), tcp(open));
        }
        for wrong in ["", "9180", "here", "127.0.0.1:x"] {
            assert!(Address::parse(wrong, true).unwrap_err().to_string().contains("host:port"), "{wrong}");
        }
    }

    #[test]
    fn the_socket_is_its_owners_alone_and_goes_with_the_port_unless_it_was_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let bind = || Address::Unix(path.to_string_lossy().into()).bind(&mut Inherited::default());
        let bound = bind().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(bind().is_err(), "a living one is not taken over");
        assert_eq!(bound.listen(), path.to_string_lossy());
        drop(bound);
        assert!(!path.exists());
        let mut bound = bind().unwrap();
        bound.file.iter_mut().for_each(SocketFile::give_away);
        drop(bound);
        assert!(path.exists(), "it is another's");
        drop(bind().unwrap());
        assert!(!path.exists(), "what nobody listens on is taken over");
    }
}
