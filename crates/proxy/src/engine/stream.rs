//! Large requests pass through: they are routed by their first words, and never collected whole.
//!
//! Known by their first words are requests of one key that comes first, which all writers of large values are (SET, APPEND,
//! SETRANGE, RESTORE, RPUSH, HSET and others). The rest, such as an MSET over several shards, must be read to the end before
//! it can be routed, and is collected up to [`COLLECTED_MAX`].

use shoal_resp::command;
use shoal_resp::delimiter::Fed;
use shoal_resp::encode;
use shoal_topology::Route;

use super::Engine;
use super::admission::{ERROR_FRAME, Objection};
use super::dedicated::Denied;
use super::detour::Detoured;
use super::replicate::may_write;
use super::request::{Request, wrong_arity};
use crate::arena::Key;
use crate::failure::Failure;
use crate::local;
use crate::policy::Policy;
use crate::session::{AHEAD_MAX, Hold, Phase, Stream};
use crate::upstream::Asked;

/// A request of more bytes than this is passed on before it has arrived whole, on an upstream of its own.
pub const STREAMED_MIN: usize = 64 * 1024;

/// Bytes of a request that cannot be routed by its first words: more are refused.
pub const COLLECTED_MAX: usize = 64 * 1024 * 1024;

/// What becomes of a large request.
pub(super) enum Begun {
    /// It is passed on, or dropped behind an error.
    Yes,
    /// Not yet.
    Hold(Hold),
    /// It has to be collected.
    No,
}

impl Engine {
    /// Begins to pass on a request of `declared` words, of which the first ones are in `request`.
    pub(super) fn begin_stream(&mut self, request: Request<'_>, declared: usize) -> Begun {
        let Some(session) = self.sessions.get(request.session) else { return Begun::Yes };
        if !session.authenticated || request.args.len() < 2 {
            return Begun::No; // without the password the limits are far below
        }
        if session.mode.as_ref().is_some_and(|mode| mode.collects(request.protocol)) {
            return Begun::No;
        }
        let (outstanding, guarded) = (session.outstanding(), session.guarded);
        let Some(command) = command::lookup(request.word(0)) else {
            let error = local::unknown_command(request.raw, request.args);
            return self.drop_behind_error(request.session, &error);
        };
        match self.pools[request.pool].policies.of(command) {
            Policy::Refused => {
                let error = local::unknown_command(request.raw, request.args);
                return self.drop_behind_error(request.session, &error);
            }
            _ if !command.accepts(declared) => {
                return self.drop_behind_error(request.session, &wrong_arity(command.name));
            }
            Policy::FirstKey => {}
            Policy::Split(kind) if declared == 1 + kind.words_per_key() => {}
            _ => return Begun::No,
        }
        if guarded {
            let policy = self.pools[request.pool].policies.of(command);
            if !Engine::is_known_by_first_words(command, policy) {
                return Begun::No;
            }
            if let Some(Objection { error, is_over }) = self.objects_to(request, command, policy) {
                let begun = self.drop_behind_error(request.session, &error);
                if is_over {
                    self.forgive(request.session, error.len() + ERROR_FRAME);
                    self.forgive_stream(request.session);
                }
                return begun;
            }
        }
        if outstanding > 0 {
            return Begun::Hold(Hold::Barrier);
        }
        if self.pools[request.pool].detour.is_active() {
            match self.detour_large(request.session, request.pool, command, request.word(1)) {
                Some(Detoured::Held) => return Begun::Hold(Hold::Returning),
                Some(Detoured::Forgotten(home)) => {
                    return self.drop_behind_failure(request, &Failure::Unremembered, Some(home));
                }
                None => {}
            }
        }
        let shard = match self.pools[request.pool].router.route(request.word(1), &mut self.random) {
            Route::Shard(shard) if self.pools[request.pool].detour.fails(shard) => {
                return self.drop_behind_failure(request, &Failure::Ejected, Some(shard));
            }
            Route::Shard(shard) => shard,
            Route::BadKey(why) => return self.drop_behind_error(request.session, &format!("ERR {why}")),
            Route::NoneLive => return self.drop_behind_failure(request, &Failure::AllEjected, None),
        };
        let upstream = match self.dedicated(request.pool, shard, request.protocol, request.lane) {
            Ok(upstream) => upstream,
            Err(Denied::Busy) => return Begun::Hold(Hold::Dedicated),
            Err(Denied::Failed(failure)) => return self.drop_behind_failure(request, &failure, Some(shard)),
        };
        let Some(session) = self.sessions.get_mut(request.session) else { return Begun::Yes };
        let sequence = session.expect_reply(&mut self.pools[request.pool].crowd);
        session.stream = Some(Box::new(Stream { upstream: Some(upstream), ..Stream::dropped() }));
        if let Some(upstream) = self.upstreams.get_mut(upstream) {
            let kept = self.pools[request.pool].replicates && may_write(command);
            let asked = Asked { group: command.group, kept };
            upstream.queued(request.session, sequence, 0, asked, 0, self.now);
            upstream.receiving = true;
            upstream.home.stats.requests.add(1);
        }
        Begun::Yes
    }

    fn drop_behind_failure(
        &mut self,
        request: Request<'_>,
        failure: &Failure,
        shard: Option<usize>,
    ) -> Begun {
        self.refuse_for(request, failure, shard);
        self.drop_the_rest(request.session)
    }

    fn drop_behind_error(&mut self, key: Key, error: &str) -> Begun {
        self.answer_error(key, error);
        self.drop_the_rest(key)
    }

    fn drop_the_rest(&mut self, key: Key) -> Begun {
        if let Some(session) = self.sessions.get_mut(key) {
            session.stream = Some(Box::new(Stream::dropped()));
        }
        Begun::Yes
    }

    /// What comes of the large request of `key`, which was refused by a limit, is not charged.
    fn forgive_stream(&mut self, key: Key) {
        if let Some(stream) = self.sessions.get_mut(key).and_then(|session| session.stream.as_deref_mut()) {
            stream.forgiven = true;
        }
    }

    /// Passes on what has arrived of the large request of `key`; how many of the bytes belong to it.
    pub(super) fn stream_on(&mut self, key: Key, bytes: &[u8]) -> usize {
        let Some(session) = self.sessions.get_mut(key) else { return bytes.len() };
        let Some(stream) = &mut session.stream else { return 0 };
        let (upstream, forgiven) = (stream.upstream, stream.forgiven);
        let (length, ended) = match stream.delimiter.feed(bytes) {
            Ok(Fed::Frame { len, .. }) => (len, true),
            Ok(Fed::Partial) => (bytes.len(), false),
            Err(error) => {
                self.break_off(key, &format!("ERR {error}"));
                return bytes.len();
            }
        };
        if ended {
            session.stream = None;
        }
        if forgiven {
            self.forgive(key, length);
        }
        let Some(upstream) = upstream else { return length };
        self.extend_request(upstream, &bytes[..length], ended);
        let Some(session) = self.sessions.get_mut(key) else { return length };
        let Some(entry) = self.upstreams.get_mut(upstream) else { return length };
        if !ended && entry.output.len() > AHEAD_MAX {
            entry.holding.push(key);
            session.hold = Some(Hold::Upstream(upstream));
        } else if ended && session.outstanding() > 0 {
            session.hold = Some(Hold::Barrier);
        }
        length
    }

    /// What came of a large request is no RESP: it is answered, its upstream has half of it and is closed.
    fn break_off(&mut self, key: Key, error: &str) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.stats.client_err.add(1);
        session.phase = Phase::Draining;
        let upstream = session.stream.take().and_then(|stream| stream.upstream);
        let mut reply = Vec::new();
        encode::error(&mut reply, error);
        let pending = upstream
            .and_then(|upstream| self.upstreams.get(upstream))
            .and_then(|upstream| upstream.queue.back().copied());
        match pending {
            Some(pending) => self.fail_request(key, pending.sequence, pending.part, &reply, false),
            None => self.answer(key, &reply),
        }
        if let Some(upstream) = upstream {
            self.abandon(upstream);
        }
    }

    /// The upstream of a large request has failed, or answered before it was whole: what still comes of it is dropped.
    pub(super) fn stop_stream(&mut self, owner: Key) {
        if let Some(session) = self.sessions.get_mut(owner)
            && let Some(stream) = &mut session.stream
        {
            stream.upstream = None;
        }
    }
}
