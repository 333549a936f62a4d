//! Walks cases through a proxy and gathers what did not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use super::data::{Case, Expectation, Server, Step, differences};
use crate::{
    Answer, Config, End, FakeServer, Nutcracker, Pool, Proxy, RawClient, RedisServer, ShoalProxy, Workplace,
    escape, ports, wait,
};

/// Name of the one pool of a case.
const POOL: &str = "alpha";

/// Whose proxy a case is walked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// The real one: the data must be true.
    Nutcracker,
    /// Ours, started in its place.
    Shoal,
    /// Ours with a switch that restores Twemproxy's way.
    Switched {
        /// The switch.
        flags: Vec<String>,
        /// The differences that it takes away.
        differences: BTreeSet<String>,
    },
}

impl Side {
    /// Ours once with each switch of the table.
    #[must_use]
    pub fn switched() -> Vec<Self> {
        let mut switches: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
        for row in differences().into_iter().filter(|row| !row.switch.is_empty()) {
            switches.entry(row.switch).or_default().insert(row.id);
        }
        switches.into_iter().map(|(flags, differences)| Self::Switched { flags, differences }).collect()
    }

    /// Whether the side does as Twemproxy where this difference is named.
    #[must_use]
    pub fn is_as_twemproxy(&self, difference: &str) -> bool {
        match self {
            Self::Nutcracker => true,
            Self::Shoal => false,
            Self::Switched { differences, .. } => differences.contains(difference),
        }
    }

    /// Starts the side's proxy.
    ///
    /// # Panics
    /// When it is not installed or built, or does not start.
    #[must_use]
    pub fn start(&self, workplace: &Workplace, config: &Config) -> Box<dyn Proxy> {
        match self {
            Self::Nutcracker => Box::new(Nutcracker::start(workplace, config)),
            Self::Shoal => Box::new(ShoalProxy::start(workplace, config)),
            Self::Switched { flags, .. } => {
                let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
                Box::new(ShoalProxy::start_with(workplace, config, &flags))
            }
        }
    }
}

/// One walk through many cases: shares the servers that are slow to start.
#[derive(Debug)]
pub struct Walk {
    side: Side,
    workplace: Workplace,
    shared: Vec<RedisServer>,
    failures: Vec<String>,
    walked: usize,
}

impl Walk {
    /// Begins a walk.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self { side, workplace: Workplace::new(), shared: Vec::new(), failures: Vec::new(), walked: 0 }
    }

    /// Walks one case, and keeps what failed for [`Walk::end`].
    pub fn case(&mut self, file: &str, case: &Case) {
        self.walked += 1;
        let begun = Instant::now();
        let side = self.side.clone();
        // A proxy that does not even start fails this case, not the walk.
        let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut stage = Stage::set(self, case);
            stage.play(&side, case).map_err(|failure| format!("{failure}\n{}", stage.proxy.log()))
        }));
        let failure = match played {
            Ok(played) => played.err(),
            Err(panic) => Some(panic.downcast_ref::<String>().cloned().unwrap_or_default()),
        };
        self.failures.extend(failure.map(|failure| format!("{file}: {}\n{failure}", case.case)));
        if std::env::var_os("SHOAL_VERBOSE").is_some() {
            eprintln!("{:5} ms  {:?}  {}", begun.elapsed().as_millis(), self.side, case.case);
        }
    }

    /// Ends the walk.
    ///
    /// # Panics
    /// When a case failed, or none was walked.
    #[track_caller]
    pub fn end(self) {
        assert!(self.walked > 0, "no case was walked");
        assert!(
            self.failures.is_empty(),
            "{} of {} cases failed through {:?}:\n\n{}",
            self.failures.len(),
            self.walked,
            self.side,
            self.failures.join("\n\n")
        );
    }

    /// The shared Redis number `index`, empty.
    fn redis(&mut self, index: usize) -> &RedisServer {
        while self.shared.len() <= index {
            self.shared.push(RedisServer::start(&self.workplace, &[]));
        }
        let server = &self.shared[index];
        server.flush();
        server
    }
}

/// Everything that one case needs, running.
struct Stage {
    proxy: Box<dyn Proxy>,
    own: BTreeMap<usize, RedisServer>,
    addrs: Vec<String>,
    /// Kept alive for the case.
    _fakes: Vec<FakeServer>,
    clients: BTreeMap<String, RawClient>,
}

impl Stage {
    fn set(walk: &mut Walk, case: &Case) -> Self {
        let (mut own, mut fakes, mut addrs) = (BTreeMap::new(), Vec::new(), Vec::new());
        let usual = [Server::Redis, Server::Redis];
        let servers = if case.servers.is_empty() { &usual[..] } else { &case.servers };
        for (index, server) in servers.iter().enumerate() {
            let mut fake = |answer| {
                let fake = FakeServer::start(answer);
                let addr = fake.addr().to_string();
                fakes.push(fake);
                addr
            };
            addrs.push(match server {
                Server::Redis => walk.redis(index).addr().to_string(),
                Server::Own(args) => {
                    let args: Vec<&str> = args.iter().map(String::as_str).collect();
                    let server = RedisServer::start(&walk.workplace, &args);
                    let addr = server.addr().to_string();
                    own.insert(index, server);
                    addr
                }
                Server::Dead => format!("127.0.0.1:{}", ports::free()),
                Server::Unresolvable => "nowhere.invalid:6379".to_owned(),
                Server::Silent => fake(Answer::Silence),
                Server::Closes => fake(Answer::Close),
                Server::Resets => fake(Answer::Reset),
                Server::Answers(bytes) => fake(Answer::Bytes(escape::unescape(bytes).expect("an answer"))),
                Server::Connection => fake(Answer::Connection),
                Server::Transcript => fake(Answer::Transcript),
            });
        }
        let lines = addrs.iter().enumerate().map(|(index, addr)| format!("{addr}:1 s{index}")).collect();
        let mut pool = Pool::new(POOL, lines).key("hash", "fnv1a_64").key("distribution", "modula");
        for (key, value) in &case.pool {
            pool.keys.retain(|(other, _)| other != key);
            if let Some(value) = value {
                let value = value.replace("{workplace}", &walk.workplace.path().to_string_lossy());
                pool = pool.key(key, &value);
            }
        }
        let config = Config { pools: vec![pool], flags: case.flags.clone() };
        let proxy = walk.side.start(&walk.workplace, &config);
        Self { proxy, own, addrs, _fakes: fakes, clients: BTreeMap::new() }
    }

    fn play(&mut self, side: &Side, case: &Case) -> Result<(), String> {
        for (number, step) in case.steps.iter().enumerate() {
            let failed = |why| format!("  step {} ({}): {why}", number + 1, step.describe());
            self.step(step, &expected(side, step).map_err(failed)?).map_err(failed)?;
        }
        std::mem::take(&mut self.clients).into_iter().try_for_each(|(name, client)| {
            finish(client).map_err(|why| format!("  client {name} at the end: {why}"))
        })
    }

    fn step(&mut self, step: &Step, expected: &Expectation) -> Result<(), String> {
        let no_such = || "only an `own` server can be stopped or killed".to_owned();
        if let Some(index) = step.stop {
            self.own.get(&index).ok_or_else(no_such)?.stop();
        }
        if let Some(index) = step.resume {
            self.own.get(&index).ok_or_else(no_such)?.resume();
        }
        for index in [step.kill, step.restart].into_iter().flatten() {
            // Its own client goes with it.
            self.clients.remove(&of_server(index));
        }
        if let Some(index) = step.kill {
            self.own.get_mut(&index).ok_or_else(no_such)?.kill();
        }
        if let Some(index) = step.restart {
            self.own.get_mut(&index).ok_or_else(no_such)?.restart();
        }
        let mut bytes = Vec::new();
        if let Some(words) = &step.send {
            bytes = crate::raw_client::encode(&escape::words(words)?);
        }
        if let Some(raw) = &step.raw {
            bytes.extend(escape::unescape(raw)?);
        }
        if bytes.is_empty() && *expected == Expectation::Nothing && !step.shut {
            return Ok(());
        }
        if step.eventually {
            return self.eventually(step, &bytes, expected);
        }
        let name = step.client_name();
        let mut client = match self.clients.remove(&name) {
            Some(client) => client,
            None => self.connect(step)?,
        };
        client.send(&bytes);
        if step.shut {
            client.half_close();
        }
        let stays = check(&mut client, expected)?;
        if stays {
            self.clients.insert(name, client);
        }
        Ok(())
    }

    /// Each try reads one whole reply on a connection of its own, so that none inherits another's bytes.
    fn eventually(&self, step: &Step, bytes: &[u8], expected: &Expectation) -> Result<(), String> {
        let mut last = String::new();
        let came = wait::at_most(wait::DEADLINE, || {
            let tried = self.connect(step).and_then(|mut client| {
                client.send(bytes);
                match (expected, client.reply()) {
                    (Expectation::Bytes(want), Ok(got)) if got == *want => Ok(()),
                    (Expectation::Starts(want), Ok(got)) if got.starts_with(want) => Ok(()),
                    (_, got) => Err(format!("expected {expected:?}, got {got:?}")),
                }
            });
            tried.map_err(|why| last = why).ok()
        });
        came.ok_or(last)
    }

    fn connect(&self, step: &Step) -> Result<RawClient, String> {
        let Some(index) = step.direct else { return Ok(self.proxy.client(POOL)) };
        let addr = self.addrs.get(index).and_then(|addr| addr.parse().ok());
        let addr = addr.ok_or_else(|| format!("no server {index}"))?;
        RawClient::try_connect(addr).map_err(|error| format!("server {index}: {error}"))
    }
}

impl Step {
    fn client_name(&self) -> String {
        match self.direct {
            Some(index) => of_server(index),
            None => self.client.clone().unwrap_or_else(|| "a".to_owned()),
        }
    }

    fn describe(&self) -> String {
        self.send.clone().or_else(|| self.raw.clone()).unwrap_or_else(|| "no bytes".to_owned())
    }
}

/// The name of the client that speaks to a server itself.
fn of_server(index: usize) -> String {
    format!("of server {index}")
}

/// What this side must answer at this step.
fn expected(side: &Side, step: &Step) -> Result<Expectation, String> {
    match &step.ours {
        Some(ours) if !side.is_as_twemproxy(&ours.difference) => ours.expectation(),
        _ => step.expectation(),
    }
}

/// What every connection that is left owes: it is still open, nothing comes that no step asked for, and it ends
/// when the client shuts its side.
fn finish(mut client: RawClient) -> Result<(), String> {
    client.send_command(&["PING"]);
    match client.reply() {
        // Who has not logged in is refused, and that is an answer too.
        Ok(pong) if pong == b"+PONG\r\n" || pong.starts_with(b"-NOAUTH") => {}
        Ok(other) => return Err(format!("PING is answered {}", escape::show(&other))),
        Err((end, got)) => return Err(format!("PING is not answered: {} ({end:?})", escape::show(&got))),
    }
    client.half_close();
    match client.read_up_to(usize::MAX) {
        (rest, End::Closed) if rest.is_empty() => Ok(()),
        (rest, end) => Err(format!("{} ({end:?})", escape::show(&rest))),
    }
}

/// Reads what is expected; whether the connection goes on.
fn check(client: &mut RawClient, expected: &Expectation) -> Result<bool, String> {
    let differs = |want: &[u8], got: &[u8], end| {
        let (want, got) = (escape::show(want), escape::show(got));
        format!("\n    expected {expected}{want}\n         got {got} ({end:?})", expected = expected.prefix())
    };
    match expected {
        Expectation::Nothing => Ok(true),
        Expectation::Bytes(want) => match client.read_up_to(want.len()) {
            (got, End::Enough) if got == *want => Ok(true),
            (mut got, end) => {
                // The rest helps whoever reads the failure.
                client.set_deadline(Duration::from_millis(100));
                got.extend(client.read_up_to(usize::MAX).0);
                Err(differs(want, &got, end))
            }
        },
        Expectation::Starts(want) => match client.reply() {
            Ok(got) if got.starts_with(want) => Ok(true),
            Ok(got) => Err(differs(want, &got, End::Enough)),
            Err((end, got)) => Err(differs(want, &got, end)),
        },
        Expectation::Closed(want) => match client.read_up_to(usize::MAX) {
            (got, End::Closed) if got == *want => Ok(false),
            (got, end) => Err(differs(want, &got, end)),
        },
    }
}

impl Expectation {
    fn prefix(&self) -> &'static str {
        match self {
            Self::Nothing | Self::Bytes(_) => "",
            Self::Starts(_) => "a start of ",
            Self::Closed(_) => "the end after ",
        }
    }
}
