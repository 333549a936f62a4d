//! Looking: lists, objects, watches, logs. Who is a tenant sees its own.

use super::{Answer, Caller, Denied, Surroundings};
use crate::Error;
use crate::resource::{Kind, ObjectRef, Resource, Revision};
use crate::store::{Change, Watch};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn list(
    caller: &Caller,
    kind: Kind,
    regarding: Option<&ObjectRef>,
    around: &Surroundings<'_>,
) -> Result<Answer, Denied> {
    let listed = around.store.list(kind)?;
    let mut items = Vec::new();
    for object in &listed.objects {
        let is_asked = match (regarding, &**object) {
            (Some(about), Resource::Event(event)) => {
                event.spec.regarding.kind == about.kind && event.spec.regarding.name == about.name
            }
            _ => true,
        };
        if is_asked && caller.sees(object, around.store)? {
            items.push(json!(**object));
        }
    }
    Ok(Answer::of(json!({ "kind": format!("{kind}List"), "revision": listed.revision, "items": items })))
}

/// One object; what is not theirs is not there.
pub(super) fn find(
    caller: &Caller,
    kind: Kind,
    name: &str,
    around: &Surroundings<'_>,
) -> Result<Arc<Resource>, Denied> {
    if let Some(object) = around.store.get(kind, name)?
        && caller.sees(&object, around.store)?
    {
        return Ok(object);
    }
    let mut denied = Denied::from(Error::NotFound { kind, name: name.to_owned() });
    if let Some(tenant) = caller.tenant() {
        denied.message = format!("{} of tenant {tenant}", denied.message);
    }
    Err(denied)
}

pub(super) fn get(
    caller: &Caller,
    kind: Kind,
    name: &str,
    around: &Surroundings<'_>,
) -> Result<Answer, Denied> {
    Ok(Answer::of(json!(*find(caller, kind, name, around)?)))
}

/// What happened since; does not wait.
pub(super) fn watch(
    caller: &Caller,
    kind: Kind,
    from: &Revision,
    around: &Surroundings<'_>,
) -> Result<Answer, Denied> {
    let Watch::Changes { changes, revision } = around.store.watch(kind, from, std::time::Duration::ZERO)?
    else {
        return Err(Denied::new(
            410,
            "Expired",
            format!("the revision {from} is too old: list {} again", kind.plural()),
        ));
    };
    let mut seen: Vec<Value> = Vec::new();
    for change in &changes {
        if caller.sees(change.object(), around.store)? {
            let what = if matches!(change, Change::Put(_)) { "put" } else { "gone" };
            seen.push(json!({ "type": what, "object": **change.object() }));
        }
    }
    let quiet_since = seen.is_empty().then(|| revision.clone());
    let body = json!({ "revision": revision, "changes": seen });
    Ok(Answer { quiet_since, ..Answer::of(body) })
}

pub(super) fn logs(
    caller: &Caller,
    instance: &str,
    lines: usize,
    around: &Surroundings<'_>,
) -> Result<Answer, Denied> {
    find(caller, Kind::Instance, instance, around)?;
    Ok(Answer::of(json!({ "lines": around.logs.log(instance, lines)? })))
}
