//! Telling a running process something.

use std::time::Duration;

use super::Shared;
use super::look::life_of;
use super::record::Record;
use super::start::{invalid, passwords_of, renamed};
use crate::credentials::{self, Door, Passwords, REPLICA, Renamed};
use crate::io::ask::{Conversation, End, Question, Where, ask_all};
use crate::io::private_file;
use crate::redis_conf;
use crate::redis_version::RedisVersion;
use crate::reply::{Reply, command};
use crate::runtime::{Access, Change, Gate, Program, ProxyStart, Refused, Silence, Target, User};
use shoal_topology::Endpoint;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

impl Shared {
    pub(super) fn configure(&self, target: &Target, change: &Change) -> Result<(), Refused> {
        let record = {
            let mut state = self.state();
            self.tend(&mut state);
            let gone = || Refused::Gone { name: target.name.clone(), uid: target.uid.clone() };
            state
                .records
                .get(&target.name)
                .filter(|record| record.start.uid == target.uid)
                .cloned()
                .ok_or_else(gone)?
        };
        let not_running = |why: &str| Refused::NotRunning { name: target.name.clone(), why: why.to_owned() };
        if let Some((why, _)) = self.node_down(&record.start.node.name)? {
            return Err(Refused::NodeDown { node: record.start.node.name, why });
        }
        if let Some(exit) = &record.exit {
            return Err(not_running(&exit.reason));
        }
        if record.process.is_none() {
            return Err(not_running("it is still being started"));
        }
        match &record.start.program {
            Program::Proxy(_) => self.tell_proxy(target, &record, change),
            Program::Redis(_) => self.tell_redis(target, &record, change),
            Program::Sentinel(_) => self.tell_sentinel(target, &record, change),
        }
    }

    fn tell_redis(&self, target: &Target, record: &Record, change: &Change) -> Result<(), Refused> {
        let version = record.version().unwrap_or(RedisVersion::new(0, 0, 0));
        let users = match change {
            Change::Users(users) => users,
            _ => &record.users,
        };
        let with = self.credentials.of_users(users)?;
        let before = self.credentials.of_users(&record.users)?;
        let hidden_names = renamed(passwords_of(&before, Access::Platform), version);
        let mut line = self.enter(target, record)?;
        let commands = match change {
            Change::Open | Change::Close if version.has_acl() => gate(&record.users, change == &Change::Open),
            Change::Open | Change::Close => self.old_gate(record, &hidden_names, change == &Change::Open)?,
            Change::Primary => vec![hidden(&hidden_names, &["SLAVEOF", "NO", "ONE"])],
            Change::ReplicaOf(Endpoint::Tcp { host, port }) => {
                vec![hidden(&hidden_names, &["SLAVEOF", host, &port.to_string()])]
            }
            Change::MaxMemory(bytes) => {
                vec![hidden(&hidden_names, &["CONFIG", "SET", "maxmemory", &bytes.to_string()])]
            }
            Change::Users(_) if version.has_acl() => {
                let now_open = line.gate(&record.users)?;
                rotate(&with, &record.users, Door::Redis(now_open), version)
            }
            Change::Users(_) => {
                let why = format!("Redis {version} has one password, which is changed by a stop and a start");
                return Err(invalid(&target.name, "users", &why));
            }
            Change::ReplicaOf(_) | Change::Monitor(_) | Change::Unmonitor(_) | Change::Pool { .. } => {
                return Err(misdirected(target, "a Redis"));
            }
        };
        line.all(&commands)?;
        if let Change::Users(users) = change {
            self.note(target, |record| record.users = users.clone())?;
        }
        Ok(())
    }

    fn tell_sentinel(&self, target: &Target, record: &Record, change: &Change) -> Result<(), Refused> {
        let version = record.version().unwrap_or(RedisVersion::new(0, 0, 0));
        let mut line = self.enter(target, record)?;
        match change {
            Change::Monitor(monitor) => {
                let passwords = self.credentials.get(&monitor.user.credential)?;
                let Endpoint::Tcp { host, port } = &monitor.primary else {
                    return Err(misdirected(target, "a Sentinel"));
                };
                let known = line.one(&command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &monitor.name]))?;
                let watched: Option<Vec<&str>> =
                    known.elements().map(|all| all.iter().filter_map(Reply::text).collect());
                let same = watched.as_deref() == Some(&[host.as_str(), &port.to_string()]);
                if watched.is_some() && !same {
                    // Sentinel takes no other address for a name that it knows: it has to forget first.
                    line.all(&[command(&["SENTINEL", "REMOVE", &monitor.name])])?;
                }
                let commands = redis_conf::monitor_commands(monitor, &passwords, same);
                line.all(&commands.unwrap_or_default())
            }
            Change::Unmonitor(name) => {
                let known = line.one(&command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]))?;
                if known.elements().is_none() {
                    return Ok(());
                }
                line.all(&[command(&["SENTINEL", "REMOVE", name])])
            }
            Change::Users(users) => {
                let with = self.credentials.of_users(users)?;
                let mut commands = rotate_users(&with, &record.users, Door::Sentinel, version);
                if let Some((user, passwords)) = with.iter().find(|(user, _)| user.access == Access::Sentinel)
                {
                    let preferred = passwords.preferred().reveal();
                    commands.push(command(&["SENTINEL", "CONFIG", "SET", "sentinel-user", &user.name]));
                    commands.push(command(&["SENTINEL", "CONFIG", "SET", "sentinel-pass", preferred]));
                }
                line.all(&commands)?;
                self.note(target, |record| record.users = users.clone())
            }
            _ => Err(misdirected(target, "a Sentinel")),
        }
    }

    fn tell_proxy(&self, target: &Target, record: &Record, change: &Change) -> Result<(), Refused> {
        if record.process.map(life_of).as_ref() != Some(&target.life) {
            return Err(Refused::OtherLife { name: target.name.clone() });
        }
        let Program::Proxy(before) = &record.start.program else {
            return Err(misdirected(target, "a proxy"));
        };
        let (proxy, users) = match change {
            Change::Pool { epoch, pool, upstream } => {
                if *epoch < record.epoch {
                    let said = format!("it serves epoch {}, and {epoch} is older", record.epoch);
                    return Err(answered(&target.name, "the pool", &said));
                }
                let proxy = ProxyStart {
                    epoch: *epoch,
                    pool: (**pool).clone(),
                    upstream: upstream.clone(),
                    ..(**before).clone()
                };
                (proxy, record.users.clone())
            }
            Change::Users(users) => ((**before).clone(), users.clone()),
            _ => return Err(misdirected(target, "a proxy")),
        };
        for user in users.iter().chain(&proxy.upstream) {
            self.credentials.get(&user.credential)?;
        }
        let place = self.layout.place(&target.name);
        let files = self.proxy_files(&target.name, &place)?;
        let old = private_file::read(&place.proxy_yml())?;
        let yml = redis_conf::proxy_yml(&proxy, &users, record.address, &files);
        private_file::write(&place.proxy_yml(), yml.as_bytes())?;
        let question = Question {
            at: Where::Unix(place.admin_socket()),
            bytes:
                b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    .to_vec(),
            end: End::Close,
        };
        let answer = ask_all(&[question], PATIENCE).pop().unwrap_or(Err(Silence::NotRunning));
        let answer = answer.map_err(|silence| unknown(&target.name, "telling its pool", &silence))?;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        if !head.lines().next().is_some_and(|status| status.contains(" 200")) {
            if let Some(old) = old {
                // It goes on with what it had; so does the file.
                private_file::write(&place.proxy_yml(), old.as_bytes())?;
            }
            return Err(answered(&target.name, "the pool", body.trim()));
        }
        self.note(target, |record| {
            record.epoch = proxy.epoch;
            record.users.clone_from(&users);
            record.start.program = Program::Proxy(Box::new(proxy.clone()));
        })
    }

    /// Enters as the platform, the life that is meant.
    fn enter<'t>(&self, target: &'t Target, record: &Record) -> Result<Line<'t>, Refused> {
        let doing = format!("entering {}", target.name);
        let silent = |silence: Silence| Refused::NotRunning {
            name: target.name.clone(),
            why: format!("it does not answer ({})", words(&silence)),
        };
        let greeting = self.greeting(&record.users, record.version())?;
        let mut conversation = Conversation::open(record.address, PATIENCE).map_err(silent)?;
        let mut wrong = None;
        for auth in &greeting {
            let replies = conversation.ask(std::slice::from_ref(auth)).map_err(silent)?;
            wrong = replies.iter().find_map(Reply::error).map(str::to_owned);
            if wrong.is_none() {
                break;
            }
        }
        if let Some(said) = wrong {
            return Err(answered(&target.name, "the platform's password (AUTH)", &said));
        }
        let mut line = Line { name: &target.name, conversation };
        let info = line.one(&command(&["INFO", "server"]))?;
        let info =
            info.text().ok_or_else(|| answered(&target.name, &doing, info.error().unwrap_or_default()))?;
        let run_id = info.lines().find_map(|entry| entry.strip_prefix("run_id:"));
        if run_id != Some(target.life.0.as_str()) {
            return Err(Refused::OtherLife { name: target.name.clone() });
        }
        Ok(line)
    }

    /// Before Redis 6: the gate is the password.
    fn old_gate(&self, record: &Record, names: &[Renamed], open: bool) -> Result<Vec<Vec<String>>, Refused> {
        let wanted = if open {
            self.shared_password(&record.users)?
        } else {
            let platform = redis_conf::user_of(&record.users, Access::Platform);
            platform.map(|user| self.credentials.get(&user.credential)).transpose()?
        };
        let Some(wanted) = wanted else { return Ok(Vec::new()) };
        let mut commands = vec![command(&["MULTI"])];
        commands.push(hidden(names, &["CONFIG", "SET", "requirepass", wanted.preferred().reveal()]));
        if !open {
            for kind in ["normal", "pubsub", "slave"] {
                commands.push(hidden(names, &["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]));
            }
        }
        commands.push(command(&["EXEC"]));
        Ok(commands)
    }

    /// Changes what is noted of an instance, if it is still the same.
    fn note(&self, target: &Target, change: impl FnOnce(&mut Record)) -> Result<(), Refused> {
        let mut state = self.state();
        let record = state.records.get_mut(&target.name).filter(|record| record.start.uid == target.uid);
        let Some(record) = record else { return Ok(()) };
        change(record);
        // It has happened, and a control that comes after would not know.
        record.write(&self.layout.place(&target.name)).map_err(|refused| Refused::Unknown {
            doing: format!("noting what {} was told", target.name),
            why: refused.to_string(),
        })
    }
}

/// A connection to the life that is meant.
struct Line<'t> {
    name: &'t str,
    conversation: Conversation,
}

impl Line<'_> {
    fn one(&mut self, asked: &[String]) -> Result<Reply, Refused> {
        let replies = self.conversation.ask(&[asked.to_vec()]);
        let mut replies = replies.map_err(|silence| unknown(self.name, &verb(asked), &silence))?;
        replies.pop().ok_or_else(|| unknown(self.name, &verb(asked), &Silence::TimedOut))
    }

    /// Sends all, and takes no error.
    fn all(&mut self, commands: &[Vec<String>]) -> Result<(), Refused> {
        if commands.is_empty() {
            return Ok(());
        }
        let doing =
            commands.iter().map(|command| verb(command)).find(|verb| verb != "MULTI").unwrap_or_default();
        let replies =
            self.conversation.ask(commands).map_err(|silence| unknown(self.name, &doing, &silence))?;
        match replies.iter().zip(commands).find_map(|(reply, command)| Some((reply.error()?, command))) {
            Some((said, refused)) => Err(answered(self.name, &verb(refused), said)),
            None => Ok(()),
        }
    }

    fn gate(&mut self, users: &[User]) -> Result<Gate, Refused> {
        let list = self.one(&command(&["ACL", "LIST"]))?;
        Ok(crate::reply::gate_of(&list, users))
    }
}

/// All at once, so that nobody sees a part of it. Who is let out has no connection any more when EXEC is answered.
fn gate(users: &[User], open: bool) -> Vec<Vec<String>> {
    let gated: Vec<&User> = users.iter().filter(|user| user.access.gated()).collect();
    let state = if open { "on" } else { "off" };
    let mut commands = vec![command(&["MULTI"])];
    commands.extend(gated.iter().map(|user| command(&["ACL", "SETUSER", &user.name, state])));
    if !open {
        commands.extend(gated.iter().map(|user| command(&["CLIENT", "KILL", "USER", &user.name])));
    }
    commands.push(command(&["EXEC"]));
    commands
}

/// The users, and what this Redis gives its primary.
fn rotate(
    with: &[(User, Passwords)],
    before: &[User],
    door: Door,
    version: RedisVersion,
) -> Vec<Vec<String>> {
    let mut commands = rotate_users(with, before, door, version);
    if let Some(passwords) = passwords_of(with, Access::Replica) {
        let preferred = passwords.preferred().reveal();
        commands.insert(1, command(&["CONFIG", "SET", "masterauth", preferred]));
        commands.insert(1, command(&["CONFIG", "SET", "masteruser", REPLICA]));
    }
    commands
}

fn rotate_users(
    with: &[(User, Passwords)],
    before: &[User],
    door: Door,
    version: RedisVersion,
) -> Vec<Vec<String>> {
    let mut commands = vec![command(&["MULTI"])];
    for (user, passwords) in with {
        let mut words = command(&["ACL", "SETUSER"]);
        words.extend(credentials::set_user(user, passwords, door, version));
        commands.push(words);
    }
    let gone = before.iter().filter(|user| with.iter().all(|(now, _)| now.name != user.name));
    commands.extend(gone.map(|user| command(&["ACL", "DELUSER", &user.name])));
    commands.push(command(&["EXEC"]));
    commands
}

/// A command by the name that it has there.
pub(super) fn hidden(names: &[Renamed], words: &[&str]) -> Vec<String> {
    let mut words = command(words);
    if let Some(renamed) = names.iter().find(|renamed| renamed.command == words[0]) {
        words[0].clone_from(&renamed.name);
    }
    words
}

/// The words of a command that may be shown: names of hidden commands and arguments may not.
fn verb(command: &[String]) -> String {
    let first = command.first().map_or("", String::as_str);
    let shown = first.split_once('-').map_or(first, |(name, _)| name);
    match (shown, command.get(1)) {
        ("ACL" | "CONFIG" | "CLIENT" | "SENTINEL", Some(second)) => format!("{shown} {second}"),
        _ => shown.to_owned(),
    }
}

fn answered(name: &str, command: &str, said: &str) -> Refused {
    Refused::Answered { name: name.to_owned(), command: command.to_owned(), said: said.to_owned() }
}

fn misdirected(target: &Target, program: &str) -> Refused {
    invalid(&target.name, "change", &format!("it is {program}, which takes no such change"))
}

fn unknown(name: &str, doing: &str, silence: &Silence) -> Refused {
    Refused::Unknown { doing: format!("telling {name} {doing}"), why: words(silence) }
}

/// Silence, in words.
fn words(silence: &Silence) -> String {
    match silence {
        Silence::NotRunning => "it does not run".to_owned(),
        Silence::Refused => "nobody accepts at its address".to_owned(),
        Silence::TimedOut => "no answer came in time".to_owned(),
        Silence::WrongPassword => "it does not know the platform's password".to_owned(),
        Silence::Strange(why) => why.clone(),
    }
}
