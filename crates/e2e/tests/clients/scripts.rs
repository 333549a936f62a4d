//! The sessions that are written in the client's own language: their exit status is the verdict.

use std::process::Command;

use shoal_e2e::libraries;
use shoal_e2e::startup::success;

use super::way::Way;

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
    run(libraries::python(environment, script), way);
}

fn node(script: &str, way: &Way) {
    run(libraries::node(script), way);
}

fn run(mut session: Command, way: &Way) {
    success(session.args([way.addr().ip().to_string(), way.addr().port().to_string()]));
}
