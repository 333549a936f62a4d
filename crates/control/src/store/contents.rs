//! What a store holds, as a value: every rule of [`Store`](super::Store) stands here, for all stores on this machine.
//!
//! A change is made in two steps, so that a store may write it down in between:
//!
//! ```text
//!   plan_* (checks, and says what will be) ──▶ Write ──▶ written to the disk ──▶ commit
//! ```

use super::{Change, Listed, Watch};
use crate::Error;
use crate::quantity::Timestamp;
use crate::resource::{Kind, Resource, Revision, Uid};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How many changes are kept for watches; who is further behind lists again.
pub const CHANGES_KEPT: usize = 20_000;

/// All objects, and the last changes.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Another for each restore, so that a revision from before names nothing after.
    incarnation: String,
    objects: BTreeMap<Kind, BTreeMap<String, Arc<Resource>>>,
    /// The number of the last change of any object.
    last: u64,
    /// The changes after `forgotten`, up to `last`.
    changes: VecDeque<Change>,
    /// Changes up to this one are not known any more.
    forgotten: u64,
    kept: usize,
}

/// What the surroundings add to a write.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// The time.
    pub now: Timestamp,
    /// For an object that is created: never used before.
    pub uid: Uid,
}

/// A change that was found right and is not made yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Its number.
    pub number: u64,
    /// What it changes.
    pub change: Change,
}

impl Contents {
    /// Nothing yet. `incarnation` has no `-`.
    #[must_use]
    pub fn empty(incarnation: String) -> Self {
        Contents::loaded(incarnation, 0, std::iter::empty())
    }

    /// As it was read from where it is kept; no watch from before goes on.
    #[must_use]
    pub fn loaded(incarnation: String, last: u64, objects: impl IntoIterator<Item = Resource>) -> Self {
        let mut contents = Contents {
            incarnation,
            objects: BTreeMap::new(),
            last,
            changes: VecDeque::new(),
            forgotten: last,
            kept: CHANGES_KEPT,
        };
        for object in objects {
            let of_kind = contents.objects.entry(object.kind()).or_default();
            of_kind.insert(object.name().to_owned(), Arc::new(object));
        }
        contents
    }

    /// The same with room for that many changes.
    #[must_use]
    pub const fn keeping(mut self, changes: usize) -> Self {
        self.kept = changes;
        self
    }

    /// One object.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &str) -> Option<Arc<Resource>> {
        self.objects.get(&kind)?.get(name).cloned()
    }

    /// All objects of a kind.
    #[must_use]
    pub fn list(&self, kind: Kind) -> Listed {
        let objects =
            self.objects.get(&kind).map(|objects| objects.values().cloned().collect()).unwrap_or_default();
        Listed { objects, revision: self.revision(self.last) }
    }

    /// All objects.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.objects.values().flat_map(BTreeMap::values)
    }

    /// What happened to objects of a kind since.
    #[must_use]
    pub fn watch(&self, kind: Kind, from: &Revision) -> Watch {
        let Some(from) = self.number(from).filter(|from| (self.forgotten..=self.last).contains(from)) else {
            return Watch::Expired;
        };
        let seen = usize::try_from(from - self.forgotten).unwrap_or(usize::MAX);
        let changes = self.changes.iter().skip(seen).filter(|change| change.object().kind() == kind).cloned();
        Watch::Changes { changes: changes.collect(), revision: self.revision(self.last) }
    }

    /// Whether any object was changed since.
    #[must_use]
    pub fn is_newer(&self, from: &Revision) -> bool {
        self.number(from) != Some(self.last)
    }

    /// What [`create`](super::Store::create) would do.
    ///
    /// # Errors
    /// [`Error::Exists`].
    pub fn plan_create(&self, mut object: Resource, stamp: Stamp) -> Result<Write, Error> {
        if self.get(object.kind(), object.name()).is_some() {
            return Err(Error::Exists { kind: object.kind(), name: object.name().to_owned() });
        }
        let number = self.last + 1;
        let revision = self.revision(number);
        let metadata = object.metadata_mut();
        metadata.uid = stamp.uid;
        metadata.revision = Some(revision);
        metadata.generation = 1;
        metadata.creation_timestamp = Some(stamp.now);
        metadata.deletion_timestamp = None;
        Ok(Write { number, change: Change::Put(Arc::new(object)) })
    }

    /// What [`update`](super::Store::update) would do.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::NotFound`], [`Error::NoRevision`].
    pub fn plan_update(&self, mut object: Resource) -> Result<Write, Error> {
        let (kind, name) = (object.kind(), object.name().to_owned());
        let Some(revision) = object.metadata().revision.clone() else {
            return Err(Error::NoRevision { kind, name });
        };
        let stored = self.unchanged(kind, &name, &revision)?;
        let number = self.last + 1;
        let is_other = !object.has_spec_of(&stored);
        let metadata = object.metadata_mut();
        metadata.uid.clone_from(&stored.metadata().uid);
        metadata.creation_timestamp = stored.metadata().creation_timestamp;
        metadata.deletion_timestamp = stored.metadata().deletion_timestamp;
        metadata.generation = stored.metadata().generation + u64::from(is_other);
        metadata.revision = Some(self.revision(number));
        let is_gone = metadata.is_deleted() && metadata.finalizers.is_empty();
        let object = Arc::new(object);
        Ok(Write { number, change: if is_gone { Change::Gone(object) } else { Change::Put(object) } })
    }

    /// What [`delete`](super::Store::delete) would do; None if its deletion was asked for already.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::NotFound`].
    pub fn plan_delete(
        &self,
        kind: Kind,
        name: &str,
        revision: &Revision,
        now: Timestamp,
    ) -> Result<Option<Write>, Error> {
        let stored = self.unchanged(kind, name, revision)?;
        let number = self.last + 1;
        if stored.metadata().finalizers.is_empty() {
            return Ok(Some(Write { number, change: Change::Gone(stored) }));
        }
        if stored.metadata().is_deleted() {
            return Ok(None);
        }
        let mut marked = Resource::clone(&stored);
        marked.metadata_mut().deletion_timestamp = Some(now);
        marked.metadata_mut().revision = Some(self.revision(number));
        Ok(Some(Write { number, change: Change::Put(Arc::new(marked)) }))
    }

    /// Makes a change that was planned on these very contents; returns the object.
    pub fn commit(&mut self, write: Write) -> Arc<Resource> {
        debug_assert_eq!(write.number, self.last + 1, "planned on other contents");
        self.last = write.number;
        let object = write.change.object().clone();
        let of_kind = self.objects.entry(object.kind()).or_default();
        match &write.change {
            Change::Put(object) => of_kind.insert(object.name().to_owned(), object.clone()),
            Change::Gone(object) => of_kind.remove(object.name()),
        };
        self.changes.push_back(write.change);
        while self.changes.len() > self.kept {
            self.changes.pop_front();
            self.forgotten += 1;
        }
        object
    }

    /// The object, if it still has that revision.
    fn unchanged(&self, kind: Kind, name: &str, revision: &Revision) -> Result<Arc<Resource>, Error> {
        let stored = self.get(kind, name).ok_or_else(|| Error::NotFound { kind, name: name.to_owned() })?;
        match &stored.metadata().revision {
            Some(current) if current == revision => Ok(stored),
            _ => Err(Error::Conflict { kind, name: name.to_owned() }),
        }
    }

    fn revision(&self, number: u64) -> Revision {
        Revision(format!("{}-{number}", self.incarnation))
    }

    /// The number of a revision of this incarnation.
    fn number(&self, revision: &Revision) -> Option<u64> {
        let (incarnation, number) = revision.0.rsplit_once('-')?;
        (incarnation == self.incarnation).then(|| number.parse().ok())?
    }
}

impl Change {
    /// The object that was changed.
    #[must_use]
    pub const fn object(&self) -> &Arc<Resource> {
        match self {
            Change::Put(object) | Change::Gone(object) => object,
        }
    }
}
