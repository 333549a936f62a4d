//! The one entrance: whatever people ask for comes by here before it is kept.
//!
//! ```text
//!   (stored objects, request) ─▶ defaults ─▶ validate ─▶ fixed ─▶ quota ─▶ warnings ─▶ Admitted { object, warnings }
//!                                              └────────────┴────────┴───▶ Refused: each reason with its field's path
//! ```
//!
//! Pure: what it has seen may be old by the time the object is written, so the object bears the revision that was seen,
//! and the store refuses it if somebody was faster. Two requests of one tenant at the same moment are the caller's to
//! put one behind the other: quotas are sums over many objects, and no store compares those.
//!
//! Does not place: whether nodes have the room is the scheduler's to say.

mod defaults;
mod fixed;
mod quota;
#[cfg(test)]
mod tests;
mod validate;
mod warnings;

use crate::Error;
use crate::resource::{Kind, Object, Resource, Spec};
pub use quota::{QuotaResource, usage_of, used_by};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
pub use validate::{
    ANNOTATIONS_MAX, EXISTING_MAX, MEMORY_MIN, NAME_MAX, POOL_SHARDS_MAX, PROXIES_MAX, REPLICAS_MAX,
    is_dns_label,
};
pub use warnings::{REQUESTS_WARNING, SHARD_WARNING, STANDALONE_WARNING};

/// The objects that admission looks at: tenants, nodes, standalones, pools and instances. Others may be left out.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    objects: BTreeMap<(Kind, String), Arc<Resource>>,
}

impl FromIterator<Arc<Resource>> for Stored {
    fn from_iter<I: IntoIterator<Item = Arc<Resource>>>(objects: I) -> Self {
        let keyed = objects.into_iter().map(|object| ((object.kind(), object.name().to_owned()), object));
        Stored { objects: keyed.collect() }
    }
}

impl Stored {
    /// The kinds of which it wants to see all objects.
    pub const KINDS: [Kind; 5] = [Kind::Tenant, Kind::Node, Kind::Standalone, Kind::Pool, Kind::Instance];

    /// One object.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Arc<Resource>> {
        self.objects.get(&(kind, name.to_owned()))
    }

    /// All objects.
    pub fn all(&self) -> impl Iterator<Item = &Resource> {
        self.objects.values().map(AsRef::as_ref)
    }

    /// All objects of a type.
    fn each<'a, S: Spec + 'a>(&'a self) -> impl Iterator<Item = &'a Object<S>>
    where
        &'a Resource: TryInto<&'a Object<S>>,
    {
        self.all().filter_map(|object| object.try_into().ok())
    }
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// That this object be so, whether it is there or not. With a revision: unless it was changed since.
    Apply(Box<Resource>),
    /// That this object go.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
}

impl Request {
    /// That this object be so.
    #[must_use]
    pub fn apply(object: impl Into<Resource>) -> Self {
        Request::Apply(Box::new(object.into()))
    }
}

/// What may be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// The object as it is to be written (or deleted), with all defaults.
    pub object: Resource,
    /// What is to be done with it.
    pub verb: Verb,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Remark>,
}

/// What is to be done with an admitted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It is not there.
    Create,
    /// It is there and is another; the object bears the revision that was seen.
    Update,
    /// It is there, and is so already.
    Nothing,
    /// It goes.
    Delete,
}

/// A field, and what is to be said of it: why it is refused, or what is better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The field, such as `spec.memory`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Gathers remarks.
#[derive(Debug, Default)]
struct Remarks(Vec<Remark>);

impl Remarks {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Remark { path: path.into(), message: message.into() });
    }

    fn add_if(&mut self, condition: bool, path: &str, message: impl FnOnce() -> String) {
        if condition {
            self.add(path, message());
        }
    }
}

/// Says what may be written for a request, or why nothing.
///
/// # Errors
/// [`Error::Refused`] with every reason that was found; [`Error::NotFound`] if what is to go is not there.
pub fn admit(stored: &Stored, request: Request) -> Result<Admitted, Error> {
    match request {
        Request::Apply(object) => apply(stored, *object),
        Request::Delete { kind, name } => delete(stored, kind, name),
    }
}

fn apply(stored: &Stored, mut object: Resource) -> Result<Admitted, Error> {
    let known = stored.get(object.kind(), object.name()).map(AsRef::as_ref);
    keep_what_is_the_platform_s(&mut object, known);
    defaults::fill(&mut object);

    let mut reasons = Remarks::default();
    validate::check(stored, &object, &mut reasons);
    if let Some(known) = known {
        fixed::check(known, &object, &mut reasons);
    }
    if reasons.0.is_empty() {
        quota::check(stored, &object, &mut reasons);
    }
    refuse_for(reasons, &object)?;

    let warnings = warnings::of(stored, &object);
    let verb = match known {
        None => Verb::Create,
        Some(known) if *known == object => Verb::Nothing,
        Some(_) => Verb::Update,
    };
    Ok(Admitted { object, verb, warnings })
}

/// Of what somebody sends back, the platform's own fields are not believed.
fn keep_what_is_the_platform_s(object: &mut Resource, known: Option<&Resource>) {
    let metadata = object.metadata_mut();
    let Some(known) = known else {
        let asked = std::mem::take(metadata);
        *metadata = crate::resource::Metadata {
            name: asked.name,
            labels: asked.labels,
            annotations: asked.annotations,
            ..Default::default()
        };
        object.clear_status();
        return;
    };
    let asked = std::mem::take(metadata);
    *metadata = crate::resource::Metadata {
        labels: asked.labels,
        annotations: asked.annotations,
        revision: asked.revision.or_else(|| known.metadata().revision.clone()),
        ..known.metadata().clone()
    };
    object.take_status_of(known);
}

fn delete(stored: &Stored, kind: Kind, name: String) -> Result<Admitted, Error> {
    let Some(object) = stored.get(kind, &name) else { return Err(Error::NotFound { kind, name }) };
    let mut reasons = Remarks::default();
    validate::check_deletion(stored, object, &mut reasons);
    refuse_for(reasons, object)?;
    Ok(Admitted { object: Resource::clone(object), verb: Verb::Delete, warnings: Vec::new() })
}

fn refuse_for(reasons: Remarks, object: &Resource) -> Result<(), Error> {
    if reasons.0.is_empty() {
        return Ok(());
    }
    Err(Error::Refused { kind: object.kind(), name: object.name().to_owned(), reasons: reasons.0 })
}
