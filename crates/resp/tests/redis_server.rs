//! What this crate says of Redis, said again by the `redis-server` on PATH (7.0.15 when it was written).
//! Without one, the tests that ask it print why they are skipped.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "asks a real server")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test, its helping functions too")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use shoal_resp::{Frame, Parsed, ProtocolError, RequestLimits, command, encode, parse_frame};

use facts::Row;

#[path = "../examples/command-table/facts.rs"]
mod facts;

const TSV: &str = include_str!("../../../testdata/resp/commands.tsv");

/// Bytes that Redis refuses, and its words; a `~` stands for 70,000 digits.
const REFUSED: &[(&[u8], &str)] = &[
    (b"*abc\r\n", "invalid multibulk length"),
    (b"*\r\n", "invalid multibulk length"),
    (b"*-\r\n", "invalid multibulk length"),
    (b"*-0\r\n", "invalid multibulk length"),
    (b"*01\r\n", "invalid multibulk length"),
    (b"*+1\r\n", "invalid multibulk length"),
    (b"* 1\r\n", "invalid multibulk length"),
    (b"*3\n$3\r\n", "invalid multibulk length"),
    (b"*2147483648\r\n", "invalid multibulk length"),
    (b"*-99999999999999999999\r\n", "invalid multibulk length"),
    (b"*~", "too big mbulk count string"),
    (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
    (b"*1\r\n:4\r\n", "expected '$', got ':'"),
    (b"*1\r\n\r\n", "expected '$', got ' '"),
    (b"*1\r\n\n\r\n", "expected '$', got ' '"),
    (b"*2\r\n$4\r\nECHO\r\n+a\r\n", "expected '$', got '+'"),
    (b"*1\r\n$\r\n", "invalid bulk length"),
    (b"*1\r\n$-1\r\n", "invalid bulk length"),
    (b"*1\r\n$a\r\n", "invalid bulk length"),
    (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
    (b"*1\r\n$536870913\r\n", "invalid bulk length"),
    (b"*1\r\n$~", "too big bulk count string"),
    (b"*1\r\n~", "too big bulk count string"),
    (b"~", "too big inline request"),
    (b"ECHO \"a\r\n", "unbalanced quotes in request"),
    (b"ECHO 'a\r\n", "unbalanced quotes in request"),
    (b"ECHO \"a\\\r\n", "unbalanced quotes in request"),
    (b"ECHO \"a\"b\r\n", "unbalanced quotes in request"),
    (b"ECHO 'a'b\r\n", "unbalanced quotes in request"),
];

/// Inline requests, and the words in them.
const LINES: &[(&[u8], &[&[u8]])] = &[
    (b"PING\n", &[b"PING"]),
    (b"  echo\t a \r\n", &[b"echo", b"a"]),
    (b"ECHO foo\"bar\"\r\n", &[b"ECHO", b"foobar"]),
    (b"ECHO \"\"\r\n", &[b"ECHO", b""]),
    (b"ECHO \"a b\\x41\\n\\r\\t\\b\\a\\\"\\q\"\r\n", &[b"ECHO", b"a bA\n\r\t\x08\x07\"q"]),
    (b"ECHO \"\\xzz\\x4\"\r\n", &[b"ECHO", b"xzzx4"]),
    (b"ECHO 'a\\'b\\n\"'\r\n", &[b"ECHO", b"a'b\\n\""]),
    (b"ECHO a\\x41\r\n", &[b"ECHO", b"a\\x41"]),
    (b"ECHO a\x0bb\r\n", &[b"ECHO", b"a\x0bb"]),
    (b"\x0bECHO \x0ca\r\n", &[b"ECHO", b"a"]),
    (b"ECHO a\rb\r\n", &[b"ECHO", b"a", b"b"]),
    (b"ECHO \xc3\xa9\xff\r\n", &[b"ECHO", b"\xc3\xa9\xff"]),
];

/// Requests for `COMMAND GETKEYS`: words, blank between.
const KEYED: &[&str] = &[
    "GET a",
    "MGET a b a",
    "MSET a 1 b 2",
    "DEL a b",
    "BLPOP a b 0",
    "LCS a b",
    "RENAME a b",
    "LMOVE a b LEFT LEFT",
    "BITOP AND d a b",
    "PFMERGE d a b",
    "SINTERSTORE d a b",
    "EVAL code 2 a b c",
    "FCALL f 1 a b",
    "ZUNIONSTORE d 2 a b WEIGHTS 1 2",
    "ZDIFF 2 a b",
    "BLMPOP 0 2 a b LEFT",
    "SINTERCARD 2 a b LIMIT 1",
    "XREAD COUNT 2 BLOCK 0 STREAMS a b 0 0",
    "XREADGROUP GROUP streams count STREAMS a >",
    "XGROUP CREATE s g $",
    "XINFO STREAM s",
    "OBJECT ENCODING a",
    "MEMORY USAGE a",
    "SORT a",
    "SORT a BY STORE GET store LIMIT 0 1 STORE x STORE d",
    "SORT_RO a",
    "GEORADIUS a 1 2 3 m STOREDIST d",
    "GEORADIUS a 1 2 3 m",
    "GEORADIUSBYMEMBER a m 3 m STORE d",
    "GEOSEARCHSTORE d a FROMMEMBER m BYRADIUS 1 m",
    "MIGRATE h 1 a 0 9",
    "MIGRATE h 1  0 9 COPY KEYS a b",
    "COPY a b",
    "SMOVE a b m",
];

#[test]
fn refuses_in_the_words_of_the_table() {
    for (bytes, words) in REFUSED {
        let bytes = spelled(bytes);
        let mut args = Vec::new();
        let refused = match shoal_resp::parse_request(&bytes, &RequestLimits::default(), &mut args) {
            Ok(Parsed::Request { len, inline: true }) => {
                shoal_resp::inline_to_multibulk(&bytes[..len], &mut Vec::new())
            }
            parsed => parsed.map(|parsed| panic!("{parsed:?}: {}", bytes.escape_ascii())),
        };
        let error: ProtocolError = refused.unwrap_err();
        assert_eq!(error.to_string(), format!("Protocol error: {words}"), "{}", bytes.escape_ascii());
    }
}

#[test]
fn rewrites_lines_into_the_words_of_the_table() {
    for (line, words) in LINES {
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        shoal_resp::inline_to_multibulk(line, &mut out).unwrap();
        encode::command(&mut expected, words);
        assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
}

#[test]
fn the_table_and_its_file_agree() {
    let mut rows: Vec<Row> = command::all().iter().map(Row::of).collect();
    rows.extend(command::all().iter().flat_map(|command| command.subs).map(Row::of));
    rows.sort();
    let file: Vec<Row> = TSV.lines().skip(1).map(|line| Row::parse(line).unwrap()).collect();
    assert_eq!(TSV.lines().next(), Some(facts::HEADER));
    assert_eq!(rows.len(), file.len());
    for (row, line) in rows.iter().zip(&file) {
        assert_eq!(row, line);
        assert!(TSV.lines().any(|text| text == line.to_string()), "{line}");
    }
}

#[test]
fn redis_refuses_the_same() {
    let Some(server) = Server::start() else { return };
    for (bytes, words) in REFUSED {
        let reply = server.ask(&spelled(bytes));
        assert_eq!(String::from_utf8_lossy(&reply), format!("-ERR Protocol error: {words}\r\n"));
    }
}

#[test]
fn redis_splits_lines_the_same() {
    let Some(server) = Server::start() else { return };
    for (line, words) in LINES {
        let mut request = Vec::new();
        encode::command(&mut request, words);
        let quit: &[u8] = b"*1\r\n$4\r\nQUIT\r\n";
        let split = server.ask(&[line, quit].concat());
        assert_eq!(split, server.ask(&[&request[..], quit].concat()), "{}", line.escape_ascii());
    }
}

#[test]
fn redis_tells_the_same_facts() {
    let Some(server) = Server::start() else { return };
    let commands = server.reply(&[b"COMMAND"]);
    let docs = server.reply(&[b"COMMAND", b"DOCS"]);
    let (commands, docs) = (whole(&commands), whole(&docs));
    let mut rows = Vec::new();
    for entry in commands.as_elements().unwrap() {
        let name = String::from_utf8_lossy(entry.as_elements().unwrap()[0].as_text().unwrap());
        Row::from_server(entry, facts::value(&docs, &name).unwrap(), &mut rows).unwrap();
    }
    assert!(rows.len() > 350, "{}", rows.len());
    let version = server.version();
    let ours: BTreeMap<String, Row> =
        TSV.lines().skip(1).filter_map(Row::parse).map(|row| (row.name.clone(), row)).collect();
    for mut row in rows {
        let Some(our) = ours.get(&row.name) else {
            assert!(!version.starts_with("7.0."), "{row}");
            println!("not in the table, as it is new in {version}: {}", row.name);
            continue;
        };
        // Later versions change a fact here and there; the table is 7.0's where they do.
        if version.starts_with("7.0.") {
            row.unreported.clone_from(&our.unreported);
            assert_eq!(&row, our);
        } else {
            assert_eq!((row.arity, &row.keys), (our.arity, &our.keys), "{}", row.name);
        }
    }
}

#[test]
fn redis_finds_the_same_keys() {
    let Some(server) = Server::start() else { return };
    for request in KEYED {
        let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let asked = [&[&b"COMMAND"[..], b"GETKEYS"], &words[..]].concat();
        let reply = server.reply(&asked);
        let Frame::Array(expected) = whole(&reply) else { panic!("{request}: {}", reply.escape_ascii()) };
        let (mut bytes, mut args, mut places) = (Vec::new(), Vec::new(), Vec::new());
        encode::command(&mut bytes, &words);
        shoal_resp::parse_request(&bytes, &RequestLimits::default(), &mut args).unwrap();
        let found = command::lookup(words[0]).unwrap();
        let found = words.get(1).and_then(|sub| command::lookup_sub(found, sub)).unwrap_or(found);
        found.keys(&bytes, &args, &mut places).unwrap();
        // Redis puts destinations where it likes.
        let mut keys: Vec<&[u8]> = places.iter().map(|at| words[*at]).collect();
        let mut expected: Vec<&[u8]> = expected.iter().filter_map(Frame::as_text).collect();
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected, "{request}");
    }
}

fn spelled(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| if *byte == b'~' { vec![b'1'; 70_000] } else { vec![*byte] }).collect()
}

fn whole(reply: &[u8]) -> Frame<'_> {
    parse_frame(reply).unwrap().unwrap().0
}

/// A server of our own, on a socket in a folder of its own.
struct Server {
    process: Child,
    folder: PathBuf,
}

impl Server {
    /// None, and a line that says why, if there is no `redis-server`.
    fn start() -> Option<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("shoal-resp-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let spawned = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "socket", "--dir"])
            .arg(&folder)
            .stdout(Stdio::piped())
            .spawn();
        let mut process = match spawned {
            Ok(process) => process,
            Err(error) => {
                println!("skipped: redis-server can't be started: {error}");
                std::fs::remove_dir_all(&folder).unwrap();
                return None;
            }
        };
        let log = BufReader::new(process.stdout.take().unwrap());
        let mut lines = log.lines();
        let ready = lines.by_ref().any(|line| line.unwrap().contains("eady to accept connections"));
        let server = Self { process, folder };
        assert!(ready, "redis-server ended before it was ready");
        // Whoever reads nothing of its log blocks the server in the end.
        std::thread::spawn(move || lines.count());
        Some(server)
    }

    /// Sends `bytes`, and takes what comes until the server closes the connection.
    fn ask(&self, bytes: &[u8]) -> Vec<u8> {
        let mut socket = UnixStream::connect(self.folder.join("socket")).unwrap();
        // It may refuse, and close, before it has read all.
        let _ = socket.write_all(bytes);
        let (mut reply, mut piece) = (Vec::new(), [0; 65536]);
        while let Ok(len @ 1..) = socket.read(&mut piece) {
            reply.extend_from_slice(&piece[..len]);
        }
        reply
    }

    fn reply(&self, request: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, request);
        encode::command(&mut bytes, &[b"QUIT"]);
        self.ask(&bytes)
    }

    fn version(&self) -> String {
        let info = self.reply(&[b"INFO", b"server"]);
        let info = String::from_utf8_lossy(whole(&info).as_text().unwrap()).into_owned();
        info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
