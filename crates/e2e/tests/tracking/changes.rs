//! What Redis alone has no word for: another primary, by TLS on both sides; a shard that is ejected and returns. A client may be
//! told too much, and never too little.

use std::net::SocketAddr;
use std::time::Duration;

use shoal_e2e::sentinel::WATCHED_AS;
use shoal_e2e::tls::{Authority, TlsClient, Trust};
use shoal_e2e::{
    OwnPool, OwnProxy, Proxy as _, RawClient, RedisServer, Sentinel, Shown, Watched, Workplace, ports, wait,
};

use super::{ALL, invalidated};

/// Sentinels are given time on a machine that does something else.
const FAILOVER_MAX: Duration = Duration::from_secs(90);

fn tracker(mut client: TlsClient, tracking: &[&str]) -> TlsClient {
    assert!(client.call(&["HELLO", "3"]).starts_with('%'));
    assert_eq!(client.call(tracking), "+OK\r\n");
    client
}

/// The reply to GET, and whether all copies were taken back before it.
fn get(client: &mut TlsClient, key: &str) -> (Vec<u8>, bool) {
    let mut voided = false;
    let mut reply = client.try_call(&["GET", key]).expect("a frame");
    while reply.starts_with(b">") {
        voided |= reply == ALL;
        reply = client.reply().expect("a frame");
    }
    (reply, voided)
}

#[test]
fn a_failover_by_tls_takes_all_copies_and_the_new_primary_tells_of_what_is_read_since() {
    let workplace = Workplace::new();
    let folder = workplace.subdir("certificates");
    let authority = Authority::new(&folder, "ours");
    let own = authority.issue(&folder, "own");
    let mut watched = Watched::start_by(&workplace, 300, Some(Shown { authority: &authority, own: &own }));
    let sentinels: Vec<SocketAddr> = watched.sentinels.iter().map(Sentinel::tls_addr).collect();
    let listen = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let tls = format!("{{ca: {}, {}}}", authority.file.display(), own.yaml());
    let pool = OwnPool::watched("w", &sentinels, WATCHED_AS)
        .key("timeout", "1000")
        .key("tls", &format!("{{listen: '{listen}', {}}}", own.yaml()))
        .key("server_tls", &tls)
        .key("sentinel_tls", &tls);
    let proxy = OwnProxy::start(&workplace, 2, &[pool]);
    let connect = || TlsClient::connect(listen, &Trust::in_authority(&authority)).expect("a handshake");
    let mut writer = connect();
    wait::until("the shard to serve", || (writer.call(&["SET", "k", "1"]) == "+OK\r\n").then_some(()));
    let mut client = tracker(connect(), &["CLIENT", "TRACKING", "ON"]);
    let mut told_of_prefixes = tracker(connect(), &["CLIENT", "TRACKING", "ON", "BCAST"]);

    assert_eq!(client.call(&["GET", "k"]), "$1\r\n1\r\n");
    assert_eq!(writer.call(&["SET", "k", "2"]), "+OK\r\n");
    assert_eq!(client.reply().unwrap(), invalidated("k"));
    assert_eq!(told_of_prefixes.reply().unwrap(), invalidated("k"));
    assert_eq!(client.call(&["GET", "k"]), "$1\r\n2\r\n");
    watched.instances[0].kill();
    assert_eq!(client.reply().unwrap(), ALL, "without being asked");
    told_of_prefixes.reply().expect_err("it is cut, as a subscriber is");
    let found = wait::at_most(FAILOVER_MAX, || (writer.call(&["SET", "k", "3"]) == "+OK\r\n").then_some(()));
    assert!(found.is_some(), "no other primary:\n{}", proxy.log());
    let read = wait::at_most(FAILOVER_MAX, || (get(&mut client, "k").0 == b"$1\r\n3\r\n").then_some(()));
    assert!(read.is_some(), "the client reads no more:\n{}", proxy.log());
    assert_eq!(writer.call(&["SET", "k", "4"]), "+OK\r\n");
    assert_eq!(client.reply().unwrap(), invalidated("k"), "by the new primary");
    assert_eq!(client.call(&["GET", "k"]), "$1\r\n4\r\n");
}

#[test]
fn a_shard_that_is_ejected_and_one_that_returns_take_all_copies() {
    let workplace = Workplace::new();
    let mut servers = [(); 2].map(|()| RedisServer::start(&workplace, &[]));
    let addrs = [servers[0].addr(), servers[1].addr()];
    let pool = OwnPool::cache("hot", &addrs)
        .key("timeout", "5000")
        .key("eject", "{failure_limit: 1, retry_after: 300}");
    let proxy = OwnProxy::start(&workplace, 2, &[pool]);
    let mut writer = proxy.client("hot");
    // A key of the first server, and one of the second.
    let mut homes: [Option<String>; 2] = [None, None];
    for number in 0.. {
        let key = format!("k{number}");
        assert_eq!(writer.call(&["SET", &key, "1"]), b"+OK\r\n");
        let home = usize::from(servers[0].client().call(&["EXISTS", &key]) != b":1\r\n");
        homes[home].get_or_insert(key);
        if homes.iter().all(Option::is_some) {
            break;
        }
    }
    let [near, far] = homes.map(|key| key.expect("a key"));
    let mut client = super::tracker(proxy.client("hot"), "CLIENT TRACKING ON");
    for key in [&near, &far] {
        assert_eq!(client.call(&["GET", key]), b"$1\r\n1\r\n");
    }
    servers[0].kill();
    client.expect(ALL);
    // Its keys are elsewhere from now on, and are told of from there.
    wait::until("the server to be left out", || {
        (writer.call(&["SET", &near, "2"]) == b"+OK\r\n").then_some(())
    });
    let said = wait::until("the client to read elsewhere", || {
        let said = frames(&mut client, &near);
        (said.last()? == b"$1\r\n2\r\n").then_some(said)
    });
    assert!(said.len() < 3, "{said:?}");
    assert_eq!(writer.call(&["SET", &near, "3"]), b"+OK\r\n");
    client.expect(&invalidated(&near));
    assert_eq!(frames(&mut client, &near), [b"$1\r\n3\r\n"]);
    servers[0].restart();
    // What was written elsewhere is removed there, which that server tells of.
    let mut told = client.reply().expect("a push");
    while told == invalidated(&near) {
        told = client.reply().expect("a push");
    }
    assert_eq!(String::from_utf8_lossy(&told), String::from_utf8_lossy(ALL));
    wait::until("the log to say so", || {
        proxy.log().contains("shard hot-0 of pool hot is back").then_some(())
    });
    let reply = client.call(&["GET", &near]);
    assert_eq!(reply, b"_\r\n", "the server that returned is empty");
    assert_eq!(writer.call(&["SET", &near, "4"]), b"+OK\r\n");
    client.expect(&invalidated(&near));
    assert_eq!(servers[0].client().call(&["GET", &near]), b"$1\r\n4\r\n", "it lives at home again");
    // Those of the other server were taken back as well, and are tracked anew.
    assert_eq!(client.call(&["GET", &far]), b"$1\r\n1\r\n");
    assert_eq!(writer.call(&["SET", &far, "2"]), b"+OK\r\n");
    client.expect(&invalidated(&far));
}

/// The frames up to the reply to GET.
fn frames(client: &mut RawClient, key: &str) -> Vec<Vec<u8>> {
    client.send_command(&["GET", key]);
    let mut all = Vec::new();
    loop {
        let frame = client.reply().expect("a frame");
        let is_push = frame.starts_with(b">");
        all.push(frame);
        if !is_push {
            return all;
        }
    }
}
