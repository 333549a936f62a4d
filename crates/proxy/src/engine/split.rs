//! Commands of several keys that are split: a part for each shard, in the order of the servers, keys in the client's order.

use shoal_resp::command::Command;
use shoal_resp::encode;
use shoal_topology::Route;

use super::request::{Request, Taken, wrong_arity};
use super::{Engine, touch};
use crate::arena::Key;
use crate::join::JoinKind;
use crate::session::Hold;

/// The number of words and the name of a part take fewer bytes than this.
const HEAD_MAX: usize = 64;

/// Scratch for splitting one request. Between requests `keys_of` is all zero, and the rest means nothing.
#[derive(Debug, Default)]
pub(super) struct Splitting {
    /// The shard of each key, in the client's order.
    homes: Vec<usize>,
    /// How many keys each shard has.
    keys_of: Vec<usize>,
    /// The shards that have any, in the order of the servers, and where the keys of each end in `sorted`.
    used: Vec<(usize, usize)>,
    /// The keys by their shards, in the client's order within each.
    sorted: Vec<usize>,
}

impl Splitting {
    /// Sorts the keys of `homes` by shards. `order` is that of the servers.
    fn sort(&mut self, order: &[u16]) {
        let mut end = 0;
        for &shard in order {
            let shard = usize::from(shard);
            let keys = std::mem::take(&mut self.keys_of[shard]);
            if keys > 0 {
                // From here on it is where the shard's next key goes.
                self.keys_of[shard] = end;
                end += keys;
                self.used.push((shard, end));
            }
        }
        self.sorted.resize(end, 0);
        for (key, &home) in self.homes.iter().enumerate() {
            self.sorted[self.keys_of[home]] = key;
            self.keys_of[home] += 1;
        }
        for &(shard, _) in &self.used {
            self.keys_of[shard] = 0;
        }
    }
}

impl Engine {
    /// Splits a request by shards.
    pub(super) fn split(&mut self, request: Request<'_>, kind: JoinKind, command: &Command) -> Taken {
        let mut splitting = std::mem::take(&mut self.splitting);
        let taken = self.split_into(request, kind, command, &mut splitting);
        self.splitting = splitting;
        taken
    }

    fn split_into(
        &mut self,
        request: Request<'_>,
        kind: JoinKind,
        command: &Command,
        splitting: &mut Splitting,
    ) -> Taken {
        let step = kind.words_per_key();
        let words = request.args.len() - 1;
        if !words.is_multiple_of(step) {
            return self.refuse(request, &wrong_arity(command.name));
        }
        splitting.homes.clear();
        splitting.used.clear();
        for word in (1..=words).step_by(step) {
            match self.pools[request.pool].router.route(request.word(word), &mut self.random) {
                Route::Shard(shard) => splitting.homes.push(shard),
                unroutable => return self.refuse_unroutable(request, &unroutable),
            }
        }
        splitting.keys_of.resize(self.pools[request.pool].settings.pool.shards.len(), 0);
        for &home in &splitting.homes {
            splitting.keys_of[home] += 1;
        }
        splitting.sort(self.pools[request.pool].router.order());
        if let Some(full) = self.full_upstream(request, splitting) {
            return Taken::NotYet(Hold::Upstream(full));
        }
        let Some(session) = self.sessions.get_mut(request.session) else { return Taken::Yes };
        let id = self.joins.open(kind, request.session);
        let sequence = session.expect_parts(id, &mut self.pools[request.pool].crowd);
        let join = self.joins.get_mut(id);
        join.sequence = sequence;
        join.part_of_key.resize(splitting.homes.len(), 0);
        let mut first = 0;
        for &(_, end) in &splitting.used {
            let part = join.add_part();
            splitting.sorted[first..end].iter().for_each(|&key| join.part_of_key[key] = part);
            first = end;
        }
        let mut first = 0;
        for (part, &(shard, end)) in splitting.used.iter().enumerate() {
            self.send_part(
                request,
                command,
                sequence,
                part as u16,
                shard,
                &splitting.sorted[first..end],
                step,
            );
            first = end;
        }
        let timeout = self.pools[request.pool].settings.timeout;
        self.note_deadline(timeout);
        Taken::Yes
    }

    /// Appends the part of `shard`, which has these keys, to its upstream.
    #[expect(clippy::too_many_arguments, reason = "what a part is")]
    fn send_part(
        &mut self,
        request: Request<'_>,
        command: &Command,
        sequence: u32,
        part: u16,
        shard: usize,
        keys: &[usize],
        step: usize,
    ) {
        let key = match self.upstream(request.pool, shard, request.protocol, request.lane) {
            Ok(key) => key,
            Err(failure) => {
                let mut error = Vec::new();
                failure.write(&mut error, &self.pools[request.pool].settings, Some(shard));
                self.fail_request(request.session, sequence, part, &error, false);
                return;
            }
        };
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        // The words stand in the client's bytes as the server is to read them, their lengths before them.
        let words = |&index: &usize| {
            let word = 1 + index * step;
            request.args[word - 1].end as usize + 2..request.args[word + step - 1].end as usize + 2
        };
        let length: usize = keys.iter().map(|key| words(key).len()).sum();
        let out = self.buffers.lend_room(&mut upstream.output, length + HEAD_MAX);
        let before = out.len();
        encode::array_len(out, 1 + keys.len() * step);
        encode::bulk(out, split_name(command.name));
        for key in keys {
            out.extend_from_slice(&request.raw[words(key)]);
        }
        let length = out.len() - before;
        upstream.queued(request.session, sequence, part, self.asked, length, self.now);
        touch(&mut upstream.touched, &mut self.touched_upstreams, key);
        upstream.home.stats.requests.add(1);
        upstream.home.stats.request_bytes.add(length as u64);
    }

    /// An upstream that the request needs and whose queue is full.
    fn full_upstream(&mut self, request: Request<'_>, splitting: &Splitting) -> Option<Key> {
        splitting.used.iter().find_map(|&(shard, _)| {
            let key = self.upstream(request.pool, shard, request.protocol, request.lane).ok()?;
            self.upstreams.get(key)?.is_full().then_some(key)
        })
    }
}

/// The name that goes out with each part: in lower case, as Twemproxy writes it.
fn split_name(name: &str) -> &'static [u8] {
    match name {
        "MGET" => b"mget",
        "MSET" => b"mset",
        "DEL" => b"del",
        "UNLINK" => b"unlink",
        "TOUCH" => b"touch",
        _ => b"exists",
    }
}
