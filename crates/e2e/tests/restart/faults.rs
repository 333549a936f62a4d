//! What goes wrong while a process takes over: the running one goes on as if nothing had happened.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use rustix::process::Signal;
use shoal_e2e::{Config, Pool, Proxy as _, RawClient, RedisServer, ShoalProxy, ports, wait};
use shoal_proxy::hand_over::{Decoder, Giver, Message, Taker, Who};

use crate::clients::At;
use crate::place::{Place, end_of, free, pool, says};

/// A running process with one pool on a port and one on a unix socket.
struct Site {
    place: Place,
    server: RedisServer,
    pools: String,
    all: [At; 2],
}

impl Site {
    fn new() -> Site {
        let place = Place::new();
        let server = RedisServer::start(&place.workplace, &[]);
        let (listen, path) = (free(), place.folder.join("pool.sock"));
        let pools = [
            pool("first", &listen.to_string(), &[server.addr()]),
            pool("second", &path.to_string_lossy(), &[server.addr()]),
        ];
        let pools = pools.concat();
        place.configure(0, &pools);
        Site { place, server, pools, all: [At::Tcp(listen), At::Unix(path)] }
    }

    /// The process serves, with these clients that have been there all the time, and new ones.
    #[track_caller]
    fn serves(&self, process: &mut shoal_e2e::Process, clients: &mut [RawClient]) {
        assert_eq!(process.ended(), None, "{}", process.log());
        assert_eq!(self.place.pid(), Some(process.pid()), "the pid file");
        for client in clients {
            assert_eq!(client.call(&["PING"]), b"+PONG\r\n");
        }
        for at in &self.all {
            assert_eq!(at.connect().call(&["PING"]), b"+PONG\r\n");
        }
        assert!(self.place.get("/healthz").starts_with("HTTP/1.1 200"));
    }

    fn clients(&self) -> Vec<RawClient> {
        self.all.iter().map(At::connect).collect()
    }

    /// Connects as the next process would.
    fn knock(&self) -> UnixStream {
        let stream = UnixStream::connect(self.place.door()).expect("the door");
        stream.set_read_timeout(Some(wait::DEADLINE)).expect("a timeout");
        stream
    }
}

fn me() -> Who {
    Who { pid: std::process::id(), program: "a test".to_owned() }
}

/// The next message; the descriptors that come with it are closed by the kernel.
fn hear(stream: &mut UnixStream, decoder: &mut Decoder) -> Message {
    loop {
        if let Some(message) = decoder.poll().expect("a message of ours") {
            return message;
        }
        let mut piece = [0; 512];
        let count = stream.read(&mut piece).expect("something to read");
        assert!(count > 0, "the end, and no message");
        decoder.handle_bytes(&piece[..count]);
    }
}

#[test]
fn a_process_that_dies_between_offer_and_ready_changes_nothing() {
    let site = Site::new();
    let mut process = site.place.start();
    let mut clients = site.clients();
    for nth in 1..=2 {
        let mut stream = site.knock();
        stream.write_all(&Taker::ask(me())).expect("ask");
        let offer = hear(&mut stream, &mut Decoder::default());
        // Two pools, statistics, the admin port, and the door itself.
        assert!(matches!(offer, Message::Offer { sockets: 5, .. }), "{offer:?}");
        drop(stream);
        wait::until("the loss to be noticed", || {
            (process.log().matches("has not taken over, this one goes on").count() == nth).then_some(())
        });
        site.serves(&mut process, &mut clients);
    }
    let _next = site.place.take_over();
    assert_eq!(end_of(&mut process).code(), Some(0), "and the next one may");
}

#[test]
fn a_process_that_is_killed_while_it_prepares_changes_nothing() {
    let site = Site::new();
    let mut process = site.place.start();
    let mut clients = site.clients();
    // It takes connections and answers nothing, so that preparing lasts.
    let silent = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = silent.local_addr().expect("an address");
    let mut pools = site.pools.clone();
    pools.push_str(
        &pool("slow", &free().to_string(), &[address])
            .replace("    mode: storage\n", "    mode: storage\n    preconnect: true\n    database: 1\n"),
    );
    site.place.configure(0, &pools);
    let mut next = site.place.launch(&["--take-over"]);
    let (_connection, _) = silent.accept().expect("it preconnects");
    assert!(next.log().contains("hands over 5 listening sockets"), "{}", next.log());
    let again = site.place.get("/healthz");
    assert!(again.starts_with("HTTP/1.1 200"), "{again}");
    next.kill();
    says(&process, "has not taken over, this one goes on");
    site.serves(&mut process, &mut clients);
}

#[test]
fn a_process_that_cannot_start_changes_nothing() {
    let site = Site::new();
    let mut process = site.place.start();
    let mut clients = site.clients();
    let taken = TcpListener::bind("127.0.0.1:0").expect("listen");
    let taken = taken.local_addr().map(|address| (address, taken)).expect("an address");
    site.place.configure(
        0,
        &format!("{}{}", site.pools, pool("third", &taken.0.to_string(), &[site.server.addr()])),
    );
    let mut next = site.place.launch(&["--take-over"]);
    assert_eq!(end_of(&mut next).code(), Some(1));
    assert!(next.log().contains(&format!("cannot listen on {}", taken.0)), "{}", next.log());
    says(&process, "has not taken over, this one goes on");
    site.serves(&mut process, &mut clients);
    site.place.configure(0, "  - nonsense\n");
    let mut next = site.place.launch(&["--take-over"]);
    assert_eq!(end_of(&mut next).code(), Some(1));
    site.serves(&mut process, &mut clients);
    assert_eq!(process.log().matches("takes over").count(), 1, "it did not even ask: {}", process.log());
}

#[test]
fn the_second_of_two_is_refused_by_name() {
    let site = Site::new();
    let mut process = site.place.start();
    let mut clients = site.clients();
    let mut first = site.knock();
    first.write_all(&Taker::ask(me())).expect("ask");
    hear(&mut first, &mut Decoder::default());
    let mut second = site.place.launch(&["--take-over"]);
    assert_eq!(end_of(&mut second).code(), Some(1));
    let why = format!("the running process refuses: process {} is taking over already", std::process::id());
    assert!(second.log().contains(&why), "{}", second.log());
    // Meanwhile a reload would change what is being handed over.
    process.signal(Signal::HUP);
    says(&process, "nothing was changed: another process is taking over");
    drop(first);
    says(&process, "has not taken over, this one goes on");
    site.serves(&mut process, &mut clients);
}

#[test]
fn wrong_versions_and_strangers_are_refused_with_a_reason() {
    let site = Site::new();
    let mut process = site.place.start();
    let mut clients = site.clients();
    let mut later = Taker::ask(me());
    later[9] = 2;
    let mut huge = Taker::ask(me());
    huge[12] = 1;
    let cases: [(&[u8], &str); 4] = [
        (&later, "the other process speaks version 2 of the hand-over, this one version 1"),
        (b"*1\r\n$4\r\nPING\r\n", "what came is no hand-over of Shoal's"),
        (&huge, "more than any has"),
        (&Taker::ready(vec![0]), "a message `ready` came while `ask` was waited for"),
    ];
    for (bytes, why) in cases {
        let mut stream = site.knock();
        stream.write_all(bytes).expect("say something");
        let answer = hear(&mut stream, &mut Decoder::default());
        assert!(matches!(&answer, Message::Refused(reason) if reason.contains(why)), "{answer:?}, not {why}");
        site.serves(&mut process, &mut clients);
    }
    let mode = fs::metadata(site.place.door()).expect("the door").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// The running process is of a later version, offers fewer sockets than it says, or dies: the next one says so and ends.
#[test]
fn a_process_that_is_not_offered_what_it_needs_ends_with_a_reason() {
    let refusal = Giver::refusal("this process speaks version 2 of the hand-over");
    let mut later = refusal.clone();
    later[9] = 2;
    let mut other = Giver::default().offer(me(), Vec::new()).concat();
    other[9] = 2;
    let sockets = shoal_proxy::hand_over::Offered {
        used_for: shoal_proxy::hand_over::Use::Pool,
        name: "first".to_owned(),
        listen: "127.0.0.1:1".to_owned(),
    };
    let fewer = Giver::default().offer(me(), vec![sockets]).concat();
    let cases: [(&[u8], &str); 5] = [
        (&later, "this process speaks version 2 of the hand-over"),
        (&other, "the other process speaks version 2 of the hand-over, this one version 1"),
        (&fewer, "1 sockets were announced, and 0 came"),
        (&fewer[..29], "the connection ended in the middle of a message"),
        (b"", "closed the connection while `offer` was waited for"),
    ];
    for (bytes, why) in cases {
        let place = Place::new();
        place.configure(0, &pool("first", &free().to_string(), &[free()]));
        let door = UnixListener::bind(place.door()).expect("a door of our own");
        let mut process = place.launch(&["--take-over=if-running"]);
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = door.accept().expect("a caller");
                let asked = hear(&mut stream, &mut Decoder::default());
                assert!(matches!(asked, Message::Ask(_)), "{asked:?}");
                stream.write_all(bytes).expect("answer");
            });
        });
        assert_eq!(end_of(&mut process).code(), Some(1));
        assert!(process.log().contains(why), "{why:?} is not in {}", process.log());
        assert!(place.door().exists(), "it is not this process's to remove");
    }
}

#[test]
fn with_nobody_there_it_does_not_start_unless_it_may() {
    let site = Site::new();
    let mut process = site.place.launch(&["--take-over"]);
    assert_eq!(end_of(&mut process).code(), Some(1));
    assert!(
        process.log().contains("nobody answers at") && process.log().contains("start without --take-over")
    );
    // A socket left over by a process that was killed is as none.
    drop(UnixListener::bind(site.place.door()).expect("a door of our own"));
    let mut process = site.place.launch(&["--take-over=if-running"]);
    says(&process, "serving 2 pools");
    site.serves(&mut process, &mut []);
    let mut another = site.place.launch(&[]);
    assert_eq!(end_of(&mut another).code(), Some(1), "without --take-over it keeps off");
    site.serves(&mut process, &mut []);
    let mut next = site.place.launch(&["--take-over=if-running"]);
    says(&next, "taken over");
    assert_eq!(end_of(&mut process).code(), Some(0));
    site.serves(&mut next, &mut []);
}

#[test]
fn under_nutcrackers_name_it_is_there_if_asked_for() {
    let site = Site::new();
    let door = site.place.door();
    let door = door.to_string_lossy();
    let mut config = Config::of(Pool::new("alpha", vec![format!("{}:1", site.server.addr())]));
    let without = ShoalProxy::start(&site.place.workplace, &config);
    assert!(!without.log().contains("hand"), "{}", without.log());
    drop(without);
    let pid_file = site.place.folder.join("pid").to_string_lossy().into_owned();
    config.flags = ["--hand-over", &door, "--drain-timeout", "0", "-p", &pid_file].map(str::to_owned).into();
    let mut first = ShoalProxy::start(&site.place.workplace, &config);
    let mut client = first.client("alpha");
    assert_eq!(client.call(&["SET", "a", "1"]), b"+OK\r\n");
    // The same command line with one word more: found again in /proc, as a person would type it.
    let line = fs::read(format!("/proc/{}/cmdline", first.pid())).expect("its command line");
    let mut words: Vec<String> =
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    words.retain(|word| !word.is_empty());
    words.push("--take-over".to_owned());
    let log = site.place.folder.join("next.log");
    let mut next = shoal_e2e::Process::start(words[0].as_ref(), &words[1..], &log);
    assert_eq!(client.until_closed(), b"");
    assert_eq!(end_of(first.process()).code(), Some(0), "taken over, and not killed");
    assert_eq!(first.client("alpha").call(&["GET", "a"]), b"$1\r\n1\r\n");
    assert_eq!(site.place.pid(), Some(next.pid()));
    next.signal(Signal::TERM);
    assert_eq!(end_of(&mut next).code(), Some(1), "as nutcracker ends");
    assert!(!site.place.door().exists() && ports::free() > 0);
}

/// The time of a processor that a process has used, in the kernel's ticks of 10 ms.
fn cpu_ticks(process: &shoal_e2e::Process) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid())).expect("a running process");
    let columns = stat.rsplit_once(") ").expect("a name").1.split(' ').skip(11).take(2);
    columns.map(|ticks| ticks.parse::<u64>().expect("a number of ticks")).sum()
}

#[test]
fn one_that_dies_while_the_next_waits_for_primaries_does_not_keep_it_busy() {
    let place = Place::new();
    let watched = format!(
        "  - name: w\n    mode: storage\n    listen: {}\n    servers:\n      - {{sentinels: ['{}'], master_name: m}}\n",
        free(),
        free()
    );
    place.configure(0, &watched);
    let mut first = place.start();
    // It takes no clients before its sentinels were given time to answer.
    let second = place.launch(&["--take-over"]);
    says(&second, "hands over");
    first.kill();
    says(&second, "ended before it had yielded");
    let ticks = cpu_ticks(&second);
    assert!(ticks < 30, "{ticks} ticks of 10 ms were used while nothing happened");
}
