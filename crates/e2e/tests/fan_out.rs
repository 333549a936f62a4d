//! Commands over all shards, scans and scripts, through a pool of four real servers. `differential` asks one plain server the
//! same.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use shoal_e2e::load::StopAtEnd;
use shoal_e2e::sharded::{POOL, Sharded};
use shoal_e2e::{Link, OwnPool, OwnProxy, Proxy, RawClient, RedisServer, Workplace, wait};

const SHARDS: usize = 4;

/// Four empty servers, and a pool over them.
fn four(change: impl FnOnce(OwnPool) -> OwnPool) -> Sharded {
    Sharded::start(SHARDS, 2, 0, |addrs| {
        change(OwnPool::storage(POOL, addrs).key("hash", "md5").key("hash_tag", "\"{}\""))
    })
}

fn text(reply: &[u8]) -> String {
    String::from_utf8_lossy(reply).into_owned()
}

/// The bulk strings in a reply, in their order; all else is left out.
fn bulks(reply: &[u8]) -> Vec<String> {
    let all = text(reply);
    let mut lines = all.split("\r\n");
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with('$') && line != "$-1" {
            found.extend(lines.next().map(str::to_owned));
        }
    }
    found
}

/// One page of a scan: the next cursor and its keys, or the error.
fn page(client: &mut RawClient, cursor: &str, options: &[&str]) -> Result<(String, Vec<String>), String> {
    let reply = client.call(&[&["SCAN", cursor], options].concat());
    if reply.starts_with(b"-") {
        return Err(text(&reply));
    }
    let mut keys = bulks(&reply);
    let next = keys.remove(0);
    assert!(next.parse::<i64>().is_ok_and(|next| next >= 0), "{next} is not for signed clients");
    Ok((next, keys))
}

fn scan(client: &mut RawClient, options: &[&str]) -> BTreeSet<String> {
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
    loop {
        let (next, keys) = page(client, &cursor, options).expect("a page");
        seen.extend(keys);
        if next == "0" {
            return seen;
        }
        cursor = next;
    }
}

#[test]
fn the_few_keys_of_one_shard_are_found_by_lot_too() {
    let four = four(|pool| pool);
    let mut client = four.client();
    assert_eq!(client.call(&["RANDOMKEY"]), b"$-1\r\n");
    client.call(&["SET", "alone", "1"]);
    for _ in 0..20 {
        assert_eq!(client.call(&["RANDOMKEY"]), b"$5\r\nalone\r\n");
    }
}

#[test]
fn flushing_is_off_unless_allowed_and_then_keeps_to_the_pool_s_database() {
    let four = four(|pool| pool.key("database", "3"));
    let mut client = four.client();
    client.call(&["SET", "a", "1"]);
    for name in ["FLUSHALL", "FLUSHDB"] {
        let reply = text(&client.call(&[name]));
        assert!(reply.starts_with("-ERR") && reply.contains("allow_flush"), "{reply}");
    }
    assert_eq!(client.call(&["GET", "a"]), b"$1\r\n1\r\n");
    let addrs: Vec<_> = four.servers.iter().map(RedisServer::addr).collect();
    let pool = OwnPool::storage(POOL, &addrs).key("database", "3").key("allow_flush", "true");
    let proxy = OwnProxy::start(&four.workplace, 1, &[pool]);
    for server in &four.servers {
        assert_eq!(server.client().call(&["SET", "other", "database"]), b"+OK\r\n");
    }
    assert_eq!(proxy.client(POOL).call(&["FLUSHALL"]), b"+OK\r\n");
    assert_eq!(client.call(&["DBSIZE"]), b":0\r\n");
    for server in &four.servers {
        assert_eq!(server.client().call(&["GET", "other"]), b"$8\r\ndatabase\r\n");
    }
}

#[test]
fn a_shard_that_is_down_is_named_and_the_same_cursor_goes_on_when_it_is_back() {
    let mut four = four(|pool| pool.key("timeout", "5000").key("allow_flush", "true"));
    let mut client = four.client();
    for number in 0..200 {
        client.call(&["SET", &format!("k{number}"), "1"]);
    }
    four.servers[2].kill();
    for words in [&["DBSIZE"][..], &["KEYS", "*"], &["RANDOMKEY"], &["SCRIPT", "LOAD", "return 1"]] {
        let reply = text(&client.call(words));
        assert!(reply.starts_with("-ERR shard demo-2 of pool demo"), "{words:?}: {reply}");
    }
    let (mut cursor, mut seen) = ("0".to_owned(), 0);
    let error = loop {
        match page(&mut client, &cursor, &["COUNT", "20"]) {
            Ok((next, keys)) => {
                seen += keys.len();
                cursor = next;
            }
            Err(error) => break error,
        }
    };
    assert!(error.starts_with("-ERR shard demo-2 of pool demo"), "{error}");
    assert!(seen > 20 && cursor != "0", "{seen} keys of the shards before it");
    four.servers[2].restart();
    let next = wait::until("the page after the error", || page(&mut client, &cursor, &[]).ok());
    assert_ne!(next.0, "0", "another shard is to come");
}

#[test]
fn a_scan_through_writes_and_a_reload_sees_every_key_or_says_why_not() {
    let workplace = Workplace::new();
    let servers: Vec<_> = (0..5).map(|_| RedisServer::start(&workplace, &[])).collect();
    let addrs: Vec<_> = servers.iter().map(RedisServer::addr).collect();
    let pool = |shards: usize| OwnPool::storage(POOL, &addrs[..shards]).key("hash", "md5");
    let proxy = OwnProxy::start(&workplace, 2, &[pool(4)]);
    let mut client = proxy.client(POOL);
    let stable: BTreeSet<String> = (0..3000).map(|number| format!("stable:{number}")).collect();
    for key in &stable {
        assert_eq!(client.call(&["SET", key, "1"]), b"+OK\r\n");
    }
    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        // Tables grow and shrink under the scans: Redis re-hashes in the middle of them.
        let writer = scope.spawn({
            let (mut client, stop, written) = (proxy.client(POOL), &stop, &written);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    for name in ["SET", "DEL"] {
                        for number in 0..6000 {
                            let key = format!("passing:{number}");
                            let words = if name == "SET" { vec![name, &key, "1"] } else { vec![name, &key] };
                            client.call(&words);
                            written.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
        });
        let writes = || written.load(Ordering::Relaxed);
        wait::until("the first writes", || (writes() > 0).then_some(()));
        let before = writes();
        for count in ["10", "100", "1000"] {
            let seen = scan(&mut client, &["COUNT", count]);
            assert_eq!(stable.difference(&seen).count(), 0, "COUNT {count}");
        }
        // Each page over a connection of its own: any worker goes on with it.
        let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
        loop {
            let (next, keys) = page(&mut proxy.client(POOL), &cursor, &["COUNT", "200"]).unwrap();
            seen.extend(keys);
            if next == "0" {
                break;
            }
            cursor = next;
        }
        assert_eq!(stable.difference(&seen).count(), 0, "over several connections");
        let (cursor, _) = page(&mut client, "0", &["COUNT", "50"]).unwrap();
        assert_ne!(cursor, "0");
        proxy.reload(&[pool(5)]);
        // A worker takes the new topology when its turn comes; until then the old one is whole.
        let error = wait::until("the error of another topology", || page(&mut client, &cursor, &[]).err());
        assert!(error.contains("another topology") && error.contains("scan again from 0"), "{error}");
        let seen = scan(&mut client, &["COUNT", "500"]);
        assert_eq!(stable.difference(&seen).count(), 0, "in the new topology");
        assert!(writes() > before + 100, "{} writes meanwhile", writes() - before);
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
}

#[test]
fn a_script_is_loaded_where_a_shard_has_lost_it() {
    let four = four(|pool| pool.key("keyless_scripts", "demo-1"));
    let mut client = four.client();
    let script = "return redis.call('SET', KEYS[1], ARGV[1])";
    let sha = bulks(&client.call(&["SCRIPT", "LOAD", script])).remove(0);
    for server in &four.servers {
        assert_eq!(server.client().call(&["SCRIPT", "EXISTS", &sha]), b"*1\r\n:1\r\n");
        server.client().call(&["SCRIPT", "FLUSH"]);
    }
    assert_eq!(client.call(&["SCRIPT", "EXISTS", &sha]), b"*1\r\n:0\r\n");
    for number in 0..40 {
        let key = format!("k{number}");
        assert_eq!(client.call(&["EVALSHA", &sha, "1", &key, &key]), b"+OK\r\n");
        assert_eq!(bulks(&client.call(&["GET", &key])), [key]);
    }
    for server in &four.servers {
        assert_eq!(server.client().call(&["SCRIPT", "EXISTS", &sha]), b"*1\r\n:1\r\n");
    }
    let unknown = "0".repeat(40);
    assert!(text(&client.call(&["EVALSHA", &unknown, "1", "a"])).starts_with("-NOSCRIPT"));
    // Without keys: the shard that the configuration names, and no other.
    assert_eq!(client.call(&["EVAL", "return redis.call('SET', 'here', '1')", "0"]), b"+OK\r\n");
    let holds = |server: &RedisServer| server.client().call(&["EXISTS", "here"]) == b":1\r\n";
    let holding: Vec<bool> = four.servers.iter().map(holds).collect();
    assert_eq!(holding, [false, true, false, false]);
    let apart = ["EVAL", "return 1", "6", "k1", "k2", "k3", "k4", "k5", "k6"];
    assert!(text(&client.call(&apart)).starts_with("-CROSSSLOT"));
}

#[test]
fn functions_are_on_all_shards() {
    let four = four(|pool| pool.key("keyless_scripts", "demo-3"));
    let mut client = four.client();
    let library = "#!lua name=mylib\nredis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)\n\
                   redis.register_function{function_name='one', callback=function() return 1 end, flags={'no-writes'}}";
    assert_eq!(client.call(&["FUNCTION", "LOAD", library]), b"$5\r\nmylib\r\n");
    assert_eq!(client.call(&["FUNCTION", "LOAD", library]), b"-ERR Library 'mylib' already exists\r\n");
    for shard in [1, 2, 3] {
        four.servers[shard].client().call(&["FUNCTION", "FLUSH"]);
    }
    let again = text(&client.call(&["FUNCTION", "LOAD", library]));
    assert!(
        again.starts_with("-ERR Library 'mylib' already exists")
            && again.contains("(shard demo-0 of pool demo)"),
        "{again}"
    );
    for number in 0..20 {
        let key = format!("k{number}");
        assert_eq!(client.call(&["FCALL", "put", "1", &key, "v"]), b"+OK\r\n");
        assert_eq!(client.call(&["FCALL_RO", "one", "1", &key]), b":1\r\n");
    }
    assert_eq!(client.call(&["FCALL", "one", "0"]), b":1\r\n");
    assert!(bulks(&client.call(&["FUNCTION", "LIST"])).contains(&"mylib".to_owned()));
    let dump = client.call(&["FUNCTION", "DUMP"]);
    let start = dump.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let payload = &dump[start..dump.len() - 2];
    assert_eq!(client.call(&["FUNCTION", "DELETE", "mylib"]), b"+OK\r\n");
    assert!(text(&client.call(&["FCALL", "put", "1", "a", "v"])).starts_with("-ERR Function not found"));
    assert_eq!(client.call(&[&b"FUNCTION"[..], b"RESTORE", payload]), b"+OK\r\n");
    for server in &four.servers {
        assert_eq!(server.client().call(&["FCALL", "one", "0"]), b":1\r\n");
    }
    assert_eq!(client.call(&["FUNCTION", "FLUSH"]), b"+OK\r\n");
    assert_eq!(client.call(&["FUNCTION", "LIST"]), b"*0\r\n");
    assert!(text(&client.call(&["FUNCTION", "STATS"])).contains("concerns one server"));
}

#[test]
fn a_huge_answer_to_keys_passes_through_without_being_held() {
    let four = four(|pool| pool);
    let prefix = "p".repeat(100);
    for (index, server) in four.servers.iter().enumerate() {
        let prefix = format!("{prefix}{index}");
        assert_eq!(server.client().call(&["DEBUG", "POPULATE", "100000", &prefix, "1"]), b"+OK\r\n");
    }
    let mut client = four.client();
    client.call(&["PING"]);
    let before = four.proxy.memory_kib();
    client.send_command(&["KEYS", "*"]);
    // "$<length>\r\n<prefix and shard>:<number>\r\n"
    let digits: usize = (0..100_000).map(|number: u32| number.to_string().len()).sum();
    let mut left = "*400000\r\n".len() + SHARDS * (100_000 * ("$107\r\n\r\n".len() + 102) + digits);
    let (mut keys, mut most) = (0, 0);
    while left > 0 {
        let bytes = client.read_exactly(left.min(1024 * 1024));
        left -= bytes.len();
        keys += bytes.iter().filter(|byte| **byte == b'$').count();
        most = most.max(four.proxy.memory_kib());
    }
    assert_eq!(keys, 400_000);
    assert_eq!(client.call(&["PING"]), b"+PONG\r\n");
    // 44 MiB have passed. Of those 8 MiB may be held, in buffers that double; held whole, it would be at least 44.
    let grown = most.saturating_sub(before) / 1024;
    assert!(grown < 36, "{grown} MiB more");
}

#[test]
fn an_ejected_shard_of_a_cache_is_named_and_scripts_do_without_it() {
    let workplace = Workplace::new();
    let servers: Vec<_> = (0..3).map(|_| RedisServer::start(&workplace, &[])).collect();
    let link = Link::to(servers[1].addr());
    let addrs = [servers[0].addr(), link.addr(), servers[2].addr()];
    let pool = OwnPool::cache(POOL, &addrs)
        .key("timeout", "2000")
        .key("eject", "{failure_limit: 1, retry_after: 600000}");
    let proxy = OwnProxy::start(&workplace, 1, &[pool]);
    let mut client = proxy.client(POOL);
    assert_eq!(client.call(&["DBSIZE"]), b":0\r\n");
    link.cut();
    let error = wait::until("the ejection", || {
        let reply = text(&client.call(&["DBSIZE"]));
        reply.contains("is ejected").then_some(reply)
    });
    assert_eq!(error, "-ERR shard demo-1 of pool demo is ejected\r\n");
    assert_eq!(bulks(&client.call(&["SCRIPT", "LOAD", "return 1"])).len(), 1);
    assert_eq!(client.call(&["RANDOMKEY"]), b"$-1\r\n");
    let (cursor, _) = page(&mut client, "0", &[]).unwrap();
    assert_eq!(page(&mut client, &cursor, &[]), Err(error));
}
