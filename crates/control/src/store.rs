//! Where objects are kept: what Kubernetes promises, and no more.
//!
//! ```text
//!   create ──▶ ┐                       ┌──▶ get, list (with a revision)
//!   update ──▶ ├─ compare-and-set of   │
//!   delete ──▶ ┘  one object ──▶ kept ─┴──▶ watch from a revision: changes in order, or Expired ──▶ list again
//! ```
//!
//! What is acknowledged is kept, whatever dies afterwards. There is no transaction over several objects.
//!
//! Does not judge what objects say: that is [`admission`](crate::admission)'s.

#[cfg(test)]
pub(crate) mod conformance;
mod contents;
mod memory;
mod typed;

use crate::Error;
use crate::resource::{Kind, Resource, Revision};
pub use contents::{CHANGES_KEPT, Contents, Stamp, Write};
pub use memory::Memory;
use std::sync::Arc;
use std::time::Duration;
pub use typed::Typed;

/// Where objects are kept.
///
/// A revision is opaque: it is the same as another or not. An object's is in its metadata and changes with each change
/// of the object; a list's names the state of all objects of the kind, for [`watch`](Store::watch) to go on from.
pub trait Store {
    /// One object; None if there is none of the name.
    ///
    /// # Errors
    /// Whatever keeps the store from answering.
    fn get(&self, kind: Kind, name: &str) -> Result<Option<Arc<Resource>>, Error>;

    /// All objects of a kind in the order of their names, as they were at one instant.
    ///
    /// # Errors
    /// Whatever keeps the store from answering.
    fn list(&self, kind: Kind) -> Result<Listed, Error>;

    /// Keeps a new object, and returns it with the uid, revision, generation 1 and time of creation that it was given.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is one of that kind and name; whatever keeps the store from writing.
    fn create(&self, object: Resource) -> Result<Arc<Resource>, Error>;

    /// Puts an object in the place of the one whose revision it bears, and returns it with its new revision. The
    /// generation grows if the spec is another. One whose deletion was asked for goes when its last finalizer goes.
    ///
    /// # Errors
    /// [`Error::Conflict`] if somebody changed it since: look again, and decide again. [`Error::NotFound`];
    /// [`Error::NoRevision`]; whatever keeps the store from writing.
    fn update(&self, object: Resource) -> Result<Arc<Resource>, Error>;

    /// Lets an object go if it still has that revision; if it has finalizers it is only marked, and goes with the last.
    ///
    /// # Errors
    /// [`Error::Conflict`]; [`Error::NotFound`]; whatever keeps the store from writing.
    fn delete(&self, kind: Kind, name: &str, revision: &Revision) -> Result<(), Error>;

    /// What happened to objects of a kind since a list or an earlier watch; waits for something up to `patience`.
    ///
    /// # Errors
    /// Whatever keeps the store from answering.
    fn watch(&self, kind: Kind, from: &Revision, patience: Duration) -> Result<Watch, Error>;
}

/// All objects of a kind at one instant.
#[derive(Clone, Debug)]
pub struct Listed {
    /// In the order of their names.
    pub objects: Vec<Arc<Resource>>,
    /// From which to watch.
    pub revision: Revision,
}

/// What a watch saw.
#[derive(Clone, Debug)]
pub enum Watch {
    /// Each change once, in the order in which they were made; none, if nothing happened.
    Changes {
        /// The changes.
        changes: Vec<Change>,
        /// From which to watch on.
        revision: Revision,
    },
    /// The revision is too old, or of a store that has since been restored: list again.
    Expired,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It was created or updated, and is now so.
    Put(Arc<Resource>),
    /// It is gone, and was so.
    Gone(Arc<Resource>),
}
