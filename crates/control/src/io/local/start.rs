//! A start, from the request to the process.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use super::layout::Place;
use super::process::{self, Lock};
use super::programs;
use super::record::{ProcessId, Record};
use super::{Shared, State, ports};
use crate::credentials::{self, Door, Passwords, Renamed};
use crate::io::private_file;
use crate::redis_conf::{self, OWN_FILE_HEAD, ProxyFiles, RedisConf};
use crate::redis_version::RedisVersion;
use crate::runtime::{Access, Gate, Monitor, Program, Refused, SentinelStart, Start, User};
use shoal_topology::Mode;

/// The longest path of a unix socket that Linux takes (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

impl Shared {
    pub(super) fn start(&self, start: &Start) -> Result<(), Refused> {
        check(start)?;
        let name = &start.name;
        let mut state = self.state();
        self.tend(&mut state);
        let before = state.records.get(name).cloned();
        if let Some(before) = &before {
            if before.start.uid != start.uid {
                return Err(Refused::NameTaken { name: name.clone(), uid: before.start.uid.clone() });
            }
            if before.exit.is_none() {
                return Ok(());
            }
        }
        if let Some((why, _)) = self.node_down(&start.node.name)? {
            return Err(Refused::NodeDown { node: start.node.name.clone(), why });
        }
        let (program, version) = self.program(start)?;
        let address = self.address(&state, start, before.as_ref())?;
        let place = self.layout.place(name);
        private_file::folder(&place.dir)?;
        let lock_path = place.lock();
        let doing = format!("starting {name}");
        let lock =
            Lock::take(&lock_path).map_err(|error| private_file::refused(&doing, &lock_path, &error))?;
        let Some(lock) = lock else {
            // There is no record of a process, and yet somebody holds its lock: another user's, or one beyond our sight.
            return Err(Refused::Unknown {
                doing,
                why: format!(
                    "somebody holds {} and cannot be seen; `fuser -v` as root names it",
                    lock_path.display()
                ),
            });
        };
        let mut record = Record::new(start, address, version, SystemTime::now());
        if let Some(exit) = before.as_ref().and_then(|before| before.exit.as_ref()) {
            record.unasked_in_a_row = if exit.asked { 0 } else { exit.unasked_in_a_row };
        }
        // From here on it may run: the record says so first.
        let prepared = self.prepare(start, &place, &record, program);
        let prepared = prepared.and_then(|command| record.write(&place).map(|()| command));
        let command = match prepared {
            // A name that nobody has leaves nothing behind.
            Err(refused) if before.is_none() => {
                private_file::remove_folder(&place.dir)?;
                return Err(refused);
            }
            prepared => prepared?,
        };
        state.records.insert(name.clone(), record.clone());
        state.signalled.remove(name);
        let log_path = place.log();
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&log_path);
        let log = log.map_err(|error| private_file::refused(&doing, &log_path, &error))?;
        let child = programs::launch(name, &command, &place.dir, lock.0, log)
            .map_err(|error| private_file::refused(&doing, &place.dir, &error))?;
        let pid = child.id();
        state.children.insert(name.clone(), child);
        if let Some(ticks) = process::ticks(pid) {
            record.process = Some(ProcessId { pid, ticks });
            record.write(&place)?;
            state.records.insert(name.clone(), record);
        }
        Ok(())
    }

    /// The program, and a Redis's version.
    fn program(&self, start: &Start) -> Result<(PathBuf, Option<RedisVersion>), Refused> {
        let redis = |asked: &Option<String>| self.options.programs.redis(asked.as_deref());
        match &start.program {
            Program::Redis(redis_start) => {
                redis(&redis_start.version).map(|(path, version)| (path, Some(version)))
            }
            Program::Sentinel(sentinel) => {
                let (path, version) = redis(&sentinel.version)?;
                if version.has_channels() {
                    return Ok((path, Some(version)));
                }
                let why = format!(
                    "a Sentinel needs Redis 6.2, to have users of its own, and {} is {version}",
                    path.display()
                );
                Err(invalid(&start.name, "version", &why))
            }
            Program::Proxy(_) => {
                let path = self.options.programs.shoal.clone();
                if path.is_file() {
                    return Ok((path, None));
                }
                let advice = format!("{} is no file; install Shoal again", path.display());
                Err(Refused::NoProgram { program: "shoal".to_owned(), advice })
            }
        }
    }

    /// The address that it has, or gets.
    fn address(&self, state: &State, start: &Start, before: Option<&Record>) -> Result<SocketAddr, Refused> {
        let (name, node) = (&start.name, start.node.address);
        let others = state.records.iter().filter(|(other, _)| *other != name);
        let taken: BTreeSet<SocketAddr> = others.map(|(_, record)| record.address).collect();
        let kept = before.map(|before| before.address).filter(|address| address.ip() == node);
        let wanted = start.port.map(|port| SocketAddr::new(node, port)).or(kept);
        let Some(address) = wanted else {
            return ports::choose(name, node, self.options.ports.clone(), &taken);
        };
        if let Some((other, _)) =
            state.records.iter().find(|(other, record)| *other != name && record.address == address)
        {
            let by = format!("instance {other}");
            return Err(Refused::PortTaken { name: name.clone(), address, by });
        }
        ports::check(name, address)?;
        Ok(address)
    }

    /// Writes all files, and says the command.
    fn prepare(
        &self,
        start: &Start,
        place: &Place,
        record: &Record,
        program: PathBuf,
    ) -> Result<Vec<OsString>, Refused> {
        let users = self.credentials.of_users(&start.users)?;
        let (data, users_file) = (place.data(), place.users());
        match &start.program {
            Program::Redis(redis) => {
                let version = record.version().unwrap_or(RedisVersion::new(0, 0, 0));
                one_credential(start, version)?;
                if start.empty || redis.mode == Mode::Cache {
                    private_file::remove_folder(&data)?;
                }
                private_file::folder(&data)?;
                let platform = passwords_of(&users, Access::Platform);
                let conf = RedisConf {
                    version,
                    address: record.address,
                    dir: text(&start.name, &data)?,
                    users_file: text(&start.name, &users_file)?,
                    replication: passwords_of(&users, Access::Replica),
                    closed_by: platform,
                    renamed: &renamed(platform, version),
                };
                let conf = redis_conf::redis_conf(redis, &conf);
                self.write_confs(place, false, &conf, OWN_FILE_HEAD, &users, version)?;
            }
            Program::Sentinel(sentinel) => {
                let version = record.version().unwrap_or(RedisVersion::new(0, 0, 0));
                private_file::folder(&data)?;
                let peers = redis_conf::user_of(&start.users, Access::Sentinel);
                let conf = RedisConf {
                    version,
                    address: record.address,
                    dir: text(&start.name, &data)?,
                    users_file: text(&start.name, &users_file)?,
                    replication: None,
                    closed_by: None,
                    renamed: &[],
                };
                let peers = peers
                    .zip(passwords_of(&users, Access::Sentinel))
                    .map(|(user, all)| (user.name.as_str(), all));
                let conf = redis_conf::sentinel_conf(&conf, peers);
                let own = self.sentinel_own(&start.name, sentinel)?;
                self.write_confs(place, true, &conf, &own, &users, version)?;
            }
            Program::Proxy(proxy) => {
                private_file::folder(&data)?;
                if let Some(user) = &proxy.upstream {
                    self.credentials.get(&user.credential)?;
                }
                let files = self.proxy_files(&start.name, place)?;
                let yml = redis_conf::proxy_yml(proxy, &start.users, record.address, &files);
                private_file::write(&place.proxy_yml(), yml.as_bytes())?;
            }
        }
        let mut command = vec![program.into_os_string()];
        let own = |sentinel| place.own_conf(sentinel).into_os_string();
        match &start.program {
            Program::Redis(_) => command.push(own(false)),
            Program::Sentinel(_) => command.extend([own(true), "--sentinel".into()]),
            Program::Proxy(_) => {
                command.extend(["proxy".into(), "--config".into(), place.proxy_yml().into_os_string()])
            }
        }
        if !matches!(start.program, Program::Proxy(_)) {
            command.extend(["--include".into(), place.platform_conf().into_os_string()]);
        }
        Ok(command)
    }

    fn write_confs(
        &self,
        place: &Place,
        sentinel: bool,
        platform: &str,
        own: &str,
        users: &[(User, Passwords)],
        version: RedisVersion,
    ) -> Result<(), Refused> {
        // What the process wrote there stays.
        private_file::write_new(&place.own_conf(sentinel), own.as_bytes())?;
        private_file::write(&place.platform_conf(), platform.as_bytes())?;
        if version.has_acl() {
            let door = if sentinel { Door::Sentinel } else { Door::Redis(Gate::Closed) };
            let text = credentials::acl_file(users, door, version);
            private_file::write(&place.users(), text.as_bytes())?;
        }
        Ok(())
    }

    fn sentinel_own(&self, name: &str, sentinel: &SentinelStart) -> Result<String, Refused> {
        let with_passwords =
            |monitor: &Monitor| Ok((monitor.clone(), self.credentials.get(&monitor.user.credential)?));
        let monitors = sentinel.monitors.iter().map(with_passwords).collect::<Result<Vec<_>, Refused>>()?;
        redis_conf::sentinel_own(&monitors)
            .ok_or_else(|| invalid(name, "monitors", "a Sentinel watches addresses, not unix sockets"))
    }

    /// The files of a proxy.
    pub(super) fn proxy_files(&self, name: &str, place: &Place) -> Result<ProxyFiles, Refused> {
        let admin = text(name, &place.admin_socket())?.to_owned();
        if admin.len() > SOCKET_PATH_MAX {
            let why = format!(
                "{admin} is longer than a unix socket's path may be ({SOCKET_PATH_MAX}): choose a shorter --dir"
            );
            return Err(invalid(name, "dir", &why));
        }
        Ok(ProxyFiles { admin, credentials: text(name, &self.layout.credentials())?.to_owned() })
    }
}

/// The passwords of the user with that access.
pub(super) fn passwords_of(users: &[(User, Passwords)], access: Access) -> Option<&Passwords> {
    users.iter().find(|(user, _)| user.access == access).map(|(_, passwords)| passwords)
}

/// Before Redis 6 there is one password for all who enter while the gate is open, and replicas among them.
fn one_credential(start: &Start, version: RedisVersion) -> Result<(), Refused> {
    let mut gated = start.users.iter().filter(|user| user.access.gated());
    let Some(first) = gated.next().filter(|_| !version.has_acl()) else { return Ok(()) };
    let Some(other) = gated.find(|user| user.credential != first.credential) else { return Ok(()) };
    let why = format!(
        "Redis {version} knows no users and has one password for all: {} and {} must name one credential, or take Redis 6 \
         or later",
        first.name, other.name
    );
    Err(invalid(&start.name, "users", &why))
}

/// What is hidden from everybody but the platform, before Redis 6.
pub(super) fn renamed(platform: Option<&Passwords>, version: RedisVersion) -> Vec<Renamed> {
    platform.map_or_else(Vec::new, |platform| credentials::renamed(platform.preferred(), version))
}

/// Refuses what cannot be started whatever the machine is like.
fn check(start: &Start) -> Result<(), Refused> {
    check_name("name", &start.name)?;
    check_name("node.name", &start.node.name)?;
    for (at, user) in start.users.iter().enumerate() {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if user.name.is_empty() || user.name == "default" || !user.name.bytes().all(letters) {
            let why =
                "a user's name has letters, digits, hyphens, dots and underscores, and is not `default`";
            return Err(invalid(&start.name, "users", why));
        }
        if start.users[..at].iter().any(|other| other.name == user.name) {
            return Err(invalid(&start.name, "users", &format!("{} is there twice", user.name)));
        }
    }
    if let Program::Redis(redis) = &start.program {
        for (setting, value) in &redis.settings {
            if let Some(why) = redis_conf::setting_refused(setting, value) {
                return Err(invalid(&start.name, &format!("settings.{setting}"), &why));
            }
        }
    }
    let platform = redis_conf::user_of(&start.users, Access::Platform);
    if platform.is_none() && !matches!(start.program, Program::Proxy(_)) {
        return Err(invalid(
            &start.name,
            "users",
            "nobody among them has access `platform`: then control could not enter",
        ));
    }
    Ok(())
}

/// Refuses a name that would lead elsewhere.
pub(super) fn check_name(field: &str, name: &str) -> Result<(), Refused> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=63).contains(&name.len()) && name.bytes().all(letters) && !name.starts_with('-') {
        return Ok(());
    }
    Err(invalid(
        name,
        field,
        "a name has 1 to 63 small letters, digits and hyphens, and begins with no hyphen",
    ))
}

pub(super) fn invalid(name: &str, field: &str, why: &str) -> Refused {
    Refused::Invalid { name: name.to_owned(), field: field.to_owned(), why: why.to_owned() }
}

/// A path as text, as configuration files need it.
fn text<'p>(name: &str, path: &'p std::path::Path) -> Result<&'p str, Refused> {
    let fits = |text: &&str| !text.chars().any(char::is_control);
    let why = "its path has letters that no configuration file can hold: choose another --dir";
    path.to_str().filter(fits).ok_or_else(|| invalid(name, "dir", why))
}
