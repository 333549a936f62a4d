//! The loop that brings what is to what should be.
//!
//! ```text
//!   somebody declares ─▶ watch ─┐
//!   each second at least ───────┴─▶ pass: observe ─▶ look ─▶ plan ─▶ execute ─▶ events
//!                                     ▲                        │
//!                                     └── soon again ◀── steps were done
//! ```
//!
//! It keeps nothing from pass to pass but what it has already told: whoever comes after its death goes on where it was.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::Error;
use crate::events::{self, Note};
use crate::execute::{Outcome, Refusal, execute};
use crate::plan::{Plan, plan};
use crate::quantity::Timestamp;
use crate::resource::Kind;
use crate::runtime::Runtime;
use crate::store::{Store, Watch};
use crate::world::World;

/// Passes come at least so often: nobody tells when a process ends.
const PERIOD: Duration = Duration::from_secs(1);

/// After a pass that did something the next comes so soon; then each waits twice as long, up to [`PERIOD`].
const SOON: Duration = Duration::from_millis(20);

/// What goes wrong in the same words is told again after that time.
const TOLD_AGAIN: Duration = Duration::from_secs(600);

/// Changes of these are not waited for: people make them.
const WATCHED: [Kind; 3] = [Kind::Node, Kind::Standalone, Kind::Pool];

/// Looks, plans and executes, again and again. One at a time for a store and a runtime.
pub struct Reconciler {
    store: Arc<dyn Store + Send + Sync>,
    runtime: Arc<dyn Runtime + Send + Sync>,
    /// What was told on standard error, and when.
    told: BTreeMap<String, Timestamp>,
}

impl Reconciler {
    /// One that reads and writes these.
    #[must_use]
    pub fn new(store: Arc<dyn Store + Send + Sync>, runtime: Arc<dyn Runtime + Send + Sync>) -> Self {
        Reconciler { store, runtime, told: BTreeMap::new() }
    }

    /// One look, one plan, and its execution. What was done and refused of note is kept as events.
    ///
    /// # Errors
    /// The runtime cannot be asked, or the store cannot be read or does not take events. Steps that are refused are no
    /// error: the outcome has them.
    pub fn pass(&mut self) -> Result<Outcome, Error> {
        let observation = self.runtime.observe()?;
        let now = Timestamp::from(SystemTime::now());
        let world = World::look(&*self.store, observation, now)?;
        let plan = plan(&world);
        let outcome = execute(&plan, &*self.store, &*self.runtime, |_| ());
        self.tell_refused(&plan, &outcome, now);
        events::keep(&*self.store, notes(&world, &plan, &outcome), now)?;
        Ok(outcome)
    }

    /// Makes passes until `stop` is true, which it notices within a second and the length of a pass. What goes wrong is told
    /// on standard error, once.
    pub fn run(mut self, stop: &AtomicBool) {
        let store = Arc::clone(&self.store);
        thread::scope(|scope| {
            let (wake, woken) = sync_channel(1);
            for kind in WATCHED {
                let (store, wake) = (Arc::clone(&store), wake.clone());
                let watcher = thread::Builder::new().name(format!("watch {}", kind.plural()));
                if let Err(error) = watcher.spawn_scoped(scope, move || watch(&*store, kind, &wake, stop)) {
                    let why = format!(
                        "no thread for watching {} ({error}): changes are seen a second later",
                        kind.plural()
                    );
                    self.tell(why, Timestamp::from(SystemTime::now()));
                }
            }
            let mut pause = SOON;
            while !stop.load(Ordering::Relaxed) {
                match self.pass() {
                    Ok(outcome) if outcome.done > 0 => pause = SOON,
                    Ok(_) => pause = (2 * pause).min(PERIOD),
                    Err(error) => {
                        self.tell(in_full(&error), Timestamp::from(SystemTime::now()));
                        pause = PERIOD;
                    }
                }
                match woken.recv_timeout(pause) {
                    Ok(()) => pause = SOON,
                    // This thread has a sender of its own.
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
                }
            }
        });
    }

    fn tell_refused(&mut self, plan: &Plan, outcome: &Outcome, now: Timestamp) {
        for (number, refusal) in &outcome.refused {
            let Some(planned) = plan.steps.get(number - 1) else { continue };
            if let Some(note) = Note::of_refused(planned, refusal) {
                let cause = match refusal {
                    Refusal::Store(error) => causes(error),
                    Refusal::Runtime(_) | Refusal::Behind => String::new(),
                };
                self.tell(format!("{}: {}{cause}", planned.about, note.message), now);
            }
        }
    }

    /// A line of control's own log, unless it was there a short time ago.
    fn tell(&mut self, line: String, now: Timestamp) {
        self.told.retain(|_, at| now.since(*at) < TOLD_AGAIN);
        self.told.entry(line).or_insert_with_key(|line| {
            eprintln!("warning: {line}");
            now
        });
    }
}

/// Wakes whoever waits when something of a kind is declared otherwise.
fn watch(store: &dyn Store, kind: Kind, wake: &SyncSender<()>, stop: &AtomicBool) {
    let mut from = None;
    while !stop.load(Ordering::Relaxed) {
        let seen = match &from {
            None => store.list(kind).map(|listed| (true, Some(listed.revision))),
            Some(revision) => store.watch(kind, revision, PERIOD).map(|seen| match seen {
                Watch::Changes { changes, revision } => (!changes.is_empty(), Some(revision)),
                Watch::Expired => (true, None),
            }),
        };
        match seen {
            Ok((is_something, next)) => {
                from = next;
                if is_something {
                    // Full: somebody is about to be woken.
                    let _ = wake.try_send(());
                }
            }
            // The next pass meets the same trouble, and tells it.
            Err(_) => thread::sleep(PERIOD),
        }
    }
}

/// What is to be told of a pass.
fn notes(world: &World, plan: &Plan, outcome: &Outcome) -> Vec<Note> {
    let mut refused = outcome.refused.iter().peekable();
    let mut notes = Vec::new();
    for (number, planned) in (1..).zip(&plan.steps) {
        notes.extend(match refused.next_if(|(at, _)| *at == number) {
            Some((_, refusal)) => Note::of_refused(planned, refusal),
            None => Note::of_done(world, planned),
        });
    }
    notes
}

fn in_full(error: &Error) -> String {
    format!("{error}{}", causes(error))
}

/// What an error stands on, as `: this: and this`.
fn causes(error: &Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
