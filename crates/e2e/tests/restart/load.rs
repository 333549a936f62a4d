//! One process after another at full load, a connect storm beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use shoal_e2e::load::StopAtEnd;
use shoal_e2e::{RedisServer, wait};

use crate::clients::{At, Told, set_and_get, storm};
use crate::place::{Place, end_of, free, pool};

const RESTARTS: usize = 3;
/// Clients, each with so many requests at a time.
const PIPELINES: [usize; 6] = [1, 1, 1, 1, 16, 16];
const STORM: usize = 2;

/// Restarts a proxy with one pool at `at`, which `listen` names in the file, under load.
fn restart_under_load(place: &Place, at: &At, listen: &str) {
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start(&place.workplace, &[])).collect();
    let addresses: Vec<_> = servers.iter().map(RedisServer::addr).collect();
    place.configure(500, &pool("first", listen, &addresses));
    let mut process = place.start();
    let stop = AtomicBool::new(false);
    let (told, storms) = (PIPELINES.map(|_| Told::default()), [(); STORM].map(|()| Told::default()));
    let (told, storms) = (&told, &storms);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let stop = &stop;
        for (own, (pipeline, told)) in PIPELINES.into_iter().zip(told).enumerate() {
            scope.spawn(move || set_and_get(at, own, pipeline, told, stop));
        }
        for told in storms {
            scope.spawn(move || storm(at, told, stop));
        }
        // Statistics and the admin port are asked all the time as well: nobody is refused there either.
        let asker = scope.spawn(move || {
            let mut answers = 0;
            while !stop.load(Ordering::Relaxed) {
                assert!(place.get("/metrics").starts_with("HTTP/1.1 200"));
                let object = shoal_e2e::RawClient::connect(place.stats).until_closed();
                assert!(object.starts_with(b"{\"service\":\"nutcracker\""), "{object:?}");
                answers += 1;
            }
            answers
        });
        for restart in 0..RESTARTS {
            let next = place.take_over();
            assert_eq!(place.pid(), Some(next.pid()), "the pid file names who serves");
            let status = end_of(&mut process);
            assert_eq!(status.code(), Some(0), "restart {restart}: {}", process.log());
            assert!(process.log().contains("all sessions have left"), "{}", process.log());
            assert!(!process.log().contains("were cut"), "{}", process.log());
            assert_eq!(place.pid(), Some(next.pid()), "the old one's end does not take the file away");
            process = next;
            wait::until("everybody to be closed once, and back", || {
                told.iter().all(|told| told.closed() == restart + 1).then_some(())
            });
            let before: Vec<usize> = told.iter().chain(storms).map(Told::answered).collect();
            wait::until("everybody to go on", || {
                let now = told.iter().chain(storms).map(Told::answered);
                now.zip(&before).all(|(now, before)| now > *before).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
        assert!(asker.join().expect("it only asserts") > 0);
    });
    for told in told {
        assert_eq!(told.closed(), RESTARTS, "a client is closed once a restart");
    }
    for told in storms {
        // Whoever is let in while a process yields may be among those who leave first.
        assert!(told.closed() <= RESTARTS, "{told:?}");
    }
    process.signal(Signal::TERM);
    assert_eq!(end_of(&mut process).code(), Some(0));
    assert!(!place.door().exists() && place.pid().is_none(), "the last one takes its files with it");
}

#[test]
fn restarts_at_full_load_lose_refuse_and_misplace_nothing() {
    let place = Place::new();
    let listen = free();
    restart_under_load(&place, &At::Tcp(listen), &listen.to_string());
}

#[test]
fn restarts_keep_a_unix_socket() {
    let place = Place::new();
    let path = place.folder.join("pool.sock");
    restart_under_load(&place, &At::Unix(path.clone()), &path.to_string_lossy());
    assert!(!path.exists());
}

#[test]
fn pools_come_go_and_move_with_a_restart() {
    let place = Place::new();
    let server = RedisServer::start(&place.workplace, &[]);
    let servers = [server.addr()];
    let [stays, goes, comes, moves_to] = [free(), free(), free(), free()];
    let [stays_unix, goes_unix] = ["stays.sock", "goes.sock"].map(|name| place.folder.join(name));
    let unix = |path: &std::path::Path| path.to_string_lossy().into_owned();
    place.configure(
        100,
        &[
            pool("goes", &goes.to_string(), &servers),
            pool("goes-unix", &unix(&goes_unix), &servers),
            pool("stays", &stays.to_string(), &servers),
            pool("stays-unix", &unix(&stays_unix), &servers),
        ]
        .concat(),
    );
    let mut first = place.start();
    assert_eq!(At::Tcp(stays).connect().call(&["SET", "a", "1"]), b"+OK\r\n");
    // Other names, another order, and the name of a pool that moved: what counts is where a socket listens.
    place.configure(
        100,
        &[
            pool("stays-unix", &unix(&stays_unix), &servers),
            pool("comes", &comes.to_string(), &servers),
            pool("renamed", &format!("localhost:{}", stays.port()), &servers),
            pool("goes", &moves_to.to_string(), &servers),
        ]
        .concat(),
    );
    let mut second = place.take_over();
    assert_eq!(end_of(&mut first).code(), Some(0));
    for at in [At::Tcp(stays), At::Tcp(comes), At::Tcp(moves_to), At::Unix(stays_unix)] {
        assert_eq!(at.connect().call(&["GET", "a"]), b"$1\r\n1\r\n");
    }
    assert!(At::Tcp(goes).try_connect().is_err());
    assert!(!goes_unix.exists(), "the old process takes away what the new one does not keep");
    second.signal(Signal::INT);
    end_of(&mut second);
    wait::until("the pools' end", || At::Tcp(stays).try_connect().is_err().then_some(()));
}
