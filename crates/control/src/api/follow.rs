//! The steps that would follow a change: planned on a copy of what is.
//!
//! ```text
//!   store ─▶ copy ─▶ the change ─▶ plan ─▶ what the store would hold after it ─▶ plan ─▶ …
//! ```
//!
//! Nothing is started on the copy, so what depends on a process's answer is not among the steps: who becomes primary, who
//! is opened, where proxies are sent.

use super::{Denied, Surroundings};
use crate::Error;
use crate::admission::{Admitted, Verb};
use crate::execute;
use crate::plan::{Step, plan};
use crate::resource::{Kind, ObjectRef, Resource};
use crate::runtime::Observation;
use crate::store::{Contents, Memory, Store as _};
use crate::world::World;
use serde::Serialize;

/// How many looks ahead are taken; each goes as far as the store alone leads.
const ROUNDS: usize = 8;

/// One step that would follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Following {
    /// What it is about.
    pub about: ObjectRef,
    /// What is done and why, in one sentence.
    pub why: String,
}

pub(super) fn steps(admitted: &Admitted, around: &Surroundings<'_>) -> Result<Vec<Following>, Denied> {
    if !matches!(admitted.object.kind(), Kind::Standalone | Kind::Pool) || admitted.verb == Verb::Nothing {
        return Ok(Vec::new());
    }
    let observation = around.runtime.observe()?;
    let pending = ahead(&copy(around)?, &admitted.object, &observation, around)?;
    let after = copy(around)?;
    change(&after, admitted)?;
    let mut following = ahead(&after, &admitted.object, &observation, around)?;
    following.retain(|step| !pending.contains(step));
    Ok(following)
}

/// The steps about a service and its instances, as far as they lead without any process's answer.
fn ahead(
    copy: &Memory,
    service: &Resource,
    observation: &Observation,
    around: &Surroundings<'_>,
) -> Result<Vec<Following>, Error> {
    let mut steps: Vec<Following> = Vec::new();
    for _ in 0..ROUNDS {
        let mut plan = plan(&World::look(copy, observation.clone(), around.now)?);
        let count = steps.len();
        for planned in &plan.steps {
            let step = Following { about: planned.about.clone(), why: planned.why.clone() };
            if is_part(&step.about, service, copy)?
                && !is_note(&planned.step, copy)?
                && !steps.contains(&step)
            {
                steps.push(step);
            }
        }
        if steps.len() == count {
            break;
        }
        plan.steps.retain(|step| matches!(step.step, Step::Create(_) | Step::Write(_) | Step::Delete(_)));
        // One that is refused on the copy is planned again by the next look.
        let _ = execute::execute(&plan, copy, around.runtime, |_| ());
    }
    Ok(steps)
}

/// Whether it is the service, or an instance of it: of others' things nothing is told.
fn is_part(about: &ObjectRef, service: &Resource, copy: &Memory) -> Result<bool, Error> {
    if about.kind == service.kind() {
        return Ok(about.name == service.name());
    }
    let object = copy.get(about.kind, &about.name)?;
    Ok(object.is_some_and(|object| match &*object {
        Resource::Instance(instance) => {
            instance.spec.owner.kind == service.kind() && instance.spec.owner.name == service.name()
        }
        _ => false,
    }))
}

/// Whether a step only writes down what is known.
fn is_note(step: &Step, copy: &Memory) -> Result<bool, Error> {
    let Step::Write(new) = step else { return Ok(false) };
    let old = copy.get(new.kind(), new.name())?;
    Ok(old.is_some_and(|old| new.has_spec_of(&old) && new.metadata() == old.metadata()))
}

fn copy(around: &Surroundings<'_>) -> Result<Memory, Error> {
    let mut objects: Vec<Resource> = Vec::new();
    for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Event) {
        objects.extend(around.store.list(*kind)?.objects.iter().map(|object| Resource::clone(object)));
    }
    let copy = Memory::of(Contents::loaded("copy".to_owned(), 0, objects));
    copy.set_now(around.now);
    Ok(copy)
}

fn change(copy: &Memory, admitted: &Admitted) -> Result<(), Error> {
    let object = admitted.object.clone();
    match (admitted.verb, object.metadata().revision.clone()) {
        (Verb::Create, _) => copy.create(object).map(drop),
        (Verb::Update, _) => copy.update(object).map(drop),
        (Verb::Delete, Some(revision)) => copy.delete(object.kind(), object.name(), &revision),
        (Verb::Delete | Verb::Nothing, _) => Ok(()),
    }
}
