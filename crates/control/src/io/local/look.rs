//! One look at all processes: what the kernel says, and what they say themselves.

use std::time::Duration;

use serde_json::Value;

use super::record::{ProcessId, Record};
use super::start::renamed;
use super::{Shared, tell};
use crate::credentials::{PLATFORM, Password, Passwords};
use crate::io::ask::{End, Question, Where, ask_all};
use crate::redis_conf;
use crate::redis_version::RedisVersion;
use crate::reply::{self, Reply, command, request};
use crate::runtime::{
    Access, Gate, Life, NodeDown, Observation, Observed, Phase, Program, ProxySays, Refused, Says, Silence,
    User,
};

/// How long one may take to answer; all are asked at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// The requests to a proxy's admin port.
const PROXY_PAGES: [&str; 2] = ["/topology", "/sessions?limit=1"];

impl Shared {
    pub(super) fn observe(&self) -> Result<Observation, Refused> {
        let mut state = self.state();
        self.tend(&mut state);
        let records: Vec<Record> = state.records.values().cloned().collect();
        drop(state);
        let mut observation = Observation::default();
        for entry in self.nodes_down()? {
            observation.nodes_down.push(entry);
        }
        let asked: Vec<(usize, Asked)> = records
            .iter()
            .enumerate()
            .filter(|(_, record)| record.exit.is_none() && record.process.is_some())
            .map(|(at, record)| (at, self.question(record)))
            .collect();
        let questions: Vec<Question> =
            asked.iter().flat_map(|(_, asked)| asked.questions.iter().cloned()).collect();
        let mut answers = ask_all(&questions, PATIENCE).into_iter();
        let mut says: Vec<Says> = records.iter().map(|_| Says::Silent(Silence::NotRunning)).collect();
        for (at, asked) in &asked {
            let own: Result<Vec<Vec<u8>>, Silence> = answers.by_ref().take(asked.questions.len()).collect();
            let said = match (&asked.unaskable, own) {
                (Some(why), _) => Err(Silence::Strange(why.clone())),
                (None, own) => own.and_then(|own| decode(&records[*at], asked, &own)),
            };
            says[*at] = said.unwrap_or_else(Says::Silent);
        }
        for (record, says) in records.into_iter().zip(says) {
            let down = self.node_down(&record.start.node.name)?;
            let (phase, says) = match down {
                // What an operator would see of a node whose power failed: nothing.
                Some((_, since)) => (Phase::Unreachable { since }, Says::Silent(Silence::TimedOut)),
                None => (phase(&record, &says), says),
            };
            observation.instances.push(Observed {
                name: record.start.name,
                uid: record.start.uid,
                generation: record.start.generation,
                owner: record.start.owner,
                node: record.start.node,
                address: Some(record.address),
                started_at: Some(record.started_at),
                phase,
                says,
            });
        }
        Ok(observation)
    }

    fn nodes_down(&self) -> Result<Vec<NodeDown>, Refused> {
        let folder = self.layout.nodes();
        let refused = |error| {
            crate::io::private_file::refused(&format!("reading {}", folder.display()), &folder, &error)
        };
        let mut down = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(refused)? {
            let name = entry.map_err(refused)?.file_name().to_string_lossy().into_owned();
            let Some(node) = name.strip_suffix(".down") else { continue };
            if let Some((why, _)) = self.node_down(node)? {
                down.push(NodeDown { node: node.to_owned(), why });
            }
        }
        down.sort_by(|one, other| one.node.cmp(&other.node));
        Ok(down)
    }

    /// What is asked of an instance.
    fn question(&self, record: &Record) -> Asked {
        match &record.start.program {
            Program::Proxy(_) => {
                let admin = self.layout.place(&record.start.name).admin_socket();
                let page = |page: &&str| Question {
                    at: Where::Unix(admin.clone()),
                    bytes: format!("GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                        .into_bytes(),
                    end: End::Close,
                };
                Asked { questions: PROXY_PAGES.iter().map(page).collect(), unaskable: None, auths: 0 }
            }
            Program::Redis(_) | Program::Sentinel(_) => {
                match self.greeting(&record.users, record.version()) {
                    Err(refused) => {
                        Asked { questions: Vec::new(), unaskable: Some(refused.to_string()), auths: 0 }
                    }
                    Ok(greeting) => {
                        let platform = self.platform(&record.users).ok().flatten();
                        let asked = questions_of(record, platform.as_ref());
                        let acl = record.version().is_some_and(RedisVersion::has_acl);
                        let (commands, auths) = if acl {
                            ([greeting.clone(), asked].concat(), greeting.len())
                        } else {
                            // There a wrong password takes away what a right one gave: all is asked after each.
                            let one = |auth: &Vec<String>| [vec![auth.clone()], asked.clone()].concat();
                            (greeting.iter().flat_map(one).collect(), 1)
                        };
                        let question = Question {
                            at: Where::Tcp(record.address),
                            bytes: request(&commands),
                            end: End::Replies(commands.len()),
                        };
                        Asked { questions: vec![question], unaskable: None, auths }
                    }
                }
            }
        }
    }

    /// The commands by which the platform enters: one of them has to be answered by OK.
    pub(super) fn greeting(
        &self,
        users: &[User],
        version: Option<RedisVersion>,
    ) -> Result<Vec<Vec<String>>, Refused> {
        let platform = self.platform(users)?;
        let tries = |passwords: &Passwords, user: Option<&str>| {
            let auth = |password: &Password| {
                let mut words = command(&["AUTH"]);
                words.extend(user.map(str::to_owned));
                words.push(password.reveal().to_owned());
                words
            };
            passwords.iter().map(auth).collect::<Vec<_>>()
        };
        let acl = version.is_some_and(RedisVersion::has_acl);
        let name = redis_conf::user_of(users, Access::Platform).map_or(PLATFORM, |user| user.name.as_str());
        let mut all = platform.map_or_else(Vec::new, |passwords| tries(&passwords, acl.then_some(name)));
        if !acl && let Some(open) = self.shared_password(users)? {
            all.extend(tries(&open, None));
        }
        Ok(all)
    }

    fn platform(&self, users: &[User]) -> Result<Option<Passwords>, Refused> {
        let user = redis_conf::user_of(users, Access::Platform);
        user.map(|user| self.credentials.get(&user.credential)).transpose()
    }

    /// Before Redis 6: the one password of all who come in while the gate is open.
    pub(super) fn shared_password(&self, users: &[User]) -> Result<Option<Passwords>, Refused> {
        let mut gated = users.iter().filter(|user| user.access.gated());
        gated.next().map(|user| self.credentials.get(&user.credential)).transpose()
    }
}

/// As whom, and by which password, the platform enters an instance whose gate is so.
pub(super) fn life_password(
    shared: &Shared,
    record: &Record,
    gate: Gate,
) -> Result<(Option<String>, Password), Refused> {
    let acl = record.version().is_some_and(RedisVersion::has_acl);
    let open = if acl || gate == Gate::Closed { None } else { shared.shared_password(&record.users)? };
    let passwords = match open {
        Some(open) => Some(open),
        None => shared.platform(&record.users)?,
    };
    let why =
        || super::start::invalid(&record.start.name, "users", "nobody among them has access `platform`");
    let password = passwords.ok_or_else(why)?.preferred().clone();
    let user = redis_conf::user_of(&record.users, Access::Platform).filter(|_| acl);
    Ok((user.map(|user| user.name.clone()), password))
}

/// Before Redis 6 a Redis is asked for INFO, ROLE, and `maxmemory`, which INFO does not say before 3.2.
const OLD_QUESTIONS: usize = 3;

/// What one instance is asked.
struct Asked {
    questions: Vec<Question>,
    /// Why it cannot be asked.
    unaskable: Option<String>,
    /// How many of the replies are to AUTH.
    auths: usize,
}

fn questions_of(record: &Record, platform: Option<&Passwords>) -> Vec<Vec<String>> {
    let mut commands = vec![command(&["INFO"])];
    if matches!(record.start.program, Program::Redis(_)) {
        commands.push(command(&["ROLE"]));
        let version = record.version().unwrap_or(RedisVersion::new(0, 0, 0));
        commands.push(match version.has_acl() {
            true => command(&["ACL", "LIST"]),
            false => tell::hidden(&renamed(platform, version), &["CONFIG", "GET", "maxmemory"]),
        });
    }
    commands
}

fn decode(record: &Record, asked: &Asked, answers: &[Vec<u8>]) -> Result<Says, Silence> {
    match &record.start.program {
        Program::Proxy(_) => proxy_says(record, answers),
        Program::Redis(_) | Program::Sentinel(_) => {
            let strange = |error| Silence::Strange(format!("it does not speak RESP: {error}"));
            let replies = Reply::read_all(answers.first().map_or(&[], Vec::as_slice)).map_err(strange)?;
            let acl = record.version().is_some_and(RedisVersion::has_acl);
            let (auths, rest) = if acl {
                replies.split_at_checked(asked.auths).unwrap_or((&replies, &[]))
            } else {
                entered(&replies)
            };
            let entered = auths.is_empty() || auths.iter().any(|reply| reply.error().is_none());
            match rest {
                _ if !entered => Err(Silence::WrongPassword),
                [info] => reply::sentinel_says(info).map(Says::Sentinel),
                [info, role, third] => {
                    let gate = match acl {
                        true => reply::gate_of(third, &record.users),
                        false if replies.first().is_some_and(|first| first.error().is_none()) => Gate::Closed,
                        false => Gate::Open,
                    };
                    let mut says = reply::redis_says(info, role, gate)?;
                    if !acl && let Some([_, limit]) = third.elements() {
                        says.maxmemory =
                            limit.text().and_then(|text| text.parse().ok()).unwrap_or(says.maxmemory);
                    }
                    Ok(Says::Redis(says))
                }
                _ => Err(Silence::Strange("it answered less than it was asked".to_owned())),
            }
        }
    }
}

/// Before Redis 6: the first AUTH that was right, with what was answered behind it. The platform's own password, which is
/// valid while the gate is closed, was tried first.
fn entered(replies: &[Reply]) -> (&[Reply], &[Reply]) {
    let mut tries = replies.chunks(1 + OLD_QUESTIONS);
    let right = tries.find(|one| one.first().is_some_and(|auth| auth.error().is_none()));
    right.unwrap_or(&replies[..replies.len().min(1)]).split_at(replies.len().min(1))
}

fn proxy_says(record: &Record, answers: &[Vec<u8>]) -> Result<Says, Silence> {
    let [topology, sessions] = answers else {
        return Err(Silence::Strange("it answered less than it was asked".to_owned()));
    };
    let (topology, sessions) = (page(topology)?, page(sessions)?);
    let version = topology["version"].as_str();
    let strange = || Silence::Strange("its admin port does not say its version and sessions".to_owned());
    Ok(Says::Proxy(ProxySays {
        life: record.process.map(life_of).ok_or(Silence::NotRunning)?,
        version: version.ok_or_else(strange)?.to_owned(),
        epoch: record.epoch,
        sessions: sessions["matching"].as_u64().ok_or_else(strange)?,
    }))
}

/// The life of a process that has no name of its own for it.
pub(super) fn life_of(id: ProcessId) -> Life {
    Life(format!("{}-{}", id.pid, id.ticks))
}

/// The JSON of an HTTP answer.
fn page(answer: &[u8]) -> Result<Value, Silence> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200") {
        return Err(Silence::Strange(format!("its admin port answers {status}: {}", body.trim())));
    }
    serde_json::from_str(body)
        .map_err(|error| Silence::Strange(format!("its admin port answers no JSON: {error}")))
}

fn phase(record: &Record, says: &Says) -> Phase {
    match (&record.exit, record.stopping, says) {
        (Some(exit), ..) => Phase::Ended(exit.clone()),
        (None, Some(_), _) => Phase::Stopping,
        (None, None, Says::Silent(Silence::NotRunning | Silence::Refused)) => Phase::Starting,
        (None, None, _) => Phase::Running,
    }
}
