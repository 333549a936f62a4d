//! Four shards behind the proxy, one Redis beside them, and clients that ask both the same, one after another.

use std::collections::VecDeque;
use std::fmt::Write as _;

use shoal_e2e::raw_client::encode;
use shoal_e2e::{OwnPool, RawClient, RedisServer, Sharded};

use crate::compare::{How, elements, show, texts};
use crate::draw::{Asked, Given};

/// What is told of the steps before a difference.
const TOLD: usize = 12;

const LIBRARY: &str = "#!lua name=mylib\n\
    redis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)\n\
    redis.register_function('both', function(keys, args) return redis.call('EXISTS', keys[1], keys[2]) end)\n\
    redis.register_function{function_name='look', callback=function(keys) return redis.call('TYPE', keys[1]) end, \
    flags={'no-writes'}}";

const SCRIPTS: [&str; 3] = [
    "return redis.call('GET', KEYS[1])",
    "return redis.call('STRLEN', KEYS[1])",
    "return {KEYS[1], redis.call('EXISTS', KEYS[1])}",
];

/// One client, with a connection to each.
#[derive(Debug)]
pub struct Both {
    pub ours: RawClient,
    pub theirs: RawClient,
    pub resp3: bool,
    /// The tag of the transaction's keys, and how the replies to what was queued are compared.
    pub queued: Option<(u64, Vec<How>)>,
    /// How many subscriptions it has.
    pub subscribed: usize,
}

#[derive(Debug)]
pub struct World {
    pub shards: Sharded,
    pub plain: RedisServer,
    pub clients: Vec<Both>,
    pub given: Given,
    /// What failures are told with: the seed.
    title: String,
    told: VecDeque<String>,
}

impl World {
    pub fn start() -> Self {
        let shards = Sharded::start(4, 2, 0, |addrs| {
            // md5 and a tag: keys of one tag are together, and tags are on all shards.
            let pool = OwnPool::storage("demo", addrs).key("hash", "md5").key("hash_tag", "\"{}\"");
            pool.key("allow_flush", "true")
        });
        let plain = RedisServer::start(&shards.workplace, &[]);
        let mut world = Self {
            shards,
            plain,
            clients: Vec::new(),
            given: Given::default(),
            title: String::new(),
            told: VecDeque::new(),
        };
        let mut client = world.plain.client();
        client.call(&["SET", "dumped", "from another"]);
        let strings = |reply: &[u8]| texts(reply).remove(0);
        world.given.dumped = strings(&client.call(&["DUMP", "dumped"]));
        world.given.shas =
            SCRIPTS.iter().map(|script| strings(&client.call(&["SCRIPT", "LOAD", script]))).collect();
        world.given.library = LIBRARY.to_owned();
        world
    }

    /// Empties both, and connects `count` clients anew.
    pub fn begin(&mut self, title: &str, count: usize) {
        self.title = title.to_owned();
        self.told.clear();
        self.clients.clear();
        let (mut ours, mut theirs) = (self.shards.client(), self.plain.client());
        for client in [&mut ours, &mut theirs] {
            client.call(&["FLUSHALL"]);
            client.call(&["SCRIPT", "FLUSH"]);
            client.call(&["FUNCTION", "FLUSH"]);
            client.call(&["FUNCTION", "LOAD", LIBRARY]);
        }
        for _ in 0..count {
            let (ours, theirs) = (self.shards.client(), self.plain.client());
            self.clients.push(Both { ours, theirs, resp3: false, queued: None, subscribed: 0 });
        }
    }

    /// Has client `who` ask `batch` at once, and compares all replies. `inline`: as lines of words.
    pub fn ask(&mut self, who: usize, batch: &[Asked], inline: bool) -> Vec<Vec<u8>> {
        let bytes: Vec<u8> = batch.iter().flat_map(|asked| bytes_of(&asked.words, inline)).collect();
        self.clients[who].ours.send(&bytes);
        self.clients[who].theirs.send(&bytes);
        let mut replies = Vec::new();
        for asked in batch {
            self.tell(who, &asked.words);
            let theirs = self.theirs(who);
            let ours = self.ours(who);
            self.compare(asked.how, &ours, &theirs);
            replies.push(theirs);
        }
        replies
    }

    pub fn compare(&self, how: How, ours: &[u8], theirs: &[u8]) {
        if !how.agrees(ours, theirs) {
            self.differ(&format!("{how:?}\n  proxy: {}\n  redis: {}", show(ours), show(theirs)));
        }
    }

    /// EXEC's reply: each element as what was queued for it.
    pub fn compare_each(&self, how: &[How], ours: &[u8], theirs: &[u8]) {
        match (elements(ours), elements(theirs)) {
            (Some(own), Some(plain)) if own.len() == plain.len() => {
                for (nth, (own, plain)) in own.iter().zip(&plain).enumerate() {
                    self.compare(how.get(nth).copied().unwrap_or(How::Exact), own, plain);
                }
            }
            _ => self.compare(How::Exact, ours, theirs),
        }
    }

    /// The next reply on `who`'s connection through the proxy.
    pub fn ours(&mut self, who: usize) -> Vec<u8> {
        match self.clients[who].ours.reply() {
            Ok(reply) => reply,
            Err((end, got)) => {
                self.differ(&format!("no reply of the proxy but {end:?} after {}", show(&got)))
            }
        }
    }

    /// The next reply of the one Redis.
    pub fn theirs(&mut self, who: usize) -> Vec<u8> {
        match self.clients[who].theirs.reply() {
            Ok(reply) => reply,
            Err((end, got)) => self.differ(&format!("no reply of Redis but {end:?} after {}", show(&got))),
        }
    }

    /// Remembers what `who` asked, for the message of a failure.
    pub fn tell(&mut self, who: usize, words: &[Vec<u8>]) {
        let mut line = format!("client {who}{}:", if self.clients[who].resp3 { " (RESP3)" } else { "" });
        for word in words {
            let _ = write!(line, " {}", show(word));
        }
        if self.told.len() == TOLD {
            self.told.pop_front();
        }
        self.told.push_back(line);
    }

    pub fn differ(&self, what: &str) -> ! {
        let told: Vec<&str> = self.told.iter().map(String::as_str).collect();
        panic!("{}\n{}\n{what}", self.title, told.join("\n"))
    }
}

/// A command on the wire.
pub fn bytes_of(words: &[Vec<u8>], inline: bool) -> Vec<u8> {
    let plain = |word: &Vec<u8>| {
        !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(byte))
    };
    if inline && words.iter().all(plain) && !words[0].starts_with(b"*") {
        return [words.join(&b' '), b"\r\n".to_vec()].concat();
    }
    encode(words)
}
