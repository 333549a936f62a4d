//! Ten thousand clients in one process: they connect, ask one thing each at the same time, and read.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use shoal_e2e::raw_client::encode;

use crate::Fallible;
use crate::workload::{self, Keys};

/// Descriptors beside the clients': servers' logs, pipes, what the harness opens for a moment.
const OTHERS: u64 = 200;

/// How long one reply may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// From one client's key to the next one's: a prime, so that none comes twice.
const STRIDE: usize = 7919;

/// Connected clients, in the order in which they connected.
pub struct Crowd {
    clients: Vec<TcpStream>,
    keys: Keys,
}

/// Lets this process, and so the proxies that it starts, have the descriptors for so many clients.
pub fn allow(clients: usize) -> Fallible<()> {
    let wanted = u64::try_from(clients)? + OTHERS;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if let Some(hard) = limit.maximum.filter(|hard| *hard < wanted) {
        return Err(format!(
            "{clients} clients need {wanted} open files in one process, and this machine allows {hard}: \
             raise the hard limit (`ulimit -Hn`) or take fewer (--clients)"
        )
        .into());
    }
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

impl Crowd {
    /// Connects so many clients, one after the other.
    pub fn connect(port: u16, count: usize, keys: Keys) -> Fallible<Self> {
        let connect = |_| {
            let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            client.set_nodelay(true)?;
            client.set_read_timeout(Some(PATIENCE))?;
            Ok(client)
        };
        let clients = (0..count).map(connect).collect::<Fallible<Vec<_>>>();
        Ok(Self { clients: clients.map_err(|error| format!("connecting the clients: {error}"))?, keys })
    }

    /// Each sends one GET, of the key number `first` and those behind it. Nothing is read.
    pub fn ask(&mut self, first: usize) -> Fallible<()> {
        for (number, client) in self.clients.iter_mut().enumerate() {
            // Keys next to each other often lie on one server.
            let key = (first + number) * STRIDE % self.keys.count as usize;
            let key = format!("{}{key:012}", self.keys.prefix);
            client.write_all(&encode(&["GET", &key]))?;
        }
        Ok(())
    }

    /// Each reads its reply, which must be the value.
    pub fn hear(&mut self) -> Fallible<()> {
        let value = workload::value(self.keys.value_bytes);
        let expected = format!("${}\r\n{value}\r\n", value.len()).into_bytes();
        let mut reply = vec![0; expected.len()];
        for (number, client) in self.clients.iter_mut().enumerate() {
            client.read_exact(&mut reply).map_err(|error| format!("client {number} reads: {error}"))?;
            if reply != expected {
                return Err(format!("client {number} reads {}", reply.escape_ascii()).into());
            }
        }
        Ok(())
    }
}
