//! Servers that are spoken to by TLS: Redis's own, and some that are not what they should be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::channel;
use std::thread;

use shoal_e2e::startup::{errors, run};
use shoal_e2e::tls::{Authority, Identity};
use shoal_e2e::{OwnPool, OwnProxy, Proxy, RawClient, RedisServer, ShoalProxy, Workplace, ports, wait};

use crate::Ground;

/// A Redis that speaks TLS at `addr`, and plainly where the harness asks it.
pub struct TlsServer {
    pub redis: RedisServer,
    pub addr: SocketAddr,
}

impl TlsServer {
    pub fn start(ground: &Ground, own: &Identity, clients_show: bool) -> TlsServer {
        let addr = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let (port, files) = (addr.port().to_string(), [&own.cert, &own.key, &ground.authority.file]);
        let [cert, key, ca] = files.map(|file| file.to_str().expect("a path").to_owned());
        let options = [
            "--tls-port",
            &port,
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            if clients_show { "yes" } else { "no" },
        ];
        TlsServer { redis: RedisServer::start(&ground.workplace, &options), addr }
    }
}

/// `server_tls` that trusts our authority, with `more` keys.
pub fn server_tls(ground: &Ground, more: &str) -> String {
    format!("{{ca: {}{more}}}", ground.authority.file.display())
}

fn error_of(client: &mut RawClient) -> String {
    String::from_utf8(client.call(&["GET", "key"])).expect("an answer in UTF-8")
}

/// A proxy before one server that is not as it should be; what a client is told, and the proxy.
fn told(ground: &Ground, addr: SocketAddr, more: &str) -> (String, OwnProxy) {
    let pool = OwnPool::storage("demo", &[addr]).key("server_tls", &server_tls(ground, more));
    let proxy = OwnProxy::start(&ground.workplace, 1, &[pool.key("timeout", "20000")]);
    let error = error_of(&mut proxy.client("demo"));
    (error, proxy)
}

#[test]
fn all_commands_go_to_servers_by_tls_with_certificates_on_both_sides() {
    let ground = Ground::new();
    let servers = [(); 2].map(|()| TlsServer::start(&ground, &ground.own, true));
    let addrs = [servers[0].addr, servers[1].addr];
    let shown = ground.authority.issue(&ground.folder, "proxy");
    let settings = server_tls(&ground, &format!(", {}", shown.yaml()));
    let (proxy, addr) = ground.proxy(&addrs, "", |pool| pool.key("server_tls", &settings));
    let mut client = ground.connect(addr);
    for number in 0..200 {
        assert_eq!(client.call(&["SET", &format!("k{number}"), &number.to_string()]), "+OK\r\n");
    }
    let mut words = vec!["MGET".to_owned()];
    words.extend((0..200).map(|number| format!("k{number}")));
    let expected: String =
        (0..200).map(|number| format!("${}\r\n{number}\r\n", number.to_string().len())).collect();
    assert_eq!(client.call(&words), format!("*200\r\n{expected}"));
    assert_eq!(client.call(&["DBSIZE"]), ":200\r\n");
    // On upstreams of their own: a transaction, a blocking command, messages.
    assert_eq!(client.call(&["WATCH", "k1"]), "+OK\r\n");
    assert_eq!(client.call(&["MULTI"]), "+OK\r\n");
    assert_eq!(client.call(&["INCR", "k1"]), "+QUEUED\r\n");
    assert_eq!(client.call(&["EXEC"]), "*1\r\n:2\r\n");
    let mut popper = ground.connect(addr);
    popper.send(b"BLPOP list 0\r\n").unwrap();
    wait::until("the pop to wait", || {
        let blocked = servers.iter().any(|server| server.redis.blocked() == 1);
        blocked.then_some(())
    });
    assert_eq!(client.call(&["RPUSH", "list", "job"]), ":1\r\n");
    let mut popped = [0; 23];
    popper.read_exact(&mut popped).unwrap();
    assert_eq!(&popped, b"*2\r\n$4\r\nlist\r\n$3\r\njob\r\n");
    // Nobody spoke to a server plainly but the harness.
    let handshakes: u64 = (0..2)
        .map(|shard| {
            let series =
                format!("shoal_upstream_tls_handshakes_total{{pool=\"demo\",shard=\"demo-{shard}\"}}");
            proxy.metric(&series)
        })
        .sum();
    assert!(handshakes >= 2, "{handshakes}");
}

#[test]
fn a_server_that_is_not_trusted_fails_its_keys_by_name() {
    let ground = Ground::new();
    let stranger = Authority::new(&ground.folder, "stranger");
    let theirs = stranger.issue(&ground.folder, "theirs");
    let late = ground.authority.issue_for(&ground.folder, "late", &["127.0.0.1"], 2020);
    let elsewhere = ground.authority.issue_for(&ground.folder, "elsewhere", &["redis.example"], 4000);
    for (own, why, reason) in [
        (&theirs, "no certificate authority that is trusted here signed it", "bad_certificate"),
        (&late, "it has expired", "bad_certificate"),
        (&elsewhere, "127.0.0.1", "bad_certificate"),
    ] {
        let server = TlsServer::start(&ground, own, false);
        let (error, proxy) = told(&ground, server.addr, "");
        let begin = "-ERR shard demo-0 of pool demo has a certificate that is not accepted: ";
        assert!(error.starts_with(begin) && error.contains(why), "{error}");
        let series = format!(
            "shoal_upstream_tls_handshake_failures_total{{pool=\"demo\",shard=\"demo-0\",reason=\"{reason}\"}}"
        );
        assert!(proxy.metric(&series) >= 1);
    }
    // The same server under the name that it has.
    let server = TlsServer::start(&ground, &elsewhere, false);
    assert_eq!(told(&ground, server.addr, ", server_name: redis.example").0, "$-1\r\n");
    // It wants to see a certificate, and we have none.
    let strict = TlsServer::start(&ground, &ground.own, true);
    let (error, _proxy) = told(&ground, strict.addr, "");
    assert!(error.starts_with("-ERR shard demo-0 of pool demo does not accept this proxy"), "{error}");
}

#[test]
fn no_plaintext_goes_to_a_server_that_does_not_shake_hands() {
    let ground = Ground::new();
    let password = ground.workplace.write("password", "a-secret-word\n");
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for answer in [&b"-ERR unknown command\r\n"[..], b"\x15\x03\x01\x00\x02\x02\x28", b""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (heard, all) = channel();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let mut bytes = vec![0; 4096];
                let count = socket.read(&mut bytes).unwrap_or(0);
                bytes.truncate(count);
                socket.write_all(answer).unwrap();
                // The proxy may have ended the connection already. What comes behind the answer counts as well.
                let _ = socket.shutdown(std::net::Shutdown::Write);
                let _ = socket.read_to_end(&mut bytes);
                if heard.send(bytes).is_err() {
                    return;
                }
            }
        });
        let pool = OwnPool::storage("demo", &[addr])
            .key("server_tls", &server_tls(&ground, ""))
            .key("timeout", "20000")
            .key("password_file", &password.display().to_string());
        let proxy = OwnProxy::start(&ground.workplace, 1, &[pool]);
        let mut client = proxy.client("demo");
        assert_eq!(client.call(&["AUTH", "a-secret-word"]), b"+OK\r\n");
        let error = String::from_utf8(client.call(&["SET", "a-secret-key", "value"])).unwrap();
        let expected = match answer.first() {
            Some(b'-') => "does not speak TLS",
            Some(_) => "does not accept this proxy: it says HandshakeFailure",
            None => "closed the connection in the middle of the TLS handshake",
        };
        assert_eq!(error, format!("-ERR shard demo-0 of pool demo {expected}\r\n"));
        let bytes = all.recv().unwrap();
        assert_eq!(bytes[0], 0x16, "a record of a handshake");
        assert!(!bytes.windows(8).any(|part| part == b"a-secret"), "plaintext was sent");
        assert!(!proxy.log().contains("a-secret"));
    }
}

#[test]
fn a_server_that_hangs_in_the_handshake_has_a_deadline() {
    let ground = Ground::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // No timeout of requests: the handshake's own ends it.
    let settings = server_tls(&ground, ", handshake_timeout: 300");
    let pool = OwnPool::storage("demo", &[listener.local_addr().unwrap()]).key("server_tls", &settings);
    let proxy = OwnProxy::start(&ground.workplace, 1, &[pool]);
    let error = error_of(&mut proxy.client("demo"));
    assert_eq!(error, "-ERR shard demo-0 of pool demo did not finish the TLS handshake in time\r\n");
}

#[test]
fn an_ejected_server_returns_by_tls() {
    let ground = Ground::new();
    let mut servers = [(); 2].map(|()| TlsServer::start(&ground, &ground.own, true));
    let addrs = [servers[0].addr, servers[1].addr];
    let settings = server_tls(&ground, &format!(", {}", ground.own.yaml()));
    let pool = OwnPool::cache("demo", &addrs)
        .key("server_tls", &settings)
        .key("timeout", "5000")
        .key("eject", "{failure_limit: 1, retry_after: 300}");
    let proxy = OwnProxy::start(&ground.workplace, 2, &[pool]);
    let mut client = proxy.client("demo");
    let set_all = |client: &mut RawClient| {
        (0..50).all(|number| client.call(&["SET", &format!("k{number}"), "v"]) == b"+OK\r\n")
    };
    assert!(set_all(&mut client));
    servers[0].redis.kill();
    wait::until("the server to be left out", || set_all(&mut client).then_some(()));
    servers[0].redis.restart();
    wait::until("the server to be back", || {
        proxy.log().contains("shard demo-0 of pool demo is back").then_some(())
    });
    wait::until("its keys to be on it", || {
        set_all(&mut client);
        (servers[0].redis.client().call(&["DBSIZE"]) != b":0\r\n").then_some(())
    });
}

#[test]
fn a_reload_begins_and_ends_tls_towards_servers() {
    let ground = Ground::new();
    let server = TlsServer::start(&ground, &ground.own, false);
    // The server has two ports; a shard's name and place are the same for the test of what changes.
    let plain = |addr: SocketAddr| OwnPool::storage("demo", &[addr]).key("timeout", "5000");
    let secured = plain(server.addr).key("server_tls", &server_tls(&ground, ""));
    let proxy = OwnProxy::start(&ground.workplace, 2, &[plain(server.redis.addr())]);
    let mut client = proxy.client("demo");
    assert_eq!(client.call(&["SET", "key", "value"]), b"+OK\r\n");
    proxy.reload(std::slice::from_ref(&secured));
    assert_eq!(client.call(&["GET", "key"]), b"$5\r\nvalue\r\n");
    // At the port that speaks TLS, plainly: no upstream of before is used.
    proxy.reload(&[plain(server.addr)]);
    let refused = error_of(&mut client);
    assert!(refused.starts_with("-ERR shard demo-0 of pool demo"), "{refused}");
    proxy.reload(&[secured]);
    wait::until("TLS again", || (client.call(&["GET", "key"]) == b"$5\r\nvalue\r\n").then_some(()));
}

#[test]
fn a_configuration_that_cannot_be_right_is_refused_by_name() {
    let ground = Ground::new();
    let ca = ground.authority.file.display().to_string();
    let own = ground.own.yaml();
    let late = ground.authority.issue_for(&ground.folder, "late", &["localhost"], 2020);
    let open = ground.authority.issue(&ground.folder, "open");
    std::fs::set_permissions(&open.key, std::os::unix::fs::PermissionsExt::from_mode(0o604)).unwrap();
    for (keys, address, expected) in [
        (format!("server_tls: {{ca: {ca}}}"), "/tmp/redis.sock", "Redis speaks no TLS on a unix socket"),
        (format!("server_tls: {{ca: {ca}, cert: {ca}}}"), "127.0.0.1:1", "it needs its key as well"),
        ("server_tls: {ca: missing.crt}".to_owned(), "127.0.0.1:1", "missing.crt: No such file"),
        (
            format!("server_tls: {{ca: {ca}, server_name: 'a b'}}"),
            "127.0.0.1:1",
            "server_name: a b is neither",
        ),
        (format!("tls: {{{}}}", late.yaml()), "127.0.0.1:1", "the certificate has expired, at 2020-01-01"),
        (format!("tls: {{{}}}", open.yaml()), "127.0.0.1:1", "open.key may be read or written by everybody"),
        (
            format!("tls: {{listen: '127.0.0.1:7', {own}}}"),
            "127.0.0.1:1",
            "is where the pool listens without TLS",
        ),
        (format!("tls: {{{own}, handshake_timeout: 0}}"), "127.0.0.1:1", "handshake_timeout: 0"),
        (
            format!("server_tls: {{ca: {ca}}}"),
            "a..b:1",
            "server_tls: server a..b:1: a..b:1 is no name that a certificate can have",
        ),
        (
            format!("sentinel_tls: {{ca: {ca}}}"),
            "127.0.0.1:1",
            "sentinel_tls: no server of the pool is found",
        ),
        (
            format!("sentinel_tls: {{ca: {ca}, handshake_timeout: 5}}"),
            "{sentinels: ['s:1'], master_name: m}",
            "sentinel_tls: handshake_timeout: a sentinel has a second",
        ),
        (
            "sentinel_tls: {ca: missing.crt}".to_owned(),
            "{sentinels: ['s:1'], master_name: m}",
            "sentinel_tls: ",
        ),
        (
            format!("sentinel_tls: {{ca: {ca}}}"),
            "{sentinels: ['s:1', 'a..b:1'], master_name: m}",
            "sentinel_tls: a sentinel of m: a..b:1 is no name that a certificate can have: say server_name",
        ),
    ] {
        let server =
            if address.starts_with('{') { address.to_owned() } else { format!("address: {address}") };
        let yml = format!(
            "pools:\n  - name: demo\n    mode: storage\n    listen: 127.0.0.1:7\n    {keys}\n    servers:\n      - {server}\n"
        );
        let said = check(&ground.workplace, &yml);
        assert!(said.contains(expected) && said.contains("pool demo"), "{said}\nshould say\n{expected}");
    }
}

fn check(workplace: &Workplace, yml: &str) -> String {
    let file = workplace.write("proxy.yml", yml);
    let said = run(&ShoalProxy::program(), &["proxy", "--check", "--config", &file.to_string_lossy()]);
    assert!(!said.status.success(), "it is refused");
    errors(&said)
}
