//! The sessions that are written in the client's own language: their exit status is the verdict.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::way::Way;

/// How long a session may take, in seconds, before it is ended and counts as failed.
const SECONDS: &str = "60";

pub fn redis_py_5(way: &Way) {
    python("redis5", "session.py", way);
}

pub fn redis_py_newest(way: &Way) {
    python("redis-newest", "session.py", way);
}

pub fn ioredis(way: &Way) {
    node("ioredis.mjs", way);
}

pub fn node_redis(way: &Way) {
    node("node-redis.mjs", way);
}

pub fn redis_py_5_idioms(way: &Way) {
    python("redis5", "idioms.py", way);
}

pub fn redis_py_newest_idioms(way: &Way) {
    python("redis-newest", "idioms.py", way);
}

pub fn redis_py_newest_cache(way: &Way) {
    python("redis-newest", "cache.py", way);
}

pub fn ioredis_idioms(way: &Way) {
    node("idioms-ioredis.mjs", way);
}

pub fn node_redis_idioms(way: &Way) {
    node("idioms-node-redis.mjs", way);
}

pub fn rq(way: &Way) {
    python("queues", "queues/rq_session.py", way);
}

pub fn celery(way: &Way) {
    python("queues", "queues/celery_session.py", way);
}

pub fn bullmq(way: &Way) {
    node("bullmq.mjs", way);
}

fn python(environment: &str, script: &str, way: &Way) {
    let installed = repository(&format!("target/clients/{environment}"));
    let pins = repository(&format!("clients/python/{environment}/requirements.txt"));
    demand_installed(&pins, &installed.join("installed.txt"));
    run(&installed.join("bin/python"), &repository(&format!("clients/python/{script}")), way);
}

fn node(script: &str, way: &Way) {
    let folder = repository("clients/node");
    let modules = folder.join("node_modules");
    demand_installed(&folder.join("package-lock.json"), &modules.join("installed-lock.json"));
    run(&modules.join("node/bin/node"), &folder.join(script), way);
}

/// Demands that what is installed was made from the pins as they are now: `tools/setup-clients` leaves a
/// copy of them when it is done.
fn demand_installed(pins: &Path, copy: &Path) {
    let wanted = fs::read(pins).unwrap_or_else(|error| panic!("{}: {error}", pins.display()));
    let is_there = fs::read(copy).is_ok_and(|installed| installed == wanted);
    assert!(is_there, "the libraries of {} are not installed: run tools/setup-clients", pins.display());
}

fn run(program: &Path, script: &Path, way: &Way) {
    let (host, port) = (way.addr().ip().to_string(), way.addr().port().to_string());
    let mut command = bounded(program);
    let output = command.arg(script).args([host, port]).output().expect("start the client");
    demand_success(&script.display().to_string(), &output);
}

/// A command that is ended after [`SECONDS`], with status 124.
pub fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg(SECONDS).arg(program);
    command
}

/// Shows all that the client printed if it failed.
#[track_caller]
pub fn demand_success(what: &str, output: &Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let ended = match output.status.code() {
        Some(124) => format!("not done after {SECONDS} s"),
        _ => output.status.to_string(),
    };
    assert!(output.status.success(), "{what}: {ended}\n{stdout}{stderr}");
}

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
