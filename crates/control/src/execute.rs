//! Carries a plan out, step by step; each may be refused, and none is insisted on.

use std::collections::BTreeSet;
use std::fmt;

use crate::Error;
use crate::plan::{Plan, Planned, Step};
use crate::resource::{ObjectRef, Resource};
use crate::runtime::{Refused, Runtime};
use crate::store::Store;

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many steps were done.
    pub done: usize,
    /// The others: the step's number, from 1, and why. What follows from them is planned from a new look.
    pub refused: Vec<(usize, Refusal)>,
}

/// Why a step was not done.
#[derive(Debug)]
pub enum Refusal {
    /// The store's reason.
    Store(Error),
    /// The runtime's reason.
    Runtime(Refused),
    /// Another step about the same object was refused before: this one was meant for after it.
    Behind,
}

/// Does the steps of a plan in their order, and tells `watch` of each before it is done.
///
/// Where a step is refused, later ones about the same object are left out, but for what is written: the store holds that
/// against what was looked at, and why something does not get on has to be known. All others go on: a service in trouble
/// keeps nobody else waiting. Whoever calls this may die at any point of it.
pub fn execute(
    plan: &Plan,
    store: &dyn Store,
    runtime: &dyn Runtime,
    mut watch: impl FnMut(&Planned),
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut behind: BTreeSet<&ObjectRef> = BTreeSet::new();
    for (number, planned) in (1..).zip(&plan.steps) {
        if behind.contains(&planned.about) && !matches!(planned.step, Step::Write(_)) {
            outcome.refused.push((number, Refusal::Behind));
            continue;
        }
        watch(planned);
        match carry_out(&planned.step, store, runtime) {
            Ok(()) => outcome.done += 1,
            Err(refusal) => {
                behind.insert(&planned.about);
                outcome.refused.push((number, refusal));
            }
        }
    }
    outcome
}

fn carry_out(step: &Step, store: &dyn Store, runtime: &dyn Runtime) -> Result<(), Refusal> {
    match step {
        Step::Create(instance) => match store.create(Resource::Instance((**instance).clone())) {
            // Somebody did it before: what was wanted is so.
            Ok(_) | Err(Error::Exists { .. }) => Ok(()),
            Err(error) => Err(Refusal::Store(error)),
        },
        Step::Write(object) => store.update((**object).clone()).map(drop).map_err(Refusal::Store),
        Step::Delete(object) => match &object.metadata().revision {
            Some(revision) => store.delete(object.kind(), object.name(), revision).map_err(Refusal::Store),
            None => Ok(()),
        },
        Step::Start(start) => runtime.start(start).map_err(Refusal::Runtime),
        Step::Stop { name, uid, stop } => match runtime.stop(name, uid, *stop) {
            Err(Refused::Gone { .. }) => Ok(()),
            result => result.map_err(Refusal::Runtime),
        },
        Step::Tell { target, change } => runtime.configure(target, change).map_err(Refusal::Runtime),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Store(error) => error.fmt(f),
            Refusal::Runtime(refused) => refused.fmt(f),
            Refusal::Behind => f.write_str("an earlier step about the same object was refused"),
        }
    }
}

#[cfg(test)]
mod tests;
