//! The return of an ejected shard to its pool, as a state machine without sockets and clocks.
//!
//! ```text
//!   look ▸ end old connections ▸ seal ▸ empty? ▸ unlink ▸ close the gate ▸ unlink the rest ▸ admit
//!    │            │               │       │        │             │               │             │
//!  server       server         workers  server  servers       workers         servers     health, workers
//! ```
//!
//! Invariant: a shard that is in never answers with a value that was overwritten or deleted through this proxy while it was
//! out; and for each key that this proxy wrote elsewhere, of all shards that are in, only the one that the key is routed to
//! may hold a copy. So nothing is stale after a return, nor at the next ejection.
//!
//! Invariant: what proxies that never lost a shard keep in it is not emptied by one that did, apart from the keys that both
//! wrote. A shard that nobody kept using is emptied once, by one proxy.
//!
//! The rule and its reasons are in `docs/decisions/0008-a-returning-shard-is-rid-of-what-may-be-stale.md`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use shoal_resp::encode;
use shoal_topology::{Route, Router};

use crate::moved_keys::Moved;
use crate::settings::PoolSettings;

pub mod gate;
pub mod reply;
pub mod seen;

use reply::Reply;
use seen::{MARKER, Seen, Verdict};

/// Keys in one UNLINK.
const UNLINK_KEYS: usize = 256;

/// Bytes of requests in one [`Step::Ask`], about.
const ASK_BYTES: usize = 128 * 1024;

/// What a return wants done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send these requests to this shard, always on the same connection, and hand in as many replies
    /// ([`Return::handle_replies`]).
    Ask {
        /// The shard, by index.
        shard: usize,
        /// The requests.
        requests: Vec<u8>,
        /// How many they are.
        replies: usize,
    },
    /// Have every worker seal its moved keys, and hand in its copy once what it sent before is answered
    /// ([`Return::handle_moved`]).
    Seal,
    /// The same, while requests for keys that will change their place are held from now on.
    Close,
    /// Tell each worker what of its sealed keys is left.
    Settle(Vec<Moved>),
    /// Let the shard in if the gate can be committed ([`Return::handle_admitted`]).
    Admit,
    /// It is over.
    End(Outcome),
}

/// How a return ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The shard is in.
    In(Verdict),
    /// Not this time, in these words.
    NotYet(String),
    /// The server refuses what must be done, in these words: a person has to help.
    HeldBack(String),
}

/// What a return must know.
#[derive(Debug)]
pub struct Context {
    /// The shard that wants to return, by index.
    pub shard: usize,
    /// The database of the pool.
    pub database: u32,
    /// What this proxy's connections call themselves.
    pub own_name: String,
    /// Which shards are in.
    pub live: Vec<bool>,
    /// How long ago the shard was lost, at least.
    pub lost_for: Duration,
    /// A person said that the shard may return with what it holds.
    pub by_hand: bool,
}

/// One attempt to bring a shard back.
#[derive(Debug)]
pub struct Return {
    context: Context,
    current: Router,
    next: Router,
    state: State,
    verdict: Verdict,
    seen: Option<Seen>,
    asks: VecDeque<Step>,
    kept: Vec<Moved>,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Looking,
    Ending,
    Sealing,
    Dating,
    Emptying,
    Unlinking { closed: bool },
    Settling { closed: bool },
    Closing,
    Admitting,
    Ended(Outcome),
}

impl Return {
    /// Begins with a look at the server.
    ///
    /// # Errors
    /// If the pool has no router, which its validation would have told.
    pub fn new(pool: &PoolSettings, context: Context) -> Result<Return, shoal_topology::Error> {
        let mut next_live = context.live.clone();
        next_live[context.shard] = true;
        let mut back = Return {
            current: Router::new(&pool.pool, &context.live)?,
            next: Router::new(&pool.pool, &next_live)?,
            context,
            state: State::Looking,
            verdict: Verdict::MustBeEmptied,
            seen: None,
            asks: VecDeque::new(),
            kept: Vec::new(),
        };
        back.ask(
            Seen::COMMANDS.iter().map(|words| words.iter().map(|word| word.as_bytes().to_vec()).collect()),
        );
        Ok(back)
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Step {
        match &self.state {
            State::Looking | State::Ending | State::Dating | State::Emptying | State::Unlinking { .. } => {
                match self.asks.front() {
                    Some(ask) => ask.clone(),
                    None => Step::End(Outcome::NotYet("nothing was asked".to_owned())),
                }
            }
            State::Sealing => Step::Seal,
            State::Closing => Step::Close,
            State::Settling { closed } => {
                self.state = if *closed { State::Admitting } else { State::Closing };
                Step::Settle(std::mem::take(&mut self.kept))
            }
            State::Admitting => Step::Admit,
            State::Ended(outcome) => Step::End(outcome.clone()),
        }
    }

    /// Takes the replies to the requests of the last [`Step::Ask`].
    pub fn handle_replies(&mut self, replies: &[Reply]) {
        self.asks.pop_front();
        match self.state {
            State::Looking => self.handle_look(replies),
            State::Ending | State::Unlinking { .. } => {
                if let Some(Reply::Error(words)) =
                    replies.iter().find(|reply| matches!(reply, Reply::Error(_)))
                    && !(self.context.by_hand && self.state == State::Ending)
                {
                    self.end(Outcome::HeldBack(words.clone()));
                } else if self.asks.is_empty() {
                    self.state = match self.state {
                        State::Unlinking { closed } => State::Settling { closed },
                        _ => State::Sealing,
                    };
                }
            }
            State::Dating => match (&mut self.seen, replies.first().and_then(seen::clock)) {
                (Some(seen), Some(clock)) => {
                    seen.clock = clock;
                    self.ask_to_empty();
                }
                _ => self.end(Outcome::NotYet("its answer to TIME is none".to_owned())),
            },
            State::Emptying => self.handle_emptied(replies),
            _ => {}
        }
    }

    /// Takes what the workers remember, one after another.
    pub fn handle_moved(&mut self, moved: Vec<Moved>) {
        let closed = self.state == State::Closing;
        let emptied = !closed && self.verdict == Verdict::MustBeEmptied;
        self.plan(moved, emptied, closed);
        if emptied {
            // The mark must not be older than need be: who lost the server after it empties it again.
            self.state = State::Dating;
            self.ask_first(std::iter::once(vec![b"TIME".to_vec()]));
        } else {
            self.begin_unlinking(closed);
        }
    }

    /// Takes whether the gate could be committed, and the shard is in.
    pub fn handle_admitted(&mut self, admitted: bool) {
        self.end(match admitted {
            true => Outcome::In(self.verdict),
            false => Outcome::NotYet("clients would have been held too long".to_owned()),
        });
    }

    /// Something that was to be done failed, in these words.
    pub fn handle_failed(&mut self, why: String) {
        self.end(Outcome::NotYet(why));
    }

    fn end(&mut self, outcome: Outcome) {
        self.asks.clear();
        self.state = State::Ended(outcome);
    }

    fn handle_look(&mut self, replies: &[Reply]) {
        let seen = match Seen::read(replies, self.context.database) {
            Ok(seen) => seen,
            Err(words) if words.starts_with("NOPERM") || words.starts_with("ERR") => {
                // Whoever lets it in by hand need not be told what the proxy may not look at.
                return match self.context.by_hand {
                    true => (self.verdict, self.state) = (Verdict::LetIn, State::Sealing),
                    false => self.end(Outcome::HeldBack(words)),
                };
            }
            Err(words) => return self.end(Outcome::NotYet(words)),
        };
        let own = &self.context.own_name;
        self.verdict = match seen.verdict(self.context.lost_for, own) {
            Verdict::MustBeEmptied if self.context.by_hand => Verdict::LetIn,
            verdict => verdict,
        };
        let left = seen.left_behind(self.context.lost_for, own, self.verdict == Verdict::MustBeEmptied);
        self.seen = Some(seen);
        if left.is_empty() {
            self.state = State::Sealing;
        } else {
            self.state = State::Ending;
            let kill =
                |id: u64| vec![b"CLIENT".to_vec(), b"KILL".to_vec(), b"ID".to_vec(), id.to_string().into()];
            self.ask(left.into_iter().map(kill));
        }
    }

    /// FLUSHDB and the marker, both or neither, and neither if another proxy touched the marker since the look.
    fn ask_to_empty(&mut self) {
        let mark = self.seen.as_ref().map(|seen| seen.mark(&self.context.own_name)).unwrap_or_default();
        let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
        self.state = State::Emptying;
        self.ask_first(
            [
                words(&[b"MULTI"]),
                words(&[b"FLUSHDB", b"ASYNC"]),
                words(&[b"SET", MARKER.as_bytes(), mark.as_bytes()]),
                words(&[b"EXEC"]),
            ]
            .into_iter(),
        );
    }

    fn handle_emptied(&mut self, replies: &[Reply]) {
        let errors = |replies: &[Reply]| {
            replies.iter().find_map(|reply| match reply {
                Reply::Error(words) => Some(words.clone()),
                _ => None,
            })
        };
        match (errors(replies), replies.last()) {
            (Some(words), _) => self.end(Outcome::HeldBack(words)),
            (None, Some(Reply::List(done))) => match errors(done) {
                Some(words) => self.end(Outcome::HeldBack(words)),
                None => self.begin_unlinking(false),
            },
            _ => self.end(Outcome::NotYet("another proxy is emptying it".to_owned())),
        }
    }

    fn begin_unlinking(&mut self, closed: bool) {
        if closed {
            // Still the same process, at the last moment: its connection would have ended otherwise.
            self.ask(std::iter::once(vec![b"PING".to_vec()]));
        }
        self.state = match self.asks.is_empty() {
            true => State::Settling { closed },
            false => State::Unlinking { closed },
        };
    }

    /// Decides for each copy of each moved key whether it is unlinked, stays because it is current and will be, or cannot be
    /// reached and is kept in mind.
    fn plan(&mut self, moved: Vec<Moved>, emptied: bool, closed: bool) {
        let returning = self.context.shard;
        // No pool of these draws lots, so the generator is never asked.
        let mut unused = shoal_hashkit::Random::seeded(0);
        let mut unlinks: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        let mut kept = Vec::new();
        for moved in &moved {
            let mut left = Moved::default();
            for (key, shards) in moved.iter() {
                let (now, then) = (self.current.route(key, &mut unused), self.next.route(key, &mut unused));
                for &number in shards {
                    let shard = usize::from(number);
                    let stays = now == then && now == Route::Shard(shard);
                    let reachable = shard == returning || self.context.live.get(shard) == Some(&true);
                    if stays || !reachable {
                        left.insert(key, number);
                    } else if !(emptied && !closed && shard == returning) {
                        unlinks.entry(shard).or_default().push(key);
                    }
                }
            }
            kept.push(left);
        }
        let mut asks = VecDeque::new();
        for (shard, keys) in unlinks {
            let (mut requests, mut replies) = (Vec::new(), 0);
            for some in keys.chunks(UNLINK_KEYS) {
                let words: Vec<&[u8]> = [&b"UNLINK"[..]].into_iter().chain(some.iter().copied()).collect();
                encode::command(&mut requests, &words);
                replies += 1;
                if requests.len() >= ASK_BYTES {
                    asks.push_back(Step::Ask { shard, requests: std::mem::take(&mut requests), replies });
                    replies = 0;
                }
            }
            if replies > 0 {
                asks.push_back(Step::Ask { shard, requests, replies });
            }
        }
        self.asks.extend(asks);
        self.kept = kept;
    }

    /// Asks the returning shard, when all is asked that is to be asked.
    fn ask(&mut self, commands: impl Iterator<Item = Vec<Vec<u8>>>) {
        self.ask_first(commands);
        self.asks.rotate_left(1);
    }

    /// Asks the returning shard before all else.
    fn ask_first(&mut self, commands: impl Iterator<Item = Vec<Vec<u8>>>) {
        let (mut requests, mut replies) = (Vec::new(), 0);
        for words in commands {
            encode::command(&mut requests, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
            replies += 1;
        }
        self.asks.push_front(Step::Ask { shard: self.context.shard, requests, replies });
    }
}

#[cfg(test)]
mod tests;
