//! Passwords, rules and users change under clients that are connected and at work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use shoal_e2e::load::{StopAtEnd, set_and_get};
use shoal_e2e::wait;

use crate::rig::{Rig, say};

const CLIENTS: usize = 4;
const PIPELINE: usize = 16;

/// Connections that the servers have accepted since they started, but for the one that asks.
fn accepted(rig: &Rig, password: &str) -> Vec<u64> {
    let count = |server: &shoal_e2e::RedisServer| {
        let mut client = server.client();
        assert_eq!(client.call(&["AUTH", password]), b"+OK\r\n");
        let count = client.info("total_connections_received");
        count.and_then(|count| count.parse().ok()).expect("a number")
    };
    rig.servers.iter().map(count).collect()
}

#[test]
fn passwords_are_rotated_at_full_load_without_a_failed_request_or_a_reconnect() {
    let rig = Rig::start(2, &["--requirepass", "old"], "password: old");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let workers: Vec<_> = (0..CLIENTS)
            .map(|own| {
                let client = rig.entered("default", "old");
                let stop = &stop;
                scope.spawn(move || set_and_get(client, &format!("app:{own}"), PIPELINE, stop))
            })
            .collect();
        wait::until("everybody at work", || (rig.metric("shoal_requests_total") > 1000).then_some(()));
        let before = accepted(&rig, "old");
        // Both are valid for clients; the servers know the old one alone.
        let both = rig.private("both", "new\nold\n");
        rig.reload(&format!("password_file: {}", both.display()));
        for password in ["new", "old"] {
            let mut late = rig.entered("default", password);
            assert_eq!(late.call(&["SET", "late", "1"]), b"+OK\r\n");
        }
        let looks = |counts: &[u64], more: u64| counts.iter().map(|count| count + more).collect::<Vec<_>>();
        assert_eq!(accepted(&rig, "old"), looks(&before, 1), "no connection was made anew");
        // Connections of RESP3 are made now: that the servers do not know the new one yet is no trouble.
        let mut resp3 = rig.client();
        assert!(resp3.call(&["HELLO", "3", "AUTH", "default", "new"]).starts_with(b"%7"));
        for key in ["a", "b", "c", "d", "e", "f"] {
            assert_eq!(resp3.call(&["GET", key]), b"_\r\n");
        }
        // The servers take the new one alone from now on; then so does the proxy.
        for server in &rig.servers {
            let mut client = server.client();
            assert_eq!(client.call(&["AUTH", "old"]), b"+OK\r\n");
            assert_eq!(client.call(&["CONFIG", "SET", "requirepass", "new"]), b"+OK\r\n");
        }
        let before = accepted(&rig, "new");
        rig.reload("password: new");
        let mut late = rig.client();
        assert!(late.call(&["AUTH", "old"]).starts_with(b"-WRONGPASS"));
        assert_eq!(late.call(&["AUTH", "new"]), b"+OK\r\n");
        assert_eq!(late.call(&["GET", "late"]), b"$1\r\n1\r\n");
        assert_eq!(accepted(&rig, "new"), looks(&before, 1), "no connection was made anew");
        stop.store(true, Ordering::Relaxed);
        let rounds: Vec<usize> =
            workers.into_iter().map(|worker| worker.join().expect("no failed request")).collect();
        assert!(rounds.iter().all(|rounds| *rounds > 1), "{rounds:?}");
    });
    assert_eq!(rig.metric("shoal_forward_errors_total"), 0);
    assert_eq!(rig.metric("shoal_auth_failures_total"), 1);
}

#[test]
fn the_proxy_enters_the_servers_as_a_user_of_its_own() {
    let rig = Rig::start(2, &[], "");
    for server in &rig.servers {
        let mut client = server.client();
        assert_eq!(
            client.call(&["ACL", "SETUSER", "shoal", "on", ">first", "~*", "&*", "+@all"]),
            b"+OK\r\n"
        );
        assert_eq!(client.call(&["ACL", "SETUSER", "default", "resetpass", ">nobody"]), b"+OK\r\n");
        assert_eq!(client.call(&["CLIENT", "KILL", "TYPE", "normal"])[0], b':');
    }
    let secret = rig.private("servers", "first\n");
    rig.reload(&format!("server_auth: {{user: shoal, password_file: {}}}", secret.display()));
    let mut client = rig.client();
    for key in ["a", "b", "c", "d"] {
        assert_eq!(client.call(&["SET", key, "1"]), b"+OK\r\n");
    }
    assert!(client.call(&["HELLO", "3"]).starts_with(b"%7"));
    assert_eq!(client.call(&["GET", "a"]), b"$1\r\n1\r\n");
    let mut admin = rig.servers[0].client();
    assert_eq!(admin.call(&["AUTH", "nobody"]), b"+OK\r\n");
    let list = admin.call(&["CLIENT", "LIST"]);
    assert!(String::from_utf8_lossy(&list).contains("user=shoal"), "{}", list.escape_ascii());
    // A wrong password is the servers' own refusal, by the shard's name.
    rig.reload("server_auth: {user: other, password: wrong}");
    let said = wait::until("a refusal", || {
        let said = say(&mut client, "GET a");
        said.starts_with('-').then_some(said)
    });
    assert!(said.contains("refused the proxy: WRONGPASS") || said.contains("is down"), "{said}");
}

fn app(rules: &str) -> String {
    format!(
        "users:\n- {{name: app, rules: 'on nopass {rules}'}}\n- {{name: other, rules: 'on nopass ~* &* +@all'}}"
    )
}

#[test]
fn changed_rules_hold_for_the_next_command_of_those_who_are_connected() {
    let all = "~app:* &app.* +@all";
    let rig = Rig::start(2, &[], &app(all));
    let mut client = rig.entered("app", "x");
    let mut queued = rig.entered("app", "x");
    let mut deaf = rig.entered("app", "x");
    let mut listens = rig.entered("app", "x");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let workers: Vec<_> = (0..2)
            .map(|own| {
                let client = rig.entered("app", "x");
                let stop = &stop;
                scope.spawn(move || set_and_get(client, &format!("app:{own}"), PIPELINE, stop))
            })
            .collect();
        assert_eq!(say(&mut client, "HSET app:h f v"), ":1\\r\\n");
        assert_eq!(say(&mut queued, "MULTI"), "+OK\\r\\n");
        assert_eq!(say(&mut queued, "HSET app:q f v"), "+QUEUED\\r\\n");
        assert!(say(&mut deaf, "SUBSCRIBE app.1").contains("subscribe"));
        assert!(say(&mut listens, "SUBSCRIBE app.2").contains("subscribe"));
        rig.reload(&app("~app:* &app.2 +@all -hset"));
        assert_eq!(
            say(&mut client, "HSET app:h f v"),
            "-NOPERM this user has no permissions to run the 'hset' command\\r\\n"
        );
        assert_eq!(say(&mut client, "HGET app:h f"), "$1\\r\\nv\\r\\n");
        assert!(say(&mut queued, "EXEC").starts_with("-EXECABORT"));
        assert_eq!(say(&mut queued, "HGET app:q f"), "$-1\\r\\n");
        assert!(deaf.until_closed().is_empty());
        let mut other = rig.entered("other", "x");
        assert_eq!(say(&mut other, "PUBLISH app.2 hello"), ":1\\r\\n");
        assert!(listens.reply().expect("a message").ends_with(b"hello\r\n"));
        stop.store(true, Ordering::Relaxed);
        assert!(workers.into_iter().all(|worker| worker.join().expect("no failed request") > 0));
    });
    assert_eq!(rig.metric("shoal_denied_total"), 1);
}

#[test]
fn who_is_removed_or_off_is_closed_and_others_stay() {
    let rig = Rig::start(1, &[], &app("~* +@all"));
    let mut other = rig.entered("other", "x");
    let mut gone = rig.entered("app", "x");
    let mut blocked = rig.entered("app", "x");
    blocked.send_command(&["BLPOP", "nothing", "0"]);
    assert_eq!(gone.call(&["SET", "k", "v"]), b"+OK\r\n");
    rig.reload("users:\n- {name: other, rules: 'on nopass ~* &* +@all'}");
    assert!(gone.until_closed().is_empty() && blocked.until_closed().is_empty());
    assert_eq!(other.call(&["GET", "k"]), b"$1\r\nv\r\n");
    let mut late = rig.client();
    assert!(late.call(&["AUTH", "app", "x"]).starts_with(b"-WRONGPASS"));
    assert_eq!(late.call(&["GET", "k"]), b"-NOAUTH Authentication required.\r\n");
    rig.reload("users:\n- {name: other, rules: 'off nopass ~* &* +@all'}");
    assert!(other.until_closed().is_empty());
    // Without users everybody may enter, whoever waits at the door included.
    rig.reload("");
    wait::until("the door to open", || late.call(&["GET", "k"]).starts_with(b"$1").then_some(()));
    // With a password again, who is in stays in.
    rig.reload("password: secret");
    assert_eq!(late.call(&["GET", "k"]), b"$1\r\nv\r\n");
    assert!(rig.client().call(&["GET", "k"]).starts_with(b"-NOAUTH"));
}
