//! What clients do in one step: ask a pipeline, open and end transactions, subscribe and publish, wait for what is pushed,
//! ask for what is chosen by lot.

use std::collections::BTreeSet;

use shoal_e2e::{RawClient, RedisServer, wait};

use crate::compare::{How, texts};
use crate::draw::{Asked, Chance, fill, fill_or_spoil, forms, key, tag};
use crate::forms::{APART, KEYED};
use crate::world::{World, bytes_of};

/// One of the ends of what a client sends: its answer shows that nothing else is to come.
const FENCE: &[u8] = b"the fence";

/// Goes `steps` steps from `chance`, each by one of the world's clients.
pub fn walk(world: &mut World, chance: &mut Chance, steps: usize) {
    let (keyed, apart) = (forms(KEYED), forms(APART));
    for step in 0..steps {
        let who = chance.pick(world.clients.len() as u64) as usize;
        let client = &world.clients[who];
        if client.subscribed > 0 && !client.resp3 {
            while_subscribed(world, chance, who);
        } else if let Some((tag, _)) = client.queued {
            queue_or_end(world, chance, who, tag, &keyed);
        } else {
            match chance.pick(100) {
                0..=9 if client.subscribed == 0 => begin_transaction(world, chance, who),
                10..=13 => subscribe(world, chance, who),
                14..=17 => by_lot(world, chance, who),
                18 => script(world, chance, who),
                19 => held_back(world, chance, who),
                20 => hello(world, chance, who),
                21 => push_to_blocked(world, chance, who),
                22 => wait_a_little(world, chance, who),
                23..=27 => forget(world, chance, who),
                28 if chance.pick(8) == 0 => empty(world, chance, who),
                _ => pipeline(world, chance, who, &keyed, &apart),
            }
        }
        if step % 400 == 399 {
            compare_all(world);
        }
    }
    compare_all(world);
}

fn plain(words: &[&[u8]], how: How) -> Asked {
    Asked { words: words.iter().map(|word| word.to_vec()).collect(), how }
}

fn line(text: &str) -> Asked {
    plain(&text.split(' ').map(str::as_bytes).collect::<Vec<_>>(), How::Exact)
}

/// Up to six commands at once.
fn pipeline(
    world: &mut World,
    chance: &mut Chance,
    who: usize,
    keyed: &[(How, &'static str)],
    apart: &[(How, &'static str)],
) {
    let mut batch = Vec::new();
    for _ in 0..=chance.pick(6) {
        let form = if chance.pick(4) == 0 { *chance.one(apart) } else { *chance.one(keyed) };
        // While messages come in between, what is published is asked by itself.
        let tag = tag(chance);
        let asked = fill_or_spoil(chance, &world.given, form, tag);
        if asked.words[0].ends_with(b"PUBLISH") {
            publish(world, who, asked);
        } else {
            batch.push(asked);
        }
    }
    let inline = chance.pick(12) == 0;
    world.ask(who, &batch, inline);
}

fn publish(world: &mut World, who: usize, asked: Asked) {
    if world.clients[who].subscribed > 0 {
        return; // the order of its own message and of the count is nobody's promise
    }
    world.ask(who, &[asked], false);
    drain_subscribers(world);
}

fn drain_subscribers(world: &mut World) {
    for who in 0..world.clients.len() {
        if world.clients[who].subscribed > 0 {
            let frames = until_fence(world, who);
            let mut own: Vec<_> = frames.iter().map(|_| world.ours(who)).collect();
            let mut plain = frames;
            own.sort();
            plain.sort();
            let [own, plain] = [own, plain].map(|frames| frames.concat());
            world.compare(How::Exact, &own, &plain);
        }
    }
}

/// All that the one Redis has sent to `who`: what comes before its answer to a PING of now.
fn until_fence(world: &mut World, who: usize) -> Vec<Vec<u8>> {
    let fence = bytes_of(&[b"PING".to_vec(), FENCE.to_vec()], false);
    world.clients[who].theirs.send(&fence);
    let mut frames = Vec::new();
    loop {
        let frame = world.theirs(who);
        if texts(&frame).last().is_some_and(|text| text == FENCE) {
            return frames;
        }
        frames.push(frame);
    }
}

fn begin_transaction(world: &mut World, chance: &mut Chance, who: usize) {
    let tag = tag(chance);
    if chance.pick(3) == 0 {
        let words = [b"WATCH".to_vec(), key(chance, 'a', tag), key(chance, 'a', tag)];
        world.ask(who, &[Asked { words: words.to_vec(), how: How::Exact }], false);
        if chance.pick(8) == 0 {
            world.ask(who, &[line("UNWATCH")], false);
        }
    }
    world.ask(who, &[line("MULTI")], false);
    world.clients[who].queued = Some((tag, Vec::new()));
}

fn queue_or_end(world: &mut World, chance: &mut Chance, who: usize, tag: u64, keyed: &[(How, &'static str)]) {
    match chance.pick(10) {
        0..=2 => end_transaction(world, chance, who),
        3 if chance.pick(6) == 0 => {
            let wrong = *chance.one(&["NOSUCH a", "MULTI", "WATCH {t1}a", "GET", "XINFO", "OBJECT NOSUCH"]);
            world.ask(who, &[line(wrong)], false);
        }
        _ => {
            let form = *chance.one(keyed);
            let asked = fill_or_spoil(chance, &world.given, form, tag);
            let how = asked.how;
            let asked = Asked { how: How::Exact, ..asked };
            let inline = chance.pick(12) == 0;
            let replies = world.ask(who, &[asked], inline);
            if replies[0].starts_with(b"+QUEUED")
                && let Some((_, queued)) = &mut world.clients[who].queued
            {
                queued.push(how);
            }
        }
    }
}

fn end_transaction(world: &mut World, chance: &mut Chance, who: usize) {
    let Some((_, queued)) = world.clients[who].queued.take() else { return };
    if chance.pick(6) == 0 {
        let end = *chance.one(&["DISCARD", "RESET"]);
        world.clients[who].resp3 &= end == "DISCARD";
        world.ask(who, &[line(end)], false);
        return;
    }
    let words = [b"EXEC".to_vec()];
    world.tell(who, &words);
    world.clients[who].ours.send_command(&words);
    world.clients[who].theirs.send_command(&words);
    let (theirs, ours) = (world.theirs(who), world.ours(who));
    world.compare_each(&queued, &ours, &theirs);
    drain_subscribers(world);
}

/// Subscribes or publishes.
fn subscribe(world: &mut World, chance: &mut Chance, who: usize) {
    if chance.pick(3) > 0 && world.clients[who].subscribed == 0 {
        let channel = format!("c{}", chance.pick(20));
        let name = *chance.one(&["PUBLISH", "PUBLISH", "SPUBLISH"]);
        return publish(world, who, plain(&[name.as_bytes(), channel.as_bytes(), b"message"], How::Exact));
    }
    change_subscriptions(world, chance, who);
}

/// Asks by (P|S)(UN)SUBSCRIBE.
fn change_subscriptions(world: &mut World, chance: &mut Chance, who: usize) {
    let kind = *chance.one(&["", "P", "S"]);
    let verb = if chance.pick(2) == 0 { "SUBSCRIBE" } else { "UNSUBSCRIBE" };
    let mut words = vec![format!("{kind}{verb}").into_bytes()];
    let least = u64::from(verb == "SUBSCRIBE");
    for _ in 0..least + chance.pick(3) {
        let name = match kind {
            "P" => chance.one(&["c1*", "c?", "*", "d*"]).to_string(),
            _ => format!("c{}", chance.pick(20)),
        };
        words.push(name.into_bytes());
    }
    change(world, who, &words);
}

/// Sends `words`, reads all confirmations, and compares them. Those of an UNSUBSCRIBE from all come in any order.
fn change(world: &mut World, who: usize, words: &[Vec<u8>]) {
    world.tell(who, words);
    let bytes = bytes_of(words, false);
    world.clients[who].ours.send(&bytes);
    world.clients[who].theirs.send(&bytes);
    let plain = until_fence(world, who);
    let own: Vec<_> = plain.iter().map(|_| world.ours(who)).collect();
    if words.len() > 1 {
        for (own, plain) in own.iter().zip(&plain) {
            world.compare(How::Exact, own, plain);
        }
    } else {
        let names =
            |frames: &[Vec<u8>]| -> BTreeSet<Vec<Vec<u8>>> { frames.iter().map(|it| texts(it)).collect() };
        let counts = |frames: &[Vec<u8>]| -> Vec<Option<Vec<u8>>> {
            frames.iter().map(|it| it.rsplit(|byte| *byte == b':').next().map(<[u8]>::to_vec)).collect()
        };
        if names(&own) != names(&plain) || counts(&own) != counts(&plain) {
            world.compare(How::Exact, &own.concat(), &plain.concat());
        }
    }
    count_subscriptions(world, who);
}

/// Asks the one Redis how many subscriptions `who` has, by what it may do next.
fn count_subscriptions(world: &mut World, who: usize) {
    let words: [&[u8]; 2] = [b"PING", b"count"];
    world.clients[who].theirs.send_command(&["UNSUBSCRIBE", "nobody's"]);
    world.clients[who].theirs.send_command(&["SUNSUBSCRIBE", "nobody's"]);
    let count = |frame: Vec<u8>| {
        let end = frame.rsplit(|byte| *byte == b':').next().unwrap_or_default().to_vec();
        String::from_utf8_lossy(&end).trim().parse::<usize>().expect("a count")
    };
    let sum = count(world.theirs(who)) + count(world.theirs(who));
    world.clients[who].subscribed = sum;
    if sum > 0 {
        world.clients[who].theirs.send_command(&words);
        world.clients[who].ours.send_command(&words);
        let (theirs, ours) = (world.theirs(who), world.ours(who));
        world.compare(How::Exact, &ours, &theirs);
    }
}

/// What a subscriber in RESP2 may do, and what it may not.
fn while_subscribed(world: &mut World, chance: &mut Chance, who: usize) {
    match chance.pick(8) {
        0..=3 => change_subscriptions(world, chance, who),
        4 => change(
            world,
            who,
            &[chance.one(&[&b"UNSUBSCRIBE"[..], b"PUNSUBSCRIBE", b"SUNSUBSCRIBE"]).to_vec()],
        ),
        5 => {
            world.ask(who, &[line("RESET")], false);
            world.clients[who].subscribed = 0;
            world.clients[who].resp3 = false;
        }
        _ => {
            let asked =
                *chance.one(&["PING", "PING x", "GET a", "MULTI", "XINFO STREAM a", "HELLO 3", "PING a b"]);
            let inline = chance.pick(2) == 0;
            world.ask(who, &[line(asked)], inline);
        }
    }
}

/// Commands whose replies are chosen by lot: the one Redis is asked whether the choice was possible and of how many, and told to
/// do the same.
fn by_lot(world: &mut World, chance: &mut Chance, who: usize) {
    let (set, hash, sorted, stream) = {
        let tag = tag(chance);
        let mut named = |kind: &str| format!("{{t{tag}}}{kind}{}", chance.pick(3));
        (named("e"), named("h"), named("z"), named("x"))
    };
    let ours = |world: &mut World, words: &[&str]| {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        world.tell(who, &words);
        world.clients[who].ours.send_command(&words);
        world.ours(who)
    };
    let all = |world: &mut World, words: &[&str]| world.clients[who].theirs.call(words);
    // How many are drawn, and whether one can be drawn twice.
    let (drawn, possible, (most, again)) = match chance.pick(6) {
        0 => {
            let drawn = ours(world, &["SPOP", &set, "2"]);
            let possible = all(world, &["SMEMBERS", &set]);
            let gone: Vec<Vec<u8>> =
                [b"SREM".to_vec(), set.into_bytes()].into_iter().chain(texts(&drawn)).collect();
            if gone.len() > 2 {
                world.clients[who].theirs.call(&gone);
            }
            (drawn, possible, (2, false))
        }
        1 => (ours(world, &["SRANDMEMBER", &set, "-3"]), all(world, &["SMEMBERS", &set]), (3, true)),
        2 => (ours(world, &["HRANDFIELD", &hash, "2"]), all(world, &["HKEYS", &hash]), (2, false)),
        3 => (
            ours(world, &["ZRANDMEMBER", &sorted, "-2"]),
            all(world, &["ZRANGE", &sorted, "0", "-1"]),
            (2, true),
        ),
        4 => (ours(world, &["RANDOMKEY"]), all(world, &["KEYS", "*"]), (1, false)),
        _ => {
            let added = ours(world, &["XADD", &stream, "*", "f", "v"]);
            let id = texts(&added).pop().unwrap_or_default();
            if !added.starts_with(b"-") {
                let words = [b"XADD", stream.as_bytes(), &id[..], b"f", b"v"];
                let theirs = world.clients[who].theirs.call(&words);
                world.compare(How::Exact, &added, &theirs);
            }
            return;
        }
    };
    // Errors are those of a wrong type, and so both commands' alike.
    if drawn.starts_with(b"-") || possible.starts_with(b"-") {
        return world.compare(How::Exact, &drawn, &possible);
    }
    let (drawn, possible) = (texts(&drawn), texts(&possible));
    let count = match possible.len() {
        0 => 0,
        _ if again => most,
        len => most.min(len),
    };
    if drawn.len() != count || !drawn.iter().all(|one| possible.contains(one)) {
        world.differ(&format!("{} were drawn, where {count} of what is there should be", drawn.len()));
    }
}

/// Scripts that are loaded and called by their hashes.
fn script(world: &mut World, chance: &mut Chance, who: usize) {
    let body = format!("return redis.call('INCRBY', KEYS[1], {})", chance.pick(5));
    let loaded = world.ask(who, &[plain(&[b"SCRIPT", b"LOAD", body.as_bytes()], How::Exact)], false);
    let sha = texts(&loaded[0]).remove(0);
    let tag = tag(chance);
    let key = key(chance, 's', tag);
    let call = plain(&[b"EVALSHA", &sha, b"1", &key], How::Exact);
    world.ask(who, &[call.clone(), call, plain(&[b"GET", &key], How::Exact)], false);
}

/// CLIENT REPLY SKIP and OFF: what comes is what is not held back.
fn held_back(world: &mut World, chance: &mut Chance, who: usize) {
    if world.clients[who].subscribed > 0 {
        return;
    }
    let tag = tag(chance);
    let which = *chance.one(&["CLIENT REPLY SKIP", "CLIENT REPLY OFF"]);
    let mut held = vec![line(which)];
    let off = held[0].words[2] == b"OFF";
    let count = if off { 1 + chance.pick(4) } else { 1 };
    for _ in 0..count {
        let form = *chance.one(&[
            "INCR $s",
            "SET $s x",
            "LPUSH $l x",
            "NOSUCH",
            "GET",
            "MSET $S 1 $S 2 $S 3",
            "PING",
        ]);
        held.push(fill(chance, &world.given, (How::Exact, form), tag));
    }
    let mut heard = if off { vec![line("CLIENT REPLY ON")] } else { Vec::new() };
    heard.push(plain(&[b"GET", &key(chance, 's', tag)], How::Exact));
    heard.push(line("PING heard"));
    for asked in &held {
        world.tell(who, &asked.words);
    }
    let bytes: Vec<u8> = held.iter().flat_map(|asked| bytes_of(&asked.words, false)).collect();
    world.clients[who].ours.send(&bytes);
    world.clients[who].theirs.send(&bytes);
    world.ask(who, &heard, false);
}

fn hello(world: &mut World, chance: &mut Chance, who: usize) {
    if world.clients[who].subscribed > 0 {
        return;
    }
    let asked = *chance.one(&["HELLO 2", "HELLO 3", "HELLO 3", "HELLO", "HELLO 3 SETNAME me", "RESET"]);
    // Its own number stands in the greeting.
    world.ask(who, &[Asked { how: How::Loose, ..line(asked) }, line("GET {t1}s1")], false);
    match asked.split(' ').nth(1) {
        Some(version) => world.clients[who].resp3 = version == "3",
        None => world.clients[who].resp3 &= asked == "HELLO",
    }
}

/// A client waits in a blocking command until another pushes.
fn push_to_blocked(world: &mut World, chance: &mut Chance, who: usize) {
    let other = (0..world.clients.len())
        .find(|&at| at != who && world.clients[at].queued.is_none() && world.clients[at].subscribed == 0);
    let Some(other) = other else { return };
    if world.clients[who].subscribed > 0 {
        return;
    }
    let tag = tag(chance);
    let (wait_form, push_form) = *chance.one(&[
        ("BLPOP {b}1 {b}2 0", "RPUSH {b}2 x y"),
        ("BRPOP {b}1 0", "LPUSH {b}1 x y"),
        ("BLMOVE {b}1 {b}3 LEFT RIGHT 0", "RPUSH {b}1 x"),
        ("BRPOPLPUSH {b}1 {b}3 0", "RPUSH {b}1 x"),
        ("BLMPOP 0 2 {b}1 {b}2 LEFT COUNT 2", "RPUSH {b}2 x y z"),
        ("BZPOPMIN {b}4 0", "ZADD {b}4 1 a 2 b"),
        ("BZPOPMAX {b}4 {b}5 0", "ZADD {b}5 1 a 2 b"),
        ("BZMPOP 0 1 {b}4 MAX", "ZADD {b}4 1 a"),
        ("XREAD BLOCK 0 STREAMS {b}6 $", "XADD {b}6 9999-1 f v"),
    ]);
    let of_tag = |form: &str| line(&form.replace("{b}", &format!("{{t{tag}}}b")));
    let emptied: Vec<Asked> = (1..7).map(|nth| of_tag(&format!("DEL {{b}}{nth}"))).collect();
    world.ask(other, &emptied, false);
    let waiting = of_tag(wait_form);
    world.tell(who, &waiting.words);
    world.clients[who].ours.send_command(&waiting.words);
    world.clients[who].theirs.send_command(&waiting.words);
    wait::until("one to block", || {
        let sum: usize = world.shards.servers.iter().map(RedisServer::blocked).sum();
        (world.plain.blocked() == 1 && sum == 1).then_some(())
    });
    world.ask(other, &[of_tag(push_form)], false);
    let (theirs, ours) = (world.theirs(who), world.ours(who));
    world.compare(How::Exact, &ours, &theirs);
}

/// Blocking commands that find something, or give up.
fn wait_a_little(world: &mut World, chance: &mut Chance, who: usize) {
    let tag = tag(chance);
    let form = *chance.one(&[
        "BLPOP $l $l 0.01",
        "BRPOP $l 0.01",
        "BLMOVE $l $l LEFT RIGHT 0.01",
        "BRPOPLPUSH $l $l 0.01",
        "BLMPOP 0.01 2 $l $l RIGHT",
        "BZPOPMIN $z 0.01",
        "BZPOPMAX $z $z 0.01",
        "BZMPOP 0.01 1 $z MIN COUNT 3",
        "XREAD BLOCK 10 STREAMS $x %i",
        "XREADGROUP GROUP %G %c BLOCK 10 STREAMS $x >",
        "BLPOP $l -1",
        "BLPOP $l x",
    ]);
    let asked = fill(chance, &world.given, (How::Exact, form), tag);
    world.ask(who, &[asked], false);
}

/// Makes room for keys of other types.
fn forget(world: &mut World, chance: &mut Chance, who: usize) {
    let tag = tag(chance);
    let mut words = vec![b"DEL".to_vec()];
    words.extend((0..8).map(|_| key(chance, 'a', tag)));
    world.ask(who, &[Asked { words, how: How::Exact }], false);
}

fn empty(world: &mut World, chance: &mut Chance, who: usize) {
    let all = ["FLUSHALL", "FLUSHDB ASYNC", "FLUSHALL SYNC", "SCRIPT FLUSH", "SCRIPT FLUSH ASYNC"];
    let asked = *chance.one(&all);
    world.ask(who, &[line(asked), line("DBSIZE")], false);
}

/// Every key that one of them has, the other has too, and holds the same.
fn compare_all(world: &mut World) {
    let (mut ours, mut theirs) = (world.shards.client(), world.plain.client());
    for options in [&["COUNT", "7"][..], &["TYPE", "hash", "COUNT", "50"], &["MATCH", "{t1*"]] {
        let (own, plain) = (scan(&mut ours, options), scan(&mut theirs, options));
        if own != plain {
            let only = |one: &BTreeSet<Vec<u8>>, other: &BTreeSet<Vec<u8>>| {
                one.difference(other).map(|key| String::from_utf8_lossy(key).into_owned()).collect::<Vec<_>>()
            };
            world.differ(&format!(
                "SCAN {options:?}: the proxy alone has {:?}, Redis alone {:?}",
                only(&own, &plain),
                only(&plain, &own)
            ));
        }
    }
    for key in scan(&mut theirs, &[]) {
        let kind = theirs.call(&[&b"TYPE"[..], &key]);
        let (words, how): (&[&str], How) = match &kind[..] {
            b"+string\r\n" => (&["GET"], How::Exact),
            b"+list\r\n" => (&["LRANGE", "0", "-1"], How::Exact),
            b"+hash\r\n" => (&["HGETALL"], How::Pairs),
            b"+set\r\n" => (&["SMEMBERS"], How::Sorted),
            b"+zset\r\n" => (&["ZRANGE", "0", "-1", "WITHSCORES"], How::Exact),
            _ => (&["XRANGE", "-", "+"], How::Exact),
        };
        let mut asked: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        asked.insert(1, key.clone());
        for (asked, how) in [
            (asked, how),
            (vec![b"TYPE".to_vec(), key.clone()], How::Exact),
            (vec![b"PTTL".to_vec(), key], How::Near),
        ] {
            let (own, plain) = (ours.call(&asked), theirs.call(&asked));
            if !how.agrees(&own, &plain) {
                world.tell(0, &asked);
                world.compare(how, &own, &plain);
            }
        }
    }
}

fn scan(client: &mut RawClient, options: &[&str]) -> BTreeSet<Vec<u8>> {
    let (mut cursor, mut seen) = (b"0".to_vec(), BTreeSet::new());
    loop {
        let mut words: Vec<&[u8]> = vec![b"SCAN", &cursor];
        words.extend(options.iter().map(|word| word.as_bytes()));
        let mut page = texts(&client.call(&words)).into_iter();
        let next = page.next().expect("a cursor");
        seen.extend(page);
        if next == b"0" {
            return seen;
        }
        cursor = next;
    }
}
