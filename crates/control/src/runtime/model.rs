//! A runtime for simulations and for what-if: it does all that [`Runtime`] allows, as chance has it, and no more.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use shoal_topology::Endpoint;

use super::{
    Access, Change, Data, Exit, Gate, Life, Link, NodeDown, NodeRef, Observation, Observed, Phase, Program,
    ProxySays, RedisSays, Refused, Replica, Role, Runtime, Says, Silence, Start, Stop, Target,
};

/// Processes that are only told of. One thread.
#[derive(Debug)]
pub struct Model {
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    processes: BTreeMap<String, Process>,
    down: BTreeSet<String>,
    now: SystemTime,
    lives: u64,
    ports: u16,
    chance: u64,
    /// Of a thousand calls so many end in [`Refused::Unknown`], done or not.
    unknown: u64,
    /// Changes that are still on their way: what they are for, and when they arrive.
    late: Vec<(SystemTime, Target, Change)>,
}

/// A process of the model.
#[derive(Clone, Debug)]
pub struct Process {
    /// What it was started with.
    pub start: Start,
    /// What it is doing.
    pub phase: Phase,
    /// Which life this is.
    pub life: Life,
    /// Who may enter.
    pub gate: Gate,
    /// Whose replica it is; None: it takes writes.
    pub of: Option<Endpoint>,
    /// Whether it follows.
    pub link: Link,
    /// Bytes of history that it has.
    pub offset: u64,
    /// What is on its disk.
    pub disk: u64,
    /// The layout that a proxy serves.
    pub epoch: u64,
    /// Its limit.
    pub maxmemory: u64,
    address: SocketAddr,
    unasked: u32,
    /// When its phase ends by itself.
    until: SystemTime,
}

impl Model {
    /// One without processes, in which chance is drawn from `seed`, and so many of a thousand calls are not answered.
    #[must_use]
    pub fn new(seed: u64, unknown: u64) -> Self {
        let inner = Inner {
            processes: BTreeMap::new(),
            down: BTreeSet::new(),
            now: SystemTime::UNIX_EPOCH,
            lives: 0,
            ports: 7000,
            chance: seed,
            unknown,
            late: Vec::new(),
        };
        Model { inner: RefCell::new(inner) }
    }

    /// What time it is there.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.inner.borrow().now
    }

    /// Calls are answered from now on.
    pub fn calm(&self) {
        self.inner.borrow_mut().unknown = 0;
    }

    /// Lets time go on: what starts comes up, what copies gets on, what takes writes gets some.
    pub fn pass(&self, time: Duration) {
        self.inner.borrow_mut().pass(time);
    }

    /// Kills a process, as a crash does.
    pub fn kill(&self, name: &str) {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now;
        if let Some(process) = inner.processes.get_mut(name) {
            process.end(now, false, "killed by signal 9");
        }
    }

    /// A machine goes down with all that runs on it, or comes back without it.
    pub fn set_down(&self, node: &str, down: bool) {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now;
        if down {
            inner.down.insert(node.to_owned());
            let there = inner.processes.values_mut().filter(|process| process.start.node.name == node);
            there.for_each(|process| process.end(now, false, "its node went down"));
        } else {
            inner.down.remove(node);
        }
    }

    /// What there is, by name.
    #[must_use]
    pub fn processes(&self) -> BTreeMap<String, Process> {
        self.inner.borrow().processes.clone()
    }
}

impl Process {
    fn is_alive(&self) -> bool {
        !matches!(self.phase, Phase::Ended(_))
    }

    /// Whether tenants can write to it.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        let serves = matches!(self.phase, Phase::Running | Phase::Stopping);
        matches!(self.start.program, Program::Redis(_))
            && serves
            && self.gate == Gate::Open
            && self.of.is_none()
    }

    fn end(&mut self, now: SystemTime, asked: bool, reason: &str) {
        if !self.is_alive() {
            return;
        }
        self.unasked = if asked { 0 } else { self.unasked + 1 };
        self.phase =
            Phase::Ended(Exit { at: now, asked, reason: reason.to_owned(), unasked_in_a_row: self.unasked });
        self.gate = Gate::Closed;
        self.offset = 0;
    }

    fn persists(&self) -> bool {
        matches!(&self.start.program, Program::Redis(redis) if redis.persistence != super::Persistence::None)
    }
}

impl Inner {
    /// A number below `below`, by SplitMix64.
    fn draw(&mut self, below: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        let (due, late): (Vec<_>, Vec<_>) = self.late.drain(..).partition(|(at, ..)| *at <= now);
        self.late = late;
        for (_, target, change) in due {
            let _ = self.change(&target, &change);
        }
        let served: BTreeMap<Endpoint, u64> = self
            .processes
            .values_mut()
            .filter_map(|process| {
                if process.takes_writes() {
                    process.offset += 10;
                }
                // Who is closed lets no replica copy.
                let copied = matches!(process.phase, Phase::Running) && process.gate == Gate::Open;
                copied.then(|| (endpoint(process.address), process.offset))
            })
            .collect();
        for process in self.processes.values_mut() {
            match process.phase {
                Phase::Starting if process.until <= now => process.phase = Phase::Running,
                Phase::Stopping if process.until <= now => {
                    process.disk = if process.persists() { process.offset } else { 0 };
                    process.end(now, true, "ended as it was told to");
                }
                Phase::Running => match &process.of {
                    Some(of) => match served.get(of) {
                        Some(offset) if process.link == Link::Up => process.offset = *offset,
                        Some(_) if process.link == Link::Down => process.link = Link::Syncing,
                        Some(offset) => (process.link, process.offset) = (Link::Up, *offset),
                        None => process.link = Link::Down,
                    },
                    // A snapshot now and then.
                    None if process.persists() && process.offset % 50 == 0 => process.disk = process.offset,
                    None => {}
                },
                _ => {}
            }
        }
    }

    /// Whether a call's answer is lost, and if so whether it was done.
    fn lost(&mut self) -> Option<bool> {
        (self.draw(1000) < self.unknown).then(|| self.draw(2) == 0)
    }

    fn start(&mut self, start: &Start) -> Result<(), Refused> {
        if self.down.contains(&start.node.name) {
            return Err(Refused::NodeDown { node: start.node.name.clone(), why: "it is down".to_owned() });
        }
        let (now, slow) = (self.now, Duration::from_millis(100 + self.draw(2000)));
        self.lives += 1;
        let life = Life(format!("life-{}", self.lives));
        if let Some(process) = self.processes.get_mut(&start.name) {
            if process.start.uid != start.uid {
                return Err(Refused::NameTaken { name: start.name.clone(), uid: process.start.uid.clone() });
            }
            if process.is_alive() {
                return Ok(());
            }
            process.disk = if start.empty { 0 } else { process.disk };
            process.offset = process.disk;
            process.start = start.clone();
            (process.phase, process.gate, process.life) = (Phase::Starting, Gate::Closed, life);
            (process.until, process.link, process.of) = (now + slow, Link::Down, None);
            process.epoch = first_epoch(start);
            return Ok(());
        }
        self.ports += 1;
        let process = Process {
            start: start.clone(),
            phase: Phase::Starting,
            life,
            gate: Gate::Closed,
            of: None,
            link: Link::Down,
            offset: 0,
            disk: 0,
            epoch: first_epoch(start),
            maxmemory: match &start.program {
                Program::Redis(redis) => redis.maxmemory,
                _ => 0,
            },
            address: SocketAddr::new(start.node.address, self.ports),
            unasked: 0,
            until: now + slow,
        };
        self.processes.insert(start.name.clone(), process);
        Ok(())
    }

    fn stop(&mut self, name: &str, uid: &str, stop: Stop) -> Result<(), Refused> {
        let gone = || Refused::Gone { name: name.to_owned(), uid: uid.to_owned() };
        let now = self.now;
        let process =
            self.processes.get_mut(name).filter(|process| process.start.uid == uid).ok_or_else(gone)?;
        if self.down.contains(&process.start.node.name) {
            return Err(Refused::NodeDown {
                node: process.start.node.name.clone(),
                why: "it is down".to_owned(),
            });
        }
        match process.phase {
            Phase::Ended(_) if stop.data == Data::Remove => {
                self.processes.remove(name);
            }
            Phase::Ended(_) | Phase::Stopping => {}
            _ if stop.grace.is_zero() => process.end(now, true, "ended as it was told to"),
            _ => (process.phase, process.until) = (Phase::Stopping, now + Duration::from_millis(300)),
        }
        Ok(())
    }

    fn change(&mut self, target: &Target, change: &Change) -> Result<(), Refused> {
        let name = || target.name.clone();
        let process = self.processes.get_mut(&target.name).filter(|process| process.start.uid == target.uid);
        let process = process.ok_or_else(|| Refused::Gone { name: name(), uid: target.uid.clone() })?;
        if !matches!(process.phase, Phase::Running | Phase::Stopping) {
            return Err(Refused::NotRunning { name: name(), why: "it does not run".to_owned() });
        }
        if process.life != target.life {
            return Err(Refused::OtherLife { name: name() });
        }
        match change {
            Change::Open => process.gate = Gate::Open,
            Change::Close => process.gate = Gate::Closed,
            Change::Primary => process.of = None,
            Change::ReplicaOf(of) => (process.of, process.link) = (Some(of.clone()), Link::Down),
            Change::MaxMemory(bytes) => process.maxmemory = *bytes,
            Change::Pool { epoch, .. } if *epoch < process.epoch => {
                let said = "an older layout".to_owned();
                return Err(Refused::Answered { name: name(), command: "POOL".to_owned(), said });
            }
            Change::Pool { epoch, .. } => process.epoch = *epoch,
            Change::Users(_) | Change::Monitor(_) | Change::Unmonitor(_) => {}
        }
        Ok(())
    }
}

impl Runtime for Model {
    fn observe(&self) -> Result<Observation, Refused> {
        let inner = self.inner.borrow();
        let replicas = |of: SocketAddr| {
            let follows = |process: &&Process| process.of == Some(endpoint(of)) && process.link == Link::Up;
            let replicas = inner.processes.values().filter(follows);
            replicas
                .map(|process| Replica { address: endpoint(process.address), offset: process.offset })
                .collect()
        };
        let instances = inner.processes.values().map(|process| Observed {
            name: process.start.name.clone(),
            uid: process.start.uid.clone(),
            generation: process.start.generation,
            owner: process.start.owner.clone(),
            node: NodeRef { name: process.start.node.name.clone(), address: process.start.node.address },
            address: Some(process.address),
            started_at: None,
            phase: match inner.down.contains(&process.start.node.name) {
                true => Phase::Unreachable { since: inner.now },
                false => process.phase.clone(),
            },
            says: match (&process.phase, &process.start.program) {
                _ if inner.down.contains(&process.start.node.name) => Says::Silent(Silence::TimedOut),
                (Phase::Running, Program::Redis(_)) => Says::Redis(RedisSays {
                    life: process.life.clone(),
                    version: "7.0.15".to_owned(),
                    gate: process.gate,
                    role: match &process.of {
                        Some(of) => Role::Replica { of: of.clone(), link: process.link },
                        None => Role::Primary { replicas: replicas(process.address) },
                    },
                    loading: false,
                    replication_id: String::new(),
                    offset: process.offset,
                    keys: process.offset / 10,
                    used_memory: process.offset,
                    maxmemory: process.maxmemory,
                }),
                (Phase::Running, Program::Proxy(_)) => Says::Proxy(ProxySays {
                    life: process.life.clone(),
                    version: String::new(),
                    epoch: process.epoch,
                    sessions: 0,
                }),
                _ => Says::Silent(Silence::NotRunning),
            },
        });
        let down = inner
            .down
            .iter()
            .map(|node| NodeDown { node: node.clone(), why: "it does not answer".to_owned() });
        Ok(Observation { instances: instances.collect(), nodes_down: down.collect() })
    }

    fn start(&self, start: &Start) -> Result<(), Refused> {
        debug_assert!(
            start.users.iter().any(|user| user.access == Access::Platform),
            "nobody could speak to it"
        );
        let mut inner = self.inner.borrow_mut();
        let lost = inner.lost();
        if lost != Some(false) {
            inner.start(start)?;
        }
        lost.map_or(Ok(()), |_| Err(unknown(&start.name)))
    }

    fn stop(&self, name: &str, uid: &str, stop: Stop) -> Result<(), Refused> {
        let mut inner = self.inner.borrow_mut();
        let lost = inner.lost();
        if lost != Some(false) {
            inner.stop(name, uid, stop)?;
        }
        lost.map_or(Ok(()), |_| Err(unknown(name)))
    }

    fn configure(&self, target: &Target, change: &Change) -> Result<(), Refused> {
        let mut inner = self.inner.borrow_mut();
        match inner.lost() {
            Some(true) => {
                let delay = Duration::from_millis(inner.draw(5000));
                let at = inner.now + delay;
                inner.late.push((at, target.clone(), change.clone()));
                Err(unknown(&target.name))
            }
            Some(false) => Err(unknown(&target.name)),
            None => inner.change(target, change),
        }
    }
}

fn first_epoch(start: &Start) -> u64 {
    match &start.program {
        Program::Proxy(proxy) => proxy.epoch,
        _ => 0,
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::Tcp { host: address.ip().to_string(), port: address.port() }
}

fn unknown(name: &str) -> Refused {
    Refused::Unknown { doing: format!("a call about {name}"), why: "the answer was lost".to_owned() }
}
