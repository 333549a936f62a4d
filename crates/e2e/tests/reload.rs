//! The configuration changes while clients are at work: every reply is checked by value, nobody is disconnected.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use shoal_e2e::process::Process;
use shoal_e2e::raw_client::{encode, reply_len};
use shoal_e2e::{RawClient, RedisServer, ShoalProxy, Workplace, ports, wait};

const CLIENTS: usize = 6;
const PIPELINE: usize = 32;
const RELOADS: usize = 12;

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// One storage pool over `servers`, and a second pool that comes and goes.
fn proxy_yml(
    listen: SocketAddr,
    admin: SocketAddr,
    servers: &[SocketAddr],
    turn: usize,
    second: SocketAddr,
) -> String {
    let timeout = 5_000 + turn;
    let gather = turn.is_multiple_of(2);
    let list: String = servers.iter().map(|server| format!("      - address: {server}\n")).collect();
    let mut yml = format!(
        "workers: 2\nadmin: {admin}\npools:\n  - name: first\n    mode: storage\n    listen: {listen}\n    timeout: {timeout}\n    \
         gather: {gather}\n    servers:\n{list}"
    );
    if turn % 3 == 1 {
        yml.push_str(&format!(
            "  - name: second\n    mode: cache\n    listen: {second}\n    servers:\n{list}"
        ));
    }
    yml
}

fn start(file: &Path, listen: SocketAddr, admin: SocketAddr) -> Process {
    let args = ["proxy", "--config", &file.to_string_lossy()];
    let process = Process::start(&ShoalProxy::program(), &args, &file.with_file_name("log"));
    for addr in [listen, admin] {
        wait::until("the proxy to listen", || RawClient::try_connect(addr).ok());
    }
    process
}

/// Writes and reads keys of its own in pipelines until told to stop; how many rounds were right.
fn work(addr: SocketAddr, own: usize, stop: &AtomicBool) -> usize {
    let mut client = RawClient::connect(addr);
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut requests = Vec::new();
        let mut expected = Vec::new();
        for number in 0..PIPELINE {
            let (key, value) = (format!("{own}:{number}"), format!("{own}:{number}:{round}"));
            requests.extend(encode(&["SET", &key, &value]));
            requests.extend(encode(&["GET", &key]));
            expected.extend(format!("+OK\r\n${}\r\n{value}\r\n", value.len()).into_bytes());
        }
        client.send(&requests);
        assert_eq!(
            String::from_utf8_lossy(&client.read_exactly(expected.len())),
            String::from_utf8_lossy(&expected),
            "client {own}, round {round}"
        );
        round += 1;
    }
    round
}

#[test]
fn reloads_at_full_load_lose_and_misplace_nothing() {
    let workplace = Workplace::new();
    let servers: Vec<RedisServer> = (0..4).map(|_| RedisServer::start(&workplace, &[])).collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(RedisServer::addr).collect();
    let [listen, admin, second] = [ports::free(), ports::free(), ports::free()].map(loopback);
    let yml = |turn| proxy_yml(listen, admin, &addresses, turn, second);
    let file = workplace.write("proxy.yml", &yml(0));
    let proxy = start(&file, listen, admin);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let workers: Vec<_> = (0..CLIENTS)
            .map(|own| {
                scope.spawn({
                    let stop = &stop;
                    move || work(listen, own, stop)
                })
            })
            .collect();
        for turn in 1..=RELOADS {
            std::fs::write(&file, yml(turn)).unwrap();
            if turn % 2 == 0 {
                proxy.signal(Signal::HUP);
                let done = format!("reload: {} pools", if turn % 3 == 1 { 2 } else { 1 });
                let told = |log: &str| {
                    // Lines that are whole; each reload has one.
                    let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
                    lines.filter(|line| line.contains("reload: ")).nth(turn - 1).map(str::to_owned)
                };
                let line = wait::until("the reload in the log", || told(&proxy.log()));
                assert!(line.contains(&done), "{}", proxy.log());
            } else {
                let answer = post_reload(admin);
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
            let reachable = || RawClient::try_connect(second).is_ok() == (turn % 3 == 1);
            wait::until("the second pool to come or go", || reachable().then_some(()));
        }
        stop.store(true, Ordering::Relaxed);
        let rounds: Vec<usize> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        assert!(rounds.iter().all(|&rounds| rounds > 1), "everybody worked: {rounds:?}");
    });
}

/// Stops the clients when it goes, so that a failure is told and not waited on.
struct StopAtEnd<'s>(&'s AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_key_goes_to_its_new_home_and_a_wrong_file_changes_nothing() {
    let workplace = Workplace::new();
    let servers: Vec<RedisServer> = (0..2).map(|_| RedisServer::start(&workplace, &[])).collect();
    let [listen, admin, second] = [ports::free(), ports::free(), ports::free()].map(loopback);
    let only = |index: usize| proxy_yml(listen, admin, &[servers[index].addr()], 0, second);
    let file = workplace.write("proxy.yml", &only(0));
    let _proxy = start(&file, listen, admin);
    let mut client = RawClient::connect(listen);
    assert_eq!(client.call(&["SET", "a", "old"]), b"+OK\r\n");
    std::fs::write(&file, only(1).replace("timeout", "timeuot")).unwrap();
    let refused = post_reload(admin);
    assert!(refused.starts_with("HTTP/1.1 409") && refused.contains("timeuot"), "{refused}");
    assert_eq!(client.call(&["GET", "a"]), b"$3\r\nold\r\n");
    std::fs::write(&file, only(1)).unwrap();
    assert!(post_reload(admin).starts_with("HTTP/1.1 200"));
    wait::until("the new server to be asked", || (client.call(&["GET", "a"]) == b"$-1\r\n").then_some(()));
    assert_eq!(client.call(&["SET", "a", "new"]), b"+OK\r\n");
    assert_eq!(servers[0].client().call(&["GET", "a"]), b"$3\r\nold\r\n");
    assert_eq!(reply_len(&servers[1].client().call(&["GET", "a"])), Some(9));
}

fn post_reload(admin: SocketAddr) -> String {
    let mut client = RawClient::connect(admin);
    client.send(b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    String::from_utf8_lossy(&client.until_closed()).into_owned()
}
