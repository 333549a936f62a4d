//! The admin port: HTTP on a thread of its own, on loopback or on a unix socket that its owner alone may open.
//!
//! ```text
//!   request ──▶ guard (browsers) ──▶ routes ──▶ metrics, health: counters, read from here
//!                                       ├─────▶ sessions, upstreams, slow log: each worker is asked   (io::visits)
//!                                       └─────▶ reload: the main thread is told                       (io::orders)
//! ```
//!
//! No worker waits for an operator, and no operator for a worker that hangs: it is named instead.

use std::sync::Arc;

use shoal_telemetry::http::Response;
use shoal_telemetry::io::http::{Limits, Server};

use super::observed::Current;
use super::orders::Orders;
use super::socket_file::SocketFile;
use super::visits::Workers;
use crate::error::Error;
use address::Bound;
use routes::Admin;

mod address;
mod guard;
mod inspect;
mod metrics;
mod routes;

pub use address::Address;

/// A running admin port. Dropping it stops it, and removes a unix socket's file if that is this process's.
#[derive(Debug)]
pub struct Port {
    server: Server,
    file: Option<SocketFile>,
}

/// Serves the admin port until the returned value is dropped.
///
/// # Errors
/// [`Error::Serve`].
pub fn serve(bound: Bound, current: Arc<Current>, orders: Orders, workers: Workers) -> Result<Port, Error> {
    let admin = Admin { current, orders, workers, is_loopback: bound.address.is_loopback() };
    let server = Server::start(bound.listener, Limits::default(), move |request| admin.answer(request))
        .map_err(|source| Error::Serve { what: "the admin port", source })?;
    Ok(Port { server, file: bound.file })
}

impl Port {
    /// The socket's file is this process's now.
    pub fn own(&mut self) {
        self.file.iter_mut().for_each(SocketFile::own);
    }

    /// The socket's file is another process's now.
    pub fn give_away(&mut self) {
        self.file.iter_mut().for_each(SocketFile::give_away);
    }

    /// Stops accepting, and waits until those who are connected are answered.
    pub fn retire(self) {
        self.server.retire();
    }
}

/// A refusal in one line.
fn refusal(status: u16, words: impl std::fmt::Display) -> Response {
    Response::text(status, format!("{words}\n"))
}
