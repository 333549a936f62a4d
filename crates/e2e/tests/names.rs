//! Servers by name: one that cannot be resolved fails its own keys, by name, and a resolver that takes its time holds up
//! nobody else.

use std::process::Command;
use std::time::Duration;

use shoal_e2e::{Answer, FakeServer, OwnPool, OwnProxy, Proxy, ShoalProxy, Workplace, process};

/// A program that stops answering look-ups of names for the process it starts: reading `/etc/hosts`, which is a pipe to
/// it, waits until somebody writes. Nothing outside sees that.
const WITHOUT_NAMES: &str = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";

#[test]
fn a_name_that_does_not_exist_fails_its_keys_by_name() {
    let workplace = Workplace::new();
    let server = FakeServer::start(Answer::index(7));
    // A machine whose name server is out of reach says no only after twice five seconds for each that it knows.
    let lost = OwnPool::storage("lost", &[]).server("no-such-host.invalid:6379");
    let mixed = OwnPool::storage("mixed", &[server.addr()]).server("no-such-host.invalid:6379");
    let pools = [
        lost.key("timeout", "60000"),
        mixed.key("timeout", "60000"),
        OwnPool::storage("good", &[server.addr()]),
    ];
    let proxy = OwnProxy::start(&workplace, 1, &pools);
    let (mut lost, mut mixed, mut good) = (proxy.client("lost"), proxy.client("mixed"), proxy.client("good"));
    for client in [&mut lost, &mut mixed] {
        client.set_deadline(Duration::from_secs(60));
    }
    let reply = lost.call(&["GET", "a"]);
    assert_eq!(reply, b"-ERR shard lost-0 of pool lost has a name that cannot be resolved\r\n");
    let mut named = 0;
    for i in 0..50 {
        let reply = mixed.call(&["GET", &format!("k{i}")]);
        let fails = reply.starts_with(b"-ERR shard mixed-1 of pool mixed ");
        assert!(fails || reply == b"$2\r\n07\r\n", "{}", reply.escape_ascii());
        named += usize::from(fails);
        assert_eq!(good.call(&["GET", "a"]), b"$2\r\n07\r\n");
    }
    assert!((1..50).contains(&named));
    assert!(proxy.log().contains("cannot resolve no-such-host.invalid"), "{}", proxy.log());
}

#[test]
fn a_resolver_that_is_busy_holds_up_nobody_else() {
    let workplace = Workplace::new();
    let hosts = workplace.path().join("hosts");
    let made = Command::new("mkfifo").arg(&hosts).status().expect("make a pipe");
    assert!(made.success());
    let server = FakeServer::start(Answer::index(7));
    // More names than a resolver may have threads.
    let slow: Vec<OwnPool> = (0..8)
        .map(|i| {
            OwnPool::storage(&format!("slow{i}"), &[]).server("a-name.invalid:6379").key("timeout", "700")
        })
        .collect();
    let pools = [&slow[..], &[OwnPool::storage("good", &[server.addr()])]].concat();
    let (hosts, shoal) = (hosts.to_string_lossy(), ShoalProxy::program());
    let shoal = std::path::absolute(shoal).expect("the working directory");
    let shoal = shoal.to_string_lossy();
    let unshare = process::installed("unshare", "util-linux");
    let own_mounts: [&[&str]; 2] = [&["--user", "--map-root-user", "--mount"], &["--mount"]];
    let works = |flags: &&&[&str]| {
        let tried = Command::new(&unshare).args(**flags).arg("true").output();
        tried.is_ok_and(|output| output.status.success())
    };
    let Some(flags) = own_mounts.iter().find(works) else {
        eprintln!("skipped: this machine lets nobody have mounts of their own (unshare --mount)");
        return;
    };
    let before = [flags, &["sh", "-c", WITHOUT_NAMES, "sh", &hosts, &shoal][..]].concat();
    let proxy = OwnProxy::start_by(&workplace, &unshare, &before, 1, &pools);
    let mut waiting: Vec<_> = (0..8).map(|i| proxy.client(&format!("slow{i}"))).collect();
    waiting.iter_mut().for_each(|client| client.send_command(&["GET", "a"]));
    // The only worker has them all, and goes on: a new client, a new connection to a server, traffic.
    let mut good = proxy.client("good");
    for _ in 0..100 {
        assert_eq!(good.call(&["GET", "a"]), b"$2\r\n07\r\n");
    }
    for (i, client) in waiting.iter_mut().enumerate() {
        let reply = client.reply().expect("an error in time");
        let words = format!("-ERR shard slow{i}-0 of pool slow{i} timed out: no reply within 700 ms\r\n");
        assert_eq!(String::from_utf8_lossy(&reply), words);
        assert_eq!(good.call(&["GET", "a"]), b"$2\r\n07\r\n");
    }
}
