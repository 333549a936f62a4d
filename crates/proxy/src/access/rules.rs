//! A user's rules, in the words of Redis's ACL files: `on #<hash> ~app:* &app:* +@read -@dangerous +config|get`.
//!
//! What Redis has and this has not is refused by name: passwords in clear text, selectors in parentheses, patterns for
//! reading or writing alone (`%R~`, `%W~`), and rules by a command's first argument (`+select|0`). A rule that may hold a
//! password is never repeated in an error.

use shoal_resp::command::{self, Categories};

use super::commands::CommandSet;
use super::password::{PASSWORDS_MAX, PasswordHash};
use super::pattern::Patterns;

/// Patterns of keys, and of channels, that one user may have.
pub const PATTERNS_MAX: usize = 256;

/// What a user's rules say. A user without rules is off, and may do nothing.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether the user may enter.
    pub on: bool,
    /// Whether any password will do.
    pub nopass: bool,
    /// The passwords; any of them will do.
    pub passwords: Vec<PasswordHash>,
    /// What the user may call.
    pub commands: CommandSet,
    /// On which keys.
    pub keys: Patterns,
    /// And on which channels.
    pub channels: Patterns,
    /// The rules about commands as they were written, in order.
    written: Vec<String>,
}

impl Rules {
    /// Those of a user who may do everything.
    pub fn everything() -> Rules {
        Rules {
            on: true,
            commands: CommandSet::all(),
            keys: Patterns::all(),
            channels: Patterns::all(),
            written: vec!["+@all".to_owned()],
            ..Rules::nothing()
        }
    }

    /// Those of a user who may do nothing.
    pub fn nothing() -> Rules {
        Rules {
            on: false,
            nopass: false,
            passwords: Vec::new(),
            commands: CommandSet::none(),
            keys: Patterns::default(),
            channels: Patterns::default(),
            written: Vec::new(),
        }
    }

    /// Reads rules, each applied to what those before it have left, with blanks between them.
    ///
    /// # Errors
    /// A sentence that names the rule, or its place if it may hold a password.
    pub fn parse(text: &str) -> Result<Rules, String> {
        let mut rules = Rules::nothing();
        for (place, rule) in text.split_ascii_whitespace().enumerate() {
            rules.apply(rule).map_err(|why| match shown(rule) {
                Some(rule) => format!("rule {rule}: {why}"),
                None => format!("rule number {}: {why}", place + 1),
            })?;
        }
        rules.commands_as_enforced();
        Ok(rules)
    }

    /// Whether there is nothing that the user may not do.
    pub fn are_everything(&self) -> bool {
        self.keys.are_all() && self.channels.are_all() && self.commands.is_all()
    }

    /// Adds a password.
    ///
    /// # Errors
    /// If there are too many.
    pub fn add_password(&mut self, hash: PasswordHash) -> Result<(), String> {
        if self.passwords.contains(&hash) {
            return Ok(());
        }
        if self.passwords.len() >= PASSWORDS_MAX {
            return Err(format!(
                "there are more than {PASSWORDS_MAX} passwords: remove those that are not used any more"
            ));
        }
        self.nopass = false;
        self.passwords.push(hash);
        Ok(())
    }

    /// The rules about commands, as they were written.
    pub fn commands_written(&self) -> String {
        match self.written.is_empty() {
            true => "-@all".to_owned(),
            false => self.written.join(" "),
        }
    }

    /// Within a script no rule is checked, since the server runs it with the proxy's own rights: who is not allowed
    /// everything runs scripts only where a rule names them.
    fn commands_as_enforced(&mut self) {
        if !self.are_everything() {
            self.commands.without_unnamed_scripts();
        }
    }

    fn apply(&mut self, rule: &str) -> Result<(), String> {
        match rule.to_ascii_lowercase().as_str() {
            "on" => self.on = true,
            "off" => self.on = false,
            "nopass" => {
                self.passwords.clear();
                self.nopass = true;
            }
            "resetpass" => {
                self.passwords.clear();
                self.nopass = false;
            }
            "allkeys" => self.keys = Patterns::all(),
            "resetkeys" => self.keys = Patterns::default(),
            "allchannels" => self.channels = Patterns::all(),
            "resetchannels" => self.channels = Patterns::default(),
            "allcommands" => self.all_commands("+@all"),
            "nocommands" => self.all_commands("-@all"),
            "reset" => *self = Rules::nothing(),
            // Of RESTORE's payloads, which the servers check by their own settings; and there are no selectors.
            "sanitize-payload" | "skip-sanitize-payload" | "clearselectors" => {}
            _ => return self.apply_marked(rule),
        }
        Ok(())
    }

    fn apply_marked(&mut self, rule: &str) -> Result<(), String> {
        const NO_HASH: &str = "a hash is 64 lower-case hexadecimal digits, the password's SHA-256: printf %s PASSWORD | sha256sum";
        if let Some(pattern) = rule.strip_prefix('~').or(strip(rule, "%RW~")) {
            let why = "all keys are allowed by a rule before: remove it, or put resetkeys between";
            return add(&mut self.keys, pattern, why);
        }
        if let Some(pattern) = rule.strip_prefix('&') {
            let why = "all channels are allowed by a rule before: remove it, or put resetchannels between";
            return add(&mut self.channels, pattern, why);
        }
        if let Some(hash) = rule.strip_prefix('#') {
            return self.add_password(PasswordHash::from_hex(hash).ok_or(NO_HASH)?);
        }
        if let Some(hash) = rule.strip_prefix('!') {
            let hash = PasswordHash::from_hex(hash).ok_or(NO_HASH)?;
            self.passwords.retain(|known| *known != hash);
            return Ok(());
        }
        if rule.starts_with(['>', '<']) {
            return Err(
                "a password does not stand here in clear text: write # and its SHA-256, or use password_file"
                    .to_owned(),
            );
        }
        if rule.starts_with('%') {
            return Err("patterns for reading or writing alone are not supported: write ~pattern".to_owned());
        }
        if rule.starts_with('(') {
            return Err("selectors are not supported: give another user the other rules".to_owned());
        }
        match (rule.strip_prefix('+'), rule.strip_prefix('-')) {
            (Some(what), _) => self.change_commands(what, true),
            (_, Some(what)) => self.change_commands(what, false),
            _ => Err("it is none of on, off, nopass, #hash, ~keys, &channels, +command, -command, +@category, -@category".to_owned()),
        }
    }

    fn all_commands(&mut self, written: &str) {
        self.commands.change_all(written == "+@all");
        self.written = vec![written.to_owned()];
    }

    fn change_commands(&mut self, what: &str, adds: bool) -> Result<(), String> {
        let name = what.to_ascii_lowercase();
        let written = format!("{}{name}", if adds { '+' } else { '-' });
        if name == "@all" {
            self.all_commands(&written);
            return Ok(());
        }
        if let Some(category) = name.strip_prefix('@') {
            let known = Categories::named(category);
            let category = known.ok_or("there is no such category: ACL CAT lists them")?;
            self.commands.change_category(category, adds);
        } else {
            let (container, sub) = match name.split_once('|') {
                Some((container, sub)) => (container, Some(sub)),
                None => (name.as_str(), None),
            };
            let container = command::lookup(container.as_bytes()).ok_or("there is no such command")?;
            let command = match sub {
                None => container,
                Some(_) if !container.is_container() => {
                    return Err("rules by a command's first argument are not supported".to_owned());
                }
                Some(sub) => {
                    command::lookup_sub(container, sub.as_bytes()).ok_or("there is no such subcommand")?
                }
            };
            self.commands.change(command, adds);
        }
        self.written.retain(|before| before[1..] != written[1..]);
        self.written.push(written);
        Ok(())
    }
}

fn add(patterns: &mut Patterns, pattern: &str, why: &str) -> Result<(), String> {
    patterns.add(pattern.as_bytes()).map_err(|_| why.to_owned())?;
    match patterns.count() {
        0..=PATTERNS_MAX => Ok(()),
        _ => Err(format!("there are more than {PATTERNS_MAX} patterns")),
    }
}

/// What follows `head`, in any case.
fn strip<'t>(text: &'t str, head: &str) -> Option<&'t str> {
    let start = text.get(..head.len())?;
    start.eq_ignore_ascii_case(head).then(|| &text[head.len()..])
}

/// The rule as an error may show it; `None` if it may hold a password.
fn shown(rule: &str) -> Option<String> {
    let known = rule.starts_with(['+', '-', '~', '&', '%', '(']);
    known.then(|| rule.chars().take(64).flat_map(char::escape_debug).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Rules {
        Rules::parse(text).unwrap()
    }

    fn allowed(rules: &Rules, name: &str) -> bool {
        let (container, sub) = name.split_once('|').unwrap_or((name, ""));
        let command = command::lookup(container.as_bytes()).unwrap();
        let command =
            if sub.is_empty() { command } else { command::lookup_sub(command, sub.as_bytes()).unwrap() };
        rules.commands.contains(command)
    }

    #[test]
    fn each_rule_changes_what_those_before_have_left() {
        let app = rules("on ~app:* &news.* +@read -@dangerous +GET -flushall +config|get +@write -set");
        assert!(app.on && !app.nopass && app.passwords.is_empty());
        for name in ["get", "mget", "config|get", "lpush", "scan"] {
            assert!(allowed(&app, name), "{name}");
        }
        for name in ["set", "config|set", "flushall", "keys", "eval", "subscribe", "ping"] {
            // @write comes behind -@dangerous, and takes FLUSHALL in again, as in Redis.
            assert_eq!(allowed(&app, name), name == "flushall", "{name}");
        }
        assert!(app.keys.allow(b"app:1") && !app.keys.allow(b"ap") && app.channels.allow(b"news.x"));
        assert_eq!(app.commands_written(), "+@read -@dangerous +get -flushall +config|get +@write -set");
    }

    #[test]
    fn on_and_off_and_reset() {
        assert!(!rules("").on && !rules("on off").on && rules("OFF ON").on);
        assert!(rules("on nopass allkeys allchannels allcommands").are_everything());
        assert!(rules("~* &* +@all").are_everything() && !rules("~* &* +@all -get").are_everything());
        let reset = rules("on nopass ~* +@all reset");
        assert!(!reset.on && !reset.nopass && !allowed(&reset, "get") && !reset.keys.allow(b"a"));
        assert!(!rules("~a resetkeys").keys.allow(b"a") && !rules("&a resetchannels").channels.allow(b"a"));
        assert_eq!(rules("+get nocommands").commands_written(), "-@all");
    }

    #[test]
    fn passwords_are_added_and_removed() {
        let hash = |of: &[u8]| -> String { hex(of) };
        let text = format!("#{} #{} #{}", hash(b"a"), hash(b"b"), hash(b"a"));
        assert_eq!(rules(&text).passwords.len(), 2);
        assert_eq!(rules(&format!("{text} !{}", hash(b"a"))).passwords, [PasswordHash::of(b"b")]);
        assert!(rules(&format!("{text} nopass")).passwords.is_empty());
        assert!(!rules(&format!("nopass {text}")).nopass && rules("nopass").nopass);
        let many: String = (0..=PASSWORDS_MAX).map(|n| format!("#{} ", hash(&[n as u8]))).collect();
        assert!(Rules::parse(&many).unwrap_err().contains("more than 16 passwords"));
    }

    fn hex(of: &[u8]) -> String {
        use sha2::{Digest as _, Sha256};
        Sha256::digest(of).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn scripts_need_their_name_unless_everything_is_allowed() {
        assert!(allowed(&rules("~* &* +@all"), "eval"));
        for text in ["~app:* &* +@all", "~* &* +@all -flushall", "~* +@all", "~* &* +@slow"] {
            assert!(!allowed(&rules(text), "eval") && !allowed(&rules(text), "fcall_ro"), "{text}");
        }
        for text in ["~app:* +@all +@scripting", "+eval", "~app:* +@all +eval"] {
            assert!(allowed(&rules(text), "eval") && rules(text).commands.runs_scripts(), "{text}");
        }
        assert!(!allowed(&rules("+eval -@scripting +@all"), "eval"));
        let but_one = rules("+@scripting -eval");
        assert!(!allowed(&but_one, "eval") && allowed(&but_one, "evalsha") && allowed(&but_one, "fcall"));
        // What loads scripts runs nothing.
        assert!(allowed(&rules("~app:* +@all"), "script|load"));
    }

    #[test]
    fn what_is_no_rule_is_refused_by_name_and_passwords_are_not_repeated() {
        for (text, part) in [
            ("+nosuch", "rule +nosuch: there is no such command"),
            ("+@nosuch", "no such category"),
            ("+config|nosuch", "no such subcommand"),
            ("+get|x", "first argument"),
            ("~* ~a", "resetkeys"),
            ("allchannels &a", "resetchannels"),
            ("%R~a", "write ~pattern"),
            ("(~a", "another user"),
            ("on hunter2", "rule number 2: it is none of"),
            ("on >hunter2", "rule number 2: a password does not stand here"),
            ("<hunter2", "rule number 1"),
            ("#hunter2", "rule number 1: a hash is 64"),
            ("!hunter2", "rule number 1"),
        ] {
            let error = Rules::parse(text).unwrap_err();
            assert!(error.contains(part) && !error.contains("hunter2"), "{text}: {error}");
        }
        assert!(rules("%rw~a").keys.allow(b"a") && !rules("sanitize-payload clearselectors").on);
    }
}
