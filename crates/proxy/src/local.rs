//! Commands that the proxy answers itself: greetings, and what clients ask about the server on connecting.
//!
//! They are answered in their place in the pipeline, after all replies before them. What a client may lean on (a version
//! of RESP, `loading:0`) is true of the proxy; what it asks of the server it hears from the server.

use shoal_resp::encode;
use shoal_resp::request::Span;

use crate::access::{DEFAULT_USER, Over, WrongPassword};
use crate::buffer::BufferPool;
use crate::session::{Phase, Protocol, Session};
use crate::settings::{Dialect, PoolSettings};
use crate::tracking;

mod acl;
mod connection;

/// The version of Redis whose commands the proxy knows and whose texts it gives.
pub const REDIS_VERSION: &str = "7.0.15";

/// A command that is answered by the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // they are the commands' names
pub enum Local {
    Acl,
    Auth,
    Client,
    Cluster,
    Config,
    Echo,
    Hello,
    Info,
    Ping,
    Quit,
    Reset,
    Role,
    Select,
}

impl Local {
    /// The command `name`, if the proxy answers it.
    pub fn of(name: &str) -> Option<Local> {
        Some(match name {
            "ACL" => Local::Acl,
            "AUTH" => Local::Auth,
            "CLIENT" => Local::Client,
            "CLUSTER" | "ASKING" | "READONLY" | "READWRITE" => Local::Cluster,
            "CONFIG" => Local::Config,
            "ECHO" => Local::Echo,
            "HELLO" => Local::Hello,
            "INFO" => Local::Info,
            "PING" => Local::Ping,
            "QUIT" => Local::Quit,
            "RESET" => Local::Reset,
            "ROLE" => Local::Role,
            "SELECT" => Local::Select,
            _ => return None,
        })
    }

    /// Whether a session may call it before it gave the password. PING may not, as in Redis.
    pub fn before_auth(self) -> bool {
        matches!(self, Local::Auth | Local::Hello | Local::Quit | Local::Reset)
    }

    /// Whether it changes what the session's earlier requests depend on, and so waits until they are answered.
    pub fn is_barrier(self) -> bool {
        matches!(self, Local::Hello | Local::Reset | Local::Auth)
    }
}

/// What the answers tell about the process.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Seconds since the process began.
    pub uptime_seconds: u64,
    /// Sessions of the pool on this worker.
    pub sessions: i64,
}

/// Answers `command`, whose words are `args` in `raw`; their number fits the command's arity.
pub fn answer(
    command: Local,
    session: &mut Session,
    pool: &PoolSettings,
    about: About,
    raw: &[u8],
    args: &[Span],
    buffers: &mut BufferPool,
) {
    let mut out = Vec::with_capacity(128);
    let words: Vec<&[u8]> = args.iter().map(|span| span.of(raw)).collect();
    match command {
        Local::Acl => acl::answer(&mut out, session, pool, &words),
        Local::Auth => auth(&mut out, session, pool, &words),
        Local::Client => client(&mut out, session, pool, &words),
        Local::Cluster => encode::error(&mut out, "ERR This instance has cluster support disabled"),
        Local::Config => config(&mut out, session, &words),
        Local::Echo => encode::bulk(&mut out, words[1]),
        Local::Hello => hello(&mut out, session, pool, &words),
        Local::Info => info(&mut out, session, pool, about, &words[1..]),
        Local::Ping => match words.len() {
            1 => encode::simple(&mut out, "PONG"),
            2 => encode::bulk(&mut out, words[1]),
            _ => encode::error(&mut out, "ERR wrong number of arguments for 'ping' command"),
        },
        Local::Quit => {
            encode::simple(&mut out, "OK");
            session.phase = Phase::Draining;
        }
        Local::Reset => {
            session.protocol = Protocol::Resp2;
            session.name.clear();
            match session.leave_user(&pool.access) {
                Ok(()) => encode::simple(&mut out, "RESET"),
                Err(over) => turn_away(&mut out, session, pool, 0, &over),
            }
        }
        // As INFO has it: a client that looks for a primary has found one.
        Local::Role => {
            encode::array_len(&mut out, 3);
            encode::bulk(&mut out, b"master");
            encode::integer(&mut out, 0);
            encode::array_len(&mut out, 0);
        }
        Local::Select => select(&mut out, pool, words[1]),
    }
    session.answer(buffers, &out);
}

/// What a session that gave no password is told.
pub fn no_auth(dialect: Dialect) -> &'static [u8] {
    match dialect {
        Dialect::Nutcracker => b"-NOAUTH Authentication required\r\n",
        Dialect::Shoal => b"-NOAUTH Authentication required.\r\n",
    }
}

/// What is answered to a command that does not exist or is not supported: Redis's own words.
pub fn unknown_command(raw: &[u8], args: &[Span]) -> String {
    let mut shown = String::new();
    for span in args.iter().skip(1) {
        if shown.len() >= 128 {
            break;
        }
        let word = text(span.of(raw), 128 - shown.len());
        shown.push_str(&format!("'{word}' "));
    }
    let name = args.first().map_or(String::new(), |span| text(span.of(raw), 128));
    format!("ERR unknown command '{name}', with args beginning with: {shown}")
}

/// What is answered to an unknown word after a command that has subcommands: Redis's own words.
pub fn unknown_subcommand(name: &str, sub: &[u8]) -> String {
    format!("ERR unknown subcommand '{}'. Try {name} HELP.", text(sub, 128))
}

fn text(bytes: &[u8], limit: usize) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()).min(limit);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn auth(out: &mut Vec<u8>, session: &mut Session, pool: &PoolSettings, words: &[&[u8]]) {
    let (user, password) = match words {
        [_, password] => (DEFAULT_USER.as_bytes(), *password),
        [_, user, password] => (*user, *password),
        _ => return encode::error(out, "ERR syntax error"),
    };
    match (pool.dialect, pool.access.is_open()) {
        (Dialect::Nutcracker, true) => {
            return encode::error(out, "ERR Client sent AUTH, but no password is set");
        }
        // Where the user is named, Redis takes any password for one that has none.
        (Dialect::Shoal, true) if words.len() == 2 => {
            return encode::error(
                out,
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            );
        }
        _ => {}
    }
    match (pool.access.enter(user, password), pool.dialect) {
        (Ok(user), _) => match session.enter(&pool.access, user) {
            Ok(()) => encode::simple(out, "OK"),
            Err(over) => turn_away(out, session, pool, user, &over),
        },
        (Err(WrongPassword), Dialect::Nutcracker) => {
            session.stats.auth_failed.add(1);
            session.authenticated = false;
            session.guarded = true;
            encode::error(out, "ERR invalid password");
        }
        (Err(WrongPassword), Dialect::Shoal) => {
            session.stats.auth_failed.add(1);
            encode::error(out, WRONG_PASSWORD);
        }
    }
}

/// The user has too many connections: this one is told so and closed.
fn turn_away(out: &mut Vec<u8>, session: &mut Session, pool: &PoolSettings, user: u16, over: &Over) {
    session.stats.over_max_connections.add(1);
    session.phase = Phase::Draining;
    encode::error(out, &over.words(&pool.pool.name, &pool.access.user(user).name));
}

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

fn select(out: &mut Vec<u8>, pool: &PoolSettings, index: &[u8]) {
    let number = std::str::from_utf8(index).ok().filter(|text| !text.starts_with('+'));
    match number.and_then(|text| text.parse::<i64>().ok()) {
        None => encode::error(out, "ERR value is not an integer or out of range"),
        Some(index) if index == i64::from(pool.database) => encode::simple(out, "OK"),
        Some(_) => encode::error(out, "ERR DB index is out of range"),
    }
}

fn hello(out: &mut Vec<u8>, session: &mut Session, pool: &PoolSettings, words: &[&[u8]]) {
    let mut protocol = session.protocol;
    let mut rest = &words[1..];
    if let Some((version, further)) = rest.split_first() {
        rest = further;
        protocol = match std::str::from_utf8(version).ok().and_then(|text| text.parse::<i64>().ok()) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return encode::error(out, "NOPROTO unsupported protocol version"),
            None => return encode::error(out, "ERR Protocol version is not an integer or out of range"),
        };
    }
    let mut entered = None;
    let mut name = None;
    loop {
        match rest {
            [] => break,
            [option, user, password, further @ ..] if option.eq_ignore_ascii_case(b"AUTH") => {
                match pool.access.enter(user, password) {
                    Ok(user) => entered = Some(user),
                    Err(WrongPassword) => {
                        session.stats.auth_failed.add(1);
                        return encode::error(out, WRONG_PASSWORD);
                    }
                }
                rest = further;
            }
            [option, given, further @ ..] if option.eq_ignore_ascii_case(b"SETNAME") => {
                if !is_valid_name(given) {
                    return encode::error(out, INVALID_NAME);
                }
                name = Some(given.to_vec());
                rest = further;
            }
            [option, ..] => {
                return encode::error(
                    out,
                    &format!("ERR Syntax error in HELLO option '{}'", text(option, 128)),
                );
            }
        }
    }
    if entered.is_none() && !session.authenticated {
        return encode::error(
            out,
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> \
             option can be used to authenticate the client and select the RESP protocol version at the same time",
        );
    }
    if let Some(user) = entered
        && let Err(over) = session.enter(&pool.access, user)
    {
        return turn_away(out, session, pool, user, &over);
    }
    session.protocol = protocol;
    session.name = name.unwrap_or_else(|| std::mem::take(&mut session.name));
    pairs_len(out, protocol, 7);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        encode::bulk(out, key.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    encode::bulk(out, b"proto");
    encode::integer(out, if protocol == Protocol::Resp3 { 3 } else { 2 });
    encode::bulk(out, b"id");
    encode::integer(out, session.id as i64);
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        encode::bulk(out, key.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    encode::bulk(out, b"modules");
    encode::array_len(out, 0);
}

fn pairs_len(out: &mut Vec<u8>, protocol: Protocol, pairs: usize) {
    match protocol {
        Protocol::Resp2 => encode::array_len(out, pairs * 2),
        Protocol::Resp3 => encode::map_len(out, pairs),
    }
}

fn null(out: &mut Vec<u8>, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => encode::null_bulk(out),
        Protocol::Resp3 => encode::null(out),
    }
}

const INVALID_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// The longest name that CLIENT SETNAME may give, in bytes; Redis has no bound.
const NAME_MAX: usize = 1024;

fn is_valid_name(name: &[u8]) -> bool {
    name.len() <= NAME_MAX && name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn client(out: &mut Vec<u8>, session: &mut Session, pool: &PoolSettings, words: &[&[u8]]) {
    let sub = words.get(1).copied().unwrap_or_default();
    let is = |name: &str| sub.eq_ignore_ascii_case(name.as_bytes());
    match words.len() {
        2 if is("ID") => encode::integer(out, session.id as i64),
        2 if is("GETNAME") && session.name.is_empty() => null(out, session.protocol),
        2 if is("GETNAME") => encode::bulk(out, &session.name),
        2 if is("INFO") => verbatim(out, session.protocol, &describe(session, pool)),
        2 if is("GETREDIR") => {
            let tracks = session.mode.as_ref().is_some_and(|mode| mode.tracking.is_some());
            encode::integer(out, if tracks { 0 } else { -1 });
        }
        3 if is("SETNAME") && !is_valid_name(words[2]) => encode::error(out, INVALID_NAME),
        3 if is("SETNAME") => {
            session.name = words[2].to_vec();
            encode::simple(out, "OK");
        }
        4 if is("SETINFO") => {
            let is_name = words[2].eq_ignore_ascii_case(b"LIB-NAME");
            if !is_name && !words[2].eq_ignore_ascii_case(b"LIB-VER") {
                encode::error(out, &format!("ERR Unrecognized option '{}'", text(words[2], 128)));
            } else if !is_valid_name(words[3]) {
                let attribute = text(words[2], 128).to_ascii_lowercase();
                encode::error(
                    out,
                    &format!("ERR {attribute} cannot contain spaces, newlines or special characters."),
                );
            } else {
                let library = session.library.get_or_insert_default();
                let place = if is_name { &mut library.name } else { &mut library.version };
                *place = words[3].to_vec();
                encode::simple(out, "OK");
            }
        }
        3 if is("NO-EVICT") || is("NO-TOUCH") => {
            match [&b"on"[..], b"off"].iter().any(|word| words[2].eq_ignore_ascii_case(word)) {
                true => encode::simple(out, "OK"),
                false => encode::error(out, "ERR syntax error"),
            }
        }
        3 if is("CACHING") => {
            let mode = session.mode.as_deref_mut();
            tracking::caching(&mut *out, mode.and_then(|mode| mode.tracking.as_deref_mut()), words[2]);
        }
        3 if is("REPLY") => connection::reply(out, session, words[2]),
        2 if is("LIST") => verbatim(out, session.protocol, &describe(session, pool)),
        _ => {
            let described = describe(session, pool);
            connection::client(out, session, pool.dialect, &described, sub, words);
        }
    }
}

fn describe(session: &Session, pool: &PoolSettings) -> String {
    let resp = if session.protocol == Protocol::Resp3 { 3 } else { 2 };
    let name = String::from_utf8_lossy(&session.name);
    // RESET does not change them: the library is the same.
    let library = session.library.as_deref();
    let [library, version] = [library.map(|it| &it.name), library.map(|it| &it.version)]
        .map(|said| String::from_utf8_lossy(said.map(Vec::as_slice).unwrap_or_default()));
    format!(
        "id={} addr={} laddr={} name={name} db={} resp={resp} user={} lib-name={library} lib-ver={version}\n",
        session.id,
        session.peer,
        pool.listen,
        pool.database,
        pool.access.user(session.user()).name
    )
}

/// Settings that clients and `redis-benchmark` ask for on connecting, with what is true of a pool as a whole.
const PARAMETERS: &[(&str, &str)] = &[("appendonly", "no"), ("databases", "16"), ("save", "")];

fn config(out: &mut Vec<u8>, session: &Session, words: &[&[u8]]) {
    if !words[1].eq_ignore_ascii_case(b"GET") {
        return connection::config(out, words[1]);
    }
    if words.len() < 3 {
        return encode::error(out, "ERR wrong number of arguments for 'config|get' command");
    }
    let asked = |name: &str| {
        words[2..].iter().any(|word| *word == b"*" || word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let answers: Vec<_> = PARAMETERS.iter().filter(|(name, _)| asked(name)).collect();
    pairs_len(out, session.protocol, answers.len());
    for (name, value) in answers {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
}

/// What INFO tells: enough that a client's ready check passes, and that a person sees to whom they are talking. `asked` are
/// the sections that are wanted; all if there are none.
fn info(out: &mut Vec<u8>, session: &Session, pool: &PoolSettings, about: About, asked: &[&[u8]]) {
    let resp = if session.protocol == Protocol::Resp3 { 3 } else { 2 };
    let (uptime, sessions) = (about.uptime_seconds, about.sessions);
    let (name, shards) = (&pool.pool.name, pool.pool.shards.len());
    let version = env!("CARGO_PKG_VERSION");
    let server = format!(
        "redis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nshoal_version:{version}\r\nuptime_in_seconds:{uptime}\r\n"
    );
    let sections = [
        ("Server", server),
        ("Clients", format!("connected_clients:{sessions}\r\n")),
        ("Persistence", "loading:0\r\n".to_owned()),
        ("Replication", "role:master\r\n".to_owned()),
        ("Cluster", "cluster_enabled:0\r\n".to_owned()),
        ("Shoal", format!("pool:{name}\r\nshards:{shards}\r\nresp:{resp}\r\n")),
    ];
    let wanted = |section: &str| {
        let every = [section, "all", "default", "everything"];
        let names = |word: &&[u8]| every.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
        asked.is_empty() || asked.iter().any(names)
    };
    let shown = sections.iter().filter(|(section, _)| wanted(section));
    let shown: Vec<String> = shown.map(|(section, lines)| format!("# {section}\r\n{lines}")).collect();
    let text = shown.join("\r\n");
    verbatim(out, session.protocol, &text);
}

/// A text for people, as Redis gives INFO and CLIENT LIST.
fn verbatim(out: &mut Vec<u8>, protocol: Protocol, text: &str) {
    match protocol {
        Protocol::Resp2 => encode::bulk(out, text.as_bytes()),
        Protocol::Resp3 => {
            out.extend_from_slice(format!("={}\r\ntxt:{text}\r\n", text.len() + 4).as_bytes());
        }
    }
}
