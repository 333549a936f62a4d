//! What can go wrong before a proxy serves. Once it serves, failures are answers to clients, counts and log lines.

use std::path::PathBuf;

/// Why a proxy does not start, or a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `proxy.yml` is not what it should be.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Line and what is wrong there.
        reason: String,
    },
    /// `nutcracker.yml` is not what it should be.
    #[error("{}", path.display())]
    Nutcracker {
        /// The file.
        path: PathBuf,
        /// Line, pool, key, and what is wrong there.
        source: Box<shoal_topology::nutcracker::Error>,
    },
    /// The pools make no topology.
    #[error("{}", path.display())]
    Topology {
        /// The file that says so.
        path: PathBuf,
        /// What is wrong.
        source: Box<shoal_topology::Error>,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// The address as configured.
        address: String,
        /// The pool, or which port of the process.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// The admin port is not to be where it was told to be.
    #[error("admin: {address}: {reason}")]
    Admin {
        /// The address as configured.
        address: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The system refuses what an event loop needs.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The statistics or admin listener failed.
    #[error("cannot serve {what}")]
    Serve {
        /// Which.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// There is no process to take over from.
    #[error(
        "nobody answers at {path} to be taken over from: start without --take-over, or with the hand_over of the process \
         that runs"
    )]
    NobodyToTakeOverFrom {
        /// The socket.
        path: String,
    },
    /// The socket of the running process cannot be spoken to.
    #[error("cannot take over from the process at {path}")]
    TakeOverSocket {
        /// The socket.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else listens where the running process should.
    #[error(
        "cannot take over from the process at {path}: it is one of user {user}, and sockets are taken only from one of the \
         same user, or of root"
    )]
    TakeOverStranger {
        /// The socket.
        path: String,
        /// The other process's user, by number.
        user: u32,
    },
    /// The running process and this one do not come to terms. The running one goes on.
    #[error("cannot take over from the process at {path}")]
    TakeOver {
        /// The socket.
        path: String,
        /// Why.
        source: crate::hand_over::Fault,
    },
    /// What was handed over is of no use.
    #[error("cannot take over from the process at {path}: {reason}")]
    TakeOverUseless {
        /// The socket.
        path: String,
        /// Why.
        reason: String,
    },
}
