//! Changing: every change passes admission; a dry run says what would be.

use super::answer::remarks;
use super::{Answer, Caller, Denied, Surroundings, follow, see};
use crate::Error;
use crate::admission::{self, Admitted, Request, Stored, Verb};
use crate::resource::{Kind, Resource, Revision, from_yaml};
use serde_json::{Value, json};
use std::sync::Arc;

/// How often a change is tried again that a reconciler's write came before.
const ATTEMPTS: usize = 8;

pub(super) fn apply(
    caller: &Caller,
    (kind, name): (Kind, &str),
    body: &str,
    dry_run: bool,
    around: &Surroundings<'_>,
) -> Result<Answer, Denied> {
    let object = read(kind, name, body)?;
    // Whoever says which revision they saw wants to hear of it; all others want their spec.
    let is_insisting = object.metadata().revision.is_some();
    for _ in 0..ATTEMPTS {
        let old = around.store.get(kind, name)?;
        wall(caller, &object, old.as_deref(), around)?;
        let admitted = admission::admit(&stored(around)?, Request::apply(object.clone()))?;
        if dry_run {
            return preview(old.as_deref(), &admitted, around);
        }
        let done = match admitted.verb {
            Verb::Create => around.store.create(admitted.object.clone()),
            Verb::Update => around.store.update(admitted.object.clone()),
            Verb::Nothing | Verb::Delete => Ok(Arc::new(admitted.object.clone())),
        };
        match done {
            Err(Error::Conflict { .. } | Error::Exists { .. } | Error::NotFound { .. }) if !is_insisting => {}
            Err(error) => return Err(error.into()),
            Ok(object) => {
                let body = json!({
                    "verb": word(admitted.verb),
                    "object": *object,
                    "warnings": remarks(&admitted.warnings),
                });
                let status = if admitted.verb == Verb::Create { 201 } else { 200 };
                return Ok(Answer { status, ..Answer::of(body) });
            }
        }
    }
    Err(Error::Conflict { kind, name: name.to_owned() }.into())
}

pub(super) fn delete(
    caller: &Caller,
    (kind, name): (Kind, &str),
    seen: Option<&Revision>,
    dry_run: bool,
    around: &Surroundings<'_>,
) -> Result<Answer, Denied> {
    for _ in 0..ATTEMPTS {
        let old = see::find(caller, kind, name, around)?;
        let request = Request::Delete { kind, name: name.to_owned() };
        let admitted = admission::admit(&stored(around)?, request)?;
        if dry_run {
            return preview(Some(&old), &admitted, around);
        }
        let Some(revision) = seen.or(old.metadata().revision.as_ref()) else {
            return Err(Error::NoRevision { kind, name: name.to_owned() }.into());
        };
        match around.store.delete(kind, name, revision) {
            Err(Error::Conflict { .. }) if seen.is_none() => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                // Its processes end first, where it has some.
                let left =
                    around.store.get(kind, name)?.filter(|left| left.metadata().uid == old.metadata().uid);
                let verb = if left.is_some() { "deleting" } else { "deleted" };
                return Ok(Answer::of(json!({ "verb": verb, "object": *left.unwrap_or(old) })));
            }
        }
    }
    Err(Error::Conflict { kind, name: name.to_owned() }.into())
}

/// The one object of a body, which must be what the path names.
fn read(kind: Kind, name: &str, body: &str) -> Result<Resource, Denied> {
    let mut declared = from_yaml("request", body)?;
    let (Some(one), true) = (declared.pop(), declared.is_empty()) else {
        return Err(Denied::bad("the body must be one object, in YAML or JSON"));
    };
    let object = one.resource;
    if object.kind() != kind || object.name() != name {
        let given = object.reference();
        return Err(Denied::bad(format!("the body declares {given}, and the path names {kind}/{name}")));
    }
    Ok(object)
}

/// Keeps tenants to what is theirs, before anything is said of what is there.
fn wall(
    caller: &Caller,
    new: &Resource,
    old: Option<&Resource>,
    around: &Surroundings<'_>,
) -> Result<(), Denied> {
    let Some(tenant) = caller.tenant() else { return Ok(()) };
    let reference = format!("{} {}", new.kind(), new.name());
    if new.tenant() != Some(tenant) {
        let given = new.tenant().unwrap_or_default();
        return Err(Denied::forbidden(format!(
            "{reference} is declared for tenant {given}, and the token {} is of tenant {tenant}: write spec.tenant: {tenant}",
            caller.token
        )));
    }
    match old {
        Some(old) if !caller.sees(old, around.store)? => {
            Err(Denied::forbidden(format!("the name of {reference} is taken: choose another")))
        }
        _ => Ok(()),
    }
}

fn stored(around: &Surroundings<'_>) -> Result<Stored, Denied> {
    let mut objects = Vec::new();
    for kind in Stored::KINDS {
        objects.extend(around.store.list(kind)?.objects);
    }
    Ok(objects.into_iter().collect())
}

/// What would be: the object before and after, and the steps that would follow.
fn preview(old: Option<&Resource>, admitted: &Admitted, around: &Surroundings<'_>) -> Result<Answer, Denied> {
    let steps = follow::steps(admitted, around)?;
    let new = match admitted.verb {
        Verb::Delete => Value::Null,
        Verb::Create | Verb::Update | Verb::Nothing => json!(admitted.object),
    };
    Ok(Answer::of(json!({
        "verb": word(admitted.verb),
        "dryRun": true,
        "old": old,
        "new": new,
        "warnings": remarks(&admitted.warnings),
        "steps": steps,
    })))
}

const fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Create => "created",
        Verb::Update => "configured",
        Verb::Nothing => "unchanged",
        Verb::Delete => "deleted",
    }
}
