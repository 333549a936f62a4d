//! The way out: bytes of a client become requests, and requests find their servers.

use shoal_resp::command::{self, Command, Flags, Group};
use shoal_resp::encode;
use shoal_resp::request::{Parsed, Progress, Span, inline_to_multibulk, resume_request};
use shoal_topology::Route;

use super::detour::Detoured;
use super::stream::{Begun, COLLECTED_MAX, STREAMED_MIN};
use super::{Engine, touch};
use crate::arena::Key;
use crate::failure::Failure;
use crate::local::{self, About, Local};
use crate::policy::{ANYWHERE_KEY, Policy};
use crate::session::{Hold, Phase, Protocol, Unfinished};
use crate::settings::Dialect;

const TOO_LONG_TO_COLLECT: &str = "ERR Protocol error: the request cannot be routed by its first words, and is longer than \
                                   the 64 MiB that the proxy collects of such";

/// What became of a request.
pub(super) enum Taken {
    /// It was answered, forwarded or refused.
    Yes,
    /// It must wait; the same bytes come again when the hold is over.
    NotYet(Hold),
    /// It was forwarded, and nothing may follow it before the hold is over.
    Last(Hold),
}

/// The request at hand.
#[derive(Clone, Copy)]
pub(super) struct Request<'r> {
    pub(super) session: Key,
    pub(super) pool: usize,
    pub(super) protocol: Protocol,
    pub(super) lane: usize,
    pub(super) raw: &'r [u8],
    pub(super) args: &'r [Span],
}

impl<'r> Request<'r> {
    pub(super) fn word(&self, index: usize) -> &'r [u8] {
        self.args[index].of(self.raw)
    }
}

impl Engine {
    /// Takes what the client of `key` sent, in pieces of any size.
    pub fn handle_session_bytes(&mut self, key: Key, bytes: &[u8]) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.phase != Phase::Open {
            return; // what comes after QUIT or after an error of protocol is not read
        }
        session.traffic.heard(bytes.len(), self.now);
        if session.input.is_empty() && session.hold.is_none() {
            let used = self.take_requests(key, bytes);
            if used < bytes.len()
                && let Some(session) = self.sessions.get_mut(key)
                && session.phase == Phase::Open
            {
                self.buffers.append(&mut session.input, &bytes[used..]);
            }
        } else {
            self.buffers.append(&mut session.input, bytes);
            if session.hold.is_none() {
                self.take_input(key);
            }
        }
    }

    /// The reason to hold `key` may be over: goes on with what has arrived, and reads on if nothing is left of it.
    pub(super) fn resume(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        match session.hold {
            None => return,
            Some(Hold::Barrier | Hold::Blocked) if session.outstanding() > 0 => return,
            Some(_) => session.hold = None,
        }
        self.take_input(key);
        let Some(session) = self.sessions.get(key) else { return };
        if session.hold.is_none() {
            self.actions.push_back(super::Action::Read(key));
            self.finish_if_drained(key);
        }
    }

    /// Takes the requests that have arrived whole in the session's input.
    fn take_input(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let mut input = std::mem::take(&mut session.input);
        let used = self.take_requests(key, input.as_slice());
        input.consume(used);
        self.buffers.reclaim(&mut input);
        match self.sessions.get_mut(key) {
            Some(session) => session.input = input,
            None => self.buffers.release(input),
        }
    }

    /// Takes requests from the front of `bytes`; how many bytes of them are done with.
    fn take_requests(&mut self, key: Key, bytes: &[u8]) -> usize {
        let mut args = std::mem::take(&mut self.args);
        let mut at = 0;
        while at < bytes.len() {
            let Some(session) = self.sessions.get_mut(key) else { break };
            if session.phase != Phase::Open {
                break;
            }
            if session.stream.is_some() {
                at += self.stream_on(key, &bytes[at..]);
                if self.sessions.get(key).is_some_and(|session| session.hold.is_some()) {
                    break;
                }
                continue;
            }
            if let Err(hold) = session.capacity() {
                session.hold = Some(hold);
                break;
            }
            let pool = session.pool;
            let limits = if session.authenticated { &self.limits } else { &self.limits_before_auth };
            let rest = &bytes[at..];
            let mut progress = Progress::default();
            if let Some(unfinished) = session.unfinished.take() {
                (progress, args) = (unfinished.progress, unfinished.args);
            }
            match resume_request(rest, limits, &mut progress, &mut args) {
                Ok(Parsed::Request { len, inline }) => {
                    let taken = match inline {
                        false => self.take_request(key, &rest[..len], &args),
                        true => self.take_inline(key, &rest[..len], &mut args),
                    };
                    match taken {
                        Taken::Yes => {
                            at += len;
                            self.pools[pool].counts.pool.requests.add(1);
                        }
                        Taken::NotYet(hold) => {
                            self.hold_back(key, hold);
                            break;
                        }
                        Taken::Last(hold) => {
                            at += len;
                            self.pools[pool].counts.pool.requests.add(1);
                            self.hold(key, hold);
                            break;
                        }
                    }
                }
                Ok(Parsed::Nothing { len }) => at += len,
                Ok(Parsed::Partial { declared }) => {
                    if rest.len() >= STREAMED_MIN && declared > 0 {
                        let (protocol, lane) = (session.protocol, usize::from(session.lane));
                        let request = Request { session: key, pool, protocol, lane, raw: rest, args: &args };
                        match self.begin_stream(request, declared as usize) {
                            Begun::Yes => {
                                self.pools[pool].counts.pool.requests.add(1);
                                continue;
                            }
                            Begun::Hold(hold) => {
                                self.hold_back(key, hold);
                                break;
                            }
                            Begun::No if rest.len() > COLLECTED_MAX => {
                                self.end_with_error(key, TOO_LONG_TO_COLLECT);
                                break;
                            }
                            Begun::No => {}
                        }
                    }
                    let Some(session) = self.sessions.get_mut(key) else { break };
                    // Small ones are read again from their start, which is cheaper than to remember.
                    if declared > 0 && rest.len() > 4096 {
                        session.unfinished =
                            Some(Box::new(Unfinished { progress, args: std::mem::take(&mut args) }));
                    }
                    break;
                }
                Err(error) => {
                    self.end_with_error(key, &format!("ERR {error}"));
                    break;
                }
            }
        }
        self.args = args;
        at
    }

    /// Holds a request that was let in, and comes again.
    fn hold_back(&mut self, key: Key, hold: Hold) {
        if let Some(standing) = self.sessions.get_mut(key).and_then(|session| session.standing.as_mut()) {
            standing.paid = true;
        }
        self.hold(key, hold);
    }

    fn hold(&mut self, key: Key, hold: Hold) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.hold = Some(hold);
        if hold == Hold::Dedicated {
            self.awaiting_dedicated.push_back(key);
        }
        if let Hold::Upstream(full) = hold
            && let Some(upstream) = self.upstreams.get_mut(full)
        {
            upstream.holding.push(key);
        }
    }

    /// Answers `error` and takes nothing more from this client.
    pub(super) fn end_with_error(&mut self, key: Key, error: &str) {
        self.answer_error(key, error);
        if let Some(session) = self.sessions.get_mut(key) {
            session.stats.client_err.add(1);
            session.phase = Phase::Draining;
        }
    }

    pub(super) fn answer_error(&mut self, key: Key, error: &str) {
        let mut out = Vec::with_capacity(error.len() + 3);
        encode::error(&mut out, error);
        self.answer(key, &out);
    }

    pub(super) fn answer(&mut self, key: Key, reply: &[u8]) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.answer(&mut self.buffers, reply);
        touch(&mut session.touched, &mut self.touched_sessions, key);
    }

    fn take_inline(&mut self, key: Key, line: &[u8], args: &mut Vec<Span>) -> Taken {
        let mut rewritten = Vec::with_capacity(line.len() + 32);
        if let Err(error) = inline_to_multibulk(line, &mut rewritten) {
            self.end_with_error(key, &format!("ERR {error}"));
            return Taken::Yes;
        }
        match resume_request(&rewritten, &self.limits, &mut Progress::default(), args) {
            Ok(Parsed::Request { .. }) => self.take_request(key, &rewritten, args),
            // A line of blanks asks for nothing.
            _ => Taken::Yes,
        }
    }

    /// The same as [`Engine::take_request`], for who calls it from within.
    #[cold]
    #[inline(never)]
    pub(super) fn take_again(&mut self, request: Request<'_>) -> Taken {
        self.take_request(request.session, request.raw, request.args)
    }

    #[inline]
    fn take_request(&mut self, key: Key, raw: &[u8], args: &[Span]) -> Taken {
        let Some(session) = self.sessions.get(key) else { return Taken::Yes };
        let (pool, guarded, in_mode) = (session.pool, session.guarded, session.mode.is_some());
        let request = Request {
            session: key,
            pool,
            protocol: session.protocol,
            lane: usize::from(session.lane),
            raw,
            args,
        };
        let Some(command) = command::lookup(request.word(0)) else {
            return self.refuse(request, &local::unknown_command(raw, args));
        };
        self.asked.group = command.group;
        let policy = self.pools[pool].policies.of(command);
        if policy == Policy::Refused {
            return self.refuse(request, &local::unknown_command(raw, args));
        }
        if !command.accepts(args.len()) {
            return self.refuse(request, &wrong_arity(command.name));
        }
        if guarded && let Some(stopped) = self.stop(request, command) {
            return stopped;
        }
        if in_mode && let Some(taken) = self.take_in_mode(request, command, policy) {
            return taken;
        }
        if self.pools[pool].detour.is_active()
            && let Some(detoured) = self.detour(key, pool, raw, args, command, policy)
        {
            return self.detoured(request, &detoured);
        }
        if self.pools[pool].replicates {
            return self.take_replicated(request, command, policy);
        }
        self.take_by_policy(request, command, policy)
    }

    #[inline(always)]
    pub(super) fn take_by_policy(
        &mut self,
        request: Request<'_>,
        command: &Command,
        policy: Policy,
    ) -> Taken {
        match policy {
            Policy::FirstKey => self.forward_key(request, request.word(1)),
            Policy::Local(local) => self.take_local(request, local),
            // Of one key: it is passed on as it came.
            Policy::Split(kind) if request.args.len() == 1 + kind.words_per_key() => {
                self.forward_key(request, request.word(1))
            }
            Policy::Split(kind) => self.split(request, kind, command),
            Policy::Keys => self.forward_keys(request, command),
            Policy::Anywhere => self.forward_key(request, ANYWHERE_KEY),
            Policy::Container => self.take_contained(request, command),
            Policy::Holding(holding) => self.take_holding(request, command, holding),
            Policy::Spread(spread) => self.take_spread(request, command, spread),
            Policy::Refused => Taken::Yes, // answered above
        }
    }

    #[cold]
    pub(super) fn detoured(&mut self, request: Request<'_>, detoured: &Detoured) -> Taken {
        match *detoured {
            Detoured::Held => Taken::NotYet(Hold::Returning),
            Detoured::Forgotten(shard) => self.refuse_for(request, &Failure::Unremembered, shard),
        }
    }

    pub(super) fn refuse(&mut self, request: Request<'_>, error: &str) -> Taken {
        if !self.swallows(request.session) {
            self.answer_error(request.session, error);
        }
        self.fail_transaction(request.session);
        self.spend_caching(request.session);
        Taken::Yes
    }

    /// Refuses a request because of `failure`, of `shard` where one is to blame.
    #[cold]
    pub(super) fn refuse_for(
        &mut self,
        request: Request<'_>,
        failure: &Failure,
        shard: impl Into<Option<usize>>,
    ) -> Taken {
        let mut error = Vec::new();
        failure.write(&mut error, &self.pools[request.pool].settings, shard.into());
        self.pools[request.pool].counts.pool.forward_error.add(1);
        self.answer(request.session, &error);
        Taken::Yes
    }

    fn take_local(&mut self, request: Request<'_>, local: Local) -> Taken {
        if local == Local::Client
            && request.args.len() > 2
            && request.word(1).eq_ignore_ascii_case(b"TRACKING")
        {
            return self.take_tracking(request);
        }
        let sessions = self.pools[request.pool].counts.pool.sessions.get();
        let about = About { uptime_seconds: self.now.as_micros() / 1_000_000, sessions };
        let Some(session) = self.sessions.get_mut(request.session) else { return Taken::Yes };
        if local.is_barrier() && session.outstanding() > 0 {
            return Taken::NotYet(Hold::Barrier);
        }
        if local == Local::Reset {
            self.leave_modes(request.session);
        } else if local == Local::Hello {
            self.with_messages(request.session); // what waited is worded as it was until now
        }
        let Some(session) = self.sessions.get_mut(request.session) else { return Taken::Yes };
        let settings = &self.pools[request.pool].settings;
        local::answer(local, session, settings, about, request.raw, request.args, &mut self.buffers);
        touch(&mut session.touched, &mut self.touched_sessions, request.session);
        if local == Local::Hello && session.protocol == Protocol::Resp2 {
            self.end_tracking(request.session); // there are no pushes in RESP2
        }
        Taken::Yes
    }

    /// A command whose second word decides, such as OBJECT ENCODING.
    fn take_contained(&mut self, request: Request<'_>, container: &Command) -> Taken {
        if request.args.len() < 2 {
            return self.refuse(request, &wrong_arity(container.name));
        }
        let Some(command) = command::lookup_sub(container, request.word(1)) else {
            return self.refuse(request, &local::unknown_subcommand(container.name, request.word(1)));
        };
        match self.pools[request.pool].policies.of(command) {
            Policy::Keys | Policy::FirstKey | Policy::Spread(_) if !command.accepts(request.args.len()) => {
                self.refuse(request, &wrong_arity(command.name))
            }
            Policy::Spread(spread) => self.take_spread(request, command, spread),
            Policy::Keys | Policy::FirstKey => self.forward_keys(request, command),
            _ => self.refuse(request, &local::unknown_subcommand(container.name, request.word(1))),
        }
    }

    #[inline]
    pub(super) fn forward_key(&mut self, request: Request<'_>, key: &[u8]) -> Taken {
        match self.pools[request.pool].router.route(key, &mut self.random) {
            Route::Shard(shard) => self.forward(request, shard),
            unroutable => self.refuse_unroutable(request, &unroutable),
        }
    }

    #[cold]
    pub(super) fn refuse_unroutable(&mut self, request: Request<'_>, route: &Route) -> Taken {
        let Route::BadKey(why) = route else { return self.refuse_for(request, &Failure::AllEjected, None) };
        self.pools[request.pool].counts.pool.forward_error.add(1);
        self.answer_error(request.session, &format!("ERR {why}"));
        Taken::Yes
    }

    /// Appends the request to the upstream of `shard`, and its slot to the session.
    #[inline]
    pub(super) fn forward(&mut self, request: Request<'_>, shard: usize) -> Taken {
        let key = match self.upstream(request.pool, shard, request.protocol, request.lane) {
            Ok(key) => key,
            Err(failure) => return self.refuse_for(request, &failure, shard),
        };
        let Some(upstream) = self.upstreams.get_mut(key) else { return Taken::Yes };
        if upstream.is_full() {
            return Taken::NotYet(Hold::Upstream(key));
        }
        let Some(session) = self.sessions.get_mut(request.session) else { return Taken::Yes };
        let sequence = session.expect_reply(&mut self.pools[request.pool].crowd);
        self.buffers.append(&mut upstream.output, request.raw);
        upstream.queued(request.session, sequence, 0, self.asked, request.raw.len(), self.now);
        touch(&mut upstream.touched, &mut self.touched_upstreams, key);
        upstream.home.stats.requests.add(1);
        upstream.home.stats.request_bytes.add(request.raw.len() as u64);
        let timeout = self.pools[request.pool].settings.timeout;
        self.note_deadline(timeout);
        Taken::Yes
    }

    /// Forwards a command whose keys must all lie on one shard.
    pub(super) fn forward_keys(&mut self, request: Request<'_>, command: &Command) -> Taken {
        let mut keys = std::mem::take(&mut self.keys);
        keys.clear();
        let found = command.keys(request.raw, request.args, &mut keys);
        let taken = match found {
            // Whatever server gets it says what is wrong, in Redis's words.
            Err(_) => self.forward_key(request, ANYWHERE_KEY),
            Ok(()) => self.forward_found(request, command, &keys),
        };
        self.keys = keys;
        taken
    }

    fn forward_found(&mut self, request: Request<'_>, command: &Command, keys: &[usize]) -> Taken {
        let name = command.name.to_ascii_lowercase();
        let pool = &self.pools[request.pool];
        let as_nutcracker = pool.settings.multi_key == crate::settings::MultiKey::AsNutcracker;
        let several = pool.settings.pool.shards.len() > 1;
        let blocks = blocks(command, &request);
        if blocks && pool.settings.dialect == Dialect::Nutcracker {
            return self.refuse(request, &local::unknown_command(request.raw, request.args));
        }
        if let Some(error) = self.objection(request, command) {
            return self.refuse(request, &error);
        }
        let Some((&first, others)) = keys.split_first() else {
            if !several {
                return self.forward(request, 0);
            }
            // No number of keys but a script's may be 0: whatever server gets it says so.
            if command.group != Group::Scripting {
                return self.forward_key(request, ANYWHERE_KEY);
            }
            return self.refuse(
                request,
                &format!("ERR '{name}' names no key, so it has no shard in pool {}", pool.settings.pool.name),
            );
        };
        let home = pool.router.route(request.word(first), &mut self.random);
        let Route::Shard(shard) = home else { return self.refuse_unroutable(request, &home) };
        if !as_nutcracker {
            for &other in others {
                if pool.router.route(request.word(other), &mut self.random) != home {
                    let error = crossslot(&name, &pool.settings.pool.name);
                    return self.refuse(request, &error);
                }
            }
        }
        if blocks {
            return self.block(request, command, shard);
        }
        self.forward(request, shard)
    }

    /// Why a command cannot be right behind sharding whatever its keys are.
    pub(super) fn objection(&self, request: Request<'_>, command: &Command) -> Option<String> {
        let settings = &self.pools[request.pool].settings;
        if copies_elsewhere(command, &request, settings.database) {
            let database = settings.database;
            return Some(format!("ERR clients of this pool see database {database} alone"));
        }
        let as_nutcracker = settings.multi_key == crate::settings::MultiKey::AsNutcracker;
        if settings.pool.shards.len() > 1 && !as_nutcracker && sorts_by_other_keys(command, &request) {
            let name = command.name.to_ascii_lowercase();
            let pool = &settings.pool.name;
            return Some(format!(
                "ERR '{name}' with BY or GET reads keys that may lie on other shards of pool {pool}"
            ));
        }
        None
    }
}

pub(super) fn crossslot(name: &str, pool: &str) -> String {
    format!(
        "CROSSSLOT keys of '{name}' lie on several shards of pool {pool}: give them one hash tag, or set multi_key: \
         as-nutcracker"
    )
}

pub(super) fn wrong_arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{}' command", name.to_ascii_lowercase().replace(' ', "|"))
}

/// Whether the command waits until there is something for it, which would stop everybody on a shared connection.
fn blocks(command: &Command, request: &Request<'_>) -> bool {
    match command.name {
        "XREAD" | "XREADGROUP" => block_option(request).is_some(),
        _ => command.flags.contains(Flags::BLOCKING),
    }
}

/// Where BLOCK stands in an XREAD or XREADGROUP, if it does.
pub(super) fn block_option(request: &Request<'_>) -> Option<usize> {
    let mut at = 1;
    while at < request.args.len() {
        let word = request.word(at);
        if word.eq_ignore_ascii_case(b"BLOCK") {
            return Some(at);
        }
        // The names of group and consumer, and COUNT's number, are values whatever they say.
        at += if word.eq_ignore_ascii_case(b"STREAMS") {
            return None;
        } else if word.eq_ignore_ascii_case(b"GROUP") {
            3
        } else if word.eq_ignore_ascii_case(b"COUNT") {
            2
        } else {
            1
        };
    }
    None
}

/// Whether SORT reads keys by a pattern.
fn sorts_by_other_keys(command: &Command, request: &Request<'_>) -> bool {
    matches!(command.name, "SORT" | "SORT_RO")
        && (2..request.args.len().saturating_sub(1)).any(|index| {
            let (option, pattern) = (request.word(index), request.word(index + 1));
            (option.eq_ignore_ascii_case(b"BY") && pattern.contains(&b'*'))
                || (option.eq_ignore_ascii_case(b"GET") && pattern != b"#")
        })
}

/// Whether COPY names a database that clients of the pool cannot look into.
fn copies_elsewhere(command: &Command, request: &Request<'_>, database: u32) -> bool {
    command.name == "COPY"
        && (3..request.args.len().saturating_sub(1)).any(|index| {
            // What is no number the server refuses, in its own words.
            let other =
                std::str::from_utf8(request.word(index + 1)).ok().and_then(|text| text.parse::<i64>().ok());
            request.word(index).eq_ignore_ascii_case(b"DB")
                && other.is_some_and(|other| other != i64::from(database))
        })
}
