//! Commands that concern whole shards: asked of all of them and joined, or of one after another (SCAN); and scripts, which a
//! shard may have to be given first.
//!
//! A shard that is out or down is an error by its name, never an answer without it; RANDOMKEY and SCRIPT alone do without
//! shards that are out.

use std::sync::Arc;

use shoal_resp::command::{Command, Group};
use shoal_resp::encode;
use shoal_topology::Route;

use super::request::{Request, Taken};
use super::{Engine, touch};
use crate::arena::Key;
use crate::failure::Failure;
use crate::join::{Again, JoinId, JoinKind};
use crate::policy::{ANYWHERE_KEY, Spread};
use crate::scan::{BadCursor, Leg};
use crate::scripts::Name;
use crate::session::Hold;
use crate::settings::MultiKey;
use crate::upstream::{Asked, Phase};

/// Bytes of a call of a script above which it is not kept for being sent again.
const CALL_MAX: usize = 64 * 1024;

impl Engine {
    /// Takes a command that is asked of whole shards, or that runs a script.
    #[cold]
    pub(super) fn take_spread(&mut self, request: Request<'_>, command: &Command, spread: Spread) -> Taken {
        if let Some(kind) = spread.join() {
            let taken = self.ask_all(request, kind, request.raw, spread.does_without());
            match spread {
                Spread::LoadScript if matches!(taken, Taken::Yes) => {
                    self.pools[request.pool].scripts.show(request.word(2));
                }
                Spread::FlushScripts if matches!(taken, Taken::Yes) => {
                    self.pools[request.pool].scripts.clear();
                }
                _ => {}
            }
            return taken;
        }
        match spread {
            Spread::Flush => self.flush(request, command),
            Spread::Scan => self.scan(request),
            Spread::Script => self.call_script(request, command),
            Spread::OneForAll => self.forward_key(request, ANYWHERE_KEY),
            Spread::OtherDatabase => {
                let (name, settings) = (shown(command), &self.pools[request.pool].settings);
                let (pool, database) = (&settings.pool.name, settings.database);
                let error = format!(
                    "ERR '{name}' reaches into another database: clients of pool {pool} see database {database} alone"
                );
                self.refuse(request, &error)
            }
            // Only one is left: the others are asked of all.
            _ => {
                let name = shown(command);
                let pool = &self.pools[request.pool].settings.pool.name;
                let error =
                    format!("ERR '{name}' concerns one server: ask the servers of pool {pool} themselves");
                self.refuse(request, &error)
            }
        }
    }

    /// Sends `raw` to all shards; with `without`, to those that are not out.
    pub(super) fn ask_all(
        &mut self,
        request: Request<'_>,
        kind: JoinKind,
        raw: &[u8],
        without: bool,
    ) -> Taken {
        let live = self.pools[request.pool].health.live();
        if let Some(out) = live.iter().position(|is_in| !is_in)
            && !without
        {
            return self.refuse_for(request, &Failure::Ejected, out);
        }
        let shards: Vec<u16> = (0u16..).zip(&live).filter(|(_, is_in)| **is_in).map(|(at, _)| at).collect();
        if shards.is_empty() {
            return self.refuse_for(request, &Failure::Ejected, 0);
        }
        if let Some(full) = shards.iter().find_map(|&shard| self.full(request, shard)) {
            return Taken::NotYet(Hold::Upstream(full));
        }
        let first = (self.random.next() as usize % shards.len()) as u16;
        let settings = self.pools[request.pool].settings.clone();
        let Some((id, sequence)) = self.open_join(request, kind, shards.len()) else { return Taken::Yes };
        let join = self.joins.get_mut(id);
        join.first = first;
        join.asked = Some((settings, shards.clone()));
        for (part, &shard) in shards.iter().enumerate() {
            self.ask(request, sequence, part as u16, usize::from(shard), raw);
        }
        Taken::Yes
    }

    /// SCRIPT LOAD is answered by all shards that were asked: those that confirm it by the script's name have it now.
    #[cold]
    pub(super) fn note_loaded(&mut self, join: JoinId) {
        let join = self.joins.get_mut(join);
        let Some((settings, shards)) = &join.asked else { return };
        let Some(pool) = self.pools.iter_mut().find(|pool| Arc::ptr_eq(&pool.settings, settings)) else {
            return; // there are other pools by now
        };
        for (reply, &shard) in join.replies().zip(shards) {
            let name = reply.strip_prefix(b"$40\r\n").and_then(|rest| rest.strip_suffix(b"\r\n"));
            if let Some((name, _)) = name.and_then(|name| pool.scripts.find(name)) {
                pool.scripts.give(&name, shard);
            }
        }
    }

    /// FLUSHALL as well empties the pool's database alone: clients of the pool see no other.
    fn flush(&mut self, request: Request<'_>, command: &Command) -> Taken {
        let settings = &self.pools[request.pool].settings;
        if !settings.allow_flush {
            let name = shown(command);
            let pool = &settings.pool.name;
            return self.refuse(
                request,
                &format!("ERR '{name}' would empty all shards of pool {pool}: its setting allow_flush must say true"),
            );
        }
        let mut words: Vec<&[u8]> = vec![b"FLUSHDB"];
        words.extend((1..request.args.len()).map(|index| request.word(index)));
        let mut raw = Vec::new();
        encode::command(&mut raw, &words);
        self.ask_all(request, JoinKind::AllOk, &raw, false)
    }

    fn scan(&mut self, request: Request<'_>) -> Taken {
        let pool = &self.pools[request.pool];
        let cursors = pool.cursors;
        let (shard, inner) = match cursors.read(request.word(1)) {
            Ok(place) => place,
            Err(BadCursor::NoNumber) => return self.refuse(request, "ERR invalid cursor"),
            Err(BadCursor::Foreign) => {
                let error = format!(
                    "ERR this cursor was given under another topology than pool {} has now: scan again from 0",
                    pool.settings.pool.name
                );
                return self.refuse(request, &error);
            }
        };
        if !pool.health.live().get(usize::from(shard)).copied().unwrap_or(false) {
            return self.refuse_for(request, &Failure::Ejected, usize::from(shard));
        }
        if let Some(full) = self.full(request, shard) {
            return Taken::NotYet(Hold::Upstream(full));
        }
        let inner = inner.to_string();
        let mut words: Vec<&[u8]> = vec![b"SCAN", inner.as_bytes()];
        words.extend((2..request.args.len()).map(|index| request.word(index)));
        let mut raw = Vec::new();
        encode::command(&mut raw, &words);
        let Some((id, sequence)) = self.open_join(request, JoinKind::Page, 1) else { return Taken::Yes };
        self.joins.get_mut(id).leg = Some(Leg { cursors, shard });
        self.ask(request, sequence, 0, usize::from(shard), &raw);
        Taken::Yes
    }

    /// EVAL and its kin.
    fn call_script(&mut self, request: Request<'_>, command: &Command) -> Taken {
        let pool = &mut self.pools[request.pool];
        let (mut shown, mut again) = (None, None);
        match command.name {
            "EVAL" | "EVAL_RO" => shown = pool.scripts.show(request.word(1)),
            "EVALSHA" | "EVALSHA_RO" if request.raw.len() <= CALL_MAX => {
                again = pool.scripts.find(request.word(1));
            }
            _ => {}
        }
        let shard = match self.script_shard(request, command) {
            Ok(Some(shard)) => shard,
            Ok(None) => return self.forward_keys(request, command),
            Err(taken) => return taken,
        };
        let Some((name, body)) = again else {
            if let Some(name) = shown {
                self.pools[request.pool].scripts.give(&name, shard);
            }
            return self.forward(request, usize::from(shard));
        };
        if let Some(full) = self.full(request, shard) {
            return Taken::NotYet(Hold::Upstream(full));
        }
        let upstream = self.upstream_of(request, usize::from(shard)).ok();
        // A shard that was not given the script by this worker is given it first, so that a pipeline finds it there.
        let scripts = &mut self.pools[request.pool].scripts;
        let gives = upstream.is_some() && !scripts.was_given(&name, shard);
        let parts = if gives { 2 } else { 1 };
        let Some((id, sequence)) = self.open_join(request, JoinKind::Script, parts) else {
            return Taken::Yes;
        };
        if gives {
            self.pools[request.pool].scripts.give(&name, shard);
            let mut load = Vec::new();
            encode::command(&mut load, &[b"SCRIPT", b"LOAD", &body]);
            self.ask(request, sequence, 1, usize::from(shard), &load);
        } else {
            let request = request.raw.into();
            self.joins.get_mut(id).again =
                upstream.map(|upstream| Again { upstream, request, body, asked: self.asked });
        }
        self.ask(request, sequence, 0, usize::from(shard), request.raw);
        Taken::Yes
    }

    /// The script that a call in a transaction on `shard` names, if the shard may lack it.
    pub(super) fn script_to_give(
        &self,
        request: Request<'_>,
        command: &Command,
        shard: usize,
    ) -> Option<(Name, Arc<[u8]>)> {
        if !matches!(command.name, "EVALSHA" | "EVALSHA_RO") {
            return None;
        }
        let scripts = &self.pools[request.pool].scripts;
        let (name, body) = scripts.find(request.word(1))?;
        (!scripts.was_given(&name, u16::try_from(shard).ok()?)).then_some((name, body))
    }

    /// The shard that runs the script; `None` if its keys lie on several, or cannot be told.
    fn script_shard(&mut self, request: Request<'_>, command: &Command) -> Result<Option<u16>, Taken> {
        let mut keys = std::mem::take(&mut self.keys);
        let found = command.keys(request.raw, request.args, &mut keys);
        let pool = &self.pools[request.pool];
        let as_nutcracker = pool.settings.multi_key == MultiKey::AsNutcracker;
        let mut homes = keys.iter().map(|&key| pool.router.route(request.word(key), &mut self.random));
        let home = homes.next();
        let apart = home.as_ref().is_some_and(|home| !as_nutcracker && homes.any(|other| other != *home));
        self.keys = keys;
        match home {
            _ if found.is_err() || apart => return Ok(None),
            Some(Route::Shard(shard)) => return Ok(u16::try_from(shard).ok()),
            Some(_) => return Ok(None),
            None => {}
        }
        let settings = &pool.settings;
        let named = settings.keyless_scripts.or((settings.pool.shards.len() == 1).then_some(0));
        let Some(shard) = named else {
            let (name, pool) = (shown(command), &settings.pool.name);
            let error = format!(
                "ERR '{name}' names no key, so it has no shard in pool {pool}: name the keys that it uses, or a shard in the \
                 pool's setting keyless_scripts"
            );
            return Err(self.refuse(request, &error));
        };
        if !pool.health.live().get(usize::from(shard)).copied().unwrap_or(false) {
            return Err(self.refuse_for(request, &Failure::Ejected, usize::from(shard)));
        }
        Ok(Some(shard))
    }

    /// Loads the script of `join` and calls it again, if that was all that was wrong: it was not executed, and nothing was
    /// asked behind it that it would now come after.
    pub(super) fn call_again(&mut self, join: JoinId) -> bool {
        let entry = self.joins.get_mut(join);
        let (owner, sequence) = (entry.session, entry.sequence);
        let Some(Again { upstream, .. }) = entry.again else { return false };
        let serves = self.upstreams.get(upstream).is_some_and(|upstream| upstream.phase == Phase::Ready)
            && self.may_call_again(upstream);
        let Some(session) = self.sessions.get_mut(owner) else { return false };
        if !serves || !session.is_newest(sequence) {
            self.joins.get_mut(join).again = None;
            return false;
        }
        let before = self.joins.held(join);
        let Some(Again { request, body, asked, .. }) = self.joins.lacks_script(&mut self.buffers, join)
        else {
            return false;
        };
        session.joining(before, 0);
        let mut load = Vec::new();
        encode::command(&mut load, &[b"SCRIPT", b"LOAD", &body]);
        self.append(upstream, (owner, sequence, 1), Group::Scripting.into(), &load);
        self.append(upstream, (owner, sequence, 0), asked, &request);
        true
    }

    fn open_join(&mut self, request: Request<'_>, kind: JoinKind, parts: usize) -> Option<(JoinId, u32)> {
        let session = self.sessions.get_mut(request.session)?;
        let id = self.joins.open(kind, request.session);
        let sequence = session.expect_parts(id, &mut self.pools[request.pool].crowd);
        let join = self.joins.get_mut(id);
        join.sequence = sequence;
        for _ in 0..parts {
            join.add_part();
        }
        Some((id, sequence))
    }

    /// Sends `raw` to `shard` for a part of the request; where that cannot be, the part is answered with the reason.
    fn ask(&mut self, request: Request<'_>, sequence: u32, part: u16, shard: usize, raw: &[u8]) {
        match self.upstream_of(request, shard) {
            Ok(upstream) => self.append(upstream, (request.session, sequence, part), self.asked, raw),
            Err(failure) => {
                let mut error = Vec::new();
                failure.write(&mut error, &self.pools[request.pool].settings, Some(shard));
                self.fail_request(request.session, sequence, part, &error, false);
            }
        }
    }

    /// Appends `raw` to an upstream; its reply is for this session's request, of which it is this part.
    pub(super) fn append(&mut self, key: Key, whose: (Key, u32, u16), asked: Asked, raw: &[u8]) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        self.buffers.append(&mut upstream.output, raw);
        let (session, sequence, part) = whose;
        upstream.queued(session, sequence, part, asked, raw.len(), self.now);
        touch(&mut upstream.touched, &mut self.touched_upstreams, key);
        upstream.home.stats.requests.add(1);
        upstream.home.stats.request_bytes.add(raw.len() as u64);
        let timeout = upstream.home.settings.timeout;
        self.note_deadline(timeout);
    }

    /// The upstream to `shard`, if its queue is full.
    fn full(&mut self, request: Request<'_>, shard: u16) -> Option<Key> {
        let key = self.upstream_of(request, usize::from(shard)).ok()?;
        self.upstreams.get(key)?.is_full().then_some(key)
    }

    /// [`Engine::upstream`], whose own callers are the way of every request: it stays small enough to be inlined there.
    #[inline(never)]
    fn upstream_of(&mut self, request: Request<'_>, shard: usize) -> Result<Key, Failure> {
        self.upstream(request.pool, shard, request.protocol, request.lane)
    }
}

/// A command's name as error texts have it.
fn shown(command: &Command) -> String {
    command.name.to_ascii_lowercase()
}
