//! What must hold for any bytes: one function a fuzz target, which panics where it doesn't.
//!
//! Two use this file: the fuzz targets (nightly, `make fuzz`), and `crates/e2e/tests/repository/corpus.rs`, which
//! includes it and replays the corpora on stable in every `make test`. So it stands on nothing but the crates it tries.

use std::path::Path;

use shoal_proxy::access::{Rules, USERS_MAX};
use shoal_proxy::config::from_proxy_yml;
use shoal_proxy::hand_over::giver::Wants;
use shoal_proxy::hand_over::{Decoder, Fault, Giver, Message, Taker};
use shoal_proxy::scan::{Cursors, Leg};
use shoal_proxy::slow_log;
use shoal_resp::command::{self, Command, Keys};
use shoal_resp::{Delimiter, Fed, Parsed, Progress, RequestLimits, Span};
use shoal_telemetry::http::{Query, parse_head};
use shoal_topology::{Distribution, Endpoint, Mode, Pool, Router, Shard, ShardState, Topology, nutcracker};

pub use session::session;
pub use tls::tls;

mod session;
mod tls;

/// What each fuzz target calls.
pub type Entry = fn(&[u8]);

/// The targets by name, but for [`canary`].
pub const ENTRIES: [(&str, Entry); 14] = [
    ("request", request),
    ("command", command),
    ("delimiter", delimiter),
    ("frame", frame),
    ("inline", inline),
    ("nutcracker_yml", nutcracker_yml),
    ("proxy_yml", proxy_yml),
    ("topology_json", topology_json),
    ("http", http),
    ("session", session),
    ("hand_over", hand_over),
    ("cursor", cursor),
    ("acl_rules", acl_rules),
    ("tls", tls),
];

/// A client's stream gives the same requests however it is cut, and a request's arguments, written again, are the
/// same request. The first byte says how it is cut.
pub fn request(bytes: &[u8]) {
    let Some((seed, stream)) = bytes.split_first() else { return };
    assert_eq!(
        requests(stream, stream.len()),
        requests(stream, piece(*seed)),
        "cut otherwise, read otherwise"
    );
}

/// A command is found by its name, and a request's keys are among its arguments, whatever the command.
pub fn command(bytes: &[u8]) {
    let limits = RequestLimits::default();
    let mut args = Vec::new();
    let mut array = Vec::new();
    let parsed = shoal_resp::parse_request(bytes, &limits, &mut args);
    let Ok(Parsed::Request { len, inline }) = parsed else { return };
    let mut request = bytes;
    if inline {
        if shoal_resp::inline_to_multibulk(&bytes[..len], &mut array).is_err() || array.is_empty() {
            return;
        }
        shoal_resp::parse_request(&array, &limits, &mut args).expect("what was rewritten is well formed");
        request = &array;
    }
    let name = args[0].of(request);
    if let Some(found) = command::lookup(name) {
        assert!(found.name.as_bytes().eq_ignore_ascii_case(name), "{name:?} found {found:?}");
        if let Some(sub) = args.get(1).map(|span| span.of(request))
            && let Some(found) = command::lookup_sub(found, sub)
        {
            assert!(found.sub_name().as_bytes().eq_ignore_ascii_case(sub), "{sub:?} found {found:?}");
        }
    }
    assert_named(request, &args);
    // Names are hard to come by for a fuzzer: the request is held against the rules of all commands.
    for container in command::all() {
        for command in [container].into_iter().chain(container.subs) {
            assert_keys_are_arguments(command, request, &args);
        }
    }
}

/// The slow log names a request by words of its own, however its bytes are cut, and keeps no more of them than it says.
fn assert_named(request: &[u8], args: &[Span]) {
    for cut in [request.len(), request.len() / 2, request.len() * 7 / 8] {
        let Some(named) = slow_log::name(&request[..cut]) else { continue };
        assert!(named.command.is_ascii());
        if let Some(key) = named.key {
            let is_word = |word: &[u8]| word.len() == named.key_bytes && slow_log::shown(word) == key;
            assert!(args.iter().any(|span| is_word(span.of(request))), "{key} is no word of it");
            assert!(key.len() <= 4 * slow_log::KEY_MAX);
        }
    }
}

/// A user's rules are read or refused, never both: a refusal repeats nothing that may be a password, and what was read says
/// the same when its commands are written down and read again. The rest of the input, behind a NUL, is a name that the
/// patterns are held against.
pub fn acl_rules(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    let name = parts.next().unwrap_or_default();
    match Rules::parse(text) {
        Err(why) => {
            let is_secret = |word: &&str| word.starts_with(['>', '<', '#', '!']);
            let (secrets, open): (Vec<&str>, Vec<&str>) = text.split_ascii_whitespace().partition(is_secret);
            for secret in secrets.into_iter().filter(|word| word.len() > 8).map(|word| &word[1..]) {
                // Unless what is no secret has it too.
                let is_open = open.iter().any(|word| word.contains(secret));
                assert!(is_open || !why.contains(secret), "{why} repeats {secret}");
            }
        }
        Ok(rules) => {
            let again = Rules::parse(&rules.commands_written()).expect("what was written is a rule");
            let scripts = rules.commands.runs_scripts() && !again.commands.runs_scripts();
            assert!(
                scripts || rules.commands == again.commands,
                "{text} is not {}",
                rules.commands_written()
            );
            assert!(!rules.keys.are_all() || rules.keys.allow(name) && rules.keys.allow_pattern(name));
            let allowed = rules.keys.allow(name);
            let patterns = rules.keys.written('~');
            assert!(!allowed || !patterns.is_empty(), "a key is allowed by no pattern");
        }
    }
}

/// A server's stream has the same frames however it is cut. The first byte says how it is cut.
pub fn delimiter(bytes: &[u8]) {
    let Some((seed, stream)) = bytes.split_first() else { return };
    let whole = frames(stream, stream.len());
    assert_eq!(whole, frames(stream, piece(*seed)), "cut otherwise, read otherwise");
    if let Ok(frames) = whole {
        assert!(frames.iter().all(|(end, _)| *end <= stream.len()));
    }
}

/// A frame that can be looked into ends where the delimiter says that it does, and before its end it isn't whole. The
/// two wait for more at the same bytes, and the parser refuses whatever the delimiter refuses.
pub fn frame(bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let delimited = Delimiter::new().feed(bytes);
    match shoal_resp::parse_frame(bytes) {
        Ok(Some((_, parsed))) => {
            assert!(
                matches!(delimited, Ok(Fed::Frame { len, .. }) if len == parsed),
                "parsed, and {delimited:?}"
            );
            let cut = shoal_resp::parse_frame(&bytes[..parsed - 1]);
            assert!(matches!(cut, Ok(None)), "whole before its end");
        }
        Ok(None) => assert_eq!(delimited, Ok(Fed::Partial), "not whole"),
        // The delimiter checks the shape alone: it may pass what makes no sense.
        Err(_) => {}
    }
}

/// An inline request, rewritten, is one request in the form of an array.
pub fn inline(bytes: &[u8]) {
    let mut array = Vec::new();
    if shoal_resp::inline_to_multibulk(bytes, &mut array).is_err() {
        assert!(array.is_empty(), "refused, and yet something was written");
        return;
    }
    let mut arguments = Vec::new();
    let parsed = shoal_resp::parse_request(&array, &RequestLimits::default(), &mut arguments);
    match parsed.expect("what was rewritten is well formed") {
        Parsed::Request { len, inline } => assert!(len == array.len() && !inline && !arguments.is_empty()),
        Parsed::Partial { .. } => assert!(array.is_empty(), "rewritten to half a request"),
        Parsed::Nothing { .. } => panic!("rewritten to a request for nothing"),
    }
}

/// A cursor of SCAN is refused or names a shard that there is; what a shard gave is found again under the cursor that was
/// made of it, which is one that clients can carry. The first byte is the number of shards, the next eight what a shard gave.
pub fn cursor(bytes: &[u8]) {
    let Some((&shards, rest)) = bytes.split_first() else { return };
    let Some((inner, text)) = rest.split_at_checked(8) else { return };
    let inner = u64::from_le_bytes(inner.try_into().expect("eight bytes"));
    let pool = scanned(usize::from(shards.max(1)));
    let cursors = Cursors::of(&pool);
    if let Ok((shard, _)) = cursors.read(text) {
        assert!(usize::from(shard) < pool.shards.len(), "a shard that is not there");
    }
    for shard in 0..pool.shards.len() as u16 {
        let Ok(cursor) = (Leg { cursors, shard }).next(inner) else { continue };
        assert!(cursor < 1 << 63, "clients would read it as negative");
        let next = match inner {
            0 if usize::from(shard) + 1 == pool.shards.len() => (0, 0),
            0 => (shard + 1, 0),
            _ => (shard, inner),
        };
        assert_eq!(cursor == 0, next == (0, 0), "the end, and nothing but the end");
        assert_eq!(cursors.read(cursor.to_string().as_bytes()), Ok(next));
    }
}

fn scanned(shards: usize) -> Pool {
    let shard = |index: usize| Shard {
        name: format!("s{index}"),
        weight: 1,
        primary: Endpoint::Unix { path: format!("/s{index}") },
        replicas: Vec::new(),
        state: ShardState::Up,
    };
    Pool {
        name: "scanned".to_owned(),
        mode: Mode::Storage,
        hash: Default::default(),
        char_sign: Default::default(),
        distribution: Distribution::Modula,
        hash_tag: None,
        shards: (0..shards).map(shard).collect(),
        credentials: None,
    }
}

/// A `nutcracker.yml` is read or refused with a reason; what is read makes a topology that is valid.
pub fn nutcracker_yml(bytes: &[u8]) {
    match nutcracker::Config::from_bytes(bytes) {
        Ok(config) => {
            let _ = config.warnings();
            assert_eq!(config.to_topology(1).validate().map_err(|error| error.to_string()), Ok(()));
        }
        Err(error) => assert!(!error.to_string().is_empty(), "refused without a reason"),
    }
}

/// A `proxy.yml` is read or refused with a reason; what is read can be served.
///
/// A file of passwords or users would be read, and the text says which: text that may name one isn't tried. YAML can spell a
/// key by escapes and, with a tag, in base64 too.
pub fn proxy_yml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if ["password_file", "users_file"].iter().any(|key| text.contains(key)) || text.contains(['\\', '!']) {
        return;
    }
    match from_proxy_yml(Path::new("proxy.yml"), text, 2) {
        Ok(config) => {
            assert!((1..=512).contains(&config.settings.workers) && !config.settings.pools.is_empty());
            for settings in config.settings.pools {
                assert!(settings.access.users().len() <= USERS_MAX + 1);
                let shown = format!("{:?} {:?}", settings.access, settings.server_auth);
                let secrets = settings.server_auth.iter().flat_map(|auth| &auth.passwords);
                for secret in secrets.filter(|secret| secret.reveal().len() > 32) {
                    assert!(!shown.contains(secret.reveal()), "a password is shown");
                }
                let all = vec![true; settings.pool.shards.len()];
                assert!(Router::new(&settings.pool, &all).is_ok(), "read, and cannot be routed");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty(), "refused without a reason"),
    }
}

/// A topology that can be read is written so that it is read as the same again.
pub fn topology_json(bytes: &[u8]) {
    if let Ok(topology) = Topology::from_json(bytes) {
        let again = Topology::from_json(topology.to_json().as_bytes()).expect("what was written can be read");
        assert_eq!(topology, again);
    }
}

/// What a head, or a refusal, is of the first bytes, it is of all: bytes that come later change nothing.
pub fn http(bytes: &[u8]) {
    const HEAD_MAX: usize = 2048;
    const BODY_MAX: usize = 1024;
    let whole = parse_head(bytes, HEAD_MAX, BODY_MAX);
    if let Ok(Some(head)) = &whole {
        assert!(head.request.path.starts_with('/') && head.request.body.is_empty());
        assert!(head.body_at <= bytes.len().min(HEAD_MAX) && head.body_bytes <= BODY_MAX);
        // Each parameter can be taken once, and then nothing is left.
        if let Ok(mut query) = Query::parse(&head.request.query) {
            while let Err(unknown) = query.clone().finish(&[]) {
                let name = unknown.trim_start_matches("there is no parameter ");
                let name = name.strip_suffix(" here, and no other").expect("the name of a parameter");
                assert!(query.text(name).is_some() && query.text(name).is_none(), "{name:?}");
            }
        }
    }
    for cut in (0..bytes.len()).step_by(1 + bytes.len() / 16) {
        let early = parse_head(&bytes[..cut], HEAD_MAX, BODY_MAX);
        assert!(early == Ok(None) || early == whole, "{early:?} became {whole:?}");
    }
}

/// What one process says to the other in a hand-over is the same however it is cut, and what can be read is written as it came.
/// Neither side falls over anything. The first byte says how it is cut.
pub fn hand_over(bytes: &[u8]) {
    let Some((seed, stream)) = bytes.split_first() else { return };
    let whole = hand_over_messages(stream, stream.len());
    assert_eq!(whole, hand_over_messages(stream, piece(*seed)), "cut otherwise, read otherwise");
    let written: Vec<u8> = whole.0.iter().flat_map(Message::encode).collect();
    let told_apart = |place: usize| matches!(stream.get(place), Some(byte) if *byte != written[place]);
    let is_refusal = whole.0.iter().any(|message| matches!(message, Message::Refused(_)));
    // Of a refusal any version is read, and this one written.
    assert!(is_refusal || !(0..written.len()).any(told_apart), "written otherwise than read");
    let (mut giver, mut taker) = (Giver::default(), Taker::default());
    for piece in stream.chunks(piece(*seed)) {
        giver.handle_bytes(piece);
        if let Ok(Some(Wants::Sockets(who))) = giver.poll() {
            assert!(!giver.offer(who, Vec::new()).is_empty());
        }
        taker.handle_bytes(piece);
        if taker.poll(0).is_err() {
            return;
        }
    }
}

/// Fails on purpose, a few seconds into fuzzing: `make fuzz-canary` shows by it that a target that breaks is noticed.
pub fn canary(bytes: &[u8]) {
    assert!(!bytes.starts_with(b"gas"), "the canary is dead");
}

/// The size of the pieces into which a stream is cut, at least one byte.
fn piece(seed: u8) -> usize {
    1 + usize::from(seed)
}

/// The messages of a hand-over up to the first that is wrong, and what is wrong with it.
fn hand_over_messages(stream: &[u8], piece: usize) -> (Vec<Message>, Option<Fault>) {
    let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
    for piece in stream.chunks(piece.max(1)) {
        decoder.handle_bytes(piece);
        loop {
            match decoder.poll() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(fault) => return (messages, Some(fault)),
            }
        }
    }
    (messages, None)
}

/// A request: how many bytes it takes, and its arguments.
type Request = (usize, Vec<Vec<u8>>);

/// The requests of a stream that comes in pieces, or what is wrong with it.
fn requests(stream: &[u8], piece: usize) -> Result<Vec<Request>, String> {
    let limits = RequestLimits::default();
    let mut found = Vec::new();
    let mut arguments = Vec::new();
    let mut progress = Progress::default();
    let (mut start, mut arrived) = (0, 0);
    while arrived < stream.len() {
        arrived = stream.len().min(arrived + piece);
        while start < arrived {
            let bytes = &stream[start..arrived];
            let parsed = shoal_resp::resume_request(bytes, &limits, &mut progress, &mut arguments)
                .map_err(|error| error.to_string())?;
            match parsed {
                Parsed::Partial { .. } => break,
                Parsed::Nothing { len } => start += len,
                Parsed::Request { len, inline: true } => {
                    found.push((len, vec![bytes[..len].to_vec()]));
                    start += len;
                }
                Parsed::Request { len, inline: false } => {
                    let words: Vec<&[u8]> = arguments.iter().map(|span| span.of(bytes)).collect();
                    assert_same_request(&words);
                    found.push((len, words.iter().map(|word| word.to_vec()).collect()));
                    start += len;
                }
            }
        }
    }
    Ok(found)
}

fn assert_keys_are_arguments(command: &Command, request: &[u8], args: &[Span]) {
    let mut keys = Vec::new();
    match command.keys(request, args, &mut keys) {
        Ok(()) => {
            assert!(keys.iter().all(|key| (1..args.len()).contains(key)), "{command:?}: {keys:?}");
            assert!(keys.is_sorted_by(|one, next| one < next), "{command:?}: {keys:?}");
        }
        // Where no word decides, the right number of arguments is enough.
        Err(error) => {
            let by_place = matches!(command.keys, Keys::Range { .. } | Keys::ShardChannels { .. });
            assert!(!(by_place && command.accepts(args.len())), "{command:?}: {error}");
        }
    }
}

fn assert_same_request(words: &[&[u8]]) {
    let mut written = Vec::new();
    shoal_resp::encode::command(&mut written, words);
    let mut spans = Vec::new();
    let parsed = shoal_resp::parse_request(&written, &RequestLimits::default(), &mut spans);
    assert_eq!(parsed, Ok(Parsed::Request { len: written.len(), inline: false }));
    assert!(
        spans.iter().map(|span| span.of(&written)).eq(words.iter().copied()),
        "written otherwise than read"
    );
}

/// Where the frames of a stream end, and their types, or that it is wrong.
fn frames(stream: &[u8], piece: usize) -> Result<Vec<(usize, u8)>, String> {
    let mut found = Vec::new();
    let mut delimiter = Delimiter::new();
    let mut at = 0;
    for part in stream.chunks(piece.max(1)) {
        let mut rest = part;
        while !rest.is_empty() {
            match delimiter.feed(rest).map_err(|error| error.to_string())? {
                Fed::Frame { len, kind } => {
                    at += len;
                    found.push((at, kind));
                    rest = &rest[len..];
                }
                Fed::Partial => {
                    at += rest.len();
                    rest = &[];
                }
            }
        }
    }
    Ok(found)
}
