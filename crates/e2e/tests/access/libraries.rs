//! Client libraries give name and password in their own ways.

use std::process::Command;

use shoal_e2e::libraries;
use shoal_e2e::process::installed;
use shoal_e2e::startup::{errors, run, success};

use crate::rig::Rig;

/// A password for all, and a user who may do less.
fn rig() -> Rig {
    let rig = Rig::start(2, &["--requirepass", "right"], "");
    let secret = rig.private("app", "secret\n");
    rig.reload(&format!(
        "password: right\nusers:\n- {{name: app, rules: 'on ~app:* &app.* +@all -flushall', password_file: {}}}",
        secret.display()
    ));
    rig
}

fn session(mut session: Command) {
    let rig = rig();
    success(session.args(["127.0.0.1", &rig.addr().port().to_string()]));
}

#[test]
fn redis_py_5() {
    session(libraries::python("redis5", "access.py"));
}

#[test]
fn redis_py_newest() {
    session(libraries::python("redis-newest", "access.py"));
}

#[test]
fn ioredis() {
    session(libraries::node("access.mjs"));
}

#[test]
fn redis_cli() {
    let (rig, cli) = (rig(), installed("redis-cli", "redis-tools"));
    let port = rig.addr().port().to_string();
    let say = |access: &[&str], words: &[&str]| {
        let output = run(&cli, &[&["-p", &port, "--no-auth-warning"], access, words].concat());
        String::from_utf8_lossy(&output.stdout).into_owned() + &errors(&output)
    };
    let (as_app, as_default) = (["--user", "app", "--pass", "secret"], ["-a", "right"]);
    assert_eq!(say(&as_app, &["ACL", "WHOAMI"]), "app\n");
    assert_eq!(say(&as_app, &["-3", "SET", "app:1", "v"]), "OK\n");
    assert!(say(&as_app, &["GET", "other"]).starts_with("NOPERM this user has no permissions to access"));
    assert_eq!(say(&as_default, &["ACL", "WHOAMI"]), "default\n");
    assert_eq!(say(&as_default, &["GET", "app:1"]), "v\n");
    assert!(say(&[], &["GET", "app:1"]).starts_with("NOAUTH"));
    assert!(say(&["-a", "wrong"], &["GET", "app:1"]).contains("WRONGPASS"));
}
