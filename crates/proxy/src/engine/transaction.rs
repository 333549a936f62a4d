//! MULTI, EXEC, DISCARD, WATCH and UNWATCH, within one shard.
//!
//! ```text
//!   MULTI ──▶ commands are checked, routed, answered +QUEUED and kept here ──▶ EXEC: MULTI, the commands and EXEC go out as
//!                                                                              one block, and EXEC's reply is passed on
//!   WATCH ──▶ an upstream of the session's own, on which the block goes out too
//! ```
//!
//! Until EXEC no server knows of a transaction, so one that is given up costs nobody anything, and a shard that dies before
//! EXEC is no trouble. A block stands in the shared upstream's bytes without a gap, and the server keeps it apart from what
//! others ask.
//!
//! Invariant: a session that watches has nothing outstanding on a shared upstream while it has something outstanding on its
//! own, so that no read of its overtakes its WATCH.

use shoal_resp::command::{Command, Group, lookup_sub};
use shoal_resp::encode;
use shoal_topology::Route;

use super::dedicated::Denied;
use super::request::{Request, Taken};
use super::stream::STREAMED_MIN;
use super::tracking::OWN_LANE;
use super::{Engine, touch};
use crate::arena::Key;
use crate::failure::with_fate;
use crate::local::{self, Local};
use crate::mode::{Holding, Mode, TRANSACTION_BYTES_MAX, TRANSACTION_COMMANDS_MAX, Transaction, Watch};
use crate::policy::{ANYWHERE_KEY, Policy, Spread};
use crate::session::Hold;
use crate::settings::MultiKey;
use crate::upstream::{Asked, EXEC_PART, Usage};

const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";

/// Why a command cannot be queued.
enum Misfit {
    /// In these words.
    Refused(String),
    /// No shard can be told.
    Unroutable(Route),
}

impl Engine {
    /// A command that holds a connection, or concerns those that do.
    #[cold]
    pub(super) fn take_holding(
        &mut self,
        request: Request<'_>,
        command: &Command,
        holding: Holding,
    ) -> Taken {
        match holding {
            Holding::Multi => self.begin_transaction(request),
            Holding::Exec => self.exec(request),
            Holding::Discard => self.discard(request),
            Holding::Watch => self.watch(request, command),
            Holding::Unwatch => self.unwatch(request),
            Holding::Block => self.forward_keys(request, command),
            Holding::Subscribe(change) => self.subscribe(request, change),
            Holding::Publish => self.forward_key(request, request.word(1)),
            Holding::Pubsub => self.pubsub(request, command),
        }
    }

    /// A request of a session that holds something; `None` if that does not concern the request.
    #[cold]
    pub(super) fn take_in_mode(
        &mut self,
        request: Request<'_>,
        command: &Command,
        policy: Policy,
    ) -> Option<Taken> {
        if let Some(taken) = self.take_muted(request, policy) {
            return Some(taken);
        }
        if self.transaction(request.session).is_none() {
            if let Some(taken) = self.take_while_subscribed(request, command, policy) {
                return Some(taken);
            }
            return self.take_tracked(request, command, policy);
        }
        match policy {
            Policy::Holding(Holding::Multi | Holding::Exec | Holding::Discard | Holding::Watch)
            // What the server does to a transaction itself, without queueing it.
            | Policy::Local(Local::Quit | Local::Reset) => self.take_tracked(request, command, policy),
            _ => Some(self.queue_command(request, command, policy)),
        }
    }

    pub(super) fn mode(&mut self, key: Key) -> Option<&mut Mode> {
        self.sessions.get_mut(key).map(|session| &mut **session.mode.get_or_insert_default())
    }

    fn transaction(&mut self, key: Key) -> Option<&mut Transaction> {
        self.sessions.get_mut(key)?.mode.as_mut()?.transaction.as_mut()
    }

    /// A command was refused: if it was to be part of a transaction, so is EXEC.
    pub(super) fn fail_transaction(&mut self, key: Key) {
        if let Some(transaction) = self.transaction(key) {
            transaction.fail();
        }
    }

    fn begin_transaction(&mut self, request: Request<'_>) -> Taken {
        let version = self.pools[request.pool].health_version;
        let Some(mode) = self.mode(request.session) else { return Taken::Yes };
        if mode.transaction.is_some() {
            self.answer_error(request.session, "ERR MULTI calls can not be nested");
        } else {
            mode.transaction = Some(Transaction::new(version));
            self.answer(request.session, b"+OK\r\n");
        }
        Taken::Yes
    }

    fn queue_command(&mut self, request: Request<'_>, command: &Command, policy: Policy) -> Taken {
        let shard = match self.shard_of_queued(request, command, policy) {
            Ok(shard) => shard,
            Err(Misfit::Refused(error)) => return self.refuse(request, &error),
            Err(Misfit::Unroutable(route)) => {
                self.fail_transaction(request.session);
                return self.refuse_unroutable(request, &route);
            }
        };
        if self.pools[request.pool].detour.is_active()
            && let Some(detoured) =
                self.detour(request.session, request.pool, request.raw, request.args, command, policy)
        {
            let taken = self.detoured(request, &detoured);
            if matches!(taken, Taken::Yes) {
                self.fail_transaction(request.session);
            }
            return taken;
        }
        let watched =
            self.mode(request.session).and_then(|mode| mode.watch.as_ref()).map(|watch| watch.shard);
        let script = shard.and_then(|shard| self.script_to_give(request, command, shard));
        let writes = self.writes(request, command, policy);
        let Some(transaction) = self.transaction(request.session) else { return Taken::Yes };
        let pinned = transaction.shard.or(watched);
        if let (Some(pinned), Some(shard)) = (pinned, shard)
            && pinned != shard
        {
            let pool = &self.pools[request.pool].settings.pool.name;
            let name = command.name.to_ascii_lowercase();
            return self.refuse(
                request,
                &format!(
                    "CROSSSLOT '{name}' has its key on another shard of pool {pool} than this transaction: give all its keys \
                     one hash tag"
                ),
            );
        }
        if !transaction.failed {
            if !transaction.has_room(request.raw.len()) {
                return self.refuse(
                    request,
                    &format!(
                        "ERR this transaction is too long: the proxy keeps at most {TRANSACTION_COMMANDS_MAX} commands of \
                         {TRANSACTION_BYTES_MAX} bytes together"
                    ),
                );
            }
            transaction.shard = pinned.or(shard);
            if let Some((name, body)) = script {
                transaction.add_script(name, body);
            }
            transaction.commands.extend_from_slice(request.raw);
            transaction.count += 1;
            transaction.writes |= writes;
        }
        self.answer(request.session, b"+QUEUED\r\n");
        Taken::Yes
    }

    /// The shard that a command of a transaction has its keys on; `None` if it names none, and goes with the others.
    fn shard_of_queued(
        &mut self,
        request: Request<'_>,
        command: &Command,
        policy: Policy,
    ) -> Result<Option<usize>, Misfit> {
        let name = || command.name.to_ascii_lowercase();
        let keyed = match policy {
            Policy::Local(Local::Ping | Local::Echo) | Policy::Anywhere => return Ok(None),
            Policy::Local(Local::Select) => {
                let database = self.pools[request.pool].settings.database.to_string();
                return match request.word(1) == database.as_bytes() {
                    true => Ok(None),
                    false => Err(Misfit::Refused("ERR DB index is out of range".to_owned())),
                };
            }
            Policy::Holding(Holding::Unwatch) => return Ok(None),
            Policy::Holding(Holding::Publish) => return self.common_shard(request, command, &[1]),
            // Within a transaction nothing blocks: the server answers as if its time were over.
            Policy::FirstKey | Policy::Split(_) | Policy::Keys | Policy::Holding(Holding::Block) => command,
            // Without keys it goes with the others.
            Policy::Spread(Spread::Script) => command,
            Policy::Spread(Spread::OneForAll) => return Ok(None),
            Policy::Container => match request.args.get(1).and_then(|_| lookup_sub(command, request.word(1)))
            {
                Some(sub) if !sub.accepts(request.args.len()) => {
                    return Err(Misfit::Refused(super::request::wrong_arity(sub.name)));
                }
                Some(sub)
                    if matches!(
                        self.pools[request.pool].policies.of(sub),
                        Policy::Keys | Policy::FirstKey
                    ) =>
                {
                    sub
                }
                Some(sub)
                    if self.pools[request.pool].policies.of(sub) == Policy::Spread(Spread::OneForAll) =>
                {
                    return Ok(None);
                }
                Some(sub) if matches!(self.pools[request.pool].policies.of(sub), Policy::Spread(_)) => {
                    let name = sub.name.to_ascii_lowercase();
                    return Err(Misfit::Refused(format!("ERR '{name}' cannot be part of a transaction")));
                }
                _ => {
                    let sub = request.args.get(1).map(|_| request.word(1)).unwrap_or_default();
                    return Err(Misfit::Refused(local::unknown_subcommand(command.name, sub)));
                }
            },
            Policy::Local(_) => {
                return Err(Misfit::Refused(format!(
                    "ERR '{}' is answered by the proxy, and cannot be part of a transaction, which a server answers",
                    name()
                )));
            }
            Policy::Spread(_) | Policy::Holding(_) | Policy::Refused => {
                return Err(Misfit::Refused(format!("ERR '{}' cannot be part of a transaction", name())));
            }
        };
        let mut keys = std::mem::take(&mut self.keys);
        let found = keyed.keys(request.raw, request.args, &mut keys);
        let shard = match found {
            Err(_) => Ok(None), // the server says what is wrong, at EXEC
            Ok(()) => self.common_shard(request, keyed, &keys),
        };
        self.keys = keys;
        shard
    }

    /// The one shard of all `keys`.
    fn common_shard(
        &mut self,
        request: Request<'_>,
        command: &Command,
        keys: &[usize],
    ) -> Result<Option<usize>, Misfit> {
        if let Some(error) = self.objection(request, command) {
            return Err(Misfit::Refused(error));
        }
        let Some((&first, others)) = keys.split_first() else { return Ok(None) };
        let pool = &self.pools[request.pool];
        let home = pool.router.route(request.word(first), &mut self.random);
        let Route::Shard(shard) = home else { return Err(Misfit::Unroutable(home)) };
        if pool.settings.multi_key != MultiKey::AsNutcracker {
            for &other in others {
                if pool.router.route(request.word(other), &mut self.random) != home {
                    let name = command.name.to_ascii_lowercase();
                    return Err(Misfit::Refused(super::request::crossslot(&name, &pool.settings.pool.name)));
                }
            }
        }
        Ok(Some(shard))
    }

    fn discard(&mut self, request: Request<'_>) -> Taken {
        if self.transaction(request.session).is_none() {
            self.answer_error(request.session, "ERR DISCARD without MULTI");
            return Taken::Yes;
        }
        self.end_transaction(request.session);
        self.answer(request.session, b"+OK\r\n");
        Taken::Yes
    }

    fn unwatch(&mut self, request: Request<'_>) -> Taken {
        self.drop_watch(request.session);
        self.tidy_mode(request.session);
        self.answer(request.session, b"+OK\r\n");
        Taken::Yes
    }

    /// Forgets what was queued and what was watched.
    pub(super) fn end_transaction(&mut self, key: Key) {
        if let Some(mode) = self.mode(key) {
            mode.transaction = None;
        }
        self.drop_watch(key);
        self.spend_caching(key);
        self.tidy_mode(key);
    }

    /// Closes the upstream that watches: certain, where UNWATCH would have to be waited for.
    fn drop_watch(&mut self, key: Key) {
        let watch = self.mode(key).and_then(|mode| mode.watch.take());
        let Some(upstream) = watch.and_then(|watch| watch.upstream) else { return };
        match self.upstreams.get(upstream).map(|upstream| upstream.usage) {
            // Nothing overtakes it there.
            Some(Usage::Tracking) => self.tell_own(key, upstream, b"*1\r\n$7\r\nUNWATCH\r\n"),
            _ => self.let_go(upstream),
        }
    }

    fn watch(&mut self, request: Request<'_>, command: &Command) -> Taken {
        let Some(session) = self.sessions.get(request.session) else { return Taken::Yes };
        let mode = session.mode.as_deref();
        if mode.is_some_and(|mode| mode.transaction.is_some()) {
            self.answer_error(request.session, "ERR WATCH inside MULTI is not allowed");
            return Taken::Yes;
        }
        if session.outstanding() > 0 {
            return Taken::NotYet(Hold::Barrier);
        }
        let watching = mode.and_then(|mode| mode.watch.as_ref()).map(|watch| (watch.shard, watch.upstream));
        let keys: Vec<usize> = (1..request.args.len()).collect();
        let shard = match self.common_shard(request, command, &keys) {
            Ok(Some(shard)) => shard,
            Ok(None) => return Taken::Yes, // its arity says that there is a key
            Err(Misfit::Refused(error)) => return self.refuse(request, &error),
            Err(Misfit::Unroutable(route)) => return self.refuse_unroutable(request, &route),
        };
        let upstream = match watching {
            Some((pinned, _)) if pinned != shard => {
                let pool = &self.pools[request.pool].settings.pool.name;
                let error = format!(
                    "CROSSSLOT the keys of 'watch' lie on another shard of pool {pool} than those that are watched: give them \
                     one hash tag"
                );
                return self.refuse(request, &error);
            }
            // The watch was lost, and EXEC will say so.
            Some((_, None)) => {
                self.answer(request.session, b"+OK\r\n");
                return Taken::Yes;
            }
            Some((_, Some(upstream))) => upstream,
            None if request.lane == OWN_LANE => match self.own_upstream(request.pool, shard) {
                Ok(upstream) => upstream,
                Err(failure) => return self.refuse_for(request, &failure, shard),
            },
            None => match self.hold_upstream(request, shard, Usage::Watching) {
                Ok(upstream) => upstream,
                Err(error) => {
                    self.pools[request.pool].counts.pool.forward_error.add(1);
                    self.answer(request.session, &error);
                    return Taken::Yes;
                }
            },
        };
        let version = self.pools[request.pool].health_version;
        if watching.is_none()
            && let Some(mode) = self.mode(request.session)
        {
            mode.watch = Some(Watch { shard, upstream: Some(upstream), version });
        }
        self.send_alone(request, upstream);
        Taken::Last(Hold::Barrier)
    }

    /// Appends the request to an upstream that the session has to itself.
    pub(super) fn send_alone(&mut self, request: Request<'_>, upstream: Key) {
        let Some(session) = self.sessions.get_mut(request.session) else { return };
        let sequence = session.expect_reply(&mut self.pools[request.pool].crowd);
        self.append(upstream, (request.session, sequence, 0), self.asked, request.raw);
    }

    /// EXEC. What aborts it is looked at first, since it concerns no server. Then comes all that it may have to wait for, in an
    /// order that must hold: the gate, or the block would go to where its keys are about to leave; then what the session is
    /// owed, or the block would overtake it on another upstream; then that upstream, which nobody takes to wait with it. Until
    /// then the transaction stays in the mode, since after a wait the same EXEC comes again.
    fn exec(&mut self, request: Request<'_>) -> Taken {
        let Some(session) = self.sessions.get(request.session) else { return Taken::Yes };
        let (mode, outstanding) = (session.mode.as_deref(), session.outstanding());
        let Some((mode, transaction)) = mode.and_then(|mode| Some((mode, mode.transaction.as_ref()?))) else {
            self.answer_error(request.session, "ERR EXEC without MULTI");
            return Taken::Yes;
        };
        if transaction.failed {
            return self.abort(request, ABORTED);
        }
        let version = self.pools[request.pool].health_version;
        let pool = &self.pools[request.pool].settings.pool.name;
        let is_old = |then: u64| then != version;
        if transaction.outdated
            || is_old(transaction.version)
            || mode.watch.as_ref().is_some_and(|watch| watch.upstream.is_some() && is_old(watch.version))
        {
            let error = format!(
                "EXECABORT the shards of pool {pool} have changed since MULTI or WATCH: nothing was executed, try again"
            );
            return self.abort(request, &error);
        }
        let shard = transaction.shard;
        let bytes = transaction.commands.len() + transaction.script_bytes;
        let is_large = bytes > STREAMED_MIN && request.lane != OWN_LANE;
        let is_empty = transaction.count == 0;
        let watching = mode.watch.as_ref().map(|watch| watch.upstream);
        let upstream = match watching {
            Some(Some(_)) if outstanding > 0 => return Taken::NotYet(Hold::Barrier),
            Some(Some(_)) if self.held_at_gate(request.session, request.pool) => {
                return Taken::NotYet(Hold::Returning);
            }
            Some(Some(upstream)) if self.speaks(upstream, request) => {
                if let Some(mode) = self.mode(request.session) {
                    mode.watch = None;
                }
                self.give_back(upstream);
                Ok(upstream)
            }
            Some(_) => {
                let pool = &self.pools[request.pool].settings.pool.name;
                let error = format!(
                    "EXECABORT the connection that watched is gone (its shard of pool {pool} closed it, HELLO changed the version \
                     of RESP, or CLIENT TRACKING began or ended): nothing was executed, WATCH again"
                );
                return self.abort(request, &error);
            }
            None if is_empty => {
                self.end_transaction(request.session);
                self.answer(request.session, b"*0\r\n");
                return Taken::Yes;
            }
            None => {
                let shard = match shard {
                    Some(shard) => shard,
                    None => match self.pools[request.pool].router.route(ANYWHERE_KEY, &mut self.random) {
                        Route::Shard(shard) => shard,
                        unroutable => {
                            self.end_transaction(request.session);
                            return self.refuse_unroutable(request, &unroutable);
                        }
                    },
                };
                if self.held_at_gate(request.session, request.pool) {
                    return Taken::NotYet(Hold::Returning);
                }
                if is_large && outstanding > 0 {
                    return Taken::NotYet(Hold::Barrier);
                }
                let found = match is_large {
                    true => self.dedicated(request.pool, shard, request.protocol, request.lane),
                    false => self
                        .upstream(request.pool, shard, request.protocol, request.lane)
                        .map_err(Denied::Failed),
                };
                match found {
                    Ok(upstream) => Ok(upstream),
                    Err(Denied::Busy) => return Taken::NotYet(Hold::Dedicated),
                    Err(Denied::Failed(failure)) => Err((failure, shard)),
                }
            }
        };
        match upstream {
            Ok(upstream) => self.send_block(request, upstream, is_large || watching.is_some()),
            Err((failure, shard)) => {
                let mut error = Vec::new();
                failure.write(&mut error, &self.pools[request.pool].settings, Some(shard));
                self.pools[request.pool].counts.pool.forward_error.add(1);
                self.end_transaction(request.session);
                self.answer(request.session, &with_fate(&error, "transaction", false));
                Taken::Yes
            }
        }
    }

    fn abort(&mut self, request: Request<'_>, error: &str) -> Taken {
        self.end_transaction(request.session);
        self.answer_error(request.session, error);
        Taken::Yes
    }

    fn speaks(&self, upstream: Key, request: Request<'_>) -> bool {
        self.upstreams.get(upstream).is_some_and(|upstream| upstream.protocol == request.protocol)
    }

    /// Sends MULTI, what was queued, and EXEC, whose reply is the session's; the others are dropped. Whether the lane has room is
    /// asked before anything is taken out of the mode, which EXEC needs if it comes again. On an upstream that is not shared
    /// (`alone`) nothing of the session's may follow before it is answered.
    fn send_block(&mut self, request: Request<'_>, upstream: Key, alone: bool) -> Taken {
        let Some(entry) = self.upstreams.get_mut(upstream) else { return Taken::Yes };
        if !alone && entry.is_full() {
            return Taken::NotYet(Hold::Upstream(upstream));
        }
        let Some(session) = self.sessions.get_mut(request.session) else { return Taken::Yes };
        let transaction = session.mode.as_mut().and_then(|mode| mode.transaction.take());
        let Some(transaction) = transaction else { return Taken::Yes };
        let tracking = session.mode.as_ref().and_then(|mode| mode.tracking.as_ref());
        let caching = tracking.map(|tracking| tracking.caching_command()).unwrap_or_default();
        let sequence = session.expect_reply(&mut self.pools[request.pool].crowd);
        let asked = Asked { group: Group::Transactions, ..self.asked };
        let before = entry.output.len();
        let Transaction { shard, scripts, commands, .. } = &transaction;
        let mut loads = Vec::with_capacity(transaction.script_bytes);
        for (name, body) in scripts {
            encode::command(&mut loads, &[b"SCRIPT", b"LOAD", body]);
            if let Some(shard) = shard.and_then(|shard| u16::try_from(shard).ok()) {
                self.pools[request.pool].scripts.give(name, shard);
            }
        }
        for bytes in [&loads[..], caching, b"*1\r\n$5\r\nMULTI\r\n", commands, b"*1\r\n$4\r\nEXEC\r\n"] {
            self.buffers.append(&mut entry.output, bytes);
        }
        let length = entry.output.len() - before;
        let unwanted = scripts.len() + usize::from(!caching.is_empty()) + 1 + transaction.count;
        entry.queued_unwanted(request.session, sequence, unwanted, self.now);
        entry.queued(request.session, sequence, EXEC_PART, asked, length, self.now);
        touch(&mut entry.touched, &mut self.touched_upstreams, upstream);
        entry.home.stats.requests.add(1 + unwanted as u64);
        entry.home.stats.request_bytes.add(length as u64);
        let timeout = self.pools[request.pool].settings.timeout;
        self.note_deadline(timeout);
        self.tidy_mode(request.session);
        if alone { Taken::Last(Hold::Barrier) } else { Taken::Yes }
    }
}
