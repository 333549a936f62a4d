//! Clients that mean no good, or die in the middle: only their own connection suffers, whatever they send; everybody else
//! gets the right replies meanwhile, and the memory that they made us take is given back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use shoal_e2e::raw_client::{encode, reply_len};
use shoal_e2e::sharded::value;
use shoal_e2e::{Chance, End, Neighbours, OwnPool, Proxy, RawClient, Sharded, escape, wait};

const KEYS: usize = 64;
/// What connections that are gone, and buffers that wait to be given back, may keep, in KiB.
const LEFT_OVER_KIB: u64 = 8 * 1024;

fn demo() -> Sharded {
    // With md5 the few and similar keys of a test spread over all servers.
    Sharded::start(3, 2, KEYS, |addrs| {
        OwnPool::storage("demo", addrs).key("hash", "md5").key("timeout", "60000")
    })
}

/// Neighbours on both workers, which ask for every key.
fn neighbours(demo: &Sharded) -> Neighbours {
    let keys: Vec<String> = demo.homes.keys().cloned().collect();
    Neighbours::start((0..4).map(|_| demo.client()).collect(), &keys)
}

/// Sessions at the moment.
fn sessions(demo: &Sharded) -> u64 {
    demo.proxy.metric("shoal_sessions{pool=\"demo\"}")
}

/// Memory comes back to what it was, but for a little. The allocator keeps what is free for ten seconds.
#[track_caller]
fn gives_back(demo: &Sharded, before: u64) {
    let mut now = 0;
    let given = wait::at_most(wait::DEADLINE * 6, || {
        now = demo.proxy.memory_kib();
        (now <= before + LEFT_OVER_KIB).then_some(())
    });
    assert!(given.is_some(), "{now} KiB, {before} before");
}

#[test]
fn each_kind_of_nonsense_is_answered_and_ends_its_own_connection() {
    let demo = demo();
    let neighbours = neighbours(&demo);
    let long = |byte: u8| vec![byte; 70_000];
    let rows: &[(&[u8], &str)] = &[
        // Counts of arrays.
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1048577000\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*-2147483649\r\n*x\r\n", "invalid multibulk length"),
        (b"*1 \r\n$4\r\nPING\r\n", "invalid multibulk length"),
        (&[b"*", &long(b'1')[..]].concat(), "too big mbulk count string"),
        // Lengths of words.
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$-9223372036854775808\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$18446744073709551616\r\n", "invalid bulk length"),
        (b"*2\r\n$3\r\nGET\r\n$1x\r\n", "invalid bulk length"),
        (&[b"*1\r\n$", &long(b'0')[..]].concat(), "too big bulk count string"),
        // What is no word.
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n*1\r\n$4\r\nPING\r\n", "expected '$', got '*'"),
        (b"*1\r\n\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n\x00\x00\x00\x00", "expected '$', got '"),
        (b"*1\r\n$4\r\nPINGxx", "expected CRLF"),
        (b"*1\r\n$4\r\nPING\n\n*1\r\n", "expected CRLF"),
        // Lines.
        (&long(b'a'), "too big inline request"),
        (&long(0), "too big inline request"),
        (b"GET \"k1\r\n", "unbalanced quotes in request"),
        (b"GET 'k1'x\r\n", "unbalanced quotes in request"),
        (b"\"\\x\r\n", "unbalanced quotes in request"),
    ];
    for (bytes, error) in rows {
        let what = escape::show(bytes);
        // Behind a request that is right: its reply comes first. What stands behind the nonsense is not looked at.
        let mut client = demo.client();
        let behind = encode(&["SET", "k1", "spoilt"]);
        // A line without end ends with whatever comes, if all of it comes at once.
        let behind = if bytes.len() > 64 * 1024 { &[] } else { &behind[..] };
        client.send(&[&encode(&["GET", "k1"]), *bytes, behind].concat());
        client.expect(&value("k1"));
        let said = String::from_utf8_lossy(&client.until_closed()).into_owned();
        assert!(said.starts_with("-ERR Protocol error: ") && said.contains(error), "{what}: {said:?}");
        assert_eq!(said.matches("\r\n").count(), 1, "{what}: more than an error: {said:?}");
    }
    // What looks odd, and asks for nothing or for something: the connection goes on.
    let mut client = demo.client();
    for nothing in [&b"\r\n"[..], b"*0\r\n", b"*-1\r\n", b"   \r\n", b"\n"] {
        client.send(&[nothing, b"PING\r\n"].concat());
        client.expect(b"+PONG\r\n");
    }
    client.send(b"\0\0GET\0 k1\r\nPING\r\n");
    let unknown = client.reply().expect("an error");
    assert!(unknown.starts_with(b"-ERR unknown command"), "{}", escape::show(&unknown));
    client.expect(b"+PONG\r\n");
    neighbours.rounds(3);
    neighbours.end();
    demo.expect(&mut client, &demo.homes.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn what_is_announced_takes_no_memory() {
    let demo = demo();
    let neighbours = neighbours(&demo);
    neighbours.rounds(5);
    let before = demo.proxy.memory_kib();
    // 500 MiB each, and a million words each: 60 GiB if anybody believed it.
    let announced: [&[u8]; 3] = [
        b"*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$500000000\r\nx",
        b"*1000000\r\n$4\r\nMGET\r\n$2\r\nk1\r\n",
        b"*3\r\n$500000000\r\nx",
    ];
    let clients: Vec<RawClient> = (0..120)
        .map(|number| {
            let mut client = demo.client();
            client.send(announced[number % announced.len()]);
            client
        })
        .collect();
    neighbours.rounds(5);
    wait::until("all are there", || (sessions(&demo) == 124).then_some(()));
    let held = demo.proxy.memory_kib();
    assert!(held <= before + LEFT_OVER_KIB, "{held} KiB, {before} before");
    drop(clients);
    wait::until("all are gone", || (sessions(&demo) == 4).then_some(()));
    neighbours.rounds(3);
    neighbours.end();
}

#[test]
fn random_bytes_harm_nobody() {
    const SEEDS: u64 = 300;
    let demo = demo();
    let neighbours = neighbours(&demo);
    neighbours.rounds(3);
    let before = demo.proxy.memory_kib();
    // Of no command that writes, so that the neighbours' keys stay; PING, ECHO and GET are whole now and then.
    let words: [&[u8]; 16] = [
        b"*1\r\n",
        b"*2\r\n",
        b"*3\r\n",
        b"$3\r\n",
        b"$4\r\n",
        b"GET\r\n",
        b"PING\r\n",
        b"ECHO\r\n",
        b"k1\r\n",
        b"\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"$2\r\nk1\r\n",
        b"$99\r\n",
        b"\"",
        b"HELLO 3\r\n",
    ];
    for seed in 0..SEEDS {
        let mut chance = Chance(seed);
        let mut bytes = Vec::new();
        for _ in 0..chance.below(200) {
            if seed % 2 == 0 || chance.below(8) == 0 {
                bytes.extend((0..chance.below(64)).map(|_| chance.byte()));
            } else {
                bytes.extend_from_slice(words[chance.below(16)]);
            }
        }
        let mut client = demo.client();
        client.send(&bytes);
        client.half_close();
        let (said, end) = client.read_up_to(usize::MAX);
        assert_eq!(end, End::Closed, "seed {seed}: still open after {}", escape::show(&said));
        // Whatever was asked, what is answered is whole replies. (A reset may cut them, if it had not read all.)
        let mut rest = &said[..];
        while let Some(len) = reply_len(rest).filter(|_| !rest.is_empty()) {
            assert!(b"+-$*:%_".contains(&rest[0]), "seed {seed}: {}", escape::show(rest));
            rest = &rest[len..];
        }
    }
    neighbours.rounds(3);
    neighbours.end();
    gives_back(&demo, before);
    wait::until("all are gone", || (sessions(&demo) == 0).then_some(()));
}

#[test]
fn ten_thousand_that_leave_in_the_middle_of_a_command() {
    const CLIENTS: usize = 10_000;
    const THREADS: usize = 4;
    /// Half said and still connected at the same time, by each thread.
    const AT_ONCE: usize = 100;
    let demo = demo();
    let neighbours = neighbours(&demo);
    let addr = demo.proxy.addr("demo");
    // Once for what is needed once.
    leave_in_the_middle(addr, AT_ONCE * 2, AT_ONCE, 7);
    wait::until("the first are gone", || (sessions(&demo) == 4).then_some(()));
    neighbours.rounds(3);
    let before = demo.proxy.memory_kib();
    let upstreams = demo.proxy.get("/metrics").1.matches("shoal_upstreams{").count();

    thread::scope(|scope| {
        for number in 0..THREADS {
            scope.spawn(move || leave_in_the_middle(addr, CLIENTS / THREADS, AT_ONCE, number));
        }
        neighbours.rounds(5);
    });
    wait::until("all are gone", || (sessions(&demo) == 4).then_some(()));
    assert!(demo.proxy.metric("shoal_sessions_total{pool=\"demo\"}") >= CLIENTS as u64);
    neighbours.rounds(5);
    neighbours.end();
    wait::until("the neighbours are gone", || (sessions(&demo) == 0).then_some(()));
    gives_back(&demo, before);
    assert_eq!(demo.proxy.get("/metrics").1.matches("shoal_upstreams{").count(), upstreams);
    // Nothing that was said by half was done.
    let mut client = demo.client();
    demo.expect(&mut client, &demo.homes.keys().cloned().collect::<Vec<_>>());
}

/// Connects one after the other, says the beginning of a command, and goes: by closing, by a reset, or after it has shut
/// its sending side.
fn leave_in_the_middle(addr: SocketAddr, clients: usize, at_once: usize, seed: usize) {
    let whole = [
        encode(&["SET", "k1", "half said"]),
        encode(&["MSET", "k1", "half", "k2", "said", "k3", "half"]),
        encode(&["SET", "k2", &"long ".repeat(2000)]),
        b"SET k3 inline\r\n".to_vec(),
        [encode(&["GET", "k1"]), encode(&["DEL", "k1", "k2", "k3"])].concat(),
    ];
    let mut chance = Chance(seed as u64);
    let mut connected = std::collections::VecDeque::new();
    for number in 0..clients + at_once {
        if number < clients {
            let mut client = TcpStream::connect(addr).expect("connect");
            let bytes = &whole[chance.below(whole.len())];
            client.write_all(&bytes[..1 + chance.below(bytes.len() - 2)]).expect("say half of it");
            connected.push_back(client);
        }
        if number >= at_once {
            let client = connected.pop_front().expect("one that is connected");
            match number % 3 {
                0 => {}
                1 => rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("linger"),
                _ => client.shutdown(Shutdown::Write).expect("shut"),
            }
        }
    }
}

#[test]
fn a_client_that_never_reads_holds_up_itself_alone() {
    const SILENT: usize = 4;
    let demo = demo();
    let neighbours = neighbours(&demo);
    neighbours.rounds(3);
    let before = demo.proxy.memory_kib();
    let keys: Vec<String> = demo.homes.keys().cloned().collect();
    // One request after the other for ever: until neither socket nor proxy takes any more. They ask for far more than they
    // are owed at once.
    let mut silent: Vec<Silent> =
        (0..SILENT).map(|_| Silent::connect(demo.proxy.addr("demo"), &keys)).collect();
    for client in &mut silent {
        let at_least = 20_000 / keys.len() * client.request.len();
        client.say_until_nobody_listens(at_least);
    }
    let mut late = demo.client();
    neighbours.rounds(10);
    demo.expect(&mut late, &keys);
    // Each may hold its bound of replies, 1 MiB, what one more request may add, and what the sockets hand over at once.
    let held = demo.proxy.memory_kib();
    assert!(held <= before + 1024 * 3 * SILENT as u64 + LEFT_OVER_KIB, "{held} KiB, {before} before");
    // And nothing of theirs was lost: they read after all.
    for client in silent {
        client.read_all(&keys);
    }
    neighbours.rounds(3);
    neighbours.end();
    gives_back(&demo, before);
}

/// A client that asks for all keys, in pipelines, and does not read.
struct Silent {
    socket: TcpStream,
    request: Vec<u8>,
    said: usize,
}

impl Silent {
    fn connect(addr: SocketAddr, keys: &[String]) -> Self {
        let socket = TcpStream::connect(addr).expect("connect");
        socket.set_nonblocking(true).expect("change the socket");
        let request = keys.iter().flat_map(|key| encode(&["GET", key])).collect();
        Self { socket, request, said: 0 }
    }

    /// Whether something was taken.
    fn say(&mut self) -> bool {
        let at = self.said % self.request.len();
        match self.socket.write(&self.request[at..]) {
            Ok(count) => self.said += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("it was cut: {error}"),
        }
        true
    }

    /// That nothing more is taken is believed after half a second of it, once this many bytes were.
    fn say_until_nobody_listens(&mut self, at_least: usize) {
        let mut taken = Instant::now();
        let end = taken + wait::DEADLINE * 3;
        while taken.elapsed() < Duration::from_millis(500) || self.said < at_least {
            assert!(Instant::now() < end, "{} bytes were taken", self.said);
            if self.say() {
                taken = Instant::now();
            } else {
                thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Ends the pipeline that it is in, and reads: every reply is there, right, and in its place.
    fn read_all(mut self, keys: &[String]) {
        let replies: Vec<u8> = keys.iter().flat_map(|key| value(key)).collect();
        let mut heard = 0;
        let mut piece = vec![0; 64 * 1024];
        let end = Instant::now() + wait::DEADLINE * 3;
        loop {
            let is_between = self.said.is_multiple_of(self.request.len());
            if !is_between {
                self.say();
            }
            match self.socket.read(&mut piece) {
                Ok(0) => panic!("closed after {heard} bytes"),
                Ok(count) => {
                    for (nth, byte) in piece[..count].iter().enumerate() {
                        assert_eq!(*byte, replies[(heard + nth) % replies.len()], "byte {}", heard + nth);
                    }
                    heard += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1))
                }
                Err(error) => panic!("it was cut after {heard} bytes: {error}"),
            }
            if is_between && heard == self.said / self.request.len() * replies.len() {
                return;
            }
            assert!(Instant::now() < end, "{heard} bytes of replies to {} of requests", self.said);
        }
    }
}
