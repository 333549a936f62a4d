//! Whether a server or a pool answers, and to our password: another Redis on the same port is not taken for ours.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long one look may take; there are many.
const LOOK: Duration = Duration::from_millis(500);

/// Asks once: AUTH, then PING. A Redis that still loads its data says so to PING, and is not ready.
pub fn answers(address: SocketAddr, password: &str) -> bool {
    const YES: &[u8] = b"+OK\r\n+PONG\r\n";
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, LOOK)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(LOOK))?;
        let length = password.len();
        let request = format!("*2\r\n$4\r\nAUTH\r\n${length}\r\n{password}\r\n*1\r\n$4\r\nPING\r\n");
        stream.write_all(request.as_bytes())?;
        let mut reply = [0; YES.len()];
        stream.read_exact(&mut reply)?;
        Ok::<_, std::io::Error>(reply == YES)
    };
    ask().unwrap_or(false)
}
