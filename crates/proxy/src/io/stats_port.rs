//! Twemproxy's statistics port: whoever connects is sent one JSON object, and the connection is closed.
//!
//! Field names and meanings are Twemproxy's (`nutcracker --describe-stats`), summed over the workers. It reads nothing and
//! speaks no HTTP; `/metrics` on the admin port does.

use std::io::Write as _;
use std::net::{Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::observed::{Current, Observed, ObservedPool};
use crate::stats::ServerStats;

/// How long a reader may take to be sent the object.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long nobody is accepted after a failure to.
const PAUSE: Duration = Duration::from_millis(50);

/// The statistics port, served until this is dropped.
#[derive(Debug)]
pub struct StatsPort(Arc<OwnedFd>);

impl Drop for StatsPort {
    fn drop(&mut self) {
        // A counter at its end is readable as well.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// Serves the statistics port on a listener that does not block.
///
/// # Errors
/// If the thread cannot be started.
pub fn serve(listener: TcpListener, current: Arc<Current>) -> std::io::Result<StatsPort> {
    let host = host_name();
    let stop = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
    let stopped = stop.clone();
    thread::Builder::new().name("stats".to_owned()).spawn(move || {
        loop {
            let mut waited_for =
                [PollFd::new(&listener, PollFlags::IN), PollFd::new(&*stopped, PollFlags::IN)];
            let polled = poll(&mut waited_for, None);
            if !waited_for[1].revents().is_empty() {
                return;
            }
            let mut stream = match listener.accept() {
                Ok((stream, _)) if polled.is_ok() => stream,
                // Another process may hold the same socket, and was faster.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                _ => {
                    thread::sleep(PAUSE);
                    continue;
                }
            };
            let object = object(&current.get(), &host);
            // Whoever has gone away already needs no statistics.
            let _ = stream
                .set_write_timeout(Some(PATIENCE))
                .and_then(|()| stream.write_all(object.as_bytes()))
                .and_then(|()| stream.shutdown(Shutdown::Write));
        }
    })?;
    Ok(StatsPort(stop))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The object as Twemproxy prints it: a blank after each comma, and a newline at the end.
fn object(observed: &Observed, host: &str) -> String {
    // A clock before 1970 shows as 0.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let pools = 0..observed.pools.len();
    let every = |pool: usize| 0..observed.pools[pool].order.len();
    let upstreams = |total: fn(&ServerStats) -> i64| -> i64 {
        pools
            .clone()
            .flat_map(|pool| every(pool).map(move |server| (pool, server)))
            .map(|(pool, server)| observed.server(pool, server, total))
            .sum()
    };
    let sessions: i64 = pools.clone().map(|pool| observed.pool(pool, |stats| stats.sessions.get())).sum();
    let sessions_total: i64 =
        pools.clone().map(|pool| observed.pool(pool, |stats| stats.sessions_total.get() as i64)).sum();
    let mut out = String::from("{");
    text(&mut out, "service", "nutcracker");
    text(&mut out, "source", host);
    text(&mut out, "version", concat!("shoal-", env!("CARGO_PKG_VERSION")));
    number(&mut out, "uptime", observed.epoch.elapsed().as_secs() as i64);
    number(&mut out, "timestamp", now as i64);
    // Twemproxy counts its listening sockets among the connections.
    let listening = observed.pools.len() as i64;
    number(
        &mut out,
        "total_connections",
        sessions_total + upstreams(|server| server.connections_total.get() as i64) + listening,
    );
    number(&mut out, "curr_connections", sessions + upstreams(|server| server.connections.get()) + listening);
    for pool in pools {
        out.push_str(&format!("{}: {{", quoted(&observed.pools[pool].settings.pool.name)));
        pool_fields(&mut out, observed, pool);
        close(&mut out);
    }
    close(&mut out);
    out.truncate(out.trim_end_matches([',', ' ']).len());
    out.push('\n');
    out
}

fn pool_fields(out: &mut String, observed: &Observed, pool: usize) {
    let ObservedPool { settings, health, order } = &observed.pools[pool];
    number(out, "client_eof", observed.pool(pool, |stats| stats.client_eof.get() as i64));
    number(out, "client_err", observed.pool(pool, |stats| stats.client_err.get() as i64));
    number(out, "client_connections", observed.pool(pool, |stats| stats.sessions.get()));
    number(out, "server_ejects", health.ejections() as i64);
    number(out, "forward_error", observed.pool(pool, |stats| stats.forward_error.get() as i64));
    number(out, "fragments", 0);
    // Beside Twemproxy's fields: what clients asked of the pool, split requests counted once.
    number(out, "requests", observed.pool(pool, |stats| stats.requests.get() as i64));
    number(out, "requests_per_second", observed.requests_per_second(pool));
    for &server in order {
        out.push_str(&format!("{}: {{", quoted(&settings.pool.shards[server].name)));
        let sum = |value: fn(&ServerStats) -> i64| observed.server(pool, server, value);
        number(out, "server_eof", sum(|stats| stats.server_eof.get() as i64));
        number(out, "server_err", sum(|stats| stats.server_err.get() as i64));
        number(out, "server_timedout", sum(|stats| stats.server_timedout.get() as i64));
        number(out, "server_connections", sum(|stats| stats.connections.get()));
        number(out, "server_ejected_at", health.ejected_at(server) as i64);
        number(out, "requests", sum(|stats| stats.requests.get() as i64));
        number(out, "request_bytes", sum(|stats| stats.request_bytes.get() as i64));
        number(out, "responses", sum(|stats| stats.responses.get() as i64));
        number(out, "response_bytes", sum(|stats| stats.response_bytes.get() as i64));
        number(out, "in_queue", sum(|stats| stats.in_queue.get()));
        number(out, "in_queue_bytes", sum(|stats| stats.in_queue_bytes.get()));
        number(out, "out_queue", sum(|stats| stats.out_queue.get()));
        number(out, "out_queue_bytes", sum(|stats| stats.out_queue_bytes.get()));
        close(out);
    }
}

fn number(out: &mut String, name: &str, value: i64) {
    out.push_str(&format!("\"{name}\":{value}, "));
}

fn text(out: &mut String, name: &str, value: &str) {
    out.push_str(&format!("\"{name}\":{}, ", quoted(value)));
}

/// Ends an object, without the comma after its last field.
fn close(out: &mut String) {
    out.truncate(out.trim_end_matches([',', ' ']).len());
    out.push_str("}, ");
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// What `nutcracker --describe-stats` prints, in our words.
pub const DESCRIBED: &str = "\
pool stats:
  client_eof          \"# connections that clients closed\"
  client_err          \"# connections of clients that ended by an error\"
  client_connections  \"# connections of clients open now\"
  server_ejects       \"# times a server was ejected\"
  forward_error       \"# errors made up because a server did not answer\"
  fragments           \"# always 0 for Redis\"

server stats:
  server_eof          \"# connections that the server closed\"
  server_err          \"# connections to the server that ended by an error\"
  server_timedout     \"# connections to the server given up for silence\"
  server_connections  \"# connections to the server open now\"
  server_ejected_at   \"when the server was last ejected, in usec since the epoch\"
  requests            \"# requests forwarded\"
  request_bytes       \"their bytes\"
  responses           \"# replies received\"
  response_bytes      \"their bytes\"
  in_queue            \"# requests that wait to be sent\"
  in_queue_bytes      \"their bytes\"
  out_queue           \"# requests that wait for their reply\"
  out_queue_bytes     \"their bytes\"
";
