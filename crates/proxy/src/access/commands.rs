//! Sets of commands and subcommands, as ACL rules put them together.

use shoal_resp::command::{self, Categories, Command, Flags};

/// Which commands a user may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSet {
    /// A bit for each command and subcommand, by its id.
    bits: Box<[u64]>,
    /// Which of what runs scripts a rule allows in so many words, by its name or by its category.
    named: Box<[u64]>,
}

impl CommandSet {
    /// No command.
    pub fn none() -> CommandSet {
        let most = each().map(|command| command.id as usize).max().unwrap_or_default();
        let bits = vec![0; most / 64 + 1].into_boxed_slice();
        CommandSet { named: bits.clone(), bits }
    }

    /// Every command.
    pub fn all() -> CommandSet {
        let mut set = CommandSet::none();
        set.change_all(true);
        set
    }

    /// Whether every command is in it.
    pub fn is_all(&self) -> bool {
        each().all(|command| self.contains(command))
    }

    /// Whether `command` is in it.
    #[inline]
    pub fn contains(&self, command: &Command) -> bool {
        let id = command.id as usize;
        self.bits[id / 64] >> (id % 64) & 1 == 1
    }

    /// Adds every command, or takes every one out.
    pub fn change_all(&mut self, adds: bool) {
        each().for_each(|command| self.put(command, adds));
        self.named.fill(0);
    }

    /// Adds `command`, or takes it out; a container with its subcommands.
    pub fn change(&mut self, command: &'static Command, adds: bool) {
        [command].into_iter().chain(command.subs).for_each(|command| self.put(command, adds));
        if adds && runs_script(command) {
            self.name(command);
        }
    }

    /// Adds the commands of `category`, or takes them out. A container takes its subcommands with it, as in Redis.
    pub fn change_category(&mut self, category: Categories, adds: bool) {
        for container in command::all() {
            if container.categories.contains(category) {
                [container].into_iter().chain(container.subs).for_each(|command| self.put(command, adds));
            }
            for sub in container.subs.iter().filter(|sub| sub.categories.contains(category)) {
                self.put(sub, adds);
            }
        }
        if adds && category == Categories::SCRIPTING {
            each().filter(|command| runs_script(command)).for_each(|command| self.name(command));
        }
    }

    /// Takes out what runs scripts, unless they are named: within a script the server checks nothing of the user's.
    pub fn without_unnamed_scripts(&mut self) {
        for command in each().filter(|command| runs_script(command)) {
            let id = command.id as usize;
            if self.named[id / 64] >> (id % 64) & 1 == 0 {
                self.put(command, false);
            }
        }
    }

    /// Whether scripts can be run.
    pub fn runs_scripts(&self) -> bool {
        each().any(|command| runs_script(command) && self.contains(command))
    }

    fn put(&mut self, command: &Command, adds: bool) {
        let (word, bit) = (command.id as usize / 64, 1 << (command.id as usize % 64));
        match adds {
            true => self.bits[word] |= bit,
            false => {
                self.bits[word] &= !bit;
                self.named[word] &= !bit;
            }
        }
    }

    fn name(&mut self, command: &Command) {
        self.named[command.id as usize / 64] |= 1 << (command.id as usize % 64);
    }
}

/// All commands and subcommands.
fn each() -> impl Iterator<Item = &'static Command> {
    command::all().iter().flat_map(|command| [command].into_iter().chain(command.subs))
}

/// Whether the command runs code within which other commands are called.
fn runs_script(command: &Command) -> bool {
    // Those of the category that the server refuses within a script are not what runs one.
    command.categories.contains(Categories::SCRIPTING)
        && command.flags.contains(Flags::MOVABLEKEYS)
        && !command.is_container()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_scripts_is_known() {
        let names: Vec<&str> =
            each().filter(|command| runs_script(command)).map(|command| command.name).collect();
        assert_eq!(names, ["EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO"]);
    }

    #[test]
    fn all_is_all_and_none_is_none() {
        let get = command::lookup(b"get").unwrap();
        assert!(CommandSet::all().is_all() && CommandSet::all().contains(get));
        assert!(!CommandSet::none().contains(get));
        let mut but_one = CommandSet::all();
        but_one.change(get, false);
        assert!(!but_one.is_all() && !but_one.contains(get));
    }
}
