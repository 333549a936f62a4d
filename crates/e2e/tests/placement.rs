//! Asks the real nutcracker and ours where keys live: every hash, ketama and modula, lists of servers of every
//! shape, keys of every kind. The servers are fakes that answer with their own number.
//!
//! A sample of keys by default; `SHOAL_TEST_FULL=1` asks for 100,000 in each pool.

use std::net::{Ipv4Addr, SocketAddr};

use shoal_e2e::{
    Answer, Chance, Config, FakeServer, Nutcracker, Pool, Proxy, ShoalProxy, Workplace, escape, ports,
};

const HASHES: [&str; 12] = [
    "one_at_a_time",
    "md5",
    "crc16",
    "crc32",
    "crc32a",
    "fnv1_64",
    "fnv1a_64",
    "fnv1_32",
    "fnv1a_32",
    "hsieh",
    "murmur",
    "jenkins",
];

/// Keys that are on their way at once: their replies must fit into the sockets' buffers.
const IN_FLIGHT: usize = 200;

/// Bytes of a reply, `$2\r\n07\r\n`.
const REPLY_LEN: usize = 8;

#[test]
fn names_of_different_lengths_and_weights() {
    let names = ["zeta", "b", "alpha", "c", "gamma-1", "gamma-02"];
    let weights = [1, 80, 1, 3, 2, 7];
    let servers = on_ports(names.len());
    let lines = (0..names.len()).map(|i| format!("{}:{} {}", servers[i].addr(), weights[i], names[i]));
    same_places(lines.collect());
}

#[test]
fn weights_of_one_and_eighty() {
    let servers = on_ports(2);
    same_places(vec![format!("{}:1 light", servers[0].addr()), format!("{}:80 heavy", servers[1].addr())]);
}

#[test]
fn no_names() {
    let servers = on_ports(4);
    let lines =
        servers.iter().zip([1, 2, 1, 1]).map(|(server, weight)| format!("{}:{weight}", server.addr()));
    same_places(lines.collect());
}

#[test]
fn no_names_on_port_11211() {
    // The port is left out of such a server's name. Hosts of different lengths come in another order.
    let on_11211 = |index: usize, last: u8| {
        let start = |third| {
            let addr = SocketAddr::from((Ipv4Addr::new(127, 73, third, last), 11211));
            FakeServer::at(addr, Answer::index(index)).ok()
        };
        (0..=255).find_map(start).expect("a free port 11211 on the loopback network")
    };
    let servers = [on_11211(0, 100), on_11211(1, 9), on_11211(2, 10)];
    let other = FakeServer::at(port(), Answer::index(3)).unwrap();
    let lines = servers.iter().chain([&other]).map(|server| format!("{}:1", server.addr()));
    same_places(lines.collect());
}

#[test]
fn unnamed_unix_sockets() {
    let workplace = Workplace::new();
    let names = ["one", "b", "c"];
    let paths: Vec<_> = names.iter().map(|name| workplace.path().join(name)).collect();
    let unix = paths.iter().enumerate();
    let servers: Vec<_> =
        unix.map(|(i, path)| FakeServer::at_path(path, Answer::index(i)).unwrap()).collect();
    let other = FakeServer::at(port(), Answer::index(3)).unwrap();
    let lines = paths.iter().map(|path| format!("{}:1", path.display()));
    same_places(lines.chain([format!("{}:1", other.addr())]).collect());
    drop(servers);
}

#[test]
fn twenty_five_servers() {
    let servers = on_ports(25);
    same_places(named(&servers));
}

#[test]
fn fifty_servers() {
    let servers = on_ports(50);
    same_places(named(&servers));
}

#[test]
fn random_spreads_evenly_whatever_the_weights() {
    let servers = on_ports(4);
    let lines =
        servers.iter().zip([1, 9, 1, 1]).map(|(server, weight)| format!("{}:{weight}", server.addr()));
    let config = Config::of(Pool::new("alpha", lines.collect()).key("distribution", "random"));
    let workplace = Workplace::new();
    let keys = keys(20_000);
    // Four sigma of even are passed once in 4,000 runs by each of the four: the real one, whose seed is the time, is given
    // six. Ours starts from a fixed seed, and so does the same each time.
    let theirs = places(&Nutcracker::start(&workplace, &config), "alpha", &keys);
    assert_even(&theirs, servers.len(), 6.0);
    let ours = places(&ShoalProxy::start_with(&workplace, &config, &["--random-seed", "7"]), "alpha", &keys);
    assert_even(&ours, servers.len(), 4.0);
}

fn port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, ports::free()).into()
}

fn on_ports(count: usize) -> Vec<FakeServer> {
    (0..count).map(|index| FakeServer::start(Answer::index(index))).collect()
}

fn named(servers: &[FakeServer]) -> Vec<String> {
    servers.iter().enumerate().map(|(index, server)| format!("{}:1 server-{index}", server.addr())).collect()
}

/// Both proxies put every key on the same server, in every kind of pool.
#[track_caller]
fn same_places(servers: Vec<String>) {
    allow_many_connections();
    let count = if std::env::var_os("SHOAL_TEST_FULL").is_some() { 100_000 } else { 300 };
    let keys = keys(count);
    let config = Config { pools: pools(&servers), flags: Vec::new() };
    let workplace = Workplace::new();
    let theirs = all_places(&Nutcracker::start(&workplace, &config), &config, &keys);
    let ours = all_places(&ShoalProxy::start(&workplace, &config), &config, &keys);
    let spread = theirs.iter().any(|places| places.iter().any(|place| *place != places[0]));
    assert!(spread, "one server has all keys of all pools: nothing was compared");
    for (pool, (theirs, ours)) in config.pools.iter().zip(theirs.iter().zip(&ours)) {
        let differ = (0..keys.len()).filter(|&i| theirs[i] != ours[i]);
        let lines: Vec<_> = differ
            .map(|i| format!("{}: on {}, ours says {}", escape::show(&keys[i]), theirs[i], ours[i]))
            .collect();
        let some = lines[..lines.len().min(10)].join("\n");
        assert!(lines.is_empty(), "{}: {} of {count} keys differ:\n{some}", pool.name, lines.len());
    }
}

/// One pool for each pair of hash and distribution, some with hash tags, and one that says nothing.
fn pools(servers: &[String]) -> Vec<Pool> {
    let mut pools = vec![Pool::new("defaults", servers.to_vec())];
    for distribution in ["ketama", "modula"] {
        for hash in HASHES {
            let pool = Pool::new(&format!("{distribution}-{hash}"), servers.to_vec());
            pools.push(pool.key("hash", hash).key("distribution", distribution));
        }
        for (name, tag) in [("braces", "{}"), ("dollars", "$$")] {
            let pool = Pool::new(&format!("{distribution}-{name}"), servers.to_vec());
            pools.push(pool.key("distribution", distribution).key("hash_tag", &format!("\"{tag}\"")));
        }
    }
    pools
}

fn all_places(proxy: &dyn Proxy, config: &Config, keys: &[Vec<u8>]) -> Vec<Vec<usize>> {
    config.pools.iter().map(|pool| places(proxy, &pool.name, keys)).collect()
}

/// The number of the server of each key.
#[track_caller]
fn places(proxy: &dyn Proxy, pool: &str, keys: &[Vec<u8>]) -> Vec<usize> {
    let mut client = proxy.client(pool);
    let mut places = Vec::with_capacity(keys.len());
    for some in keys.chunks(IN_FLIGHT) {
        let requests: Vec<u8> =
            some.iter().flat_map(|key| shoal_e2e::raw_client::encode(&[b"GET", &key[..]])).collect();
        client.send(&requests);
        let replies = client.read_exactly(some.len() * REPLY_LEN);
        for reply in replies.chunks(REPLY_LEN) {
            let number = std::str::from_utf8(&reply[4..6]).ok().and_then(|digits| digits.parse().ok());
            match number {
                Some(number) => places.push(number),
                None => panic!("{pool}: {}\n{}", escape::show(&replies), proxy.log()),
            }
        }
    }
    places
}

#[track_caller]
fn assert_even(places: &[usize], servers: usize, sigmas: f64) {
    let share = 1.0 / servers as f64;
    let expected = places.len() as f64 * share;
    let sigma = (expected * (1.0 - share)).sqrt();
    for server in 0..servers {
        let count = places.iter().filter(|&&place| place == server).count();
        let off = (count as f64 - expected).abs() / sigma;
        assert!(off <= sigmas, "server {server} has {count} of {}: {off:.1} sigma off", places.len());
    }
}

/// Keys of every kind, always the same: plain ones in a row, with tags, beyond ASCII, any bytes, empty, long.
fn keys(count: usize) -> Vec<Vec<u8>> {
    let mut chance = Chance(0x5eed);
    let mut keys: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"{}".to_vec(),
        b"{tag".to_vec(),
        b"tag}".to_vec(),
        b"{}{tag}".to_vec(),
        b"}{".to_vec(),
        b"$$a".to_vec(),
        b"\xff".to_vec(),
        b"\x80\x80\x80".to_vec(),
        vec![b'k'; 10_000],
    ];
    while keys.len() < count {
        let number = keys.len();
        keys.push(match number % 6 {
            0 => format!("user:{number}:profile").into_bytes(),
            1 => format!("{number}{{tag{}}}x", chance.below(1000)).into_bytes(),
            2 => format!("a${}$$b", chance.below(1000)).into_bytes(),
            3 => format!("ключ-{number}-你好").into_bytes(),
            // Every length from 1 to 40: some hashes treat the last bytes apart.
            4 => (0..number / 6 % 40 + 1).map(|_| chance.byte()).collect(),
            _ => (0..chance.below(300)).map(|_| chance.byte() | 0x80).collect(),
        });
    }
    keys
}

/// Fifty servers in thirty pools are more connections than the usual soft limit; children inherit ours.
fn allow_many_connections() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it cannot be raised the test says so by failing to connect.
    let _ = setrlimit(Resource::Nofile, limit);
}
