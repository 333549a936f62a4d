//! A connection to a server by TLS that waits for every step, for the threads beside the loops.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;

use crate::tls::ServerTls;
use crate::tls::layer::Layer;

/// Ciphertext read at a time.
const READ_SIZE: usize = 16 * 1024;

/// A connection that has shaken hands.
pub struct TlsStream {
    stream: TcpStream,
    layer: Layer,
    /// Plaintext that nobody has read.
    plain: Vec<u8>,
    patience: Duration,
}

impl TlsStream {
    /// Shakes hands on `stream`, whose own timeouts are set; that and every further step may take as long as `patience`.
    ///
    /// # Errors
    /// What is wrong with the other side's certificate, among others.
    pub fn connect(
        stream: TcpStream,
        tls: &ServerTls,
        name: ServerName<'static>,
        patience: Duration,
    ) -> io::Result<TlsStream> {
        let layer = Layer::connect(&tls.config, name).map_err(io::Error::other)?;
        let mut connection = TlsStream { stream, layer, plain: Vec::new(), patience };
        let deadline = Instant::now() + patience;
        connection.send_sealed()?;
        while connection.layer.is_shaking_hands() {
            if connection.take_in(deadline)? == 0 {
                return Err(io::Error::other("it closes the connection in the middle of the TLS handshake"));
            }
        }
        Ok(connection)
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// The socket's.
    pub fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sealed = self.layer.seal(bytes);
            bytes = &bytes[sealed..];
            self.send_sealed()?;
            if sealed == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }

    /// Reads what there is, at least a byte; 0 at the end.
    ///
    /// # Errors
    /// The socket's, and TLS's.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let deadline = Instant::now() + self.patience;
        while self.plain.is_empty() && !self.layer.has_ended() {
            if self.take_in(deadline)? == 0 {
                return Ok(0);
            }
        }
        let count = self.plain.len().min(into.len());
        into[..count].copy_from_slice(&self.plain[..count]);
        self.plain.drain(..count);
        Ok(count)
    }

    /// Reads ciphertext once, answers what TLS itself must; how many bytes came.
    fn take_in(&mut self, deadline: Instant) -> io::Result<usize> {
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut raw = [0; READ_SIZE];
        let count = self.stream.read(&mut raw)?;
        let handled = self.layer.handle_bytes(&raw[..count], &mut self.plain);
        let sent = self.send_sealed();
        handled.map_err(io::Error::other)?;
        sent?;
        Ok(count)
    }

    fn send_sealed(&mut self) -> io::Result<()> {
        while self.layer.has_sealed() {
            self.layer.send(&mut self.stream)?;
        }
        Ok(())
    }
}
