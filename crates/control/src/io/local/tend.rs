//! What has to be done without being asked: ends are noted, stops are carried through.

use std::fs;
use std::time::SystemTime;

use rustix::process::Signal;

use super::exits;
use super::layout::Place;
use super::process::{self, Holders, Lock};
use super::record::{ProcessId, Record, Stopping};
use super::{Shared, State};
use crate::io::private_file;
use crate::runtime::{Data, Refused, Stop};

/// What can be seen of an instance's process.
enum Seen {
    /// It runs.
    Process(ProcessId),
    /// Somebody holds its lock and cannot be told yet: a fork on its way to become the program.
    Coming,
    /// Nobody runs, and nobody will: the lock is held here.
    Nobody(Lock),
}

impl Shared {
    pub(super) fn stop(&self, name: &str, uid: &str, stop: Stop) -> Result<(), Refused> {
        let mut state = self.state();
        self.tend(&mut state);
        let gone = || Refused::Gone { name: name.to_owned(), uid: uid.to_owned() };
        let record = state.records.get(name).filter(|record| record.start.uid == uid).ok_or_else(gone)?;
        let node = record.start.node.name.clone();
        if let Some((why, _)) = self.node_down(&node)? {
            return Err(Refused::NodeDown { node, why });
        }
        let asked = SystemTime::now() + stop.grace;
        let kill_at = record.stopping.map_or(asked, |before| before.kill_at.min(asked));
        let remove = stop.data == Data::Remove || record.stopping.is_some_and(|before| before.remove);
        let mut record = record.clone();
        record.stopping = Some(Stopping { kill_at, remove });
        // What could not be noted is not done: the caller is told, and asks again.
        record.write(&self.layout.place(name))?;
        state.records.insert(name.to_owned(), record);
        self.tend(&mut state);
        Ok(())
    }

    /// Brings what is known up to what is. Cheap where nothing happened: two small files of /proc for each instance.
    pub(super) fn tend(&self, state: &mut State) {
        let now = SystemTime::now();
        let names: Vec<String> = state.records.keys().cloned().collect();
        for name in names {
            let place = self.layout.place(&name);
            if let Err(refused) = self.tend_one(state, &name, &place, now) {
                // A full disk, most of all. It is known all the same, and a start or stop that cannot be noted is refused.
                log(&format!("{name}: {refused}"));
            }
        }
    }

    fn tend_one(&self, state: &mut State, name: &str, place: &Place, now: SystemTime) -> Result<(), Refused> {
        let Some(record) = state.records.get(name) else { return Ok(()) };
        let mut record = record.clone();
        if record.exit.is_none() {
            let status = match state.children.get_mut(name) {
                Some(child) => child.try_wait().unwrap_or(None),
                None => None,
            };
            match self.see(&record, place)? {
                Seen::Process(id) => {
                    if record.process != Some(id) {
                        record.process = Some(id);
                        state.records.insert(name.to_owned(), record.clone());
                        // Only a hint for who comes after, who would find the process without it.
                        record.write(place)?;
                    }
                    return end(state, name, &record, id, place, now);
                }
                Seen::Coming => return Ok(()),
                Seen::Nobody(_lock) => {
                    record.exit = Some(exits::exit(&record, status, place, now));
                    record.process = None;
                    state.children.remove(name);
                    state.signalled.remove(name);
                    state.records.insert(name.to_owned(), record.clone());
                    // Without the note, who comes after sees that it has ended, though not how.
                    record.write(place)?;
                }
            }
        }
        if record.stopping.is_some_and(|stopping| stopping.remove) {
            self.forget(name, place)?;
            state.records.remove(name);
        }
        Ok(())
    }

    fn see(&self, record: &Record, place: &Place) -> Result<Seen, Refused> {
        let path = place.lock();
        if let Some(id) = record.process
            && process::holds(id, &path)
        {
            return Ok(Seen::Process(id));
        }
        let refused = |error| private_file::refused("looking for a process", &path, &error);
        if let Some(lock) = Lock::take(&path).map_err(refused)? {
            return Ok(Seen::Nobody(lock));
        }
        let holders = Holders::scan().map_err(refused)?;
        if record.process.is_some() {
            // It is gone, and what it had started for a snapshot holds on: it would write into the next life's files.
            for id in holders.of(&path) {
                process::signal(*id, &path, Signal::KILL).map_err(refused)?;
            }
            return Ok(Seen::Coming);
        }
        Ok(holders.main_of(&path).map_or(Seen::Coming, Seen::Process))
    }

    /// Kills all that runs on a node.
    pub(super) fn kill_node(&self, state: &mut State, node: &str) -> Result<(), Refused> {
        let on_node = state.records.iter().filter(|(_, record)| record.start.node.name == node);
        for (name, record) in on_node {
            let place = self.layout.place(name);
            if let Seen::Process(id) = self.see(record, &place)? {
                kill(id, &place)?;
            }
        }
        Ok(())
    }

    /// Removes all trace of an instance. Under another name first: what a crash leaves of it is nobody's.
    fn forget(&self, name: &str, place: &Place) -> Result<(), Refused> {
        let away = self.layout.instances().join(format!(".gone-{name}"));
        private_file::remove_folder(&away)?;
        fs::rename(&place.dir, &away)
            .map_err(|error| private_file::refused(&format!("removing {name}"), &place.dir, &error))?;
        private_file::remove_folder(&away)
    }
}

/// Carries a stop through.
fn end(
    state: &mut State,
    name: &str,
    record: &Record,
    id: ProcessId,
    place: &Place,
    now: SystemTime,
) -> Result<(), Refused> {
    let Some(stopping) = record.stopping else { return Ok(()) };
    if now >= stopping.kill_at {
        return kill(id, place);
    }
    // Once only: to a proxy a second one means to hurry. After a crash of control it is sent again.
    if state.signalled.insert(name.to_owned()) {
        let sent = process::signal(id, &place.lock(), Signal::TERM);
        sent.map_err(|error| private_file::refused(&format!("ending {name}"), &place.dir, &error))?;
    }
    Ok(())
}

/// Kills a process and what it had started for a snapshot.
fn kill(id: ProcessId, place: &Place) -> Result<(), Refused> {
    let path = place.lock();
    let refused = |error| private_file::refused("killing a process", &path, &error);
    process::signal(id, &path, Signal::KILL).map_err(refused)?;
    for other in Holders::scan().map_err(refused)?.of(&path) {
        process::signal(*other, &path, Signal::KILL).map_err(refused)?;
    }
    Ok(())
}

/// A line of control's own log.
fn log(line: &str) {
    eprintln!("warning: {line}");
}
