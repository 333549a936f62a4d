//! The follower's connections: one to each sentinel and instance that is asked, and one to each sentinel on which its messages
//! come. None blocks; each answer is awaited for [`PATIENCE`].

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, sockopt};
use shoal_resp::encode;
use shoal_topology::Endpoint;

use super::look_ups::LookUps;
use crate::following::Whom;
use crate::io::tls_socket::{self, End};
use crate::io::worker::{open_tcp, words};
use crate::returning::reply::Reply;
use crate::server_auth::{ServerAuth, Tries};
use crate::tls::ServerTls;
use crate::tls::fault::{Fault, Reason};
use crate::tls::layer::Layer;

/// How long a connection or an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How long a connection that nobody asks anything on is kept.
const IDLE_KEPT: Duration = Duration::from_secs(30);

/// How often a connection on which messages come is asked whether it lives, and tried again.
const PING_EVERY: Duration = Duration::from_secs(5);
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Bytes of an answer or of messages that may wait to be read whole; a sentinel tells some 700 for each replica.
const UNREAD_MAX: usize = 4 * 1024 * 1024;

/// Messages that may wait to be looked at; each is only a reason to look.
const MESSAGES_MAX: usize = 1024;

/// What there is to say of an end that nobody explains.
const CLOSES: &str = "it closes the connection";

/// Whom a connection is to, and by which right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where.
    pub endpoint: Endpoint,
    /// As whom, if passwords are asked for.
    pub auth: Option<ServerAuth>,
    /// How it is spoken to by TLS, if it is.
    pub tls: Option<ServerTls>,
}

/// An answer, or why there is none.
#[derive(Debug)]
pub struct Answered {
    /// Who asked.
    pub asker: u64,
    /// Whom.
    pub whom: Whom,
    /// What it answered.
    pub answer: Result<Vec<Reply>, String>,
}

/// All connections.
pub struct Links {
    links: Vec<Link>,
    answers: VecDeque<Answered>,
    messages: VecDeque<(Target, Option<String>)>,
    resolved: (Sender<Resolved>, Receiver<Resolved>),
    look_ups: LookUps,
    bell: Arc<OwnedFd>,
    scratch: Box<[u8]>,
    next_link: u64,
    /// When each sentinel may be listened to again.
    again: BTreeMap<String, Instant>,
    listened: Vec<Target>,
    last_failure: String,
}

/// A name with its port, and its addresses.
type Resolved = ((String, u16), Result<Vec<SocketAddr>, String>);

struct Link {
    number: u64,
    target: Target,
    /// Messages come on it.
    listens: bool,
    state: State,
    unsent: Vec<u8>,
    unread: Vec<u8>,
    waiting: VecDeque<Waiting>,
    tries: Tries,
    used_at: Instant,
    /// On a link on which messages come: when it last sent something, and whether it was asked for a sign of life since.
    heard_at: Instant,
    pinged: bool,
}

enum State {
    Resolving,
    Connecting(OwnedFd, Vec<SocketAddr>),
    /// With TLS's layer, if there is one.
    Open(OwnedFd, Option<Box<Layer>>),
}

struct Waiting {
    /// Nobody, for what is said in greeting.
    asker: Option<(u64, Whom)>,
    replies: usize,
    read: Vec<Reply>,
    until: Instant,
}

impl Links {
    /// None yet. `bell` wakes [`Links::wait`].
    pub fn new(bell: Arc<OwnedFd>) -> Links {
        Links {
            links: Vec::new(),
            answers: VecDeque::new(),
            messages: VecDeque::new(),
            resolved: channel(),
            look_ups: LookUps::default(),
            bell,
            scratch: vec![0; 64 * 1024].into_boxed_slice(),
            next_link: 0,
            again: BTreeMap::new(),
            listened: Vec::new(),
            last_failure: String::new(),
        }
    }

    /// Asks `target` on behalf of `asker`; the answer comes by [`Links::poll_answer`].
    pub fn ask(&mut self, target: Target, asker: u64, whom: Whom, requests: &[u8], replies: usize) {
        let known = self.links.iter().position(|link| !link.listens && link.target == target);
        let Some(place) = known.or_else(|| self.open(target, false)) else {
            let why = self.last_failure.clone();
            self.answers.push_back(Answered { asker, whom, answer: Err(why) });
            return;
        };
        let link = &mut self.links[place];
        let until = Instant::now() + PATIENCE;
        link.unsent.extend_from_slice(requests);
        link.waiting.push_back(Waiting { asker: Some((asker, whom)), replies, read: Vec::new(), until });
        link.used_at = Instant::now();
        self.advance(place);
    }

    /// Listens to the messages of these sentinels from now on, and of no others.
    pub fn listen_to(&mut self, mut targets: Vec<Target>) {
        let mut all: Vec<Target> = Vec::new();
        targets.retain(|target| {
            let is_new = !all.contains(target);
            if is_new {
                all.push(target.clone());
            }
            is_new
        });
        self.links.retain(|link| !link.listens || targets.contains(&link.target));
        self.listened = targets;
    }

    /// The next answer.
    pub fn poll_answer(&mut self) -> Option<Answered> {
        self.answers.pop_front()
    }

    /// The next message of a sentinel; `None` for its text when some may have been missed.
    pub fn poll_message(&mut self) -> Option<(Target, Option<String>)> {
        self.messages.pop_front()
    }

    /// Waits until something comes or the bell rings, for `patience` at most, and does what is due.
    ///
    /// # Errors
    /// If waiting itself fails.
    pub fn wait(&mut self, patience: Duration) -> rustix::io::Result<()> {
        self.listen_again();
        let due =
            self.links.iter().filter_map(|link| link.waiting.front()).map(|waiting| waiting.until).min();
        let left = due.map_or(patience, |due| patience.min(due.saturating_duration_since(Instant::now())));
        // A microsecond too early would only mean another round.
        let left = left + Duration::from_micros(100);
        let mut sockets = vec![PollFd::new(&*self.bell, PollFlags::IN)];
        let mut numbers = Vec::new();
        for link in &self.links {
            let (socket, flags) = match &link.state {
                State::Resolving => continue,
                State::Connecting(socket, _) => (socket, PollFlags::OUT),
                State::Open(socket, layer) if link.waits_to_send(layer.as_deref()) => {
                    (socket, PollFlags::IN | PollFlags::OUT)
                }
                State::Open(socket, _) => (socket, PollFlags::IN),
            };
            sockets.push(PollFd::new(socket, flags));
            numbers.push(link.number);
        }
        match poll(&mut sockets, Some(&timespec(left))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let ready: Vec<u64> = sockets[1..]
            .iter()
            .zip(&numbers)
            .filter(|(socket, _)| !socket.revents().is_empty())
            .map(|(_, number)| *number)
            .collect();
        drop(sockets);
        self.hush();
        while let Ok((name, addresses)) = self.resolved.1.try_recv() {
            for number in self.look_ups.end(&name) {
                self.handle_resolved(number, addresses.clone());
            }
        }
        for number in ready {
            if let Some(place) = self.links.iter().position(|link| link.number == number) {
                self.advance(place);
            }
        }
        self.expire();
        Ok(())
    }

    /// Waits until the bell rings, for `patience` at most.
    ///
    /// # Errors
    /// If waiting itself fails.
    pub fn wait_for_bell(&self, patience: Duration) -> rustix::io::Result<()> {
        match poll(&mut [PollFd::new(&*self.bell, PollFlags::IN)], Some(&timespec(patience))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        self.hush();
        Ok(())
    }

    fn hush(&self) {
        let mut rung = [0; 8];
        // Nothing to read means that nobody rang.
        let _ = rustix::io::read(self.bell.as_fd(), &mut rung);
    }

    /// Begins a connection; `None` if it failed at once.
    fn open(&mut self, target: Target, listens: bool) -> Option<usize> {
        self.next_link += 1;
        let now = Instant::now();
        let mut link = Link {
            number: self.next_link,
            listens,
            state: State::Resolving,
            unsent: Vec::new(),
            unread: Vec::new(),
            waiting: VecDeque::new(),
            tries: Tries::default(),
            used_at: now,
            heard_at: now,
            pinged: false,
            target,
        };
        link.greet();
        let (number, endpoint) = (link.number, link.target.endpoint.clone());
        self.links.push(link);
        match endpoint {
            Endpoint::Unix { .. } => {
                self.handle_resolved(number, Err("a unix socket is not asked".to_owned()));
            }
            Endpoint::Tcp { host, port } => match host.parse() {
                Ok(address) => self.handle_resolved(number, Ok(vec![SocketAddr::new(address, port)])),
                Err(_) => self.resolve(number, (host, port)),
            },
        }
        self.links.iter().position(|link| link.number == number)
    }

    fn resolve(&mut self, number: u64, name: (String, u16)) {
        self.look_ups.retain(|waiting| self.links.iter().any(|link| link.number == waiting));
        if !self.look_ups.ask(&name, number) {
            return;
        }
        let (answer, bell, unasked) = (self.resolved.0.clone(), self.bell.clone(), name.clone());
        let look_up = move || {
            let addresses = (name.0.as_str(), name.1).to_socket_addrs();
            let addresses = addresses.map(Iterator::collect);
            let addresses = addresses.map_err(|error| format!("cannot resolve {}: {error}", name.0));
            // Whoever asked lives as long as the process.
            let _ = answer.send((name, addresses));
            super::ring(&bell);
        };
        if let Err(error) = thread::Builder::new().name("follower-name".to_owned()).spawn(look_up) {
            let _ = self.resolved.0.send((unasked, Err(error.to_string())));
            super::ring(&self.bell);
        }
    }

    fn handle_resolved(&mut self, number: u64, addresses: Result<Vec<SocketAddr>, String>) {
        let Some(place) = self.links.iter().position(|link| link.number == number) else { return };
        match addresses {
            Ok(addresses) => self.connect(place, addresses, "its name has no address".to_owned()),
            Err(why) => self.fail(place, &why),
        }
    }

    /// Tries the addresses in turn; `last` is why the one before them failed.
    fn connect(&mut self, place: usize, mut addresses: Vec<SocketAddr>, mut last: String) {
        while !addresses.is_empty() {
            let address = addresses.remove(0);
            match open_tcp(address) {
                Ok(socket) => {
                    self.links[place].state = State::Connecting(socket, addresses);
                    return;
                }
                Err(error) => last = words(error),
            }
        }
        self.fail(place, &last);
    }

    /// Goes on with a link as far as it goes without waiting.
    fn advance(&mut self, place: usize) {
        let link = &mut self.links[place];
        if let State::Connecting(socket, others) = &mut link.state {
            let outcome = sockopt::socket_error(&*socket).and_then(|outcome| outcome);
            match outcome {
                Err(error) => {
                    let others = std::mem::take(others);
                    return self.connect(place, others, words(error));
                }
                // Not connected yet, or just now: a peer tells which.
                Ok(()) if rustix::net::getpeername(&*socket).is_err() => return,
                Ok(()) => {
                    let State::Connecting(socket, _) = std::mem::replace(&mut link.state, State::Resolving)
                    else {
                        return;
                    };
                    match link.target.layer() {
                        Ok(layer) => link.state = State::Open(socket, layer),
                        Err(why) => return self.fail(place, &why),
                    }
                }
            }
        }
        let exchanged = self.links[place].exchange(&mut self.scratch);
        // What it said before it closed tells more than that it did.
        if let Err(why) = self.read_replies(place).and(exchanged) {
            self.fail(place, &why);
        }
    }

    fn read_replies(&mut self, place: usize) -> Result<(), String> {
        let link = &mut self.links[place];
        let mut at = 0;
        while let Some((reply, length)) = Reply::read(&link.unread[at..])? {
            at += length;
            link.heard_at = Instant::now();
            link.pinged = false;
            let Some(waiting) = link.waiting.front_mut() else {
                if !link.listens {
                    return Err("it says what it was not asked".to_owned());
                }
                let message = match &reply {
                    Reply::List(words) => words.last().and_then(Reply::text),
                    _ => None,
                };
                if let Some(text) = message
                    && self.messages.len() < MESSAGES_MAX
                {
                    self.messages.push_back((link.target.clone(), Some(text.to_owned())));
                }
                continue;
            };
            if waiting.asker.is_none() {
                let refusal = match &reply {
                    Reply::Error(words) => Some(words),
                    _ => None,
                };
                if link.tries.refused(refusal.is_some()) {
                    let words = refusal.map_or("", |words| words.as_str());
                    return Err(format!("it refuses the proxy: {words}"));
                }
            }
            waiting.read.push(reply);
            if waiting.read.len() < waiting.replies {
                continue;
            }
            let Some(done) = link.waiting.pop_front() else { continue };
            match done.asker {
                Some((asker, whom)) => {
                    self.answers.push_back(Answered { asker, whom, answer: Ok(done.read) });
                }
                // It listens from now on: what happened before may not have been heard.
                None if link.listens && link.waiting.is_empty() => {
                    self.messages.push_back((link.target.clone(), None));
                }
                None => {}
            }
        }
        link.unread.drain(..at);
        match link.unread.len() {
            0..=UNREAD_MAX => Ok(()),
            _ => Err("it does not come to an end of its answer".to_owned()),
        }
    }

    /// Gives a link up; whoever waits on it is told why.
    fn fail(&mut self, place: usize, why: &str) {
        let link = self.links.swap_remove(place);
        why.clone_into(&mut self.last_failure);
        if link.listens {
            self.again.insert(link.target.endpoint.to_string(), Instant::now() + LISTEN_AGAIN);
        }
        for (asker, whom) in link.waiting.into_iter().filter_map(|waiting| waiting.asker) {
            self.answers.push_back(Answered { asker, whom, answer: Err(why.to_owned()) });
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let mut place = 0;
        while let Some(link) = self.links.get_mut(place) {
            let is_late = link.waiting.front().is_some_and(|waiting| waiting.until <= now);
            let is_deaf = link.listens && link.pinged && link.heard_at + 2 * PING_EVERY <= now;
            if link.listens && !link.pinged && link.waiting.is_empty() && link.heard_at + PING_EVERY <= now {
                link.pinged = true;
                encode::command(&mut link.unsent, &[b"PING"]);
            }
            if is_late || is_deaf {
                let why = match &link.state {
                    State::Open(_, Some(layer)) if layer.is_shaking_hands() => {
                        words_of(&Fault::of(Reason::TimedOut))
                    }
                    _ => format!("it does not answer within {} ms", PATIENCE.as_millis()),
                };
                self.fail(place, &why);
            } else if !link.listens && link.waiting.is_empty() && link.used_at + IDLE_KEPT <= now {
                self.links.swap_remove(place);
            } else {
                place += 1;
            }
        }
    }

    fn listen_again(&mut self) {
        let now = Instant::now();
        for target in self.listened.clone() {
            let is_there = self.links.iter().any(|link| link.listens && link.target == target);
            let waits = self.again.get(&target.endpoint.to_string()).is_some_and(|again| *again > now);
            if !is_there && !waits {
                // What failed at once is tried again by the next look, when that is due.
                let _ = self.open(target, true);
            }
        }
    }
}

impl Target {
    /// The layer of a connection to it that has just been made; none where TLS is not spoken.
    fn layer(&self) -> Result<Option<Box<Layer>>, String> {
        let Some(tls) = &self.tls else { return Ok(None) };
        // Sentinels name whom they like.
        let name = tls
            .name_of(&self.endpoint)
            .ok_or("it has no name that a certificate can have: say server_name in server_tls")?;
        let layer = Layer::connect(&tls.config, name).map_err(|fault| words_of(&fault))?;
        Ok(Some(Box::new(layer)))
    }
}

impl Link {
    /// Says what is said before anything is asked.
    fn greet(&mut self) {
        let mut greetings = self.target.auth.as_ref().map_or(0, |auth| auth.greet(&mut self.unsent));
        self.tries = Tries::begin(self.target.auth.as_ref());
        if self.listens {
            encode::command(&mut self.unsent, &[b"PSUBSCRIBE", b"*"]);
            greetings += 1;
        }
        let until = Instant::now() + PATIENCE;
        for _ in 0..greetings {
            self.waiting.push_back(Waiting { asker: None, replies: 1, read: Vec::new(), until });
        }
    }

    /// Whether there is something that the socket does not take yet.
    fn waits_to_send(&self, layer: Option<&Layer>) -> bool {
        match layer {
            None => !self.unsent.is_empty(),
            Some(layer) => layer.has_sealed() || !(self.unsent.is_empty() || layer.is_shaking_hands()),
        }
    }

    /// Sends what is to be sent and reads what has come.
    fn exchange(&mut self, scratch: &mut [u8]) -> Result<(), String> {
        match &mut self.state {
            State::Open(_, Some(_)) => self.exchange_sealed(scratch),
            State::Open(_, None) => self.exchange_plain(scratch),
            State::Resolving | State::Connecting(..) => Ok(()),
        }
    }

    /// The same by TLS. Nothing is said before the other side has shown who it is.
    fn exchange_sealed(&mut self, scratch: &mut [u8]) -> Result<(), String> {
        let State::Open(socket, Some(layer)) = &mut self.state else { return Ok(()) };
        tls_socket::flush(layer, &*socket).map_err(words)?;
        while self.unread.len() <= UNREAD_MAX {
            let received = tls_socket::receive(layer, &*socket, scratch, &mut self.unread);
            match received.end {
                None if received.full => {}
                None => break,
                Some(End::Eof) => return Err(CLOSES.to_owned()),
                Some(End::System(error)) => return Err(words(error)),
                Some(End::Fault(fault)) => return Err(words_of(&fault)),
            }
        }
        if !layer.is_shaking_hands() {
            let count = tls_socket::send(layer, &*socket, &self.unsent).map_err(words)?;
            self.unsent.drain(..count);
        }
        Ok(())
    }

    fn exchange_plain(&mut self, scratch: &mut [u8]) -> Result<(), String> {
        let State::Open(socket, None) = &self.state else { return Ok(()) };
        while !self.unsent.is_empty() {
            match rustix::net::send(socket, &self.unsent, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(words(error)),
            }
        }
        while self.unread.len() <= UNREAD_MAX {
            match rustix::net::recv(socket, &mut scratch[..], RecvFlags::empty()) {
                Ok((0, _)) => return Err(CLOSES.to_owned()),
                Ok((count, _)) => self.unread.extend_from_slice(&scratch[..count]),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(words(error)),
            }
        }
        Ok(())
    }
}

fn timespec(span: Duration) -> Timespec {
    Timespec { tv_sec: span.as_secs() as i64, tv_nsec: i64::from(span.subsec_nanos()) }
}

/// Why TLS came to nothing.
fn words_of(fault: &Fault) -> String {
    format!("it {fault}")
}
