//! Looks at ejected servers before they return to their pool: they must answer, as a primary that has loaded its data.

use std::io::Write as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use shoal_resp::encode;
use shoal_resp::frame::{Frame, parse_frame};
use shoal_topology::Endpoint;

use super::log;
use super::observed::{Observed, ObservedPool};
use crate::settings::{Dialect, PoolSettings};

/// How long a server may take for each step of a probe.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a server that was found unfit is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Lets servers whose time out is over return if they are fit, and keeps the others out a little longer.
pub fn probe_due(observed: &Observed) {
    let epoch = observed.epoch;
    for ObservedPool { settings, health, .. } in &observed.pools {
        // Twemproxy's way is to let them in unseen, which the workers do.
        if settings.dialect == Dialect::Nutcracker {
            continue;
        }
        let now = epoch.elapsed().as_micros() as u64;
        for server in health.due(now) {
            let shard = &settings.pool.shards[server];
            match probe(&shard.primary, settings) {
                Ok(()) => {
                    health.readmit(server);
                    log::notice(&format!("shard {} of pool {} is back", shard.name, settings.pool.name));
                }
                Err(why) => {
                    health.postpone(server, (epoch.elapsed() + AGAIN_AFTER).as_micros() as u64);
                    log::notice(&format!(
                        "shard {} of pool {} stays out: {why}",
                        shard.name, settings.pool.name
                    ));
                }
            }
        }
    }
}

fn probe(endpoint: &Endpoint, settings: &PoolSettings) -> Result<(), String> {
    let mut request = Vec::new();
    let mut greetings = 0;
    if let Some(password) = &settings.password {
        encode::command(&mut request, &[b"AUTH", password.reveal().as_bytes()]);
        greetings = 1;
    }
    encode::command(&mut request, &[b"PING"]);
    encode::command(&mut request, &[b"INFO"]);
    let replies = match endpoint {
        Endpoint::Tcp { host, port } => {
            let addresses = (host.as_str(), *port).to_socket_addrs().map_err(|error| error.to_string())?;
            let mut last = "its name has no address".to_owned();
            let mut connected = None;
            for address in addresses {
                match TcpStream::connect_timeout(&address, PATIENCE) {
                    Ok(stream) => {
                        connected = Some(stream);
                        break;
                    }
                    Err(error) => last = error.to_string(),
                }
            }
            let mut stream = connected.ok_or(last)?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
            stream.write_all(&request).map_err(|error| error.to_string())?;
            read_replies(&mut stream, greetings + 2)?
        }
        Endpoint::Unix { path } => {
            let mut stream = UnixStream::connect(path).map_err(|error| error.to_string())?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
            stream.write_all(&request).map_err(|error| error.to_string())?;
            read_replies(&mut stream, greetings + 2)?
        }
    };
    judge(&replies)
}

/// Whether these replies, the last of them to INFO, are those of a server that is fit to serve.
fn judge(replies: &[Reply]) -> Result<(), String> {
    if let Some(Reply::Error(words)) = replies.iter().find(|reply| matches!(reply, Reply::Error(_))) {
        return Err(words.clone());
    }
    let Some(Reply::Text(info)) = replies.last() else { return Err("it does not answer INFO".to_owned()) };
    let says = |line: &str| info.lines().any(|said| said == line);
    if !says("loading:0") {
        Err("it is loading its data".to_owned())
    } else if !says("role:master") {
        Err("it is a replica".to_owned())
    } else {
        Ok(())
    }
}

#[derive(Debug)]
enum Reply {
    Text(String),
    Error(String),
}

fn read_replies(stream: &mut impl std::io::Read, count: usize) -> Result<Vec<Reply>, String> {
    let (mut bytes, mut replies, mut at) = (Vec::new(), Vec::new(), 0);
    let deadline = Instant::now() + PATIENCE * 2;
    let mut piece = [0; 4096];
    loop {
        while let Some((frame, length)) = parse_frame(&bytes[at..]).map_err(|error| error.to_string())? {
            at += length;
            replies.push(match frame {
                Frame::Error(words) => Reply::Error(String::from_utf8_lossy(words).into_owned()),
                Frame::Simple(text) | Frame::Bulk(text) => {
                    Reply::Text(String::from_utf8_lossy(text).into_owned())
                }
                other => return Err(format!("it answers {other:?}")),
            });
            if replies.len() == count {
                return Ok(replies);
            }
        }
        if Instant::now() > deadline || bytes.len() > 1024 * 1024 {
            return Err("it does not come to an end of its answer".to_owned());
        }
        match stream.by_ref().read(&mut piece).map_err(|error| error.to_string())? {
            0 => return Err("it closes the connection".to_owned()),
            length => bytes.extend_from_slice(&piece[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loaded_primary_is_fit() {
        let info = |text: &str| vec![Reply::Text("PONG".into()), Reply::Text(text.into())];
        assert_eq!(judge(&info("loading:0\r\nrole:master\r\n")), Ok(()));
        assert!(judge(&info("loading:1\r\nrole:master\r\n")).unwrap_err().contains("loading"));
        assert!(judge(&info("loading:0\r\nrole:slave\r\n")).unwrap_err().contains("replica"));
        let refused = [Reply::Error("NOAUTH Authentication required.".into()), Reply::Text("PONG".into())];
        assert!(judge(&refused).unwrap_err().starts_with("NOAUTH"));
    }
}
