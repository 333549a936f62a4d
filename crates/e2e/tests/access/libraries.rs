//! Client libraries give name and password in their own ways.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rig::Rig;

/// How long a session may take, in seconds, before it is ended and counts as failed.
const SECONDS: &str = "60";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

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

fn run(program: &Path, arguments: &[&str], rig: &Rig) -> (bool, String) {
    let port = rig.listen.port().to_string();
    let arguments: Vec<&str> =
        arguments.iter().map(|word| if *word == "PORT" { port.as_str() } else { word }).collect();
    let output =
        Command::new("timeout").arg(SECONDS).arg(program).args(arguments).output().expect("start the client");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn demand_installed(pins: &str, copy: &str) {
    let wanted = fs::read(repository(pins)).expect("the pins");
    let is_there = fs::read(repository(copy)).is_ok_and(|installed| installed == wanted);
    assert!(is_there, "the libraries of {pins} are not installed: run tools/setup-clients");
}

fn python(environment: &str) {
    demand_installed(
        &format!("clients/python/{environment}/requirements.txt"),
        &format!("target/clients/{environment}/installed.txt"),
    );
    let program = repository(&format!("target/clients/{environment}/bin/python"));
    let script = repository("clients/python/access.py");
    let (good, text) = run(&program, &[&script.to_string_lossy(), "127.0.0.1", "PORT"], &rig());
    assert!(good, "{text}");
}

#[test]
fn redis_py_5() {
    python("redis5");
}

#[test]
fn redis_py_newest() {
    python("redis-newest");
}

#[test]
fn ioredis() {
    demand_installed("clients/node/package-lock.json", "clients/node/node_modules/installed-lock.json");
    let script = repository("clients/node/access.mjs");
    let program = repository("clients/node/node_modules/node/bin/node");
    let (good, text) = run(&program, &[&script.to_string_lossy(), "127.0.0.1", "PORT"], &rig());
    assert!(good, "{text}");
}

#[test]
fn redis_cli() {
    let (rig, cli) = (rig(), Path::new("redis-cli"));
    let as_app = ["-p", "PORT", "--no-auth-warning", "--user", "app", "--pass", "secret"];
    let as_default = ["-p", "PORT", "--no-auth-warning", "-a", "right"];
    let say = |before: &[&str], words: &[&str]| run(cli, &[before, words].concat(), &rig).1;
    assert_eq!(say(&as_app, &["ACL", "WHOAMI"]), "app\n");
    assert_eq!(say(&as_app, &["-3", "SET", "app:1", "v"]), "OK\n");
    assert!(say(&as_app, &["GET", "other"]).starts_with("NOPERM this user has no permissions to access"));
    assert_eq!(say(&as_default, &["ACL", "WHOAMI"]), "default\n");
    assert_eq!(say(&as_default, &["GET", "app:1"]), "v\n");
    assert!(say(&["-p", "PORT"], &["GET", "app:1"]).starts_with("NOAUTH"));
    assert!(say(&["-p", "PORT", "-a", "wrong"], &["GET", "app:1"]).contains("WRONGPASS"));
}
