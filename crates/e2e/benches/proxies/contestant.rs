//! Who is measured, and how each is started.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use shoal_e2e::{Nutcracker, Process, ShoalProxy, Workplace, ports, process, wait};

use crate::{Fallible, forwarder};

/// Whom all others are compared with.
pub const NUTCRACKER: &str = "nutcracker";
/// Ours, with one worker as nutcracker has.
pub const SHOAL: &str = "shoal";
/// Nobody: the load asks one server.
pub const DIRECT: &str = "direct";

/// Twemproxy's flags, for whoever is started in its place.
const TWEMPROXY_FLAGS: &str = "-c {conf} -o {log} -a 127.0.0.1 -s {stats}";

/// Usual time limit of servers, milliseconds.
const TIMEOUT: u32 = 400;
/// The same where servers are stopped meanwhile.
const LONG_TIMEOUT: u32 = 60_000;

/// Somebody who is measured.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// Its name in options and tables.
    pub name: String,
    /// Words of its command, with `{…}` unfilled; empty for [`DIRECT`].
    command: Vec<String>,
    /// Its servers must answer within this, milliseconds.
    timeout: u32,
}

/// A contestant given on the command line as `NAME=COMMAND`.
#[derive(Clone, Debug)]
pub struct Peer(Contestant);

/// A started contestant, ended on drop.
pub struct Started {
    process: Option<Process>,
    /// Where it takes requests.
    pub port: u16,
    /// A directory of its own.
    pub dir: PathBuf,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').ok_or("must be NAME=COMMAND")?;
        let flags = if command.contains('{') { "" } else { TWEMPROXY_FLAGS };
        let contestant = Contestant::new(name, &format!("{command} {flags}"));
        if name.is_empty() || command.trim().is_empty() {
            return Err("must be NAME=COMMAND".to_owned());
        }
        Ok(Self(contestant))
    }
}

/// The contestants of these names, all for none; in the order in which they take turns.
pub fn chosen(names: &[String], peers: &[Peer]) -> Fallible<Vec<Contestant>> {
    let ours = ["shoal", "shoal-all"];
    let mut known = vec![NUTCRACKER, ours[0], ours[1], "floor", DIRECT];
    known.extend(peers.iter().map(|peer| peer.0.name.as_str()));
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no contestant {name}; there are {}", known.join(", ")).into());
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|other| other == name);

    let mut all = Vec::new();
    if wanted(NUTCRACKER) {
        all.push(Contestant::nutcracker());
    }
    for (name, workers) in [(ours[0], "--workers 1"), (ours[1], "")] {
        if wanted(name) {
            all.push(Contestant::shoal(name, workers));
        }
    }
    if wanted("floor") {
        let program = std::env::current_exe()?;
        let command = format!("{} {} {{port}} {{servers}}", program.display(), forwarder::VERB);
        all.push(Contestant::new("floor", &command));
    }
    if wanted(DIRECT) {
        all.push(Contestant::new(DIRECT, ""));
    }
    all.extend(peers.iter().filter(|peer| wanted(&peer.0.name)).map(|peer| peer.0.clone()));
    Ok(all)
}

/// Those whose memory is compared, with one worker and with two.
pub fn for_memory() -> Vec<Contestant> {
    let shoal = |workers| Contestant::shoal(&format!("shoal-{workers}"), &format!("--workers {workers}"));
    let all = [Contestant::nutcracker(), shoal(1), shoal(2)];
    all.into_iter().map(|contestant| Contestant { timeout: LONG_TIMEOUT, ..contestant }).collect()
}

impl Contestant {
    fn nutcracker() -> Self {
        Self::new(NUTCRACKER, &format!("{} {TWEMPROXY_FLAGS}", Nutcracker::program().display()))
    }

    fn shoal(name: &str, workers: &str) -> Self {
        let command = "proxy --nutcracker {conf} -o {log} -s {stats}";
        Self::new(name, &format!("{} {command} {workers}", ShoalProxy::program().display()))
    }

    fn new(name: &str, command: &str) -> Self {
        let command = command.split_whitespace().map(str::to_owned).collect();
        Self { name: name.to_owned(), command, timeout: TIMEOUT }
    }

    /// What it says of its version, where it is a program that knows `--version`.
    pub fn version(&self) -> Option<String> {
        if !["nutcracker", "shoal", "shoal-1"].contains(&self.name.as_str()) {
            return None;
        }
        let output = std::process::Command::new(self.command.first()?).arg("--version").output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().next().map(str::to_owned)
    }

    /// Starts it in front of these servers and waits until it listens.
    pub fn start(&self, workplace: &Workplace, servers: &[String], first_port: u16) -> Fallible<Started> {
        let dir = workplace.subdir(&self.name);
        let Some(program) = self.command.first() else {
            return Ok(Started { process: None, port: first_port, dir });
        };
        let port = ports::free();
        let conf = dir.join("nutcracker.yml");
        std::fs::write(&conf, configuration(port, servers, self.timeout))?;
        let log = dir.join("log");
        let words = self.command[1..].iter().flat_map(|word| match word.as_str() {
            "{servers}" => servers.to_vec(),
            _ => vec![
                word.replace("{conf}", &conf.to_string_lossy())
                    .replace("{log}", &log.to_string_lossy())
                    .replace("{dir}", &dir.to_string_lossy())
                    .replace("{port}", &port.to_string())
                    .replace("{stats}", &ports::free().to_string()),
            ],
        });
        let words: Vec<String> = words.collect();
        let program =
            if program.contains('/') { PathBuf::from(program) } else { process::installed(program, program) };
        let mut process = Process::start(Path::new(&program), &words, &log);
        let listens = wait::at_most(wait::DEADLINE, || {
            if process.ended().is_some() {
                return Some(false);
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(|_| true)
        });
        if listens == Some(true) {
            Ok(Started { process: Some(process), port, dir })
        } else {
            Err(format!("{} does not start: {}", self.name, process.log()).into())
        }
    }
}

impl Started {
    /// The process id; none for [`DIRECT`].
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }
}

/// One pool in Twemproxy's form. Servers have names, so that keys live at the same shard in every run,
/// whatever the ports.
fn configuration(port: u16, servers: &[String], timeout: u32) -> String {
    let mut yaml = format!(
        "bench:\n  listen: 127.0.0.1:{port}\n  redis: true\n  hash: fnv1a_64\n  distribution: ketama\n  timeout: {timeout}\n  servers:\n"
    );
    for (number, server) in servers.iter().enumerate() {
        yaml.push_str(&format!("    - {server}:1 shard{number}\n"));
    }
    yaml
}
