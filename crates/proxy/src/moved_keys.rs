//! The keys that a worker wrote elsewhere than at home, and where copies of them may be.
//!
//! ```text
//!   note ──▶ open ──seal──▶ sealed ──copy──▶ the return unlinks copies
//!                              ▲                      │
//!                              └──── settle: what could not be unlinked yet
//! ```
//!
//! Values are not here, and a key of which only one copy can exist is not either. What is noted after [`MovedKeys::seal`] is
//! kept apart, so that settling what was sealed forgets no later write.

use std::collections::BTreeMap;

/// Bytes of moved keys that a process remembers for each pool; each worker has its share. Writes of further keys of a
/// shard that is out fail by name until it is back.
pub const MOVED_KEYS_MAX: usize = 16 * 1024 * 1024;

/// What a remembered key costs beside its own bytes, about.
const ENTRY_BYTES: usize = 64;

/// Keys with the shards, by index, that may hold copies of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved(BTreeMap<Box<[u8]>, Vec<u16>>);

impl Moved {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys, in order, with their shards.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u16])> {
        self.0.iter().map(|(key, shards)| (key.as_ref(), shards.as_slice()))
    }

    /// Notes that `shard` may hold a copy of `key`.
    pub fn insert(&mut self, key: &[u8], shard: u16) {
        match self.0.get_mut(key) {
            Some(shards) if shards.contains(&shard) => {}
            Some(shards) => shards.push(shard),
            None => {
                self.0.insert(key.into(), vec![shard]);
            }
        }
    }

    /// The same keys under other numbers of shards; a shard without one is gone, with its copies.
    pub fn renumbered(self, number: impl Fn(usize) -> Option<usize>) -> Moved {
        let renumber = |shards: Vec<u16>| -> Vec<u16> {
            shards.into_iter().filter_map(|shard| Some(number(usize::from(shard))? as u16)).collect()
        };
        let all = self.0.into_iter().map(|(key, shards)| (key, renumber(shards)));
        Moved(all.filter(|(_, shards)| !shards.is_empty()).collect())
    }

    fn absorb(&mut self, other: Moved) {
        for (key, shards) in other.0 {
            match self.0.get_mut(&key) {
                Some(known) => {
                    let new: Vec<u16> = shards.into_iter().filter(|shard| !known.contains(shard)).collect();
                    known.extend(new);
                }
                None => {
                    self.0.insert(key, shards);
                }
            }
        }
    }

    fn bytes(&self) -> usize {
        self.0.keys().map(|key| key.len() + ENTRY_BYTES).sum()
    }
}

/// The moved keys of one pool, as one worker knows them.
#[derive(Debug)]
pub struct MovedKeys {
    sealed: Moved,
    open: Moved,
    bytes: usize,
    bytes_max: usize,
}

impl MovedKeys {
    /// None yet; at most `bytes_max` bytes of them.
    pub fn new(bytes_max: usize) -> MovedKeys {
        MovedKeys { sealed: Moved::default(), open: Moved::default(), bytes: 0, bytes_max }
    }

    /// Notes that `key` is about to be written at `place`, away from `home`; false if there is no room to remember it.
    pub fn note(&mut self, key: &[u8], home: u16, place: u16) -> bool {
        if !self.open.0.contains_key(key) {
            let bytes = key.len() + ENTRY_BYTES;
            if self.bytes + bytes > self.bytes_max {
                return false;
            }
            self.bytes += bytes;
        }
        self.open.insert(key, home);
        self.open.insert(key, place);
        true
    }

    /// Closes what was noted so far.
    pub fn seal(&mut self) {
        self.sealed.absorb(std::mem::take(&mut self.open));
        self.bytes = self.sealed.bytes();
    }

    /// All that was sealed and is not settled.
    pub fn sealed(&self) -> &Moved {
        &self.sealed
    }

    /// Of what was sealed, `kept` alone is still to be unlinked.
    pub fn settle(&mut self, kept: Moved) {
        self.sealed = kept;
        self.bytes = self.sealed.bytes() + self.open.bytes();
    }

    /// Takes over what another configuration of the pool remembered, under its own numbers of shards.
    pub fn inherit(&mut self, old: MovedKeys, number: impl Fn(usize) -> Option<usize>) {
        let mut all = old.sealed;
        all.absorb(old.open);
        self.open.absorb(all.renumbered(number));
        self.bytes = self.sealed.bytes() + self.open.bytes();
    }

    /// How many keys are remembered, those noted again after they were sealed twice.
    pub fn count(&self) -> usize {
        self.sealed.len() + self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(moved: &Moved) -> Vec<(String, Vec<u16>)> {
        moved.iter().map(|(key, shards)| (String::from_utf8_lossy(key).into(), shards.to_vec())).collect()
    }

    #[test]
    fn a_write_after_the_seal_survives_the_settling() {
        let mut keys = MovedKeys::new(1000);
        assert!(keys.note(b"a", 1, 0) && keys.note(b"a", 1, 0) && keys.note(b"b", 1, 2));
        keys.seal();
        assert_eq!(shown(keys.sealed()), [("a".into(), vec![1, 0]), ("b".into(), vec![1, 2])]);
        assert!(keys.note(b"a", 1, 2));
        keys.settle(Moved::default());
        assert!(keys.sealed().is_empty(), "it is not yet known to be answered");
        keys.seal();
        assert_eq!(shown(keys.sealed()), [("a".into(), vec![1, 2])]);
    }

    #[test]
    fn the_bound_holds_for_new_keys_alone_and_settling_makes_room() {
        let mut keys = MovedKeys::new(2 * (ENTRY_BYTES + 1));
        assert!(keys.note(b"a", 1, 0) && keys.note(b"b", 1, 0));
        assert!(!keys.note(b"c", 1, 0), "there is no room for a third key");
        assert!(keys.note(b"a", 1, 2), "a key that is remembered may be written on");
        keys.seal();
        assert!(!keys.note(b"c", 1, 0), "what is sealed counts");
        keys.settle(Moved::default());
        assert!(keys.note(b"c", 1, 0));
    }

    #[test]
    fn another_configuration_numbers_shards_otherwise() {
        let (mut old, mut new) = (MovedKeys::new(1000), MovedKeys::new(1000));
        old.note(b"a", 1, 0);
        old.seal();
        old.note(b"a", 1, 2);
        old.note(b"b", 2, 2);
        new.inherit(old, |shard| [None, Some(0), Some(5)][shard]);
        new.seal();
        assert_eq!(shown(new.sealed()), [("a".into(), vec![0, 5]), ("b".into(), vec![5])]);
    }
}
