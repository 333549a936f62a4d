//! Sessions that say HELLO 3 get each reply as the server typed it, beside sessions that did not, and may go
//! back within a pipeline.

use shoal_e2e::raw_client::{encode, words};
use shoal_e2e::{OwnPool, OwnProxy, Proxy, RawClient, RedisServer, Workplace};

const SHARDS: usize = 4;
const PASSWORD: &str = "open sesame";

struct Rig {
    proxy: OwnProxy,
    servers: Vec<RedisServer>,
    _workplace: Workplace,
}

impl Rig {
    /// One worker, so that all sessions would share upstreams if they could.
    fn start() -> Self {
        Self::with(&[], |pool, _| pool)
    }

    fn with(redis: &[&str], pool: impl Fn(OwnPool, &Workplace) -> OwnPool) -> Self {
        let workplace = Workplace::new();
        let servers: Vec<_> = (0..SHARDS).map(|_| RedisServer::start(&workplace, redis)).collect();
        let addrs: Vec<_> = servers.iter().map(RedisServer::addr).collect();
        let pool = pool(OwnPool::storage("typed", &addrs), &workplace);
        let proxy = OwnProxy::start(&workplace, 1, &[pool]);
        Self { proxy, servers, _workplace: workplace }
    }

    fn client(&self) -> RawClient {
        self.proxy.client("typed")
    }
}

/// A command's words, and its reply in RESP2 and in RESP3.
type Row = (&'static str, &'static [u8], &'static [u8]);

/// Read over the data of [`fill`]; the tests demand the same of Redis itself, so that the table is true.
const TYPED: &[Row] = &[
    ("GET none", b"$-1\r\n", b"_\r\n"),
    ("GET s0", b"$2\r\nv0\r\n", b"$2\r\nv0\r\n"),
    ("HGETALL h", b"*2\r\n$1\r\nf\r\n$1\r\n1\r\n", b"%1\r\n$1\r\nf\r\n$1\r\n1\r\n"),
    ("HGETALL none", b"*0\r\n", b"%0\r\n"),
    ("HGET h none", b"$-1\r\n", b"_\r\n"),
    ("SMEMBERS t", b"*1\r\n$1\r\nx\r\n", b"~1\r\n$1\r\nx\r\n"),
    ("ZSCORE z m", b"$3\r\n2.5\r\n", b",2.5\r\n"),
    ("ZSCORE z n", b"$3\r\ninf\r\n", b",inf\r\n"),
    ("ZSCORE z none", b"$-1\r\n", b"_\r\n"),
    ("ZINCRBY z 0 m", b"$3\r\n2.5\r\n", b",2.5\r\n"),
    ("ZRANGE z 0 0 WITHSCORES", b"*2\r\n$1\r\nm\r\n$3\r\n2.5\r\n", b"*1\r\n*2\r\n$1\r\nm\r\n,2.5\r\n"),
    ("ZMSCORE z m none", b"*2\r\n$3\r\n2.5\r\n$-1\r\n", b"*2\r\n,2.5\r\n_\r\n"),
    ("LPOP none 2", b"*-1\r\n", b"_\r\n"),
    ("LPUSH s0 x", WRONG_TYPE, WRONG_TYPE),
    ("INCRBY n 0", b":7\r\n", b":7\r\n"),
];

const WRONG_TYPE: &[u8] = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

fn fill(client: &mut RawClient) {
    for line in ["HSET h f 1", "SADD t x", "ZADD z 2.5 m inf n", "SET n 7"] {
        assert!(client.call(&words(line)).starts_with(b":") || line.starts_with("SET"), "{line}");
    }
    for i in 0..16 {
        assert_eq!(client.call(&["SET", &format!("s{i}"), &format!("v{i}")]), b"+OK\r\n");
    }
}

#[test]
fn the_table_is_true_of_redis_itself() {
    let workplace = Workplace::new();
    let server = RedisServer::start(&workplace, &[]);
    let (mut two, mut three) = (server.client(), server.client());
    fill(&mut two);
    assert!(three.call(&["HELLO", "3"]).starts_with(b"%"));
    for (line, resp2, resp3) in TYPED {
        two.send_command(&words(line));
        two.expect(resp2);
        three.send_command(&words(line));
        three.expect(resp3);
    }
}

#[test]
fn replies_come_typed_as_the_server_sent_them_beside_untyped_ones() {
    let rig = Rig::start();
    let (mut two, mut three) = (rig.client(), rig.client());
    fill(&mut two);
    let hello = three.call(&["HELLO", "3"]);
    assert!(hello.starts_with(b"%7\r\n"), "{}", hello.escape_ascii());
    let has = |part: &[u8]| hello.windows(part.len()).any(|window| window == part);
    assert!(has(b"$5\r\nproto\r\n:3\r\n") && has(b"standalone") && has(b"$5\r\nredis\r\n"));
    for (line, resp2, resp3) in TYPED {
        // Both are on their way at once.
        three.send_command(&words(line));
        two.send_command(&words(line));
        two.expect(resp2);
        three.expect(resp3);
    }
}

#[test]
fn a_pipeline_of_all_commands_comes_in_order() {
    let rig = Rig::start();
    let (mut two, mut three) = (rig.client(), rig.client());
    fill(&mut two);
    three.call(&["HELLO", "3"]);
    let (mut sent, mut resp2, mut resp3) = (Vec::new(), Vec::new(), Vec::new());
    for (line, in_2, in_3) in TYPED.iter().cycle().take(TYPED.len() * 20) {
        sent.extend(encode(&words(line)));
        resp2.extend(*in_2);
        resp3.extend(*in_3);
    }
    two.send(&sent);
    three.send(&sent);
    three.expect(&resp3);
    two.expect(&resp2);
}

#[test]
fn joined_replies_are_typed_too() {
    let rig = Rig::start();
    let (mut two, mut three) = (rig.client(), rig.client());
    fill(&mut two);
    assert!(rig.servers.iter().all(|server| server.client().call(&["DBSIZE"]) != b":0\r\n"));
    three.call(&["HELLO", "3"]);
    let mut mget = vec!["MGET".to_owned()];
    let (mut resp2, mut resp3) = (b"*48\r\n".to_vec(), b"*48\r\n".to_vec());
    for i in 0..16 {
        // A string, a hole, and a hash: MGET answers null for what is no string.
        mget.extend([format!("s{i}"), format!("none{i}"), "h".to_owned()]);
        let value = format!("${}\r\nv{i}\r\n", if i < 10 { 2 } else { 3 });
        resp2.extend([value.as_bytes(), b"$-1\r\n$-1\r\n"].concat());
        resp3.extend([value.as_bytes(), b"_\r\n_\r\n"].concat());
    }
    two.send_command(&mget);
    three.send_command(&mget);
    two.expect(&resp2);
    three.expect(&resp3);
    let keys: Vec<String> = (0..16).map(|i| format!("s{i}")).collect();
    for (name, reply) in
        [("EXISTS", ":16\r\n"), ("TOUCH", ":16\r\n"), ("DEL", ":16\r\n"), ("UNLINK", ":0\r\n")]
    {
        let mut command = vec![name.to_owned()];
        command.extend(keys.iter().cloned());
        assert_eq!(three.call(&command), reply.as_bytes(), "{name}");
    }
}

#[test]
fn a_script_answers_what_resp3_alone_has() {
    let rig = Rig::start();
    let (mut two, mut three) = (rig.client(), rig.client());
    three.call(&["HELLO", "3"]);
    let rows: [(&str, &[u8], &[u8]); 4] = [
        ("return true", b":1\r\n", b"#t\r\n"),
        ("return {double=0.5}", b"$3\r\n0.5\r\n", b",0.5\r\n"),
        ("return {map={a=1}}", b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        (
            "return {big_number='12345678901234567890'}",
            b"$20\r\n12345678901234567890\r\n",
            b"(12345678901234567890\r\n",
        ),
    ];
    for (script, resp2, resp3) in rows {
        let command = ["EVAL", &format!("redis.setresp(3); {script}"), "1", "k"].map(str::to_owned);
        two.send_command(&command);
        two.expect(resp2);
        three.send_command(&command);
        three.expect(resp3);
    }
}

#[test]
fn hello_2_and_3_change_the_session_in_their_place_of_the_pipeline() {
    let rig = Rig::start();
    let mut client = rig.client();
    fill(&mut client);
    let mut sent = Vec::new();
    for version in ["3", "2", "3", "2"] {
        sent.extend(encode(&["HELLO", version]));
        for (line, ..) in TYPED {
            sent.extend(encode(&words(line)));
        }
    }
    // All of it in one write, and again: the session is in RESP2 as it was at first.
    for _ in 0..10 {
        for (line, ..) in TYPED {
            client.send_command(&words(line));
        }
        client.send(&sent);
        TYPED.iter().for_each(|(_, resp2, _)| client.expect(resp2));
        for three in [true, false, true, false] {
            let hello = client.reply().expect("an answer to HELLO");
            let head: &[u8] = if three { b"%7\r\n" } else { b"*14\r\n" };
            assert!(hello.starts_with(head), "{}", hello.escape_ascii());
            TYPED.iter().for_each(|(_, resp2, resp3)| client.expect(if three { resp3 } else { resp2 }));
        }
    }
}

#[test]
fn a_version_that_does_not_exist_changes_nothing() {
    let rig = Rig::start();
    let mut client = rig.client();
    for (version, error) in [
        ("4", &b"-NOPROTO unsupported protocol version\r\n"[..]),
        ("x", b"-ERR Protocol version is not an integer or out of range\r\n"),
    ] {
        assert_eq!(client.call(&["HELLO", version]), error);
        assert_eq!(client.call(&["GET", "none"]), b"$-1\r\n");
    }
    client.call(&["HELLO", "3"]);
    assert_eq!(client.call(&["HELLO", "4"]), b"-NOPROTO unsupported protocol version\r\n");
    assert_eq!(client.call(&["GET", "none"]), b"_\r\n");
    assert_eq!(client.call(&["RESET"]), b"+RESET\r\n");
    assert_eq!(client.call(&["GET", "none"]), b"$-1\r\n");
}

#[test]
fn the_password_is_given_with_hello() {
    let rig = Rig::with(&["--requirepass", PASSWORD], |pool, workplace| {
        let file = workplace.write("password", &format!("{PASSWORD}\n"));
        let only_ours = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, only_ours).expect("change the mode");
        pool.key("password_file", &file.to_string_lossy())
    });
    let mut client = rig.client();
    for refused in [client.call(&["HELLO", "3"]), client.call(&["GET", "a"])] {
        assert!(refused.starts_with(b"-NOAUTH "), "{}", refused.escape_ascii());
    }
    for (user, password) in [("default", "wrong"), ("somebody", PASSWORD), ("default", "")] {
        let refused = client.call(&["HELLO", "3", "AUTH", user, password]);
        assert!(refused.starts_with(b"-WRONGPASS "), "{}", refused.escape_ascii());
    }
    assert!(client.call(&["GET", "a"]).starts_with(b"-NOAUTH "));

    let mut sent = encode(&["HELLO", "3", "AUTH", "default", PASSWORD, "SETNAME", "me"]);
    for words in [&["SET", "a", "1"][..], &["GET", "none"], &["CLIENT", "GETNAME"]] {
        sent.extend(encode(words));
    }
    client.send(&sent);
    assert!(client.reply().expect("an answer to HELLO").starts_with(b"%7\r\n"));
    client.expect(b"+OK\r\n_\r\n$2\r\nme\r\n");
    // Every shard lets the proxy in, in both versions.
    let mut other = rig.client();
    assert_eq!(other.call(&["AUTH", PASSWORD]), b"+OK\r\n");
    for i in 0..32 {
        let key = format!("k{i}");
        assert_eq!(other.call(&["SET", &key, "v"]), b"+OK\r\n");
        assert_eq!(client.call(&["GET", &key]), b"$1\r\nv\r\n");
        assert_eq!(client.call(&["HGETALL", "none"]), b"%0\r\n");
    }
}
