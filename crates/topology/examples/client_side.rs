//! Sharding on the client's side: the same crates that the proxy routes with, and no proxy.
//!
//! ```text
//! client_side nutcracker.yml|topology.json [--pool NAME] [--set VALUE | --get] KEY...
//! ```
//!
//! Prints the shard of each key. With `--set` or `--get` it asks the shard's primary, over one blocking
//! connection a key: an example of routing, not of a client.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an example reads files and connects"
)]
#![expect(clippy::print_stdout, reason = "it prints")]

use shoal_hashkit::Random;
use shoal_topology::{Endpoint, Pool, Route, Router, Topology, nutcracker};
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{SystemTime, UNIX_EPOCH};

const USAGE: &str =
    "usage: client_side nutcracker.yml|topology.json [--pool NAME] [--set VALUE | --get] KEY...";

enum Action {
    Show,
    Get,
    Set(String),
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or(USAGE)?;
    let (mut action, mut name, mut keys) = (Action::Show, None, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--pool" => name = Some(arguments.next().ok_or(USAGE)?),
            "--set" => action = Action::Set(arguments.next().ok_or(USAGE)?),
            "--get" => action = Action::Get,
            _ => keys.push(argument),
        }
    }
    let topology = read(&path)?;
    let pool = match &name {
        Some(name) => topology.pool(name),
        None => topology.pools.first(),
    };
    let pool = pool.ok_or("no such pool")?;
    let router = Router::new(pool, &pool.live())?;
    // Only the distribution `random` draws from it; Twemproxy seeds it with the time, too.
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut random = Random::seeded(u32::try_from(seconds & 0x7fff_ffff)?);
    for key in &keys {
        println!("{}", line(pool, router.route(key.as_bytes(), &mut random), key, &action)?);
    }
    Ok(())
}

fn read(path: &str) -> Result<Topology, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    if path.ends_with(".json") {
        return Ok(Topology::from_json(&bytes)?);
    }
    let config = nutcracker::Config::from_bytes(&bytes)?;
    config.refuse_memcached()?;
    Ok(config.to_topology(1))
}

fn line(pool: &Pool, route: Route, key: &str, action: &Action) -> Result<String, Box<dyn Error>> {
    let shard = match route {
        Route::Shard(index) => &pool.shards[index],
        Route::NoneLive => return Ok(format!("{key}\tno live shard")),
        Route::BadKey(error) => return Ok(format!("{key}\t{error}")),
    };
    let place = format!("{key}\t{}\t{}", shard.name, shard.primary);
    let reply = match action {
        Action::Show => return Ok(place),
        Action::Get => ask(&shard.primary, &["GET", key])?,
        Action::Set(value) => ask(&shard.primary, &["SET", key, value])?,
    };
    Ok(format!("{place}\t{reply}"))
}

/// Sends one command and gives its reply: a line, or a bulk string.
fn ask(endpoint: &Endpoint, command: &[&str]) -> Result<String, Box<dyn Error>> {
    match endpoint {
        Endpoint::Tcp { host, port } => exchange(TcpStream::connect((host.as_str(), *port))?, command),
        Endpoint::Unix { path } => exchange(UnixStream::connect(path)?, command),
    }
}

fn exchange<S: Read + Write>(mut stream: S, command: &[&str]) -> Result<String, Box<dyn Error>> {
    let mut request = format!("*{}\r\n", command.len());
    for word in command {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes())?;
    let mut replies = BufReader::new(stream);
    let mut first = String::new();
    replies.read_line(&mut first)?;
    match first.trim_end().split_at_checked(1) {
        Some(("$", "-1")) => Ok("(nil)".to_owned()),
        Some(("$", length)) => {
            let mut value = vec![0; length.parse()?];
            replies.read_exact(&mut value)?;
            Ok(String::from_utf8_lossy(&value).into_owned())
        }
        Some((_, text)) => Ok(text.to_owned()),
        None => Err("the server closed the connection".into()),
    }
}
