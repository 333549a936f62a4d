//! What the proxy tells about itself: Twemproxy's statistics beside the real nutcracker's over the same servers and
//! the same traffic, `/metrics` as Prometheus reads it, `/healthz` and `/readyz`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shoal_e2e::raw_client::encode;
use shoal_e2e::{
    Answer, Config, FakeServer, Nutcracker, OwnPool, OwnProxy, Pool, Proxy, RawClient, RedisServer,
    ShoalProxy, Workplace, wait,
};

fn read(proxy: &dyn Proxy) -> Value {
    let bytes = proxy.stats();
    assert!(bytes.ends_with(b"}\n") && bytes.iter().filter(|&&byte| byte == b'\n').count() == 1);
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Waits until the figures satisfy `enough`, and gives them. Nutcracker's are up to 100 ms old.
fn read_when(proxy: &dyn Proxy, what: &str, enough: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, || Some(read(proxy)).filter(&enough))
}

struct Both {
    theirs: Nutcracker,
    ours: ShoalProxy,
    servers: Vec<RedisServer>,
    workplace: Workplace,
}

impl Both {
    fn start() -> Self {
        let workplace = Workplace::new();
        let servers: Vec<_> = (0..3).map(|_| RedisServer::start(&workplace, &[])).collect();
        let unused = workplace.path().join("unused.sock");
        // Named, unnamed, and one of a unix socket, whose name shows with its colon.
        let lines = |servers: &[RedisServer]| {
            let addrs: Vec<_> = servers.iter().map(RedisServer::addr).collect();
            vec![format!("{}:1 one", addrs[0]), format!("{}:1", addrs[1])]
        };
        let third = servers[2].addr();
        let pools = vec![
            // Modula, so that both servers get keys whatever port the unnamed one has.
            Pool::new("zeta", lines(&servers)).key("distribution", "modula"),
            Pool::new("alpha", vec![format!("{third}:2 three"), format!("{}:1", unused.display())]),
        ];
        let mut config = Config { pools, flags: Vec::new() };
        let theirs = Nutcracker::start(&workplace, &config);
        config.flags.extend(["--workers", "1"].map(str::to_owned));
        let ours = ShoalProxy::start(&workplace, &config);
        Self { theirs, ours, servers, workplace }
    }

    /// The same traffic through each, over servers that are as empty at the start.
    fn each(&self, mut traffic: impl FnMut(&dyn Proxy)) {
        for proxy in [&self.theirs as &dyn Proxy, &self.ours] {
            self.servers.iter().for_each(RedisServer::flush);
            traffic(proxy);
        }
    }
}

/// The fields that ours has beside Twemproxy's, by level.
const OURS_ALONE: [(&str, &[&str]); 3] =
    [("top", &[]), ("pool", &["requests", "requests_per_second"]), ("server", &[])];

#[test]
fn the_fields_are_nutcrackers() {
    let both = Both::start();
    compare_fields(&read(&both.theirs), &read(&both.ours), 0, "");
}

/// Same names, same kinds of value, at each level.
fn compare_fields(theirs: &Value, ours: &Value, depth: usize, path: &str) {
    let (Some(theirs), Some(ours)) = (theirs.as_object(), ours.as_object()) else {
        let same_kind = theirs.is_u64() && ours.is_u64() || theirs.is_string() && ours.is_string();
        assert!(same_kind, "{path}: {theirs} and {ours}");
        return;
    };
    let (level, alone) = OURS_ALONE[depth];
    let names: BTreeSet<&str> =
        ours.keys().map(String::as_str).filter(|name| !alone.contains(name)).collect();
    assert_eq!(theirs.keys().map(String::as_str).collect::<BTreeSet<_>>(), names, "{level} {path}");
    assert!(alone.iter().all(|name| ours.contains_key(*name)), "{level} {path}");
    for (name, value) in theirs {
        compare_fields(value, &ours[name], depth + 1, &format!("{path}.{name}"));
    }
}

#[test]
fn the_same_traffic_gives_the_same_counts() {
    let both = Both::start();
    both.each(|proxy| {
        let mut client = proxy.client("zeta");
        for reply in traffic(&mut client) {
            assert!(!reply.starts_with(b"-ERR Conn"), "{}", reply.escape_ascii());
        }
        client.half_close();
        client.until_closed();
    });
    let ended = |stats: &Value| stats["zeta"]["client_eof"] == 1;
    let theirs = read_when(&both.theirs, "nutcracker's figures", ended);
    let ours = read_when(&both.ours, "our figures", ended);
    compare_counts(&theirs, &ours);
    let unnamed = both.servers[1].addr().to_string();
    for server in ["one", &unnamed] {
        assert!(ours["zeta"][server]["requests"].as_u64() > Some(100), "{server} saw nothing to compare");
    }
}

#[test]
fn connections_are_counted_alike() {
    let both = Both::start();
    both.each(|proxy| {
        let mut clients = [proxy.client("zeta"), proxy.client("zeta"), proxy.client("alpha")];
        clients[..2].iter_mut().for_each(|client| drop(traffic(client)));
        assert_eq!(clients[2].call(&["PING"]), b"+PONG\r\n");
        drop(clients);
        proxy.client("zeta").call(&["GET", "a"]);
    });
    let ended = |stats: &Value| stats["zeta"]["client_eof"] == 3 && stats["alpha"]["client_eof"] == 1;
    let theirs = read_when(&both.theirs, "nutcracker's figures", ended);
    let ours = read_when(&both.ours, "our figures", ended);
    for name in ["service", "source", "curr_connections", "total_connections"] {
        assert_eq!(theirs[name], ours[name], "{name}");
    }
}

#[test]
fn a_split_mset_counts_the_bytes_that_are_sent() {
    // The difference mset-request-bytes, tried on nutcracker 0.5.0.
    let both = Both::start();
    let pairs: Vec<String> = (0..50).flat_map(|i| [format!("key:{i}"), "v".to_owned()]).collect();
    both.each(|proxy| {
        let mut client = proxy.client("zeta");
        assert_eq!(client.call(&[&["MSET".to_owned()], pairs.as_slice()].concat()), b"+OK\r\n");
    });
    let all = |stats: &Value, field: &str| -> u64 {
        let servers = stats["zeta"].as_object().expect("a pool").values();
        servers.filter_map(|server| server[field].as_u64()).sum()
    };
    let answered = |stats: &Value| all(stats, "responses") == 2;
    let theirs = read_when(&both.theirs, "nutcracker's figures", answered);
    let ours = read_when(&both.ours, "our figures", answered);
    let parts: usize = [0, 1].iter().map(|_| "*??\r\n$4\r\nMSET\r\n".len()).sum();
    let arguments: usize = pairs.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()).len()).sum();
    let sent = (parts + arguments) as u64;
    assert_eq!(all(&ours, "request_bytes"), sent);
    assert_eq!(all(&theirs, "request_bytes"), sent + 49 * "$1\r\nv\r\n".len() as u64);
    for field in ["requests", "responses", "response_bytes"] {
        assert_eq!(all(&theirs, field), all(&ours, field), "{field}");
    }
}

#[test]
fn large_values_have_connections_of_their_own() {
    // The difference large-value-connections, tried on nutcracker 0.5.0.
    let both = Both::start();
    let text = "x".repeat(300_000);
    both.each(|proxy| {
        let mut client = proxy.client("zeta");
        assert_eq!(client.call(&["GET", "large"]), b"$-1\r\n");
        assert_eq!(client.call(&["SET", "large", &text]), b"+OK\r\n");
        assert_eq!(client.call(&["GET", "large"]).len(), text.len() + 11);
    });
    let all = |stats: &Value, field: &str| -> u64 {
        let servers = stats["zeta"].as_object().expect("a pool").values();
        servers.filter_map(|server| server[field].as_u64()).sum()
    };
    let answered = |stats: &Value| all(stats, "responses") == 3;
    let theirs = read_when(&both.theirs, "nutcracker's figures", answered);
    let ours = read_when(&both.ours, "our figures", answered);
    assert_eq!((all(&theirs, "server_connections"), all(&ours, "server_connections")), (1, 2));
    for field in ["requests", "request_bytes", "responses", "response_bytes"] {
        assert_eq!(all(&theirs, field), all(&ours, field), "{field}");
    }
}

/// All counters and gauges of pools and servers; queues are empty or not as the moment has it.
fn compare_counts(theirs: &Value, ours: &Value) {
    let numbers = |stats: &Value| {
        let mut numbers = BTreeMap::new();
        flatten(stats, "", &mut numbers);
        numbers
    };
    let (theirs, ours) = (numbers(theirs), numbers(ours));
    let mut differ = Vec::new();
    for (path, value) in theirs.iter().filter(|(path, _)| path.matches('/').count() > 1) {
        let field = path.rsplit('/').next().unwrap_or_default();
        if !field.contains("queue") && ours.get(path) != Some(value) {
            differ.push(format!("{path}: {value}, ours {:?}", ours.get(path)));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

fn flatten(value: &Value, path: &str, numbers: &mut BTreeMap<String, u64>) {
    if let Some(object) = value.as_object() {
        object.iter().for_each(|(name, value)| flatten(value, &format!("{path}/{name}"), numbers));
    } else if let Some(number) = value.as_u64() {
        numbers.insert(path.to_owned(), number);
    }
}

/// Commands of each kind but MSET, single and pipelined, local ones between, errors of servers, a large value.
fn traffic(client: &mut RawClient) -> Vec<Vec<u8>> {
    let mut commands: Vec<Vec<u8>> = vec![encode(&["PING"])];
    let keys: Vec<String> = (0..50).map(|i| format!("key:{i}")).collect();
    for key in &keys {
        commands.push(encode(&["SET", key, &format!("value of {key}")]));
        commands.push(encode(&["get", key]));
        commands.push(encode(&["EXPIRE", key, "100"]));
        commands.push(encode(&["LPUSH", key, "x"]));
        commands.push(encode(&["EVAL", "return {KEYS[1], ARGV[1]}", "1", key, "a"]));
    }
    let all = |name: &str| encode(&[&[name.to_owned()], keys.as_slice()].concat());
    commands.extend([all("MGET"), all("mget")]);
    commands.extend([
        all("TOUCH"),
        encode(&["SET", "large", &"x".repeat(60_000)]),
        encode(&["GET", "large"]),
    ]);
    commands.extend([all("DEL"), all("UNLINK"), encode(&["MGET", "large"]), encode(&["PING"])]);
    let one_by_one: Vec<_> = commands.iter().map(|command| exchange(client, command, 1)).collect();
    let pipelined = exchange(client, &commands.concat(), commands.len());
    one_by_one.into_iter().chain([pipelined]).flatten().collect()
}

fn exchange(client: &mut RawClient, bytes: &[u8], replies: usize) -> Vec<Vec<u8>> {
    client.send(bytes);
    (0..replies).map(|_| client.reply().expect("a reply")).collect()
}

#[test]
fn failures_are_counted_alike() {
    let mut both = Both::start();
    let mut clients = [both.theirs.client("zeta"), both.ours.client("zeta")];
    for client in &mut clients {
        (0..20).for_each(|i| drop(client.call(&["GET", &format!("k{i}")])));
    }
    both.servers[0].kill();
    let eof = |stats: &Value| stats["zeta"]["one"]["server_eof"] == 1;
    read_when(&both.theirs, "nutcracker notices", eof);
    read_when(&both.ours, "ours notices", eof);
    for client in &mut clients {
        let refused =
            (0..20).filter(|i| client.call(&["GET", &format!("k{i}")]) == b"-ERR Connection refused\r\n");
        assert!((1..20).contains(&refused.count()));
    }
    // A server that is silent.
    let silent = FakeServer::start(Answer::Silence);
    let pool = Pool::new("late", vec![format!("{}:1 silent", silent.addr())]).key("timeout", "50");
    let config = Config::of(pool);
    let theirs = Nutcracker::start(&both.workplace, &config);
    let ours = ShoalProxy::start(&both.workplace, &config);
    for proxy in [&theirs as &dyn Proxy, &ours] {
        assert_eq!(proxy.client("late").call(&["GET", "a"]), b"-ERR Connection timed out\r\n");
    }
    let timed_out =
        |stats: &Value| stats["late"]["silent"]["server_timedout"] == 1 && stats["late"]["client_eof"] == 1;
    compare_counts(
        &read_when(&theirs, "nutcracker's time-out", timed_out),
        &read_when(&ours, "our time-out", timed_out),
    );
    drop(clients);
    let gone = |stats: &Value| stats["zeta"]["client_eof"] == 1;
    compare_counts(
        &read_when(&both.theirs, "nutcracker's clients", gone),
        &read_when(&both.ours, "our clients", gone),
    );
}

#[test]
fn the_rate_is_that_of_the_last_second() {
    let workplace = Workplace::new();
    let server = FakeServer::start(Answer::index(0));
    let proxy = OwnProxy::start(&workplace, 2, &[OwnPool::storage("busy", &[server.addr()])]);
    let mut client = proxy.client("busy");
    let request = encode(&["GET", "a"]).repeat(100);
    let rate = |stats: &Value| stats["busy"]["requests_per_second"].as_u64();
    wait::until("a rate", || {
        exchange(&mut client, &request, 100);
        (rate(&read(&proxy)) > Some(100)).then_some(())
    });
    read_when(&proxy, "no rate when nobody asks", |stats| rate(stats) == Some(0));
    let stats = read(&proxy);
    assert_eq!(stats["busy"]["requests"], stats["busy"]["busy-0"]["requests"]);
}

/// `/metrics`, taken apart: the value of each series, by its name and labels.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut helped, mut typed, mut series) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    let mut family = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            assert!(!help.trim().is_empty() && helped.insert(name.to_owned()), "{line}");
            family = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(name == family && ["counter", "gauge", "summary"].contains(&kind), "{line}");
            assert!(typed.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        } else {
            let (labelled, value) = line.rsplit_once(' ').expect("a series and a value");
            let name = labelled.split('{').next().unwrap_or_default();
            let of_summary = typed.get(&family).is_some_and(|kind| kind == "summary");
            let belongs = name == family
                || of_summary
                    && [format!("{family}_sum"), format!("{family}_count")].iter().any(|own| own == name);
            assert!(belongs && typed.contains_key(&family), "a series outside its family: {line}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            if let Some(labels) = labelled.strip_prefix(name).filter(|labels| !labels.is_empty()) {
                let inner = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
                let mut names = BTreeSet::new();
                for label in inner.expect("braces").split(',') {
                    let (name, value) = label.split_once('=').expect("a label and a value");
                    assert!(names.insert(name), "{line}");
                    assert!(value.len() > 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
                }
            }
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(series.insert(labelled.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    assert!(typed.keys().eq(helped.iter()), "HELP and TYPE of each family");
    for name in typed.keys() {
        assert!(series.keys().any(|labelled| labelled.split('{').next() == Some(name)), "{name} is empty");
    }
    series
}

#[test]
fn metrics_are_prometheus_text_and_agree_with_the_statistics() {
    let workplace = Workplace::new();
    let servers: Vec<_> = (0..2).map(|_| FakeServer::start(Answer::index(0))).collect();
    let addrs: Vec<_> = servers.iter().map(FakeServer::addr).collect();
    let pools = [OwnPool::storage("demo", &addrs), OwnPool::cache("hot", &addrs)];
    let proxy = OwnProxy::start(&workplace, 2, &pools);
    let mut clients: Vec<_> = (0..4).map(|_| proxy.client("demo")).collect();
    for (nth, client) in clients.iter_mut().enumerate() {
        (0..25).for_each(|i| drop(client.call(&["GET", &format!("{nth}:{i}")])));
    }
    let (status, text) = proxy.get("/metrics");
    assert_eq!(status, 200);
    let metrics = parse(&text);
    let stats = read(&proxy);
    assert_eq!(metrics["shoal_workers"], 2.0);
    assert_eq!(metrics["shoal_sessions{pool=\"demo\"}"], 4.0);
    assert_eq!(metrics["shoal_requests_total{pool=\"demo\"}"], 100.0);
    assert_eq!(metrics["shoal_requests_total{pool=\"hot\"}"], 0.0);
    for (family, field) in [
        ("shoal_upstream_requests_total", "requests"),
        ("shoal_upstream_request_bytes_total", "request_bytes"),
        ("shoal_upstream_replies_total", "responses"),
        ("shoal_upstream_reply_bytes_total", "response_bytes"),
        ("shoal_upstreams", "server_connections"),
    ] {
        for pool in ["demo", "hot"] {
            for shard in [0, 1].map(|index| format!("{pool}-{index}")) {
                let value = metrics[&format!("{family}{{pool=\"{pool}\",shard=\"{shard}\"}}")];
                assert_eq!(Some(value), stats[pool][&shard][field].as_f64(), "{family} of {shard}");
                assert_eq!(value > 0.0, pool == "demo", "{family} of {shard}");
            }
        }
    }
    assert!(metrics.iter().filter(|(name, _)| name.starts_with("shoal_shard_up{")).all(|(_, up)| *up == 1.0));
}

#[test]
fn a_pool_without_a_living_shard_is_not_ready() {
    let workplace = Workplace::new();
    let dead = FakeServer::start(Answer::Close);
    let living = FakeServer::start(Answer::index(0));
    let cache = |name: &str, servers: &[std::net::SocketAddr]| {
        OwnPool::cache(name, servers)
            .key("eject", "{failure_limit: 1, retry_after: 300, empty_on_return: false}")
    };
    let pools = [
        cache("lost", &[dead.addr()]),
        cache("half", &[dead.addr(), living.addr()]),
        // Never ejected, so never a reason to take the proxy away from its other pools.
        OwnPool::storage("kept", &[dead.addr()]),
    ];
    let proxy = OwnProxy::start(&workplace, 2, &pools);
    assert_eq!(proxy.get("/healthz").0, 200);
    assert_eq!(proxy.get("/readyz").0, 200);
    for pool in ["half", "kept"] {
        let mut client = proxy.client(pool);
        (0..20).for_each(|i| drop(client.call(&["GET", &format!("k{i}")])));
    }
    let up = |pool: &str, shard: usize| {
        parse(&proxy.get("/metrics").1)
            [&format!("shoal_shard_up{{pool=\"{pool}\",shard=\"{pool}-{shard}\"}}")]
    };
    assert_eq!([up("half", 0), up("half", 1), up("kept", 0)], [0.0, 1.0, 1.0]);
    assert_eq!(proxy.get("/readyz").0, 200);

    let mut client = proxy.client("lost");
    let error = String::from_utf8(client.call(&["GET", "a"])).expect("a text");
    assert!(error.contains("lost-0") && error.contains("lost"), "{error}");
    assert_eq!(client.call(&["GET", "a"]), b"-ERR all shards of pool lost are ejected\r\n");
    let (status, text) = proxy.get("/readyz");
    assert!(status == 503 && text.contains("lost") && !text.contains("half"), "{status}: {text}");
    assert_eq!(proxy.get("/healthz").0, 200);
    dead.set_answer(Answer::Bytes(b"$31\r\nloading:0\r\nrole:master\r\n# done.\r\n".to_vec()));
    wait::until("ready again", || (proxy.get("/readyz").0 == 200).then_some(()));
    assert!(client.call(&["GET", "a"]).starts_with(b"$31\r\n"));
}

#[test]
fn what_is_not_there_is_said_so() {
    let workplace = Workplace::new();
    let server = FakeServer::start(Answer::index(0));
    let proxy = OwnProxy::start(&workplace, 1, &[OwnPool::storage("demo", &[server.addr()])]);
    assert_eq!(proxy.get("/nothing").0, 404);
    assert_eq!(proxy.get("/metrics/x").0, 404);
    for request in [
        "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "rubbish\r\n\r\n",
    ] {
        let mut client = RawClient::connect(proxy.admin_addr());
        client.send(request.as_bytes());
        let answer = String::from_utf8(client.until_closed()).expect("a text");
        assert!(answer.starts_with("HTTP/1.1 4"), "{request}: {answer}");
    }
    assert_eq!(proxy.get("/healthz").0, 200);
}
