//! A store's objects by their types.

use super::Store;
use crate::Error;
use crate::resource::{Object, Resource, Spec};
use std::sync::Arc;

/// What [`Store`] does, by types instead of kinds; every store has it.
pub trait Typed: Store {
    /// One object.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn find<S: Spec>(&self, name: &str) -> Result<Option<Object<S>>, Error>
    where
        Resource: TryInto<Object<S>>,
    {
        Ok(self.get(S::KIND, name)?.and_then(|object| Arc::unwrap_or_clone(object).try_into().ok()))
    }

    /// All objects of a type in the order of their names.
    ///
    /// # Errors
    /// As [`Store::list`].
    fn find_all<S: Spec>(&self) -> Result<Vec<Object<S>>, Error>
    where
        Resource: TryInto<Object<S>>,
    {
        let objects = self.list(S::KIND)?.objects.into_iter();
        Ok(objects.filter_map(|object| Arc::unwrap_or_clone(object).try_into().ok()).collect())
    }
}

impl<T: Store + ?Sized> Typed for T {}
