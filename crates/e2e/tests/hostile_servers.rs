//! A server that answers nonsense, and one that refuses what one session asks: others' requests, on other shards and on the
//! same one, get their own replies.

use shoal_e2e::raw_client::encode;
use shoal_e2e::sharded::value;
use shoal_e2e::{
    Answer, FakeServer, Neighbours, OwnPool, OwnProxy, Proxy, RawClient, RedisServer, Sharded, Workplace,
    escape, wait,
};

/// What the server that lies answers while it does not.
const TRUTH: &[u8] = b"$5\r\ntruth\r\n";
/// Every error about it begins so.
const BY_NAME: &[u8] = b"-ERR shard demo-0 of pool demo ";
/// The proxy may hold so much more than before, in KiB, whatever it is sent.
const BOUND_KIB: u64 = 16 * 1024;

/// A pool of one server that lies, and two that are real and hold keys.
struct Rig {
    proxy: OwnProxy,
    liar: FakeServer,
    /// Keys of the liar, and of the others.
    lost: Vec<String>,
    others: Vec<String>,
    _servers: Vec<RedisServer>,
    _workplace: Workplace,
}

impl Rig {
    fn start() -> Self {
        let workplace = Workplace::new();
        let liar = FakeServer::start(Answer::Bytes(TRUTH.to_vec()));
        let servers: Vec<_> = (0..2).map(|_| RedisServer::start(&workplace, &[])).collect();
        let addrs = [liar.addr(), servers[0].addr(), servers[1].addr()];
        // With md5 the few and similar keys of a test spread over all servers.
        let pool = OwnPool::storage("demo", &addrs).key("hash", "md5").key("timeout", "60000");
        let proxy = OwnProxy::start(&workplace, 2, &[pool]);
        let (mut lost, mut others) = (Vec::new(), Vec::new());
        let mut client = proxy.client("demo");
        for key in (0..96).map(|number| format!("k{number}")) {
            let reply = client.call(&["SET", &key, &format!("the value of {key}")]);
            if reply == TRUTH { lost.push(key) } else { others.push(key) }
        }
        assert!(lost.len() > 10 && others.len() > 20, "{} and {}", lost.len(), others.len());
        Self { proxy, liar, lost, others, _servers: servers, _workplace: workplace }
    }

    fn client(&self) -> RawClient {
        self.proxy.client("demo")
    }

    /// Two on each worker that ask for the real servers' keys alone.
    fn neighbours(&self) -> Neighbours {
        Neighbours::start((0..4).map(|_| self.client()).collect(), &self.others)
    }

    /// Waits until both workers are connected to the liar again and hear the truth.
    fn hears_the_truth(&self) {
        self.liar.set_answer(Answer::Bytes(TRUTH.to_vec()));
        let mut clients: Vec<_> = (0..4).map(|_| self.client()).collect();
        wait::until("the truth", || {
            let replies = clients.iter_mut().map(|client| client.call(&["GET", &self.lost[0]]));
            // All are asked, whatever the first says.
            replies.collect::<Vec<_>>().iter().all(|reply| reply == TRUTH).then_some(())
        });
    }
}

/// What is no reply, or none to this request.
fn nonsense() -> Vec<(&'static str, Answer)> {
    let bytes = |bytes: &[u8]| Answer::Bytes(bytes.to_vec());
    let chance = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
    vec![
        ("words", bytes(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")),
        ("chance", Answer::Bytes(chance)),
        ("zeros", Answer::Bytes(vec![0; 64 * 1024])),
        ("no number", bytes(b"$five\r\ntruth\r\n")),
        ("a negative length", bytes(b"$-5\r\ntruth\r\n")),
        ("a huge length", bytes(b"$99999999999999999999\r\n")),
        ("a huge count", bytes(b"*99999999999999999999\r\n")),
        ("a bulk string that is longer than said", bytes(b"$5\r\ntruths\r\n")),
        ("RESP3 where RESP2 is spoken", bytes(b"%1\r\n+a\r\n+b\r\n")),
        ("nested a thousand deep", Answer::Bytes([b"*1\r\n".repeat(1000), b":1\r\n".to_vec()].concat())),
        ("a line without end", Answer::Bytes([b"+".to_vec(), vec![b'x'; 1024 * 1024]].concat())),
        ("an error without end", Answer::Bytes([b"-".to_vec(), vec![b'x'; 1024 * 1024]].concat())),
        ("a number without end", Answer::Bytes([b":".to_vec(), vec![b'1'; 1024 * 1024]].concat())),
        ("half a reply and the end", Answer::Last(b"$5\r\ntru".to_vec())),
        ("half an array and the end", Answer::Last(b"*3\r\n$5\r\ntruth\r\n".to_vec())),
        ("half a header and the end", Answer::Last(b"$".to_vec())),
    ]
}

#[test]
fn nonsense_fails_the_requests_of_its_server_by_name_and_nobody_elses() {
    let rig = Rig::start();
    let neighbours = rig.neighbours();
    neighbours.rounds(3);
    let before = rig.proxy.memory_kib();
    for (what, answer) in nonsense() {
        rig.hears_the_truth();
        let mut client = rig.client();
        rig.liar.set_answer(answer);
        // Its own keys fail, in their place among the others', and the session goes on.
        for _ in 0..3 {
            client.send(
                &[
                    encode(&["GET", &rig.others[0]]),
                    encode(&["GET", &rig.lost[0]]),
                    encode(&["GET", &rig.others[1]]),
                ]
                .concat(),
            );
            client.expect(&value(&rig.others[0]));
            let reply =
                client.reply().unwrap_or_else(|(end, got)| panic!("{what}: {end:?} {}", escape::show(&got)));
            assert!(reply.starts_with(BY_NAME), "{what}: {}", escape::show(&reply));
            client.expect(&value(&rig.others[1]));
        }
        // A part of a request that fails, fails the request.
        let reply = client.call(&["MGET", &rig.others[0], &rig.lost[0], &rig.others[1]]);
        assert!(reply.starts_with(BY_NAME), "{what}: {}", escape::show(&reply));
        neighbours.rounds(1);
    }
    rig.hears_the_truth();
    neighbours.end();
    let held = rig.proxy.memory_kib();
    assert!(held <= before + BOUND_KIB, "{held} KiB, {before} before");
}

#[test]
fn a_reply_too_many_reaches_nobody() {
    let rig = Rig::start();
    let neighbours = rig.neighbours();
    let mut client = rig.client();
    for (what, answer) in [
        ("two for one", [TRUTH, b"$3\r\nlie\r\n"].concat()),
        ("a hundred for one", [TRUTH, &b"$3\r\nlie\r\n".repeat(100)[..]].concat()),
        ("one and a half", [TRUTH, b"$3\r\nli"].concat()),
    ] {
        rig.hears_the_truth();
        rig.liar.set_answer(Answer::Bytes(answer));
        let mut right = 0;
        for _ in 0..20 {
            // One at a time: nobody waits when the second reply comes, so nobody may get it.
            let reply = client.call(&["GET", &rig.lost[0]]);
            assert!(reply == TRUTH || reply.starts_with(BY_NAME), "{what}: {}", escape::show(&reply));
            right += usize::from(reply == TRUTH);
            client.send(&encode(&["GET", &rig.others[0]]));
            client.expect(&value(&rig.others[0]));
        }
        assert!(right > 0, "{what}: the first reply was right, and nobody had it");
        neighbours.rounds(1);
    }
    // One that speaks first: what its own sessions hear is its own affair, but nobody else hears it.
    rig.hears_the_truth();
    rig.liar.set_answer(Answer::Close);
    assert!(client.call(&["GET", &rig.lost[0]]).starts_with(BY_NAME));
    rig.liar.set_answer(Answer::Unasked(b"+unasked\r\n".to_vec()));
    for _ in 0..20 {
        let reply = client.call(&["GET", &rig.lost[0]]);
        assert!(reply == b"+unasked\r\n" || reply.starts_with(BY_NAME), "{}", escape::show(&reply));
        client.send(&encode(&["GET", &rig.others[0]]));
        client.expect(&value(&rig.others[0]));
    }
    rig.hears_the_truth();
    neighbours.rounds(1);
    neighbours.end();
}

#[test]
fn a_join_of_replies_that_do_not_fit_fails_alone() {
    let rig = Rig::start();
    let neighbours = rig.neighbours();
    let mut client = rig.client();
    let two: Vec<&str> = [&rig.lost[0], &rig.lost[1], &rig.others[0]].map(String::as_str).to_vec();
    for (command, answer) in [
        ("MGET", &b":1\r\n"[..]),
        ("MGET", b"*1\r\n$5\r\ntruth\r\n"),
        ("MGET", b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"),
        ("MGET", b"$5\r\ntruth\r\n"),
        ("MGET", b"*-1\r\n"),
        ("EXISTS", b"+OK\r\n"),
        ("EXISTS", b"$1\r\n1\r\n"),
        ("EXISTS", b"*0\r\n"),
        ("TOUCH", b":nine\r\n"),
    ] {
        rig.hears_the_truth();
        rig.liar.set_answer(Answer::Bytes(answer.to_vec()));
        let what = format!("{command} answered {}", escape::show(answer));
        let words = [&[command], &two[..]].concat();
        client.send(&[encode(&words), encode(&["GET", &rig.others[0]])].concat());
        let reply =
            client.reply().unwrap_or_else(|(end, got)| panic!("{what}: {end:?} {}", escape::show(&got)));
        assert!(reply.starts_with(b"-ERR "), "{what}: {}", escape::show(&reply));
        client.expect(&value(&rig.others[0]));
        neighbours.rounds(1);
    }
    neighbours.end();
}

#[test]
fn what_a_server_refuses_one_session_it_refuses_that_one_alone() {
    // One worker and so one upstream a shard: all sessions stand in the same line.
    let demo = Sharded::start(2, 1, 64, |addrs| {
        OwnPool::storage("demo", addrs).key("hash", "md5").key("timeout", "60000")
    });
    let keys: Vec<String> = demo.homes.keys().cloned().collect();
    let neighbours = Neighbours::start((0..3).map(|_| demo.client()).collect(), &keys);
    // Connections open, closed, failed and given up, by shard.
    let upstreams = |demo: &Sharded| -> Vec<String> {
        let (_, text) = demo.proxy.get("/metrics");
        let counts = [
            "shoal_upstreams{",
            "shoal_upstream_closed_",
            "shoal_upstream_errors_",
            "shoal_upstream_timeouts_",
        ];
        let lines = text.lines().filter(|line| counts.iter().any(|count| line.starts_with(count)));
        lines.map(str::to_owned).collect()
    };
    neighbours.rounds(3);
    let before = upstreams(&demo);
    assert_eq!(before.len(), 8, "{before:?}");
    let mut client = demo.client();
    // Newer than this server, known to the proxy; and refusals of each kind.
    let refused: [(&[&str], &[u8]); 7] = [
        (&["HPEXPIRE", "k1", "10", "FIELDS", "1", "f"], b"-ERR unknown command"),
        (&["LPUSH", "k1", "x"], b"-WRONGTYPE "),
        (&["INCR", "k1"], b"-ERR value is not an integer"),
        (&["EXPIRE", "k1", "never"], b"-ERR value is not an integer"),
        (&["EVALSHA", "ffffffffffffffffffffffffffffffffffffffff", "1", "k1"], b"-NOSCRIPT "),
        (&["EVAL", "return redis.call('NOTHING')", "1", "k1"], b"-ERR "),
        (&["SETEX", "k1", "0", "x"], b"-ERR invalid expire time"),
    ];
    for _ in 0..10 {
        let mut said = Vec::new();
        for (words, _) in refused {
            said.extend([encode(words), encode(&["GET", &keys[0]])].concat());
        }
        client.send(&said);
        for (words, error) in refused {
            let reply = client.reply().expect("an error");
            assert!(reply.starts_with(error), "{words:?}: {}", escape::show(&reply));
            client.expect(&value(&keys[0]));
        }
    }
    // No memory for anybody's write: reads go on.
    for server in &demo.servers {
        assert_eq!(server.client().call(&["CONFIG", "SET", "maxmemory", "1"]), b"+OK\r\n");
    }
    client.send(&encode(&["APPEND", "k1", "x"]).repeat(100));
    for _ in 0..100 {
        let reply = client.reply().expect("an error");
        assert!(reply.starts_with(b"-OOM "), "{}", escape::show(&reply));
    }
    neighbours.rounds(3);
    neighbours.end();
    assert_eq!(upstreams(&demo), before, "a connection was made anew");
}
