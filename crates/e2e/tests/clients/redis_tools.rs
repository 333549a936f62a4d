//! `redis-benchmark` and `redis-cli`, as Debian's package redis-tools has them.

use std::fs::File;

use shoal_e2e::Workplace;
use shoal_e2e::process::installed;
use shoal_e2e::startup::{bounded, success};

use super::way::Way;

/// The tests of `-t`, and how many lines of figures they print: LRANGE counts five times (its filling, and
/// four lengths).
const TESTS: (&str, usize) = ("get,set,mset,incr,lpush,lpop,sadd,hset,spop,zadd,lrange", 15);

pub fn benchmark(way: &Way) {
    let runs: [&[&str]; 3] = [
        &[],
        // Keys on all shards, deep pipelines, 200 connections at once.
        &["-r", "1000", "-P", "16", "-c", "200"],
        &["-3", "-r", "1000"],
    ];
    for options in runs {
        let text = tool("redis-benchmark", options, &["-t", TESTS.0, "-n", "2000", "-q"], "", way);
        let lines: Vec<&str> = text.split(['\r', '\n']).collect();
        for line in &lines {
            let is_error = ["rror", "WARNING", "ERR"].iter().any(|word| line.contains(word));
            assert!(!is_error, "redis-benchmark {options:?}: {line}");
        }
        let figures = lines.iter().filter(|line| line.contains(" requests per second")).count();
        assert_eq!(figures, TESTS.1, "redis-benchmark {options:?}: lines of figures in\n{text}");
    }
}

/// What is typed, and what is printed for it: raw, formatted, formatted in RESP3.
type Exchange = (&'static str, &'static str, &'static str, &'static str);

const EXCHANGES: &[Exchange] = &[
    ("PING", "PONG", "PONG", "PONG"),
    ("SET a 1", "OK", "OK", "OK"),
    ("INCR a", "2", "(integer) 2", "(integer) 2"),
    ("GET none", "", "(nil)", "(nil)"),
    ("LPUSH a x", WRONG_TYPE.0, WRONG_TYPE.1, WRONG_TYPE.1),
    ("NOSUCHCOMMAND a", UNKNOWN.0, UNKNOWN.1, UNKNOWN.1),
    ("RPUSH l a \"\\x00\\xff\"", "2", "(integer) 2", "(integer) 2"),
    ("LRANGE l 0 -1", "a\n\0\u{fffd}", "1) \"a\"\n2) \"\\x00\\xff\"", "1) \"a\"\n2) \"\\x00\\xff\""),
    ("HSET h f 1", "1", "(integer) 1", "(integer) 1"),
    ("HGETALL h", "f\n1", "1) \"f\"\n2) \"1\"", "1# \"f\" => \"1\""),
    ("ZADD z 2.5 m inf n", "2", "(integer) 2", "(integer) 2"),
    ("ZSCORE z m", "2.5", "\"2.5\"", "(double) 2.5"),
    ("ZRANGE z 1 1 WITHSCORES", "n\ninf", "1) \"n\"\n2) \"inf\"", "1) 1) \"n\"\n   2) (double) inf"),
    ("SADD s x", "1", "(integer) 1", "(integer) 1"),
    ("SMEMBERS s", "x", "1) \"x\"", "1~ \"x\""),
    ("MSET m1 a m2 b m3 c", "OK", "OK", "OK"),
    ("MGET m1 none m3", "a\n\nc", "1) \"a\"\n2) (nil)\n3) \"c\"", "1) \"a\"\n2) (nil)\n3) \"c\""),
    (
        "EVAL \"redis.setresp(3); return {true, {double=2.5}}\" 1 a",
        "1\n2.5",
        "1) (integer) 1\n2) \"2.5\"",
        "1) (true)\n2) (double) 2.5",
    ),
    ("DEL a l h z s m1 m2 m3", "8", "(integer) 8", "(integer) 8"),
    ("SELECT 0", "OK", "OK", "OK"),
];
const WRONG_TYPE: (&str, &str) = (
    "WRONGTYPE Operation against a key holding the wrong kind of value\n",
    "(error) WRONGTYPE Operation against a key holding the wrong kind of value",
);
const UNKNOWN: (&str, &str) = (
    "ERR unknown command 'NOSUCHCOMMAND', with args beginning with: 'a' \n",
    "(error) ERR unknown command 'NOSUCHCOMMAND', with args beginning with: 'a' ",
);

pub fn cli(way: &Way) {
    let typed: String = EXCHANGES.iter().map(|(line, ..)| format!("{line}\n")).collect();
    type Printed = fn(&Exchange) -> &str;
    let runs: [(&[&str], Printed); 4] = [
        (&[], |(_, raw, _, _)| raw),
        (&["-n", "0"], |(_, raw, _, _)| raw),
        (&["--no-raw"], |(_, _, formatted, _)| formatted),
        (&["-3", "--no-raw"], |(_, _, _, resp3)| resp3),
    ];
    for (options, printed) in runs {
        let wanted: String = EXCHANGES.iter().map(|exchange| format!("{}\n", printed(exchange))).collect();
        assert_eq!(tool("redis-cli", options, &[], &typed, way), wanted, "redis-cli {options:?}");
    }
    // A command as arguments, and mass insertion.
    assert_eq!(tool("redis-cli", &[], &["SET", "pipe", "v"], "", way), "OK\n");
    let inserted = tool("redis-cli", &["--pipe"], &[], "*2\r\n$3\r\nDEL\r\n$4\r\npipe\r\n", way);
    assert!(inserted.contains("errors: 0, replies: 1"), "{inserted}");
}

/// Runs one of the tools to its end, demands that it succeeds, and gives what it printed to either stream.
#[track_caller]
fn tool(program: &str, options: &[&str], args: &[&str], typed: &str, way: &Way) -> String {
    let workplace = Workplace::new();
    let input = File::open(workplace.write("typed", typed)).expect("open what is typed");
    let (host, port) = (way.addr().ip().to_string(), way.addr().port().to_string());
    let mut command = bounded(&installed(program, "redis-tools"));
    success(command.args(["-h", &host, "-p", &port]).args(options).args(args).stdin(input))
}
