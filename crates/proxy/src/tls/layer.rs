//! One connection by TLS: ciphertext on one side, plaintext on the other.

use std::io::{self, BufRead as _, Write as _};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use super::Secured;
use super::fault::{Fault, Reason};

/// Sealed bytes that wait for the socket, above which no more plaintext is taken.
pub const SEALED_MAX: usize = 64 * 1024;

/// The first byte of a record that begins a handshake.
const HANDSHAKE_RECORD: u8 = 0x16;

/// The first byte of a record that carries an alert: a server that cannot go on may begin with one.
const ALERT_RECORD: u8 = 0x15;

/// Bytes of a record before its contents: type, version and length.
const RECORD_HEAD: usize = 5;

/// The state of one connection.
#[derive(Debug)]
pub struct Layer {
    connection: Connection,
    /// Whether anything has come.
    heard: bool,
    /// Whether the other side said that it sends no more.
    ended: bool,
    record: Record,
}

/// Where the stream stands between records.
#[derive(Debug, Default)]
struct Record {
    head: [u8; RECORD_HEAD],
    /// Bytes of the head that have come.
    known: usize,
    /// Bytes of the contents that have not.
    missing: usize,
}

impl Layer {
    /// The server's side of a connection that has just been accepted.
    ///
    /// # Errors
    /// If rustls does not take the configuration.
    pub fn accept(config: &Arc<ServerConfig>) -> Result<Layer, Fault> {
        Ok(Layer::new(ServerConnection::new(config.clone())?.into()))
    }

    /// The client's side of a connection that has just been made to the server called `name`.
    ///
    /// # Errors
    /// If rustls does not take configuration or name.
    pub fn connect(config: &Arc<ClientConfig>, name: ServerName<'static>) -> Result<Layer, Fault> {
        Ok(Layer::new(ClientConnection::new(config.clone(), name)?.into()))
    }

    fn new(mut connection: Connection) -> Layer {
        connection.set_buffer_limit(Some(SEALED_MAX));
        Layer { connection, heard: false, ended: false, record: Record::default() }
    }

    /// Takes what came by the socket, in pieces of any size, and appends all plaintext of it to `plain`: at most as many bytes
    /// as were taken since the last record ended. What comes after the other side's end is dropped.
    ///
    /// # Errors
    /// The connection is to be closed, once what [`Layer::send`] still has was sent: an alert.
    pub fn handle_bytes(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), Fault> {
        if !self.heard
            && let Some(first) = bytes.first()
        {
            if *first != HANDSHAKE_RECORD && *first != ALERT_RECORD {
                return Err(Fault::of(Reason::NotTls));
            }
            self.heard = true;
        }
        self.record.follow(bytes);
        while !bytes.is_empty() && !self.ended {
            let taken = self.connection.read_tls(&mut bytes);
            let state = self.connection.process_new_packets()?;
            self.ended = state.peer_has_closed();
            let mut left = state.plaintext_bytes_to_read();
            let mut reader = self.connection.reader();
            while left > 0 {
                let chunk = reader.fill_buf().map_err(|_| Fault::of(Reason::Protocol))?;
                let count = chunk.len();
                plain.extend_from_slice(chunk);
                reader.consume(count);
                left = left.saturating_sub(count.max(1));
            }
            if !matches!(taken, Ok(1..)) && !self.ended {
                // Its own buffers are full though all records that were whole are out of them: such a record cannot be.
                return Err(Fault::of(Reason::Protocol));
            }
        }
        Ok(())
    }

    /// Takes plaintext to be sent; how many bytes of it, none if the socket must take what is sealed first. Before the end of
    /// the handshake it waits for that, bounded in the same way.
    pub fn seal(&mut self, plain: &[u8]) -> usize {
        // Sealing into memory fails for one reason: the connection is broken, which its reader says.
        self.connection.writer().write(plain).unwrap_or(0)
    }

    /// Whether there are sealed bytes to send.
    #[inline]
    pub fn has_sealed(&self) -> bool {
        self.connection.wants_write()
    }

    /// Writes sealed bytes to `socket`, once; how many.
    ///
    /// # Errors
    /// Those of `socket`.
    pub fn send(&mut self, socket: &mut dyn io::Write) -> io::Result<usize> {
        self.connection.write_tls(socket)
    }

    /// Says that nothing more will be sent.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// Whether the handshake is under way.
    #[inline]
    pub fn is_shaking_hands(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the other side said that it sends no more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether a part of a record has come.
    pub fn is_within_record(&self) -> bool {
        self.record.known > 0
    }

    /// By what the connection is secured, once it is.
    pub fn secured(&self) -> Option<Secured> {
        let version = self.connection.protocol_version()?.as_str()?;
        let version = match version {
            "TLSv1_2" => "TLSv1.2",
            "TLSv1_3" => "TLSv1.3",
            other => other,
        };
        let cipher = self.connection.negotiated_cipher_suite()?.suite().as_str()?;
        Some(Secured { version, cipher })
    }
}

impl Record {
    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.known < RECORD_HEAD {
                let count = bytes.len().min(RECORD_HEAD - self.known);
                self.head[self.known..self.known + count].copy_from_slice(&bytes[..count]);
                self.known += count;
                bytes = &bytes[count..];
                if self.known < RECORD_HEAD {
                    return;
                }
                self.missing = usize::from(u16::from_be_bytes([self.head[3], self.head[4]]));
            }
            let count = bytes.len().min(self.missing);
            self.missing -= count;
            bytes = &bytes[count..];
            if self.missing == 0 {
                self.known = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests;
