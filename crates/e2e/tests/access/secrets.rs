//! No secret is told to anybody who looks, and hostile handshakes get nowhere.

use std::fs;
use std::path::Path;
use std::process::Output;

use shoal_e2e::raw_client::encode;
use shoal_e2e::startup::run;
use shoal_e2e::{Proxy as _, RawClient, ShoalProxy, wait};

use crate::rig::{Rig, say};

const POOLS_OWN: &str = "pools-own-swordfish";
const SERVERS: &str = "servers-swordfish";
const USERS: &str = "users-swordfish";
/// `printf %s hashed-swordfish | sha256sum`
const HASH: &str = "2b751cdbd625a82da9f264e680e67a609a9f3fede41426395b9e50b874075b52";

fn check(text: &str, place: &str) {
    for secret in ["swordfish", HASH, &HASH[..16]] {
        assert!(!text.contains(secret), "{place} tells {secret}:\n{text}");
    }
}

fn check_config(file: &Path) -> Output {
    run(&ShoalProxy::program(), &["proxy", "--check", "--config", &file.to_string_lossy()])
}

#[test]
fn no_secret_is_shown_anywhere() {
    let rig = Rig::start(1, &["--requirepass", SERVERS], "");
    let users = rig.private("users", &format!("{USERS}\n"));
    let acl = rig.private("users.acl", &format!("# ours\nuser listed on #{HASH} ~* +@all\n"));
    let keys = format!(
        "password: {POOLS_OWN}\nserver_auth: {{password: {SERVERS}}}\nusers_file: {}\nusers:\n\
         - {{name: app, rules: 'on #{HASH} ~app:* +@all', password_file: {}}}",
        acl.display(),
        users.display()
    );
    rig.reload(&keys);
    let mut client = rig.entered("app", USERS);
    assert_eq!(client.call(&["SET", "app:1", "v"]), b"+OK\r\n");
    assert!(client.call(&["AUTH", "app", "wrong-swordfish"]).starts_with(b"-WRONGPASS"));
    for path in ["/metrics", "/topology", "/sessions", "/upstreams", "/slowlog", "/", "/readyz"] {
        check(&rig.proxy.get(path).1, path);
    }
    assert!(rig.proxy.get("/sessions").1.contains("\"app\""));
    let topology = rig.proxy.get("/topology").1;
    assert!(topology.contains("\"~app:*\"") && topology.contains("\"listed\""), "{topology}");
    for line in ["ACL USERS", "ACL LIST", "ACL GETUSER app", "CLIENT INFO", "CONFIG GET *", "INFO"] {
        check(&say(&mut rig.entered("default", POOLS_OWN), line), line);
    }
    let pid = rig.proxy.pid();
    for file in ["cmdline", "environ", "comm"] {
        check(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/{file}")).expect("a process")), file);
    }
    // What is wrong is told without what may be a password.
    let config = fs::read_to_string(rig.proxy.file()).expect("the configuration");
    for (right, wrong) in [
        (config.as_str(), config.clone()),
        ("on #", config.replace("on #", "on >swordfish #")),
        ("+@all", config.replace("'on #", "'on swordfish #")),
        ("#", config.replace(&format!("'on #{HASH}"), &format!("'on #{HASH}0"))),
        (
            "password: ",
            config.replace(&format!("password: {POOLS_OWN}"), &format!("password: {{x: {POOLS_OWN}}}")),
        ),
        (
            "password: ",
            config.replace(
                &format!("password: {POOLS_OWN}"),
                &format!("password: {POOLS_OWN}\n    pasword: {POOLS_OWN}"),
            ),
        ),
        ("name: app", config.replace("name: app", "name: app, password: swordfish")),
        ("server_auth", config.replace("{password: ", "{user: shoal, password:")),
        ("rules", config.replace("rules: 'on #", "rules:'on #")),
        ("password: ", config.replace(&format!("password: {POOLS_OWN}"), "password: #swordfish")),
    ] {
        let file = rig.private("wrong.yml", &wrong);
        let said = check_config(&file);
        let text =
            format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert_eq!(said.status.success(), right == config, "{right}: {text}");
        check(&text, right);
        fs::write(rig.proxy.file(), &wrong).expect("write the configuration");
        check(&rig.proxy.post("/reload").1, right);
    }
    check(&rig.proxy.log(), "the log");
    // A password that everybody may read is not taken.
    let open = rig.workplace.write("open.yml", &config);
    let said = check_config(&open);
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success() && text.contains("chmod 600"), "{text}");
    check(&text, "a refusal");
}

#[test]
fn hostile_handshakes_get_nowhere_and_hurt_nobody() {
    let rig = Rig::start(
        1,
        &[],
        "password: right\nserver_auth: {}\nusers:\n- {name: app, rules: 'on nopass ~app:* +@all'}",
    );
    let mut friend = rig.entered("default", "right");
    // A long pipeline of guesses: each is answered.
    let mut guesser = rig.client();
    let guesses = 2000;
    let all: Vec<u8> = (0..guesses).flat_map(|n| encode(&["AUTH", &format!("guess{n}")])).collect();
    guesser.send(&all);
    for _ in 0..guesses {
        assert!(guesser.reply().expect("an answer").starts_with(b"-WRONGPASS"));
    }
    assert_eq!(rig.metric("shoal_auth_failures_total"), guesses);
    // What is longer than a password can be ends the connection, before it is collected.
    for bytes in [
        b"*2\r\n$4\r\nAUTH\r\n$100000000\r\n".to_vec(),
        b"*100000\r\n$4\r\nAUTH\r\n".to_vec(),
        b"*11\r\n$4\r\nAUTH\r\n".to_vec(),
        [b"AUTH ".to_vec(), vec![b'x'; 100_000]].concat(),
        b"*2\r\n$4\r\nAUTH\r\n$-5\r\n".to_vec(),
    ] {
        let mut client = rig.client();
        client.send(&bytes);
        let said = client.until_closed();
        assert!(said.starts_with(b"-ERR Protocol error"), "{}", said.escape_ascii());
    }
    // Bytes that are no text, halves, and nothing at all.
    for words in [
        &[&b"AUTH"[..], b"\0\xff\n", b"right"][..],
        &[b"HELLO", b"3", b"AUTH", b"default", b"\xff"],
        &[b"HELLO", b"3", b"SETNAME", b"x"],
        &[b"HELLO", b"3", b"AUTH", b"default"],
    ] {
        let said = rig.client().call(words);
        assert!(said.starts_with(b"-"), "{}", said.escape_ascii());
    }
    let mut halves: Vec<RawClient> = (0..50).map(|_| rig.client()).collect();
    for half in &mut halves {
        half.send(b"*3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$5\r\nri");
    }
    drop(halves);
    // Nobody is in who gave no password, whatever else was said in the same breath.
    let mut rude = rig.client();
    let said = [
        &["GET", "k"][..],
        &["MULTI"],
        &["EXEC"],
        &["SUBSCRIBE", "a"],
        &["ACL", "WHOAMI"],
        &["CLIENT", "ID"],
        &["PING"],
    ];
    rude.send(&said.iter().flat_map(|words| encode(words)).collect::<Vec<u8>>());
    for words in said {
        assert_eq!(rude.reply().expect("an answer"), b"-NOAUTH Authentication required.\r\n", "{words:?}");
    }
    // A wrong password changes nothing for who is in, and a user who may do less does not keep what it could.
    assert!(friend.call(&["AUTH", "wrong"]).starts_with(b"-WRONGPASS"));
    assert_eq!(friend.call(&["SET", "k", "v"]), b"+OK\r\n");
    assert_eq!(friend.call(&["AUTH", "app", "any"]), b"+OK\r\n");
    assert!(friend.call(&["GET", "k"]).starts_with(b"-NOPERM"));
    let large = "v".repeat(200_000);
    assert!(friend.call(&["SET", "k", &large]).starts_with(b"-NOPERM"));
    assert_eq!(friend.call(&["SET", "app:k", &large]), b"+OK\r\n");
    assert_eq!(friend.call(&["RESET"]), b"+RESET\r\n");
    assert!(friend.call(&["GET", "k"]).starts_with(b"-NOAUTH"));
    wait::until("those who left to be gone", || (rig.metric("shoal_sessions") <= 3).then_some(()));
}
