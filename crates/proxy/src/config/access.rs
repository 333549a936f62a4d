//! Who may enter, as written in `proxy.yml`, and the files that it names: passwords, and users in the form of Redis's
//! `users.acl`.
//!
//! No error here repeats a password, or a word that may be one.

use std::path::Path;

use serde::Deserialize;

use crate::access::{Access, DEFAULT_USER, Limits, PASSWORDS_MAX, PasswordHash, Rules, USERS_MAX, User};
use crate::io::secret_file;
use crate::server_auth::ServerAuth;
use crate::settings::Secret;

/// Bytes that a user's name may have.
const NAME_MAX: usize = 256;

/// What a pool, or a user of it, may be asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsEntry {
    max_connections: Option<u64>,
    requests_per_second: Option<u64>,
    bytes_per_second: Option<u64>,
}

/// A user.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserEntry {
    name: String,
    /// May hold passwords, if only their hashes: not shown.
    rules: Secret,
    password_file: Option<String>,
    #[serde(default)]
    limits: LimitsEntry,
}

/// As whom the proxy enters the servers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerAuthEntry {
    user: Option<String>,
    password: Option<Secret>,
    password_file: Option<String>,
}

/// All of it that a pool has.
#[derive(Debug)]
pub(super) struct AccessEntry {
    pub(super) password: Option<Secret>,
    pub(super) password_file: Option<String>,
    pub(super) server_auth: Option<ServerAuthEntry>,
    pub(super) users: Vec<UserEntry>,
    pub(super) users_file: Option<String>,
    pub(super) limits: LimitsEntry,
}

impl AccessEntry {
    /// Who may enter, and as whom the proxy enters the servers. `folder` is where files are relative to.
    pub(super) fn mean(self, folder: &Path) -> Result<(Access, Option<ServerAuth>), String> {
        let passwords = passwords(self.password, self.password_file.as_deref(), folder)?;
        let hashes: Vec<PasswordHash> =
            passwords.iter().map(|password| PasswordHash::of(password.reveal().as_bytes())).collect();
        let mut users: Vec<User> = Vec::new();
        for entry in self.users {
            let name = entry.name.clone();
            users.push(entry.mean(folder).map_err(|why| format!("users: {}: {why}", shown(&name)))?);
        }
        if let Some(file) = &self.users_file {
            let text = secret_file::read(&folder.join(file)).map_err(|why| format!("users_file: {why}"))?;
            users.extend(read_users(&text).map_err(|why| format!("users_file: {file}: {why}"))?);
        }
        if users.len() > USERS_MAX {
            return Err(format!("users: {} are more than {USERS_MAX}", users.len()));
        }
        for (place, user) in users.iter().enumerate() {
            if users[..place].iter().any(|before| before.name == user.name) {
                return Err(format!("users: {} is there twice", shown(&user.name)));
            }
        }
        let default = match users.iter().position(|user| &*user.name == DEFAULT_USER) {
            Some(place) => with_passwords(users.remove(place), &hashes)?,
            None => {
                // Where users are named, nobody enters without being one of them.
                let mut rules = if users.is_empty() || !hashes.is_empty() {
                    Rules::everything()
                } else {
                    Rules::nothing()
                };
                rules.nopass = hashes.is_empty();
                rules.passwords = hashes;
                User::new(DEFAULT_USER, rules, Limits::default())
            }
        };
        for user in users.iter().chain([&default]) {
            let rules = &user.rules;
            if rules.on && !rules.nopass && rules.passwords.is_empty() {
                return Err(format!(
                    "users: {} is on and has no password: add #<SHA-256 of one>, a password_file, or the rule nopass",
                    shown(&user.name)
                ));
            }
        }
        let server_auth = match self.server_auth {
            Some(entry) => entry.mean(folder).map_err(|why| format!("server_auth: {why}"))?,
            None if passwords.is_empty() => None,
            None => Some(ServerAuth { user: None, passwords }),
        };
        let limits = self.limits.mean()?;
        Ok((Access::of_users(default, users, limits), server_auth))
    }
}

/// The default user with the pool's own passwords as well.
fn with_passwords(user: User, hashes: &[PasswordHash]) -> Result<User, String> {
    if user.rules.nopass && !hashes.is_empty() {
        return Err(
            "users: default has the rule nopass, and the pool has a password: leave one of the two out"
                .to_owned(),
        );
    }
    let mut rules = user.rules.clone();
    hashes.iter().try_for_each(|hash| rules.add_password(*hash))?;
    Ok(User::new(DEFAULT_USER, rules, user.limits))
}

impl UserEntry {
    fn mean(self, folder: &Path) -> Result<User, String> {
        let mut rules = Rules::parse(self.rules.reveal()).map_err(|why| format!("rules: {why}"))?;
        if let Some(file) = &self.password_file {
            for line in read_lines(file, folder)? {
                let hash = line.strip_prefix('#').and_then(PasswordHash::from_hex);
                rules.add_password(hash.unwrap_or_else(|| PasswordHash::of(line.as_bytes())))?;
            }
        }
        Ok(User::new(name(&self.name)?, rules, self.limits.mean()?))
    }
}

/// Users as Redis's `users.acl` has them: `user <name> <rule> <rule> …` in a line each.
fn read_users(text: &str) -> Result<Vec<User>, String> {
    let mut users = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.splitn(3, |character: char| character.is_ascii_whitespace());
        let (Some("user"), Some(named)) = (words.next(), words.next()) else {
            return Err(format!("line {number}: write user, a name, and rules"));
        };
        let of_line = |why| format!("line {number}: {why}");
        let rules = Rules::parse(words.next().unwrap_or_default()).map_err(of_line)?;
        users.push(User::new(name(named).map_err(of_line)?, rules, Limits::default()));
    }
    match users.is_empty() {
        true => Err("it names nobody: leave the key out if nobody is to be named".to_owned()),
        false => Ok(users),
    }
}

impl ServerAuthEntry {
    /// Whether a password stands in the configuration itself.
    pub(super) fn is_inline(&self) -> bool {
        self.password.is_some()
    }

    fn mean(self, folder: &Path) -> Result<Option<ServerAuth>, String> {
        let user = self.user.as_deref().map(name).transpose()?.map(str::to_owned);
        let passwords = passwords(self.password, self.password_file.as_deref(), folder)?;
        match (user, passwords.is_empty()) {
            (Some(_), true) => Err("user: it has no password: add password_file".to_owned()),
            (None, true) => Ok(None),
            (user, false) => Ok(Some(ServerAuth { user, passwords })),
        }
    }
}

impl LimitsEntry {
    fn mean(self) -> Result<Limits, String> {
        let LimitsEntry { max_connections, requests_per_second, bytes_per_second } = self;
        for (key, value) in [
            ("max_connections", max_connections),
            ("requests_per_second", requests_per_second),
            ("bytes_per_second", bytes_per_second),
        ] {
            if value == Some(0) {
                return Err(format!("limits: {key}: 0 would let nobody in; leave the key out for no limit"));
            }
        }
        Ok(Limits { max_connections, requests_per_second, bytes_per_second })
    }
}

/// The passwords given inline and in a file, the preferred one first.
fn passwords(inline: Option<Secret>, file: Option<&str>, folder: &Path) -> Result<Vec<Secret>, String> {
    let mut all: Vec<Secret> = inline.into_iter().collect();
    if all.iter().any(|password| password.reveal().is_empty()) {
        return Err("password: it is empty; leave the key out for none".to_owned());
    }
    if let Some(file) = file {
        all.extend(read_lines(file, folder)?.into_iter().map(Secret::new));
    }
    if all.len() > PASSWORDS_MAX {
        return Err(format!(
            "there are more than {PASSWORDS_MAX} passwords: remove those that are not used any more"
        ));
    }
    Ok(all)
}

/// The lines of a file of passwords; there is at least one.
fn read_lines(file: &str, folder: &Path) -> Result<Vec<String>, String> {
    let text = secret_file::read(&folder.join(file))?;
    let lines: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(format!("password_file: {file} is empty"));
    }
    Ok(lines)
}

/// A name as AUTH can give it.
fn name(text: &str) -> Result<&str, String> {
    let is_plain = |character: char| !character.is_whitespace() && !character.is_control();
    match text.len() {
        1..=NAME_MAX if text.chars().all(is_plain) => Ok(text),
        _ => Err(format!("a user's name has 1 to {NAME_MAX} bytes and no blanks")),
    }
}

fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}
