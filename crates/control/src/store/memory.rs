//! A store for simulations: it forgets all when it is dropped, and its clock is turned by whoever has it.

use super::{Contents, Listed, Stamp, Store, Watch};
use crate::Error;
use crate::quantity::Timestamp;
use crate::resource::{Kind, Resource, Revision, Uid};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

/// A store for simulations, of one thread. Uids count up; watches never wait.
#[derive(Debug)]
pub struct Memory {
    contents: RefCell<Contents>,
    now: Cell<Timestamp>,
    uids: Cell<u64>,
}

impl Memory {
    /// An empty one at the beginning of time.
    #[must_use]
    pub fn new() -> Self {
        Memory::of(Contents::empty("memory".to_owned()))
    }

    /// One that holds that.
    #[must_use]
    pub fn of(contents: Contents) -> Self {
        Memory { contents: RefCell::new(contents), now: Cell::default(), uids: Cell::default() }
    }

    /// Turns the clock by which objects are created and marked.
    pub fn set_now(&self, now: Timestamp) {
        self.now.set(now);
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory::new()
    }
}

impl Store for Memory {
    fn get(&self, kind: Kind, name: &str) -> Result<Option<Arc<Resource>>, Error> {
        Ok(self.contents.borrow().get(kind, name))
    }

    fn list(&self, kind: Kind) -> Result<Listed, Error> {
        Ok(self.contents.borrow().list(kind))
    }

    fn create(&self, object: Resource) -> Result<Arc<Resource>, Error> {
        let number = self.uids.get() + 1;
        let stamp = Stamp { now: self.now.get(), uid: Uid(format!("uid-{number}")) };
        let write = self.contents.borrow().plan_create(object, stamp)?;
        self.uids.set(number);
        Ok(self.contents.borrow_mut().commit(write))
    }

    fn update(&self, object: Resource) -> Result<Arc<Resource>, Error> {
        let write = self.contents.borrow().plan_update(object)?;
        Ok(self.contents.borrow_mut().commit(write))
    }

    fn delete(&self, kind: Kind, name: &str, revision: &Revision) -> Result<(), Error> {
        let write = self.contents.borrow().plan_delete(kind, name, revision, self.now.get())?;
        if let Some(write) = write {
            self.contents.borrow_mut().commit(write);
        }
        Ok(())
    }

    fn watch(&self, kind: Kind, from: &Revision, _patience: Duration) -> Result<Watch, Error> {
        Ok(self.contents.borrow().watch(kind, from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn conforms() {
        conformance::holds(&|kept| Memory::of(Contents::empty("memory".to_owned()).keeping(kept)));
    }
}
