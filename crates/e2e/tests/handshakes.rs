//! What client libraries and dashboards say on connecting, by name, and what each needs to be answered so that it goes on: from
//! their public sources, replayed in the pieces in which they send it.

use std::os::unix::fs::PermissionsExt as _;

use shoal_e2e::raw_client::encode;
use shoal_e2e::{OwnPool, OwnProxy, Proxy as _, RawClient, RedisServer, Workplace};

const PASSWORD: &str = "a-password";
const USER: &str = "app";

/// What a library needs to be answered.
#[derive(Clone, Copy, Debug)]
enum Wants {
    Ok,
    Pong,
    /// What HELLO tells, in this version.
    Hello(u8),
    /// A text with all of these.
    Text(&'static [&'static str]),
    Integer,
    /// No value, in the version that is spoken.
    Null,
    /// Names and values: a map in RESP3.
    Pairs(&'static [(&'static str, &'static str)]),
    /// This, to the byte.
    Bytes(&'static str),
    /// An array of as many nulls.
    Nulls(usize),
    /// A reply that begins so.
    Begins(&'static str),
    /// An error: why the library goes on.
    Error(&'static str),
}

use Wants::*;

/// A command, and what is needed. `@hello` stands for `AUTH <user> <password>`, `@auth` for the whole command AUTH, `@ping` for PING
/// where there is nothing to log in with: without a password `@auth` is left out.
type Step = (&'static str, Wants);

struct Handshake {
    library: &'static str,
    /// Version of RESP that is spoken afterwards.
    resp: u8,
    /// What is sent in one piece each.
    pieces: &'static [&'static [Step]],
    /// What CLIENT INFO says afterwards.
    described: &'static [&'static str],
}

/// redis.io's command for managed services; no server of Redis's own has it.
const MAINT: &str = "an error turns maintenance notifications off (mode auto)";
const NOT_SENTINEL: &str = "an answer would make it a Sentinel";
const NOT_CLUSTER: &str = "an answer would make it a cluster's node";

const HANDSHAKES: &[Handshake] = &[
    Handshake {
        library: "Jedis, no protocol named",
        resp: 2,
        pieces: &[
            &[("@auth", Ok)],
            &[
                ("CLIENT SETNAME orders", Ok),
                ("CLIENT SETINFO lib-name jedis", Ok),
                ("CLIENT SETINFO lib-ver 7.0.0", Ok),
            ],
        ],
        described: &["name=orders", "resp=2", "lib-name=jedis", "lib-ver=7.0.0"],
    },
    Handshake {
        library: "Jedis, RESP2 named",
        resp: 2,
        pieces: &[
            &[("HELLO 2 @hello", Hello(2))],
            &[("CLIENT SETINFO lib-name jedis", Ok), ("CLIENT SETINFO lib-ver 7.0.0", Ok)],
        ],
        described: &["resp=2", "lib-name=jedis"],
    },
    Handshake {
        library: "Jedis, RESP3 named or negotiated",
        resp: 3,
        pieces: &[
            &[("HELLO 3 @hello", Hello(3))],
            &[
                ("CLIENT SETNAME orders", Ok),
                ("CLIENT SETINFO lib-name jedis(spring-data-redis_v3.5.0)", Ok),
                ("CLIENT SETINFO lib-ver 7.0.0", Ok),
            ],
            &[("PING", Pong)],
        ],
        described: &["name=orders", "resp=3", "lib-name=jedis(spring-data-redis_v3.5.0)", "lib-ver=7.0.0"],
    },
    Handshake {
        library: "Lettuce",
        resp: 3,
        pieces: &[
            &[("HELLO 3 @hello SETNAME orders", Hello(3))],
            &[("CLIENT SETINFO lib-name Lettuce", Ok), ("CLIENT SETINFO lib-ver 7.8.0", Ok)],
            &[("CLIENT MAINT_NOTIFICATIONS on moving-endpoint-type internal-ip", Error(MAINT))],
        ],
        described: &["name=orders", "resp=3", "lib-name=Lettuce", "lib-ver=7.8.0"],
    },
    Handshake {
        library: "Lettuce, RESP2",
        resp: 2,
        pieces: &[
            &[("@auth", Ok), ("@ping", Pong)],
            &[
                ("CLIENT SETNAME orders", Ok),
                ("CLIENT SETINFO lib-name Lettuce", Ok),
                ("CLIENT SETINFO lib-ver 7.8.0", Ok),
            ],
        ],
        described: &["name=orders", "resp=2", "lib-name=Lettuce"],
    },
    Handshake {
        library: "go-redis",
        resp: 3,
        pieces: &[
            &[("hello 3 @hello setname orders", Hello(3))],
            &[("client setname orders", Ok)],
            &[("client maint_notifications on moving-endpoint-type internal-ip", Error(MAINT))],
            &[("client setinfo LIB-NAME go-redis(,go1.24.1)", Ok), ("client setinfo LIB-VER 9.22.0", Ok)],
        ],
        described: &["name=orders", "resp=3", "lib-name=go-redis(,go1.24.1)", "lib-ver=9.22.0"],
    },
    Handshake {
        library: "go-redis, Protocol: 2",
        resp: 2,
        pieces: &[
            &[("hello 2 @hello", Hello(2))],
            &[("client setinfo LIB-NAME go-redis(,go1.24.1)", Ok), ("client setinfo LIB-VER 9.22.0", Ok)],
        ],
        described: &["resp=2", "lib-name=go-redis(,go1.24.1)"],
    },
    Handshake {
        library: "StackExchange.Redis",
        resp: 2,
        pieces: &[&[
            ("@auth", Ok),
            ("HELLO 2", Hello(2)),
            ("CLIENT SETNAME WEB-01(SE.Redis-v3.1.0)", Ok),
            ("CLIENT SETINFO lib-name SE.Redis", Ok),
            ("CLIENT SETINFO lib-ver 3.1.0", Ok),
            ("CLIENT ID", Integer),
            ("CONFIG GET timeout", Pairs(&[])),
            ("CONFIG GET replica-read-only", Pairs(&[])),
            ("CONFIG GET databases", Pairs(&[("databases", "16")])),
            ("SENTINEL MASTERS", Error(NOT_SENTINEL)),
            ("INFO replication", Text(&["role:master"])),
            ("INFO server", Text(&["redis_version:7.", "redis_mode:standalone"])),
            ("CLUSTER NODES", Error(NOT_CLUSTER)),
            ("GET __Booksleeve_TieBreak", Null),
            ("ECHO 0123456789abcdef", Bytes("$16\r\n0123456789abcdef\r\n")),
        ]],
        described: &["name=WEB-01(SE.Redis-v3.1.0)", "resp=2", "lib-name=SE.Redis", "lib-ver=3.1.0"],
    },
    Handshake {
        library: "StackExchange.Redis, protocol=resp3",
        resp: 3,
        pieces: &[
            &[
                ("@auth", Ok),
                ("HELLO 3", Hello(3)),
                ("CLIENT SETNAME WEB-01(SE.Redis-v3.1.0)", Ok),
                ("CLIENT SETINFO lib-name SE.Redis", Ok),
                ("CLIENT SETINFO lib-ver 3.1.0", Ok),
                ("CLIENT ID", Integer),
                ("CONFIG GET timeout", Pairs(&[])),
                ("CONFIG GET replica-read-only", Pairs(&[])),
                ("CONFIG GET databases", Pairs(&[("databases", "16")])),
                ("SENTINEL MASTERS", Error(NOT_SENTINEL)),
                ("INFO replication", Text(&["role:master"])),
                ("INFO server", Text(&["redis_version:7.", "redis_mode:standalone"])),
                ("CLUSTER NODES", Error(NOT_CLUSTER)),
                ("GET __Booksleeve_TieBreak", Null),
                ("ECHO 0123456789abcdef", Bytes("$16\r\n0123456789abcdef\r\n")),
            ],
            &[(
                "SUBSCRIBE __Booksleeve_MasterChanged",
                Bytes(">3\r\n$9\r\nsubscribe\r\n$26\r\n__Booksleeve_MasterChanged\r\n:1\r\n"),
            )],
        ],
        described: &["resp=3", "lib-name=SE.Redis"],
    },
    Handshake {
        library: "StackExchange.Redis 2, which says no HELLO",
        resp: 2,
        pieces: &[&[
            ("@auth", Ok),
            ("CLIENT SETNAME WEB-01(SE.Redis-v2.8.16)", Ok),
            ("CLIENT SETINFO lib-name SE.Redis", Ok),
            ("CLIENT SETINFO lib-ver 2.8.16", Ok),
            ("CLIENT ID", Integer),
            ("CONFIG GET slave-read-only", Pairs(&[])),
            ("CONFIG GET databases", Pairs(&[("databases", "16")])),
            ("SENTINEL MASTERS", Error(NOT_SENTINEL)),
            ("INFO replication", Text(&["role:master"])),
            ("INFO server", Text(&["redis_version:7."])),
            ("CLUSTER NODES", Error(NOT_CLUSTER)),
            ("GET __Booksleeve_TieBreak", Null),
            ("ECHO 0123456789abcdef", Bytes("$16\r\n0123456789abcdef\r\n")),
        ]],
        described: &["resp=2", "lib-ver=2.8.16"],
    },
    Handshake {
        library: "Sidekiq (redis-client)",
        resp: 3,
        pieces: &[
            &[
                ("HELLO 3 @hello", Hello(3)),
                ("CLIENT SETINFO LIB-NAME redis-client(sidekiq_v8.1.7)", Ok),
                ("CLIENT SETINFO LIB-VER 0.30.0", Ok),
            ],
            // It does not start below 7.0.0.
            &[("INFO", Text(&["redis_version:7.0."]))],
        ],
        described: &["resp=3", "lib-name=redis-client(sidekiq_v8.1.7)", "lib-ver=0.30.0"],
    },
    Handshake {
        library: "redis-client, protocol: 2",
        resp: 2,
        pieces: &[&[("@auth", Ok), ("CLIENT SETNAME orders", Ok)]],
        described: &["name=orders", "resp=2", "lib-name= lib-ver="],
    },
    Handshake {
        library: "RedisInsight (ioredis 5)",
        resp: 2,
        pieces: &[
            &[("@auth", Ok), ("client setname redisinsight-common-1", Ok)],
            &[("client SETINFO LIB-VER 5.11.1", Ok), ("client SETINFO LIB-NAME ioredis", Ok)],
            &[("info", Text(&["redis_version:7.", "loading:0", "redis_mode:standalone"]))],
            &[("sentinel masters", Error(NOT_SENTINEL))],
            &[("cluster info", Error(NOT_CLUSTER))],
            &[("hello", Hello(2))],
            &[("module list", Bytes("*0\r\n"))],
            &[("command info ft._list ft.search json.get ts.add", Nulls(4))],
            &[("info", Text(&["role:master", "connected_clients:"]))],
            &[("config get databases", Pairs(&[("databases", "16")]))],
            &[("client list", Text(&["name=redisinsight-common-1", "lib-name=ioredis", "lib-ver=5.11.1"]))],
            // Its browser.
            &[("dbsize", Integer)],
            &[("scan 0 MATCH * COUNT 500", Begins("*2\r\n$"))],
            &[
                ("memory usage no-such-key samples 0", Null),
                ("type no-such-key", Bytes("+none\r\n")),
                ("ttl no-such-key", Bytes(":-2\r\n")),
            ],
        ],
        described: &["name=redisinsight-common-1", "resp=2", "lib-name=ioredis"],
    },
];

/// Who connects.
#[derive(Clone, Copy, Debug)]
enum Login {
    Nobody,
    Password,
    User,
}

/// The words of a step; `None` where it is left out.
fn words(said: &str, login: Login) -> Option<Vec<&str>> {
    let mut words = Vec::new();
    for word in said.split(' ') {
        match (word, login) {
            ("@auth", Login::Nobody) => return None,
            ("@auth", Login::Password) => words.extend(["AUTH", PASSWORD]),
            ("@auth", Login::User) => words.extend(["AUTH", USER, PASSWORD]),
            ("@ping", Login::Nobody) => words.push("PING"),
            ("@ping", _) => return None,
            ("@hello", Login::Nobody) => {}
            ("@hello", Login::Password) => words.extend(["AUTH", "default", PASSWORD]),
            ("@hello", Login::User) => words.extend(["AUTH", USER, PASSWORD]),
            _ => words.push(word),
        }
    }
    Some(words)
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// What is wrong with `reply`, if the library would not go on.
fn complaint(wants: Wants, resp: u8, reply: &str) -> Option<String> {
    let needs = |is: bool, what: &str| (!is).then(|| what.to_owned());
    match wants {
        Ok => needs(reply == "+OK\r\n", "+OK"),
        Pong => needs(reply == "+PONG\r\n", "+PONG"),
        Bytes(bytes) => needs(reply == bytes, bytes),
        Begins(begin) => needs(reply.starts_with(begin), begin),
        Integer => needs(reply.starts_with(':'), "an integer"),
        Error(why) => needs(reply.starts_with("-ERR "), &format!("an error: {why}")),
        Null if resp == 3 => needs(reply == "_\r\n", "a null"),
        Null => needs(reply == "$-1\r\n", "a null"),
        Nulls(count) => {
            let null = if resp == 3 { "_\r\n" } else { "$-1\r\n" };
            let expected = format!("*{count}\r\n{}", null.repeat(count));
            needs(reply == expected, &expected)
        }
        Text(parts) => {
            let begins = if resp == 3 { "=" } else { "$" };
            let missing = parts.iter().find(|part| !reply.contains(**part));
            needs(reply.starts_with(begins), "a text").or(missing.map(|part| format!("{part} is missing")))
        }
        Pairs(pairs) => {
            let head = if resp == 3 { format!("%{}", pairs.len()) } else { format!("*{}", 2 * pairs.len()) };
            let body: String =
                pairs.iter().map(|(name, value)| format!("{}{}", bulk(name), bulk(value))).collect();
            let expected = format!("{head}\r\n{body}");
            needs(reply == expected, &expected)
        }
        Hello(version) => {
            let head = if version == 3 { "%7\r\n" } else { "*14\r\n" };
            let mut parts = vec![format!("{}:{version}\r\n", bulk("proto")), format!("{}:", bulk("id"))];
            parts.push(format!("{}*0\r\n", bulk("modules")));
            for (name, value) in [("server", "redis"), ("mode", "standalone"), ("role", "master")] {
                parts.push(format!("{}{}", bulk(name), bulk(value)));
            }
            parts.push(format!("{}$6\r\n7.", bulk("version")));
            let missing = parts.iter().find(|part| !reply.contains(*part));
            needs(reply.starts_with(head), head).or(missing.map(|part| format!("{part:?} is missing")))
        }
    }
}

/// The next reply, which may be of another version than the one before.
fn reply(client: &mut RawClient) -> String {
    String::from_utf8(client.reply().expect("a reply")).expect("a reply in UTF-8")
}

fn replay(handshake: &Handshake, login: Login, client: &mut RawClient) {
    let name = handshake.library;
    // The version changes with the answer to HELLO.
    let mut resp = 2;
    for piece in handshake.pieces {
        let steps: Vec<(Vec<&str>, Wants)> =
            piece.iter().filter_map(|(said, wants)| Some((words(said, login)?, *wants))).collect();
        client.send(&steps.iter().flat_map(|(words, _)| encode(words)).collect::<Vec<u8>>());
        for (words, wants) in steps {
            let reply = reply(client);
            if let Hello(version) = wants {
                resp = version;
            }
            if let Some(complaint) = complaint(wants, resp, &reply) {
                panic!(
                    "{name} ({login:?}) would not go on: {words:?} is answered {reply:?}, needed: {complaint}"
                );
            }
        }
    }
    assert_eq!(resp, handshake.resp, "{name}");
    // It works: replies are in order, and in the version that was asked for.
    client.send(&[encode(&["CLIENT", "INFO"]), encode(&["SET", name, "1"]), encode(&["GET", name])].concat());
    let described = reply(client);
    for part in handshake.described {
        assert!(described.contains(part), "{name} ({login:?}): {part:?} is not in {described:?}");
    }
    let user = if matches!(login, Login::User) { USER } else { "default" };
    assert!(described.contains(&format!("user={user} ")), "{described}");
    assert_eq!((reply(client), reply(client)), ("+OK\r\n".to_owned(), bulk("1")), "{name}");
    client.send_command(&["GET", "no-such-key"]);
    assert_eq!(reply(client), if resp == 3 { "_\r\n" } else { "$-1\r\n" }, "{name}");
}

#[test]
fn what_each_library_says_on_connecting_is_answered_so_that_it_goes_on() {
    let workplace = Workplace::new();
    let servers = [(); 3].map(|()| RedisServer::start(&workplace, &[]));
    let addrs = servers.each_ref().map(RedisServer::addr);
    let secret = workplace.write("password", PASSWORD);
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("make it private");
    let (secret, none) = (secret.display(), "{}");
    let user = format!("[{{name: {USER}, rules: 'on ~* &* +@all', password_file: {secret}}}]");
    let pools = [
        OwnPool::storage("nobody", &addrs),
        OwnPool::storage("password", &addrs)
            .key("password_file", &secret.to_string())
            .key("server_auth", none),
        OwnPool::storage("user", &addrs).key("users", &user).key("server_auth", none),
    ];
    let proxy = OwnProxy::start(&workplace, 2, &pools);
    for handshake in HANDSHAKES {
        for (pool, login) in [("nobody", Login::Nobody), ("password", Login::Password), ("user", Login::User)]
        {
            replay(handshake, login, &mut proxy.client(pool));
        }
    }
    let libraries: Vec<&str> =
        HANDSHAKES.iter().map(|it| it.library.split([' ', ',']).next().unwrap()).collect();
    for known in
        ["Jedis", "Lettuce", "go-redis", "StackExchange.Redis", "Sidekiq", "redis-client", "RedisInsight"]
    {
        assert!(libraries.contains(&known), "{known}");
    }
}

/// The connection on which StackExchange.Redis hears messages, where it speaks RESP2.
#[test]
fn the_second_connection_of_stackexchange_redis_subscribes() {
    let workplace = Workplace::new();
    let servers = [(); 3].map(|()| RedisServer::start(&workplace, &[]));
    let addrs = servers.each_ref().map(RedisServer::addr);
    let proxy = OwnProxy::start(&workplace, 2, &[OwnPool::storage("nobody", &addrs)]);
    let mut client = proxy.client("nobody");
    let said: [&[&str]; 5] = [
        &["CLIENT", "SETNAME", "WEB-01(SE.Redis-v3.1.0)"],
        &["CLIENT", "SETINFO", "lib-name", "SE.Redis"],
        &["CLIENT", "ID"],
        &["ECHO", "0123456789abcdef"],
        &["SUBSCRIBE", "__Booksleeve_MasterChanged"],
    ];
    client.send(&said.iter().flat_map(|words| encode(words)).collect::<Vec<u8>>());
    for begin in [
        "+OK",
        "+OK",
        ":",
        "$16\r\n0123456789abcdef",
        "*3\r\n$9\r\nsubscribe\r\n$26\r\n__Booksleeve_MasterChanged",
    ] {
        let reply = reply(&mut client);
        assert!(reply.starts_with(begin), "{reply:?}, not {begin:?}");
    }
    // Its heartbeat there.
    client.send_command(&["PING"]);
    assert_eq!(reply(&mut client), "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    let mut publisher = proxy.client("nobody");
    assert_eq!(publisher.call(&["PUBLISH", "__Booksleeve_MasterChanged", "*"]), b":1\r\n");
    assert_eq!(reply(&mut client), "*3\r\n$7\r\nmessage\r\n$26\r\n__Booksleeve_MasterChanged\r\n$1\r\n*\r\n");
}
