//! Seeing inside a running proxy by its admin port and by `shoal proxy …`: slow requests, sessions, upstreams, topology;
//! clients killed under load; a port that neither strangers nor web pages can use.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use shoal_e2e::load::StopAtEnd;
use shoal_e2e::process::Process;
use shoal_e2e::raw_client::encode;
use shoal_e2e::sharded::{POOL, Sharded, value};
use shoal_e2e::startup::{errors, local, proxy_yml, run};
use shoal_e2e::{OwnPool, OwnProxy, Proxy, RawClient, RedisServer, ShoalProxy, Workplace, ports, wait};

/// The shard that is stopped.
const VICTIM: usize = 1;

fn start(timeout: &str) -> Sharded {
    Sharded::start(2, 2, 40, |servers| {
        OwnPool::storage(POOL, servers)
            .key("timeout", timeout)
            .key("slow_log", "{slower_than: 200, entries: 50}")
    })
}

#[track_caller]
fn read(proxy: &OwnProxy, path: &str) -> Value {
    let (status, body) = proxy.get(path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
}

fn delete(proxy: &OwnProxy, path: &str) -> (u16, Value) {
    let (status, body) = proxy.admin(&format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("an array and not {value}"))
}

/// The session of a client, by its port.
fn session_of(proxy: &OwnProxy, client: &RawClient) -> Option<Value> {
    let path = format!("/sessions?peer=127.0.0.1:{}", client.port());
    array(&read(proxy, &path)["sessions"]).first().cloned()
}

#[test]
fn a_slow_request_names_its_client_key_shard_and_time() {
    let demo = start("20000");
    let key = &demo.keys(VICTIM, true)[0];
    let mut client = demo.client();
    assert_eq!(client.call(&["CLIENT", "SETNAME", "billing"]), b"+OK\r\n");
    demo.servers[VICTIM].stop();
    client.send_command(&["GET", key]);
    let waits = |row: &Value| row["oldest_us"].as_u64() > Some(200_000) && row["unanswered"] == 1;
    let row = wait::until("the request to wait for long", || {
        let body = read(&demo.proxy, &format!("/upstreams?pool={POOL}&shard=demo-{VICTIM}"));
        array(&body["upstreams"]).iter().find(|row| waits(row)).cloned()
    });
    assert_eq!(
        (&row["phase"], &row["usage"], &row["protocol"]),
        (&"ready".into(), &"shared".into(), &2.into())
    );
    let session = session_of(&demo.proxy, &client).expect("the session is listed");
    assert_eq!((&session["name"], &session["outstanding"]), (&"billing".into(), &1.into()));
    demo.servers[VICTIM].resume();
    client.expect(&value(key));

    let entry = wait::until("an entry of the slow log", || {
        let body = read(&demo.proxy, &format!("/slowlog?pool={POOL}"));
        array(&body["requests"]).iter().find(|entry| entry["key"] == key.as_str()).cloned()
    });
    assert!(entry["duration_us"].as_u64() > Some(200_000), "{entry}");
    let parts = entry["queued_us"].as_u64().zip(entry["server_us"].as_u64());
    assert_eq!(parts.map(|(queued, server)| queued + server), entry["duration_us"].as_u64(), "{entry}");
    assert_eq!(entry["client"]["peer"], format!("127.0.0.1:{}", client.port()));
    assert_eq!((&entry["client"]["name"], &entry["command"]), (&"billing".into(), &"GET".into()));
    assert_eq!((&entry["shard"], &entry["outcome"]), (&format!("demo-{VICTIM}").into(), &"ok".into()));
    assert_eq!(entry["endpoint"], demo.servers[VICTIM].addr().to_string());
    assert_eq!(entry["request_bytes"], encode(&["GET", key]).len());
    assert_eq!(entry["reply_bytes"], value(key).len());

    assert!(demo.proxy.metric("shoal_slow_requests_total{pool=\"demo\"}") >= 1);
    let longest = demo.proxy.sample("shoal_group_latency_max_seconds{pool=\"demo\",group=\"string\"}");
    assert!(longest.parse::<f64>().expect("seconds") > 0.2, "{longest}");
    client.call(&["HSET", "h", "f", "v"]);
    let hashes = "shoal_group_latency_seconds_count{pool=\"demo\",group=\"hash\"}";
    assert_eq!(demo.proxy.metric(hashes), 1);
    let (status, body) = delete(&demo.proxy, "/slowlog");
    assert!(status == 200 && body["forgotten"].as_u64() >= Some(1), "{body}");
    let left = read(&demo.proxy, "/slowlog");
    assert!(array(&left["requests"]).iter().all(|entry| entry["key"] != key.as_str()), "{left}");
}

#[test]
fn a_request_that_times_out_is_slow_too_and_a_value_is_never_shown() {
    let demo = start("400");
    let key = &demo.keys(VICTIM, true)[0];
    demo.servers[VICTIM].stop();
    let mut client = demo.client();
    let reply = client.call(&["SET", key, "hunter2"]);
    assert!(reply.starts_with(b"-ERR shard demo-1 of pool demo timed out"), "{}", reply.escape_ascii());
    let log = read(&demo.proxy, "/slowlog");
    let entry = array(&log["requests"])
        .iter()
        .find(|entry| entry["command"] == "SET" && entry["key"] == key.as_str());
    assert_eq!(entry.expect("an entry")["outcome"], "timed_out", "{log}");
    assert!(!log.to_string().contains("hunter2"), "{log}");
    let topology = read(&demo.proxy, "/topology");
    let shard = &topology["pools"][0]["shards"][VICTIM];
    assert_eq!(
        (&shard["state"], &shard["last_failure"]["kind"]),
        (&"up".into(), &"timed_out".into()),
        "{topology}"
    );
    demo.servers[VICTIM].resume();
}

#[test]
fn an_ejected_shard_shows_with_until_when_and_why() {
    let workplace = Workplace::new();
    let mut servers: Vec<_> = (0..2).map(|_| RedisServer::start(&workplace, &[])).collect();
    let addrs: Vec<_> = servers.iter().map(RedisServer::addr).collect();
    let pool = OwnPool::cache("hot", &addrs).key("eject", "{failure_limit: 1, retry_after: 600000}");
    let proxy = OwnProxy::start(&workplace, 1, &[pool]);
    servers[0].kill();
    let mut client = proxy.client("hot");
    let ejected = wait::until("the dead shard to be ejected", || {
        (0..20).for_each(|number| drop(client.call(&["GET", &format!("k{number}")])));
        let shard = read(&proxy, "/topology")["pools"][0]["shards"][0].clone();
        (shard["state"] == "ejected").then_some(shard)
    });
    assert!(ejected["out_for_us"].as_u64() > Some(500_000_000), "{ejected}");
    assert_eq!(ejected["last_failure"]["kind"], "refused", "{ejected}");
    assert_eq!(proxy.metric("shoal_ejections_total{pool=\"hot\"}"), 1);
    assert_eq!(proxy.metric("shoal_shard_up{pool=\"hot\",shard=\"hot-0\"}"), 0);
}

#[test]
fn clients_are_killed_under_load_and_the_others_see_nothing() {
    let demo = start("20000");
    let keys: Vec<String> = demo.homes.keys().cloned().collect();
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = demo.client();
                while !stop.load(Ordering::Relaxed) {
                    demo.expect(&mut client, &keys);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for turn in 0..20 {
            let mut victim = demo.client();
            // Replies that nobody reads: some of them are outstanding when it ends.
            victim.send(
                &keys.iter().cycle().take(2000).flat_map(|key| encode(&["GET", key])).collect::<Vec<_>>(),
            );
            let session = wait::until("the victim to be listed", || session_of(&demo.proxy, &victim));
            let path = match turn % 2 {
                0 => format!("/sessions/{}", session["id"]),
                _ => format!("/sessions?peer=127.0.0.1:{}&pool={POOL}", victim.port()),
            };
            let (status, body) = delete(&demo.proxy, &path);
            assert_eq!((status, &body["killed"]), (200, &1.into()), "{body}");
            victim.until_closed();
            assert_eq!(delete(&demo.proxy, &path).0, 404);
            assert_eq!(session_of(&demo.proxy, &victim), None);
        }
        let before = rounds.load(Ordering::Relaxed);
        wait::until("the others to go on", || (rounds.load(Ordering::Relaxed) > before + 12).then_some(()));
    });
    assert_eq!(demo.proxy.metric("shoal_sessions_killed_total{pool=\"demo\"}"), 20);
    assert_eq!(demo.proxy.metric("shoal_client_errors_total{pool=\"demo\"}"), 0);
    let none = |_: &()| demo.proxy.metric("shoal_sessions{pool=\"demo\"}") == 0;
    wait::until("everybody to be gone", || Some(()).filter(none));
    for worker in 0..2 {
        assert_eq!(demo.proxy.metric(&format!("shoal_worker_answers{{worker=\"{worker}\"}}")), 1);
    }
    assert_eq!(demo.proxy.metric("shoal_buffer_bytes{pool=\"demo\",buffer=\"session_output\"}"), 0);
    assert_eq!(demo.proxy.metric("shoal_buffer_bytes{pool=\"demo\",buffer=\"upstream_in_flight\"}"), 0);
}

#[test]
fn a_list_is_read_page_by_page_and_a_held_client_shows_why() {
    let demo = start("20000");
    let mut clients: Vec<RawClient> = (0..25).map(|_| demo.client()).collect();
    clients.iter_mut().for_each(|client| drop(client.call(&["PING"])));
    let mut expected: Vec<u16> = clients.iter().map(RawClient::port).collect();
    let (mut seen, mut after) = (Vec::new(), Value::from(0));
    while after != Value::Null {
        let page = read(&demo.proxy, &format!("/sessions?limit=10&after={after}"));
        let port = |row: &Value| row["peer"].as_str()?.rsplit_once(':')?.1.parse::<u16>().ok();
        seen.extend(array(&page["sessions"]).iter().filter_map(port));
        assert!(array(&page["sessions"]).len() <= 10);
        after = page["next"].clone();
    }
    seen.retain(|port| expected.contains(port));
    expected.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, expected, "each once");

    // A client that asks for much and does not read is held, and shows at the head of the list.
    let large = "v".repeat(60_000);
    assert_eq!(clients[0].call(&["SET", "large", &large]), b"+OK\r\n");
    let greedy = encode(&["GET", "large"]).repeat(3000);
    clients[7].send(&greedy);
    let session = wait::until("the greedy client to be held", || {
        let page = read(&demo.proxy, "/sessions?held=yes&order=output_bytes&limit=1");
        array(&page["sessions"]).first().cloned()
    });
    assert_eq!(session["peer"], format!("127.0.0.1:{}", clients[7].port()));
    // By the number of its requests first, then by what it does not read.
    let held =
        |reason| demo.proxy.metric(&format!("shoal_sessions_held{{pool=\"demo\",reason=\"{reason}\"}}"));
    wait::until("the held client in the metrics", || {
        (held("outstanding") + held("output") == 1).then_some(())
    });
    let bytes = || demo.proxy.metric("shoal_buffer_bytes{pool=\"demo\",buffer=\"session_output\"}");
    wait::until("its replies in the metrics", || (bytes() > 500_000).then_some(()));
    assert_eq!(delete(&demo.proxy, &format!("/sessions/{}", session["id"])).0, 200);
    clients[7].until_closed();
}

#[test]
fn what_is_wrong_is_refused_with_words() {
    let workplace = Workplace::new();
    let server = RedisServer::start(&workplace, &[]);
    let proxy = OwnProxy::start(&workplace, 1, &[OwnPool::storage("demo", &[server.addr()])]);
    let list = read(&proxy, "/");
    for route in array(&list).iter().filter(|route| route["method"] == "GET") {
        assert_eq!(proxy.get(route["path"].as_str().expect("a path")).0, 200, "{route}");
    }
    let cases = [
        ("GET", "/nothing", "", 404, "GET / lists"),
        ("POST", "/sessions", "", 405, "only GET and DELETE"),
        ("DELETE", "/metrics", "", 405, "only GET"),
        ("GET", "/sessions?limit=0", "", 400, "limit=0"),
        ("GET", "/sessions?colour=red", "", 400, "colour"),
        ("GET", "/sessions?name=%zz", "", 400, "percent"),
        ("DELETE", "/sessions", "", 400, "say which sessions"),
        ("DELETE", "/sessions/abc", "", 400, "abc"),
        ("DELETE", "/sessions/999", "", 404, "no such session"),
        ("DELETE", "/sessions/1", "Origin: http://localhost\r\n", 403, "web page"),
        ("POST", "/reload", "Origin: null\r\n", 403, "web page"),
        ("PATCH", "/sessions/1", "", 405, "GET, POST, PUT and DELETE"),
    ];
    for (method, path, more, status, words) in cases {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
        let (got, body) = proxy.admin(&request);
        assert!(got == status && body.contains(words), "{method} {path}: {got} {body}");
    }
    for (path, status) in [("/sessions", 403), ("/slowlog", 403), ("/metrics", 200)] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: evil.example:{}\r\n\r\n", proxy.admin_addr().port());
        assert_eq!(proxy.admin(&request).0, status, "{path} under a foreign name");
    }
}

/// Runs `shoal proxy` with these words: exit status, standard output, standard error.
fn shoal(words: &[&str]) -> (Option<i32>, String, String) {
    let output: Output = run(&ShoalProxy::program(), &[&["proxy"], words].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said, errors(&output))
}

#[test]
fn the_command_line_asks_a_proxy_on_its_unix_socket() {
    let workplace = Workplace::new();
    let server = RedisServer::start(&workplace, &[]);
    let socket = workplace.path().join("admin.sock");
    let admin = socket.to_string_lossy().into_owned();
    let listen = ports::free();
    let yml = format!(
        "workers: 2\nadmin: {admin}\npools:\n  - name: demo\n    mode: storage\n    listen: 127.0.0.1:{listen}\n    \
         slow_log: {{slower_than: 0}}\n    servers:\n      - {{name: one, address: '{}'}}\n",
        server.addr()
    );
    let file = workplace.write("proxy.yml", &yml);
    let args = ["proxy", "--config", &file.to_string_lossy()];
    let mut proxy = Process::start(&ShoalProxy::program(), &args, &file.with_file_name("log"));
    let mut client = wait::until("the proxy to listen", || RawClient::try_connect(local(listen)).ok());
    wait::until("the admin port", || RawClient::try_connect_unix(&socket).ok());
    assert_eq!(mode(&socket), 0o600);
    client.call(&["CLIENT", "SETNAME", "me\u{1b}[2J"]);
    client.call(&["CLIENT", "SETNAME", "mine"]);
    client.call(&["SET", "user:1", "x"]);

    let asked = |words: &[&str]| {
        let (status, said, complaint) = shoal(&[words, &["--admin", &admin]].concat());
        assert_eq!((status, complaint.as_str()), (Some(0), ""), "{words:?}");
        said
    };
    let lines =
        |said: &str, words: &[&str]| said.lines().any(|line| words.iter().all(|word| line.contains(word)));
    let peer = format!("127.0.0.1:{}", client.port());
    assert!(lines(&asked(&["topology"]), &["one", &server.addr().to_string(), "up"]));
    assert!(lines(&asked(&["sessions"]), &[&peer, "mine", "demo"]));
    assert!(lines(&asked(&["sessions", "--all", "--name", "mine"]), &[&peer]));
    assert!(lines(&asked(&["upstreams", "--pool", "demo"]), &["one", "ready"]));
    assert!(lines(&asked(&["slowlog"]), &["SET", "user:1", &peer, "one", "ok"]));
    let json: Value =
        serde_json::from_str(&asked(&["sessions", "--name", "mine", "--output", "json"])).expect("JSON");
    let id = json["sessions"][0]["id"].to_string();
    assert!(asked(&["slowlog", "--reset"]).contains("1 slow request is forgotten"));
    assert_eq!(asked(&["kill", &id]), format!("session {id} is ended\n"));
    client.until_closed();
    let (status, _, complaint) = shoal(&["kill", &id, "--admin", &admin]);
    assert!(status == Some(1) && complaint.contains("there is no such session"), "{status:?} {complaint}");

    proxy.signal(rustix::process::Signal::TERM);
    wait::until("the proxy to end", || proxy.ended());
    assert!(!socket.exists(), "the socket goes with the process");
    let (status, _, complaint) = shoal(&["sessions", "--admin", &admin]);
    assert!(status == Some(1) && complaint.contains("nobody listens there"), "{status:?} {complaint}");
    assert_eq!(shoal(&["sessions", "--limit", "many"]).0, Some(2));
    assert_eq!(shoal(&["kill", "1", "--pool", "demo"]).0, Some(2));
}

#[test]
fn the_unix_socket_passes_to_the_next_process() {
    let workplace = Workplace::new();
    let server = RedisServer::start(&workplace, &[]);
    let socket = workplace.path().join("admin.sock");
    let (admin, listen) = (socket.to_string_lossy().into_owned(), ports::free());
    let yml = format!(
        "workers: 1\nadmin: {admin}\nhand_over: {}\npools:\n  - name: demo\n    mode: storage\n    \
         listen: 127.0.0.1:{listen}\n    servers:\n      - {{name: one, address: '{}'}}\n",
        workplace.path().join("door.sock").display(),
        server.addr()
    );
    let file = workplace.write("proxy.yml", &yml);
    let config = file.to_string_lossy();
    let start = |log: &str, more: &[&str]| {
        let args = [&["proxy", "--config", &*config], more].concat();
        Process::start(&ShoalProxy::program(), &args, &file.with_file_name(log))
    };
    let mut first = start("first", &[]);
    wait::until("the first to listen", || RawClient::try_connect(local(listen)).ok());
    let mut second = start("second", &["--take-over"]);
    wait::until("the first to end", || first.ended());
    assert_eq!(mode(&socket), 0o600, "{}", second.log());
    let (status, said, complaint) = shoal(&["topology", "--admin", &admin]);
    assert!(status == Some(0) && said.contains("one"), "{complaint}");
    second.signal(rustix::process::Signal::INT);
    wait::until("the second to end", || second.ended());
    assert!(!socket.exists(), "the socket goes with the process whose it is");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).map(|file| file.permissions().mode() & 0o777).expect("the socket's file")
}

#[test]
fn an_admin_port_for_other_machines_must_be_asked_for() {
    let workplace = Workplace::new();
    let file = proxy_yml(&workplace, ports::free(), "");
    let file = file.to_string_lossy();
    let open = format!("0.0.0.0:{}", ports::free());
    let (status, _, complaint) = shoal(&["--config", &file, "--check", "--admin", &open]);
    assert!(status == Some(1) && complaint.contains("admin_exposed"), "{status:?} {complaint}");
    let (status, _, complaint) = shoal(&["--config", &file, "--check", "--admin", &open, "--admin-exposed"]);
    assert_eq!(status, Some(0), "{complaint}");
}
