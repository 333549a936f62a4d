//! ACL: who the client is, what categories there are, and who else may enter.
//!
//! Users stand in the proxy's configuration, so what would change or show them is refused by name. What they may do is told
//! by the admin port, without their passwords.

use shoal_resp::command::{self, Categories, Command, lookup_sub};
use shoal_resp::encode;

use super::unknown_subcommand;
use crate::session::Session;
use crate::settings::PoolSettings;

/// Answers `words`, of which the first is ACL.
pub(super) fn answer(out: &mut Vec<u8>, session: &Session, pool: &PoolSettings, words: &[&[u8]]) {
    let sub = words.get(1).copied().unwrap_or_default();
    let known = command::lookup(b"ACL").and_then(|acl| lookup_sub(acl, sub));
    let Some(known) = known else { return encode::error(out, &unknown_subcommand("ACL", sub)) };
    if !known.accepts(words.len()) {
        let name = known.name.to_ascii_lowercase();
        return encode::error(out, &format!("ERR wrong number of arguments for '{name}' command"));
    }
    match (known.sub_name(), &words[2..]) {
        ("WHOAMI", _) => encode::bulk(out, pool.access.user(session.user()).name.as_bytes()),
        ("USERS", _) => {
            let mut names: Vec<&str> = pool.access.users().iter().map(|user| &*user.name).collect();
            names.sort_unstable();
            strings(out, &names);
        }
        ("CAT", []) => strings(out, &Categories::NAMES.iter().map(|(_, name)| *name).collect::<Vec<_>>()),
        ("CAT", [category]) => match category_named(category) {
            Some(category) => strings(out, &members(category)),
            None => {
                let shown = super::text(category, 128);
                encode::error(out, &format!("ERR Unknown category '{shown}'"));
            }
        },
        ("CAT", _) => {
            encode::error(
                out,
                "ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP.",
            );
        }
        _ => {
            let (name, pool) = (known.name.to_ascii_lowercase(), &pool.pool.name);
            encode::error(
                out,
                &format!(
                    "ERR '{name}' is not for clients of the proxy: users of pool {pool} are in the proxy's configuration, which is \
                     read again by a reload, and shown by its admin port"
                ),
            );
        }
    }
}

fn category_named(name: &[u8]) -> Option<Categories> {
    Categories::named(&std::str::from_utf8(name).ok()?.to_ascii_lowercase())
}

/// The commands and subcommands of a category, in lower case.
fn members(category: Categories) -> Vec<String> {
    let with_subs = |command: &'static Command| [command].into_iter().chain(command.subs);
    let members = command::all().iter().flat_map(with_subs).filter(|it| it.categories.contains(category));
    members.map(|command| command.name.to_ascii_lowercase()).collect()
}

fn strings(out: &mut Vec<u8>, all: &[impl AsRef<str>]) {
    encode::array_len(out, all.len());
    all.iter().for_each(|one| encode::bulk(out, one.as_ref().as_bytes()));
}
