//! What of CLIENT concerns replies, lists, tracking, and other people's connections.

use shoal_resp::command::{self, lookup_sub};
use shoal_resp::encode;

use super::{text, unknown_subcommand, verbatim};
use crate::mode::Mute;
use crate::session::Session;
use crate::settings::Dialect;
use crate::tracking;

/// CLIENT REPLY, which only ON answers.
pub fn reply(out: &mut Vec<u8>, session: &mut Session, which: &[u8]) {
    let is = |word: &str| which.eq_ignore_ascii_case(word.as_bytes());
    let mode = session.mode.get_or_insert_default();
    if is("OFF") {
        mode.mute = Some(Mute::All);
    } else if is("SKIP") {
        mode.mute = mode.mute.or(Some(Mute::Next));
    } else if is("ON") {
        mode.mute = None;
        encode::simple(out, "OK");
    } else {
        encode::error(out, "ERR syntax error");
    }
    if session.mode.as_ref().is_some_and(|mode| mode.is_empty()) {
        session.mode = None;
    }
}

/// The subcommands that few clients send; `described` is the session's own line of a list.
pub fn client(
    out: &mut Vec<u8>,
    session: &Session,
    dialect: Dialect,
    described: &str,
    sub: &[u8],
    words: &[&[u8]],
) {
    let known = command::lookup(b"CLIENT").and_then(|client| lookup_sub(client, sub));
    let Some(known) = known else { return encode::error(out, &unknown_subcommand("CLIENT", sub)) };
    let name = known.name.to_ascii_lowercase();
    if !known.accepts(words.len()) {
        return encode::error(out, &format!("ERR wrong number of arguments for '{name}' command"));
    }
    match known.sub_name() {
        "LIST" => match list_has(session.id, &words[2..]) {
            Ok(listed) => verbatim(out, session.protocol, if listed { described } else { "" }),
            Err(error) => encode::error(out, &error),
        },
        "TRACKINGINFO" => {
            let mode = session.mode.as_deref();
            tracking::info(out, mode.and_then(|mode| mode.tracking.as_deref()), session.protocol);
        }
        "KILL" | "PAUSE" | "UNPAUSE" | "UNBLOCK" if dialect == Dialect::Shoal => encode::error(
            out,
            &format!(
                "ERR '{name}' acts on other clients: an operator lists and ends them by the proxy's admin port (shoal proxy \
                 sessions, shoal proxy kill)"
            ),
        ),
        "HELP" => help(out),
        _ => encode::error(out, &unknown_subcommand("CLIENT", sub)),
    }
}

/// Whether CLIENT LIST with these words lists the session `own`. Of other clients it tells nothing.
fn list_has(own: u64, words: &[&[u8]]) -> Result<bool, String> {
    let syntax = || "ERR syntax error".to_owned();
    let (option, values) = words.split_first().ok_or_else(syntax)?;
    if option.eq_ignore_ascii_case(b"TYPE") {
        let [kind] = values else { return Err(syntax()) };
        let kinds = ["normal", "master", "replica", "slave", "pubsub"];
        return match kinds.iter().position(|known| kind.eq_ignore_ascii_case(known.as_bytes())) {
            Some(at) => Ok(at == 0),
            None => Err(format!("ERR Unknown client type '{}'", text(kind, 128))),
        };
    }
    if !option.eq_ignore_ascii_case(b"ID") || values.is_empty() {
        return Err(syntax());
    }
    let ids = values.iter().map(|id| std::str::from_utf8(id).ok().and_then(|id| id.parse::<u64>().ok()));
    let ids: Vec<u64> = ids.collect::<Option<_>>().ok_or("ERR Invalid client ID")?;
    Ok(ids.contains(&own))
}

fn help(out: &mut Vec<u8>) {
    let lines = [
        "CLIENT <subcommand> [<arg> [value] [opt] ...], as the proxy answers it:",
        "GETNAME, SETNAME <name>, SETINFO <attribute> <value>, ID, INFO",
        "LIST [ID <id> ...|TYPE <type>]",
        "    This connection alone; an operator lists all by `shoal proxy sessions`.",
        "REPLY (ON|OFF|SKIP)",
        "NO-EVICT (ON|OFF), NO-TOUCH (ON|OFF)",
        "    Accepted, without effect: the servers see the proxy.",
        "TRACKING (ON|OFF) [BCAST] [PREFIX <prefix> ...] [OPTIN|OPTOUT] [NOLOOP]",
        "    In RESP3; without REDIRECT.",
        "CACHING (YES|NO), GETREDIR, TRACKINGINFO",
    ];
    encode::array_len(out, lines.len());
    for line in lines {
        encode::simple(out, line);
    }
}

/// CONFIG, but for GET.
pub fn config(out: &mut Vec<u8>, sub: &[u8]) {
    let known = command::lookup(b"CONFIG").and_then(|config| lookup_sub(config, sub));
    match known.map(|known| known.name.to_ascii_lowercase()) {
        Some(name) if name == "config|help" => {
            encode::array_len(out, 2);
            encode::simple(out, "CONFIG GET <pattern> [<pattern> ...], as the proxy answers it:");
            encode::simple(out, "    What is true of the pool as a whole. All else concerns one server.");
        }
        Some(name) => encode::error(
            out,
            &format!("ERR '{name}' concerns one server: ask the servers of the pool themselves"),
        ),
        None => encode::error(out, &unknown_subcommand("CONFIG", sub)),
    }
}
