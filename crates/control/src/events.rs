//! What was done of note, and what was refused, for people to read: as objects of kind Event, a bounded number of them.
//!
//! ```text
//!   (world, step, done | refused) ──▶ Note ──▶ the same as one that is kept? ── count it up
//!                                                └─ no ──▶ keep it; beyond EVENTS_KEPT the oldest goes
//! ```
//!
//! An event's name follows from what it says, so that the same again finds the first. Nothing is decided from events, though
//! a condition may quote one: what is lost with control's life changes nothing.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::execute::Refusal;
use crate::plan::{Planned, Step};
use crate::quantity::Timestamp;
use crate::resource::{Event, EventSpec, EventType, Kind, ObjectRef, Resource, ServiceStatus};
use crate::runtime::{Change, Data, Refused};
use crate::service::Service;
use crate::store::Store;
use crate::world::World;

/// So many events are kept; beyond, those go that happened longest ago.
pub const EVENTS_KEPT: usize = 1_000;

/// What goes on being refused is tried each pass: it is counted no more often than once in this time.
pub const REFUSALS_COUNTED_EACH: Duration = Duration::from_secs(10);

/// Bytes of an object's name that stand in the name of its events; the rest of the 40 that a name has are a digest.
const NAME_SHOWN: usize = 23;

/// Something that happened, and is worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub regarding: ObjectRef,
    /// Whether somebody should look.
    pub kind: EventType,
    /// The reason in a word.
    pub reason: &'static str,
    /// What happened and why, in a sentence.
    pub message: String,
}

impl Note {
    /// What is told of a step that was done; none of those that only write down what is known.
    #[must_use]
    pub fn of_done(world: &World, planned: &Planned) -> Option<Self> {
        let reason = match &planned.step {
            Step::Create(_) => "Created",
            Step::Write(object) => written(world, object)?,
            Step::Delete(_) => "Released",
            Step::Start(_) => "Started",
            Step::Stop { stop, .. } if stop.data == Data::Remove => "Removed",
            Step::Stop { .. } => "Ended",
            Step::Tell { change, .. } => told(change),
        };
        let (regarding, message) = (planned.about.clone(), planned.why.clone());
        Some(Note { regarding, kind: EventType::Normal, reason, message })
    }

    /// What is told of a step that was refused; none where a new look will mend it.
    #[must_use]
    pub fn of_refused(planned: &Planned, refusal: &Refusal) -> Option<Self> {
        let (reason, why) = match refusal {
            Refusal::Behind | Refusal::Store(Error::Conflict { .. } | Error::NotFound { .. }) => return None,
            Refusal::Store(error) => ("StoreFailed", error.to_string()),
            Refusal::Runtime(refused) => (word(refused)?, refused.to_string()),
        };
        let message = format!("could not {}: {why}", planned.why);
        Some(Note { regarding: planned.about.clone(), kind: EventType::Warning, reason, message })
    }

    /// The name of its event.
    fn name(&self) -> String {
        let ObjectRef { kind, name, uid } = &self.regarding;
        let mut digest = Sha256::new();
        for part in [kind.name(), name, &uid.0, self.reason, &self.message] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        let digest: String = digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let shown: String = name.chars().take(NAME_SHOWN).collect();
        format!("{shown}-{digest}")
    }

    /// The event anew, or counted up.
    fn event(self, known: Option<&Event>, now: Timestamp) -> Event {
        if let Some(known) = known {
            let mut event = known.clone();
            event.spec.count += 1;
            event.spec.last_timestamp = now;
            return event;
        }
        let name = self.name();
        let spec = EventSpec {
            regarding: self.regarding,
            kind: self.kind,
            reason: self.reason.to_owned(),
            message: self.message,
            count: 1,
            first_timestamp: now,
            last_timestamp: now,
        };
        Event::new(name, spec)
    }
}

/// Keeps what is to be told.
///
/// # Errors
/// The store's; what comes after in `notes` is lost then, which nobody has to make good.
pub fn keep(store: &dyn Store, mut notes: Vec<Note>, now: Timestamp) -> Result<(), Error> {
    if notes.is_empty() {
        return Ok(());
    }
    // More would push one another out.
    notes.drain(..notes.len().saturating_sub(EVENTS_KEPT));
    for note in notes {
        let known = store.get(Kind::Event, &note.name())?;
        let known: Option<&Event> = known.as_deref().and_then(|known| known.try_into().ok());
        match known {
            Some(known) if note.kind == EventType::Warning && is_fresh(known, now) => {}
            Some(_) => drop(store.update(note.event(known, now).into())?),
            None => drop(store.create(note.event(None, now).into())?),
        }
    }
    forget(store)
}

fn is_fresh(known: &Event, now: Timestamp) -> bool {
    now.since(known.spec.last_timestamp) < REFUSALS_COUNTED_EACH
}

/// Lets those go that are too many.
fn forget(store: &dyn Store) -> Result<(), Error> {
    let mut events = store.list(Kind::Event)?.objects;
    let too_many = events.len().saturating_sub(EVENTS_KEPT);
    if too_many > 0 {
        events.sort_by_key(last);
        for event in &events[..too_many] {
            let Some(revision) = &event.metadata().revision else { continue };
            store.delete(Kind::Event, event.name(), revision)?;
        }
    }
    Ok(())
}

fn last(event: &Arc<Resource>) -> Timestamp {
    match &**event {
        Resource::Event(event) => event.spec.last_timestamp,
        _ => Timestamp::default(),
    }
}

/// What a write did, if it is more than to write down what is known.
fn written(world: &World, object: &Resource) -> Option<&'static str> {
    if let Resource::Instance(new) = object {
        let old = world.instance(new.name())?.object;
        return match () {
            () if old.spec.node != new.spec.node => Some("Placed"),
            () if old.spec != new.spec => Some("Changed"),
            () => None,
        };
    }
    let new = Service::of(object)?;
    let old = world.service(&new.owner())?;
    let is_named = primaries(old.status()).ne(primaries(new.status()))
        && primaries(new.status()).any(|primary| primary.is_some());
    is_named.then_some("PrimaryNamed")
}

fn primaries(status: &ServiceStatus) -> impl Iterator<Item = Option<&crate::resource::Primary>> {
    status.shards.iter().map(|shard| shard.primary.as_ref())
}

const fn told(change: &Change) -> &'static str {
    match change {
        Change::Open => "Opened",
        Change::Close => "Closed",
        Change::Primary => "Promoted",
        Change::ReplicaOf(_) => "Following",
        Change::MaxMemory(_) => "MemoryChanged",
        Change::Users(_) => "UsersChanged",
        Change::Monitor(_) => "Watched",
        Change::Unmonitor(_) => "Unwatched",
        Change::Pool { .. } => "LayoutChanged",
    }
}

/// Why a runtime refused, in a word; none where it was only looked at too early.
const fn word(refused: &Refused) -> Option<&'static str> {
    match refused {
        Refused::Gone { .. }
        | Refused::NotRunning { .. }
        | Refused::OtherLife { .. }
        | Refused::NodeDown { .. } => None,
        Refused::NameTaken { .. } => Some("NameTaken"),
        Refused::Answered { .. } => Some("ProcessRefused"),
        Refused::NoProgram { .. } => Some("NoProgram"),
        Refused::PortTaken { .. } => Some("PortTaken"),
        Refused::Credential { .. } => Some("CredentialUnusable"),
        Refused::Invalid { .. } => Some("Invalid"),
        Refused::Machine { .. } => Some("MachineRefused"),
        Refused::Unknown { .. } => Some("NotAnswered"),
    }
}
